//! Python objects of JSON values, made as fast as the interpreter allows.
//!
//! A [`Builder`] walks over a value and keeps the containers that are open on a stack of its own, so it can stop
//! anywhere and go on later. That is what [`build_in_slices`] does: about a millisecond with the GIL, then a real
//! sleep without it, since a thread that only lets go of the GIL mostly gets it back before the event loop does.

use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mcpgateway_engine::json::{Document, Member, Node, Number, Token, Walk, Written, unescape};
use mcpgateway_engine::{Error, ErrorKind, Result, runtime};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use pyo3::{ffi, intern};

use crate::error::to_py_err;
use crate::interpreter::is_exiting;

/// Python objects of `node`, made at once.
pub(crate) fn value<'py>(py: Python<'py>, node: &Node) -> PyResult<Bound<'py, PyAny>> {
    let mut builder = Builder::new(node);
    let _paused = PausedCollector::pause();
    builder.run(py, None)?;
    Ok(builder.finish().into_bound(py))
}

/// The `str` that the bytes between the quotes of a string stand for.
pub(crate) fn string<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let written = Written { end: raw.len(), escaped: raw.contains(&b'\\'), ascii: raw.is_ascii() };
    new_string(py, raw, written).map(|text| text.into_bound(py))
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

/// How long objects are made at a time.
const SLICE: Duration = Duration::from_micros(800);
/// How long the GIL is left alone then: without a real sleep the longest gap was 170 ms instead of 4.
const REST: Duration = Duration::from_micros(50);
/// Tokens between two looks at the clock.
const TOKENS_A_LOOK: usize = 64;

/// Python objects of `document`, made a few at a time on a thread of its own. Dropping the future stops it.
///
/// # Errors
/// [`ErrorKind::Cancelled`] when the interpreter is ending; what is wrong with a value is in the inner result.
pub(crate) async fn build_in_slices(document: Document) -> Result<PyResult<Py<PyAny>>> {
    let cancelled = || Error::new(ErrorKind::Cancelled, "the interpreter is ending");
    runtime::blocking_until_dropped(move |dropped| {
        let mut builder = Builder::new(&document.root());
        builder.hidden = true;
        loop {
            if is_exiting() || dropped.load(Ordering::Relaxed) {
                return Err(cancelled());
            }
            let slice = |py: Python<'_>| {
                let _paused = PausedCollector::pause();
                builder.run(py, Some(Instant::now() + SLICE))
            };
            // None when the interpreter is ending.
            match Python::try_attach(slice).ok_or_else(cancelled)? {
                Ok(Progress::More) => std::thread::sleep(REST),
                Ok(Progress::Done) => return Ok(Ok(builder.finish())),
                Err(error) => return Ok(Err(error)),
            }
        }
    })
    .await?
}

/// Python's cyclic garbage collector, paused: it would look at what is being made over and over, a third to a
/// half of the time of a large text, and could find no garbage there.
struct PausedCollector {
    was_enabled: bool,
}

impl PausedCollector {
    fn pause() -> Self {
        // SAFETY: only called with the GIL.
        let was_enabled = unsafe { ffi::PyGC_Disable() } != 0;
        Self { was_enabled }
    }
}

impl Drop for PausedCollector {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: dropped where it was made, with the GIL.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    More,
}

/// A container that is being filled.
enum Open {
    List { list: Py<PyAny>, filled: isize },
    Dict { dict: Py<PyAny>, key: Option<Py<PyAny>> },
}

/// Makes the Python objects of one value.
struct Builder {
    walk: Walk,
    open: Vec<Open>,
    made: Option<Py<PyAny>>,
    /// Whether lists that are not full are kept from whom looks at all objects (`gc.get_objects`), because the
    /// GIL is let go of between.
    hidden: bool,
}

impl Builder {
    fn new(node: &Node) -> Self {
        Self { walk: Walk::new(node), open: Vec::new(), made: None, hidden: false }
    }

