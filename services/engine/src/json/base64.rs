//! Base64 inside of strings, decoded into warm memory without a string in between.

use base64_simd::{Out, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::node::{Kind, Node, unescaped};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::{AdmittedRegion, Decision, Payload, Transfer};

/// Characters decoded at a time: a multiple of four, and few enough for the cache.
const PIECE: usize = 64 << 10;
/// Decoded bytes below which the heap is as good as a region.
const SMALL: usize = 64 << 10;

impl Node {
    /// The bytes that this string is the base64 of (RFC 4648): by the standard alphabet or that for URLs, padded or
    /// not.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when this is no string, [`ErrorKind::Json`] when it is no base64, with the place of
    /// what is none, [`ErrorKind::BudgetExceeded`] when the memory budget has no room for a large one, and
    /// [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn base64(&self) -> Result<Payload> {
        crate::fault::point("json::base64");
        let Some(raw) = self.raw_text() else {
            return Err(self.wrong_kind("base64 is in strings", Kind::String));
        };
        let invalid = |(at, what)| self.document().error_at(self.offset() + 1 + at, what);
        let decoded = match Decoded::of(raw) {
            // What SIMD refuses may be escapes, such as \/ for /.
            Err(_) if raw.contains(&b'\\') => {
                // Where exactly is lost with the escapes: it is in this string.
                let text = unescaped(raw)?.map(Payload::into_bytes).transpose()?.unwrap_or_default();
                Decoded::of(&text).map_err(|(_, what)| invalid((0, what)))??
            }
            read => read.map_err(invalid)??,
        };
        Ok(decoded.into_payload())
    }

    /// That this would have to be of another kind.
    pub(super) fn wrong_kind(&self, what: &str, wanted: Kind) -> Error {
        let pointer = self.pointer();
        let shown: String = pointer.chars().take(200).collect();
        let subject = format!(
            "{what}: the value at {shown:?} is of kind {}, not {}",
            self.kind().as_str(),
            wanted.as_str()
        );
        Error::new(ErrorKind::WrongKind, subject)
    }
}

/// The bytes that `text` is the base64 of, as [`Node::base64`] reads it; `None` if it is none.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`] or [`ErrorKind::BudgetExceeded`] when there is no memory.
pub fn decode_base64(text: &[u8]) -> Result<Option<Payload>> {
    Decoded::of(text).ok().map(|decoded| Ok(decoded?.into_payload())).transpose()
}

/// What is wrong, and where.
type Wrong = (usize, &'static str);

/// Where the padding of base64 begins.
fn without_padding(text: &[u8]) -> Result<usize, Wrong> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let end = text.len() - padding;
    if (padding > 0 && !text.len().is_multiple_of(4)) || end % 4 == 1 {
        return Err((end, "this base64 has another length than its padding says"));
    }
    Ok(end)
}

enum Decoded {
    Small(Vec<u8>),
    Large(AdmittedRegion),
}

impl Decoded {
    fn into_payload(self) -> Payload {
        let by_decoding = |len| Decision::because(Transfer::Copy, len, "base64, decoded");
        match self {
            Self::Small(bytes) => {
                let decision = by_decoding(bytes.len() as u64);
                Payload::new(Bytes::from(bytes), decision)
            }
            Self::Large(region) => region.freeze(by_decoding),
        }
    }

    /// Decode `text`; or say where it is no base64.
    fn of(text: &[u8]) -> Result<Result<Self>, Wrong> {
        let text = &text[..without_padding(text)?];
        let wrong = |at| (at, "this is no base64");
        let len = text.len() / 4 * 3 + (text.len() % 4 * 3) / 4;
        if len < SMALL {
            let mut bytes = vec![0; len];
            return decode(text, &mut bytes).map(|()| Ok(Self::Small(bytes))).map_err(wrong);
        }
        let mut region = match AdmittedRegion::require(len) {
            Ok(region) => region,
            Err(error) => return Ok(Err(error)),
        };
        decode(text, &mut region.spare_mut()[..len]).map_err(wrong)?;
        region.advance(len);
        Ok(Ok(Self::Large(region)))
    }
}

