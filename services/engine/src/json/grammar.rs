//! Whether the structure of a text is JSON: the second of two stages.
//!
//! [`Reader`] walks over the positions of the [`Scanner`] and checks what stands there. What it learns about
//! containers and long strings goes to a [`Sink`]: the index of a document, or nothing at all. It only says
//! that a text is malformed; where and why is found by [`fault`](super::fault), which is slow and precise.

use std::sync::atomic::AtomicBool;

use super::numbers::number_end;
use super::runs::run_at;
use super::scan::{ScanStop, Scanner};

/// Where a text stopped being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not JSON, or nested too deep.
    Malformed,
    /// It has more values than allowed.
    TooManyNodes,
    /// There is no memory for the index.
    NoMemory,
    /// Somebody asked to stop.
    Cancelled,
}

/// Bounds on what is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) depth: usize,
    pub(super) nodes: usize,
}

/// Is told of what a text consists of.
pub(super) trait Sink {
    /// A container opens; what is returned is handed back when it closes.
    fn open(&mut self, start: usize) -> Result<u32, Stop>;
    /// A container of `count` members closes; `end` is behind its bracket.
    fn close(&mut self, opened: u32, end: usize, count: u32);
    /// A string from its opening quote to behind its closing one.
    fn string(&mut self, start: usize, end: usize) -> Result<(), Stop>;
}

/// Keeps nothing.
pub(super) struct Nothing;

impl Sink for Nothing {
    fn open(&mut self, _: usize) -> Result<u32, Stop> {
        Ok(0)
    }

    fn close(&mut self, _: u32, _: usize, _: u32) {}

    fn string(&mut self, _: usize, _: usize) -> Result<(), Stop> {
        Ok(())
    }
}

/// Arrays that have so many elements more are looked at for a run of numbers. In short ones that does not pay.
const FIRST_OF_A_RUN: u32 = 8;

/// A container that is open.
struct Open {
    is_object: bool,
    count: u32,
    opened: u32,
}

