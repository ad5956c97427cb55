//! `Payload`, `Transfer` and `TransferPolicy` as Python has them.

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use mcpgateway_engine::http::Mutation;
use mcpgateway_engine::payload::{Alphabet, COPY_BELOW, Decision, MAP_ABOVE};
use mcpgateway_engine::{Origin, Payload, Transfer, TransferPolicy, runtime};
use mcpgateway_shm::FileRules;
use pyo3::exceptions::{PyBufferError, PyIndexError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PySlice, PyString};
use pyo3::{IntoPyObjectExt, ffi};

use crate::awaitable::awaitable;
use crate::buffer::{PyBody, is_immutable};
use crate::error::IntoPyResult;
use crate::interpreter::guard;
use crate::reference::{PyPayloadRef, share_options};
use crate::spool::PySpool;

/// A body of any size: borrowed, copied, mapped or joined, and readable through the buffer protocol.
#[pyclass(name = "Payload", module = "mcpgateway_rust", frozen)]
pub struct PyPayload {
    payload: Payload,
    mutation: Mutation,
    /// Whether the bytes can never change, so that they may be hashed.
    stable: bool,
    /// The bytes in one piece, once somebody looked.
    whole: OnceLock<Bytes>,
}

impl PyPayload {
    /// A payload of ours, whose bytes never change.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        Self { payload, mutation: Mutation::Borrow, stable: true, whole: OnceLock::new() }
    }

    pub(crate) fn convert(py: Python<'_>, payload: Payload) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self::new(payload))?.into_any())
    }

    fn with_stability(payload: Payload, stable: bool) -> Self {
        Self { stable, ..Self::new(payload) }
    }

    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    pub(crate) fn mutation(&self) -> Mutation {
        self.mutation
    }

    pub(crate) fn is_stable(&self) -> bool {
        self.stable
    }

    /// The bytes in one piece; a rope is gathered once, without the GIL.
    pub(crate) fn whole(&self, py: Python<'_>) -> PyResult<&Bytes> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let whole = match self.payload.as_bytes() {
            Some(bytes) => bytes.clone(),
            None => py.detach(|| self.payload.clone().into_bytes()).into_py_result(py)?,
        };
        Ok(self.whole.get_or_init(|| whole))
    }

    fn size(&self) -> PyResult<usize> {
        usize::try_from(self.payload.len())
            .map_err(|_| PyOverflowError::new_err("this payload is larger than memory"))
    }
}

#[pymethods]
impl PyPayload {
    #[new]
    #[pyo3(signature = (obj, *, policy = None, mutation = "borrow"))]
    fn from_python(
        py: Python<'_>,
        obj: &Bound<'_, PyAny>,
        policy: Option<&Bound<'_, PyTransferPolicy>>,
        mutation: &str,
    ) -> PyResult<Self> {
        guard(py, || {
            let mutation = parse_mutation(mutation)?;
            let payload = PyBody::from_python(obj, &policy_or_default(py, policy)?)?.into_payload(py)?;
            let copied = payload.decision().transfer == Transfer::Copy;
            if mutation == Mutation::Snapshot && !copied {
                let why = "snapshot: copied when the payload was made";
                let snapshot = py.detach(|| payload.to_copy(why)).into_py_result(py)?;
                return Ok(Self::new(snapshot));
            }
            let stable = copied || is_immutable(obj);
            Ok(Self { mutation, ..Self::with_stability(payload, stable) })
        })
    }