/// Decode piece by piece. The first piece that one alphabet refuses decides for the other; a text that mixes both
/// is refused.
fn decode(text: &[u8], mut room: &mut [u8]) -> Result<(), usize> {
    let (mut codec, mut decided) = (STANDARD_NO_PAD, false);
    for (index, piece) in text.chunks(PIECE).enumerate() {
        let (target, rest) = room.split_at_mut(piece.len() / 4 * 3 + (piece.len() % 4 * 3) / 4);
        if codec.decode(piece, Out::from_slice(&mut *target)).is_err() {
            let at = index * PIECE;
            // What came before has to be valid by the other alphabet too: without + and /.
            if decided || memchr::memchr2(b'+', b'/', &text[..at + piece.len()]).is_some() {
                return Err(at + first_refused(piece, &codec));
            }
            (codec, decided) = (URL_SAFE_NO_PAD, true);
            if codec.decode(piece, Out::from_slice(target)).is_err() {
                return Err(at + first_refused(piece, &codec));
            }
        }
        room = rest;
    }
    Ok(())
}

/// Where the group of four is that a codec refuses, and in it the character.
fn first_refused(piece: &[u8], codec: &base64_simd::Base64) -> usize {
    let refused = |four: &&[u8]| codec.check(four).is_err();
    let Some((index, four)) = piece.chunks(4).enumerate().find(|(_, four)| refused(four)) else { return 0 };
    let strange = four.iter().position(|byte| {
        codec.check(&[*byte, b'A']).is_err() && codec.check(&[b'A', b'A', *byte, b'A']).is_err()
    });
    index * 4 + strange.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use base64_simd::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::super::document::{Document, Options};
    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>> {
        let json = format!("[\"{text}\"]");
        let document = Document::parse(json.into(), &Options::default()).expect("valid");
        let payload = document.root().index(0).expect("one element").base64()?;
        Ok(payload.into_bytes()?.to_vec())
    }

    fn refused_at(text: &str) -> u64 {
        match decoded(text).expect_err(text).kind() {
            ErrorKind::Json(place) => place.offset - 2,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn both_alphabets_with_and_without_padding_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300), times in 1_usize..700) {
            let bytes = bytes.repeat(times);
            for text in [STANDARD.encode_to_string(&bytes), URL_SAFE.encode_to_string(&bytes)] {
                prop_assert_eq!(&decoded(&text).expect("valid"), &bytes);
                prop_assert_eq!(&decoded(text.trim_end_matches('=')).expect("valid"), &bytes);
                prop_assert_eq!(&decoded(&text.replace('/', "\\/")).expect("valid"), &bytes);
            }
        }

        #[test]
        fn what_is_refused_is_named(len in 1_usize..100_000, at in 0_usize..100_000, strange in "[ .*:=$]") {
            let mut text = "QUJD".repeat(len / 4 + 1);
            let at = at % (text.len() - 4);
            text.replace_range(at..=at, &strange);
            prop_assert_eq!(refused_at(&text), at as u64);
        }
    }

    #[test]
    fn the_alphabets_are_not_mixed() {
        assert_eq!(refused_at("+_AA"), 1);
        assert!(decoded(&("-AAA".repeat(40_000) + "+AAA")).is_err());
        assert!(decoded(&("+AAA".repeat(40_000) + "-AAA")).is_err());
        assert_eq!(decoded(&("AAAA".repeat(40_000) + "-AAA")).expect("valid").len(), 120_003);
    }

    #[test]
    fn wrong_lengths_and_leftover_bits_are_refused() {
        for text in ["A", "AAAAA", "QQ=", "QQ===", "Q===", "=", "====", "QQ=Q", "QR==", "QUK"] {
            assert!(decoded(text).is_err(), "{text}");
        }
        assert_eq!(decoded("").expect("empty"), b"");
        assert_eq!(decoded("QQ==").expect("valid"), b"A");
        assert_eq!(decoded("QQ").expect("valid"), b"A");
    }
}