    fn finish(self) -> Py<PyAny> {
        self.made.expect("a value has a first token and an end")
    }

    /// Make objects until the end, or until the deadline has passed.
    fn run(&mut self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Progress> {
        loop {
            for _ in 0..TOKENS_A_LOOK {
                if !self.step(py)? {
                    return Ok(Progress::Done);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Progress::More);
            }
        }
    }

    /// Take one token; false at the end.
    #[inline]
    fn step(&mut self, py: Python<'_>) -> PyResult<bool> {
        let Some(token) = self.walk.next_token() else { return Ok(false) };
        let made = match token {
            Token::String(raw, written) => match self.open.last_mut() {
                Some(Open::Dict { key: key @ None, .. }) => {
                    *key = Some(key_string(py, raw, written)?);
                    return Ok(true);
                }
                _ => new_string(py, raw, written)?,
            },
            Token::Number(number) => match new_number(py, number)? {
                Ok(number) => number,
                Err(what) => return Err(self.wrong(py, what)),
            },
            Token::Boolean(value) => value.into_pyobject(py)?.to_owned().into_any().unbind(),
            Token::Null => py.None(),
            Token::Array(count) => {
                let list = self.new_list(py, count)?;
                self.open.push(Open::List { list, filled: 0 });
                return Ok(true);
            }
            Token::Object(_) => {
                self.open.push(Open::Dict { dict: PyDict::new(py).into_any().unbind(), key: None });
                return Ok(true);
            }
            Token::End => match self.open.pop().expect("what ends has begun") {
                Open::List { list, .. } => {
                    self.show(&list);
                    list
                }
                Open::Dict { dict, .. } => dict,
            },
        };
        self.add(py, made)?;
        Ok(true)
    }

    fn new_list(&self, py: Python<'_>, count: u32) -> PyResult<Py<PyAny>> {
        // SAFETY: attached; the result is checked for null by `from_owned`.
        let list = from_owned(py, unsafe { ffi::PyList_New(count as isize) })?;
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
    fn add(&mut self, py: Python<'_>, made: Py<PyAny>) -> PyResult<()> {
        match self.open.last_mut() {
            None => self.made = Some(made),
            Some(Open::List { list, filled }) => {
                // SAFETY: the list was made for as many elements as the text has, of which this is the next: the
                // slot is empty, and takes over the reference.
                unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), *filled, made.into_ptr()) };
                *filled += 1;
            }
            Some(Open::Dict { dict, key }) => {
                let key = key.take().expect("a value follows its key");
                // SAFETY: a dict of ours, and two objects that are alive; it takes references of its own.
                let failed = unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), made.as_ptr()) } != 0;
                if failed {
                    return Err(PyErr::fetch(py));
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, py: Python<'_>, what: &'static str) -> PyErr {
        let error = self.walk.document().error_at(self.walk.last(), what);
        to_py_err(py, &error)
    }
}

/// The object that an interpreter's function made, or the error it set.
#[inline]
fn from_owned(py: Python<'_>, made: *mut ffi::PyObject) -> PyResult<Py<PyAny>> {
    // SAFETY: null, or a reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }.map(Bound::unbind)
}

/// The `int` or `float`; or why Python has none.
#[inline]
fn new_number(py: Python<'_>, number: Number<'_>) -> PyResult<Result<Py<PyAny>, &'static str>> {
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

