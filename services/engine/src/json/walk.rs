//! All of a text in one pass, for who makes something of every value: it is checked while it is made.
//!
//! What is made comes from the inside out, as on a stack: the parts of an array or object first, then it. So whoever
//! makes it knows how many parts there are, and nobody sees a container that is half full.

use super::document::MAX_DEPTH;
use super::numbers::{Number, checked_number};
use super::text::{Plain, plain_at, unescape_to_quote};

/// Makes something of the values of a text. Strings are UTF-8 and unescaped.
pub trait Maker {
    /// Why something could not be made.
    type Error;

    /// A string; `ascii` says whether it is.
    ///
    /// # Errors
    /// When it cannot be made, as for all of these.
    fn string(&mut self, text: &[u8], ascii: bool) -> Result<(), Self::Error>;

    /// The key of a member, whose value is what comes next.
    ///
    /// # Errors
    /// As for `string`.
    fn key(&mut self, text: &[u8], ascii: bool) -> Result<(), Self::Error>;

    /// A number.
    ///
    /// # Errors
    /// As for `string`.
    fn number(&mut self, number: Number<'_>) -> Result<(), Self::Error>;

    /// True or false.
    ///
    /// # Errors
    /// As for `string`.
    fn boolean(&mut self, value: bool) -> Result<(), Self::Error>;

    /// Null.
    ///
    /// # Errors
    /// As for `string`.
    fn null(&mut self) -> Result<(), Self::Error>;

    /// An array of the last `count` values.
    ///
    /// # Errors
    /// As for `string`.
    fn array(&mut self, count: usize) -> Result<(), Self::Error>;

    /// An object of the last `count` keys and values.
    ///
    /// # Errors
    /// As for `string`.
    fn object(&mut self, count: usize) -> Result<(), Self::Error>;
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// To the end: what was made last is the value of the whole text.
    Whole,
    /// As far as was asked for.
    Partly,
}

/// Why a walk went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck<E> {
    /// The text is not JSON, or beyond its bounds; [`Document::parse`](super::Document::parse) says more.
    Malformed,
    /// Something could not be made.
    Unmade(E),
}

impl<E> From<E> for Stuck<E> {
    fn from(error: E) -> Self {
        Self::Unmade(error)
    }
}

/// Something to walk over, a number of values at a time.
pub trait Walk {
    /// Walk on over `values` values, or to the end.
    ///
    /// # Errors
    /// What the maker returns, and [`Stuck::Malformed`] where the text is not JSON; then the walk is at its end.
    fn walk<M: Maker>(&mut self, maker: &mut M, values: usize) -> Result<Walked, Stuck<M::Error>>;
}

/// A walk over a text that was not looked at before.
pub struct TextWalk<'t> {
    text: &'t [u8],
    /// Where the next value is.
    at: usize,
    open: Vec<Open>,
    unescaped: Vec<u8>,
    /// Whether the text can be read at all: it is UTF-8, and below 4 GiB.
    readable: bool,
}

/// An array or object that has begun.
#[derive(Clone, Copy)]
struct Open {
    is_object: bool,
    /// Its parts so far, with the one that is being read.
    count: usize,
}

impl<'t> TextWalk<'t> {
    /// Begin at the start of `text`.
    #[must_use]
    pub fn new(text: &'t [u8]) -> Self {
        crate::fault::point("json::walk");
        Self {
            text,
            at: skip_white_space(text, 0),
            open: Vec::with_capacity(16),
            unescaped: Vec::new(),
            readable: u32::try_from(text.len()).is_ok() && simdutf8::basic::from_utf8(text).is_ok(),
        }
    }

    /// Where the value begins that could not be made.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The string at the quote at `start`; returns where it ends.
    #[inline]
    fn string<E>(
        &mut self,
        start: usize,
        make: impl FnOnce(&[u8], bool) -> Result<(), E>,
    ) -> Result<usize, Stuck<E>> {
        let Plain { end, escaped, ascii } = plain_at(self.text, start + 1).ok_or(Stuck::Malformed)?;
        let plain = &self.text[start + 1..end];
        if escaped {
            return self.escaped_string(plain, end, make);
        }
        make(plain, ascii)?;
        Ok(end + 1)
    }

    /// The string that begins with `plain` and has a backslash at `backslash`; returns where it ends.
    fn escaped_string<E>(
        &mut self,
        plain: &[u8],
        backslash: usize,
        make: impl FnOnce(&[u8], bool) -> Result<(), E>,
    ) -> Result<usize, Stuck<E>> {
        self.unescaped.clear();
        self.unescaped.extend_from_slice(plain);
        let end = unescape_to_quote(self.text, backslash, &mut self.unescaped).ok_or(Stuck::Malformed)?;
        make(&self.unescaped, self.unescaped.is_ascii())?;
        Ok(end + 1)
    }

