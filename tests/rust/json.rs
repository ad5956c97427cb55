//! The table of the JSON dialect that the Python implementations answer too, answered by the engine.

use std::path::Path;

use mcpgateway_engine::json::{Document, Kind, Node, Number, Options, check};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    text: String,
    repeat: Option<(String, String, String, usize)>,
    #[serde(default)]
    refused: bool,
    /// As it is written, so that its numbers are not rounded.
    value: Option<Box<serde_json::value::RawValue>>,
}

impl Case {
    fn text(&self) -> String {
        match &self.repeat {
            Some((front, between, behind, times)) => {
                format!("{}{between}{}", front.repeat(*times), behind.repeat(*times))
            }
            None => self.text.clone(),
        }
    }
}

#[test]
fn the_engine_answers_the_table_of_the_dialect() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/json_dialect.json");
    let table = std::fs::read_to_string(path).expect("the table is there");
    let table: Table = serde_json::from_str(&table).expect("a table");
    for case in table.cases {
        let text = case.text();
        let parsed = Document::parse(text.clone().into(), &Options::default());
        assert_eq!(parsed.is_ok(), !case.refused, "{}", case.name);
        assert_eq!(check(text.as_bytes(), &Options::default()).is_ok(), !case.refused, "{}", case.name);
        if let (Ok(document), Some(value)) = (parsed, case.value) {
            let expected = Document::parse(value.get().to_owned().into(), &Options::default());
            let expected = expected.expect("the table is JSON");
            assert_eq!(shown(&document.root()), shown(&expected.root()), "{}", case.name);
        }
    }
}

/// A value with the kinds of its numbers.
fn shown(node: &Node) -> Value {
    match node.kind() {
        Kind::Null => Value::Null,
        Kind::Boolean => node.boolean().expect("a boolean").into(),
        Kind::String => node.text().expect("a string").into_owned().into(),
        Kind::Number => match node.number().expect("a number") {
            Number::Signed(number) => format!("whole {number}").into(),
            Number::Unsigned(number) => format!("whole {number}").into(),
            Number::Large(digits) => format!("whole {digits}").into(),
            Number::Float(number) => format!("float {number:?}").into(),
        },
        Kind::Array => node.elements().map(|element| shown(&element)).collect(),
        Kind::Object => {
            node.members().iter().map(|member| (member.key().into_owned(), shown(&member.value))).collect()
        }
    }
}
