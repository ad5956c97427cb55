//! What services send, from Python objects: texts, bytes, files and JSON.

use std::path::Path;

use mcpgateway_engine::http::Mutation;
use mcpgateway_engine::{Payload, TransferPolicy};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::PyBody;
use crate::document::PyNode;
use crate::error::IntoPyResult;
use crate::objects;
use crate::payload::PyPayload;
use crate::text::Text;

/// The bytes of a buffer, and what happens when its owner writes to it while they are sent.
///
/// # Errors
/// `UnsupportedBuffer` when it has none.
pub fn payload_from(value: &Bound<'_, PyAny>) -> PyResult<(Payload, Mutation)> {
    if let Ok(payload) = value.cast::<PyPayload>() {
        return Ok((payload.get().payload().clone(), payload.get().mutation()));
    }
    let payload = PyBody::from_python(value, &TransferPolicy::default())?.into_payload(value.py())?;
    Ok((payload, Mutation::Borrow))
}

/// A text as UTF-8: a str, or a buffer, which is copied if its owner may write to it.
///
/// # Errors
/// `UnsupportedBuffer` when it is neither, `UnicodeEncodeError` for a lone surrogate.
pub fn text_from(value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    if let Ok(text) = value.cast::<PyString>() {
        return PyBody::from_text(text, &TransferPolicy::default())?.into_payload(value.py());
    }
    stable(value)
}

/// The JSON that a Python object stands for: a node or a buffer as it is, all else written out. A buffer is not
/// checked.
///
/// # Errors
/// `UnsupportedBuffer`, and what Python's `json` raises for what it cannot write.
pub fn json_from(value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    if let Ok(node) = value.cast::<PyNode>() {
        return Ok(node.get().node().raw().into());
    }
    if is_json(value) { stable(value) } else { objects::write(value).map(Payload::from) }
}

/// Whether an object is JSON already: a node, or a buffer, but for numpy's scalars.
#[must_use]
pub fn is_json(value: &Bound<'_, PyAny>) -> bool {
    if value.is_instance_of::<PyNode>() {
        return true;
    }
    // SAFETY: the object is alive; the call looks at its type only.
    let is_buffer = unsafe { pyo3::ffi::PyObject_CheckBuffer(value.as_ptr()) } != 0;
    let has = |name| value.hasattr(name).unwrap_or(false);
    is_buffer && (has("__len__") || !has("dtype"))
}

/// The contents of a file: memory-mapped if it is trusted not to be shortened, else copied.
///
/// # Errors
/// `Denied` for what is no regular file, `FileError` when it cannot be read.
pub fn open_file(py: Python<'_>, path: &Path, trusted: bool) -> PyResult<Payload> {
    let open = || if trusted { Payload::map_trusted(path, true) } else { Payload::read(path, true) };
    py.detach(open).into_py_result(py)
}

/// The bytes of a buffer, which never change from now on.
fn stable(value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    if value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("this is text where a buffer is asked for: encode it"));
    }
    Text::from_python(value)?.run(value.py(), |bytes| Ok(Payload::from(bytes)))
}
