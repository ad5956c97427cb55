//! Arrays of numbers, straight from the text: (nested) rectangular arrays to one block of memory.

use std::panic::resume_unwind;

use mcpgateway_shm::RegionMut;
use memchr::{memchr, memchr_iter};

use super::document::{Container, Inner};
use super::node::{Kind, Node};
use super::numbers::{Number, double_at, number_at, single_at};
use super::runs::commas_at;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::allocate;

/// Bytes below which the heap is as good as a region.
const SMALL: usize = 64 << 10;
/// Bytes of text that are worth a thread.
const WORTH_A_THREAD: usize = 1 << 20;
/// More threads than these would wait for memory.
const MOST_THREADS: usize = 4;

/// What the elements of an [`Array`] are, by the names that numpy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DataType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float32,
    Float64,
}

impl DataType {
    const ALL: [Self; 11] = [
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float32,
        Self::Float64,
    ];

    /// The name that numpy has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.as_str() == name)
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Int64 | Self::Uint64 | Self::Float64 => 8,
        }
    }
}

/// Numbers or truth values, in the order of the text (C order), in the byte order of the machine.
#[derive(Debug)]
pub struct Array {
    /// How many elements there are in each dimension.
    pub shape: Vec<usize>,
    /// What they are.
    pub data_type: DataType,
    /// Their bytes.
    pub memory: ArrayMemory,
}

/// Memory for elements, aligned to eight bytes.
#[derive(Debug)]
pub struct ArrayMemory {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Box<[u64]>),
    Region(RegionMut),
}

impl ArrayMemory {
    /// Room for `len` bytes, from the warm pool if they are many.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn allocate(len: usize) -> Result<Self> {
        let memory = if len < SMALL {
            Memory::Heap(vec![0; len.div_ceil(8)].into())
        } else {
            Memory::Region(allocate(len)?)
        };
        Ok(Self { memory, len })
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        match &mut self.memory {
            Memory::Region(region) => &mut region.spare_mut()[..len],
            Memory::Heap(words) => {
                let start = words.as_mut_ptr().cast::<u8>();
                // SAFETY: the words are `len` bytes or more, of which any value is one, and are borrowed mutably.
                unsafe { std::slice::from_raw_parts_mut(start, len) }
            }
        }
    }
}

/// What is wrong, and where in the text.
type Wrong = (usize, &'static str);

impl Node {
    /// This array of numbers, arrays of numbers, and so on, which has to be rectangular.
    ///
    /// Without a type, truth values become `Bool`, whole numbers `Int64`, and numbers of which any has a fraction
    /// or exponent `Float64`. Floats are rounded once, from their text to the nearest of the type asked for. What a
    /// type cannot hold is an error: a fraction in a whole number, a number out of range, null.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when this is no array, [`ErrorKind::Json`] with the place of the first element that
    /// does not fit, [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn array(&self, data_type: Option<DataType>) -> Result<Array> {
        crate::fault::point("json::array");
        let Some(container) = self.container().filter(|_| self.kind() == Kind::Array) else {
            return Err(self.wrong_kind("arrays are made of arrays", Kind::Array));
        };
        let wrong = |(at, what): Wrong| self.document().error_at(at, what);
        let (shape, rows) = rows_of(self.inner(), container).map_err(wrong)?;
        let Some(data_type) = data_type else {
            return self.guess(&shape, &rows);
        };
        self.fill(shape, &rows, data_type)?.map_err(wrong)
    }

    /// Make the array of the type that its elements have in common.
    fn guess(&self, shape: &[usize], rows: &[u32]) -> Result<Array> {
        let wrong = |(at, what): Wrong| self.document().error_at(at, what);
        let first = match rows.first() {
            Some(row) if shape.last() != Some(&0) => first_element(self.inner(), *row),
            _ => return self.fill(shape.to_vec(), rows, DataType::Float64)?.map_err(wrong),
        };
        let guessed = match first {
            b't' | b'f' => DataType::Bool,
            _ => DataType::Int64,
        };
        match self.fill(shape.to_vec(), rows, guessed)? {
            Err((_, NOT_WHOLE)) => self.fill(shape.to_vec(), rows, DataType::Float64)?.map_err(wrong),
            filled => filled.map_err(wrong),
        }
    }

    fn fill(&self, shape: Vec<usize>, rows: &[u32], data_type: DataType) -> Result<Result<Array, Wrong>> {
        let too_large = || Error::new(ErrorKind::QuotaExceeded, "this array would be larger than memory");
        let len = shape.iter().try_fold(data_type.size(), |len, size| len.checked_mul(*size));
        let mut memory = ArrayMemory::allocate(len.ok_or_else(too_large)?)?;
        let columns = shape.last().copied().unwrap_or(0);
        let job = Job { inner: self.inner(), rows, columns };
        let room = memory.bytes_mut();
        let filled = match data_type {
            DataType::Bool => job.run::<bool>(room),
            DataType::Int8 => job.run::<i8>(room),
            DataType::Int16 => job.run::<i16>(room),
            DataType::Int32 => job.run::<i32>(room),
            DataType::Int64 => job.run::<i64>(room),
            DataType::Uint8 => job.run::<u8>(room),
            DataType::Uint16 => job.run::<u16>(room),
            DataType::Uint32 => job.run::<u32>(room),
            DataType::Uint64 => job.run::<u64>(room),
            DataType::Float32 => job.run::<f32>(room),
            DataType::Float64 => job.run::<f64>(room),
        };
        Ok(filled.map(|()| Array { shape, data_type, memory }))
    }
}

