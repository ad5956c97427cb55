//! Documents against `serde_json`, simd-json, and the check that is written plainly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fault::find_fault;
use super::*;
use crate::error::ErrorKind;

fn document(text: impl Into<Bytes>) -> Document {
    Document::parse(text.into(), &Options::default()).expect("valid JSON")
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).expect("a pointer")
}

/// The value of a node, by way of its public interface only.
fn value_of(node: &Node) -> Value {
    match node.kind() {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Bool(node.boolean().expect("a boolean")),
        Kind::String => Value::String(node.text().expect("a string").into_owned()),
        Kind::Array => {
            let by_iterating: Vec<Value> = node.elements().map(|element| value_of(&element)).collect();
            assert_eq!(node.len(), Some(by_iterating.len()));
            for (index, value) in by_iterating.iter().enumerate() {
                assert_eq!(node.index(index).expect("within").kind(), kind_of(value));
            }
            Value::Array(by_iterating)
        }
        Kind::Object => {
            let members = node.members();
            assert_eq!(node.len(), Some(members.len()));
            let pairs = members.iter().map(|member| {
                assert_eq!(node.get(&member.key()).expect("there").offset(), member.value.offset());
                (member.key().into_owned(), value_of(&member.value))
            });
            Value::Object(pairs.collect())
        }
        Kind::Number => value_of_number(node.number().expect("a number")),
    }
}

fn value_of_number(number: Number<'_>) -> Value {
    match number {
        Number::Signed(number) => number.into(),
        Number::Unsigned(number) => number.into(),
        Number::Float(number) if number.is_finite() => number.into(),
        // No value says infinite, and this has to be a number.
        Number::Float(number) => f64::MAX.copysign(number).into(),
        Number::Large(digits) => digits.parse::<f64>().expect("digits").into(),
    }
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(_) => Kind::Number,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::String),
        "[ -~]{1000,1100}".prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 200, 40, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::Array),
            prop::collection::vec(("[a-c/~\"\\\\é]{0,3}", inner), 0..40)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// JSON of `value`, compact or with white space everywhere.
fn written(value: &Value, pretty: bool) -> String {
    if pretty {
        format!(" {}\n\t", serde_json::to_string_pretty(value).expect("JSON"))
    } else {
        value.to_string()
    }
}

/// Every place of `value`, as pointers.
fn places(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut add = |step: String, child: &Value| {
        let step = step.replace('~', "~0").replace('/', "~1");
        found.extend(places(child).into_iter().map(|rest| format!("/{step}{rest}")));
    };
    match value {
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(i, child)| add(i.to_string(), child));
        }
        Value::Object(members) => members.iter().for_each(|(key, child)| add(key.clone(), child)),
        _ => {}
    }
    found
}

