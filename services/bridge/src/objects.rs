//! Python objects of JSON values, made as fast as the interpreter allows.
//!
//! A [`Builder`] walks over a value and keeps the containers that are open on a stack of its own, so it can stop
//! anywhere and go on later. That is what [`build_in_slices`] does: about a millisecond with the GIL, then a real
//! sleep without it, since a thread that only lets go of the GIL mostly gets it back before the event loop does.

use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcpgateway_engine::json::{
    self, Document, Member, Node, Number, Options, TAPE_FROM, TapeWalk, Token, Walk, Written, unescape,
};
use mcpgateway_engine::{Error, ErrorKind, Result, runtime};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use pyo3::{ffi, intern};

use crate::error::{IntoPyResult, to_py_err};
use crate::interpreter::is_exiting;
use crate::text::Text;

/// Python objects of `node`, made at once.
pub(crate) fn value<'py>(py: Python<'py>, node: &Node) -> PyResult<Bound<'py, PyAny>> {
    if node.span() < TAPE_FROM {
        return Builder::new(Walk::new(node)).finish(py);
    }
    // What is wrong with a number is said by the document, which knows its place.
    let built = py.detach(|| build_from_tape(&node.raw())).into_py_result(py)?;
    built.map_or_else(
        || Builder::new(Walk::new(node)).finish(py),
        |built| built.map(|value| value.into_bound(py)),
    )
}

/// Python objects of `text`, made at once.
pub(crate) fn loads(py: Python<'_>, text: Text) -> PyResult<Bound<'_, PyAny>> {
    if text.is_short() {
        let document = text.run(py, |text| Document::parse(text, &Options::default()))?;
        return Builder::new(Walk::new(&document.root())).finish(py);
    }
    let built = text.run(py, |text| {
        Ok(match build_from_tape(&text)? {
            Some(built) => Ok(built),
            None => Err(Document::parse(text, &Options::default())?),
        })
    })?;
    match built {
        Ok(built) => built.map(|value| value.into_bound(py)),
        Err(document) => Builder::new(Walk::new(&document.root())).finish(py),
    }
}

/// Python objects of a text, of which everything is read before the GIL is taken; none if it has no tape.
///
/// Of 100 MB, messages hold the GIL for 380 ms that way and 440 by walking over the text (orjson 560), embeddings for
/// 325 (orjson 680); reading them takes 60 ms of CPU more than walking, and 400 ms more for embeddings.
fn build_from_tape(text: &[u8]) -> Result<Option<PyResult<Py<PyAny>>>> {
    let ending = || Error::new(ErrorKind::Cancelled, "the interpreter is ending");
    let build = |tape: TapeWalk<'_>| {
        Python::try_attach(|py| Builder::new(tape).finish(py).map(Bound::unbind)).ok_or_else(ending)
    };
    json::with_tape(text, build)?.transpose()
}

/// The `str` that the bytes between the quotes of a string stand for.
pub(crate) fn string<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let written = Written { end: raw.len(), escaped: raw.contains(&b'\\'), ascii: raw.is_ascii() };
    new_string(py, raw, written)
}

/// The keys of members, as a list.
pub(crate) fn keys<'py>(py: Python<'py>, members: &[Member]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for member in members {
        list.append(string(py, member.raw_key())?)?;
    }
    Ok(list)
}

/// The JSON of a Python object, written by Python's `json`.
pub(crate) fn write(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = object.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "ensure_ascii"), false)?;
    options.set_item(intern!(py, "allow_nan"), false)?;
    options.set_item(intern!(py, "separators"), (",", ":"))?;
    let text =
        py.import(intern!(py, "json"))?.call_method(intern!(py, "dumps"), (object,), Some(&options))?;
    Ok(text.cast::<PyString>()?.to_str()?.as_bytes().to_vec())
}

/// So many arrays and objects take Python's collector longer than a millisecond to look at.
const MANY: usize = 10_000;

/// How long objects are made at a time.
const SLICE: Duration = Duration::from_micros(800);
/// How long the GIL is left alone then: without a real sleep the longest gap was 170 ms instead of 4.
const REST: Duration = Duration::from_micros(50);
/// Values between two looks at the clock.
const VALUES_A_LOOK: usize = 64;