fn first_element(inner: &Inner, row: u32) -> u8 {
    let start = inner.containers[row as usize].start as usize;
    inner.text[inner.skip_white_space(start + 1)]
}

/// The shape of an array, and the innermost arrays in order.
fn rows_of(inner: &Inner, container: u32) -> Result<(Vec<usize>, Vec<u32>), Wrong> {
    let mut shape = Vec::new();
    let mut level = vec![container];
    loop {
        let first = &inner.containers[level[0] as usize];
        let count = first.count as usize;
        for row in &level {
            let row = &inner.containers[*row as usize];
            if row.count as usize != count {
                return Err((row.start as usize, "this array is of another length than the first beside it"));
            }
        }
        shape.push(count);
        let is_nested = count > 0 && inner.text[inner.skip_white_space(first.start as usize + 1)] == b'[';
        if !is_nested {
            return Ok((shape, level));
        }
        let mut inside = Vec::with_capacity(level.len().saturating_mul(count).min(inner.containers.len()));
        for row in &level {
            push_arrays(inner, *row, &mut inside)?;
        }
        level = inside;
    }
}

/// Append the children of an array, all of which have to be arrays.
fn push_arrays(inner: &Inner, row: u32, inside: &mut Vec<u32>) -> Result<(), Wrong> {
    let container = &inner.containers[row as usize];
    let (mut child, before) = (row + 1, inside.len());
    while child < container.next {
        inside.push(child);
        child = inner.containers[child as usize].next;
    }
    let is_array = |child: &u32| inner.text[inner.containers[*child as usize].start as usize] == b'[';
    if inside.len() - before == container.count as usize && inside[before..].iter().all(is_array) {
        return Ok(());
    }
    let mut children = inner.children(row).map(|child| child.value.at as usize);
    let other = children.find(|at| inner.text[*at] != b'[').unwrap_or(container.start as usize);
    Err((other, "an array is expected here, as beside it"))
}

/// Rows of text to be read as numbers.
#[derive(Clone, Copy)]
struct Job<'d> {
    inner: &'d Inner,
    rows: &'d [u32],
    columns: usize,
}

