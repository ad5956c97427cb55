//! Places in a text, as people and programs name them.

use std::borrow::Cow;
use std::fmt;

use super::text::unescape;

/// Where something is in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub offset: u64,
    /// The line, from 1 on; lines end with a line feed.
    pub line: u64,
    /// The character in that line, from 1 on.
    pub column: u64,
    /// The pointer (RFC 6901) to the value it is in; of a text that is not JSON, to where the parser was.
    pub pointer: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}, byte {}", self.line, self.column, self.offset)
    }
}

impl Place {
    /// The place and its pointer, cut short if it is long.
    pub(super) fn with_pointer(&self) -> String {
        const SHOWN: usize = 200;
        match self.pointer.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{self}, at {}…", &self.pointer[..end]),
            None if self.pointer.is_empty() => self.to_string(),
            None => format!("{self}, at {}", self.pointer),
        }
    }
}

/// The place of byte `offset` of `text`, in the value at `pointer`.
pub(super) fn place_of(text: &[u8], offset: usize, pointer: String) -> Place {
    let before = &text[..offset.min(text.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    // Bytes that continue a character are no columns of their own.
    let column = before[start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
    Place { offset: offset as u64, line: line as u64, column: column as u64, pointer }
}

/// A pointer (RFC 6901) in the making.
#[derive(Default)]
pub(super) struct PointerText(String);

impl PointerText {
    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push('/');
        self.0.push_str(&index.to_string());
    }

    /// Append a key as it is written between its quotes.
    pub(super) fn push_key(&mut self, raw: &[u8]) {
        let key = match unescape(raw) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        };
        self.push_name(&key);
    }

    pub(super) fn push_name(&mut self, name: &str) {
        self.0.push('/');
        self.0.push_str(&name.replace('~', "~0").replace('/', "~1"));
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
