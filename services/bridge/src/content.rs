//! What services send, from Python objects: texts, bytes, files and JSON.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mcpgateway_engine::http::Mutation;
use mcpgateway_engine::{Payload, Result, TransferPolicy};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::{PyBody, text_bytes, wide_text};
use crate::document::PyNode;
use crate::error::IntoPyResult;
use crate::objects;
use crate::payload::PyPayload;
use crate::text::Text;

/// Characters of a str from which on, unless it is ASCII, it is encoded without the GIL: 64 MiB would hold an event
/// loop for a tenth of a second.
const LONG: usize = 64 << 10;

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

/// A text as UTF-8.
pub enum TextContent {
    /// It is there.
    Ready(Payload),
    /// It has to be made, which may take long, and has this many bytes at least.
    Later(Arc<dyn Fn() -> Result<Payload> + Send + Sync>, u64),
}

/// A text: a str, or a buffer of UTF-8, which is copied if its owner may write to it.
///
/// # Errors
/// `UnsupportedBuffer` when it is neither, `UnicodeEncodeError` for a lone surrogate.
pub fn text_from(value: &Bound<'_, PyAny>) -> PyResult<TextContent> {
    let Ok(text) = value.cast::<PyString>() else { return stable(value).map(TextContent::Ready) };
    if let Some(wide) = wide_text(text, LONG)? {
        let least = text.len()? as u64;
        return Ok(TextContent::Later(Arc::new(move || wide.encode()), least));
    }
    let is_short = text.len()? < LONG;
    let bytes = if is_short { Bytes::copy_from_slice(text.to_str()?.as_bytes()) } else { text_bytes(text)? };
    Ok(TextContent::Ready(bytes.into()))
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
    Text::from_python(value)?.run(value.py(), |bytes, _| Ok(Payload::from(bytes)))
}
