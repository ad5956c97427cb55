//! Replies as Python has them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use mcpgateway_engine::http::{HeaderMap, StreamingResponse, Version};
use mcpgateway_engine::json::{Document, Options};
use mcpgateway_engine::{ClientOptions, Error, ErrorKind, Response, Sent};
use mcpgateway_shm::generation;
use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString};
use tokio::sync::Mutex;

use crate::awaitable::{Pending, awaitable, is_loop_running};
use crate::document::PyDocument;
use crate::error::{exceptions, would_block_the_loop};
use crate::interpreter::guard;
use crate::payload::{PyPayload, PyTransfer};
use crate::text::Text;

/// A complete reply.
#[pyclass(name = "Response", module = "mcpgateway_rust", frozen)]
pub struct PyResponse {
    response: Response,
    body: Py<PyPayload>,
    headers: PyOnceLock<Py<PyAny>>,
    /// The body as JSON, once somebody asked.
    document: Arc<OnceLock<Document>>,
}

impl PyResponse {
    /// The Python object for `response`.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    pub fn convert(py: Python<'_>, response: Response) -> PyResult<Py<PyAny>> {
        let body = Py::new(py, PyPayload::new(response.body.clone()))?;
        Ok(Py::new(py, Self { response, body, headers: PyOnceLock::new(), document: Arc::default() })?
            .into_any())
    }

    /// As [`convert`](Self::convert), for who awaits it.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    pub fn deliver(py: Python<'_>, response: Response) -> PyResult<Py<PyAny>> {
        let response = Self::convert(py, response)?;
        Delivery::of(py, response)
    }

    /// Raise `HTTPStatusError` unless the status of `response` is one of success.
    ///
    /// # Errors
    /// That error, which holds the response.
    pub fn raise_for_status_of(py: Python<'_>, response: Response) -> PyResult<()> {
        if !is_success(response.status) {
            Self::convert(py, response)?.call_method0(py, "raise_for_status")?;
        }
        Ok(())
    }
}

#[pymethods]
impl PyResponse {
    /// The status code.
    #[getter]
    fn status(&self) -> u16 {
        self.response.status
    }

    /// The headers, case-insensitive, repeated names kept.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let made = self.headers.get_or_try_init(py, || python_headers(py, &self.response.headers))?;
        Ok(made.bind(py).clone())
    }

    /// The body; empty if it was received with `into` or `to_file`.
    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyPayload> {
        self.body.clone_ref(py)
    }

    /// The body as text.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let bytes = self.body.get().whole(py)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(PyString::new(py, text)),
            Err(error) => Err(PyUnicodeDecodeError::new_utf8(py, bytes, error)?.into()),
        }
    }

    /// The body as a JSON document.
    fn json(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        guard(py, || {
            if let Some(document) = self.document.get() {
                return PyDocument::convert(py, document.clone());
            }
            let body = Text::from(self.response.body.clone());
            if !body.is_short() && is_loop_running(py)? {
                let message =
                    "reading this much JSON would hold up the event loop: use `await response.document()`";
                return Err(would_block_the_loop(py, message));
            }
            let read = |text, dropped: &AtomicBool| {
                Document::parse_unless(text, &Options::default(), dropped)
                    .map_err(|error| error.with_sent(Sent::Yes))
            };
            let document = body.run(py, read)?;
            PyDocument::convert(py, self.document.get_or_init(|| document).clone())
        })
    }

    /// Await the body as a JSON document, which is read on a thread of its own.
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (read, body) = (Arc::clone(&self.document), self.response.body.clone());
        let reading = async move {
            if let Some(document) = read.get() {
                return Ok(document.clone());
            }
            let document = Document::open(move || body.into_bytes(), Options::default()).await;
            let document = document.map_err(|error| error.with_sent(Sent::Yes))?;
            Ok(read.get_or_init(|| document).clone())
        };
        guard(py, || awaitable(py, reading, PyDocument::convert))
    }

    /// Bytes of the body, decoded; also those received with `into` or `to_file`.
    #[getter]
    fn received(&self) -> u64 {
        self.response.received
    }

    /// How the body of the request was sent.
    #[getter]
    fn transfer(&self) -> PyTransfer {
        PyTransfer(self.response.sent)
    }

    /// `"HTTP/1.1"` or `"HTTP/2"`.
    #[getter]
    fn http_version(&self) -> &'static str {
        version_name(self.response.version)
    }

    /// The URL that answered, without userinfo and query.
    #[getter]
    fn url(&self) -> &str {
        &self.response.url
    }

    /// Whether the status is one of success (200 to 299).
    #[getter]
    fn is_success(&self) -> bool {
        is_success(self.response.status)
    }

    /// Raise `HTTPStatusError` unless the status is one of success; else return this reply.
    fn raise_for_status<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        if slf.get().is_success() {
            return Ok(slf.clone());
        }
        let response = &slf.get().response;
        let message = format!("{} answered with status {}", response.url, response.status);
        let details = PyDict::new(slf.py());
        details.set_item("response", slf)?;
        let exception = exceptions(slf.py())?.getattr("HTTPStatusError")?.call((message,), Some(&details))?;
        Err(PyErr::from_value(exception))
    }

    fn __repr__(&self) -> String {
        format!("<Response {} {}, {} bytes>", self.response.status, self.response.url, self.response.received)
    }
}

