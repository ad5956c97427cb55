//! An agent, and the stream of its events, as the Python clients wrap them.

use std::sync::Arc;

use mcpgateway_bridge::{
    IntoPyResult, NativeClient, Pending, PyDocument, PyNode, RequestOptions, awaitable, guard, json_from,
};
use mcpgateway_engine::http::Mutation;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, TransferPolicy};
use mcpgateway_shm::generation;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::Mutex;

use super::message::draft_from;
use super::reply::{AgentReply, PyAgentEvent, PyCollected};
use super::token::PyTokenSource;
use crate::core::{
    Agent, AgentOptions, AgentStream, Ask, Binding, Params, SendOptions, TaskState, TokenSource, Value,
    Version,
};

/// One agent.
#[pyclass(name = "Agent", module = "mcpgateway_rust._native", frozen)]
pub struct NativeAgent {
    agent: Agent,
    url: String,
    policy: TransferPolicy,
}

/// The result of a call: awaited, or waited for.
fn run<T: Send + 'static>(
    py: Python<'_>,
    blocking: bool,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Bound<'_, PyAny>> {
    if !blocking {
        return awaitable(py, future, convert);
    }
    let result = Pending::start(py, future)?.wait(py)?;
    convert(py, result).map(|converted| converted.into_bound(py))
}

impl NativeAgent {
    /// The agent.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What belongs to this call alone: `token` gives tokens, `options` are those of a request.
    ///
    /// # Errors
    /// `TypeError` or `ValueError` for options that are none, or have no place here.
    pub fn ask(
        &self,
        py: Python<'_>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Ask> {
        let options = RequestOptions::from_python(options, &self.policy)?.for_exchange()?;
        let template = options.into_request(py, "POST", &self.url)?.template();
        let token = token.map(|token| Arc::new(PyTokenSource::new(token)) as Arc<dyn TokenSource>);
        Ok(Ask { template, token })
    }
}

