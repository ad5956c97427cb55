//! Strings as they are written: where they end, what they say.

use std::borrow::Cow;
use std::fmt::Write;

use memchr::memchr2;

#[cfg(not(target_arch = "x86_64"))]
use self::look_by_words as look;
#[cfg(target_arch = "x86_64")]
use self::sse2::look;
use super::scan::hex4;

/// Bytes that are unescaped at a time: few enough for the cache.
const PIECE: usize = 16 << 10;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// What the bytes of a string show up to its first backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Where its closing quote is, or its first backslash.
    pub(super) end: usize,
    /// Whether it is a backslash.
    pub(super) escaped: bool,
    /// Whether it is ASCII up to there.
    pub(super) ascii: bool,
}

/// Look at the string whose first byte behind the quote is at `start`, up to its first backslash; none if it has no
/// end, or has control characters.
#[inline]
pub(super) fn plain_at(text: &[u8], start: usize) -> Option<Plain> {
    let (mut at, mut ascii) = (start, true);
    while let Some(block) = text.get(at..)?.first_chunk() {
        let look = look(block);
        ascii &= look.ascii;
        at += look.plain;
        if look.plain < STEP {
            return plain_end(text, at, ascii);
        }
    }
    while matches!(text.get(at), Some(byte) if !stops(*byte)) {
        ascii &= text[at].is_ascii();
        at += 1;
    }
    plain_end(text, at, ascii)
}

#[inline]
fn plain_end(text: &[u8], end: usize, ascii: bool) -> Option<Plain> {
    match text.get(end)? {
        b'"' => Some(Plain { end, escaped: false, ascii }),
        b'\\' => Some(Plain { end, escaped: true, ascii }),
        _ => None,
    }
}

/// Append what a string says from `start` on, which is a backslash, to its closing quote; returns where that is. None
/// if it has none, has control characters, or has a backslash that is no escape of JSON or leaves half a surrogate
/// pair.
pub(super) fn unescape_to_quote(text: &[u8], start: usize, said: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at = push_escaped(text, at, said)?,
            0..0x20 => return None,
            byte => {
                said.push(*byte);
                at += 1;
            }
        }
        while let Some(block) = text[at..].first_chunk::<STEP>() {
            let plain = look(block).plain;
            // All are written, and those that were too many taken back, as a copy of a known length is one store.
            said.extend_from_slice(block);
            said.truncate(said.len() - (STEP - plain));
            at += plain;
            if plain < STEP {
                break;
            }
        }
    }
}

/// Bytes looked at at a time.
const STEP: usize = 16;

/// What is in front of the first quote, backslash or control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Bytes before it.
    plain: usize,
    /// Whether these are ASCII.
    ascii: bool,
}