/// A reply on its way to who awaits it, to be taken out once.
///
/// asyncio keeps the result of a future until the step that awaited it ends. A reply that is dropped in
/// that step must not be kept with it: its region is what the next reply is received into.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
pub struct Delivery(std::sync::Mutex<Option<Py<PyAny>>>);

impl Delivery {
    /// Something on its way.
    ///
    /// # Errors
    /// `MemoryError` when there is no memory for it.
    pub fn of(py: Python<'_>, object: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self(std::sync::Mutex::new(Some(object))))?.into_any())
    }
}

#[pymethods]
impl Delivery {
    /// The reply; None when it was taken before.
    fn take(&self) -> Option<Py<PyAny>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// A reply whose body is read as it arrives.
#[pyclass(name = "StreamingResponse", module = "mcpgateway_rust", frozen)]
pub struct PyStreamingResponse {
    status: u16,
    headers: HeaderMap,
    version: Version,
    url: String,
    sent: PyTransfer,
    /// `None` once it is read or closed.
    body: Arc<Mutex<Option<StreamingResponse>>>,
    options: ClientOptions,
    generation: u64,
}

impl PyStreamingResponse {
    pub(crate) fn convert(
        py: Python<'_>,
        (response, options): (StreamingResponse, ClientOptions),
    ) -> PyResult<Py<PyAny>> {
        let made = Self {
            status: response.status,
            headers: response.headers.clone(),
            version: response.version,
            url: response.url.clone(),
            sent: PyTransfer(response.sent),
            body: Arc::new(Mutex::new(Some(response))),
            options,
            generation: generation(),
        };
        Ok(Py::new(py, made)?.into_any())
    }

    fn chunk_future(
        &self,
    ) -> impl Future<Output = mcpgateway_engine::Result<Option<bytes::Bytes>>> + Send + 'static {
        let body = Arc::clone(&self.body);
        let forked = self.is_forked();
        async move {
            forked?;
            let mut body = body.lock().await;
            let Some(response) = body.as_mut() else {
                return Ok(None);
            };
            let chunk = response.chunk().await;
            if !matches!(chunk, Ok(Some(_))) {
                // Ended or failed: the connection is let go at once.
                *body = None;
            }
            chunk
        }
    }

    fn read_future(&self) -> impl Future<Output = mcpgateway_engine::Result<Response>> + Send + 'static {
        let body = Arc::clone(&self.body);
        let forked = self.is_forked();
        let options = self.options.clone();
        async move {
            forked?;
            let response = body.lock().await.take();
            let closed = || Error::new(ErrorKind::Closed, "this reply was read or closed already");
            response.ok_or_else(closed)?.read(&options).await
        }
    }

    fn is_forked(&self) -> mcpgateway_engine::Result<()> {
        if self.generation == generation() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forked, "this reply belongs to the parent of this process: ask again here"))
    }
}

fn convert_chunk(py: Python<'_>, chunk: Option<bytes::Bytes>) -> PyResult<Py<PyAny>> {
    match chunk {
        Some(chunk) => Ok(Py::new(py, PyPayload::new(chunk.into()))?.into_any()),
        None => Ok(py.None()),
    }
}

#[pymethods]
impl PyStreamingResponse {
    /// The status code.
    #[getter]
    fn status(&self) -> u16 {
        self.status
    }

    /// The headers, case-insensitive, repeated names kept.
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        python_headers(py, &self.headers)
    }

    /// `"HTTP/1.1"` or `"HTTP/2"`.
    #[getter]
    fn http_version(&self) -> &'static str {
        version_name(self.version)
    }

    /// The URL that answered, without userinfo and query.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// How the body of the request was sent.
    #[getter]
    fn transfer(&self) -> PyTransfer {
        PyTransfer(self.sent.0)
    }

    /// Await the next bytes of the body as they arrive; `None` at its end.
    fn achunk<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        awaitable(py, self.chunk_future(), convert_chunk)
    }

    /// Wait for the next bytes of the body; `None` at its end.
    fn chunk(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let chunk = Pending::start(py, self.chunk_future())?.wait(py)?;
        convert_chunk(py, chunk)
    }

    /// Await all that is left of the body, as a `Response`.
    fn aread<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        awaitable(py, self.read_future(), PyResponse::convert)
    }

    /// Wait for all that is left of the body, as a `Response`.
    fn read(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let response = Pending::start(py, self.read_future())?.wait(py)?;
        PyResponse::convert(py, response)
    }

    /// Let the connection go, whatever is left of the body.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_forked().is_err() {
            return Ok(());
        }
        let body = Arc::clone(&self.body);
        Pending::start(py, async move {
            *body.lock().await = None;
            Ok(())
        })?
        .wait(py)
    }

    fn __repr__(&self) -> String {
        format!("<StreamingResponse {} {}>", self.status, self.url)
    }
}

/// The reply and the options that say how the rest of it is received.
pub(crate) type Streamed = (StreamingResponse, ClientOptions);

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// `mcpgateway_rust.Headers`, from pairs.
fn python_headers(py: Python<'_>, headers: &HeaderMap) -> PyResult<Py<PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS
        .get_or_try_init(py, || py.import("mcpgateway_rust._types")?.getattr("Headers").map(Bound::unbind))?;
    // Header values are bytes; latin-1 shows each as one character (RFC 9110, section 5.5).
    let latin_1 = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect::<String>();
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), latin_1(value.as_bytes())));
    Ok(class.bind(py).call1((PyList::new(py, pairs.collect::<Vec<_>>())?,))?.unbind())
}
