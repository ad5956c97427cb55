//! Buffers of Python objects, held by Rust without a copy.
//!
//! `PyBuffer<u8>` accepts strided views, of which pointer and length say nothing; so the view is
//! looked at here, whatever its dtype, and gathered in order where it is not contiguous.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mcpgateway_engine::http::{Body, WritableMemory};
use mcpgateway_engine::payload::{AdmittedRegion, Decision, Transfer, filled};
use mcpgateway_engine::{Origin, Payload, Result, TransferPolicy};
use mcpgateway_shm::PerProcess;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyOverflowError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::error::{IntoPyResult, unsupported_buffer};
use crate::interpreter::is_exiting;
use crate::payload::PyPayload;
use crate::wide::WideText;

/// What an object without a buffer is answered with.
const PASS_INSTEAD: &str =
    "pass bytes, bytearray, memoryview, a numpy array, an mmap or anything else with the buffer protocol";

/// Copies below this size are made on the heap; from there on in the warm pool, within the memory budget.
const COPIED_TO_THE_HEAP: usize = 256 << 10;

/// Exports held now, over all kinds.
static EXPORTS_LIVE: AtomicUsize = AtomicUsize::new(0);

/// How many exports of Python buffers are held now.
pub(crate) fn exports_live() -> usize {
    EXPORTS_LIVE.load(Ordering::SeqCst)
}

/// The buffer of a Python object: the object cannot be resized or freed while this lives.
struct Held {
    /// Boxed, because exporters may keep its address. `None` once it is given back.
    view: Option<Box<ffi::Py_buffer>>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory belongs to the exporter, which the export keeps in place; the object itself is
// only touched again with the GIL, in `release`.
unsafe impl Send for Held {}
// SAFETY: as above; all methods that take `&self` only read.
unsafe impl Sync for Held {}

impl Held {
    fn of_view(view: Box<ffi::Py_buffer>) -> Self {
        EXPORTS_LIVE.fetch_add(1, Ordering::SeqCst);
        let (start, len) = (view.buf.cast(), usize::try_from(view.len).unwrap_or(0));
        Self { view: Some(view), start, len }
    }

