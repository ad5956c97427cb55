//! What is wrong with a text, and where: byte by byte, for error messages only.
//!
//! The same grammar as [`grammar`](super::grammar) and [`scan`](super::scan), written plainly. The fast stages
//! only say that a text is malformed, and then this says why; the tests hold one against the other.

use super::numbers::number_end;
use super::place::{Place, PointerText, place_of};
use super::scan::hex4;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not JSON.
    Syntax { what: &'static str, place: Place },
    /// Nested deeper than allowed.
    TooDeep { place: Place },
}

/// The first fault of `text`; none if it is JSON, nested at most `max_depth` deep.
pub(super) fn find_fault(text: &[u8], max_depth: usize) -> Option<Fault> {
    let mut plain = Plain { text, at: 0, open: Vec::new(), max_depth };
    let (what, at) = match plain.document() {
        Ok(()) => return None,
        Err(found) => found,
    };
    let place = place_of(text, at, plain.pointer());
    Some(match what {
        None => Fault::TooDeep { place },
        Some(what) => Fault::Syntax { what, place },
    })
}

/// A fault, or none if the text is too deep, and its position.
type Found = (Option<&'static str>, usize);

struct Plain<'t> {
    text: &'t [u8],
    at: usize,
    open: Vec<Step>,
    max_depth: usize,
}

/// Where the parser is in one open container.
enum Step {
    Element(usize),
    /// From quote to quote; none before the first key.
    Member(Option<(usize, usize)>),
}