/// Python objects of `text`, made a few at a time on a thread of its own. Dropping the future stops it.
///
/// # Errors
/// As for [`Document::parse`], and [`ErrorKind::Cancelled`] when the interpreter is ending; what Python has to say
/// about a value is in the inner result.
pub(crate) async fn build_in_slices(text: Text) -> Result<PyResult<Py<PyAny>>> {
    runtime::blocking_until_dropped(move |dropped| {
        let text = text.into_bytes()?;
        let from_tape = json::with_tape(&text, |tape| Builder::new(tape).finish_in_slices(dropped))?;
        from_tape.unwrap_or_else(|| {
            let document = Document::parse_unless(text, &Options::default(), dropped)?;
            Builder::new(Walk::new(&document.root())).finish_in_slices(dropped)
        })
    })
    .await?
}

/// Python's cyclic garbage collector, paused while the GIL is held: it would look at what is being made over and
/// over, a third to a half of the time of a large text, and could find no garbage there.
struct PausedCollector<'py> {
    py: Python<'py>,
    was_enabled: bool,
    /// Whether what was made counts as old from then on. Else the next collection, which looks at all that is new,
    /// holds the GIL for 60 to 90 ms after 100 MB of messages.
    promotes: bool,
}

impl<'py> PausedCollector<'py> {
    fn pause(py: Python<'py>) -> Self {
        // SAFETY: with the GIL.
        let was_enabled = unsafe { ffi::PyGC_Disable() } != 0;
        Self { py, was_enabled, promotes: false }
    }
}

impl Drop for PausedCollector<'_> {
    fn drop(&mut self) {
        if !self.was_enabled {
            return;
        }
        if self.promotes {
            // Without it all objects stay new, which costs time and nothing else.
            let _ = promote_objects(self.py);
        }
        // SAFETY: with the GIL.
        unsafe { ffi::PyGC_Enable() };
    }
}

/// Make all objects those of the oldest generation, without looking at any: `gc.freeze` moves the lists of all
/// generations out of the collector's reach, and `gc.unfreeze` moves them back into the oldest.
fn promote_objects(py: Python<'_>) -> PyResult<()> {
    let collector = py.import(intern!(py, "gc"))?;
    let frozen: usize = collector.call_method0(intern!(py, "get_freeze_count"))?.extract()?;
    // What somebody has frozen for good, as before a fork, stays frozen.
    if frozen == 0 {
        collector.call_method0(intern!(py, "freeze"))?;
        collector.call_method0(intern!(py, "unfreeze"))?;
    }
    Ok(())
}

/// Where the tokens of a value come from.
trait Tokens {
    fn next_token(&mut self) -> Option<Token<'_>>;

    /// The error that says `what` about the last token.
    fn wrong(&self, what: &str) -> Error;
}

impl Tokens for Walk {
    #[inline]
    fn next_token(&mut self) -> Option<Token<'_>> {
        self.next_token()
    }

    fn wrong(&self, what: &str) -> Error {
        self.document().error_at(self.last(), what)
    }
}

impl Tokens for TapeWalk<'_> {
    #[inline]
    fn next_token(&mut self) -> Option<Token<'_>> {
        self.next_token()
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Internal, format!("a tape has numbers that are none: {what}"))
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    More,
}

/// A container that is being filled.
struct Open {
    container: Py<PyAny>,
    /// How many elements a list has; none for a dict.
    filled: Option<isize>,
    /// What it is called in the dict around it.
    key: Option<Py<PyAny>>,
}

/// Makes the Python objects of one value.
struct Builder<T> {
    tokens: T,
    open: Vec<Open>,
    made: Option<Py<PyAny>>,
    /// Arrays and objects that were made.
    containers: usize,
    /// Whether lists that are not full are kept from whom looks at all objects (`gc.get_objects`), because the
    /// GIL is let go of between.
    hidden: bool,
}

impl<T: Tokens> Builder<T> {
    fn new(tokens: T) -> Self {
        Self { tokens, open: Vec::new(), made: None, containers: 0, hidden: false }
    }

    /// Make all objects at once.
    fn finish(mut self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        self.run(py, None)?;
        Ok(self.made().into_bound(py))
    }

    /// Make all objects, a few at a time, unless the flag is set. Not on a thread that has the GIL.
    fn finish_in_slices(mut self, dropped: &AtomicBool) -> Result<PyResult<Py<PyAny>>> {
        self.hidden = true;
        // None when the interpreter is ending.
        let ending = || Error::new(ErrorKind::Cancelled, "the interpreter is ending");
        let built = loop {
            if is_exiting() || dropped.load(Ordering::Relaxed) {
                break Err(ending());
            }
            match Python::try_attach(|py| self.run(py, Some(Instant::now() + SLICE))) {
                None => break Err(ending()),
                Some(Ok(Progress::More)) => std::thread::sleep(REST),
                Some(Ok(Progress::Done)) => return Ok(Ok(self.made())),
                Some(Err(error)) => break Ok(Err(error)),
            }
        };
        // What was made in vain is freed here, with the GIL.
        Python::try_attach(|_| drop(self));
        built
    }