fn large_number(py: Python<'_>, digits: &str) -> PyResult<Result<Py<PyAny>, &'static str>> {
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
fn new_string(py: Python<'_>, raw: &[u8], written: Written) -> PyResult<Py<PyAny>> {
    if written.escaped {
        let text = unescape(raw);
        return if text.is_ascii() { ascii_string(py, &text) } else { wide_string(py, &text) };
    }
    if written.ascii { ascii_string(py, raw) } else { wide_string(py, raw) }
}

#[inline]
fn ascii_string(py: Python<'_>, text: &[u8]) -> PyResult<Py<PyAny>> {
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
fn wide_string(py: Python<'_>, text: &[u8]) -> PyResult<Py<PyAny>> {
    let text = std::str::from_utf8(text).expect("checked when the document was opened");
    // What a character begins with says how wide it is: from 0xC4 on more than 8 bits, from 0xF0 on more than 16.
    let (mut count, mut highest) = (0_isize, 0_u8);
    for byte in text.bytes() {
        count += isize::from(byte & 0xC0 != 0x80);
        highest = highest.max(byte);
    }
    let most = match highest {
        0xF0.. => 0x10_FFFF,
        0xC4.. => 0xFFFF,
        _ => 0xFF,
    };
    // SAFETY: attached; the result is checked for null by `from_owned`.
    let made = from_owned(py, unsafe { ffi::PyUnicode_New(count, most) })?;
    // SAFETY: the string was just made, and nobody else has seen it.
    let room = unsafe { ffi::PyUnicode_DATA(made.as_ptr()) };
    let count = count.unsigned_abs();
    match most {
        // SAFETY: the string has `count` characters of one byte, and it is ours alone.
        0xFF => {
            fill(unsafe { std::slice::from_raw_parts_mut(room.cast::<u8>(), count) }, text, |wide| wide as u8)
        }
        // SAFETY: the same, of two bytes, and aligned to them.
        0xFFFF => fill(unsafe { std::slice::from_raw_parts_mut(room.cast::<u16>(), count) }, text, |wide| {
            wide as u16
        }),
        // SAFETY: the same, of four bytes.
        _ => fill(unsafe { std::slice::from_raw_parts_mut(room.cast::<u32>(), count) }, text, |wide| wide),
    }
    Ok(made)
}

#[inline]
fn fill<T>(room: &mut [T], text: &str, narrow: impl Fn(u32) -> T) {
    for (slot, character) in room.iter_mut().zip(text.chars()) {
        *slot = narrow(u32::from(character));
    }
}

/// Keys are short and few, and come again and again.
const CACHED_KEYS: usize = 1024;
/// Longer ones are made each time.
const LONGEST_CACHED: usize = 32;

/// Keys that were made before, by a hash of their bytes; each with its own hash already known.
static KEYS: Mutex<Vec<Option<CachedKey>>> = Mutex::new(Vec::new());

struct CachedKey {
    bytes: [u8; LONGEST_CACHED],
    len: u8,
    key: Py<PyAny>,
}

/// The `str` of a key.
#[inline]
fn key_string(py: Python<'_>, raw: &[u8], written: Written) -> PyResult<Py<PyAny>> {
    if raw.len() > LONGEST_CACHED || written.escaped {
        return new_string(py, raw, written);
    }
    // Held only here, with the GIL, and nothing below runs Python code; were it held, the key is made anew.
    let Ok(mut keys) = KEYS.try_lock() else { return new_string(py, raw, written) };
    if keys.is_empty() {
        keys.resize_with(CACHED_KEYS, || None);
    }
    let slot = &mut keys[slot_of(raw)];
    if let Some(cached) = slot
        && cached.bytes[..usize::from(cached.len)] == *raw
    {
        return Ok(cached.key.clone_ref(py));
    }
    let key = new_string(py, raw, written)?;
    let mut bytes = [0; LONGEST_CACHED];
    bytes[..raw.len()].copy_from_slice(raw);
    let len = u8::try_from(raw.len()).expect("short");
    *slot = Some(CachedKey { bytes, len, key: key.clone_ref(py) });
    Ok(key)
}

/// Where a key is cached. A sender who makes keys collide only makes them be made anew.
#[inline]
fn slot_of(raw: &[u8]) -> usize {
    let eight = |at: usize| {
        let mut word = [0; 8];
        let part = &raw[at..raw.len().min(at + 8)];
        word[..part.len()].copy_from_slice(part);
        u64::from_le_bytes(word)
    };
    let (first, last) = (eight(0), eight(raw.len().saturating_sub(8)));
    let mixed = (first ^ last.rotate_left(23) ^ raw.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 54) as usize
}
