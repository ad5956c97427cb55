//! The binding: convert, call, convert.

mod agent;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use a2a_service::python::AgentReply;
use mcpgateway_bridge::{
    Delivery, IntoPyResult, JsonText, NativeClient, PyNode, PyPayload, PyTransfer, RequestOptions, guard,
    json_text, run, shared_client, to_py_err,
};
use mcpgateway_engine::json::{Document, Node, Options, Pointer};
use mcpgateway_engine::{Client, Error, ErrorKind, Payload, Result, TransferPolicy};
use mcpgateway_mcp::{Asked, Call, Params, Session, SessionOptions, Version};
use mcpgateway_shm::generation;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString};
use tokio::sync::Mutex;

use crate::core::{
    Argument, Arguments, CallOptions, Content, ContentKind, Finish, McpServer, RestBody, RestTool, Selector,
    Tool, ToolCalling, ToolResult, ToolStep, call_many,
};

/// Calls under way at a time where the caller does not say.
const CONCURRENCY: usize = 64;

/// An MCP server as the Python package wraps it.
#[pyclass(name = "ToolServer", module = "mcpgateway_rust._native", frozen)]
struct NativeToolServer {
    server: McpServer,
    policy: TransferPolicy,
}

#[pymethods]
impl NativeToolServer {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    #[pyo3(signature = (client, url, protocol = None, capabilities = None, client_info = None, max_input_rounds = None, listens = false))]
    fn new(
        py: Python<'_>,
        client: Option<&Bound<'_, NativeClient>>,
        url: &str,
        protocol: Option<&str>,
        capabilities: Option<&Bound<'_, PyAny>>,
        client_info: Option<(String, String)>,
        max_input_rounds: Option<u32>,
        listens: bool,
    ) -> PyResult<Self> {
        guard(py, || {
            let client = given_or_shared(py, client)?;
            let mut options = SessionOptions {
                version: protocol.map(version_from).transpose()?,
                ..SessionOptions::default()
            };
            if let Some(capabilities) = capabilities {
                options.capabilities = written(capabilities)?;
            }
            if let Some((name, version)) = client_info {
                (options.client_name, options.client_version) = (name.into(), version.into());
            }
            options.max_input_rounds = max_input_rounds.unwrap_or(options.max_input_rounds);
            options.listens = listens;
            let policy = client.options().policy;
            let session = Session::new(client, url, options).into_py_result(py)?;
            Ok(Self { server: McpServer::new(session), policy })
        })
    }

    /// All tools of the server.
    #[pyo3(signature = (blocking, **options))]
    fn list_tools(
        &self,
        py: Python<'_>,
        blocking: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let (server, options) = (self.server.clone(), self.call_options(options)?);
        run(py, blocking, async move { server.list_tools(options).await }, |py, tools| {
            let tools =
                tools.into_iter().map(|tool| Py::new(py, PyTool(tool))).collect::<PyResult<Vec<_>>>()?;
            Ok(tools.into_pyobject(py)?.unbind())
        })
    }