impl Job<'_> {
    /// Fill `room`, by several threads if that pays.
    fn run<E: Element>(self, room: &mut [u8]) -> Result<(), Wrong> {
        let row_bytes = self.columns * size_of::<E>();
        let threads = self.threads();
        if threads < 2 || row_bytes == 0 {
            return self.fill::<E>(room);
        }
        let filled = if let [row] = self.rows {
            let Some(shares) = self.shares_of_row(*row, threads) else { return self.fill::<E>(room) };
            let mut left = &mut *room;
            side_by_side(shares.map(|(start, count)| {
                let room = left.split_off_mut(..count * size_of::<E>()).expect("as many as were counted");
                move || self.fill_from::<E>(start, room)
            }))
        } else {
            let share = self.rows.len().div_ceil(threads);
            let shares = self.rows.chunks(share).zip(room.chunks_mut(share * row_bytes));
            side_by_side(shares.map(|(rows, room)| move || Job { rows, ..self }.fill::<E>(room)))
        };
        filled.unwrap_or_else(|| self.fill::<E>(room))
    }

    /// Where each share of a long row begins, and of how many elements it is; none if the row has other commas than
    /// those between its elements, which then are no numbers.
    fn shares_of_row(self, row: u32, shares: usize) -> Option<impl Iterator<Item = (usize, usize)>> {
        let Container { start, end, .. } = self.inner.containers[row as usize];
        let (mut start, end) = (start as usize + 1, end as usize - 1);
        let share = (end - start).div_ceil(shares);
        let (mut found, mut count) = (Vec::with_capacity(shares), 0);
        while start < end {
            let text = &self.inner.text[start..end];
            let len =
                memchr(b',', &text[share.min(text.len())..]).map_or(text.len(), |comma| share + comma + 1);
            let elements = memchr_iter(b',', &text[..len]).count() + usize::from(start + len == end);
            found.push((start, elements));
            count += elements;
            start += len;
        }
        (count == self.columns).then(|| found.into_iter())
    }

    fn threads(self) -> usize {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return 1 };
        let start = self.inner.containers[*first as usize].start;
        let end = self.inner.containers[*last as usize].end;
        let worth = (end - start) as usize / WORTH_A_THREAD;
        if worth < 2 {
            return 1;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        worth.min(cores).min(MOST_THREADS)
    }

    fn fill<E: Element>(self, room: &mut [u8]) -> Result<(), Wrong> {
        let row_bytes = self.columns * size_of::<E>();
        if row_bytes == 0 {
            return Ok(());
        }
        for (row, room) in self.rows.iter().zip(room.chunks_exact_mut(row_bytes)) {
            let start = self.inner.containers[*row as usize].start as usize + 1;
            self.fill_from::<E>(start, room)?;
        }
        Ok(())
    }

    /// Read the elements from `at` on.
    ///
    /// Where one ends is guessed from the commas before it is read, so that the processor reads several at a time:
    /// benches/rust/json.rs read/array.
    fn fill_from<E: Element>(self, mut at: usize, room: &mut [u8]) -> Result<(), Wrong> {
        let text = &self.inner.text[..];
        let (mut block, mut commas) = (at, 0);
        for slot in room.chunks_exact_mut(size_of::<E>()) {
            if commas == 0 {
                (block, commas) = (at, commas_at(text, at).unwrap_or(0));
            }
            let guess = if commas == 0 { usize::MAX } else { block + commas.trailing_zeros() as usize };
            commas &= commas.wrapping_sub(1);
            let start = self.inner.skip_white_space(at);
            let (element, end) = E::read(text, start).map_err(|what| (start, what))?;
            element.write(slot);
            if end == guess {
                at = guess + 1;
            } else {
                at = self.inner.skip_white_space(end) + 1;
                commas = 0;
            }
        }
        Ok(())
    }
}

/// Do each part of a work on a thread of its own; the first fault in the order of the text is the one to tell. None
/// if there are not enough threads.
fn side_by_side<W>(parts: impl Iterator<Item = W>) -> Option<Result<(), Wrong>>
where
    W: FnOnce() -> Result<(), Wrong> + Send,
{
    std::thread::scope(|scope| {
        let running: Vec<_> =
            parts.map(|part| std::thread::Builder::new().spawn_scoped(scope, part)).collect();
        let done: Vec<_> = running
            .into_iter()
            .map(|thread| {
                thread.ok().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            })
            .collect();
        done.into_iter().try_fold(Ok(()), |before: Result<(), Wrong>, part| Some(before.and(part?)))
    })
}

