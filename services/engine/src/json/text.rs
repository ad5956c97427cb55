//! Strings as they are written: where they end, what they say.

use std::borrow::Cow;
use std::fmt::Write;

use memchr::memchr2;

use super::scan::hex4;

/// Bytes that are unescaped at a time: few enough for the cache.
const PIECE: usize = 16 << 10;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// What the bytes of a string show before it is unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Where its closing quote is.
    pub(super) end: usize,
    /// Whether it has a backslash.
    pub(super) escaped: bool,
    /// Whether it is ASCII as it is written.
    pub(super) ascii: bool,
}

/// Look at the string whose first byte behind the quote is at `start`; none if it has no end, or has control
/// characters. What is behind its backslashes is not looked at.
#[inline]
pub(super) fn plain_at(text: &[u8], start: usize) -> Option<Plain> {
    let (mut at, mut high, mut escaped) = (start, 0_u64, false);
    let mut blocks_from = start + LONG;
    loop {
        let rest = text.get(at..)?;
        let Some(eight) = rest.first_chunk() else { return plain_end(text, at, escaped, high) };
        let eight = u64::from_le_bytes(*eight);
        let hits = quotes_and_backslashes(eight) | controls(eight);
        if hits == 0 {
            high |= eight;
            at += 8;
            if at >= blocks_from {
                let (blocks, bits) = plain_blocks(&text[at..]);
                at += blocks;
                high |= u64::from(bits);
                // Something is in the next.
                blocks_from = at + LONG;
            }
            continue;
        }
        let hit = (hits.trailing_zeros() / 8) as usize;
        // What lies before the hit, without the bytes from there on.
        high |= eight & ((1_u64 << (8 * hit)) - 1);
        at += hit;
        match text[at] {
            b'"' => return Some(Plain { end: at, escaped, ascii: high & HIGHS == 0 }),
            b'\\' => (escaped, at) = (true, at + 2),
            _ => return None,
        }
    }
}

/// Strings from so many bytes on are looked at by larger blocks.
const LONG: usize = 32;

/// Bytes in front that are neither quote, backslash nor control character, by whole blocks, and all their bits.
#[inline]
pub(super) fn plain_blocks(text: &[u8]) -> (usize, u8) {
    let (mut len, mut bits) = (0, 0);
    for block in text.as_chunks::<LONG>().0 {
        let stops = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
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
#[inline]
fn controls(eight: u64) -> u64 {
    const SPACES: u64 = ONES * 0x20;
    eight.wrapping_sub(SPACES) & !eight & HIGHS
}

#[inline]
fn zeros_of(eight: u64) -> u64 {
    eight.wrapping_sub(ONES) & !eight & HIGHS
}

/// The last bytes of a text.
fn plain_end(text: &[u8], mut at: usize, mut escaped: bool, high: u64) -> Option<Plain> {
    let mut ascii = high & HIGHS == 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(Plain { end: at, escaped, ascii }),
            0..0x20 => return None,
            b'\\' => (escaped, at) = (true, at + 2),
            byte => (ascii, at) = (ascii && byte.is_ascii(), at + 1),
        }
    }
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
pub(super) fn unescape_into(raw: &[u8], text: &mut Vec<u8>) -> Option<()> {
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
                let expected = Plain {
                    end: before + json.len() - 1, escaped: raw.contains(&b'\\'), ascii: raw.is_ascii(),
                };
                prop_assert_eq!(plain_at(whole.as_bytes(), before + 1), Some(expected));
                prop_assert_eq!(closing_quote(whole.as_bytes(), before + 1), expected.end);
                prop_assert_eq!(&*unescape(raw), text.as_bytes());
                prop_assert!(says(raw, text.as_bytes()));
                prop_assert!(!says(raw, (text.clone() + "x").as_bytes()));
            }
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