    /// Call a tool.
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    #[pyo3(signature = (blocking, name, arguments = None, *, meta = None, finish = None, **options))]
    fn call(
        &self,
        py: Python<'_>,
        blocking: bool,
        name: String,
        arguments: Option<&Bound<'_, PyAny>>,
        meta: Option<&Bound<'_, PyMapping>>,
        finish: Option<&Bound<'_, PyFinish>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let finish = finish_from(finish);
            let options = CallOptions { meta: meta_from(meta)?, ..self.call_options(options)? };
            let arguments = arguments.map(|arguments| json_text(arguments, &self.policy)).transpose()?;
            let server = self.server.clone();
            let calling = async move {
                let result = server.call_tool(&name, opened(arguments).await?, options).await?;
                finish.apply(result).await
            };
            run(py, blocking, calling, deliver)
        })
    }

    /// Begin to call a tool, step by step.
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    #[pyo3(signature = (name, arguments = None, *, wants_progress = false, meta = None, finish = None, **options))]
    fn begin(
        &self,
        py: Python<'_>,
        name: String,
        arguments: Option<&Bound<'_, PyAny>>,
        wants_progress: bool,
        meta: Option<&Bound<'_, PyMapping>>,
        finish: Option<&Bound<'_, PyFinish>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<NativeCalling> {
        guard(py, || {
            let options =
                CallOptions { wants_progress, meta: meta_from(meta)?, ..self.call_options(options)? };
            let arguments = arguments.map(|arguments| json_text(arguments, &self.policy)).transpose()?;
            let stage = Stage::Ready(Box::new((self.server.clone(), name, arguments, options)));
            let finish = finish_from(finish);
            Ok(NativeCalling { stage: Arc::new(Mutex::new(stage)), finish, generation: generation() })
        })
    }

    /// Call many tools.
    #[pyo3(signature = (blocking, calls, concurrency = CONCURRENCY, **options))]
    fn call_many(
        &self,
        py: Python<'_>,
        blocking: bool,
        calls: &Bound<'_, PyAny>,
        concurrency: usize,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let options = self.call_options(options)?;
            let concurrency = NonZeroUsize::new(concurrency)
                .ok_or_else(|| PyValueError::new_err("concurrency: pass at least 1"))?;
            let call = |item: PyResult<Bound<'_, PyAny>>| {
                let (name, arguments): (String, Bound<'_, PyAny>) = item?.extract()?;
                let arguments = (!arguments.is_none()).then(|| json_text(&arguments, &self.policy));
                Ok((name, arguments.transpose()?))
            };
            let calls = calls.try_iter()?.map(call).collect::<PyResult<Vec<_>>>()?;
            let server = self.server.clone();
            let calling = async move {
                let mut ready = Vec::with_capacity(calls.len());
                for (name, arguments) in calls {
                    ready.push((name, opened(arguments).await?));
                }
                Ok(call_many(&server, ready, concurrency, &options).await)
            };
            run(py, blocking, calling, |py, results| {
                let list = PyList::empty(py);
                for result in results {
                    match result {
                        Ok(result) => list.append(PyToolResult::convert(py, result)?)?,
                        Err(error) => list.append(to_py_err(py, &error).into_value(py))?,
                    }
                }
                Delivery::of(py, list.into_any().unbind())
            })
        })
    }

    /// Make a request of any method.
    #[pyo3(signature = (blocking, method, params = None, **options))]
    fn request(
        &self,
        py: Python<'_>,
        blocking: bool,
        method: String,
        params: Option<&Bound<'_, PyMapping>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let options = self.call_options(options)?;
            let params = self.members(params)?;
            let session = self.server.session().clone();
            let calling = async move {
                let call = Call::new(method, opened_params(params).await?);
                session.call(options.apply(call)).await.map(|reply| reply.result)
            };
            run(py, blocking, calling, PyNode::convert)
        })
    }

    /// Send a notification.
    #[pyo3(signature = (blocking, method, params = None))]
    fn notify(
        &self,
        py: Python<'_>,
        blocking: bool,
        method: String,
        params: Option<&Bound<'_, PyMapping>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let params = self.members(params)?;
            let session = self.server.session().clone();
            let sending = async move { session.notify(&method, opened_params(params).await?).await };
            run(py, blocking, sending, |py, ()| Ok(py.None()))
        })
    }

    /// What is agreed with the server: the version, and what it said of itself.
    fn agreement(&self, py: Python<'_>, blocking: bool) -> PyResult<Py<PyAny>> {
        let session = self.server.session().clone();
        run(py, blocking, async move { session.agreement().await }, |py, agreement| {
            let server = agreement.server.map(|server| PyNode::convert(py, server)).transpose()?;
            Ok((agreement.version.as_str(), server).into_pyobject(py)?.into_any().unbind())
        })
    }

    /// End the session, if there is one.
    fn close(&self, py: Python<'_>, blocking: bool) -> PyResult<Py<PyAny>> {
        let session = self.server.session().clone();
        run(py, blocking, async move { session.close().await }, |py, ()| Ok(py.None()))
    }
}

impl NativeToolServer {
    fn call_options(&self, options: Option<&Bound<'_, PyDict>>) -> PyResult<CallOptions> {
        call_options(options, &self.policy)
    }

    fn members(&self, params: Option<&Bound<'_, PyMapping>>) -> PyResult<Vec<(String, JsonText)>> {
        let member = |item: Bound<'_, PyAny>| {
            let (key, value): (String, Bound<'_, PyAny>) = item.extract()?;
            Ok((key, json_text(&value, &self.policy)?))
        };
        params.map_or_else(|| Ok(Vec::new()), |params| params.items()?.iter().map(member).collect())
    }
}

