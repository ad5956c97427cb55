//! URI templates (RFC 6570), all four levels.

use std::collections::BTreeMap;

use mcpgateway_engine::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// All that a URI cannot have as it is; what is percent-encoded is kept by [`push_allowing_reserved`].
const FORBIDDEN: &AsciiSet = &RESERVED
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'#')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// A URI with places for variables, such as `file:///{path}{?lines*}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What a variable stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Several texts; none is as if the variable had no value.
    List(Vec<String>),
    /// Names with texts, in this order; none is as if the variable had no value.
    Map(Vec<(String, String)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Expression(Operator, Vec<Variable>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    modifier: Modifier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modifier {
    None,
    /// `:3`
    Prefix(usize),
    /// `*`
    Explode,
}

/// How an expression is written (RFC 6570, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operator {
    first: &'static str,
    separator: &'static str,
    is_named: bool,
    /// What follows the name of a variable that is empty.
    if_empty: &'static str,
    allows_reserved: bool,
}

impl Operator {
    const fn new(
        first: &'static str,
        separator: &'static str,
        is_named: bool,
        if_empty: &'static str,
        allows_reserved: bool,
    ) -> Self {
        Self { first, separator, is_named, if_empty, allows_reserved }
    }

    /// The operator of an expression, and the expression without it.
    fn of(expression: &str) -> Option<(Self, &str)> {
        let operator = match expression.bytes().next()? {
            b'+' => Self::new("", ",", false, "", true),
            b'#' => Self::new("#", ",", false, "", true),
            b'.' => Self::new(".", ".", false, "", false),
            b'/' => Self::new("/", "/", false, "", false),
            b';' => Self::new(";", ";", true, "", false),
            b'?' => Self::new("?", "&", true, "=", false),
            b'&' => Self::new("&", "&", true, "=", false),
            // Kept for later by the standard.
            b'=' | b',' | b'!' | b'@' | b'|' => return None,
            _ => return Some((Self::new("", ",", false, "", false), expression)),
        };
        Some((operator, &expression[1..]))
    }

    fn push(self, to: &mut String, text: &str) {
        if self.allows_reserved {
            push_allowing_reserved(to, text);
        } else {
            to.extend(utf8_percent_encode(text, RESERVED));
        }
    }

    /// `name=value`, or as an empty one is written.
    fn push_pair(self, to: &mut String, name: &str, value: &str) {
        push_allowing_reserved(to, name);
        if value.is_empty() {
            to.push_str(self.if_empty);
        } else {
            to.push('=');
            self.push(to, value);
        }
    }
}

impl Template {
    /// The template that `text` is.
    ///
    /// # Errors
    /// [`InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when it is none, with the place.
    pub fn parse(text: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let place = text.len() - rest.len() + at;
            let (literal, from_brace) = rest.split_at(at);
            pieces.push(Piece::literal(literal));
            let inside = from_brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (expression, after) = inside.ok_or_else(|| no_template(place, "a brace has no partner"))?;
            pieces.push(
                Piece::expression(expression).ok_or_else(|| no_template(place, "this is no expression"))?,
            );
            rest = after;
        }
        pieces.push(Piece::literal(rest));
        Ok(Self { pieces })
    }

    /// The names of its variables, in their order, each once.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for piece in &self.pieces {
            let Piece::Expression(_, variables) = piece else { continue };
            for variable in variables {
                if !names.contains(&variable.name.as_str()) {
                    names.push(variable.name.as_str());
                }
            }
        }
        names
    }

    /// The URI with these values; variables without one leave nothing behind.
    ///
    /// # Errors
    /// [`InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when a prefix is asked of several values.
    pub fn expand(&self, values: &BTreeMap<String, Value>) -> Result<String> {
        let mut uri = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => uri.push_str(text),
                Piece::Expression(operator, variables) => expand(&mut uri, *operator, variables, values)?,
            }
        }
        Ok(uri)
    }
}

impl Piece {
    fn literal(text: &str) -> Self {
        let mut literal = String::new();
        push_allowing_reserved(&mut literal, text);
        Self::Literal(literal)
    }

    fn expression(text: &str) -> Option<Self> {
        let (operator, list) = Operator::of(text)?;
        let variables = list.split(',').map(Variable::parse).collect::<Option<_>>()?;
        Some(Self::Expression(operator, variables))
    }
}

impl Variable {
    fn parse(text: &str) -> Option<Self> {
        let (name, modifier) = if let Some(name) = text.strip_suffix('*') {
            (name, Modifier::Explode)
        } else if let Some((name, length)) = text.split_once(':') {
            let is_number =
                !length.is_empty() && length.len() < 5 && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|length| is_number && *length > 0)?;
            (name, Modifier::Prefix(length))
        } else {
            (text, Modifier::None)
        };
        is_name(name).then(|| Self { name: name.to_owned(), modifier })
    }
}

/// Letters, digits, `_` and `%41`, with single dots between them.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let mut rest = part.as_bytes();
        while let Some(first) = rest.first() {
            rest = match first {
                b'%' if rest.len() >= 3 && rest[1..3].iter().all(u8::is_ascii_hexdigit) => &rest[3..],
                b'_' => &rest[1..],
                byte if byte.is_ascii_alphanumeric() => &rest[1..],
                _ => return false,
            };
        }
        !part.is_empty()
    };
    name.split('.').all(is_part)
}

