//! 128 random bits, written as 32 hexadecimal digits.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// The name of a worker or of a shared payload; nobody can guess it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(crate) [u8; 16]);

impl Id {
    /// Fresh random bits from the system.
    pub(crate) fn random() -> Result<Self> {
        random_bytes().map(Self)
    }

    /// The id written as `text`; digits are lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

/// `N` random bytes from the system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| {
        Error::new(ErrorKind::Io, format!("asking the system for {N} random bytes: {cause}"))
    })?;
    Ok(bytes)
}

/// The `N` bytes written as `text`, two lower-case digits each.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_only_that() {
        let id = Id::random().expect("random bits");
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::parse("0123456789abcdef0123456789abcdeF"), None);
        assert_eq!(Id::parse("0123456789abcdef"), None);
        assert_eq!(Id::parse("0123456789abcdef0123456789abcd\u{e9}"), None);
    }
}