fn call_options(options: Option<&Bound<'_, PyDict>>, policy: &TransferPolicy) -> PyResult<CallOptions> {
    let settings = RequestOptions::from_python(options, policy)?.into_call()?;
    Ok(CallOptions {
        headers: settings.headers,
        timeouts: settings.timeouts,
        limits: settings.limits,
        progress: settings.progress,
        ..CallOptions::default()
    })
}

/// What is done with a result before it is handed over.
#[pyclass(name = "Finish", module = "mcpgateway_rust._native", frozen)]
struct PyFinish(Finish);

#[pymethods]
impl PyFinish {
    #[new]
    #[pyo3(signature = (pointer = None, jq = None, output_schema = None, seconds = None, memory = None))]
    fn new(
        py: Python<'_>,
        pointer: Option<&str>,
        jq: Option<String>,
        output_schema: Option<&Bound<'_, PyAny>>,
        seconds: Option<f64>,
        memory: Option<u64>,
    ) -> PyResult<Self> {
        guard(py, || {
            let selector = match (pointer, jq) {
                (None, None) => None,
                (Some(pointer), None) => Some(Selector::Pointer(Pointer::parse(pointer).into_py_result(py)?)),
                (None, Some(filter)) => Some(Selector::Jq(filter)),
                (Some(_), Some(_)) => {
                    return Err(PyTypeError::new_err("pass a pointer or a jq filter, not both"));
                }
            };
            let mut finish = Finish { selector, ..Finish::default() };
            if let Some(schema) = output_schema {
                let text = json_text(schema, &TransferPolicy::default())?.join().into_py_result(py)?;
                let document = Document::parse(text.into_bytes().into_py_result(py)?, &Options::default());
                finish.schema = Some(document.into_py_result(py)?.root());
            }
            if let Some(seconds) = seconds {
                finish.bounds.time = Duration::try_from_secs_f64(seconds).map_err(|_| {
                    PyValueError::new_err(format!("filter_seconds={seconds}: pass seconds above 0"))
                })?;
            }
            finish.bounds.memory = memory.unwrap_or(finish.bounds.memory);
            Ok(Self(finish))
        })
    }
}

fn finish_from(finish: Option<&Bound<'_, PyFinish>>) -> Finish {
    finish.map_or_else(Finish::default, |finish| finish.get().0.clone())
}

/// A plain HTTP endpoint as the Python package wraps it.
#[pyclass(name = "RestEndpoint", module = "mcpgateway_rust._native", frozen)]
struct NativeRest {
    tool: Arc<RestTool>,
    client: Client,
}

#[pymethods]
impl NativeRest {
    #[new]
    fn new(
        py: Python<'_>,
        client: Option<&Bound<'_, NativeClient>>,
        method: &str,
        url: &str,
        query: Vec<String>,
        headers: Vec<(String, String)>,
        body: &str,
    ) -> PyResult<Self> {
        guard(py, || {
            let client = given_or_shared(py, client)?;
            let tool = RestTool::new(method, url, query, headers, body_from(body)?).into_py_result(py)?;
            Ok(Self { tool: Arc::new(tool), client })
        })
    }

    /// Call the endpoint.
    #[pyo3(signature = (blocking, arguments = None, *, finish = None, **options))]
    fn call(
        &self,
        py: Python<'_>,
        blocking: bool,
        arguments: Option<&Bound<'_, PyMapping>>,
        finish: Option<&Bound<'_, PyFinish>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let policy = self.client.options().policy;
            let options = call_options(options, &policy)?;
            let finish = finish_from(finish);
            let argument = |item: Bound<'_, PyAny>| {
                let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
                Ok((name, json_text(&value, &policy)?))
            };
            let arguments: Vec<(String, JsonText)> = match arguments {
                Some(arguments) => arguments.items()?.iter().map(argument).collect::<PyResult<_>>()?,
                None => Vec::new(),
            };
            let (tool, client) = (Arc::clone(&self.tool), self.client.clone());
            let calling = async move {
                let mut ready = Vec::with_capacity(arguments.len());
                for (name, text) in arguments {
                    let is_json = text.is_checked();
                    let payload = text.open().await?;
                    ready.push((
                        name,
                        if is_json { Argument::Json(payload) } else { Argument::Bytes(payload) },
                    ));
                }
                finish.apply(tool.call(&client, ready, options).await?).await
            };
            run(py, blocking, calling, deliver)
        })
    }
}