proptest! {
    #[test]
    fn a_document_is_what_serde_json_reads(value in any_value(), pretty: bool) {
        let text = written(&value, pretty);
        // Not the value itself: its floats are rounded in writing.
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        let document = document(text.clone());
        prop_assert_eq!(value_of(&document.root()), expected);
        prop_assert_eq!(document.text(), text.as_bytes());
    }

    #[test]
    fn every_walk_makes_what_serde_json_reads(value in any_value(), pretty: bool, at_a_time in 1_usize..50) {
        let text = written(&value, pretty);
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(walked(TextWalk::new(text.as_bytes()), at_a_time), Ok(expected.clone()));
        if let Some(by_tape) = by_tape(text.as_bytes()) {
            prop_assert_eq!(by_tape, Ok(expected));
        }
    }

    #[test]
    fn every_pointer_leads_where_serde_json_goes(value in any_value(), pretty: bool) {
        let text = written(&value, pretty);
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        let document = document(text.clone());
        for place in places(&value) {
            let node = document.root().at(&pointer(&place)).expect("there");
            let raw: Value = serde_json::from_slice(&node.raw()).expect("JSON");
            prop_assert_eq!(Some(&raw), expected.pointer(&place), "{}", &place);
            prop_assert_eq!(&node.pointer(), &place);
            for whole in [Whole::No, Whole::Yes] {
                let peeked = peek(document.text(), &pointer(&place), whole, &Options::default()).expect("there");
                prop_assert_eq!(peeked.raw(), node.raw(), "{}", &place);
            }
        }
        for place in ["/none", "/9999", "/-", "/0/none", "/a/none/b"] {
            prop_assert_eq!(document.root().at(&pointer(place)).is_ok(), expected.pointer(place).is_some());
        }
    }

    #[test]
    fn what_is_broken_is_refused_as_plainly_and_by_others(value in any_value(), pretty: bool, at: prop::sample::Index, byte: u8, cut: bool) {
        let mut text = written(&value, pretty).into_bytes();
        let at = at.index(text.len());
        if cut { text.truncate(at) } else { text[at] = byte }
        agrees(&text)?;
    }

    #[test]
    fn what_looks_like_json_is_judged_alike(text in "[\\[\\]{}:,\"\\\\ 0-2.eE+u\\-tnulrfasdDcC8\u{0}\u{c}\u{1a}é]{0,40}") {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn arrays_of_numbers_are_judged_alike(
        numbers in prop::collection::vec(prop_oneof![20 => r"-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?", 1 => "[-0-9.eE+ \"\\[\\],{}]{0,5}"], 9..60),
        separator in "[,] {0,2}",
        behind in r#"( |,|\]|,"[a\\]{0,2}"|,\[1\]|,null){0,3}"#,
    ) {
        agrees(format!("[{}{behind}]", numbers.join(&separator)).as_bytes())?;
    }

    #[test]
    fn what_is_long_is_judged_alike(unit in "([\\[\\]{}:,\"\\\\ 1]|\"[a\\\\\"]{0,3}\"){1,9}", times in 1_usize..3000) {
        let text = unit.repeat(times);
        agrees(text.as_bytes())?;
        agrees(format!("[\"{}\"]", text.replace('"', "\\\"")).as_bytes())?;
        agrees(format!("[{}]", vec![unit; times].join(",")).as_bytes())?;
    }
}

/// Makes what `serde_json` would, to the last bit.
#[derive(Default)]
struct Values(Vec<Value>);

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
        self.0.push(value_of_number(number));
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
        let parts = self.0.split_off(self.0.len() - 2 * count);
        let members = parts
            .as_chunks()
            .0
            .iter()
            .map(|[key, value]| (key.as_str().expect("a string").to_owned(), value.clone()));
        let members: Map<String, Value> = members.collect();
        self.0.push(members.into());
        Ok(())
    }
}

/// What a walk makes, a few values at a time.
fn walked(mut walk: impl Walk, at_a_time: usize) -> Result<Value, Stuck<std::convert::Infallible>> {
    let mut values = Values::default();
    while walk.walk(&mut values, at_a_time)? == Walked::Partly {}
    assert_eq!(values.0.len(), 1);
    Ok(values.0.remove(0))
}

/// What a walk over the tape of a text makes; none if it has no tape.
fn by_tape(text: &[u8]) -> Option<Result<Value, Stuck<std::convert::Infallible>>> {
    with_tape(text, |tape| walked(tape, 3)).expect("memory for a test")
}

#[test]
fn numbers_that_a_tape_would_round_are_left_to_the_text() {
    let has_tape = |text: &str| with_tape(text.as_bytes(), |_| ()).expect("memory for a test").is_some();
    for text in
        ["18446744073709551616", "-9223372036854775809", "[1e400]", "[1e300]", "[1,", "\"\\ud800\"", "nul"]
    {
        assert!(!has_tape(text), "{text}");
    }
    for text in ["18446744073709551615", "-9223372036854775808", "[-0, -0.0, 1e-400, 123456789012345678.9]"] {
        assert!(has_tape(text), "{text}");
        assert_eq!(by_tape(text.as_bytes()), Some(walked(TextWalk::new(text.as_bytes()), 1)), "{text}");
    }
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let (deepest, deeper) = (nested(MAX_DEPTH), nested(MAX_DEPTH + 1));
        assert!(!has_tape(&deeper));
        assert_eq!(walked(TextWalk::new(deeper.as_bytes()), 1), Err(Stuck::Malformed));
        assert!(walked(TextWalk::new(deepest.as_bytes()), 1).is_ok());
        let nested = nested(MAX_DEPTH - 1);
        assert_eq!(by_tape(nested.as_bytes()), Some(walked(TextWalk::new(nested.as_bytes()), 1)));
    }
}

