//! `PayloadRef` as Python has it.

use std::time::{Duration, UNIX_EPOCH};

use mcpgateway_shm::{Location, PayloadRef, ShareOptions};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::error::IntoPyResult;
use crate::interpreter::guard;

/// What another process needs to open a payload, as text of at most 1 KiB.
#[pyclass(name = "PayloadRef", module = "mcpgateway_rust.shm", frozen, eq, hash)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PyPayloadRef(PayloadRef);

impl PyPayloadRef {
    pub(crate) fn new(reference: PayloadRef) -> Self {
        Self(reference)
    }

    pub(crate) fn convert(py: Python<'_>, reference: PayloadRef) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(reference))?.into_any())
    }

    /// The reference that a `PayloadRef`, or its text, is.
    pub(crate) fn extract(value: &Bound<'_, PyAny>) -> PyResult<PayloadRef> {
        if let Ok(reference) = value.cast::<Self>() {
            return Ok(reference.get().0.clone());
        }
        let text = value.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err("pass a PayloadRef, or its text, which begins with mcpref://")
        })?;
        // A str with surrogates is no UTF-8, and no reference either.
        parse(value.py(), &text.to_string_lossy())
    }
}

fn parse(py: Python<'_>, text: &str) -> PyResult<PayloadRef> {
    text.parse::<PayloadRef>().map_err(mcpgateway_engine::Error::from).into_py_result(py)
}

#[pymethods]
impl PyPayloadRef {
    /// The reference that `text` is.
    #[staticmethod]
    #[pyo3(name = "parse")]
    fn from_text(py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Self> {
        guard(py, || parse(py, &text.to_string_lossy()).map(Self))
    }

    /// The id of the payload: 128 random bits, in hexadecimal digits.
    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Whose payload it is.
    #[getter]
    fn tenant(&self) -> &str {
        self.0.tenant()
    }

    /// Bytes of the payload.
    #[getter]
    fn length(&self) -> u64 {
        self.0.len()
    }

    /// The XXH3 checksum of the payload.
    #[getter]
    fn checksum(&self) -> u64 {
        self.0.checksum()
    }

    /// What kind of content it is, if its sharer said so.
    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.0.content_type()
    }

    /// From when on it cannot be opened any more, in seconds since 1970.
    #[getter]
    fn expires(&self) -> f64 {
        self.0.expires().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// Where the payload can be had, the nearest first: `"descriptor"`, `"file"` or `"object"`.
    #[getter]
    fn locations(&self) -> Vec<&'static str> {
        let name = |location: &Location| match location {
            Location::Descriptor { .. } => "descriptor",
            Location::File => "file",
            _ => "object",
        };
        self.0.locations().iter().map(name).collect()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    /// Without what is secret about it.
    fn __repr__(&self) -> String {
        format!("<PayloadRef {} of {}: {} bytes>", self.0.id(), self.0.tenant(), self.0.len())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let class: Bound<'py, PyType> = slf.get_type();
        Ok((class.getattr("parse")?, (slf.get().0.to_string(),)))
    }
}

/// How a payload is shared, from what Python says.
pub(crate) fn share_options(ttl: f64, durable: bool, content_type: Option<String>) -> PyResult<ShareOptions> {
    // A year, so that the end can be computed.
    const MOST: f64 = 365.0 * 24.0 * 3600.0;
    if !(ttl > 0.0 && ttl <= MOST) {
        return Err(PyValueError::new_err(format!("ttl={ttl}: pass seconds above 0 and at most a year")));
    }
    Ok(ShareOptions { ttl: Duration::from_secs_f64(ttl), durable, content_type })
}
