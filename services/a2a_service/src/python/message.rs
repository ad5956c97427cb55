//! Messages and their parts, made from Python objects.

use std::path::PathBuf;

use mcpgateway_bridge::{
    PyNode, PyPayload, TextContent, is_json, json_from, open_file, payload_from, text_from,
};
use mcpgateway_engine::http::Mutation;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyMapping, PyString, PyTuple};

use crate::core::{Draft, Message, Part, Role};
use mcpgateway_bridge::{IntoPyResult, guard};

/// A part of a message.
#[pyclass(name = "Part", module = "mcpgateway_rust.services.a2a_service", frozen)]
#[derive(Clone)]
pub struct PyPart {
    part: Part,
    mutation: Mutation,
}

impl PyPart {
    fn new(
        mut part: Part,
        mutation: Mutation,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        (part.filename, part.media_type) = (filename, media_type);
        let Some(metadata) = metadata else { return Ok(Self { part, mutation }) };
        let part = part.metadata(Some(json_from(metadata)?)).into_py_result(metadata.py())?;
        Ok(Self { part, mutation })
    }
}

#[pymethods]
impl PyPart {
    /// Text: a str, or a buffer of UTF-8.
    #[staticmethod]
    #[pyo3(signature = (text, *, filename = None, media_type = None, metadata = None))]
    fn text(
        text: &Bound<'_, PyAny>,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(text.py(), || {
            let part = match text_from(text)? {
                TextContent::Ready(text) => Part::text(text),
                TextContent::Later(make, len) => Part::text_made_by(make, len),
            };
            Self::new(part, Mutation::Borrow, filename, media_type, metadata)
        })
    }

    /// Bytes: a buffer of any kind.
    #[staticmethod]
    #[pyo3(signature = (raw, *, filename = None, media_type = None, metadata = None))]
    fn raw(
        raw: &Bound<'_, PyAny>,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(raw.py(), || {
            let (bytes, mutation) = payload_from(raw)?;
            Self::new(Part::raw(bytes), mutation, filename, media_type, metadata)
        })
    }

    /// The address of bytes, which the agent fetches.
    #[staticmethod]
    #[pyo3(signature = (url, *, filename = None, media_type = None, metadata = None))]
    fn url(
        url: &Bound<'_, PyString>,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let part = Part::url(url.to_str()?);
        guard(url.py(), || Self::new(part, Mutation::Borrow, filename, media_type, metadata))
    }

    /// JSON: a node, a buffer of JSON, or what Python's `json` can write.
    #[staticmethod]
    #[pyo3(signature = (data, *, filename = None, media_type = None, metadata = None))]
    fn data(
        data: &Bound<'_, PyAny>,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(data.py(), || {
            let part = Part::data(json_from(data)?);
            Self::new(part, Mutation::Borrow, filename, media_type, metadata)
        })
    }

    /// The bytes of a file.
    #[staticmethod]
    #[pyo3(signature = (path, *, filename = None, media_type = None, metadata = None, trusted = false))]
    #[expect(clippy::needless_pass_by_value, reason = "an argument from Python is ours")]
    fn file(
        py: Python<'_>,
        path: PathBuf,
        filename: Option<String>,
        media_type: Option<String>,
        metadata: Option<&Bound<'_, PyAny>>,
        trusted: bool,
    ) -> PyResult<Self> {
        guard(py, || {
            let part = Part::raw(open_file(py, &path, trusted)?);
            let own_name = || path.file_name().map(|name| name.to_string_lossy().into_owned());
            let filename = filename.or_else(own_name);
            let media_type = match (media_type, &filename) {
                (None, Some(name)) => guessed_type(py, name)?,
                (given, _) => given,
            };
            Self::new(part, Mutation::Borrow, filename, media_type, metadata)
        })
    }

    /// `"text"`, `"raw"`, `"url"` or `"data"`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.part.kind().as_str()
    }

    /// The name of its file.
    #[getter]
    fn filename(&self) -> Option<&str> {
        self.part.filename.as_deref()
    }

    /// The type of its content, such as `"application/pdf"`.
    #[getter]
    fn media_type(&self) -> Option<&str> {
        self.part.media_type.as_deref()
    }

    /// Bytes of its content, before they are encoded.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.part.len()
    }

    fn __repr__(&self) -> String {
        format!("<Part {}, {} bytes>", self.kind(), self.part.len())
    }
}

/// A message of parts.
#[pyclass(name = "Message", module = "mcpgateway_rust.services.a2a_service", frozen)]
#[derive(Clone)]
pub struct PyMessage {
    message: Message,
    mutation: Mutation,
}

