//! Arguments of a tool that its server wants to see in headers (`x-mcp-header`).

use std::borrow::Cow;
use std::fmt;

use mcpgateway_engine::http::HeaderName;
use mcpgateway_engine::json::{Kind, Node};

const KEYWORD: &str = "x-mcp-header";
/// Keywords whose value is a schema.
const SCHEMAS: [&str; 11] = [
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];
/// Keywords whose value is a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const MAPS: [&str; 4] = ["patternProperties", "dependentSchemas", "$defs", "definitions"];

/// Which arguments go into which headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderAnnotations(Vec<(Vec<String>, String)>);

/// Why a tool's annotations cannot hold; such a tool is not to be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAnnotation(String);

impl fmt::Display for InvalidAnnotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAnnotation {}

impl HeaderAnnotations {
    /// Read those of an `inputSchema`.
    ///
    /// # Errors
    /// When one is no name for a header, is there twice, is of what is no text, whole number or boolean, or is not
    /// reached through `properties` alone.
    pub fn of(schema: &Node) -> Result<Self, InvalidAnnotation> {
        let mut found = Self::default();
        let mut positions = vec![(Some(Vec::new()), schema.clone())];
        while let Some((path, schema)) = positions.pop() {
            if let Some(name) = schema.get(KEYWORD) {
                found.add(path.clone(), &schema, &name)?;
            }
            below(path.as_ref(), &schema, &mut positions);
        }
        found.0.sort();
        Ok(found)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names behind `Mcp-Param-` and the values that `arguments` have for them.
    #[must_use]
    pub fn values(&self, arguments: &Node) -> Vec<(String, String)> {
        let of = |(name, node): (String, Node)| Some((name, written(&node)?));
        self.nodes(arguments).into_iter().filter_map(of).collect()
    }

    /// The same names, and where in `arguments` their values are.
    #[must_use]
    pub fn nodes(&self, arguments: &Node) -> Vec<(String, Node)> {
        let value_at = |path: &[String]| path.iter().try_fold(arguments.clone(), |node, key| node.get(key));
        self.0.iter().filter_map(|(path, name)| Some((name.clone(), value_at(path)?))).collect()
    }

    fn add(
        &mut self,
        path: Option<Vec<String>>,
        schema: &Node,
        name: &Node,
    ) -> Result<(), InvalidAnnotation> {
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Err(InvalidAnnotation(format!(
                "{KEYWORD} at a place that properties alone do not lead to"
            )));
        };
        let place = path.join(".");
        let name = name.text().filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok());
        let name =
            name.ok_or_else(|| InvalidAnnotation(format!("{KEYWORD} of {place:?} is no name of a header")))?;
        let kind = schema.get("type");
        if !matches!(kind.as_ref().and_then(Node::text).as_deref(), Some("string" | "integer" | "boolean")) {
            let why = format!("{KEYWORD} of {place:?}, which is no string, integer or boolean");
            return Err(InvalidAnnotation(why));
        }
        if self.0.iter().any(|(_, other)| other.eq_ignore_ascii_case(&name)) {
            return Err(InvalidAnnotation(format!("{KEYWORD} {name:?} is there twice")));
        }
        self.0.push((path, name.into_owned()));
        Ok(())
    }
}

type Position = (Option<Vec<String>>, Node);

/// The schemas directly below one: with their path while it is of `properties` alone.
fn below(path: Option<&Vec<String>>, schema: &Node, positions: &mut Vec<Position>) {
    for member in schema.members() {
        let key = member.key();
        let value = &member.value;
        if key == "properties" {
            positions.extend(value.members().into_iter().map(|property| {
                let path = path.map(|path| [path.as_slice(), &[property.key().into_owned()]].concat());
                (path, property.value)
            }));
        } else if SCHEMAS.contains(&&*key) {
            positions.push((None, value.clone()));
        } else if LISTS.contains(&&*key) {
            positions.extend(value.elements().map(|schema| (None, schema)));
        } else if MAPS.contains(&&*key) {
            positions.extend(value.members().into_iter().map(|member| (None, member.value)));
        }
    }
}

/// A value as a header says it; none for null and what has no such form.
fn written(value: &Node) -> Option<String> {
    match value.kind() {
        Kind::String => value.text().map(Cow::into_owned),
        Kind::Number | Kind::Boolean => String::from_utf8(value.raw().into()).ok(),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};

    use super::*;

    fn node(text: &'static str) -> Node {
        Document::parse(text.into(), &Options::default()).expect("JSON").root()
    }

    #[test]
    fn annotated_arguments_become_headers() {
        let schema = r#"{"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "flag":{"type":"boolean","x-mcp-header":"Flag"},
            "plain":{"type":"string","default":{"x-mcp-header":"no annotation"}}}}"#;
        let annotations = HeaderAnnotations::of(&node(schema)).expect("valid");
        let values = |text| annotations.values(&node(text));
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        let all = r#"{"region":"us \"west\"","deep":{"n":-7},"flag":true,"plain":"x"}"#;
        assert_eq!(values(all), pairs(&[("N", "-7"), ("Flag", "true"), ("Region", "us \"west\"")]));
        assert_eq!(values(r#"{"region":null,"deep":3}"#), pairs(&[]));
    }

    #[test]
    fn annotations_that_cannot_hold_are_refused() {
        for schema in [
            r#"{"x-mcp-header":"Root","type":"string"}"#,
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":["string"],"x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a\r\nb"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"$defs":{"d":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}}"#,
        ] {
            assert!(HeaderAnnotations::of(&node(schema)).is_err(), "{schema}");
        }
    }
}
