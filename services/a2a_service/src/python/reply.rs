//! Replies, events and their parts as Python has them.

use mcpgateway_bridge::{IntoPyResult, PyDocument, PyNode, PyPayload, awaitable, guard, insert_from};
use mcpgateway_engine::json::Node;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, runtime};
use pyo3::prelude::*;

use crate::core::{self, AgentEvent, Binding, Collected, Item, PartKind, PartView, Shape, Version};

/// Contents from this many bytes on are decoded without the GIL.
const LONG: usize = 4 << 10;

fn node(py: Python<'_>, node: Option<Node>) -> PyResult<Option<Py<PyAny>>> {
    node.map(|node| PyNode::convert(py, node)).transpose()
}

fn nodes(py: Python<'_>, nodes: Vec<Node>) -> PyResult<Vec<Py<PyAny>>> {
    nodes.into_iter().map(|node| PyNode::convert(py, node)).collect()
}

fn parts(parts: Vec<PartView>) -> Vec<ReplyPart> {
    parts.into_iter().map(ReplyPart).collect()
}

fn shape_from(version: &str, binding: &str) -> Result<Shape> {
    Ok(Shape::of(Version::from_name(version)?, Binding::from_name(binding)?))
}

/// What an agent's reply says, without building it.
#[pyclass(name = "AgentReply", module = "mcpgateway_rust.services.a2a_service", frozen)]
pub struct AgentReply {
    reply: core::AgentReply,
    item: Option<Item>,
}

impl AgentReply {
    fn of(reply: core::AgentReply) -> Self {
        Self { item: reply.item(), reply }
    }

    /// `reply` as a Python object.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    pub fn convert(py: Python<'_>, reply: core::AgentReply) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self::of(reply))?.into_any())
    }
}

#[pymethods]
impl AgentReply {
    #[new]
    fn new(document: &Bound<'_, PyDocument>) -> PyResult<Self> {
        let node = document.as_super().get().node();
        guard(document.py(), || {
            core::AgentReply::new(node.document()).map(Self::of).into_py_result(document.py())
        })
    }

    /// The id of the call that this answers.
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.reply.id())
    }

    /// What came of the call: a task or a message.
    #[getter]
    fn result(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.reply.result())
    }

    /// Why nothing came of it.
    #[getter]
    fn error(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.reply.error())
    }

    /// `"task"` or `"message"`; None if it is neither.
    #[getter]
    fn kind(&self) -> Option<&'static str> {
        self.item.as_ref().map(|item| item.kind.as_str())
    }

    /// The task or message, without what wraps it.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.item.as_ref().map(|item| item.node.clone()))
    }

    /// The task that it is, or belongs to.
    #[getter]
    fn task_id(&self) -> Option<String> {
        self.item.as_ref()?.task_id()
    }

    /// The context that it belongs to.
    #[getter]
    fn context_id(&self) -> Option<String> {
        self.item.as_ref()?.context_id()
    }

    /// How far the task is, such as `"completed"` or `"input-required"`.
    #[getter]
    fn state(&self) -> Option<&'static str> {
        self.item.as_ref()?.state().map(core::TaskState::as_str)
    }

    /// The message itself, or that of the task's status.
    #[getter]
    fn message(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.item.as_ref().and_then(Item::message))
    }

    /// The artifacts of a task.
    #[getter]
    fn artifacts(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        nodes(py, py.detach(|| self.reply.artifacts()))
    }

    /// The parts of a message, or of all artifacts of a task.
    #[getter]
    fn parts(&self, py: Python<'_>) -> Vec<ReplyPart> {
        parts(py.detach(|| self.reply.parts()))
    }

    /// All of its text.
    #[getter]
    fn text(&self, py: Python<'_>) -> String {
        py.detach(|| text_of(&self.reply.parts()))
    }

    /// The same reply to the call `id`: a rope around the bytes of this one.
    fn with_id(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<PyPayload> {
        guard(py, || {
            let id = insert_from(id)?;
            py.detach(|| self.reply.with_id(id)).into_py_result(py).map(PyPayload::new)
        })
    }

    /// The result as another generation or binding has it: a rope around the bytes of this one.
    #[pyo3(signature = (version, binding = "JSONRPC"))]
    fn translated(&self, py: Python<'_>, version: &str, binding: &str) -> PyResult<PyPayload> {
        guard(py, || {
            let shape = shape_from(version, binding).into_py_result(py)?;
            py.detach(|| self.reply.translated(shape)).into_py_result(py).map(PyPayload::new)
        })
    }

    fn __repr__(&self) -> String {
        let kind = self.kind().unwrap_or("without a task or message");
        format!("<AgentReply {kind} {}>", self.state().unwrap_or_default())
    }
}

fn text_of(parts: &[PartView]) -> String {
    let is_text = |part: &&PartView| part.kind() == Some(PartKind::Text);
    let texts = parts.iter().filter(is_text).filter_map(PartView::content);
    texts.filter_map(|content| content.text().map(std::borrow::Cow::into_owned)).collect()
}

