//! Numbers, and arrays of them of every type, against the standard library. Bytes stand for what numbers are made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgateway_engine::json::{Array, DataType, Document, Options};
use mcpgateway_fuzz::{LONGEST, expected, value_of};
use serde_json::Value;

const ALPHABET: &[u8; 32] = b"0123456789012345679.-+eE,[] ,0.,";

fuzz_target!(|input: &[u8]| {
    if input.len() > LONGEST {
        return;
    }
    let inner = input.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let text = format!("[{}]", inner.collect::<String>());
    let parsed = Document::parse(text.clone().into(), &Options::default());
    let expected = expected(text.as_bytes());
    let Ok(document) = parsed else {
        assert!(expected.is_none() || text.contains(&"[".repeat(1024)), "{text}");
        return;
    };
    let expected = expected.expect("valid JSON");
    assert_eq!(value_of(&document.root()), expected);
    let (mut shape, mut numbers) = (Vec::new(), Vec::new());
    let is_rectangular = flatten(&expected, 0, &mut shape, &mut numbers);
    let array = |data_type| document.root().array(Some(data_type));
    macro_rules! compare {
        ($($data_type:ident: $number:ty, $read:expr;)*) => {$({
            let read = $read;
            let all: Option<Vec<$number>> = numbers.iter().map(|written| read(written)).collect();
            match (array(DataType::$data_type), all.filter(|_| is_rectangular)) {
                (Ok(found), Some(all)) => {
                    let bytes: Vec<u8> = all.iter().flat_map(|number| number.to_ne_bytes()).collect();
                    assert_same_array(found, &shape, &bytes, &text);
                }
                (Err(_), None) => {}
                (found, _) => panic!("{text}: {found:?}"),
            }
        })*};
    }
    compare! {
        Float64: f64, |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        Float32: f32, |text: &str| text.parse().ok().filter(|number: &f32| number.is_finite());
        Int8: i8, whole;
        Int16: i16, whole;
        Int32: i32, whole;
        Int64: i64, whole;
        Uint8: u8, whole;
        Uint16: u16, whole;
        Uint32: u32, whole;
        Uint64: u64, whole;
    }
});

fn whole<T: TryFrom<i128>>(written: &str) -> Option<T> {
    T::try_from(written.parse::<i128>().ok()?).ok()
}

fn assert_same_array(mut found: Array, shape: &[usize], bytes: &[u8], text: &str) {
    assert_eq!(found.shape, shape, "{text}");
    // An array without elements has memory of its own.
    assert_eq!(&found.memory.bytes_mut()[..bytes.len()], bytes, "{text}");
}

/// The shape of nested arrays, and the numbers in them; false if they are not rectangular.
fn flatten(value: &Value, depth: usize, shape: &mut Vec<usize>, numbers: &mut Vec<String>) -> bool {
    let Value::Array(elements) = value else {
        numbers.push(value.to_string());
        return depth == shape.len();
    };
    if depth == shape.len() && numbers.is_empty() && shape.last() != Some(&0) {
        shape.push(elements.len());
    }
    shape.get(depth) == Some(&elements.len())
        && elements.iter().all(|element| flatten(element, depth + 1, shape, numbers))
}