    fn as_slice(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the exporter promised `len` contiguous bytes at `start` for as long as the export
        // lives. That nobody writes to them meanwhile is the caller's part of the contract, as with
        // any asynchronous write; a racing write tears the data sent, never memory.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// Give the export back.
    fn release(&mut self, _attached: Python<'_>) {
        if let Some(mut view) = self.view.take() {
            EXPORTS_LIVE.fetch_sub(1, Ordering::SeqCst);
            // SAFETY: attached to the interpreter, and the view was filled by `PyObject_GetBuffer`.
            unsafe { ffi::PyBuffer_Release(&raw mut *view) };
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.view.is_none() {
            return;
        }
        if let Some(py) = attached() {
            self.release(py);
            return;
        }
        Dropped::add(Self { view: self.view.take(), start: self.start, len: self.len });
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl WritableMemory for Held {
    fn bytes_mut(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as for `as_slice`; the export was asked for as writable and contiguous.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// The interpreter, if this thread holds it now.
fn attached<'py>() -> Option<Python<'py>> {
    if is_exiting() {
        return None;
    }
    // SAFETY: may be called by any thread while the interpreter lives.
    let holds_it = unsafe { ffi::PyGILState_Check() } == 1;
    // SAFETY: just checked, and only this thread could let go of it.
    holds_it.then(|| unsafe { Python::assume_attached() })
}

/// Exports dropped by threads that must not wait for the GIL, until one that has it gives them back.
#[derive(Default)]
struct Dropped {
    held: Mutex<Vec<Held>>,
    arrived: Condvar,
}

/// A dropped export is given back by the thread that has the GIL anyway when the call completes, and
/// after this time by a thread of its own: a call may be cancelled, or its reply come early.
const GRACE: Duration = Duration::from_millis(5);

impl Dropped {
    /// This process's; the thread that watches it starts with it.
    fn here() -> &'static Self {
        static HERE: PerProcess<&'static Dropped> = PerProcess::new();
        HERE.get_or_init(|| {
            let dropped: &'static Self = Box::leak(Box::default());
            // Without the thread, what is dropped waits for the next call that completes.
            let _ = std::thread::Builder::new().name("mcpgateway-release".into()).spawn(|| dropped.watch());
            dropped
        })
    }

    fn add(held: Held) {
        if is_exiting() {
            // The interpreter that owns it is gone, or about to be.
            std::mem::forget(held);
            return;
        }
        let here = Self::here();
        here.lock().push(held);
        here.arrived.notify_one();
    }

    fn take(&self) -> Vec<Held> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        while !is_exiting() {
            drop(
                self.arrived
                    .wait_while(self.lock(), |held| held.is_empty())
                    .unwrap_or_else(PoisonError::into_inner),
            );
            std::thread::sleep(GRACE);
            if !self.lock().is_empty() && !is_exiting() {
                // Not an I/O thread, so it may wait for the GIL. `None` when the interpreter is ending.
                let _ = Python::try_attach(release_dropped);
            }
        }
    }
}

/// Give back the exports that were dropped where that could not be done.
pub(crate) fn release_dropped(py: Python<'_>) {
    for mut held in Dropped::here().take() {
        held.release(py);
    }
}

/// The body that a Python object stands for.
pub enum PyBody {
    /// Ready to be sent.
    Ready(Payload),
    /// Not contiguous: has to be gathered, which may take long.
    Strided(Strided),
}

/// A view whose bytes do not lie in order.
pub struct Strided {
    held: Held,
    shape: Vec<usize>,
    strides: Vec<isize>,
    item: usize,
}

impl PyBody {
    /// The body that `object` stands for: copied or borrowed as `policy` has it.
    ///
    /// # Errors
    /// `UnsupportedBuffer` when it has no buffer, or one of objects rather than of data; `QuotaExceeded` when it
    /// has to be copied, and there is no room for that.
    pub fn from_python(object: &Bound<'_, PyAny>, policy: &TransferPolicy) -> PyResult<Self> {
        if let Ok(payload) = object.cast::<PyPayload>() {
            return Ok(Self::Ready(payload.get().payload().clone()));
        }
        let py = object.py();
        let view = match view_of(object, ffi::PyBUF_FULL_RO) {
            Ok(view) => view,
            Err(refused) => view_of(&array_as_bytes(object).ok_or(refused)??, ffi::PyBUF_FULL_RO)?,
        };
        Self::from_view(py, view, policy)
    }

    fn from_view(py: Python<'_>, view: Box<ffi::Py_buffer>, policy: &TransferPolicy) -> PyResult<Self> {
        let mut held = Held::of_view(view);
        let view = held.view.as_deref().expect("made from a view");
        if has_objects(view) {
            held.release(py);
            return Err(unsupported_buffer(
                py,
                "this buffer holds references to Python objects, not data: convert it to a dtype such as float64 first",
            ));
        }
        if is_contiguous(view) {
            return by_policy(py, held, policy).map(Self::Ready);
        }
        if view.suboffsets.is_null() {
            return Ok(Self::Strided(Strided::new(held)));
        }
        gather_indirect(py, held)
    }

    /// The payload itself, gathered now if need be, without the GIL.
    ///
    /// # Errors
    /// `QuotaExceeded` when there is no room to gather it.
    pub fn into_payload(self, py: Python<'_>) -> PyResult<Payload> {
        match self {
            Self::Ready(payload) => Ok(payload),
            Self::Strided(strided) => {
                let gathered = py.detach(|| strided.gather());
                release_dropped(py);
                gathered.into_py_result(py)
            }
        }
    }

    /// The payload itself, gathered here and now if need be, on a thread that does not hold the GIL.
    pub(crate) fn gather(self) -> Result<Payload> {
        match self {
            Self::Ready(payload) => Ok(payload),
            Self::Strided(strided) => strided.gather(),
        }
    }

    /// The body of a request; gathering is left to the I/O side.
    #[must_use]
    pub fn into_body(self) -> Body {
        match self {
            Self::Ready(payload) => payload.into(),
            Self::Strided(strided) => Body::Prepare(Box::new(move || strided.gather())),
        }
    }
}

/// The UTF-8 of a text, held where the interpreter has it: for ASCII, the text itself.
///
/// # Errors
/// `UnicodeEncodeError` when UTF-8 cannot hold it.
pub(crate) fn text_bytes(text: &Bound<'_, PyString>) -> PyResult<Bytes> {
    let utf8 = text.to_str()?.as_bytes();
    Ok(Bytes::from_owner(Held::of_view(view_within(text, utf8.as_ptr(), utf8.len())?)))
}

/// The characters of a str that is not ASCII and has at least `least` of them, where they lie.
pub(crate) fn wide_text(
    text: &Bound<'_, PyString>,
    least: usize,
) -> PyResult<Option<WideText<impl AsRef<[u8]> + Send + Sync + 'static>>> {
    if text.len()? < least {
        return Ok(None);
    }
    if text.call_method0("isascii")?.is_truthy()? {
        return Ok(None);
    }
    // SAFETY: the characters of a str never change, and are only looked at as bytes here.
    let (start, width) = match unsafe { text.data() }? {
        PyStringData::Ucs1(characters) => (characters.as_ptr(), 1),
        PyStringData::Ucs2(characters) => (characters.as_ptr().cast(), 2),
        PyStringData::Ucs4(characters) => (characters.as_ptr().cast(), 4),
    };
    let held = Held::of_view(view_within(text, start, text.len()? * width)?);
    Ok(Some(WideText { characters: held, width }))
}

/// A view of memory that is part of `text`, which never changes.
fn view_within(text: &Bound<'_, PyString>, start: *const u8, len: usize) -> PyResult<Box<ffi::Py_buffer>> {
    let len = ffi::Py_ssize_t::try_from(len).map_err(|_| PyOverflowError::new_err("this str is too long"))?;
    let mut view = Box::new(ffi::Py_buffer::new());
    let (object, memory) = (text.as_ptr(), start.cast_mut().cast());
    // SAFETY: the memory is part of the str, which the view keeps alive; nobody writes through a view like this.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(&raw mut *view, object, memory, len, 1, ffi::PyBUF_FULL_RO) };
    if filled == 0 { Ok(view) } else { Err(PyErr::fetch(text.py())) }
}

/// A writable, contiguous buffer to receive into.
pub(crate) fn writable(object: &Bound<'_, PyAny>) -> PyResult<Box<dyn WritableMemory>> {
    let view = view_of(object, ffi::PyBUF_WRITABLE | ffi::PyBUF_C_CONTIGUOUS | ffi::PyBUF_FORMAT)?;
    let mut held = Held::of_view(view);
    if held.view.as_deref().is_some_and(has_objects) {
        held.release(object.py());
        return Err(unsupported_buffer(
            object.py(),
            "cannot receive into an array of Python objects: pass a bytearray",
        ));
    }
    Ok(Box::new(held))
}

/// Whether the bytes of `object` can never change: the root of what a view looks at decides.
pub(crate) fn is_immutable(object: &Bound<'_, PyAny>) -> bool {
    if let Ok(view) = object.cast::<PyMemoryView>() {
        return view.getattr("obj").is_ok_and(|root| is_immutable(&root));
    }
    object.is_instance_of::<PyBytes>()
        || object.cast::<PyPayload>().is_ok_and(|payload| payload.get().is_stable())
}

fn view_of(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Box<ffi::Py_buffer>> {
    let py = object.py();
    if object.is_instance_of::<PyString>() {
        return Err(unsupported_buffer(py, "a str is not a body: pass text.encode()"));
    }
    let mut view = Box::new(ffi::Py_buffer::new());
    // SAFETY: attached; the object is alive, and the view is boxed, so its address stays.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } == 0 {
        return Ok(view);
    }
    let cause = PyErr::fetch(py);
    // SAFETY: the object is alive; the call looks at its type only.
    let exports = unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) } != 0;
    let kind = object.get_type().name()?;
    let message = if !exports {
        format!("{kind} has no buffer: {PASS_INSTEAD}")
    } else if flags & ffi::PyBUF_WRITABLE != 0 {
        format!(
            "this {kind} cannot be written to as one contiguous buffer ({cause}): pass a bytearray or a writable array"
        )
    } else {
        format!("this {kind} does not give its buffer ({cause}): {PASS_INSTEAD}")
    };
    let error = unsupported_buffer(py, &message);
    error.set_cause(py, Some(cause));
    Err(error)
}

/// A numpy array whose dtype the buffer protocol cannot name (datetime64, bfloat16), seen as bytes.
fn array_as_bytes<'py>(object: &Bound<'py, PyAny>) -> Option<PyResult<Bound<'py, PyAny>>> {
    // Asking rust-numpy about an object imports numpy, which may not be there.
    let module = object.get_type().getattr("__module__").ok()?;
    if module.extract::<String>().ok()? != "numpy" {
        return None;
    }
    let array = object.cast::<PyUntypedArray>().ok()?;
    if array.dtype().has_object() {
        return None;
    }
    // The array itself where it is contiguous, and a copy in order where it is not.
    let contiguous =
        object.py().import("numpy").and_then(|numpy| numpy.call_method1("ascontiguousarray", (array,)));
    Some(contiguous.and_then(|array| array.call_method1("view", ("u1",))))
}