fn stops(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    use super::{Look, STEP};

    #[inline]
    pub(super) fn look(block: &[u8; STEP]) -> Look {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { look_by_sse2(block) }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn look_by_sse2(block: &[u8; STEP]) -> Look {
        // SAFETY: 16 bytes were just borrowed, and the load asks for no alignment.
        let bytes = unsafe { _mm_loadu_si128(std::ptr::from_ref(block).cast()) };
        let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
        let stops = bits(_mm_or_si128(control, _mm_or_si128(is(b'"'), is(b'\\'))));
        let plain = (stops | 1 << STEP).trailing_zeros();
        Look { plain: plain as usize, ascii: bits(bytes) & ((1 << plain) - 1) == 0 }
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn bits(bytes: __m128i) -> u32 {
        _mm_movemask_epi8(bytes).cast_unsigned()
    }
}

/// The same on any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn look_by_words(block: &[u8; STEP]) -> Look {
    let (mut plain, mut high) = (0, 0);
    for eight in block.as_chunks().0 {
        let eight = u64::from_le_bytes(*eight);
        let hits = quotes_and_backslashes(eight) | controls(eight);
        if hits != 0 {
            let hit = hits.trailing_zeros() & !7;
            plain += (hit / 8) as usize;
            high |= eight & ((1 << hit) - 1);
            break;
        }
        plain += 8;
        high |= eight;
    }
    Look { plain, ascii: high & HIGHS == 0 }
}

/// Bytes looked at at a time where only what is plain is sought.
const LONG: usize = 32;

/// Bytes in front that are neither quote, backslash nor control character, by whole blocks, and all their bits.
#[inline]
pub(super) fn plain_blocks(text: &[u8]) -> (usize, u8) {
    let (mut len, mut bits) = (0, 0);
    for block in text.as_chunks::<LONG>().0 {
        let (stop, all) =
            block.iter().fold((0, 0), |(stop, all), byte| (stop | u8::from(stops(*byte)), all | *byte));
        if stop != 0 {
            break;
        }
        bits |= all;
        len += LONG;
    }
    (len, bits)
}

/// The high bit of each byte that is one; exact for the first, which is all that is used.
#[inline]
fn quotes_and_backslashes(eight: u64) -> u64 {
    const QUOTES: u64 = ONES * 0x22;
    const BACKSLASHES: u64 = ONES * 0x5C;
    zeros_of(eight ^ QUOTES) | zeros_of(eight ^ BACKSLASHES)
}

/// The same for bytes below 0x20.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline]
fn controls(eight: u64) -> u64 {
    const SPACES: u64 = ONES * 0x20;
    eight.wrapping_sub(SPACES) & !eight & HIGHS
}

#[inline]
fn zeros_of(eight: u64) -> u64 {
    eight.wrapping_sub(ONES) & !eight & HIGHS
}

/// Where the closing quote is of the string whose first byte behind the quote is at `start`, which may be far.
#[inline]
pub(super) fn closing_quote(text: &[u8], start: usize) -> usize {
    const NEAR: usize = 64;
    let mut at = start;
    loop {
        let near = at;
        at = loop {
            let eight = text.get(at..).and_then(|rest| rest.first_chunk());
            let Some(eight) = eight.filter(|_| at - near < NEAR) else {
                break at + memchr2(b'"', b'\\', &text[at..]).expect("the text is valid");
            };
            let eight = u64::from_le_bytes(*eight);
            let hits = quotes_and_backslashes(eight);
            if hits != 0 {
                break at + (hits.trailing_zeros() / 8) as usize;
            }
            at += 8;
        };
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
}

/// What the bytes between the quotes of a valid string say, as UTF-8.
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::new();
    // Keys of texts that turned out malformed come here too, and are shown as far as they make sense.
    let _ = unescape_into(raw, &mut text);
    Cow::Owned(text)
}

/// Make `text` what the bytes between the quotes of a string say; none where a backslash is no escape of JSON, or
/// leaves half a surrogate pair.
fn unescape_into(raw: &[u8], text: &mut Vec<u8>) -> Option<()> {
    text.clear();
    text.reserve(raw.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        text.extend_from_slice(&raw[at..at + found]);
        at = push_escaped(raw, at + found, text)?;
    }
    text.extend_from_slice(&raw[at..]);
    Some(())
}

/// What the bytes between the quotes of a valid string say, as UTF-8, in pieces of about `PIECE` bytes or more, each
/// handed to `take` as soon as it is there.
pub(super) fn unescape_pieces<E>(raw: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let (mut piece, mut at) = (Vec::with_capacity(2 * PIECE), 0);
    while let Some(found) = memchr::memchr(b'\\', &raw[at..]) {
        let plain = &raw[at..at + found];
        if piece.len() + plain.len() < PIECE {
            piece.extend_from_slice(plain);
        } else {
            take(&piece)?;
            piece.clear();
            take(plain)?;
        }
        // Of a valid string all escapes are some.
        let Some(end) = push_escaped(raw, at + found, &mut piece) else { break };
        at = end;
    }
    take(&piece)?;
    take(&raw[at..])
}

/// Append what the escape at `at` stands for; returns where it ends.
#[inline]
fn push_escaped(raw: &[u8], at: usize, text: &mut Vec<u8>) -> Option<usize> {
    let byte = match raw.get(at + 1)? {
        b'u' => {
            let (character, end) = unicode_escape(raw, at)?;
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(end);
        }
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        byte @ (b'"' | b'\\' | b'/') => *byte,
        _ => return None,
    };
    text.push(byte);
    Some(at + 2)
}

fn unicode_escape(raw: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = hex4(raw, at + 2)?;
    if let Some(character) = char::from_u32(unit) {
        return Some((character, at + 6));
    }
    let high = unit.checked_sub(0xD800).filter(|high| *high < 0x400)?;
    let low = hex4(raw, at + 8).filter(|_| raw[at + 6..].starts_with(br"\u"))?;
    let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x1_0000 + (high << 10) + low)?, at + 12))
}