fn given(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Payload>> {
    value.filter(|value| !value.is_none()).map(json_from).transpose()
}

/// `None` for `"auto"`.
fn unless_auto<T>(py: Python<'_>, name: &str, read: impl Fn(&str) -> Result<T>) -> PyResult<Option<T>> {
    (name != "auto").then(|| read(name)).transpose().into_py_result(py)
}

#[pymethods]
impl NativeAgent {
    #[new]
    #[pyo3(signature = (client, url, *, version, binding, tenant, extensions, query, trust_card))]
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    fn new(
        py: Python<'_>,
        client: &Bound<'_, NativeClient>,
        url: String,
        version: &str,
        binding: &str,
        tenant: Option<String>,
        extensions: Vec<String>,
        query: Vec<(String, String)>,
        trust_card: bool,
    ) -> PyResult<Self> {
        let client = client.get().client().clone();
        let policy = client.options().policy;
        let version = unless_auto(py, version, Version::from_name)?;
        let binding = unless_auto(py, binding, Binding::from_name)?;
        let options = AgentOptions { version, binding, tenant, extensions, query, trust_card };
        Ok(Self { agent: Agent::new(client, url.clone(), options), url, policy })
    }

    /// The card of the agent, as a document.
    #[pyo3(signature = (blocking, *, token = None, **options))]
    fn card<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let card = async move { Ok(agent.card(&ask).await?.document().clone()) };
            run(py, blocking, card, PyDocument::convert)
        })
    }

    /// Send a message and receive what comes of it.
    #[pyo3(signature = (
        blocking, message, *, task_id = None, context_id = None, configuration = None, metadata = None, token = None,
        **options
    ))]
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    fn send<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        message: &Bound<'py, PyAny>,
        task_id: Option<String>,
        context_id: Option<String>,
        configuration: Option<&Bound<'py, PyAny>>,
        metadata: Option<&Bound<'py, PyAny>>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (draft, mutation) = draft_from(message)?;
            let (configuration, metadata) = (given(configuration)?, given(metadata)?);
            let with = SendOptions { task_id, context_id, configuration, metadata };
            let (agent, mut ask) = (self.agent.clone(), self.ask(py, token, options)?);
            if mutation != Mutation::Borrow {
                ask.template.mutation = mutation;
            }
            run(py, blocking, async move { agent.send(draft, with, &ask).await }, AgentReply::convert)
        })
    }

    /// Send a message and receive what comes of it as it comes.
    #[pyo3(signature = (
        blocking, message, reattach, *, task_id = None, context_id = None, configuration = None, metadata = None,
        token = None, **options
    ))]
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        message: &Bound<'py, PyAny>,
        reattach: u32,
        task_id: Option<String>,
        context_id: Option<String>,
        configuration: Option<&Bound<'py, PyAny>>,
        metadata: Option<&Bound<'py, PyAny>>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (draft, mutation) = draft_from(message)?;
            let (configuration, metadata) = (given(configuration)?, given(metadata)?);
            let with = SendOptions { task_id, context_id, configuration, metadata };
            let (agent, mut ask) = (self.agent.clone(), self.ask(py, token, options)?);
            if mutation != Mutation::Borrow {
                ask.template.mutation = mutation;
            }
            let opening = async move { agent.stream(draft, with, ask, reattach).await };
            run(py, blocking, opening, NativeStream::convert)
        })
    }

    /// Receive what comes of a task from now on.
    #[pyo3(signature = (blocking, task_id, reattach, *, token = None, **options))]
    fn subscribe<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        reattach: u32,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let opening = async move { agent.subscribe(task_id, ask, reattach).await };
            run(py, blocking, opening, NativeStream::convert)
        })
    }

    /// How a task is.
    #[pyo3(signature = (blocking, task_id, *, history_length = None, token = None, **options))]
    fn get_task<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        history_length: Option<i64>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.get_task(task_id, history_length, &ask).await };
            run(py, blocking, asking, AgentReply::convert)
        })
    }

    /// Give a task up.
    #[pyo3(signature = (blocking, task_id, *, metadata = None, token = None, **options))]
    fn cancel_task<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        metadata: Option<&Bound<'py, PyAny>>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let metadata = given(metadata)?;
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.cancel_task(task_id, metadata, &ask).await };
            run(py, blocking, asking, AgentReply::convert)
        })
    }

    /// Tasks, a page at a time.
    #[pyo3(signature = (
        blocking, *, context_id = None, status = None, page_size = None, page_token = None, history_length = None,
        status_timestamp_after = None, include_artifacts = None, token = None, **options
    ))]
    #[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
    fn list_tasks<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        context_id: Option<String>,
        status: Option<&str>,
        page_size: Option<i64>,
        page_token: Option<String>,
        history_length: Option<i64>,
        status_timestamp_after: Option<String>,
        include_artifacts: Option<bool>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let status = status.map(TaskState::from_name).transpose().into_py_result(py)?;
            let params = Params::default()
                .with("contextId", context_id.map(Value::Text))
                .with("status", status.map(|status| Value::Text(status.modern_name().to_owned())))
                .with("pageSize", page_size.map(Value::Number))
                .with("pageToken", page_token.map(Value::Text))
                .with("historyLength", history_length.map(Value::Number))
                .with("statusTimestampAfter", status_timestamp_after.map(Value::Text))
                .with("includeArtifacts", include_artifacts.map(Value::Bool));
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            run(py, blocking, async move { agent.list_tasks(&params, &ask).await }, AgentReply::convert)
        })
    }

    /// Have the updates of a task pushed.
    #[pyo3(signature = (blocking, task_id, config, *, token = None, **options))]
    fn create_push_config<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        config: &Bound<'py, PyAny>,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let config = json_from(config)?;
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.create_push_config(task_id, config, &ask).await };
            run(py, blocking, asking, PyNode::convert)
        })
    }

    /// Where a task's updates are pushed to.
    #[pyo3(signature = (blocking, task_id, config_id, *, token = None, **options))]
    fn get_push_config<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        config_id: String,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.get_push_config(task_id, config_id, &ask).await };
            run(py, blocking, asking, PyNode::convert)
        })
    }

    /// All places that a task's updates are pushed to.
    #[pyo3(signature = (blocking, task_id, *, token = None, **options))]
    fn list_push_configs<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.list_push_configs(task_id, &ask).await };
            run(py, blocking, asking, |py, configs| {
                let configs: PyResult<Vec<_>> =
                    configs.into_iter().map(|config| PyNode::convert(py, config)).collect();
                Ok(PyList::new(py, configs?)?.into_any().unbind())
            })
        })
    }

    /// Push a task's updates there no more.
    #[pyo3(signature = (blocking, task_id, config_id, *, token = None, **options))]
    fn delete_push_config<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        task_id: String,
        config_id: String,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            let asking = async move { agent.delete_push_config(task_id, config_id, &ask).await };
            run(py, blocking, asking, |py, ()| Ok(py.None()))
        })
    }

    /// The card that not everybody gets.
    #[pyo3(signature = (blocking, *, token = None, **options))]
    fn extended_card<'py>(
        &self,
        py: Python<'py>,
        blocking: bool,
        token: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let (agent, ask) = (self.agent.clone(), self.ask(py, token, options)?);
            run(py, blocking, async move { agent.extended_card(&ask).await }, PyNode::convert)
        })
    }
}