const NOT_WHOLE: &str = "this has a fraction or exponent: a whole number is expected here, or dtype float64";
const NOT_A_NUMBER: &str = "a number is expected here";
const NOT_A_BOOLEAN: &str = "true or false is expected here";
const OUT_OF_RANGE: &str = "this number is out of the range of the dtype";

/// What an array can be made of.
trait Element: Sized + Send {
    /// Read the element at `at` of a valid text; returns where it ends.
    fn read(text: &[u8], at: usize) -> Result<(Self, usize), &'static str>;
    fn write(self, slot: &mut [u8]);
}

fn is_number(text: &[u8], at: usize) -> bool {
    matches!(text[at], b'-' | b'0'..=b'9')
}

macro_rules! float_element {
    ($float:ty, $read:ident) => {
        impl Element for $float {
            #[inline]
            fn read(text: &[u8], at: usize) -> Result<(Self, usize), &'static str> {
                if !is_number(text, at) {
                    return Err(NOT_A_NUMBER);
                }
                let (number, end) = $read(text, at);
                if number.is_finite() { Ok((number, end)) } else { Err(OUT_OF_RANGE) }
            }

            #[inline]
            fn write(self, slot: &mut [u8]) {
                slot.copy_from_slice(&self.to_ne_bytes());
            }
        }
    };
}

float_element!(f64, double_at);
float_element!(f32, single_at);

macro_rules! whole_element {
    ($($whole:ty)*) => {$(
        impl Element for $whole {
            #[inline]
            fn read(text: &[u8], at: usize) -> Result<(Self, usize), &'static str> {
                if !is_number(text, at) {
                    return Err(NOT_A_NUMBER);
                }
                let (number, end) = number_at(text, at);
                let number = match number {
                    Number::Signed(number) => Self::try_from(number).ok(),
                    Number::Unsigned(number) => Self::try_from(number).ok(),
                    Number::Large(_) => None,
                    Number::Float(_) => return Err(NOT_WHOLE),
                };
                number.map(|number| (number, end)).ok_or(OUT_OF_RANGE)
            }

            #[inline]
            fn write(self, slot: &mut [u8]) {
                slot.copy_from_slice(&self.to_ne_bytes());
            }
        }
    )*};
}

whole_element!(i8 i16 i32 i64 u8 u16 u32 u64);

