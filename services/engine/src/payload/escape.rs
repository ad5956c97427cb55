//! A text of any size as a JSON string, escaped while it is sent.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of text escaped at a time; at most six times as many come out.
const PIECE: usize = 64 << 10;

/// A text that is escaped once it is sent.
#[derive(Clone, Debug)]
pub(super) struct Escaped {
    text: Bytes,
    /// Length of what comes out, known before anything is escaped.
    len: u64,
}

impl Escaped {
    /// What `text` is inside of a JSON string, and whether that is another text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is not UTF-8.
    pub(super) fn new(text: Bytes) -> Result<(Self, bool)> {
        if simdutf8::basic::from_utf8(&text).is_err() {
            return Err(Error::new(ErrorKind::InvalidRequest, "a text is not UTF-8: send it as raw bytes"));
        }
        let more: u64 = text.chunks(PIECE).map(added).sum();
        let len = text.len() as u64 + more;
        Ok((Self { text, len }, more > 0))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn into_text(self) -> Bytes {
        self.text
    }

    /// Take and escape the next piece; `None` when all is escaped.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        if self.text.is_empty() {
            return None;
        }
        let piece = self.text.split_to(PIECE.min(self.text.len()));
        let more = usize::try_from(added(&piece)).expect("a piece is small");
        let mut escaped = Vec::with_capacity(piece.len() + more);
        let mut copied = 0;
        for (at, byte) in piece.iter().enumerate() {
            if is_escaped(*byte) {
                escaped.extend_from_slice(&piece[copied..at]);
                push_escape(*byte, &mut escaped);
                copied = at + 1;
            }
        }
        escaped.extend_from_slice(&piece[copied..]);
        self.len = self.len.saturating_sub(escaped.len() as u64);
        Some(escaped.into())
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Bytes that escaping adds to `piece`. Without branches, so that it is done by SIMD.
fn added(piece: &[u8]) -> u64 {
    let of_few = |few: &[u8]| {
        few.iter().fold(0_u16, |sum, byte| {
            let short = matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t');
            let long = *byte < 0x20 && !short;
            sum + u16::from(short) + 5 * u16::from(long)
        })
    };
    piece.chunks(1 << 10).map(|few| u64::from(of_few(few))).sum()
}

fn push_escape(byte: u8, escaped: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => escaped.extend_from_slice(&[b'\\', byte]),
        b'\n' => escaped.extend_from_slice(b"\\n"),
        b'\r' => escaped.extend_from_slice(b"\\r"),
        b'\t' => escaped.extend_from_slice(b"\\t"),
        _ => {
            escaped.extend_from_slice(b"\\u00");
            escaped.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Payload;
    use super::*;

    fn json_of(text: &str) -> Payload {
        Payload::json_string(Payload::from(text.to_owned())).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn it_says_what_the_text_says_and_its_length_is_known(text in "[ -~\\n\\t\"\\\\é\u{1}\u{1F600}]{0,400}", times in 1_usize..600) {
            let text = text.repeat(times);
            let json = json_of(&text);
            let written = json.clone().into_bytes().expect("memory");
            prop_assert_eq!(json.len(), written.len() as u64);
            prop_assert_eq!(serde_json::from_slice::<String>(&written).expect("JSON"), text);
        }
    }

    #[test]
    fn a_text_without_escapes_stays_where_it_is() {
        let text = Bytes::from(vec![b'x'; 1 << 20]);
        let json = Payload::json_string(text.clone().into()).expect("UTF-8");
        let frames: Vec<Bytes> = json.into_frames().collect();
        assert_eq!((&frames[0][..], frames[1].as_ptr()), (&b"\""[..], text.as_ptr()));
    }

    #[test]
    fn every_byte_that_has_to_be_is_escaped() {
        let text: String = (0..0x80_u8).map(char::from).collect();
        let written = json_of(&text).into_bytes().expect("small");
        assert_eq!(serde_json::from_slice::<String>(&written).expect("JSON"), text);
        assert_eq!(json_of("").into_bytes().expect("small"), "\"\"");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let error = Payload::json_string(vec![b'a', 0xFF].into()).expect_err("not UTF-8");
        assert_eq!(*error.kind(), ErrorKind::InvalidRequest);
    }
}