    fn made(&mut self) -> Py<PyAny> {
        self.made.take().expect("a value has a first token and an end")
    }

    /// Make objects until the end, or until the deadline has passed.
    fn run(&mut self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Progress> {
        let mut collector = PausedCollector::pause(py);
        collector.promotes = self.hidden;
        // Only taken here, with the GIL. Where it is taken already, by a run that this one interrupts, keys are made
        // anew.
        let mut shared = KEYS.try_lock();
        let mut none = Keys::default();
        let keys = shared.as_deref_mut().unwrap_or(&mut none);
        loop {
            for _ in 0..VALUES_A_LOOK {
                if !self.step(py, keys)? {
                    collector.promotes = self.containers >= MANY;
                    return Ok(Progress::Done);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Progress::More);
            }
        }
    }

    /// Begin, make or end one value; false at the end.
    #[inline]
    fn step(&mut self, py: Python<'_>, keys: &mut Keys) -> PyResult<bool> {
        let Some(mut token) = self.tokens.next_token() else { return Ok(false) };
        let mut key = None;
        if let Some(Open { filled: None, .. }) = self.open.last()
            && let Token::String(raw, written) = token
        {
            key = Some(keys.string(py, raw, written)?);
            token = self.tokens.next_token().expect("a value follows its key");
        }
        let made = match token {
            Token::String(raw, written) => new_string(py, raw, written)?,
            Token::Number(number) => match new_number(py, number)? {
                Ok(number) => number,
                Err(what) => return Err(self.wrong(py, what)),
            },
            Token::Boolean(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Token::Null => py.None().into_bound(py),
            Token::Array(count) => {
                let list = self.new_list(py, count)?.unbind();
                self.open.push(Open { container: list, filled: Some(0), key: key.map(Bound::unbind) });
                return Ok(true);
            }
            Token::Object(_) => {
                let dict = PyDict::new(py).into_any().unbind();
                self.open.push(Open { container: dict, filled: None, key: key.map(Bound::unbind) });
                return Ok(true);
            }
            Token::End => {
                self.containers += 1;
                let ended = self.open.pop().expect("what ends has begun");
                if ended.filled.is_some() {
                    self.show(&ended.container);
                }
                key = ended.key.map(|key| key.into_bound(py));
                ended.container.into_bound(py)
            }
        };
        self.add(py, key, made)?;
        Ok(true)
    }

    fn new_list<'py>(&self, py: Python<'py>, count: u32) -> PyResult<Bound<'py, PyAny>> {
        let count = isize::try_from(count).expect("the text is in memory");
        // SAFETY: attached; the result is checked for null by `from_owned`.
        let list = from_owned(py, unsafe { ffi::PyList_New(count) })?;
        if self.hidden {
            // SAFETY: a list, which was tracked when it was made.
            unsafe { ffi::PyObject_GC_UnTrack(list.as_ptr().cast()) };
        }
        Ok(list)
    }

    fn show(&self, list: &Py<PyAny>) {
        if self.hidden {
            // SAFETY: a full list, which was untracked when it was made.
            unsafe { ffi::PyObject_GC_Track(list.as_ptr().cast()) };
        }
    }

    /// Put a finished object where it belongs.
    #[inline]
    fn add(&mut self, py: Python<'_>, key: Option<Bound<'_, PyAny>>, made: Bound<'_, PyAny>) -> PyResult<()> {
        let Some(Open { container, filled, .. }) = self.open.last_mut() else {
            self.made = Some(made.unbind());
            return Ok(());
        };
        let Some(filled) = filled else {
            let key = key.expect("a member has a key");
            // SAFETY: a dict of ours, and two objects that are alive; it takes references of its own.
            let failed = unsafe { ffi::PyDict_SetItem(container.as_ptr(), key.as_ptr(), made.as_ptr()) } != 0;
            return if failed { Err(PyErr::fetch(py)) } else { Ok(()) };
        };
        // SAFETY: the list was made for as many elements as the text has, of which this is the next: the slot is
        // empty, and takes over the reference.
        unsafe { ffi::PyList_SET_ITEM(container.as_ptr(), *filled, made.into_ptr()) };
        *filled += 1;
        Ok(())
    }

