//! The binding: convert, call, convert.

mod agent;
mod message;
mod reply;
mod token;

pub use agent::NativeAgent;
pub use message::{part_of, strictest};
pub use reply::AgentReply;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use mcpgateway_bridge::{
    IntoPyResult, NativeClient, Pending, PyBody, PyResponse, RequestOptions, awaitable, guard, shared_client,
    to_py_err,
};
use mcpgateway_engine::{Client, Error, ErrorKind, Result};
use mcpgateway_shm::generation;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::Mutex;

use crate::core::{self, Order, Reply};
use crate::serve::Server;

/// How often the server looks for Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);
/// Results handed to Python at a time: bounds how long making their objects holds the GIL.
const RESULTS_AT_ONCE: usize = 512;

/// Invoke an agent and return its JSON reply (ADR-041, section 4).
#[pyfunction]
#[pyo3(signature = (url, method, headers_json, body = None))]
fn invoke_agent<'py>(
    py: Python<'py>,
    url: &str,
    method: &str,
    headers_json: &str,
    body: Option<&Bound<'py, PyAny>>,
) -> PyResult<String> {
    guard(py, || {
        let client = shared_client(py)?;
        let body = body.map(|body| PyBody::from_python(body, &client.options().policy)).transpose()?;
        let body = body.map(PyBody::into_body).unwrap_or_default();
        let request =
            core::request_with_json_headers(method, url, headers_json).into_py_result(py)?.body(body);
        let reply =
            Pending::start(py, async move { core::invoke_agent(&client, request).await })?.wait(py)?;
        let text = py.detach(|| core::json_reply(&reply));
        PyResponse::raise_for_status_of(py, reply)?;
        text.into_py_result(py)
    })
}

/// Await the reply of an agent.
#[pyfunction]
#[pyo3(signature = (client, method, url, **options))]
fn invoke_agent_async<'py>(
    py: Python<'py>,
    client: Option<&Bound<'py, NativeClient>>,
    method: &str,
    url: &str,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(py, || {
        let client = given_or_shared(py, client)?;
        let request =
            RequestOptions::from_python(options, &client.options().policy)?.into_request(py, method, url)?;
        awaitable(py, async move { core::invoke_agent(&client, request).await }, PyResponse::deliver)
    })
}

fn given_or_shared(py: Python<'_>, client: Option<&Bound<'_, NativeClient>>) -> PyResult<Client> {
    client.map_or_else(|| shared_client(py), |client| Ok(client.get().client().clone()))
}

/// Begin to invoke an agent with each of `bodies`.
#[pyfunction]
#[pyo3(signature = (client, method, url, bodies, concurrency, order, **options))]
#[expect(clippy::too_many_arguments, reason = "the Python wrapper names and defaults them")]
fn invoke_many(
    py: Python<'_>,
    client: Option<&Bound<'_, NativeClient>>,
    method: &str,
    url: &str,
    bodies: &Bound<'_, PyAny>,
    concurrency: i64,
    order: &str,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<NativeBatch> {
    guard(py, || {
        let client = given_or_shared(py, client)?;
        let concurrency = usize::try_from(concurrency).ok().and_then(NonZeroUsize::new);
        let concurrency = concurrency.ok_or_else(|| PyValueError::new_err("concurrency: pass at least 1"))?;
        let order = order_from(order)?;
        let policy = client.options().policy;
        let options = RequestOptions::from_python(options, &policy)?.for_many()?;
        let template = options.into_request(py, method, url)?;
        let mut requests = Vec::with_capacity(bodies.len().unwrap_or(0));
        for (index, body) in bodies.try_iter()?.enumerate() {
            let body = PyBody::from_python(&body?, &policy).map_err(|error| at_index(py, &error, index))?;
            requests.push(template.like().body(body.into_body()));
        }
        let len = requests.len();
        let batch = core::invoke_many(&client, requests, concurrency, order).into_py_result(py)?;
        let stopper = batch.stopper();
        Ok(NativeBatch { batch: Arc::new(Mutex::new(batch)), stopper, len, generation: generation() })
    })
}

/// The same error, with the place of the body it is about.
fn at_index(py: Python<'_>, error: &PyErr, index: usize) -> PyErr {
    let message = format!("bodies[{index}]: {}", error.value(py));
    error.get_type(py).call1((message,)).map_or_else(|failed| failed, PyErr::from_value)
}

fn order_from(name: &str) -> PyResult<Order> {
    match name {
        "input" => Ok(Order::Input),
        "completion" => Ok(Order::Completion),
        _ => Err(PyValueError::new_err(format!("order={name:?}: pass \"input\" or \"completion\""))),
    }
}

/// Calls under way.
#[pyclass(name = "Batch", module = "mcpgateway_rust._native", frozen)]
struct NativeBatch {
    batch: Arc<Mutex<core::Batch>>,
    stopper: core::Stopper,
    len: usize,
    generation: u64,
}

type Taken = Vec<(usize, Result<Reply>)>;

impl NativeBatch {
    fn taking(&self, least: usize) -> impl Future<Output = Result<Taken>> + Send + 'static {
        let batch = Arc::clone(&self.batch);
        let is_ours = self.generation == generation();
        async move {
            if !is_ours {
                let subject = "these calls were begun by the parent of this process: begin them again here";
                return Err(Error::new(ErrorKind::Forked, subject));
            }
            Ok(batch.lock().await.take(least, RESULTS_AT_ONCE).await)
        }
    }

    /// Cancel what is left, and wait until it has let go of its buffers.
    fn abandon(&self, py: Python<'_>) {
        if self.generation != generation() {
            return;
        }
        self.stopper.stop();
        let batch = Arc::clone(&self.batch);
        let ending = Pending::start(py, async move {
            batch.lock().await.ended().await;
            Ok(())
        });
        // What interrupted the caller is what the caller hears of.
        let _ = ending.and_then(|ending| ending.wait(py));
    }
}

