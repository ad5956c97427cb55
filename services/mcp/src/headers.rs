//! Values of the routing headers: `Mcp-Name` and `Mcp-Param-…`.

use base64_simd::STANDARD;

const OPENING: &str = "=?base64?";
const CLOSING: &str = "?=";

/// `text` as a header value: as it is where a header can carry it, else its base64 between marks.
///
/// A text that looks like the marked form is marked too, so that what is decoded is always what was meant.
#[must_use]
pub fn header_value(text: &str) -> String {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let is_trimmed = !text.starts_with(' ') && !text.ends_with(' ');
    let looks_marked = text.starts_with(OPENING) && text.ends_with(CLOSING);
    if is_printable && is_trimmed && !looks_marked {
        return text.to_owned();
    }
    format!("{OPENING}{}{CLOSING}", STANDARD.encode_to_string(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_cannot_carry_is_marked() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            ("", ""),
            ("a b", "a b"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("\tx", "=?base64?CXg=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("=?base64?", "=?base64?"),
        ] {
            assert_eq!(header_value(text), value, "{text:?}");
        }
    }
}
