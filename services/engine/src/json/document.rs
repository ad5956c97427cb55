//! Documents: untouched bytes, and where their arrays and objects are.
//!
//! The index has 16 bytes for each array or object, in the order in which they open, and 8 for each string from
//! 1 KiB on; nothing for other values. Looking for a child walks over the bytes of its container, but past whole
//! containers and long strings at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mcpgateway_shm::Pool;

use super::fault::{Fault, find_fault};
use super::grammar::{Bounds, Nothing, Reader, Sink, Stop};
use super::lookup::Lookup;
use super::node::Node;
use super::place::{Place, place_of};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::runtime;

/// Arrays and objects may be nested this deep.
pub const MAX_DEPTH: usize = 1024;

/// Positions are 32 bits wide.
pub(super) const MOST_BYTES: usize = u32::MAX as usize;

/// Strings from this length on, in bytes, are in the index.
const LONG_STRING: usize = 1 << 10;

/// What a document may be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Arrays and objects nested at most this deep; [`MAX_DEPTH`] at most.
    pub max_depth: usize,
    /// At most this many values: arrays, objects, strings, numbers and so on, but not keys. An index takes at
    /// most 16 bytes for each.
    pub max_nodes: Option<usize>,
    /// At most this many bytes of text.
    pub max_bytes: Option<usize>,
    /// What to do about an object with the same key twice.
    pub duplicates: Duplicates,
}

/// What to do about an object that has the same key twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// The last one counts, as in Python.
    #[default]
    LastWins,
    /// It is an error, as for protocol envelopes, of which two readers might see two.
    Refuse,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_depth: MAX_DEPTH, max_nodes: None, max_bytes: None, duplicates: Duplicates::default() }
    }
}

/// A text that is JSON, and an index of it. Cloning shares both.
#[derive(Clone)]
pub struct Document {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) text: Bytes,
    /// In the order in which they open.
    pub(super) containers: Vec<Container>,
    /// Start and end of long strings, with their quotes, in order.
    long_strings: Vec<(u32, u32)>,
    /// Of containers that were looked into and have many children.
    lookups: Mutex<HashMap<u32, Arc<Lookup>>>,
    /// Where the root is.
    pub(super) root: usize,
}

/// An array or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// Its opening bracket.
    pub(super) start: u32,
    /// Behind its closing bracket.
    pub(super) end: u32,
    /// The first container that opens behind it.
    pub(super) next: u32,
    /// Elements or members.
    pub(super) count: u32,
}

impl Document {
    /// Check that `text` is JSON, and index it. The bytes are shared, never written to.
    ///
    /// # Errors
    /// [`ErrorKind::Json`] when it is not, [`ErrorKind::LimitExceeded`] when it is beyond what `options` allow or
    /// 4 GiB or larger, [`ErrorKind::QuotaExceeded`] when there is no memory for the index.
    pub fn parse(text: Bytes, options: &Options) -> Result<Self> {
        Self::parse_unless(text, options, &AtomicBool::new(false))
    }

    /// As [`parse`](Self::parse), until `cancelled` is set.
    ///
    /// # Errors
    /// As for `parse`, and [`ErrorKind::Cancelled`].
    pub fn parse_unless(text: Bytes, options: &Options, cancelled: &AtomicBool) -> Result<Self> {
        crate::fault::point("json::parse");
        let bounds = bounds_of(&text, options)?;
        let mut index = Index::default();
        let mut reader = Reader::new(&text, bounds, cancelled);
        reader.document(&mut index).map_err(|stop| error_of(stop, &text, options))?;
        index.containers.shrink_to_fit();
        let root = start_of_value(&text);
        let inner = Inner {
            containers: index.containers,
            long_strings: index.long_strings,
            lookups: Mutex::default(),
            root,
            text,
        };
        let document = Self { inner: Arc::new(inner) };
        if options.duplicates == Duplicates::Refuse {
            document.refuse_duplicates(cancelled)?;
        }
        Ok(document)
    }

