//! Base64 in strings against a decoder that goes character by character. The first two bytes say what is in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpgateway_engine::json::{Document, Options};
use mcpgateway_fuzz::LONGEST;

const ALPHABET: &[u8; 72] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_==AQ \n";

fuzz_target!(|input: &[u8]| {
    let Some(([pieces, kind], rest)) = input.split_first_chunk::<2>() else { return };
    if rest.len() > LONGEST {
        return;
    }
    // Enough in front, now and then, for what is decoded piece by piece.
    let before = if pieces % 16 == 0 { usize::from(*kind) * 1024 } else { usize::from(pieces % 4) };
    let encoded: String = std::iter::repeat_n('A', before)
        .chain(rest.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 72)])))
        .collect();
    let escape = kind % 2 == 0;
    let slash = if escape { "\\/" } else { "/" };
    let json = format!("\"{}\"", encoded.replace('/', slash).replace('\n', "\\n"));
    let document = Document::parse(json.into(), &Options::default()).expect("valid JSON");
    match (document.root().base64(), decoded(encoded.as_bytes())) {
        (Ok(found), Some(expected)) => {
            assert_eq!(found.into_bytes().expect("in memory"), expected, "{encoded}")
        }
        (Err(_), None) => {}
        (found, expected) => panic!("{encoded}: {found:?}, not {:?}", expected.map(|bytes| bytes.len())),
    }
});

/// What `text` encodes (RFC 4648), by one alphabet or the other, padded or not.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.len() - text.iter().rev().take_while(|byte| **byte == b'=').count().min(2);
    let (digits, padding) = text.split_at(end);
    let for_urls = digits.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut len) = (0_u32, 0);
    for byte in digits {
        let digit = match (byte, for_urls) {
            (b'A'..=b'Z', _) => byte - b'A',
            (b'a'..=b'z', _) => byte - b'a' + 26,
            (b'0'..=b'9', _) => byte - b'0' + 52,
            (b'+', false) | (b'-', true) => 62,
            (b'/', false) | (b'_', true) => 63,
            _ => return None,
        };
        (bits, len) = (bits << 6 | u32::from(digit), len + 6);
        if len >= 8 {
            len -= 8;
            bytes.push((bits >> len) as u8);
            bits &= (1 << len) - 1;
        }
    }
    let is_padded_right = padding.is_empty() || text.len() % 4 == 0;
    (bits == 0 && len < 6 && is_padded_right).then_some(bytes)
}
