//! Python objects of the values of a text, from the inside out.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError, TryLockError};

use mcpgateway_engine::json::{Maker, Number};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::unicode::new_string;

/// Strings of at least so many bytes are worth being filled without the GIL.
pub(crate) const LONG_STRING: usize = 256;

/// Why an object could not be made.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// What Python said.
    Python(PyErr),
    /// A number that Python has no object for, and why.
    Number(&'static str),
}

impl From<PyErr> for Unmade {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

type Result<T, E = Unmade> = std::result::Result<T, E>;

/// Objects that were made, and not yet put into another.
#[derive(Default)]
pub(crate) struct Made {
    values: Vec<Py<PyAny>>,
    /// Arrays and objects that were made.
    containers: usize,
    /// The long strings still to come, if they were made before.
    long_strings: std::vec::IntoIter<Py<PyAny>>,
    /// Short strings that are values, of which texts have many twice: kinds, roles, names. Of no size where a text is
    /// too short for that to pay.
    short_strings: Cache,
}

impl Made {
    /// For a text that has few values.
    pub(crate) fn of_few() -> Self {
        Self { values: Vec::with_capacity(256), ..Self::default() }
    }

    /// For a text that has many values, of which the long strings were made before.
    pub(crate) fn of_many(long_strings: Vec<Py<PyAny>>) -> Self {
        Self {
            long_strings: long_strings.into_iter(),
            short_strings: Cache::with_slots(SHORT_STRINGS),
            ..Self::default()
        }
    }

    /// The value of the whole text, once that was walked over.
    pub(crate) fn into_value(mut self) -> Py<PyAny> {
        debug_assert_eq!(self.values.len(), 1);
        self.values.pop().expect("a text that was walked over has a value")
    }

    /// Arrays and objects that were made so far.
    pub(crate) fn containers(&self) -> usize {
        self.containers
    }

    /// Make objects for as long as the GIL is held.
    pub(crate) fn with<R>(&mut self, py: Python<'_>, work: impl FnOnce(&mut Making<'_, '_>) -> R) -> R {
        let mut none = Cache::default();
        // Only taken here, with the GIL. Where it is taken already, by what this interrupts, keys are made anew.
        let mut shared = match KEYS.try_lock() {
            Ok(shared) => Some(shared),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        };
        let keys = shared.as_deref_mut().unwrap_or(&mut none);
        if keys.slots.is_empty() {
            *keys = Cache::with_slots(CACHED_KEYS);
        }
        work(&mut Making { py, made: self, keys })
    }
}

/// Makes objects.
pub(crate) struct Making<'py, 'm> {
    py: Python<'py>,
    made: &'m mut Made,
    keys: &'m mut Cache,
}

impl Making<'_, '_> {
    #[inline]
    fn push(&mut self, value: Bound<'_, PyAny>) {
        self.made.values.push(value.unbind());
    }

    /// The object that an interpreter's function made, or the error it set.
    #[inline]
    fn push_owned(&mut self, made: *mut ffi::PyObject) -> Result<()> {
        // SAFETY: null with an error set, or a reference that is ours.
        let made = unsafe { Bound::from_owned_ptr_or_err(self.py, made) }?;
        self.push(made);
        Ok(())
    }

    /// The string that was made before, if `text` is long.
    #[inline]
    fn long_string(&mut self, text: &[u8]) -> Option<Py<PyAny>> {
        if text.len() < LONG_STRING { None } else { self.made.long_strings.next() }
    }

    fn large_number(&mut self, digits: &str) -> Result<()> {
        let digits = CString::new(digits).expect("digits are no NUL");
        // SAFETY: attached; the text ends with NUL, and nobody asks where reading it ended.
        let made = unsafe { ffi::PyLong_FromString(digits.as_ptr(), std::ptr::null_mut(), 10) };
        match self.push_owned(made) {
            Err(Unmade::Python(error)) if error.is_instance_of::<pyo3::exceptions::PyValueError>(self.py) => {
                Err(Unmade::Number("this number has more digits than sys.set_int_max_str_digits allows"))
            }
            made => made,
        }
    }
}

impl Maker for Making<'_, '_> {
    type Error = Unmade;

    #[inline]
    fn string(&mut self, text: &[u8], ascii: bool) -> Result<()> {
        if let Some(made) = self.long_string(text) {
            self.made.values.push(made);
            return Ok(());
        }
        let made = if text.len() <= SHORT && !self.made.short_strings.slots.is_empty() {
            self.made.short_strings.string(self.py, text, ascii)?
        } else {
            new_string(self.py, text, ascii)?
        };
        self.push(made);
        Ok(())
    }

    #[inline]
    fn key(&mut self, text: &[u8], ascii: bool) -> Result<()> {
        if let Some(made) = self.long_string(text) {
            self.made.values.push(made);
            return Ok(());
        }
        let made = self.keys.string(self.py, text, ascii)?;
        self.push(made);
        Ok(())
    }