/// The events of an agent.
#[pyclass(name = "AgentStream", module = "mcpgateway_rust._native", frozen)]
pub struct NativeStream {
    /// `None` once it is closed.
    stream: Arc<Mutex<Option<AgentStream>>>,
    generation: u64,
}

impl NativeStream {
    fn convert(py: Python<'_>, stream: AgentStream) -> PyResult<Py<PyAny>> {
        let stream = Arc::new(Mutex::new(Some(stream)));
        Ok(Py::new(py, Self { stream, generation: generation() })?.into_any())
    }

    fn is_forked(&self) -> Result<()> {
        if self.generation == generation() {
            return Ok(());
        }
        let subject = "this stream belongs to the parent of this process: subscribe to the task here";
        Err(Error::new(ErrorKind::Forked, subject))
    }
}

#[pymethods]
impl NativeStream {
    /// The next event; None at the end.
    fn next<'py>(&self, py: Python<'py>, blocking: bool) -> PyResult<Bound<'py, PyAny>> {
        let (stream, forked) = (Arc::clone(&self.stream), self.is_forked());
        let next = async move {
            forked?;
            let mut stream = stream.lock().await;
            let Some(open) = stream.as_mut() else { return Ok(None) };
            let event = open.next().await;
            if !matches!(event, Ok(Some(_))) {
                // Ended or failed: the connection is let go at once.
                *stream = None;
            }
            event
        };
        guard(py, || run(py, blocking, next, PyAgentEvent::convert))
    }

    /// All that is left, with the chunks of artifacts put together.
    fn collect<'py>(&self, py: Python<'py>, blocking: bool) -> PyResult<Bound<'py, PyAny>> {
        let (stream, forked) = (Arc::clone(&self.stream), self.is_forked());
        let collected = async move {
            forked?;
            let closed = || Error::new(ErrorKind::Closed, "this stream was read or closed already");
            let mut open = stream.lock().await.take().ok_or_else(closed)?;
            open.collect().await
        };
        guard(py, || run(py, blocking, collected, PyCollected::convert))
    }

    /// Let the connection go, whatever is still to come.
    fn close(&self, py: Python<'_>) {
        if self.is_forked().is_err() {
            return;
        }
        // Somebody waits for an event: who cancels that lets go as well.
        if let Ok(mut stream) = self.stream.try_lock() {
            let open = stream.take();
            py.detach(|| drop(open));
        }
    }
}