    fn wrong(&self, py: Python<'_>, what: &'static str) -> PyErr {
        to_py_err(py, &self.tokens.wrong(what))
    }
}

/// The object that an interpreter's function made, or the error it set.
#[inline]
fn from_owned(py: Python<'_>, made: *mut ffi::PyObject) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: null, or a reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }
}

/// The `int` or `float`; or why Python has none.
#[inline]
fn new_number<'py>(py: Python<'py>, number: Number<'_>) -> PyResult<Result<Bound<'py, PyAny>, &'static str>> {
    let made = match number {
        // SAFETY: attached; the result is checked for null by `from_owned`.
        Number::Signed(number) => unsafe { ffi::PyLong_FromLongLong(number) },
        // SAFETY: as above.
        Number::Unsigned(number) => unsafe { ffi::PyLong_FromUnsignedLongLong(number) },
        // SAFETY: as above.
        Number::Float(number) if number.is_finite() => unsafe { ffi::PyFloat_FromDouble(number) },
        Number::Float(_) => return Ok(Err("this number is larger than a double holds")),
        Number::Large(digits) => return large_number(py, digits),
    };
    from_owned(py, made).map(Ok)
}

fn large_number<'py>(py: Python<'py>, digits: &str) -> PyResult<Result<Bound<'py, PyAny>, &'static str>> {
    let digits = CString::new(digits).expect("digits are no NUL");
    // SAFETY: attached; the text ends with NUL, and nobody asks where reading it ended.
    let made = unsafe { ffi::PyLong_FromString(digits.as_ptr(), std::ptr::null_mut(), 10) };
    match from_owned(py, made) {
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyValueError>(py) => {
            Ok(Err("this number has more digits than sys.set_int_max_str_digits allows"))
        }
        made => made.map(Ok),
    }
}

/// The `str` of a string.
#[inline]
fn new_string<'py>(py: Python<'py>, raw: &[u8], written: Written) -> PyResult<Bound<'py, PyAny>> {
    if written.escaped {
        let text = unescape(raw);
        return if text.is_ascii() { ascii_string(py, &text) } else { wide_string(py, &text) };
    }
    if written.ascii { ascii_string(py, raw) } else { wide_string(py, raw) }
}

#[inline]
fn ascii_string<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let len = text.len().try_into().map_err(|_| PyMemoryError::new_err("a string larger than memory"))?;
    // SAFETY: attached; the result is checked for null by `from_owned`.
    let made = from_owned(py, unsafe { ffi::PyUnicode_New(len, 127) })?;
    if !text.is_empty() {
        // SAFETY: the string was just made, and nobody else has seen it.
        let room = unsafe { ffi::PyUnicode_DATA(made.as_ptr()) };
        // SAFETY: it has room for `len` characters of one byte, and ASCII is what it was made for.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), room.cast::<u8>(), text.len()) };
    }
    Ok(made)
}

/// The `str` of UTF-8 that is not ASCII.
#[expect(clippy::cast_possible_truncation, reason = "characters fit, as was measured")]
fn wide_string<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (count, most) = measure(text);
    // SAFETY: attached; the result is checked for null by `from_owned`.
    let made = from_owned(py, unsafe { ffi::PyUnicode_New(count.cast_signed(), most) })?;
    // SAFETY: the string was just made, and nobody else has seen it.
    let room = unsafe { ffi::PyUnicode_DATA(made.as_ptr()) };
    if most == 0xFF {
        // SAFETY: the string has `count` characters of one byte, and it is ours alone.
        let room = unsafe { std::slice::from_raw_parts_mut(room.cast::<u8>(), count) };
        fill(room, text, |wide| wide as u8);
    } else if most == 0xFFFF {
        // SAFETY: the string has `count` characters of two bytes, aligned to them, and it is ours alone.
        let room = unsafe { std::slice::from_raw_parts_mut(room.cast::<u16>(), count) };
        fill(room, text, |wide| wide as u16);
    } else {
        // SAFETY: the string has `count` characters of four bytes, aligned to them, and it is ours alone.
        let room = unsafe { std::slice::from_raw_parts_mut(room.cast::<u32>(), count) };
        fill(room, text, |wide| wide);
    }
    Ok(made)
}