fn expand(
    uri: &mut String,
    operator: Operator,
    variables: &[Variable],
    values: &BTreeMap<String, Value>,
) -> Result<()> {
    let mut lead = operator.first;
    for variable in variables {
        let Some(value) = values.get(&variable.name).filter(|value| !value.is_undefined()) else { continue };
        uri.push_str(lead);
        lead = operator.separator;
        match (value, variable.modifier) {
            (Value::Text(text), Modifier::Prefix(length)) => {
                let end = text.char_indices().nth(length).map_or(text.len(), |(at, _)| at);
                push_text(uri, operator, &variable.name, &text[..end]);
            }
            (Value::Text(text), _) => push_text(uri, operator, &variable.name, text),
            (_, Modifier::Prefix(_)) => {
                return Err(Error::invalid_request(format!(
                    "the template takes a prefix of {:?}, which has several values",
                    variable.name
                )));
            }
            (several, Modifier::Explode) => push_exploded(uri, operator, &variable.name, several),
            (several, Modifier::None) => {
                if operator.is_named {
                    push_allowing_reserved(uri, &variable.name);
                    uri.push('=');
                }
                push_joined(uri, operator, several);
            }
        }
    }
    Ok(())
}

fn push_text(uri: &mut String, operator: Operator, name: &str, text: &str) {
    if operator.is_named { operator.push_pair(uri, name, text) } else { operator.push(uri, text) }
}

fn push_joined(uri: &mut String, operator: Operator, value: &Value) {
    let mut texts = Vec::new();
    match value {
        Value::Text(text) => texts.push(text),
        Value::List(list) => texts.extend(list),
        Value::Map(pairs) => pairs.iter().for_each(|(name, text)| texts.extend([name, text])),
    }
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            uri.push(',');
        }
        operator.push(uri, text);
    }
}

fn push_exploded(uri: &mut String, operator: Operator, name: &str, value: &Value) {
    let mut lead = "";
    let mut separate = |uri: &mut String| {
        uri.push_str(lead);
        lead = operator.separator;
    };
    match value {
        Value::Text(text) => push_text(uri, operator, name, text),
        Value::List(list) => {
            for text in list {
                separate(uri);
                push_text(uri, operator, name, text);
            }
        }
        Value::Map(pairs) => {
            for (key, text) in pairs {
                separate(uri);
                if operator.is_named {
                    operator.push_pair(uri, key, text);
                } else {
                    operator.push(uri, key);
                    uri.push('=');
                    operator.push(uri, text);
                }
            }
        }
    }
}

impl Value {
    fn is_undefined(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Map(pairs) => pairs.is_empty(),
        }
    }
}

/// Append `text` with reserved characters, and what is percent-encoded, as they are.
fn push_allowing_reserved(to: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, percent) = rest.split_at(at);
        to.extend(utf8_percent_encode(before, FORBIDDEN));
        let is_encoded =
            percent.as_bytes().get(1..3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let len = if is_encoded { 3 } else { 1 };
        to.push_str(if is_encoded { &percent[..len] } else { "%25" });
        rest = &percent[len..];
    }
    to.extend(utf8_percent_encode(rest, FORBIDDEN));
}

fn no_template(place: usize, why: &str) -> Error {
    Error::invalid_request(format!("not a URI template (RFC 6570): {why}, at byte {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables of RFC 6570, section 3.2.
    fn values() -> BTreeMap<String, Value> {
        let text = |text: &str| Value::Text(text.into());
        let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
        let pairs = [("semi", ";"), ("dot", "."), ("comma", ",")];
        let keys = Value::Map(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec());
        [
            ("count", list(&["one", "two", "three"])),
            ("dom", list(&["example", "com"])),
            ("dub", text("me/too")),
            ("hello", text("Hello World!")),
            ("half", text("50%")),
            ("var", text("value")),
            ("who", text("fred")),
            ("base", text("http://example.com/home/")),
            ("path", text("/foo/bar")),
            ("list", list(&["red", "green", "blue"])),
            ("keys", keys),
            ("v", text("6")),
            ("x", text("1024")),
            ("y", text("768")),
            ("empty", text("")),
            ("empty_keys", Value::Map(Vec::new())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    #[test]
    fn the_examples_of_the_standard_expand_as_it_says() {
        let examples = include_str!("template_examples.txt");
        let mut seen = 0;
        for line in examples.lines().filter(|line| !line.starts_with('!') && !line.is_empty()) {
            let (template, expected) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let expanded = Template::parse(template).expect(template).expand(&values()).expect(template);
            assert_eq!(expanded, expected.trim(), "{template}");
            seen += 1;
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "{",
            "}",
            "a{b",
            "a}b",
            "{}",
            "{a b}",
            "{a,}",
            "{!a}",
            "{=a}",
            "{|a}",
            "{a:}",
            "{a:0}",
            "{a:10000}",
            "{a:x}",
            "{a**}",
            "{a{b}}",
            "{.}",
            "{a..b}",
            "{%4}",
            "{a:+1}",
        ] {
            let error = Template::parse(text).expect_err(text);
            assert_eq!(*error.kind(), mcpgateway_engine::ErrorKind::InvalidRequest);
        }
        assert!(Template::parse("{list:3}").expect("a template").expand(&values()).is_err());
    }

    #[test]
    fn the_variables_are_told_in_their_order() {
        let template = Template::parse("http://a/{b}/{a.c:3}{?b,d*}").expect("a template");
        assert_eq!(template.variables(), ["b", "a.c", "d"]);
    }

    #[test]
    fn characters_outside_of_ascii_are_encoded_and_counted_as_characters() {
        let values = [("a".to_owned(), Value::Text("üñî%41".into()))].into();
        let expand = |text| Template::parse(text).expect("a template").expand(&values).expect("texts");
        assert_eq!(expand("{a:2}"), "%C3%BC%C3%B1");
        assert_eq!(expand("ü{+a}%41%"), "%C3%BC%C3%BC%C3%B1%C3%AE%41%41%25");
        assert_eq!(expand("{a}"), "%C3%BC%C3%B1%C3%AE%2541");
    }
}