fn body_from(name: &str) -> PyResult<RestBody> {
    match name {
        "query" => Ok(RestBody::Query),
        "json" => Ok(RestBody::Json),
        "form" => Ok(RestBody::Form),
        "multipart" => Ok(RestBody::Multipart),
        _ => Err(PyValueError::new_err(format!(
            "body={name:?}: pass \"query\", \"json\", \"form\" or \"multipart\""
        ))),
    }
}

fn given_or_shared(py: Python<'_>, client: Option<&Bound<'_, NativeClient>>) -> PyResult<Client> {
    client.map_or_else(|| shared_client(py), |client| Ok(client.get().client().clone()))
}

fn version_from(name: &str) -> PyResult<Version> {
    Version::from_name(name).ok_or_else(|| {
        let names = Version::ALL.map(Version::as_str).join(", ");
        PyValueError::new_err(format!("protocol={name:?}: pass one of {names}, or None to find out"))
    })
}

/// Members of `_meta`, written down.
fn meta_from(meta: Option<&Bound<'_, PyMapping>>) -> PyResult<Vec<(String, Payload)>> {
    let member = |item: Bound<'_, PyAny>| {
        let (key, value): (String, Bound<'_, PyAny>) = item.extract()?;
        Ok((key, written(&value)?))
    };
    meta.map_or_else(|| Ok(Vec::new()), |meta| meta.items()?.iter().map(member).collect())
}

/// A small value, written down here and now.
fn written(value: &Bound<'_, PyAny>) -> PyResult<Payload> {
    let text = json_text(value, &TransferPolicy::default())?;
    if !text.is_checked() {
        return Err(PyTypeError::new_err("a buffer is not taken here: pass a mapping"));
    }
    text.join().into_py_result(value.py())
}

async fn opened(arguments: Option<JsonText>) -> Result<Arguments> {
    let Some(arguments) = arguments else { return Ok(Arguments::none()) };
    let is_checked = arguments.is_checked();
    let text = arguments.open().await?;
    Ok(if is_checked && is_object(&text) { Arguments::Checked(text) } else { Arguments::Unchecked(text) })
}

/// Whether JSON that was written here is an object.
fn is_object(text: &Payload) -> bool {
    text.clone().into_frames().next().is_some_and(|frame| frame.first() == Some(&b'{'))
}

async fn opened_params(members: Vec<(String, JsonText)>) -> Result<Params> {
    let mut params = Params::new();
    for (key, text) in members {
        let is_checked = text.is_checked();
        let json = text.open().await?;
        if !is_checked {
            mcpgateway_engine::json::check_payload(&json)?;
        }
        params = params.json(key, json);
    }
    Ok(params)
}

fn deliver(py: Python<'_>, result: ToolResult) -> PyResult<Py<PyAny>> {
    Delivery::of(py, PyToolResult::convert(py, result)?)
}

/// A call of a tool under way.
#[pyclass(name = "ToolCalling", module = "mcpgateway_rust._native", frozen)]
struct NativeCalling {
    stage: Arc<Mutex<Stage>>,
    finish: Finish,
    generation: u64,
}

enum Stage {
    Ready(Box<(McpServer, String, Option<JsonText>, CallOptions)>),
    Running(Box<ToolCalling>),
    Closed,
}

#[pymethods]
impl NativeCalling {
    /// The next step: `("notification", method, params)`, `("asked", request, None)` or `("result", result, None)`.
    fn step(&self, py: Python<'_>, blocking: bool) -> PyResult<Py<PyAny>> {
        let (stage, is_ours) = (Arc::clone(&self.stage), self.generation == generation());
        let finish = self.finish.clone();
        let stepping = async move {
            if !is_ours {
                let subject = "this call was begun by the parent of this process: begin it again here";
                return Err(Error::new(ErrorKind::Forked, subject));
            }
            let step = stage.lock().await.next().await?;
            match step {
                ToolStep::Result(result) => finish.apply(result).await.map(ToolStep::Result),
                step => Ok(step),
            }
        };
        run(py, blocking, stepping, |py, step| {
            let step = match step {
                ToolStep::Notification(notification) => {
                    let params = notification.params.map(|params| PyNode::convert(py, params)).transpose()?;
                    ("notification", notification.method, params).into_pyobject(py)?
                }
                ToolStep::Asked(asked) => {
                    ("asked", Py::new(py, PyAsked(asked))?, py.None()).into_pyobject(py)?
                }
                ToolStep::Result(result) => {
                    ("result", PyToolResult::convert(py, result)?, py.None()).into_pyobject(py)?
                }
            };
            Delivery::of(py, step.into_any().unbind())
        })
    }

