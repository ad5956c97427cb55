//! Python values as JSON text that is sent from where they lie.
//!
//! Small values are written down; buffers and long texts become segments of a rope, encoded while they are sent, so
//! neither the GIL nor memory is spent on them.

use bytes::Bytes;
use mcpgateway_engine::json::quoted;
use mcpgateway_engine::payload::Alphabet;
use mcpgateway_engine::{Payload, Result, TransferPolicy, runtime};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::buffer::{PyBody, text_bytes};
use crate::document::PyNode;

/// Values nested deeper are refused, as they are where JSON is read.
const MOST_DEPTH: usize = 1024;
/// Texts from this length on, in bytes, are escaped while they are sent.
const LONG_TEXT: usize = 64 << 10;

/// JSON text that is put together where that stops nobody.
pub struct JsonText {
    pieces: Vec<Piece>,
    is_checked: bool,
}

enum Piece {
    Json(Payload),
    /// The inside of a string, UTF-8.
    Text(Bytes),
    /// A buffer whose base64 is the inside of a string.
    Base64(PyBody),
    /// A buffer that is the text itself.
    Buffer(PyBody),
}

impl JsonText {
    /// Whether it is known to be JSON; else it is the bytes of a buffer.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// The text, put together on a thread that may take its time if it is long.
    ///
    /// # Errors
    /// `QuotaExceeded` when there is no memory for it.
    pub async fn open(self) -> Result<Payload> {
        let is_short = self.pieces.iter().all(|piece| matches!(piece, Piece::Json(_)));
        if is_short { self.join() } else { runtime::blocking(move || self.join()).await? }
    }

    /// The text, put together here and now.
    ///
    /// # Errors
    /// `QuotaExceeded` when there is no memory for it.
    pub fn join(self) -> Result<Payload> {
        let pieces = self.pieces.into_iter().map(|piece| match piece {
            Piece::Json(json) => Ok(json),
            Piece::Text(text) => Ok(escaped(text)),
            Piece::Base64(body) => Payload::base64(body.gather()?, Alphabet::Standard),
            Piece::Buffer(body) => body.gather(),
        });
        Ok(Payload::join(pieces.collect::<Result<Vec<_>>>()?))
    }
}

/// The inside of a JSON string that says `text`, which is UTF-8: the text itself if nothing has to be escaped.
fn escaped(text: Bytes) -> Payload {
    let is_plain = |piece: &[u8]| !piece.iter().any(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
    if text.chunks(1 << 10).all(is_plain) {
        return text.into();
    }
    let quoted = Bytes::from(quoted(&String::from_utf8_lossy(&text)));
    quoted.slice(1..quoted.len() - 1).into()
}

/// The JSON text that `value` stands for: a buffer is taken as the text itself, a node as it is written, and anything
/// else is written down. Inside of other values, buffers become their base64.
///
/// # Errors
/// `TypeError` or `ValueError` for what JSON cannot say, `UnsupportedBuffer` as for a body.
pub fn json_text(value: &Bound<'_, PyAny>, policy: &TransferPolicy) -> PyResult<JsonText> {
    if is_buffer(value) {
        let pieces = vec![Piece::Buffer(PyBody::from_python(value, policy)?)];
        return Ok(JsonText { pieces, is_checked: false });
    }
    let mut writer = Writer { policy, pieces: Vec::new(), text: String::new() };
    writer.write(value, 0)?;
    Ok(JsonText { pieces: writer.finish(), is_checked: true })
}

/// Whether `value` exports a buffer, or is a payload; numbers of numpy are numbers.
fn is_buffer(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive; the call looks at its type only.
    let exports = unsafe { pyo3::ffi::PyObject_CheckBuffer(value.as_ptr()) } != 0;
    exports && (value.len().is_ok() || !value.hasattr("dtype").unwrap_or(false))
}

struct Writer<'p> {
    policy: &'p TransferPolicy,
    pieces: Vec<Piece>,
    text: String,
}

impl Writer<'_> {
    fn write(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
        if depth > MOST_DEPTH {
            return Err(PyValueError::new_err("the value is nested deeper than 1024, or holds itself"));
        }
        if value.is_none() {
            self.text.push_str("null");
        } else if let Ok(text) = value.cast::<PyString>() {
            self.write_text(text)?;
        } else if let Ok(boolean) = value.cast::<PyBool>() {
            self.text.push_str(if boolean.is_true() { "true" } else { "false" });
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.write_int(number)?;
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.write_float(number)?;
        } else if let Ok(node) = value.cast::<PyNode>() {
            self.push(Piece::Json(node.get().node().raw().into()));
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.write_members(dict.iter().map(Ok), depth)?;
        } else if let Ok(list) = value.cast::<PyList>() {
            self.write_elements(list.iter(), depth)?;
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.write_elements(tuple.iter(), depth)?;
        } else if is_buffer(value) {
            let body = PyBody::from_python(value, self.policy)?;
            self.text.push('"');
            self.push(Piece::Base64(body));
            self.text.push('"');
        } else if let Ok(mapping) = value.cast::<PyMapping>() {
            let items = mapping.items()?;
            self.write_members(items.iter().map(|item| item.extract()), depth)?;
        } else {
            return Err(PyTypeError::new_err(format!(
                "{} is nothing that JSON can say: pass None, bool, int, float, str, buffers, nodes, lists or mappings",
                value.get_type().name()?
            )));
        }
        Ok(())
    }

    fn write_text(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        let utf8 = text.to_str()?;
        if utf8.len() < LONG_TEXT {
            self.text.push_str(&quoted(utf8));
            return Ok(());
        }
        self.text.push('"');
        self.push(Piece::Text(text_bytes(text)?));
        self.text.push('"');
        Ok(())
    }

    fn write_int(&mut self, number: &Bound<'_, PyInt>) -> PyResult<()> {
        if let Ok(small) = number.extract::<i64>() {
            self.text.push_str(&small.to_string());
            return Ok(());
        }
        let digits = number.py().get_type::<PyInt>().call_method1("__repr__", (number,))?;
        self.text.push_str(digits.cast::<PyString>()?.to_str()?);
        Ok(())
    }

    fn write_float(&mut self, number: &Bound<'_, PyFloat>) -> PyResult<()> {
        if !number.value().is_finite() {
            return Err(PyValueError::new_err("JSON has no NaN and no infinity"));
        }
        let digits = number.py().get_type::<PyFloat>().call_method1("__repr__", (number,))?;
        self.text.push_str(digits.cast::<PyString>()?.to_str()?);
        Ok(())
    }

    fn write_members<'py>(
        &mut self,
        members: impl Iterator<Item = PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
        depth: usize,
    ) -> PyResult<()> {
        self.text.push('{');
        for (index, member) in members.enumerate() {
            let (key, value) = member?;
            let key =
                key.cast::<PyString>().map_err(|_| PyTypeError::new_err("keys of a JSON object are str"))?;
            if index > 0 {
                self.text.push(',');
            }
            self.text.push_str(&quoted(key.to_str()?));
            self.text.push(':');
            self.write(&value, depth + 1)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn write_elements<'py>(
        &mut self,
        elements: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> PyResult<()> {
        self.text.push('[');
        for (index, element) in elements.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.write(&element, depth + 1)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn push(&mut self, piece: Piece) {
        self.push_text();
        self.pieces.push(piece);
    }

    fn push_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Piece::Json(std::mem::take(&mut self.text).into()));
        }
    }

    fn finish(mut self) -> Vec<Piece> {
        self.push_text();
        self.pieces
    }
}