/// Check the parser against the plain one, `serde_json` and simd-json.
fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let parsed = Document::parse(Bytes::copy_from_slice(text), &Options::default());
    let fault = find_fault(text, MAX_DEPTH);
    let shown = text.escape_ascii().to_string();
    prop_assert_eq!(parsed.is_ok(), fault.is_none(), "{} {:?}", shown, fault);
    prop_assert_eq!(parsed.is_ok(), check(text, &Options::default()).is_ok(), "{}", shown);
    let made = walked(TextWalk::new(text), usize::MAX);
    prop_assert_eq!(
        made.clone().ok(),
        parsed.as_ref().ok().map(|document| value_of(&document.root())),
        "{}",
        shown
    );
    if let Some(by_tape) = by_tape(text) {
        prop_assert_eq!(by_tape, made, "{}", shown);
    }
    let serde = serde_json::from_slice::<&serde_json::value::RawValue>(text);
    let deep = serde.as_ref().is_err_and(|error| error.to_string().starts_with("recursion"));
    // serde_json does not look into the surrogates of what it passes over.
    let strings = !text.windows(2).any(|pair| pair == br"\u");
    if !deep && strings {
        prop_assert_eq!(parsed.is_ok(), serde.is_ok(), "{}", shown);
    }
    let simd = simd_json::to_tape(&mut text.to_vec()).is_ok();
    let numbers = text.iter().any(|byte| matches!(byte, b'e' | b'E')) || text.len() > 300;
    // simd-json refuses numbers that no double holds.
    if simd || !numbers {
        prop_assert_eq!(parsed.is_ok(), simd, "{}", shown);
    }
    Ok(())
}

#[test]
fn a_number_that_no_double_holds_is_judged_alike() {
    agrees(b"[1e400, -1e400]").expect("alike");
}

#[test]
fn the_dialect_is_that_of_json_test_suite() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let named = std::env::var_os("MCPGATEWAY_TEST_DATA").map(PathBuf::from);
    let folders = [Some(beside), named].into_iter().flatten();
    let files: Vec<_> = folders
        .filter_map(|folder| std::fs::read_dir(folder.join("json/JSONTestSuite")).ok())
        .flatten()
        .collect();
    let mut judged = BTreeMap::new();
    for file in files {
        let path = file.expect("readable").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("readable");
        let accepted = Document::parse(text.clone().into(), &Options::default()).is_ok();
        assert_eq!(accepted, find_fault(&text, MAX_DEPTH).is_none(), "{name}");
        let made = walked(TextWalk::new(&text), 1);
        assert_eq!(accepted, made.is_ok(), "{name}");
        if let Some(by_tape) = by_tape(&text) {
            assert_eq!(by_tape, made, "{name}");
        }
        let numbers_and_depth = name.starts_with("i_number") || name == "i_structure_500_nested_arrays";
        assert_eq!(accepted, name.starts_with("y_") || numbers_and_depth, "{name}");
        *judged.entry(name[..1].to_owned()).or_insert(0) += 1;
    }
    // Not part of the project: where it is not found there is nothing to judge.
    if !judged.is_empty() {
        assert_eq!(judged, BTreeMap::from([("i".into(), 35), ("n".into(), 188), ("y".into(), 95)]));
    }
}