#[pymethods]
impl PyMessage {
    #[new]
    #[pyo3(signature = (
        parts, *, role = "user", message_id = None, task_id = None, context_id = None,
        reference_task_ids = Vec::new(), extensions = Vec::new(), metadata = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn new(
        parts: &Bound<'_, PyAny>,
        role: &str,
        message_id: Option<String>,
        task_id: Option<String>,
        context_id: Option<String>,
        reference_task_ids: Vec<String>,
        extensions: Vec<String>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        guard(parts.py(), || {
            let (parts, mutation) = parts_from(parts)?;
            let role = Role::of(role)
                .ok_or_else(|| PyValueError::new_err(format!("role={role:?}: pass \"user\" or \"agent\"")))?;
            let mut message = Message::new(parts);
            (message.role, message.message_id) = (role, message_id);
            (message.task_id, message.context_id) = (task_id, context_id);
            (message.reference_task_ids, message.extensions) = (reference_task_ids, extensions);
            let Some(metadata) = metadata else { return Ok(Self { message, mutation }) };
            let message = message.metadata(Some(json_from(metadata)?)).into_py_result(metadata.py())?;
            Ok(Self { message, mutation })
        })
    }

    /// `"user"` or `"agent"`.
    #[getter]
    fn role(&self) -> &'static str {
        match self.message.role {
            Role::User => "user",
            Role::Agent => "agent",
        }
    }

    /// What it says.
    #[getter]
    fn parts(&self) -> Vec<PyPart> {
        let mutation = self.mutation;
        self.message.parts.iter().map(|part| PyPart { part: part.clone(), mutation }).collect()
    }

    /// By what it is known, if that was said.
    #[getter]
    fn message_id(&self) -> Option<&str> {
        self.message.message_id.as_deref()
    }

    fn __repr__(&self) -> String {
        format!("<Message of {} parts>", self.message.parts.len())
    }
}

/// What Python's `mimetypes` says of a name.
fn guessed_type(py: Python<'_>, name: &str) -> PyResult<Option<String>> {
    let guessed = py.import("mimetypes")?.call_method1("guess_type", (name,))?;
    Ok(guessed.extract::<(Option<String>, Option<String>)>()?.0)
}

/// The part that a value on its own stands for, and what happens when the owner of its buffer writes to it: a `Part` as
/// it is, a str as text, a buffer as bytes. None for all else, nodes of JSON among it.
///
/// # Errors
/// `UnsupportedBuffer` when a buffer has no bytes.
pub fn part_of(value: &Bound<'_, PyAny>) -> PyResult<Option<(Part, Mutation)>> {
    if let Some(PyPart { part, mutation }) = part_or_text(value)? {
        return Ok(Some((part, mutation)));
    }
    let is_buffer = is_json(value) && !value.is_instance_of::<PyNode>();
    if !is_buffer && !value.is_instance_of::<PyPayload>() {
        return Ok(None);
    }
    let (bytes, mutation) = payload_from(value)?;
    Ok(Some((Part::raw(bytes), mutation)))
}

fn part_or_text(value: &Bound<'_, PyAny>) -> PyResult<Option<PyPart>> {
    if let Ok(part) = value.cast::<PyPart>() {
        return Ok(Some(part.get().clone()));
    }
    if value.is_instance_of::<PyString>() {
        return PyPart::text(value, None, None, None).map(Some);
    }
    Ok(None)
}

/// A list of parts, each a `Part` or a str; or one of these.
fn parts_from(value: &Bound<'_, PyAny>) -> PyResult<(Vec<Part>, Mutation)> {
    if let Some(part) = part_or_text(value)? {
        return Ok((vec![part.part], part.mutation));
    }
    let what = || PyTypeError::new_err("parts: pass a list of Part or str");
    let (mut parts, mut mutation) = (Vec::new(), Mutation::Borrow);
    for part in value.try_iter().map_err(|_| what())? {
        let part = part_or_text(&part?)?.ok_or_else(what)?;
        mutation = strictest(mutation, part.mutation);
        parts.push(part.part);
    }
    if parts.is_empty() {
        return Err(PyValueError::new_err("parts: a message has at least one"));
    }
    Ok((parts, mutation))
}

/// Of what happens when either of two buffers is written to, what holds for both.
#[must_use]
pub fn strictest(one: Mutation, other: Mutation) -> Mutation {
    match (one, other) {
        (Mutation::Borrow, other) => other,
        (Mutation::Snapshot, _) | (_, Mutation::Snapshot) => Mutation::Snapshot,
        (Mutation::Detect, _) => Mutation::Detect,
    }
}

/// The message that `value` stands for, and what happens when the owner of one of its buffers writes to it.
pub(super) fn draft_from(value: &Bound<'_, PyAny>) -> PyResult<(Draft, Mutation)> {
    if let Ok(message) = value.cast::<PyMessage>() {
        let PyMessage { message, mutation } = message.get().clone();
        return Ok((Draft::Message(message), mutation));
    }
    let is_of_parts = value.is_instance_of::<PyPart>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>();
    if is_of_parts {
        let (parts, mutation) = parts_from(value)?;
        return Ok((Draft::Message(Message::new(parts)), mutation));
    }
    if value.cast::<PyMapping>().is_err() && !is_json(value) {
        let kind = value.get_type();
        return Err(PyTypeError::new_err(format!(
            "{kind} is no message: pass a str, a Message, parts, a dict, or a buffer of JSON"
        )));
    }
    Ok((Draft::Json(json_from(value)?), Mutation::Borrow))
}
