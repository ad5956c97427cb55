//! Pointers into a document and by peeking, against those of `serde_json`. The pointer comes first, up to a NUL.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcpgateway_engine::json::{Document, Duplicates, Options, Pointer, Whole, peek};
use mcpgateway_fuzz::{LONGEST, expected, is_private, value_of};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(pointer), Some(text)) = (parts.next(), parts.next()) else { return };
    let Ok(pointer) = std::str::from_utf8(pointer) else { return };
    if text.len() > LONGEST || is_private(text) {
        return;
    }
    let Ok(parsed) = Pointer::parse(pointer) else {
        let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        assert!(!(pointer.is_empty() || pointer.starts_with('/')) || !escapes, "{pointer:?}");
        return;
    };
    let text = Bytes::copy_from_slice(text);
    let options = Options::default();
    let peeked = peek(&text, &parsed, Whole::Yes, &options);
    let Ok(document) = Document::parse(text.clone(), &options) else {
        assert!(peeked.is_err());
        return;
    };
    let value = expected(&text).expect("valid JSON");
    let found = document.root().at(&parsed);
    assert_eq!(found.as_ref().ok().map(value_of).as_ref(), value.pointer(pointer), "{pointer:?}");
    assert_eq!(peeked.ok().map(|node| node.raw()), found.as_ref().ok().map(|node| node.raw()));
    if let Ok(node) = &found {
        let again = document.root().at(&Pointer::parse(&node.pointer()).expect("a pointer"));
        assert_eq!(again.expect("there").offset(), node.offset());
    }
    let refusing = Options { duplicates: Duplicates::Refuse, ..Options::default() };
    if Document::parse(text.clone(), &refusing).is_ok() {
        // Where every key is there once, the first is the last.
        let first = peek(&text, &parsed, Whole::No, &options);
        assert_eq!(first.ok().map(|node| node.raw()), found.ok().map(|node| node.raw()));
    }
});