    /// Answer what the server asked.
    fn answer(
        &self,
        py: Python<'_>,
        blocking: bool,
        asked: &Bound<'_, PyAsked>,
        result: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        guard(py, || {
            let (stage, asked) = (Arc::clone(&self.stage), asked.get().0.clone());
            let text = json_text(result, &TransferPolicy::default())?;
            let answering = async move {
                let result = opened(Some(text)).await?.into_json().await?;
                stage.lock().await.running()?.answer(&asked, result).await
            };
            run(py, blocking, answering, |py, ()| Ok(py.None()))
        })
    }

    /// Refuse what the server asked.
    fn refuse(
        &self,
        py: Python<'_>,
        blocking: bool,
        asked: &Bound<'_, PyAsked>,
        code: i64,
        why: String,
    ) -> PyResult<Py<PyAny>> {
        let (stage, asked) = (Arc::clone(&self.stage), asked.get().0.clone());
        let refusing = async move { stage.lock().await.running()?.refuse(&asked, code, &why).await };
        run(py, blocking, refusing, |py, ()| Ok(py.None()))
    }

    /// Give the call up, if it is not over.
    fn close(&self) {
        if self.generation == generation()
            && let Ok(mut stage) = self.stage.try_lock()
        {
            *stage = Stage::Closed;
        }
    }
}

impl Stage {
    async fn next(&mut self) -> Result<ToolStep> {
        if let Self::Ready(_) = self
            && let Self::Ready(ready) = std::mem::replace(self, Self::Closed)
        {
            let (server, name, arguments, options) = *ready;
            let calling = server.begin_tool(&name, opened(arguments).await?, options).await?;
            *self = Self::Running(Box::new(calling));
        }
        self.running()?.next().await
    }

    fn running(&mut self) -> Result<&mut ToolCalling> {
        match self {
            Self::Running(calling) => Ok(calling),
            _ => Err(Error::new(ErrorKind::Closed, "this call is not under way")),
        }
    }
}

/// A request of the server's.
#[pyclass(name = "ServerRequest", module = "mcpgateway_rust.services.tool_service", frozen)]
struct PyAsked(Asked);

#[pymethods]
impl PyAsked {
    /// What is asked, such as `elicitation/create`.
    #[getter]
    fn method(&self) -> &str {
        &self.0.method
    }

    /// With which parameters.
    #[getter]
    fn params(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.params.clone().map(|params| PyNode::convert(py, params)).transpose()
    }
}

/// A tool as its server describes it.
#[pyclass(name = "Tool", module = "mcpgateway_rust.services.tool_service", frozen)]
struct PyTool(Tool);

#[pymethods]
impl PyTool {
    /// What it is called by.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    #[getter]
    fn description(&self) -> Option<String> {
        text_of(self.0.node.get("description"))
    }

    /// What its arguments have to be.
    #[getter]
    fn input_schema(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.node.get("inputSchema").map(|schema| PyNode::convert(py, schema)).transpose()
    }

    /// What its structured results are.
    #[getter]
    fn output_schema(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.node.get("outputSchema").map(|schema| PyNode::convert(py, schema)).transpose()
    }

    /// All that the server says of it.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        PyNode::convert(py, self.0.node.clone())
    }

    fn __repr__(&self) -> String {
        format!("<Tool {:?}>", self.0.name)
    }
}

fn text_of(node: Option<Node>) -> Option<String> {
    node.and_then(|node| node.text().map(std::borrow::Cow::into_owned))
}

/// What a tool answered.
#[pyclass(name = "ToolResult", module = "mcpgateway_rust.services.tool_service", frozen)]
struct PyToolResult(ToolResult);