const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many characters UTF-8 has, and the largest that a string for them has to hold.
fn measure(text: &[u8]) -> (usize, u32) {
    let (mut continued, mut wide, mut widest) = (0, 0_u64, 0_u64);
    let (eights, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    for eight in eights.iter().chain([&last]) {
        let bytes = u64::from_le_bytes(*eight);
        let first = bytes & (bytes << 1) & HIGHS;
        continued += (bytes & HIGHS & !first).count_ones() as usize;
        // A character begins with 0xC4 or more if it has more than 8 bits, with 0xF0 or more if more than 16.
        wide |= first & (bytes << 2 | bytes << 3 | bytes << 4 | bytes << 5);
        widest |= first & (bytes << 2) & (bytes << 3);
    }
    let most = match (wide, widest) {
        (_, 1..) => 0x10_FFFF,
        (1.., _) => 0xFFFF,
        _ => 0xFF,
    };
    (text.len() - continued, most)
}

/// Write the characters of UTF-8, eight at a time where they are ASCII.
#[inline]
fn fill<T>(room: &mut [T], mut text: &[u8], narrow: impl Fn(u32) -> T) {
    let mut slots = room;
    loop {
        while let Some((eight, rest)) = text.split_first_chunk::<8>()
            && u64::from_le_bytes(*eight) & HIGHS == 0
        {
            let (now, later) = slots.split_at_mut(8);
            for (slot, byte) in now.iter_mut().zip(eight) {
                *slot = narrow(u32::from(*byte));
            }
            (text, slots) = (rest, later);
        }
        let Some((slot, later)) = slots.split_first_mut() else { return };
        let (character, len) = first_character(text);
        *slot = narrow(character);
        (text, slots) = (&text[len..], later);
    }
}

/// The first character of valid UTF-8, and its length.
#[inline]
fn first_character(text: &[u8]) -> (u32, usize) {
    let continued = |at: usize| u32::from(text[at] & 0x3F);
    let first = u32::from(text[0]);
    match first {
        0..0x80 => (first, 1),
        0x80..0xE0 => ((first & 0x1F) << 6 | continued(1), 2),
        0xE0..0xF0 => ((first & 0x0F) << 12 | continued(1) << 6 | continued(2), 3),
        _ => ((first & 0x07) << 18 | continued(1) << 12 | continued(2) << 6 | continued(3), 4),
    }
}

/// Keys are short and few, and come again and again.
const CACHED_KEYS: usize = 1024;
/// Longer ones are made each time.
const LONGEST_CACHED: usize = 32;

/// Keys that were made before, each with its own hash already known.
static KEYS: Mutex<Keys> = Mutex::new(Keys { cached: Vec::new() });

/// A cache of keys, by a hash of their bytes; of no size until it is used.
#[derive(Default)]
struct Keys {
    cached: Vec<Option<CachedKey>>,
}

struct CachedKey {
    bytes: [u8; LONGEST_CACHED],
    len: usize,
    key: Py<PyAny>,
}

impl Keys {
    /// The `str` of a key.
    #[inline]
    fn string<'py>(&mut self, py: Python<'py>, raw: &[u8], written: Written) -> PyResult<Bound<'py, PyAny>> {
        if raw.len() > LONGEST_CACHED || written.escaped {
            return new_string(py, raw, written);
        }
        if self.cached.is_empty() {
            self.cached.resize_with(CACHED_KEYS, || None);
        }
        let slot = &mut self.cached[slot_of(raw)];
        if let Some(cached) = slot
            && cached.bytes.get(..cached.len) == Some(raw)
        {
            return Ok(cached.key.bind(py).clone());
        }
        let key = new_string(py, raw, written)?;
        let mut bytes = [0; LONGEST_CACHED];
        bytes[..raw.len()].copy_from_slice(raw);
        *slot = Some(CachedKey { bytes, len: raw.len(), key: key.clone().unbind() });
        Ok(key)
    }
}

/// Where a key is cached. A sender who makes keys collide only makes them be made anew.
#[inline]
fn slot_of(raw: &[u8]) -> usize {
    // The first and the last bytes, which overlap where there are few.
    let (first, last) = match (raw.first_chunk::<8>(), raw.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (raw.first_chunk::<4>(), raw.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
            }
            _ => raw.iter().fold((0, 0), |(first, last), byte| (first << 8 | u64::from(*byte), last)),
        },
    };
    let mixed = (first ^ last.rotate_left(23) ^ raw.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 54) as usize
}