    /// As [`parse`](Self::parse) of what `text` returns, on a thread that may take its time. Dropping the future
    /// stops it.
    ///
    /// # Errors
    /// As for `parse`, and what `text` returns.
    pub async fn open(
        text: impl FnOnce() -> Result<Bytes> + Send + 'static,
        options: Options,
    ) -> Result<Self> {
        runtime::blocking_until_dropped(move |dropped| Self::parse_unless(text()?, &options, dropped)).await?
    }

    /// The value of the whole text.
    #[must_use]
    pub fn root(&self) -> Node {
        Node::at_root(self.clone())
    }

    /// The text, as it was given.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.inner.text
    }

    /// Bytes of memory that the document holds beyond its text.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let lookups: usize = self.inner.lookups().values().map(|lookup| lookup.bytes()).sum();
        self.inner.containers.capacity() * size_of::<Container>()
            + self.inner.long_strings.capacity() * size_of::<(u32, u32)>()
            + lookups
    }

    /// The error that says `what` about the value at byte `offset`.
    #[must_use]
    pub fn error_at(&self, offset: usize, what: impl Into<String>) -> Error {
        let place = place_of(&self.inner.text, offset, self.inner.pointer_to(offset));
        let subject = format!("{}: {}", what.into(), place.with_pointer());
        Error::new(ErrorKind::Json(place), subject).with_phase(Phase::Parse)
    }

    fn refuse_duplicates(&self, cancelled: &AtomicBool) -> Result<()> {
        for (container, found) in (0_u32..).zip(&self.inner.containers) {
            if cancelled.load(Ordering::Relaxed) {
                return Err(cancelled_error());
            }
            if self.inner.text[found.start as usize] == b'{'
                && let Some(key) = self.inner.repeated_key(container)
            {
                return Err(self.error_at(key, "this object has the same key twice"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.inner.text.len())
            .field("containers", &self.inner.containers.len())
            .finish()
    }
}

/// Check that `text` is JSON within `options`, without an index.
///
/// # Errors
/// As for [`Document::parse`].
pub fn check(text: &[u8], options: &Options) -> Result<()> {
    let bounds = bounds_of(text, options)?;
    let running = AtomicBool::new(false);
    Reader::new(text, bounds, &running).document(&mut Nothing).map_err(|stop| error_of(stop, text, options))
}

pub(super) fn bounds_of(text: &[u8], options: &Options) -> Result<Bounds> {
    if text.len() > MOST_BYTES {
        let subject = format!("a JSON text of {} bytes: documents are below 4 GiB", text.len());
        return Err(limit(subject, "max_bytes", MOST_BYTES, text.len()));
    }
    if let Some(most) = options.max_bytes
        && text.len() > most
    {
        let subject = format!("a JSON text of {} bytes is larger than max_bytes={most}", text.len());
        return Err(limit(subject, "max_bytes", most, text.len()));
    }
    let depth = options.max_depth.min(MAX_DEPTH);
    Ok(Bounds { depth, nodes: options.max_nodes.unwrap_or(usize::MAX) })
}

/// The error for why reading `text` stopped.
pub(super) fn error_of(stop: Stop, text: &[u8], options: &Options) -> Error {
    let depth = options.max_depth.min(MAX_DEPTH);
    match stop {
        Stop::Malformed => match find_fault(text, depth) {
            Some(Fault::Syntax { what, place }) => syntax_error(what, place),
            Some(Fault::TooDeep { place }) => {
                let subject = format!("JSON nested deeper than max_depth={depth}: {place}");
                limit(subject, "max_depth", depth, depth + 1)
            }
            None => Error::new(
                ErrorKind::Internal,
                "the JSON parser refused what its check accepts: please report it",
            )
            .with_phase(Phase::Parse),
        },
        Stop::TooManyNodes => {
            let most = options.max_nodes.unwrap_or(usize::MAX);
            let subject = format!("a JSON text with more values than max_nodes={most}");
            limit(subject, "max_nodes", most, most.saturating_add(1))
        }
        Stop::NoMemory => {
            Error::new(ErrorKind::QuotaExceeded, "there is no memory for the index of this JSON text")
                .with_phase(Phase::Parse)
        }
        Stop::Cancelled => cancelled_error(),
    }
}

fn cancelled_error() -> Error {
    Error::new(ErrorKind::Cancelled, "reading JSON was cancelled").with_phase(Phase::Parse)
}

fn limit(subject: String, name: &'static str, limit: usize, got: usize) -> Error {
    let kind = ErrorKind::LimitExceeded { name, limit: limit as u64, got: got as u64 };
    Error::new(kind, subject).with_phase(Phase::Parse)
}

/// The error that says `what` is wrong at `place`; without the pointer, whose keys may be anything.
fn syntax_error(what: &str, place: Place) -> Error {
    let subject = format!("{what}: {place}");
    Error::new(ErrorKind::Json(place), subject).with_phase(Phase::Parse)
}

fn start_of_value(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0)
}

/// Notes containers and long strings while a text is read.
#[derive(Default)]
struct Index {
    containers: Vec<Container>,
    long_strings: Vec<(u32, u32)>,
}

impl Sink for Index {
    #[inline]
    fn open(&mut self, start: usize) -> Result<u32, Stop> {
        if self.containers.len() == self.containers.capacity() {
            self.containers.try_reserve(16).map_err(|_| Stop::NoMemory)?;
        }
        let container = position(self.containers.len());
        self.containers.push(Container { start: position(start), end: 0, next: 0, count: 0 });
        Ok(container)
    }

    #[inline]
    fn close(&mut self, opened: u32, end: usize, count: u32) {
        let next = position(self.containers.len());
        let container = &mut self.containers[opened as usize];
        *container = Container { start: container.start, end: position(end), next, count };
    }

    #[inline]
    fn string(&mut self, start: usize, end: usize) -> Result<(), Stop> {
        if end - start < LONG_STRING {
            return Ok(());
        }
        self.long_strings.try_reserve(1).map_err(|_| Stop::NoMemory)?;
        self.long_strings.push((position(start), position(end)));
        Ok(())
    }
}

/// A position, of which the length of the text was checked.
#[inline]
pub(super) fn position(at: usize) -> u32 {
    debug_assert!(u32::try_from(at).is_ok());
    #[expect(clippy::cast_possible_truncation, reason = "texts are below 4 GiB")]
    let position = at as u32;
    position
}

/// Bytes of memory from which on giving it back takes long enough to be left to another thread.
const SLOW_TO_FREE: usize = 1 << 20;

impl Drop for Inner {
    fn drop(&mut self) {
        if self.containers.len() * size_of::<Container>() >= SLOW_TO_FREE {
            // This may be the event loop.
            Pool::global().unmap_later(std::mem::take(&mut self.containers));
        }
    }
}

impl Inner {
    fn lookups(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Lookup>>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What helps to find the children of a container that has many, made at the first look.
    pub(super) fn lookup(&self, container: u32) -> Option<Arc<Lookup>> {
        if (self.containers[container as usize].count as usize) < Lookup::FROM {
            return None;
        }
        if let Some(made) = self.lookups().get(&container) {
            return Some(Arc::clone(made));
        }
        // Made without the lock: threads that come at once make it twice, none waits.
        let made = Arc::new(Lookup::of(self, container));
        Some(Arc::clone(self.lookups().entry(container).or_insert(made)))
    }

    /// Where the string that begins with the quote at `start` has its closing quote.
    pub(super) fn string_end(&self, start: usize) -> usize {
        if self.long_strings.is_empty() {
            return super::text::closing_quote(&self.text, start + 1);
        }
        let found = self.long_strings.binary_search_by_key(&position(start), |(start, _)| *start);
        match found {
            Ok(index) => self.long_strings[index].1 as usize - 1,
            Err(_) => super::text::closing_quote(&self.text, start + 1),
        }
    }
}