fn by_policy(py: Python<'_>, mut held: Held, policy: &TransferPolicy) -> PyResult<Payload> {
    let decision = policy.decide(held.len, Origin::Buffer);
    if decision.transfer != Transfer::Copy {
        return Ok(Payload::new(Bytes::from_owner(held), decision));
    }
    let copied = if held.len < COPIED_TO_THE_HEAP {
        Ok(Payload::new(Bytes::copy_from_slice(held.as_slice()), decision))
    } else {
        let mut rest = held.as_slice();
        py.detach(|| {
            filled(
                rest.len(),
                |_| decision,
                |room| {
                    let (now, later) = rest.split_at(room.len());
                    room.copy_from_slice(now);
                    rest = later;
                },
            )
        })
    };
    held.release(py);
    copied.into_py_result(py)
}

fn is_contiguous(view: &ffi::Py_buffer) -> bool {
    // SAFETY: the view was filled by `PyObject_GetBuffer`.
    unsafe { ffi::PyBuffer_IsContiguous(view, b'C'.cast_signed()) != 0 }
}

/// Whether the format (PEP 3118) has an `O`, outside of the names of its fields.
fn has_objects(view: &ffi::Py_buffer) -> bool {
    if view.format.is_null() {
        return false;
    }
    // SAFETY: not null, and the exporter keeps it NUL-terminated as long as the export lives.
    let format = unsafe { CStr::from_ptr(view.format) };
    let mut in_name = false;
    format.to_bytes().iter().any(|byte| {
        in_name ^= *byte == b':';
        *byte == b'O' && !in_name
    })
}

