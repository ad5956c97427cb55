//! `str` objects, made of UTF-8 that was checked before.

use std::ptr::NonNull;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;

/// The `str` of `text`, which is UTF-8, and ASCII if `ascii` says so.
#[inline]
pub(crate) fn new_string<'py>(py: Python<'py>, text: &[u8], ascii: bool) -> PyResult<Bound<'py, PyAny>> {
    let shape = if ascii { Shape::of_ascii(text) } else { Shape::of(text) };
    let blank = Blank::new(py, text, shape)?;
    blank.fill();
    Ok(blank.string.into_bound(py))
}

/// What a `str` has to have room for.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Characters.
    count: usize,
    /// The largest of them, rounded up to what the interpreter knows: 0x7F, 0xFF, 0xFFFF or 0x10FFFF.
    most: u32,
}

const HIGHS: u64 = 0x8080_8080_8080_8080;

impl Shape {
    #[inline]
    fn of_ascii(text: &[u8]) -> Self {
        Self { count: text.len(), most: 0x7F }
    }

    /// The shape of UTF-8.
    pub(crate) fn of(text: &[u8]) -> Self {
        let (blocks, rest) = text.as_chunks::<LANES>();
        let mut last = [0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let (mut continued, mut most) = continued_and_most(&[last]);
        // No more than a lane can count.
        for blocks in blocks.chunks(u8::MAX.into()) {
            let found = continued_and_most(blocks);
            (continued, most) = (continued + found.0, most.max(found.1));
        }
        // A character begins with 0xC4 or more if it has more than 8 bits, with 0xF0 or more if more than 16.
        let most = match most {
            0..0x80 => 0x7F,
            0x80..0xC4 => 0xFF,
            0xC4..0xF0 => 0xFFFF,
            0xF0.. => 0x10_FFFF,
        };
        Self { count: text.len() - continued, most }
    }
}

/// Bytes looked at at a time, each by a lane of its own: this is what the compiler makes SIMD of.
const LANES: usize = 16;

/// How many bytes go on with a character, and the largest byte, of at most 255 blocks.
#[inline]
fn continued_and_most(blocks: &[[u8; LANES]]) -> (usize, u8) {
    let (mut counts, mut tops) = ([0_u8; LANES], [0_u8; LANES]);
    for block in blocks {
        for ((count, top), byte) in counts.iter_mut().zip(&mut tops).zip(block) {
            *count = count.wrapping_add(u8::from(byte.cast_signed() < -64));
            *top = (*top).max(*byte);
        }
    }
    (counts.into_iter().map(usize::from).sum(), tops.into_iter().max().unwrap_or(0))
}

/// A `str` that was made for a text, and does not have it yet: writing it needs no GIL, as nobody else has seen the
/// object, so a long text is no reason to hold it.
pub(crate) struct Blank<'t> {
    string: Py<PyAny>,
    room: NonNull<u8>,
    shape: Shape,
    text: &'t [u8],
}

// SAFETY: the pointer is into the object that is beside it, which nobody else has.
unsafe impl Send for Blank<'_> {}

impl<'t> Blank<'t> {
    /// Make room for `text`, which is of `shape`.
    #[inline]
    pub(crate) fn new(py: Python<'_>, text: &'t [u8], shape: Shape) -> PyResult<Self> {
        let too_long = |_| PyMemoryError::new_err("a string larger than memory");
        let count = shape.count.try_into().map_err(too_long)?;
        // SAFETY: attached, and the largest character is one that there is.
        let made = unsafe { ffi::PyUnicode_New(count, shape.most) };
        // SAFETY: null with an error set, or a reference that is ours.
        let string = unsafe { Bound::from_owned_ptr_or_err(py, made) }?.unbind();
        // SAFETY: a string, which was just made.
        let room = unsafe { ffi::PyUnicode_DATA(string.as_ptr()) };
        let room = NonNull::new(room.cast()).expect("a string has data");
        // The empty one, and none else, is shared.
        let text = if shape.count == 0 { &[] } else { text };
        Ok(Self { string, room, shape, text })
    }

    /// Write the text, which may take long; the GIL is not needed.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "characters fit, as was measured")]
    pub(crate) fn fill(&self) {
        let (room, text, count) = (self.room, self.text, self.shape.count);
        if text.is_empty() {
            return;
        }
        match self.shape.most {
            0x7F => {
                // SAFETY: the string has `count` characters of one byte, as many as the text has bytes, and is ours
                // alone.
                unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), room.as_ptr(), count) };
            }
            0xFF => {
                // SAFETY: the string has `count` characters of one byte, and is ours alone.
                let room = unsafe { std::slice::from_raw_parts_mut(room.as_ptr(), count) };
                transcode(room, text, |wide| wide as u8);
            }
            0xFFFF => {
                // SAFETY: the string has `count` characters of two bytes, aligned to them, and is ours alone.
                let room = unsafe { std::slice::from_raw_parts_mut(room.cast::<u16>().as_ptr(), count) };
                transcode(room, text, |wide| wide as u16);
            }
            _ => {
                // SAFETY: the string has `count` characters of four bytes, aligned to them, and is ours alone.
                let room = unsafe { std::slice::from_raw_parts_mut(room.cast::<u32>().as_ptr(), count) };
                transcode(room, text, |wide| wide);
            }
        }
    }

    /// The string, which was filled.
    pub(crate) fn into_string(self) -> Py<PyAny> {
        self.string
    }
}

/// Write the characters of UTF-8, eight at a time as far as they are ASCII.
#[inline]
fn transcode<T>(room: &mut [T], mut text: &[u8], narrow: impl Fn(u32) -> T) {
    let mut slots = room;
    while let (Some(eight), Some(now)) = (text.first_chunk::<8>(), slots.first_chunk_mut::<8>()) {
        *now = eight.map(|byte| narrow(u32::from(byte)));
        let ascii = ((u64::from_le_bytes(*eight) & HIGHS).trailing_zeros() / 8) as usize;
        (text, slots) = (&text[ascii..], &mut slots[ascii..]);
        // What is not ASCII mostly stands beside more of it.
        while text.first().is_some_and(|byte| !byte.is_ascii()) {
            let (character, len) = first_character(text);
            slots[0] = narrow(character);
            (text, slots) = (&text[len..], &mut slots[1..]);
        }
    }
    for slot in slots {
        let (character, len) = first_character(text);
        *slot = narrow(character);
        text = &text[len..];
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
