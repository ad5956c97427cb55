//! A document, its check and both walks against `serde_json`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpgateway_engine::ErrorKind;
use mcpgateway_engine::json::{Document, Options, TextWalk, check, with_tape};
use mcpgateway_fuzz::{LONGEST, expected, is_private, value_of, walked, with_shown_numbers};

fuzz_target!(|text: &[u8]| {
    if text.len() > LONGEST || is_private(text) {
        return;
    }
    let parsed = Document::parse(Bytes::copy_from_slice(text), &Options::default());
    assert_eq!(parsed.is_ok(), check(text, &Options::default()).is_ok());
    let made = walked(TextWalk::new(text), 1 + text.len() % 7);
    assert_eq!(parsed.is_ok(), made.is_some());
    let by_tape = with_tape(text, |tape| walked(tape, 1 + text.len() % 5)).expect("memory");
    match &parsed {
        Ok(document) => {
            let expected = expected(text).expect("valid JSON");
            assert_eq!(value_of(&document.root()), expected);
            let expected = with_shown_numbers(expected);
            if let Some(by_tape) = by_tape {
                assert_eq!(by_tape.as_ref(), Some(&expected));
            }
            assert_eq!(made, Some(expected));
        }
        Err(error) => {
            assert!(by_tape.is_none());
            match error.kind() {
                // Deeper than allowed, which is no matter of the oracle.
                ErrorKind::LimitExceeded { name: "max_depth", .. } => {}
                ErrorKind::Json(place) => {
                    assert!(expected(text).is_none());
                    assert!(place.offset <= text.len() as u64 && place.line >= 1 && place.column >= 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
});