/// A part of what an agent said.
#[pyclass(name = "ReplyPart", module = "mcpgateway_rust.services.a2a_service", frozen)]
#[derive(Clone)]
pub struct ReplyPart(PartView);

impl ReplyPart {
    fn content_of(&self, kind: PartKind) -> Option<&Node> {
        self.0.content().filter(|_| self.0.kind() == Some(kind))
    }

    fn decoded(&self) -> impl Future<Output = Result<Payload>> + Send + 'static {
        let part = self.0.clone();
        async move { runtime::blocking(move || part.payload()).await? }
    }
}

#[pymethods]
impl ReplyPart {
    /// `"text"`, `"raw"`, `"url"` or `"data"`; None if it is nothing of A2A.
    #[getter]
    fn kind(&self) -> Option<&'static str> {
        self.0.kind().map(PartKind::as_str)
    }

    /// The part, as it was received.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        PyNode::convert(py, self.0.node.clone())
    }

    /// The text of a text part; None if it is none.
    #[getter]
    fn text(&self, py: Python<'_>) -> Option<String> {
        let content = self.content_of(PartKind::Text)?;
        py.detach(|| content.text().map(std::borrow::Cow::into_owned))
    }

    /// The address of a url part; None if it is none.
    #[getter]
    fn url(&self) -> Option<String> {
        self.content_of(PartKind::Url)?.text().map(std::borrow::Cow::into_owned)
    }

    /// The JSON of a data part; None if it is none.
    #[getter]
    fn data(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.content_of(PartKind::Data).cloned())
    }

    /// The name of its file.
    #[getter]
    fn filename(&self) -> Option<String> {
        self.0.filename()
    }

    /// The type of its content, such as `"application/pdf"`.
    #[getter]
    fn media_type(&self) -> Option<String> {
        self.0.media_type()
    }

    /// What else is said of it.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.0.node.get("metadata"))
    }

    /// The bytes of a raw part, of a text part as UTF-8, or of a data part as JSON.
    fn payload(&self, py: Python<'_>) -> PyResult<PyPayload> {
        guard(py, || {
            let is_long = self.0.content().is_some_and(|content| content.span() >= LONG);
            let payload = if is_long { py.detach(|| self.0.payload()) } else { self.0.payload() };
            payload.into_py_result(py).map(PyPayload::new)
        })
    }

    /// The decoded bytes of a raw part.
    fn base64(&self, py: Python<'_>) -> PyResult<PyPayload> {
        self.expect_raw().into_py_result(py)?;
        self.payload(py)
    }

    /// Await what `payload` returns, made on a thread of its own.
    fn payload_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            awaitable(py, self.decoded(), |py, payload| Ok(Py::new(py, PyPayload::new(payload))?.into_any()))
        })
    }

    fn __repr__(&self) -> String {
        let bytes = self.0.content().map_or(0, Node::span);
        format!("<ReplyPart {}, {bytes} bytes>", self.kind().unwrap_or("unknown"))
    }
}

impl ReplyPart {
    fn expect_raw(&self) -> Result<()> {
        if self.0.kind() == Some(PartKind::Raw) {
            return Ok(());
        }
        let kind = self.kind().unwrap_or("unknown");
        let subject = format!("base64 is in raw parts: this is of kind {kind}");
        Err(Error::new(ErrorKind::WrongKind, subject))
    }
}

/// An event of an agent.
#[pyclass(name = "AgentEvent", module = "mcpgateway_rust.services.a2a_service", frozen)]
pub struct PyAgentEvent(AgentEvent);

impl PyAgentEvent {
    pub(super) fn convert(py: Python<'_>, event: Option<AgentEvent>) -> PyResult<Py<PyAny>> {
        match event {
            Some(event) => Ok(Py::new(py, Self(event))?.into_any()),
            None => Ok(py.None()),
        }
    }

    fn says(&self, key: &str) -> bool {
        self.0.item.node.get(key).and_then(|node| node.boolean()) == Some(true)
    }
}