impl Plain<'_> {
    fn document(&mut self) -> Result<(), Found> {
        self.skip_white_space();
        self.values()?;
        self.skip_white_space();
        if self.at < self.text.len() {
            Err(self.fault("nothing but white space can follow the value"))
        } else {
            Ok(())
        }
    }

    fn values(&mut self) -> Result<(), Found> {
        loop {
            let opened = self.value_or_opening()?;
            if opened {
                continue;
            }
            loop {
                self.skip_white_space();
                let Some(step) = self.open.last_mut() else { return Ok(()) };
                match (self.text.get(self.at), &step) {
                    (Some(b','), _) => {
                        if let Step::Element(index) = step {
                            *index += 1;
                        }
                        self.at += 1;
                        self.skip_white_space();
                        self.key()?;
                        break;
                    }
                    (Some(b']'), Step::Element(_)) | (Some(b'}'), Step::Member(_)) => {
                        self.open.pop();
                        self.at += 1;
                    }
                    (None, _) => return Err(self.fault("the text ends inside an array or object")),
                    (_, Step::Element(_)) => return Err(self.fault("a comma or ] has to follow an element")),
                    (_, Step::Member(_)) => return Err(self.fault("a comma or } has to follow a member")),
                }
            }
        }
    }

    /// Read a scalar or an empty container, or open one that is not; says whether it did.
    fn value_or_opening(&mut self) -> Result<bool, Found> {
        match self.text.get(self.at) {
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal(b"true").map(|()| false),
            Some(b'f') => self.literal(b"false").map(|()| false),
            Some(b'n') => self.literal(b"null").map(|()| false),
            Some(bracket @ (b'[' | b'{')) => {
                let is_object = *bracket == b'{';
                if self.open.len() >= self.max_depth {
                    return Err((None, self.at));
                }
                self.at += 1;
                self.skip_white_space();
                if self.text.get(self.at) == Some(if is_object { &b'}' } else { &b']' }) {
                    self.at += 1;
                    return Ok(false);
                }
                self.open.push(if is_object { Step::Member(None) } else { Step::Element(0) });
                self.key()?;
                Ok(true)
            }
            Some(0xEF) if self.text[self.at..].starts_with(b"\xEF\xBB\xBF") => {
                Err(self.fault("a byte order mark is not JSON"))
            }
            Some(_) => Err(self.fault("a value is expected here")),
            None => Err(self.fault("the text ends where a value is expected")),
        }
    }

    /// In an object, read the key that has to be here, and its colon.
    fn key(&mut self) -> Result<(), Found> {
        if !matches!(self.open.last(), Some(Step::Member(_))) {
            return Ok(());
        }
        let start = self.at;
        match self.text.get(start) {
            Some(b'"') => self.string()?,
            Some(_) => return Err(self.fault("a key in quotes is expected here")),
            None => return Err(self.fault("the text ends inside an array or object")),
        }
        *self.open.last_mut().expect("seen above") = Step::Member(Some((start, self.at)));
        self.skip_white_space();
        if self.text.get(self.at) != Some(&b':') {
            return Err(self.fault("a colon has to follow a key"));
        }
        self.at += 1;
        self.skip_white_space();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Found> {
        let end = number_end(self.text, self.at).ok_or_else(|| self.fault("this number is not complete"))?;
        if self.text[end - 1] == b'0' && self.text.get(end).is_some_and(u8::is_ascii_digit) {
            return Err(self.fault("a number does not begin with zeros"));
        }
        self.end_scalar(end)
    }

    fn literal(&mut self, name: &[u8]) -> Result<(), Found> {
        if !self.text[self.at..].starts_with(name) {
            return Err(self.fault("a value is expected here"));
        }
        self.end_scalar(self.at + name.len())
    }

    fn end_scalar(&mut self, end: usize) -> Result<(), Found> {
        if self.text.get(end).is_some_and(|byte| !super::grammar::ends_scalar(*byte)) {
            return Err((Some("this cannot follow a value"), end));
        }
        self.at = end;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Found> {
        let mut at = self.at + 1;
        loop {
            let fault = |what| Err((Some(what), at));
            match self.text.get(at) {
                None => return fault("the text ends inside a string"),
                Some(b'"') => break,
                Some(0..0x20) => return fault("a control character in a string has to be escaped"),
                Some(b'\\') => at = self.escape(at)?,
                Some(..0x80) => at += 1,
                Some(_) => match character_len(&self.text[at..]) {
                    Some(len) => at += len,
                    None => return fault("this is not UTF-8"),
                },
            }
        }
        self.at = at + 1;
        Ok(())
    }

    fn escape(&self, at: usize) -> Result<usize, Found> {
        let lone = || (Some("half a surrogate pair is no character"), at);
        match self.text.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match hex4(self.text, at + 2) {
                None => Err((Some("four hexadecimal digits have to follow \\u"), at)),
                Some(0xDC00..=0xDFFF) => Err(lone()),
                Some(0xD800..=0xDBFF) => {
                    let low = hex4(self.text, at + 8).filter(|low| (0xDC00..=0xDFFF).contains(low));
                    let pair = self.text.get(at + 6..at + 8) == Some(br"\u") && low.is_some();
                    if pair { Ok(at + 12) } else { Err(lone()) }
                }
                Some(_) => Ok(at + 6),
            },
            Some(_) => Err((Some("this is no escape of JSON"), at)),
            None => Err((Some("the text ends inside a string"), at + 1)),
        }
    }

    fn skip_white_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn fault(&self, what: &'static str) -> Found {
        (Some(what), self.at)
    }

    /// The pointer of the value that was being read.
    fn pointer(&self) -> String {
        let mut pointer = PointerText::default();
        for step in &self.open {
            match step {
                Step::Element(index) => pointer.push_index(*index),
                Step::Member(Some((start, end))) => pointer.push_key(&self.text[start + 1..end - 1]),
                Step::Member(None) => {}
            }
        }
        pointer.into_string()
    }
}

/// The length of the character that `bytes` begin with.
fn character_len(bytes: &[u8]) -> Option<usize> {
    let most = &bytes[..bytes.len().min(4)];
    (1..=most.len()).find(|len| std::str::from_utf8(&most[..*len]).is_ok())
}