/// Whether the bytes between the quotes of a valid string say `wanted`.
#[inline]
pub(super) fn says(raw: &[u8], wanted: &[u8]) -> bool {
    if raw == wanted {
        return !raw.contains(&b'\\');
    }
    // An escaped text is longer than what it says.
    raw.len() > wanted.len() && raw.contains(&b'\\') && *unescape(raw) == *wanted
}

/// `text` as JSON, with its quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{0}'..'\u{20}' => {
                write!(json, "\\u{:04x}", u32::from(character)).expect("a String takes all that is written");
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_says_what_serde_json_reads(text in any::<String>(), before in 0_usize..20, behind in 0_usize..20) {
            for json in [quoted(&text), serde_json::to_string(&text).expect("text"), escaped_wholly(&text)] {
                prop_assert_eq!(&serde_json::from_str::<String>(&json).expect("JSON"), &text);
                let whole = format!("{}{json}{}", " ".repeat(before), " ".repeat(behind));
                let raw = &json.as_bytes()[1..json.len() - 1];
                let end = before + json.len() - 1;
                let plain = raw.split(|byte| *byte == b'\\').next().expect("at least one part");
                let expected = Plain {
                    end: before + 1 + plain.len(), escaped: plain != raw, ascii: plain.is_ascii(),
                };
                prop_assert_eq!(plain_at(whole.as_bytes(), before + 1), Some(expected));
                if expected.escaped {
                    let mut said = plain.to_vec();
                    prop_assert_eq!(unescape_to_quote(whole.as_bytes(), expected.end, &mut said), Some(end));
                    prop_assert_eq!(&*said, text.as_bytes());
                }
                prop_assert_eq!(closing_quote(whole.as_bytes(), before + 1), end);
                prop_assert_eq!(&*unescape(raw), text.as_bytes());
                prop_assert!(says(raw, text.as_bytes()));
                prop_assert!(!says(raw, (text.clone() + "x").as_bytes()));
            }
        }
    }

    proptest! {
        #[test]
        fn every_processor_sees_the_same(
            block in prop::collection::vec(prop_oneof![8 => b' '..0x7F, 2 => any::<u8>(), 1 => Just(b'"')], STEP),
        ) {
            let block = block.first_chunk().expect("as many as asked for");
            prop_assert_eq!(look(block), look_by_words(block));
        }
    }

    fn escaped_wholly(text: &str) -> String {
        let units: String =
            text.encode_utf16().fold(String::new(), |units, unit| units + &format!("\\u{unit:04X}"));
        format!("\"{units}\"")
    }

    #[test]
    fn the_pieces_of_a_text_are_all_of_it() {
        let line = "plain text, \"quoted\" \u{1F600}\n".repeat(9);
        for (text, times) in [(String::new(), 1), (line.clone(), 1), (line, 3000), ("\n".into(), 3 * PIECE)] {
            let text = text.repeat(times) + &"x".repeat(PIECE - times % 7);
            for json in [quoted(&text), escaped_wholly(&text)] {
                let (raw, mut all) = (&json.as_bytes()[1..json.len() - 1], Vec::new());
                let taken: Result<(), ()> = unescape_pieces(raw, |piece| {
                    all.extend_from_slice(piece);
                    Ok(())
                });
                assert_eq!((taken, all.len(), all == text.as_bytes()), (Ok(()), text.len(), true));
            }
        }
    }

    #[test]
    fn a_backslash_is_not_said_by_itself() {
        assert!(!says(br"a\\b", br"a\\b"));
        assert!(says(br"a\\b", br"a\b"));
    }
}