    /// The key at `start`, and the colon behind it; returns where the value begins.
    #[inline]
    fn key<M: Maker>(&mut self, start: usize, maker: &mut M) -> Result<usize, Stuck<M::Error>> {
        if self.text.get(start) != Some(&b'"') {
            return Err(Stuck::Malformed);
        }
        let end = self.string(start, |text, ascii| maker.key(text, ascii))?;
        let colon = skip_white_space(self.text, end);
        if self.text.get(colon) != Some(&b':') {
            return Err(Stuck::Malformed);
        }
        Ok(skip_white_space(self.text, colon + 1))
    }

    /// The value at `self.at`, or the opening of one; returns where it ends, or where its first part begins.
    #[inline]
    fn value<M: Maker>(&mut self, maker: &mut M) -> Result<Read, Stuck<M::Error>> {
        let (text, start) = (self.text, self.at);
        let end = match text.get(start) {
            Some(b'"') => self.string(start, |text, ascii| maker.string(text, ascii))?,
            Some(bracket @ (b'{' | b'[')) => return self.open(start, *bracket == b'{', maker),
            Some(b'-' | b'0'..=b'9') => {
                let (number, end) = checked_number(text, start).ok_or(Stuck::Malformed)?;
                maker.number(number)?;
                end
            }
            Some(b't') if text[start..].starts_with(b"true") => {
                maker.boolean(true)?;
                start + 4
            }
            Some(b'f') if text[start..].starts_with(b"false") => {
                maker.boolean(false)?;
                start + 5
            }
            Some(b'n') if text[start..].starts_with(b"null") => {
                maker.null()?;
                start + 4
            }
            _ => return Err(Stuck::Malformed),
        };
        Ok(Read::Value(end))
    }

    #[inline]
    fn open<M: Maker>(
        &mut self,
        start: usize,
        is_object: bool,
        maker: &mut M,
    ) -> Result<Read, Stuck<M::Error>> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Stuck::Malformed);
        }
        let first = skip_white_space(self.text, start + 1);
        let closing = if is_object { b'}' } else { b']' };
        if self.text.get(first) == Some(&closing) {
            if is_object { maker.object(0) } else { maker.array(0) }?;
            return Ok(Read::Value(first + 1));
        }
        self.open.push(Open { is_object, count: 1 });
        Ok(Read::Part(if is_object { self.key(first, maker)? } else { first }))
    }

    /// What follows a value that ended at `end`: other values end with it, up to one that has another part.
    #[inline]
    fn close<M: Maker>(&mut self, mut end: usize, maker: &mut M) -> Result<Read, Stuck<M::Error>> {
        while let Some(top) = self.open.last_mut() {
            let after = skip_white_space(self.text, end);
            match self.text.get(after) {
                Some(b',') => {
                    top.count += 1;
                    let is_object = top.is_object;
                    let next = skip_white_space(self.text, after + 1);
                    return Ok(Read::Part(if is_object { self.key(next, maker)? } else { next }));
                }
                Some(b'}') if top.is_object => maker.object(top.count)?,
                Some(b']') if !top.is_object => maker.array(top.count)?,
                _ => return Err(Stuck::Malformed),
            }
            self.open.pop();
            end = after + 1;
        }
        Ok(Read::Value(end))
    }
}

/// What was read, and where it goes on.
enum Read {
    /// A value, which ends here.
    Value(usize),
    /// All before a value, which begins here.
    Part(usize),
}

impl Walk for TextWalk<'_> {
    fn walk<M: Maker>(&mut self, maker: &mut M, values: usize) -> Result<Walked, Stuck<M::Error>> {
        if !self.readable {
            return Err(Stuck::Malformed);
        }
        for _ in 0..values {
            let end = match self.value(maker)? {
                Read::Part(at) => {
                    self.at = at;
                    continue;
                }
                Read::Value(end) => end,
            };
            match self.close(end, maker)? {
                Read::Part(at) => self.at = at,
                Read::Value(end) if skip_white_space(self.text, end) == self.text.len() => {
                    return Ok(Walked::Whole);
                }
                Read::Value(_) => return Err(Stuck::Malformed),
            }
        }
        Ok(Walked::Partly)
    }
}

#[inline]
fn skip_white_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}