    #[inline]
    fn number(&mut self, number: Number<'_>) -> Result<()> {
        let made = match number {
            // SAFETY: attached; the result is checked for null by `push_owned`.
            Number::Signed(number) => unsafe { ffi::PyLong_FromLongLong(number) },
            // SAFETY: as above.
            Number::Unsigned(number) => unsafe { ffi::PyLong_FromUnsignedLongLong(number) },
            // SAFETY: as above.
            Number::Float(number) if number.is_finite() => unsafe { ffi::PyFloat_FromDouble(number) },
            Number::Float(_) => return Err(Unmade::Number("this number is larger than a double holds")),
            Number::Large(digits) => return self.large_number(digits),
        };
        self.push_owned(made)
    }

    #[inline]
    fn boolean(&mut self, value: bool) -> Result<()> {
        self.push(pyo3::types::PyBool::new(self.py, value).to_owned().into_any());
        Ok(())
    }

    #[inline]
    fn null(&mut self) -> Result<()> {
        self.made.values.push(self.py.None());
        Ok(())
    }

    #[inline]
    fn array(&mut self, count: usize) -> Result<()> {
        let len = isize::try_from(count).expect("the elements are in memory");
        // SAFETY: attached; the result is checked for null.
        let list = unsafe { ffi::PyList_New(len) };
        // SAFETY: null with an error set, or a reference that is ours.
        let list = unsafe { Bound::from_owned_ptr_or_err(self.py, list) }?;
        let first = self.made.values.len() - count;
        for (index, element) in (0..len).zip(self.made.values.drain(first..)) {
            // SAFETY: a list that was just made for `count` elements, of which this slot is still empty; it takes
            // over the reference.
            unsafe { ffi::PyList_SET_ITEM(list.as_ptr(), index, element.into_ptr()) };
        }
        self.made.containers += 1;
        self.push(list);
        Ok(())
    }

    #[inline]
    fn object(&mut self, count: usize) -> Result<()> {
        let py = self.py;
        // SAFETY: attached; the result is checked for null.
        let dict = unsafe { ffi::PyDict_New() };
        // SAFETY: null with an error set, or a reference that is ours.
        let dict = unsafe { Bound::from_owned_ptr_or_err(py, dict) }?;
        let first = self.made.values.len() - 2 * count;
        let mut parts = self.made.values.drain(first..);
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            let (key, value) = (key.into_bound(py), value.into_bound(py));
            // SAFETY: a dict of ours, and two objects that are alive; it takes references of its own.
            if unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } != 0 {
                return Err(PyErr::fetch(py).into());
            }
        }
        drop(parts);
        self.made.containers += 1;
        self.push(dict);
        Ok(())
    }
}

/// Keys are short and few, and come again and again.
const CACHED_KEYS: usize = 1024;
/// Longer ones are made each time.
const LONGEST_CACHED: usize = 32;
/// Values that come again are mostly shorter.
const SHORT: usize = 16;
/// As many as the cache of the processor holds beside the keys.
const SHORT_STRINGS: usize = 512;

/// Keys that were made before, each with its own hash already known.
static KEYS: Mutex<Cache> = Mutex::new(Cache { slots: Vec::new() });

/// Strings that were made before, by a hash of their bytes.
#[derive(Default)]
struct Cache {
    /// As many as a power of two, at most [`CACHED_KEYS`]; none where nothing is kept.
    slots: Vec<Option<Cached>>,
}

struct Cached {
    ends: Ends,
    bytes: [u8; LONGEST_CACHED],
    string: Py<PyAny>,
}

/// What is looked at of a string first: its first and last bytes, which overlap where there are few. Up to sixteen
/// bytes, that is all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends {
    first: u64,
    last: u64,
    len: usize,
}

impl Ends {
    #[inline]
    fn of(text: &[u8]) -> Self {
        let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
                }
                _ => text.iter().fold((0, 0), |(first, last), byte| (first << 8 | u64::from(*byte), last)),
            },
        };
        Self { first, last, len: text.len() }
    }

    /// Which slot a string goes to. A sender who makes strings collide only makes them be made anew.
    #[inline]
    fn hash(self) -> usize {
        let mixed =
            (self.first ^ self.last.rotate_left(23) ^ self.len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 54) as usize
    }
}

impl Cached {
    #[inline]
    fn is(&self, ends: Ends, text: &[u8]) -> bool {
        self.ends == ends && (ends.len <= 16 || &self.bytes[..ends.len] == text)
    }
}

impl Cache {
    fn with_slots(count: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(count, || None);
        Self { slots }
    }

    /// The `str` of UTF-8.
    #[inline]
    fn string<'py>(&mut self, py: Python<'py>, text: &[u8], ascii: bool) -> PyResult<Bound<'py, PyAny>> {
        if text.len() > LONGEST_CACHED || self.slots.is_empty() {
            return new_string(py, text, ascii);
        }
        let ends = Ends::of(text);
        let at = ends.hash() & (self.slots.len() - 1);
        let slot = &mut self.slots[at];
        if let Some(cached) = slot
            && cached.is(ends, text)
        {
            return Ok(cached.string.bind(py).clone());
        }
        let string = new_string(py, text, ascii)?;
        let mut bytes = [0; LONGEST_CACHED];
        bytes[..text.len()].copy_from_slice(text);
        *slot = Some(Cached { ends, bytes, string: string.clone().unbind() });
        Ok(string)
    }
}
