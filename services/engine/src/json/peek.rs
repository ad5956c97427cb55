//! One look into a text, without a document.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::document::{Document, Options, bounds_of, error_of};
use super::grammar::{Nothing, Reader, Stop};
use super::node::Node;
use super::pointer::{Pointer, array_index};
use super::text::says;
use crate::error::{Error, Result};

/// How much of a text is read for one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whole {
    /// All of it: the answer is the one that a [`Document`] gives, and what follows the value is checked too.
    #[default]
    Yes,
    /// Up to the end of the value. Of a key that is there twice, the first counts, as there is no look at the rest:
    /// whoever reads the whole text may see another value.
    No,
}

/// The value at `pointer`, as a document of its own. What is before it is checked and passed over, and kept
/// nowhere; `whole` says whether what is behind it is too.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such value, and as for
/// [`Document::parse`] for what was read.
pub fn peek(text: &Bytes, pointer: &Pointer, whole: Whole, options: &Options) -> Result<Node> {
    peek_unless(text, pointer, whole, options, &AtomicBool::new(false))
}

/// As [`peek`], until `cancelled` is set.
///
/// # Errors
/// As for `peek`, and [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
pub fn peek_unless(
    text: &Bytes,
    pointer: &Pointer,
    whole: Whole,
    options: &Options,
    cancelled: &AtomicBool,
) -> Result<Node> {
    let bounds = bounds_of(text, options)?;
    let mut looking = Looking { text, reader: Reader::new(text, bounds, cancelled), pointer, whole };
    let found = looking.document().map_err(|stop| match stop {
        Missed::Stop(stop) => error_of(stop, text, options),
        Missed::NotFound(error) => error,
    })?;
    Document::parse_unless(text.slice(found), options, cancelled).map(|document| document.root())
}

/// Why nothing was found.
enum Missed {
    Stop(Stop),
    NotFound(Error),
}

impl From<Stop> for Missed {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

struct Looking<'t> {
    text: &'t [u8],
    reader: Reader<'t>,
    pointer: &'t Pointer,
    whole: Whole,
}

impl Looking<'_> {
    fn document(&mut self) -> Result<Range<usize>, Missed> {
        let start = self.reader.next()?;
        let (found, _) = self.value(start, 0)?;
        if self.whole == Whole::Yes {
            self.reader.end()?;
        }
        found.map_err(|(step, why)| Missed::NotFound(self.pointer.not_found(step, why)))
    }

    /// Look for the rest of the pointer, from step `depth` on, in the value at `start`. Returns what was found and
    /// where the value ends; that end is only reached when the whole text is read or nothing was found.
    fn value(&mut self, start: usize, depth: usize) -> Result<(Found, usize), Missed> {
        let Some(step) = self.pointer.steps().get(depth) else {
            let end = self.reader.value(start, depth, &mut Nothing)?;
            return Ok((Ok(start..end), end));
        };
        match self.text[start] {
            b'{' if depth < self.reader.most_open() => self.object(start, step, depth),
            b'[' if depth < self.reader.most_open() => self.array(step, depth),
            _ => {
                let end = self.reader.value(start, depth, &mut Nothing)?;
                Ok((Err((depth, "the value here has no parts")), end))
            }
        }
    }

    fn object(&mut self, start: usize, step: &str, depth: usize) -> Result<(Found, usize), Missed> {
        debug_assert_eq!(self.text[start], b'{');
        let mut found = Err((depth, "there is no such key"));
        let mut at = self.reader.next()?;
        if self.text[at] == b'}' {
            return Ok((found, at + 1));
        }
        loop {
            let (key_end, value) = self.reader.key(at)?;
            if says(&self.text[at + 1..key_end], step.as_bytes()) {
                found = self.value(value, depth + 1)?.0;
                if self.whole == Whole::No {
                    return Ok((found, 0));
                }
            } else {
                self.reader.value(value, depth + 1, &mut Nothing)?;
            }
            let after = self.reader.next()?;
            match self.text[after] {
                b',' => at = self.reader.next()?,
                b'}' => return Ok((found, after + 1)),
                _ => return Err(Stop::Malformed.into()),
            }
        }
    }

    fn array(&mut self, step: &str, depth: usize) -> Result<(Found, usize), Missed> {
        let wanted = array_index(step);
        let missing = match wanted {
            Some(_) => "the array is shorter",
            None if step == "-" => "- is behind the last element, where there is nothing",
            None => "this is no index of an array",
        };
        let mut found = Err((depth, missing));
        let mut at = self.reader.next()?;
        if self.text[at] == b']' {
            return Ok((found, at + 1));
        }
        for index in 0.. {
            if wanted == Some(index) {
                found = self.value(at, depth + 1)?.0;
                if self.whole == Whole::No {
                    return Ok((found, 0));
                }
            } else {
                self.reader.value(at, depth + 1, &mut Nothing)?;
            }
            let after = self.reader.next()?;
            match self.text[after] {
                b',' => at = self.reader.next()?,
                b']' => return Ok((found, after + 1)),
                _ => break,
            }
        }
        Err(Stop::Malformed.into())
    }
}

/// Where the value is, or which step leads nowhere, and why.
type Found = Result<Range<usize>, (usize, &'static str)>;