/// Gather a view with pointers to pointers (PEP 3118 suboffsets), as Python itself does it.
fn gather_indirect(py: Python<'_>, mut held: Held) -> PyResult<PyBody> {
    let mut region = AdmittedRegion::require(held.len).into_py_result(py)?;
    let room = region.spare_mut().as_mut_ptr().cast();
    let view = held.view.as_deref_mut().expect("made from a view");
    let len = view.len;
    // SAFETY: the region has room for `len` bytes, and the view is a live export.
    let failed = unsafe { ffi::PyBuffer_ToContiguous(room, view, len, b'C'.cast_signed()) } != 0;
    let gathered = held.len;
    held.release(py);
    if failed {
        return Err(PyErr::fetch(py));
    }
    region.advance(gathered);
    Ok(PyBody::Ready(region.freeze(was_gathered)))
}

fn was_gathered(len: u64) -> Decision {
    Decision::because(Transfer::Copy, len, "buffer, gathered: it was not contiguous")
}

impl Strided {
    fn new(held: Held) -> Self {
        let view = held.view.as_deref().expect("made from a view");
        let dimensions = usize::try_from(view.ndim).unwrap_or(0);
        // SAFETY: an export that is not contiguous has a shape of `ndim` numbers.
        let shape = unsafe { std::slice::from_raw_parts(view.shape, dimensions) };
        // SAFETY: and as many strides.
        let strides = unsafe { std::slice::from_raw_parts(view.strides, dimensions) };
        let shape = shape.iter().map(|len| usize::try_from(*len).unwrap_or(0)).collect();
        let (strides, item) = (strides.to_vec(), usize::try_from(view.itemsize).unwrap_or(0));
        Self { held, shape, strides, item }
    }