impl PyToolResult {
    fn convert(py: Python<'_>, result: ToolResult) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(result))?.into_any())
    }
}

#[pymethods]
impl PyToolResult {
    /// The pieces of its content.
    #[getter]
    fn content(&self, py: Python<'_>) -> PyResult<Vec<Py<PyContent>>> {
        let content = py.detach(|| self.0.content());
        content.into_iter().map(|content| Py::new(py, PyContent(content))).collect()
    }

    /// What the tool gives as data; nothing is built of it.
    #[getter]
    fn structured(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.structured().map(|node| PyNode::convert(py, node)).transpose()
    }

    /// What the filter made of it.
    #[getter]
    fn selected(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.selected().cloned().map(|node| PyNode::convert(py, node)).transpose()
    }

    /// Whether the tool failed.
    #[getter]
    fn is_error(&self) -> bool {
        self.0.is_error()
    }

    /// The whole result; None of a reply that is not JSON.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.node().map(|node| PyNode::convert(py, node)).transpose()
    }

    /// The agent's reply, if an agent was called.
    #[getter]
    fn reply(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.reply().cloned().map(|reply| AgentReply::convert(py, reply)).transpose()
    }

    /// The text of all pieces that are texts, one after the other.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let texts = py.detach(|| {
            let texts = self.0.content().into_iter().filter(|content| content.kind() == ContentKind::Text);
            texts.filter_map(|content| content.text()).collect::<String>()
        });
        PyString::new(py, &texts)
    }

    /// The status of the HTTP reply.
    #[getter]
    fn status(&self) -> u16 {
        self.0.status()
    }

    /// How the message was received.
    #[getter]
    fn transfer(&self) -> PyTransfer {
        self.0.received().into()
    }

    fn __repr__(&self) -> String {
        let error = if self.0.is_error() { ", an error" } else { "" };
        format!("<ToolResult, {} bytes{error}>", self.0.received().len)
    }
}

/// A piece of the content of a result.
#[pyclass(name = "Content", module = "mcpgateway_rust.services.tool_service", frozen)]
struct PyContent(Content);

#[pymethods]
impl PyContent {
    /// Its kind: `"text"`, `"image"`, `"audio"`, `"resource_link"`, `"resource"` or another.
    #[getter]
    fn r#type(&self) -> Option<String> {
        self.0.type_name().map(std::borrow::Cow::into_owned)
    }

    /// The text of a text, or of a resource that is one.
    #[getter]
    fn text(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.0.text())
    }

    /// Its bytes: a text as UTF-8, all else decoded from base64.
    fn payload(&self, py: Python<'_>) -> PyResult<PyPayload> {
        guard(py, || py.detach(|| self.0.payload()).into_py_result(py).map(PyPayload::new))
    }

    /// Await its bytes, made on a thread of their own.
    fn payload_async(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        run(py, false, self.0.clone().open(), |py, payload| {
            Ok(Py::new(py, PyPayload::new(payload))?.into_any())
        })
    }

    /// Of what type its bytes are.
    #[getter]
    fn mime_type(&self) -> Option<String> {
        self.0.field("mimeType")
    }

    /// The address of a resource.
    #[getter]
    fn uri(&self) -> Option<String> {
        self.0.field("uri")
    }

    /// The address that it leads to, if it is a link.
    #[getter]
    fn link(&self) -> Option<String> {
        self.0.target()
    }

    /// The name of a resource.
    #[getter]
    fn name(&self) -> Option<String> {
        self.0.field("name")
    }

    /// All of it, as an MCP server says it.
    #[getter]
    fn node(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.node().cloned().map(|node| PyNode::convert(py, node)).transpose()
    }

    fn __repr__(&self) -> String {
        format!("<Content {:?}>", self.0.type_name().as_deref().unwrap_or_default())
    }
}

/// Add this service to the native module.
///
/// # Errors
/// `MemoryError` when there is no memory for it.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeToolServer>()?;
    module.add_class::<NativeCalling>()?;
    module.add_class::<NativeRest>()?;
    module.add_function(wrap_pyfunction!(agent::call_agent, module)?)?;
    module.add_class::<PyFinish>()?;
    module.add_class::<PyAsked>()?;
    module.add_class::<PyTool>()?;
    module.add_class::<PyToolResult>()?;
    module.add_class::<PyContent>()
}