    /// The contents of a file: copied, or with `trusted=True` memory-mapped.
    #[staticmethod]
    #[pyo3(signature = (path, *, trusted = false, follow_links = false, spool = None))]
    #[expect(clippy::needless_pass_by_value, reason = "an argument from Python is ours")]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        trusted: bool,
        follow_links: bool,
        spool: Option<&Bound<'_, PySpool>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let spool = spool.map(|spool| spool.get().spool());
            let opened = py.detach(|| match spool {
                Some(spool) => Payload::open_file(&path, FileRules { trusted, follow_links }, spool),
                None if trusted => Payload::map_trusted(&path, follow_links),
                None => Payload::read(&path, follow_links),
            });
            Ok(Self::with_stability(opened.into_py_result(py)?, !trusted))
        })
    }

    /// A reference with which other processes can open this payload.
    #[pyo3(signature = (*, ttl, durable = false, content_type = None, spool = None))]
    fn share(
        &self,
        py: Python<'_>,
        ttl: f64,
        durable: bool,
        content_type: Option<String>,
        spool: Option<&Bound<'_, PySpool>>,
    ) -> PyResult<PyPayloadRef> {
        guard(py, || {
            let options = share_options(ttl, durable, content_type)?;
            let spool = spool.map(|spool| spool.get().spool());
            py.detach(|| self.payload.share(spool, &options)).into_py_result(py).map(PyPayloadRef::new)
        })
    }

    /// Await such a reference; what has to be copied is copied on another thread.
    #[pyo3(signature = (*, ttl, durable = false, content_type = None, spool = None))]
    fn share_async<'py>(
        &self,
        py: Python<'py>,
        ttl: f64,
        durable: bool,
        content_type: Option<String>,
        spool: Option<&Bound<'py, PySpool>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let options = share_options(ttl, durable, content_type)?;
            let (payload, spool) = (self.payload.clone(), spool.map(|spool| spool.get().spool().clone()));
            let sharing =
                async move { runtime::blocking(move || payload.share(spool.as_ref(), &options)).await? };
            awaitable(py, sharing, PyPayloadRef::convert)
        })
    }

    /// The parts one after the other, without a copy.
    #[staticmethod]
    #[pyo3(signature = (parts, *, policy = None))]
    fn join(
        py: Python<'_>,
        parts: &Bound<'_, PyAny>,
        policy: Option<&Bound<'_, PyTransferPolicy>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let policy = policy_or_default(py, policy)?;
            let (mut payloads, mut stable) = (Vec::new(), true);
            for part in parts.try_iter()? {
                let part = part?;
                let payload = PyBody::from_python(&part, &policy)?.into_payload(py)?;
                stable &= payload.decision().transfer == Transfer::Copy || is_immutable(&part);
                payloads.push(payload);
            }
            Ok(Self::with_stability(Payload::join(payloads), stable))
        })
    }

    /// The base64 text of a buffer, encoded while it is sent.
    #[staticmethod]
    #[pyo3(signature = (obj, *, urlsafe = false, policy = None))]
    fn base64(
        py: Python<'_>,
        obj: &Bound<'_, PyAny>,
        urlsafe: bool,
        policy: Option<&Bound<'_, PyTransferPolicy>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let source = PyBody::from_python(obj, &policy_or_default(py, policy)?)?.into_payload(py)?;
            let stable = source.decision().transfer == Transfer::Copy || is_immutable(obj);
            let alphabet = if urlsafe { Alphabet::UrlSafe } else { Alphabet::Standard };
            let encoded = py.detach(|| Payload::base64(source, alphabet)).into_py_result(py)?;
            Ok(Self::with_stability(encoded, stable))
        })
    }

    /// How the bytes came to be here.
    #[getter]
    fn transfer(&self) -> PyTransfer {
        PyTransfer(self.payload.decision())
    }

    /// Of how many pieces the payload consists.
    #[getter]
    fn segments(&self) -> usize {
        self.payload.segments()
    }

    fn __len__(&self) -> PyResult<usize> {
        self.size()
    }

    fn __bool__(&self) -> bool {
        !self.payload.is_empty()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || match index.cast::<PySlice>() {
            Ok(slice) => self.slice(py, slice)?.into_bound_py_any(py),
            Err(_) => self.byte(py, index)?.into_bound_py_any(py),
        })
    }

    fn __eq__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let other = &other.get().payload;
        py.detach(|| self.payload == *other).into_bound_py_any(py)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        if !self.stable {
            return Err(PyTypeError::new_err(
                "cannot hash a payload that borrows a writable buffer: its bytes may change; use mutation=\"snapshot\"",
            ));
        }
        Ok(py.detach(|| self.payload.checksum()))
    }

    fn __repr__(&self) -> String {
        format!("<Payload {}>", self.payload.decision())
    }

    /// # Safety
    /// Called by the interpreter, with a view to fill or null.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let py = slf.py();
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let whole = guard(py, || slf.get().whole(py))?;
        let len =
            whole.len().try_into().map_err(|_| PyBufferError::new_err("larger than a buffer can be"))?;
        // SAFETY: the view is writable and not null, as the protocol has it; the bytes live as long as
        // `slf`, of which the view keeps a reference, and asking for a writable view is refused by it.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), whole.as_ptr().cast_mut().cast(), len, 1, flags)
        };
        if failed == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
    }
}

impl PyPayload {
    fn slice(&self, py: Python<'_>, slice: &Bound<'_, PySlice>) -> PyResult<Self> {
        let len = self.size()?;
        let range = slice.indices(len.try_into()?)?;
        if range.step != 1 {
            return Err(PyValueError::new_err(
                "a payload is sliced with step 1: use memoryview(payload)[::n]",
            ));
        }
        let start = usize::try_from(range.start)?;
        let end = usize::try_from(range.stop)?.max(start);
        let whole = Payload::new(self.whole(py)?.clone(), self.payload.decision());
        let part = whole.slice(start, end).into_py_result(py)?;
        Ok(Self { mutation: self.mutation, ..Self::with_stability(part, self.stable) })
    }

