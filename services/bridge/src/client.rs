//! The client as the Python package wraps it.

use std::path::PathBuf;

use mcpgateway_engine::http::{Coding, Http2, Retry, Trust};
use mcpgateway_engine::{Client, ClientOptions, Response};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::awaitable::{Pending, awaitable};
use crate::error::IntoPyResult;
use crate::interpreter::guard;
use crate::payload::{PyTransferPolicy, default_policy};
use crate::request::{RequestOptions, attribute, guard_from, headers_from, limits_from, timeouts_from};
use crate::response::{PyResponse, PyStreamingResponse, Streamed};
use crate::spool::PySpool;

/// A pool of connections and the rules by which requests use them.
#[pyclass(name = "Client", module = "mcpgateway_rust._native", frozen)]
pub struct NativeClient(Client);

impl NativeClient {
    /// The engine's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0
    }
}

/// The client that is used where none is given: all options at their defaults.
///
/// # Errors
/// As for [`Client::new`].
pub fn shared_client(py: Python<'_>) -> PyResult<Client> {
    Client::shared().cloned().into_py_result(py)
}

#[pymethods]
impl NativeClient {
    #[new]
    #[pyo3(signature = (**options))]
    fn new(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        guard(py, || {
            let options = client_options(py, options)?;
            // Reading the system's certificates takes milliseconds.
            py.detach(|| Client::new(options)).into_py_result(py).map(Self)
        })
    }

    /// Await the whole reply to a request.
    #[pyo3(signature = (method, url, **options))]
    fn request<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        url: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let request = self.read_options(options)?.into_request(py, method, url)?;
            let client = self.0.clone();
            awaitable(py, async move { client.send(request).await }, PyResponse::deliver)
        })
    }

    /// Begin a request whose reply is waited for by a thread.
    #[pyo3(signature = (method, url, **options))]
    fn start(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PendingResponse> {
        guard(py, || {
            let request = self.read_options(options)?.into_request(py, method, url)?;
            let client = self.0.clone();
            Pending::start(py, async move { client.send(request).await }).map(PendingResponse)
        })
    }

    /// Await the head of the reply to a request.
    #[pyo3(signature = (method, url, **options))]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        url: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let request = self.read_options(options)?.into_request(py, method, url)?;
            awaitable(py, streamed(self.0.clone(), request), PyStreamingResponse::convert)
        })
    }

    /// Begin a request, the head of whose reply is waited for by a thread.
    #[pyo3(signature = (method, url, **options))]
    fn start_stream(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PendingStream> {
        guard(py, || {
            let request = self.read_options(options)?.into_request(py, method, url)?;
            Pending::start(py, streamed(self.0.clone(), request)).map(PendingStream)
        })
    }

    /// Refuse further requests.
    fn close(&self) {
        self.0.close();
    }
}

impl NativeClient {
    /// Read the options of a call, by this client's policy.
    ///
    /// # Errors
    /// As for [`RequestOptions::from_python`].
    pub fn read_options(&self, options: Option<&Bound<'_, PyDict>>) -> PyResult<RequestOptions> {
        RequestOptions::from_python(options, &self.0.options().policy)
    }
}

async fn streamed(
    client: Client,
    request: mcpgateway_engine::Request,
) -> mcpgateway_engine::Result<Streamed> {
    Ok((client.stream(request).await?, client.options().clone()))
}

/// A reply that is on its way.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
pub struct PendingResponse(Pending<Response>);

#[pymethods]
impl PendingResponse {
    /// Wait for it without the GIL.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        guard(py, || PyResponse::convert(py, self.0.wait(py)?))
    }

    /// Cancel it, and wait until it has let go of its buffers.
    fn abandon(&self, py: Python<'_>) {
        self.0.abandon(py);
    }
}

/// A streaming reply that is on its way.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
pub struct PendingStream(Pending<Streamed>);

#[pymethods]
impl PendingStream {
    /// Wait for its head without the GIL.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        guard(py, || PyStreamingResponse::convert(py, self.0.wait(py)?))
    }

    /// Cancel it, and wait until it has let go of its buffers.
    fn abandon(&self, py: Python<'_>) {
        self.0.abandon(py);
    }
}

fn client_options(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<ClientOptions> {
    let mut options = ClientOptions { policy: default_policy(py)?, ..ClientOptions::default() };
    for (name, value) in given.into_iter().flatten() {
        if !value.is_none() {
            set_option(&mut options, name.cast::<PyString>()?.to_str()?, &value)?;
        }
    }
    Ok(options)
}

fn set_option(options: &mut ClientOptions, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match name {
        "timeouts" => options.timeouts = timeouts_from(value)?,
        "limits" => options.limits = limits_from(value)?,
        "retry" => {
            options.retry = Retry {
                attempts: attribute(value, "attempts", "Retry")?.extract()?,
                non_idempotent: attribute(value, "non_idempotent", "Retry")?.extract()?,
            };
        }
        "policy" => options.policy = value.cast::<PyTransferPolicy>()?.get().0,
        "headers" => options.headers = headers_from(value)?,
        "http2" => options.http2 = http2_from(value.extract()?)?,
        "verify" => options.trust = trust_from(value)?,
        "cert" => options.identity = identity_from(value)?,
        "proxy" => options.proxy = Some(value.extract()?),
        "trust_env" => options.trust_env = value.extract()?,
        "follow_redirects" => options.follow_redirects = value.extract()?,
        "guard" => options.guard = Some(guard_from(value)?),
        "spool" => options.spool = Some(value.cast::<PySpool>()?.get().spool().clone()),
        "accept_encoding" => {
            let names: Vec<String> = value.extract()?;
            let codings: mcpgateway_engine::Result<_> =
                names.iter().map(|name| Coding::from_name(name)).collect();
            options.accept_encoding = codings.into_py_result(value.py())?;
        }
        _ => {
            return Err(PyTypeError::new_err(format!(
                "unknown option {name:?}: there are timeouts, limits, retry, policy, headers, http2, verify, cert, proxy, \
                 trust_env, follow_redirects, accept_encoding, spool, guard"
            )));
        }
    }
    Ok(())
}

fn http2_from(name: &str) -> PyResult<Http2> {
    match name {
        "auto" => Ok(Http2::Auto),
        "never" => Ok(Http2::Never),
        "always" => Ok(Http2::Always),
        _ => Err(PyValueError::new_err(format!("http2={name:?}: pass \"auto\", \"never\" or \"always\""))),
    }
}

fn trust_from(value: &Bound<'_, PyAny>) -> PyResult<Trust> {
    match value.extract::<bool>() {
        Ok(true) => Ok(Trust::System),
        Ok(false) => Ok(Trust::Anyone),
        Err(_) => Ok(Trust::Authorities(value.extract::<PathBuf>()?)),
    }
}

/// One path, or a pair of paths.
fn identity_from(value: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    match value.extract::<PathBuf>() {
        Ok(path) => Ok(vec![path]),
        Err(_) => value.extract::<Vec<PathBuf>>(),
    }
}