#[test]
fn faults_are_named_with_their_place() {
    for (text, line, column, offset, at, what) in [
        ("", 1, 1, 0, "", "the text ends where a value is expected"),
        ("[1,]", 1, 4, 3, "/1", "a value is expected here"),
        ("{\"a\": {\"b/c\":\n [1, x]}}", 2, 6, 19, "/a/b~1c/1", "a value is expected here"),
        ("[\"é\", 01]", 1, 7, 7, "/1", "a number does not begin with zeros"),
        ("{\"a\" 1}", 1, 6, 5, "/a", "a colon has to follow a key"),
        ("{\"a\": 1 \"b\"", 1, 9, 8, "/a", "a comma or } has to follow a member"),
        ("[1 2]", 1, 4, 3, "/0", "a comma or ] has to follow an element"),
        ("{1}", 1, 2, 1, "", "a key in quotes is expected here"),
        ("\"\\ud800\"", 1, 2, 1, "", "half a surrogate pair is no character"),
        ("\"a\u{1}\"", 1, 3, 2, "", "a control character in a string has to be escaped"),
        ("\u{feff}1", 1, 1, 0, "", "a byte order mark is not JSON"),
        ("NaN", 1, 1, 0, "", "a value is expected here"),
        ("1 2", 1, 3, 2, "", "nothing but white space can follow the value"),
        ("1x", 1, 2, 1, "", "this cannot follow a value"),
        ("[\"abc", 1, 6, 5, "/0", "the text ends inside a string"),
    ] {
        let error = Document::parse(text.to_owned().into(), &Options::default()).expect_err(text);
        let place = Place { line, column, offset, pointer: at.into() };
        assert_eq!(error.kind(), &ErrorKind::Json(place), "{text}");
        assert!(error.to_string().starts_with(what), "{text}: {error}");
    }
    let error = Document::parse((&b"[\"\xff\"]"[..]).into(), &Options::default()).expect_err("not UTF-8");
    assert!(error.to_string().starts_with("this is not UTF-8: line 1, column 3"), "{error}");
}