    fn byte(&self, py: Python<'_>, index: &Bound<'_, PyAny>) -> PyResult<u8> {
        let index = match index.extract::<isize>() {
            Ok(index) => index,
            // Outside of any payload.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => isize::MAX,
            Err(_) => return Err(PyTypeError::new_err("a payload is indexed by int or slice")),
        };
        let whole = self.whole(py)?;
        let from_start = if index < 0 { index.checked_add_unsigned(whole.len()) } else { Some(index) };
        let byte =
            from_start.and_then(|index| usize::try_from(index).ok()).and_then(|index| whole.get(index));
        byte.copied().ok_or_else(|| PyIndexError::new_err("payload index out of range"))
    }
}

pub(crate) fn parse_mutation(name: &str) -> PyResult<Mutation> {
    match name {
        "borrow" => Ok(Mutation::Borrow),
        "snapshot" => Ok(Mutation::Snapshot),
        "detect" => Ok(Mutation::Detect),
        _ => Err(PyValueError::new_err(format!(
            "mutation={name:?}: pass \"borrow\", \"snapshot\" or \"detect\""
        ))),
    }
}

fn policy_or_default(
    py: Python<'_>,
    policy: Option<&Bound<'_, PyTransferPolicy>>,
) -> PyResult<TransferPolicy> {
    policy.map_or_else(|| default_policy(py), |policy| Ok(policy.get().0))
}

/// The policy used where none is given.
pub(crate) fn default_policy(py: Python<'_>) -> PyResult<TransferPolicy> {
    TransferPolicy::from_environment().into_py_result(py)
}

/// What was decided for a payload, and why.
#[pyclass(name = "Transfer", module = "mcpgateway_rust", frozen)]
pub struct PyTransfer(pub(crate) Decision);

impl From<Decision> for PyTransfer {
    fn from(decision: Decision) -> Self {
        Self(decision)
    }
}

#[pymethods]
impl PyTransfer {
    /// `"copy"`, `"borrow"` or `"map"`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.transfer.as_str()
    }

    /// Why.
    #[getter]
    fn reason(&self) -> String {
        self.0.reason.to_string()
    }

    /// The length of the payload in bytes.
    #[getter]
    fn len(&self) -> u64 {
        self.0.len
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Transfer {}>", self.0)
    }

    fn __eq__<'py>(&self, py: Python<'py>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(other) = other.cast::<Self>() {
            return (self.0 == other.get().0).into_bound_py_any(py);
        }
        match other.cast::<PyString>() {
            Ok(kind) => (kind.to_str()? == self.kind()).into_bound_py_any(py),
            Err(_) => Ok(py.NotImplemented().into_bound(py)),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        PyString::new(py, self.kind()).hash()
    }
}

/// The thresholds by which payloads are copied, borrowed or mapped.
#[pyclass(name = "TransferPolicy", module = "mcpgateway_rust", frozen, eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyTransferPolicy(pub(crate) TransferPolicy);

#[pymethods]
impl PyTransferPolicy {
    #[new]
    #[pyo3(signature = (*, copy_below = COPY_BELOW, map_above = MAP_ABOVE))]
    fn new(copy_below: usize, map_above: usize) -> Self {
        Self(TransferPolicy { copy_below, map_above })
    }

    /// The policy used where none is given: of the file that the environment names, else the defaults.
    #[staticmethod]
    #[pyo3(name = "default")]
    fn default_policy(py: Python<'_>) -> PyResult<Self> {
        guard(py, || default_policy(py).map(Self))
    }

    /// The thresholds in a file that `mcpgateway-rust calibrate` wrote.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "an argument from Python is ours")]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        guard(py, || py.detach(|| TransferPolicy::load(&path)).into_py_result(py).map(Self))
    }

    /// What to do with `len` bytes from `kind`: `"buffer"`, `"file"`, `"reply"` or `"share"`.
    #[pyo3(signature = (len, kind = "buffer"))]
    fn decide(&self, len: usize, kind: &str) -> PyResult<PyTransfer> {
        let origin = Origin::from_name(kind).ok_or_else(|| {
            PyValueError::new_err(format!("kind={kind:?}: pass \"buffer\", \"file\", \"reply\" or \"share\""))
        })?;
        Ok(PyTransfer(self.0.decide(len, origin)))
    }

    /// Buffers below this many bytes are copied, others borrowed.
    #[getter]
    fn copy_below(&self) -> usize {
        self.0.copy_below
    }

    /// Replies from this many bytes on get a mapped region of their own size.
    #[getter]
    fn map_above(&self) -> usize {
        self.0.map_above
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("TransferPolicy(copy_below={}, map_above={})", self.0.copy_below, self.0.map_above)
    }
}