#[pymethods]
impl PyAgentEvent {
    /// `"task"`, `"message"`, `"status-update"` or `"artifact-update"`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.item.kind.as_str()
    }

    /// The task, message or update, without what wraps it.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        PyNode::convert(py, self.0.item.node.clone())
    }

    /// The task that it is, or belongs to.
    #[getter]
    fn task_id(&self) -> Option<String> {
        self.0.item.task_id()
    }

    /// The context that it belongs to.
    #[getter]
    fn context_id(&self) -> Option<String> {
        self.0.item.context_id()
    }

    /// How far the task is, such as `"working"`.
    #[getter]
    fn state(&self) -> Option<&'static str> {
        self.0.item.state().map(core::TaskState::as_str)
    }

    /// The message itself, or that of the status.
    #[getter]
    fn message(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.0.item.message())
    }

    /// The artifact of an update, or those of a task.
    #[getter]
    fn artifacts(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        nodes(py, py.detach(|| self.0.item.artifacts()))
    }

    /// Its parts: of the message, of the status's message, or of the artifacts.
    #[getter]
    fn parts(&self, py: Python<'_>) -> Vec<ReplyPart> {
        parts(py.detach(|| self.0.item.parts()))
    }

    /// All of its text.
    #[getter]
    fn text(&self, py: Python<'_>) -> String {
        py.detach(|| text_of(&self.0.item.parts()))
    }

    /// The id of the artifact that an update is of.
    #[getter]
    fn artifact_id(&self) -> Option<String> {
        let id = self.0.item.node.get("artifact")?.get("artifactId")?;
        id.text().map(std::borrow::Cow::into_owned)
    }

    /// Whether an update adds to an artifact that is there.
    #[getter]
    fn append(&self) -> bool {
        self.says("append")
    }

    /// Whether nothing is added to the artifact after this.
    #[getter]
    fn last_chunk(&self) -> bool {
        self.says("lastChunk")
    }

    /// Whether it is the first since the stream broke: a task then says all that came before.
    #[getter]
    fn is_after_break(&self) -> bool {
        self.0.is_after_break
    }

    /// The text it came as: JSON.
    fn payload(&self) -> PyPayload {
        PyPayload::new(self.0.text.clone())
    }

    /// The event as another generation or binding has it: a rope around the bytes of this one.
    #[pyo3(signature = (version, binding = "JSONRPC"))]
    fn translated(&self, py: Python<'_>, version: &str, binding: &str) -> PyResult<PyPayload> {
        guard(py, || {
            let shape = shape_from(version, binding).into_py_result(py)?;
            Ok(PyPayload::new(py.detach(|| core::translate(&self.0.item, shape))))
        })
    }

    fn __repr__(&self) -> String {
        format!("<AgentEvent {} {}>", self.kind(), self.state().unwrap_or_default())
    }
}

/// An artifact, with its chunks in one piece.
#[pyclass(name = "Artifact", module = "mcpgateway_rust.services.a2a_service", frozen)]
pub struct PyArtifact(core::Artifact);

#[pymethods]
impl PyArtifact {
    /// Its id.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Its name.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// All of its text parts, one after the other, as UTF-8.
    #[getter]
    fn text(&self) -> PyPayload {
        PyPayload::new(self.0.text.clone())
    }

    /// All of its raw parts, decoded, one after the other.
    #[getter]
    fn raw(&self) -> PyPayload {
        PyPayload::new(self.0.raw.clone())
    }

    /// Its data and url parts.
    #[getter]
    fn others(&self) -> Vec<ReplyPart> {
        parts(self.0.others.clone())
    }

    /// The name of its file.
    #[getter]
    fn filename(&self) -> Option<&str> {
        self.0.filename.as_deref()
    }

    /// The type of its content.
    #[getter]
    fn media_type(&self) -> Option<&str> {
        self.0.media_type.as_deref()
    }

    /// Whether the agent said that no more of it comes.
    #[getter]
    fn is_complete(&self) -> bool {
        self.0.is_complete
    }

    fn __repr__(&self) -> String {
        format!("<Artifact {:?}, {} + {} bytes>", self.0.id, self.0.text.len(), self.0.raw.len())
    }
}

/// What came of a stream, when all has come.
#[pyclass(name = "Collected", module = "mcpgateway_rust.services.a2a_service", frozen)]
pub struct PyCollected(Collected);

impl PyCollected {
    pub(super) fn convert(py: Python<'_>, collected: Collected) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(collected))?.into_any())
    }
}

#[pymethods]
impl PyCollected {
    /// The artifacts, each in one piece.
    #[getter]
    fn artifacts(&self) -> Vec<PyArtifact> {
        self.0.artifacts.iter().cloned().map(PyArtifact).collect()
    }

    /// The parts of the message that ended it, or of the last status's message.
    #[getter]
    fn parts(&self) -> Vec<ReplyPart> {
        self.0.last.as_ref().map_or_else(Vec::new, |last| parts(last.parts()))
    }

    /// The last task, message or status.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        node(py, self.0.last.as_ref().map(|last| last.node.clone()))
    }

    /// The task.
    #[getter]
    fn task_id(&self) -> Option<&str> {
        self.0.task_id.as_deref()
    }

    /// Its context.
    #[getter]
    fn context_id(&self) -> Option<&str> {
        self.0.context_id.as_deref()
    }

    /// How far it came.
    #[getter]
    fn state(&self) -> Option<&'static str> {
        self.0.state.map(core::TaskState::as_str)
    }

    fn __repr__(&self) -> String {
        format!("<Collected {} artifacts, {}>", self.0.artifacts.len(), self.state().unwrap_or_default())
    }
}