/// Reads the values of a text, one after the other.
pub(super) struct Reader<'t> {
    text: &'t [u8],
    scanner: Scanner<'t>,
    bounds: Bounds,
    nodes: usize,
    open: Vec<Open>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8], bounds: Bounds, cancelled: &'t AtomicBool) -> Self {
        Self { text, scanner: Scanner::new(text, cancelled), bounds, nodes: 0, open: Vec::with_capacity(64) }
    }

    /// Read the whole text as one value.
    pub(super) fn document<S: Sink>(&mut self, sink: &mut S) -> Result<(), Stop> {
        let start = self.next()?;
        self.value(start, 0, sink)?;
        self.end()
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        match (self.scanner.next(), self.scanner.stop()) {
            (None, None) => Ok(()),
            _ => Err(self.stopped()),
        }
    }

    /// The next position, which there has to be.
    #[inline]
    pub(super) fn next(&mut self) -> Result<usize, Stop> {
        match self.scanner.next() {
            Some(position) => Ok(position),
            None => Err(self.stopped()),
        }
    }

    #[cold]
    fn stopped(&self) -> Stop {
        match self.scanner.stop() {
            Some(ScanStop::Cancelled) => Stop::Cancelled,
            _ => Stop::Malformed,
        }
    }

    /// Whether a fault was seen, maybe in what was read already: positions are made some bytes ahead.
    pub(super) fn has_stopped(&self) -> bool {
        self.scanner.stop().is_some()
    }

    /// How many containers may be open at a time.
    pub(super) fn most_open(&self) -> usize {
        self.bounds.depth
    }

    /// Read the string that begins at `start`; returns where its closing quote is.
    #[inline]
    pub(super) fn string(&mut self, start: usize) -> Result<usize, Stop> {
        if self.text[start] != b'"' {
            return Err(Stop::Malformed);
        }
        // Within a string the scanner sees nothing, so what comes next is the quote that ends it.
        self.next()
    }

    /// Read the key that begins at `start` and the colon behind it; returns where the value begins.
    #[inline]
    pub(super) fn key(&mut self, start: usize) -> Result<(usize, usize), Stop> {
        let end = self.string(start)?;
        let colon = self.next()?;
        if self.text[colon] != b':' {
            return Err(Stop::Malformed);
        }
        Ok((end, self.next()?))
    }

    /// Read the value that begins at `start`, within `outside` containers; returns where it ends.
    pub(super) fn value<S: Sink>(
        &mut self,
        start: usize,
        outside: usize,
        sink: &mut S,
    ) -> Result<usize, Stop> {
        debug_assert!(self.open.is_empty());
        let most_open = self.bounds.depth.saturating_sub(outside);
        let (mut at, mut top) = (start, Open { is_object: false, count: 0, opened: 0 });
        'value: loop {
            self.nodes += 1;
            if self.nodes > self.bounds.nodes {
                return Err(Stop::TooManyNodes);
            }
            let mut end = match self.text[at] {
                b'"' => {
                    let end = self.next()? + 1;
                    sink.string(at, end)?;
                    end
                }
                bracket @ (b'{' | b'[') => {
                    if self.open.len() >= most_open {
                        return Err(Stop::Malformed);
                    }
                    let is_object = bracket == b'{';
                    let inner = Open { is_object, count: 0, opened: sink.open(at)? };
                    self.open.push(std::mem::replace(&mut top, inner));
                    let first = self.next()?;
                    let closing = if is_object { b'}' } else { b']' };
                    if self.text[first] != closing {
                        top.count = 1;
                        at = if is_object { self.key(first)?.1 } else { first };
                        continue 'value;
                    }
                    sink.close(top.opened, first + 1, 0);
                    top = self.open.pop().expect("one was pushed just now");
                    first + 1
                }
                b'-' | b'0'..=b'9' => self.terminated(number_end(self.text, at))?,
                b't' => self.terminated(self.literal(at, b"true"))?,
                b'f' => self.terminated(self.literal(at, b"false"))?,
                b'n' => self.terminated(self.literal(at, b"null"))?,
                _ => return Err(Stop::Malformed),
            };
            while !self.open.is_empty() {
                let after = self.next()?;
                match self.text[after] {
                    b',' => {
                        top.count += 1;
                        let next = self.next()?;
                        at = if top.is_object { self.key(next)?.1 } else { next };
                        if top.count.is_multiple_of(FIRST_OF_A_RUN) && !top.is_object {
                            at = self.run(at, &mut top.count)?;
                        }
                        continue 'value;
                    }
                    bracket @ (b'}' | b']') if (bracket == b'}') == top.is_object => {
                        end = after + 1;
                        sink.close(top.opened, end, top.count);
                        top = self.open.pop().expect("the loop sees to it");
                    }
                    _ => return Err(Stop::Malformed),
                }
            }
            return Ok(end);
        }
    }

    /// Read the numbers that follow each other from `at` on; returns where the first value behind them begins.
    #[inline]
    fn run(&mut self, at: usize, count: &mut u32) -> Result<usize, Stop> {
        if !matches!(self.text[at], b'-' | b'0'..=b'9') {
            return Ok(at);
        }
        let run = run_at(self.text, at);
        if run.count == 0 {
            return Ok(at);
        }
        *count += run.count;
        self.nodes += run.count as usize;
        self.scanner.skip_to(run.end);
        self.next()
    }

    fn literal(&self, at: usize, name: &[u8]) -> Option<usize> {
        let end = at + name.len();
        (self.text.get(at..end) == Some(name)).then_some(end)
    }

    /// What is neither string nor container has to be followed by structure, white space or the end.
    #[inline]
    fn terminated(&self, end: Option<usize>) -> Result<usize, Stop> {
        match end {
            Some(end) if self.text.get(end).is_none_or(|byte| ends_scalar(*byte)) => Ok(end),
            _ => Err(Stop::Malformed),
        }
    }
}

/// Whether a number or a literal ends before this byte.
#[inline]
pub(super) fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | b':')
}
