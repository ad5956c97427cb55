//! Strings as they are written: where they end, what they say.

use std::borrow::Cow;
use std::fmt::Write;

use memchr::memchr2;

use super::scan::hex4;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A string of a valid text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where its closing quote is.
    pub end: usize,
    /// Whether it has a backslash.
    pub escaped: bool,
    /// Whether it is ASCII as it is written.
    pub ascii: bool,
}

/// What is known of the string whose first byte behind the quote is at `start`. The text is valid.
#[inline]
#[must_use]
pub fn written_at(text: &[u8], start: usize) -> Written {
    let (mut at, mut high, mut escaped) = (start, 0_u64, false);
    loop {
        let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk()) else {
            return finish_slowly(text, at, escaped, high);
        };
        let eight = u64::from_le_bytes(*eight);
        let hits = quotes_and_backslashes(eight);
        if hits == 0 {
            high |= eight;
            at += 8;
            continue;
        }
        let hit = (hits.trailing_zeros() / 8) as usize;
        // What lies before the hit, without the bytes from there on.
        high |= eight & ((1_u64 << (8 * hit)) - 1);
        at += hit;
        if text[at] == b'"' {
            return Written { end: at, escaped, ascii: high & HIGHS == 0 };
        }
        escaped = true;
        at += 2;
    }
}

/// The high bit of each byte that is one; exact for the first, which is all that is used.
#[inline]
fn quotes_and_backslashes(eight: u64) -> u64 {
    const QUOTES: u64 = ONES * 0x22;
    const BACKSLASHES: u64 = ONES * 0x5C;
    zeros_of(eight ^ QUOTES) | zeros_of(eight ^ BACKSLASHES)
}

#[inline]
fn zeros_of(eight: u64) -> u64 {
    eight.wrapping_sub(ONES) & !eight & HIGHS
}

/// The last bytes of a text.
fn finish_slowly(text: &[u8], mut at: usize, mut escaped: bool, high: u64) -> Written {
    let mut ascii = high & HIGHS == 0;
    while text[at] != b'"' {
        ascii &= text[at].is_ascii();
        let is_escape = text[at] == b'\\';
        escaped |= is_escape;
        at += 1 + usize::from(is_escape);
    }
    Written { end: at, escaped, ascii }
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
    let Some(first) = memchr::memchr(b'\\', raw) else { return Cow::Borrowed(raw) };
    let mut text = Vec::with_capacity(raw.len());
    let (mut copied, mut next) = (0, Some(first));
    while let Some(at) = next {
        text.extend_from_slice(&raw[copied..at]);
        copied = push_escaped(raw, at, &mut text);
        next = memchr::memchr(b'\\', &raw[copied..]).map(|found| copied + found);
    }
    text.extend_from_slice(&raw[copied..]);
    Cow::Owned(text)
}

/// Append what the escape at `at` stands for; returns where it ends.
fn push_escaped(raw: &[u8], at: usize, text: &mut Vec<u8>) -> usize {
    // Keys of texts that turned out malformed come here too, so nothing is taken for granted.
    let byte = match raw.get(at + 1) {
        Some(b'u') => {
            let (character, end) = unicode_escape(raw, at);
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return end;
        }
        Some(b'b') => 0x08,
        Some(b'f') => 0x0C,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(byte) => *byte,
        None => return raw.len(),
    };
    text.push(byte);
    at + 2
}

fn unicode_escape(raw: &[u8], at: usize) -> (char, usize) {
    let unit = hex4(raw, at + 2);
    let pair = unit.zip(hex4(raw, at + 8)).and_then(|(high, low)| {
        let high = high.checked_sub(0xD800).filter(|high| *high < 0x400)?;
        let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + (high << 10) + low)
    });
    match pair {
        Some(character) => (character, at + 12),
        None => (unit.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER), raw.len().min(at + 6)),
    }
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
                let found = written_at(whole.as_bytes(), before + 1);
                let expected = Written {
                    end: before + json.len() - 1, escaped: raw.contains(&b'\\'), ascii: raw.is_ascii(),
                };
                prop_assert_eq!(found, expected);
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
    fn a_backslash_is_not_said_by_itself() {
        assert!(!says(br"a\\b", br"a\\b"));
        assert!(says(br"a\\b", br"a\b"));
    }
}