fn limited(text: &str, options: &Options) -> Option<&'static str> {
    match Document::parse(text.to_owned().into(), options) {
        Ok(_) => None,
        Err(error) => match error.kind() {
            ErrorKind::LimitExceeded { name, .. } => Some(name),
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn depth_nodes_and_bytes_are_bounded() {
    let standard = Options::default();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(limited(&nested(MAX_DEPTH), &standard), None);
        assert_eq!(limited(&nested(MAX_DEPTH + 1), &standard), Some("max_depth"));
        assert_eq!(limited(&nested(4), &Options { max_depth: 3, ..standard.clone() }), Some("max_depth"));
    }
    assert_eq!(limited(&"[".repeat(2_000_000), &standard), Some("max_depth"));
    let nodes = |most| Options { max_nodes: Some(most), ..standard.clone() };
    assert_eq!(limited("[1,{\"a\":2},[]]", &nodes(5)), None);
    assert_eq!(limited("[1,{\"a\":2},[]]", &nodes(4)), Some("max_nodes"));
    let bytes = |most| Options { max_bytes: Some(most), ..standard.clone() };
    assert_eq!([limited("[1]", &bytes(3)), limited("[1]", &bytes(2))], [None, Some("max_bytes")]);
}

#[test]
fn a_key_that_is_there_twice_is_the_last_or_an_error() {
    let text = r#"{"a": 1, "b": 2, "\u0061": 3}"#;
    let root = document(text).root();
    assert_eq!(value_of(&root), json!({"a": 3, "b": 2}));
    assert_eq!(root.members().iter().map(|member| member.key().into_owned()).collect::<Vec<_>>(), ["a", "b"]);
    let strict = Options { duplicates: Duplicates::Refuse, ..Options::default() };
    let error = Document::parse(text.into(), &strict).expect_err("twice");
    assert!(matches!(error.kind(), ErrorKind::Json(place) if place.offset == 17), "{error}");
    assert!(Document::parse(r#"{"a": {"a": 1}}"#.into(), &strict).is_ok());
    let peeked = |whole| peek(&text.into(), &pointer("/a"), whole, &Options::default()).expect("there").raw();
    assert_eq!([peeked(Whole::No), peeked(Whole::Yes)], ["1", "3"]);
}

#[test]
fn a_peek_checks_what_it_passes_and_no_more() {
    let look = |text: &'static str, whole| peek(&text.into(), &pointer("/b"), whole, &Options::default());
    assert_eq!(look(r#"{"a": [1], "b": 2, x"#, Whole::No).expect("there").raw(), "2");
    assert!(matches!(
        look(r#"{"a": [1], "b": 2, x"#, Whole::Yes).expect_err("broken").kind(),
        ErrorKind::Json(_)
    ));
    assert!(matches!(
        look(r#"{"a": [1,], "b": 2}"#, Whole::No).expect_err("broken").kind(),
        ErrorKind::Json(_)
    ));
    assert!(matches!(
        look(r#"{"a": 1}"#, Whole::No).expect_err("not there").kind(),
        ErrorKind::NotFound { .. }
    ));
    let deep = format!("{}1", "[".repeat(MAX_DEPTH + 1));
    let error = peek(&deep.into(), &pointer(&"/0".repeat(MAX_DEPTH + 1)), Whole::No, &Options::default());
    assert!(matches!(error.expect_err("deep").kind(), ErrorKind::LimitExceeded { name: "max_depth", .. }));
}

#[test]
fn a_node_outlives_the_document_it_came_from() {
    struct Owner(Vec<u8>, std::sync::Arc<AtomicBool>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.1.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let dropped = std::sync::Arc::new(AtomicBool::new(false));
    let bytes = Bytes::from_owner(Owner(br#"{"a": ["text"]}"#.to_vec(), dropped.clone()));
    let node = document(bytes).root().at(&pointer("/a/0")).expect("there");
    assert!(!dropped.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(node.text().as_deref(), Some("text"));
    drop(node);
    assert!(dropped.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn threads_look_into_one_document_at_once() {
    let value = Value::Array((0..5_000).map(|i| json!({"id": i, "tags": ["a", {"b": i}]})).collect());
    let root = document(value.to_string()).root();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (root, value) = (root.clone(), &value);
            scope.spawn(move || {
                for i in (thread..5_000).step_by(7) {
                    let found = root.at(&pointer(&format!("/{i}/tags/1"))).expect("there");
                    assert_eq!(value_of(&found), value[i]["tags"][1]);
                }
            });
        }
    });
    assert!(root.document().index_bytes() < 5_000 * 70);
}

#[test]
fn a_cancelled_parse_ends() {
    let cancelled = AtomicBool::new(true);
    let error = Document::parse_unless("[1]".into(), &Options::default(), &cancelled).expect_err("cancelled");
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
}

// ---- splice

fn edit(at: &str, to: Option<&Value>) -> Edit {
    let insert = to.map(|value| Insert::json(value.to_string().into()).expect("JSON"));
    Edit { pointer: pointer(at), insert }
}

fn spliced(text: &str, edits: &[Edit]) -> crate::error::Result<String> {
    let rope = document(text.to_owned()).splice(edits)?;
    Ok(String::from_utf8(rope.into_bytes()?.to_vec()).expect("UTF-8"))
}

#[test]
fn a_splice_keeps_every_other_byte() {
    let text = " { \"id\" : 1 , \"a\" : [ 1 , 2 , 3 ] , \"o\" : { } } ";
    let one = |at: &str, to: Option<Value>| spliced(text, &[edit(at, to.as_ref())]).expect("possible");
    assert_eq!(one("/id", Some(json!(7))), text.replacen('1', "7", 1));
    assert_eq!(one("/a/1", None), " { \"id\" : 1 , \"a\" : [ 1 , 3 ] , \"o\" : { } } ");
    assert_eq!(one("/a/0", None), " { \"id\" : 1 , \"a\" : [ 2 , 3 ] , \"o\" : { } } ");
    assert_eq!(one("/a/-", Some(json!(4))), " { \"id\" : 1 , \"a\" : [ 1 , 2 , 3,4 ] , \"o\" : { } } ");
    assert_eq!(
        one("/o/k\"", Some(json!(4))),
        " { \"id\" : 1 , \"a\" : [ 1 , 2 , 3 ] , \"o\" : {\"k\\\"\":4 } } "
    );
    assert_eq!(one("", Some(json!([]))), " [] ");
    let all = [edit("/a/0", None), edit("/a/1", None), edit("/a/2", None), edit("/a/-", Some(&json!(9)))];
    assert_eq!(spliced("{\"a\":[1,2,3]}", &all).expect("possible"), "{\"a\":[9]}");
}

#[test]
fn a_splice_copies_nothing() {
    let text = format!("{{\"id\":1,\"body\":\"{}\"}}", "x".repeat(1 << 20));
    let document = document(text);
    let rope = document.splice(&[edit("/id", Some(&json!(2)))]).expect("possible");
    let frames: Vec<Bytes> = rope.into_frames().collect();
    assert_eq!((&frames[0][..], &frames[1][..]), (&b"{\"id\":"[..], &b"2"[..]));
    assert_eq!(frames[2].as_ptr(), document.text()[7..].as_ptr());
}

#[test]
fn edits_that_cannot_all_be_made_are_refused() {
    let text = r#"{"a": {"b": 1}, "c": [1, 2]}"#;
    let kind = |edits: &[Edit]| spliced(text, edits).expect_err("refused").kind().clone();
    let one = json!(1);
    assert_eq!(kind(&[edit("/a", Some(&one)), edit("/a/b", Some(&one))]), ErrorKind::Conflict);
    assert_eq!(kind(&[edit("/a", None), edit("/a/x", Some(&one))]), ErrorKind::Conflict);
    assert_eq!(kind(&[edit("/a", None), edit("/a", Some(&one))]), ErrorKind::Conflict);
    assert_eq!(kind(&[edit("/x", Some(&one)), edit("/x", Some(&one))]), ErrorKind::Conflict);
    assert_eq!(kind(&[edit("", None)]), ErrorKind::Conflict);
    assert!(matches!(kind(&[edit("/x/y", Some(&one))]), ErrorKind::NotFound { .. }));
    assert!(matches!(kind(&[edit("/c/2", Some(&one))]), ErrorKind::NotFound { .. }));
    assert!(matches!(kind(&[edit("/c/-", None)]), ErrorKind::NotFound { .. }));
    assert!(matches!(Insert::json("[1,]".into()).expect_err("not JSON").kind(), ErrorKind::Json(_)));
}

#[test]
fn of_a_key_that_is_there_twice_all_are_removed() {
    assert_eq!(spliced(r#"{"a":1,"b":2,"a":3}"#, &[edit("/a", None)]).expect("possible"), r#"{"b":2}"#);
    assert_eq!(
        spliced(r#"{"a":1,"a":3}"#, &[edit("/a", Some(&json!(4)))]).expect("possible"),
        r#"{"a":1,"a":4}"#
    );
}

/// What one edit does to objects; none if it cannot be made.
fn edited(value: &mut Value, steps: &[String], to: Option<&Value>) -> Option<()> {
    let (last, before) = steps.split_last()?;
    let mut parent = value;
    for step in before {
        parent = match parent {
            Value::Object(members) => members.get_mut(step)?,
            Value::Array(elements) => elements.get_mut(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match (parent, to) {
        (Value::Object(members), Some(to)) => drop(members.insert(last.clone(), to.clone())),
        (Value::Object(members), None) => drop(members.remove(last)?),
        (Value::Array(elements), Some(to)) if last == "-" => elements.push(to.clone()),
        (Value::Array(elements), Some(to)) => *elements.get_mut(last.parse::<usize>().ok()?)? = to.clone(),
        (Value::Array(elements), None) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < elements.len())?;
            elements.remove(index);
        }
        _ => return None,
    }
    Some(())
}

proptest! {
    #[test]
    fn a_splice_is_what_editing_the_objects_gives(
        value in any_value(),
        pretty: bool,
        to in any_value(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4), 1..8),
    ) {
        let text = written(&value, pretty);
        let mut expected: Value = serde_json::from_str(&text).expect("JSON");
        let to: Value = serde_json::from_str(&to.to_string()).expect("JSON");
        let all = places(&value);
        let mut changes: Vec<(String, Option<Value>)> = picks.iter().map(|(index, what)| {
            let place = all[index.index(all.len())].clone();
            match what {
                0 => (place, None),
                1 => (place, Some(to.clone())),
                2 => (place + "/new~0", Some(to.clone())),
                _ => (place + "/-", Some(to.clone())),
            }
        }).collect();
        changes.retain(|(place, _)| !place.is_empty());
        let edits: Vec<Edit> = changes.iter().map(|(place, to)| edit(place, to.as_ref())).collect();
        let found = spliced(&text, &edits);
        // Replacements first, then appends, then removals from the end: so no edit moves another.
        let order = |(place, to): &(String, Option<Value>)| match to {
            Some(_) if place.ends_with("/-") || place.ends_with("/new~0") => 1,
            Some(_) => 0,
            None => 2,
        };
        let key = |place: &str| pointer(place).steps().iter().map(|step| (step.parse::<u64>().ok(), step.clone())).collect::<Vec<_>>();
        changes.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| if order(a) == 2 { key(&b.0).cmp(&key(&a.0)) } else { std::cmp::Ordering::Equal }));
        let Ok(found) = found else { return Ok(()) };
        for (place, to) in &changes {
            prop_assert!(edited(&mut expected, pointer(place).steps(), to.as_ref()).is_some(), "{}", place);
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&found).expect("JSON"), expected);
    }

    #[test]
    fn columns_are_the_fields_of_the_records(rows in prop::collection::vec((any::<i32>(), any::<Option<f32>>(), any::<bool>(), any::<String>()), 1..60), pretty: bool) {
        let records = Value::Array(rows.iter().map(|(id, score, active, name)| {
            let mut record = Map::from_iter([("id".into(), json!(id)), ("active".into(), json!(active)), ("name".into(), json!(name))]);
            if let Some(score) = score.filter(|score| score.is_finite()) {
                record.insert("score".into(), json!(f64::from(score) + 0.5));
            }
            Value::Object(record)
        }).collect());
        let text = written(&records, pretty);
        let root = document(text).root();
        let names: Vec<String> = ["name", "score", "id", "active"].map(String::from).to_vec();
        let fills = Fills { by_name: [("score".to_owned(), Fill::Float(-1.0))].into(), ..Fills::default() };
        let columns = root.columns(&names, &fills).expect("alike");
        let column = |index: usize| &columns[index].data;
        let ColumnData::Int(ids) = column(2) else { panic!("whole numbers") };
        prop_assert_eq!(ids, &rows.iter().map(|row| i64::from(row.0)).collect::<Vec<_>>());
        let ColumnData::Float(scores) = column(1) else { panic!("floats") };
        let expected: Vec<f64> = rows.iter().map(|row| row.1.filter(|score| score.is_finite()).map_or(-1.0, |score| f64::from(score) + 0.5)).collect();
        prop_assert_eq!(scores, &expected);
        let ColumnData::Bool(actives) = column(3) else { panic!("truth values") };
        prop_assert_eq!(actives, &rows.iter().map(|row| row.2).collect::<Vec<_>>());
        let ColumnData::Text(texts) = column(0) else { panic!("strings") };
        let texts: Vec<String> = texts.iter().map(|raw| {
            let (start, end) = raw.expect("present");
            String::from_utf8(unescape(&root.document().text()[start as usize..end as usize]).into_owned()).expect("UTF-8")
        }).collect();
        prop_assert_eq!(texts, rows.iter().map(|row| row.3.clone()).collect::<Vec<_>>());
    }
}

#[test]
fn records_that_are_not_alike_are_named() {
    let wrong = |text: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let error = document(text.to_owned()).root().columns(&names, &Fills::default()).expect_err(text);
        match error.kind() {
            ErrorKind::Json(place) => place.pointer.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong(r#"[{"a": 1}, {"b": 1}]"#, &["a"]), "/1");
    assert_eq!(wrong(r#"[{"a": 1}, {"a": null}]"#, &["a"]), "/1/a");
    assert_eq!(wrong(r#"[{"a": 1}, {"a": "x"}]"#, &["a"]), "/1/a");
    assert_eq!(wrong(r#"[{"a": [1]}]"#, &["a"]), "/0/a");
    assert_eq!(wrong(r#"[{"a": 1e400}]"#, &["a"]), "/0/a");
    assert_eq!(wrong(r#"[{"a": 1}, 2]"#, &["a"]), "/1");
}