impl Element for bool {
    fn read(text: &[u8], at: usize) -> Result<(Self, usize), &'static str> {
        match text[at] {
            b't' => Ok((true, at + 4)),
            b'f' => Ok((false, at + 5)),
            _ => Err(NOT_A_BOOLEAN),
        }
    }

    fn write(self, slot: &mut [u8]) {
        slot[0] = u8::from(self);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document::{Document, Options};
    use super::*;

    fn array(text: &str, data_type: Option<DataType>) -> Result<Array> {
        Document::parse(text.to_owned().into(), &Options::default()).expect("valid").root().array(data_type)
    }

    fn doubles(mut array: Array) -> Vec<f64> {
        assert_eq!(array.data_type, DataType::Float64);
        let bytes = array.memory.bytes_mut();
        bytes.as_chunks::<8>().0.iter().map(|eight| f64::from_ne_bytes(*eight)).collect()
    }

    fn wrong(text: &str, data_type: Option<DataType>) -> (String, String) {
        let error = array(text, data_type).expect_err(text);
        let ErrorKind::Json(place) = error.kind() else { panic!("{error:?}") };
        (place.pointer.clone(), error.to_string())
    }

    #[test]
    fn types_are_guessed_from_all_elements() {
        let guessed = |text| array(text, None).map(|array| (array.data_type, array.shape)).expect(text);
        assert_eq!(guessed("[1, 2]"), (DataType::Int64, vec![2]));
        assert_eq!(guessed("[[1, 2], [3, 4.0], [5, 6]]"), (DataType::Float64, vec![3, 2]));
        assert_eq!(guessed("[true, false]"), (DataType::Bool, vec![2]));
        assert_eq!(guessed("[]"), (DataType::Float64, vec![0]));
        assert_eq!(guessed("[[], []]"), (DataType::Float64, vec![2, 0]));
        assert_eq!(guessed(" [ [ [ 1 , 2 ] ] , [ [ 3 , 4 ] ] ] "), (DataType::Int64, vec![2, 1, 2]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(wrong("[[1, 2], [3]]", None).0, "/1");
        assert_eq!(wrong("[[1, 2], 3]", None).0, "/1");
        assert_eq!(wrong("[1, [2]]", None).0, "/1");
        assert_eq!(wrong("[[1], {\"a\": 1}]", None).0, "/1");
        assert_eq!(wrong("[1, null]", None).0, "/1");
        assert_eq!(wrong("[true, 1]", None).0, "/1");
        assert_eq!(wrong("[1, true]", None).0, "/1");
        assert_eq!(wrong("[[1, \"2\"]]", None).0, "/0/1");
        assert_eq!(wrong("[1e400]", None).0, "/0");
        assert_eq!(wrong("[0, 1e39]", Some(DataType::Float32)).0, "/1");
        assert_eq!(wrong("[0, 256]", Some(DataType::Uint8)).0, "/1");
        assert_eq!(wrong("[0, -1]", Some(DataType::Uint64)).0, "/1");
        assert_eq!(wrong("[0, 1.0]", Some(DataType::Int32)).0, "/1");
        assert_eq!(wrong("[9223372036854775808]", None).0, "/0");
        assert_eq!(*array("{}", None).expect_err("no array").kind(), ErrorKind::WrongKind);
    }

    #[test]
    fn the_first_fault_of_a_long_row_is_named_whatever_its_commas() {
        let padding = " ".repeat(WORTH_A_THREAD);
        for odd in ["null", "\"a\"", "\"a,b\"", "[]", "[1,2]", "{\"a\": 1, \"b\": 2}"] {
            let text = format!("[1,{padding}2,{padding}{odd},{padding}4,{padding}null]");
            assert_eq!(wrong(&text, None).0, "/2", "{odd}");
        }
    }

    proptest! {
        // Each is tens of megabytes of text.
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn rows_by_several_threads_are_those_by_one(numbers in prop::collection::vec(-1e6..1e6_f64, 136), rows in 1_usize..17, columns in 1_usize..9) {
            // Long white space makes few numbers a long text.
            let padding = " ".repeat(WORTH_A_THREAD / columns / 8);
            let numbers = numbers[..rows * columns].to_vec();
            let texts: Vec<String> = numbers.chunks(columns).map(|row| {
                let row: Vec<String> = row.iter().map(|number| format!("{number:?}{padding}")).collect();
                format!("[{}]", row.join(","))
            }).collect();
            let found = array(&format!("[{}]", texts.join(",\n")), Some(DataType::Float64)).expect("valid");
            prop_assert_eq!(&found.shape, &[rows, columns]);
            prop_assert_eq!(doubles(found), numbers);
        }

        #[test]
        fn a_long_row_by_several_threads_is_that_by_one(numbers in prop::collection::vec(-1e6..1e6_f64, 1..200)) {
            let padding = " ".repeat(4 * WORTH_A_THREAD / numbers.len());
            let texts: Vec<String> = numbers.iter().map(|number| format!("{number:?}{padding}")).collect();
            let found = array(&format!("[{padding}{}]", texts.join(",")), Some(DataType::Float64)).expect("valid");
            prop_assert_eq!(&found.shape, &[numbers.len()]);
            prop_assert_eq!(doubles(found), numbers);
        }
    }
}