    /// Bytes of all elements together.
    pub(crate) fn len(&self) -> u64 {
        self.held.len as u64
    }

    /// The bytes in the order of the view, in a warm region, or beyond the memory budget on disk.
    fn gather(self) -> Result<Payload> {
        let mut walk = Walk::new(&self);
        filled(self.held.len, was_gathered, |room| walk.copy_into(room))
    }

    /// How many dimensions have to be walked, and how many bytes lie together below them.
    fn split_runs(&self) -> (usize, usize) {
        let mut run = self.item;
        for dimension in (0..self.shape.len()).rev() {
            if self.strides[dimension] != run.cast_signed() {
                return (dimension + 1, run);
            }
            run *= self.shape[dimension];
        }
        (0, run)
    }
}

/// On its way through a view, run by run: a run is what lies together, at least one item.
struct Walk<'a> {
    view: &'a Strided,
    /// Dimensions that have to be walked, and the index in each.
    index: Vec<usize>,
    /// Where the current run begins.
    offset: isize,
    run: usize,
    /// Bytes of the current run that are taken already.
    taken: usize,
}

impl<'a> Walk<'a> {
    fn new(view: &'a Strided) -> Self {
        let (outer, run) = view.split_runs();
        Self { view, index: vec![0; outer], offset: 0, run, taken: 0 }
    }

    /// The next bytes in the order of the view, as many as there is room for; no more than there are.
    fn copy_into(&mut self, mut room: &mut [u8]) {
        if self.taken > 0 {
            let rest = self.current();
            let (first, others) = room.split_at_mut(rest.len().min(room.len()));
            first.copy_from_slice(&rest[..first.len()]);
            self.take(first.len());
            room = others;
        }
        if self.run == 0 || room.is_empty() {
            return;
        }
        let mut targets = room.chunks_exact_mut(self.run);
        for target in targets.by_ref() {
            target.copy_from_slice(self.current());
            self.step();
        }
        let last = targets.into_remainder();
        last.copy_from_slice(&self.current()[..last.len()]);
        self.take(last.len());
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken == self.run {
            self.taken = 0;
            self.step();
        }
    }

    /// What is left of the current run.
    fn current(&self) -> &'a [u8] {
        // SAFETY: `offset` is that of an element of the view, and `run` bytes from there belong to it: the
        // exporter vouches for shape and strides. `buf` points to the first element, so negative strides stay
        // inside as well.
        let start = unsafe { self.view.held.start.offset(self.offset) };
        // SAFETY: as above.
        let run = unsafe { std::slice::from_raw_parts(start, self.run) };
        &run[self.taken..]
    }

    /// Go to the next run; after the last one, to the first again.
    fn step(&mut self) {
        let Strided { shape, strides, .. } = self.view;
        for dimension in (0..self.index.len()).rev() {
            self.index[dimension] += 1;
            self.offset += strides[dimension];
            if self.index[dimension] < shape[dimension] {
                return;
            }
            self.offset -= strides[dimension] * shape[dimension].cast_signed();
            self.index[dimension] = 0;
        }
    }
}
