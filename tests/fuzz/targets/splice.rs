//! Edits of a document against the same edits of a value. Lines of `pointer json` come first, up to an empty one; a
//! line without JSON removes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpgateway_engine::ErrorKind;
use mcpgateway_engine::json::{Document, Edit, Insert, Options, Pointer};
use mcpgateway_fuzz::{LONGEST, expected, is_private};
use serde_json::Value;

struct Change {
    steps: Vec<String>,
    value: Option<Value>,
}

fuzz_target!(|input: &[u8]| {
    let Some(split) = input.windows(2).position(|pair| pair == b"\n\n") else { return };
    let (lines, text) = (&input[..split], &input[split + 2..]);
    if text.len() > LONGEST || is_private(input) {
        return;
    }
    let Ok(document) = Document::parse(Bytes::copy_from_slice(text), &Options::default()) else { return };
    let (mut edits, mut changes) = (Vec::new(), Vec::new());
    for line in lines.split(|byte| *byte == b'\n').take(4) {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let Some(Ok(pointer)) = parts.next().map(std::str::from_utf8) else { return };
        let Ok(pointer) = Pointer::parse(pointer) else { return };
        let insert = parts.next().map(|json| Insert::json(Bytes::copy_from_slice(json)));
        let Ok(insert) = insert.transpose() else { return };
        let value =
            line.splitn(2, |byte| *byte == b' ').nth(1).map(|json| expected(json).expect("valid JSON"));
        changes.push(Change { steps: pointer.steps().to_vec(), value });
        edits.push(Edit { pointer, insert });
    }
    let before = expected(text).expect("valid JSON");
    match document.splice(&edits) {
        Ok(payload) => {
            let spliced = payload.into_bytes().expect("in memory");
            let found = expected(&spliced).expect("a splice is valid JSON");
            assert_eq!(found, edited(before, changes).expect("possible, as it was done"));
        }
        Err(error) => match error.kind() {
            ErrorKind::Conflict => assert!(can_conflict(&changes)),
            ErrorKind::NotFound { .. } => assert!(changes.iter().any(|change| !has_place(&before, change))),
            other => panic!("{other:?}"),
        },
    }
});

/// Whether two changes are of the same place or one is inside of another, or the whole document is to be removed.
fn can_conflict(changes: &[Change]) -> bool {
    let meet = |one: &Change, other: &Change| one.steps.starts_with(&other.steps);
    let pairs = changes.iter().enumerate();
    let meeting = pairs
        .clone()
        .any(|(index, one)| pairs.clone().any(|(beside, other)| index != beside && meet(one, other)));
    meeting || changes.iter().any(|change| change.steps.is_empty() && change.value.is_none())
}

fn has_place(value: &Value, change: &Change) -> bool {
    let Some((last, before)) = change.steps.split_last() else { return true };
    match (at(value, before), &change.value) {
        (Some(Value::Object(members)), None) => members.contains_key(last),
        (Some(Value::Object(_)), Some(_)) => true,
        (Some(Value::Array(elements)), value) => {
            (last == "-" && value.is_some()) || index_of(last).is_some_and(|index| index < elements.len())
        }
        _ => false,
    }
}

fn at<'v>(value: &'v Value, steps: &[String]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Array(elements) => elements.get(index_of(step)?),
        Value::Object(members) => members.get(step),
        _ => None,
    })
}

fn index_of(step: &str) -> Option<usize> {
    let index = step.parse().ok()?;
    (usize::to_string(&index) == step).then_some(index)
}

/// `value` with `changes` made: what is replaced or added first, then removed from the last element on, so that every
/// pointer means what it meant before.
fn edited(mut value: Value, mut changes: Vec<Change>) -> Option<Value> {
    let (removed, set): (Vec<_>, Vec<_>) = changes.drain(..).partition(|change| change.value.is_none());
    for change in set {
        let new = change.value?;
        let Some((last, before)) = change.steps.split_last() else {
            value = new;
            continue;
        };
        match parent(&mut value, before)? {
            Value::Array(elements) if last == "-" => elements.push(new),
            Value::Array(elements) => *elements.get_mut(index_of(last)?)? = new,
            Value::Object(members) => drop(members.insert(last.clone(), new)),
            _ => return None,
        }
    }
    let mut steps: Vec<Vec<String>> = removed.into_iter().map(|change| change.steps).collect();
    steps.sort_by_key(|steps| (steps.len(), steps.last().and_then(|last| index_of(last))));
    for steps in steps.iter().rev() {
        let (last, before) = steps.split_last()?;
        match parent(&mut value, before)? {
            Value::Array(elements) => drop(elements.remove(index_of(last)?)),
            Value::Object(members) => drop(members.remove(last)?),
            _ => return None,
        }
    }
    Some(value)
}

fn parent<'v>(value: &'v mut Value, steps: &[String]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Array(elements) => elements.get_mut(index_of(step)?),
        Value::Object(members) => members.get_mut(step),
        _ => None,
    })
}