#[pymethods]
impl NativeBatch {
    /// Await the results that come next, at least `least`: pairs of an index and a `Response` or an
    /// exception.
    #[pyo3(signature = (least = 1))]
    fn atake<'py>(&self, py: Python<'py>, least: usize) -> PyResult<Bound<'py, PyAny>> {
        awaitable(py, self.taking(least), convert_taken)
    }

    /// Wait for the results that come next.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let taken = Pending::start(py, self.taking(1))?.wait(py).inspect_err(|_| self.abandon(py))?;
        convert_taken(py, taken)
    }

    /// Cancel the calls that are not done.
    fn cancel(&self) {
        self.stopper.stop();
    }

    fn __len__(&self) -> usize {
        self.len
    }
}

fn convert_taken(py: Python<'_>, taken: Taken) -> PyResult<Py<PyAny>> {
    let list = PyList::empty(py);
    for (index, result) in taken {
        match result {
            Ok(reply) => list.append((index, PyResponse::convert(py, reply)?))?,
            Err(error) => list.append((index, to_py_err(py, &error).into_value(py)))?,
        }
    }
    Ok(list.into_any().unbind())
}

/// Serve the loopback agent until a signal ends it; `on_ready` is called with its URL.
#[pyfunction]
fn serve(py: Python<'_>, host: &str, port: u16, on_ready: &Bound<'_, PyAny>) -> PyResult<()> {
    let address: SocketAddr = (
        host.parse::<std::net::IpAddr>().map_err(|_| {
            PyValueError::new_err(format!("host={host:?}: pass an IP address such as 127.0.0.1"))
        })?,
        port,
    )
        .into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = py
        .detach(|| runtime.block_on(Server::bind(address)))
        .map_err(|cause| PyOSError::new_err(format!("listening on {address}: {cause}")))?;
    on_ready.call1((server.url(),))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.run(async {
        // Dropped or sent, it means the same.
        let _ = stopped.await;
    }));
    let interrupted = loop {
        py.detach(|| runtime.block_on(async { tokio::time::sleep(SIGNAL_CHECK).await }));
        if let Err(interrupted) = py.check_signals() {
            break interrupted;
        }
    };
    drop(stop);
    py.detach(|| runtime.block_on(serving)).map_err(|cause| PyOSError::new_err(cause.to_string()))?;
    Err(interrupted)
}

/// Add this service to the native module.
///
/// # Errors
/// `MemoryError` when there is no memory for it.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(invoke_agent, module)?)?;
    module.add_function(wrap_pyfunction!(invoke_agent_async, module)?)?;
    module.add_function(wrap_pyfunction!(invoke_many, module)?)?;
    module.add_function(wrap_pyfunction!(serve, module)?)?;
    module.add_class::<NativeAgent>()?;
    module.add_class::<agent::NativeStream>()?;
    module.add_class::<message::PyPart>()?;
    module.add_class::<message::PyMessage>()?;
    module.add_class::<AgentReply>()?;
    module.add_class::<reply::ReplyPart>()?;
    module.add_class::<reply::PyAgentEvent>()?;
    module.add_class::<reply::PyArtifact>()?;
    module.add_class::<reply::PyCollected>()?;
    module.add_class::<NativeBatch>()
}
