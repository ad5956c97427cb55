//! Pointers into a document (RFC 6901).

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// A pointer such as `/result/parts/0`; the empty one points to the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    /// Read a pointer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPointer`] when it neither is empty nor begins with `/`, or has a `~` that is not
    /// followed by `0` or `1`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            let shown: String = text.chars().take(100).collect();
            Error::new(ErrorKind::InvalidPointer, format!("the pointer {shown:?} {why} (RFC 6901)"))
        };
        if text.is_empty() {
            return Ok(Self { text: String::new(), steps: Vec::new() });
        }
        let steps = text.strip_prefix('/').ok_or_else(|| invalid("does not begin with /"))?;
        let steps =
            steps.split('/').map(|step| unescape(step).ok_or_else(|| invalid("has a ~ without 0 or 1")));
        Ok(Self { text: text.to_owned(), steps: steps.collect::<Result<_>>()? })
    }

    /// The keys and indexes, unescaped.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// The pointer as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All steps but the last, and the last; none for the whole document.
    #[must_use]
    pub(super) fn split_last(&self) -> Option<(&str, &[String])> {
        self.steps.split_last().map(|(last, before)| (last.as_str(), before))
    }

    /// That step number `index` leads nowhere.
    pub(super) fn not_found(&self, index: usize, why: &str) -> Error {
        let (pointer, step) = (self.text.clone(), self.steps[index].clone());
        let shown: String = self.text.chars().take(200).collect();
        let subject = format!("{shown}: {why} (step {})", index + 1);
        Error::new(ErrorKind::NotFound { pointer, step }, subject)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The position that a step names in an array: digits, without zeros in front.
pub(super) fn array_index(step: &str) -> Option<usize> {
    let is_index = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if is_index { step.parse().ok() } else { None }
}

fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = (part.chars().next()?, part.get(1..)?);
        text.push(match escaped {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let steps = |text: &str| Pointer::parse(text).expect("valid").steps().to_vec();
        assert_eq!(steps(""), Vec::<String>::new());
        assert_eq!(steps("/foo/0"), ["foo", "0"]);
        assert_eq!(steps("/"), [""]);
        assert_eq!(steps("/a~1b"), ["a/b"]);
        assert_eq!(steps("/m~0n"), ["m~n"]);
        assert_eq!(steps("/~01"), ["~1"]);
        assert_eq!(steps("/ /é/"), [" ", "é", ""]);
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for text in ["a", "#/a", "/~", "/~2", "/a~", "/~é"] {
            let error = Pointer::parse(text).expect_err(text);
            assert_eq!(*error.kind(), ErrorKind::InvalidPointer, "{text}");
        }
    }

    #[test]
    fn an_index_has_no_zeros_in_front() {
        assert_eq!(["0", "10"].map(array_index), [Some(0), Some(10)]);
        assert_eq!(
            ["", "00", "01", "-1", "+1", "1.0", "-", "99999999999999999999"].map(array_index),
            [None; 8]
        );
    }
}
