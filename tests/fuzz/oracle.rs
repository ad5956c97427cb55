//! What the fuzz targets compare with: values as `serde_json` reads them.

use mcpgateway_engine::json::{Kind, Maker, Node, Number, Walk, Walked};
use serde::Deserialize;
use serde_json::Value;

/// The longest text that is tried: more than a chunk of the scanner and than its blocks.
pub const LONGEST: usize = 16 << 10;

/// What `serde_json` reads; none if it refuses.
pub fn expected(text: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    reader.disable_recursion_limit();
    let value = Value::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// Whether `serde_json` would read a name of its own as something else.
pub fn is_private(text: &[u8]) -> bool {
    text.windows(10).any(|window| window == b"serde_json") || text.contains(&b'$')
}

/// The value of a node, by its public interface.
pub fn value_of(node: &Node) -> Value {
    match node.kind() {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Bool(node.boolean().expect("a boolean")),
        Kind::String => Value::String(node.text().expect("a string").into_owned()),
        Kind::Number => {
            let written = node.raw();
            let written = std::str::from_utf8(&written).expect("ASCII");
            assert_same_number(written, node.number().expect("a number"));
            serde_json::from_str(written).expect("a number")
        }
        Kind::Array => {
            let elements: Vec<Value> = node.elements().map(|element| value_of(&element)).collect();
            assert_eq!(node.len(), Some(elements.len()));
            for index in [0, elements.len() / 2, elements.len().saturating_sub(1)] {
                assert_eq!(node.index(index).map(|node| value_of(&node)).as_ref(), elements.get(index));
            }
            assert!(node.index(elements.len()).is_none());
            Value::Array(elements)
        }
        Kind::Object => {
            let members = node.members();
            assert_eq!(node.len(), Some(members.len()));
            let pair = |member: &mcpgateway_engine::json::Member| {
                let found = node.get(&member.key()).expect("there");
                assert_eq!(found.offset(), member.value.offset());
                (member.key().into_owned(), value_of(&member.value))
            };
            Value::Object(members.iter().map(pair).collect())
        }
    }
}

/// Panic unless `found` is what is `written`, to the last bit.
pub fn assert_same_number(written: &str, found: Number<'_>) {
    let is_whole = !written.contains(['.', 'e', 'E']);
    match found {
        Number::Signed(number) => assert!(is_whole && written.parse() == Ok(number), "{written}"),
        Number::Unsigned(number) => assert!(is_whole && written.parse() == Ok(number), "{written}"),
        Number::Large(digits) => {
            assert!(is_whole && digits == written, "{written}");
            assert!(written.parse::<i64>().is_err() && written.parse::<u64>().is_err(), "{written}");
        }
        Number::Float(number) => {
            let expected: f64 = written.parse().expect("a number");
            assert!(!is_whole && number.to_bits() == expected.to_bits(), "{written}");
        }
    }
}

/// Makes values as a walk says them; numbers with their kind, floats by their bits.
#[derive(Default)]
pub struct Values(Vec<Value>);

impl Maker for Values {
    type Error = std::convert::Infallible;

    fn string(&mut self, text: &[u8], ascii: bool) -> Result<(), Self::Error> {
        assert_eq!(ascii, text.is_ascii());
        self.0.push(std::str::from_utf8(text).expect("UTF-8").into());
        Ok(())
    }

    fn key(&mut self, text: &[u8], ascii: bool) -> Result<(), Self::Error> {
        self.string(text, ascii)
    }

    fn number(&mut self, number: Number<'_>) -> Result<(), Self::Error> {
        self.0.push(shown(number).into());
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<(), Self::Error> {
        self.0.push(value.into());
        Ok(())
    }

    fn null(&mut self) -> Result<(), Self::Error> {
        self.0.push(Value::Null);
        Ok(())
    }

    fn array(&mut self, count: usize) -> Result<(), Self::Error> {
        let elements = self.0.split_off(self.0.len() - count);
        self.0.push(elements.into());
        Ok(())
    }

    fn object(&mut self, count: usize) -> Result<(), Self::Error> {
        let mut parts = self.0.split_off(self.0.len() - 2 * count).into_iter();
        let mut members = serde_json::Map::new();
        while let (Some(Value::String(key)), Some(value)) = (parts.next(), parts.next()) {
            members.insert(key, value);
        }
        self.0.push(members.into());
        Ok(())
    }
}

fn shown(number: Number<'_>) -> String {
    match number {
        Number::Signed(number) => format!("whole {number}"),
        Number::Unsigned(number) => format!("whole {number}"),
        Number::Large(digits) => format!("whole {digits}"),
        Number::Float(number) => format!("float {:016x}", number.to_bits()),
    }
}

/// `value` with its numbers as [`Values`] shows them.
pub fn with_shown_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let written = number.to_string();
            if written.contains(['.', 'e', 'E']) {
                let number: f64 = written.parse().expect("a number");
                return format!("float {:016x}", number.to_bits()).into();
            }
            // A zero with a sign is zero.
            let written = if written == "-0" { "0" } else { &written };
            format!("whole {written}").into()
        }
        Value::Array(elements) => elements.into_iter().map(with_shown_numbers).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, with_shown_numbers(value))).collect()
        }
        other => other,
    }
}

/// What a walk makes, `at_a_time` values at a time; none if the text is not JSON.
pub fn walked(mut walk: impl Walk, at_a_time: usize) -> Option<Value> {
    let mut values = Values::default();
    while walk.walk(&mut values, at_a_time).ok()? == Walked::Partly {}
    assert_eq!(values.0.len(), 1);
    values.0.pop()
}
