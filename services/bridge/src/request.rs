//! The options of a call, read from keyword arguments.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcpgateway_engine::http::{
    Body, BodySender, Destination, Guard, HeaderMap, Limits, Mutation, Progress, Request, Timeouts,
    parse_headers,
};
use mcpgateway_engine::{Error, ErrorKind, TransferPolicy};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

use crate::awaitable::{Pending, awaitable};
use crate::buffer::{PyBody, writable};
use crate::error::IntoPyResult;
use crate::payload::{PyPayload, default_policy, parse_mutation};

/// The keyword arguments of a call: `headers`, `body`, `timeouts`, `limits`, `mutation`, `into`,
/// `to_file`, `progress`, `guard` and `from_peer`.
#[derive(Default)]
pub struct RequestOptions {
    headers: Option<HeaderMap>,
    body: Body,
    timeouts: Option<Timeouts>,
    limits: Option<Limits>,
    mutation: Mutation,
    destination: Destination,
    progress: Option<Arc<Progress>>,
    guard: Option<Guard>,
    from_peer: bool,
}

/// What may be set for a call whose body is not the caller's own.
pub struct CallSettings {
    /// Beside the client's.
    pub headers: Option<HeaderMap>,
    /// Instead of the client's.
    pub timeouts: Option<Timeouts>,
    /// Instead of the client's.
    pub limits: Option<Limits>,
    /// Counts the bytes while the call runs.
    pub progress: Option<Arc<Progress>>,
}

impl RequestOptions {
    /// Read and check `options`.
    ///
    /// # Errors
    /// `TypeError` or `ValueError` that names the option and says what to pass instead.
    pub fn from_python(options: Option<&Bound<'_, PyDict>>, policy: &TransferPolicy) -> PyResult<Self> {
        let mut read = Self::default();
        for (name, value) in options.into_iter().flatten() {
            if !value.is_none() {
                read.set(name.cast::<PyString>()?.to_str()?, &value, policy)?;
            }
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>, policy: &TransferPolicy) -> PyResult<()> {
        match name {
            "headers" => self.headers = Some(headers_from(value)?),
            "body" => self.set_body(value, policy)?,
            "timeouts" => self.timeouts = Some(timeouts_from(value)?),
            "limits" => self.limits = Some(limits_from(value)?),
            // A payload may bring its own rule, which the default must not undo.
            "mutation" => {
                let mutation = parse_mutation(value.extract()?)?;
                self.mutation = if mutation == Mutation::Borrow { self.mutation } else { mutation };
            }
            "into" => self.set_destination(Destination::Into(writable(value)?))?,
            "to_file" => self.set_destination(Destination::File(value.extract::<PathBuf>()?))?,
            "progress" => self.progress = Some(Arc::clone(&value.cast::<PyProgress>()?.get().0)),
            "guard" => self.guard = Some(guard_from(value)?),
            "from_peer" => self.from_peer = value.extract()?,
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "unknown option {name:?}: there are headers, body, timeouts, limits, mutation, into, to_file, \
                     progress, guard, from_peer"
                )));
            }
        }
        Ok(())
    }

    fn set_body(&mut self, value: &Bound<'_, PyAny>, policy: &TransferPolicy) -> PyResult<()> {
        if let Ok(stream) = value.cast::<BodyStream>() {
            self.body = stream.get().take(value.py())?;
            return Ok(());
        }
        if let Ok(payload) = value.cast::<PyPayload>()
            && payload.get().mutation() != Mutation::Borrow
        {
            self.mutation = payload.get().mutation();
        }
        self.body = PyBody::from_python(value, policy)?.into_body();
        Ok(())
    }

    fn set_destination(&mut self, destination: Destination) -> PyResult<()> {
        if !matches!(self.destination, Destination::Memory) {
            return Err(PyTypeError::new_err("pass into or to_file, not both"));
        }
        self.destination = destination;
        Ok(())
    }

    /// Refuse the options that belong to one call alone.
    ///
    /// # Errors
    /// `TypeError` that names them.
    pub fn for_many(self) -> PyResult<Self> {
        if self.progress.is_some() || !matches!(self.destination, Destination::Memory) {
            return Err(PyTypeError::new_err(
                "into, to_file and progress belong to one call: leave them out here",
            ));
        }
        Ok(self)
    }

    /// What of these options holds for a call whose body is not the caller's own.
    ///
    /// # Errors
    /// `TypeError` that names the options which make no sense for one.
    pub fn into_call(self) -> PyResult<CallSettings> {
        let is_own = matches!(self.body, Body::Empty) && self.mutation == Mutation::Borrow;
        if !is_own || !matches!(self.destination, Destination::Memory) {
            return Err(PyTypeError::new_err(
                "body, mutation, into and to_file belong to plain requests: leave them out here",
            ));
        }
        if self.guard.is_some() || self.from_peer {
            return Err(PyTypeError::new_err(
                "guard and from_peer are not for one call here: pass the guard to the client",
            ));
        }
        let Self { headers, timeouts, limits, progress, .. } = self;
        Ok(CallSettings { headers, timeouts, limits, progress })
    }

    /// Refuse the options of calls whose reply is handed to the caller as it is: here it is read.
    ///
    /// # Errors
    /// `TypeError` that names them.
    pub fn for_exchange(self) -> PyResult<Self> {
        if matches!((&self.destination, &self.body), (Destination::Memory, Body::Empty)) {
            return Ok(self);
        }
        Err(PyTypeError::new_err(
            "body, into and to_file are not for calls that read the reply: leave them out",
        ))
    }

    /// The request that these options make.
    ///
    /// # Errors
    /// `InvalidRequest` when method or URL are none.
    pub fn into_request(self, py: Python<'_>, method: &str, url: &str) -> PyResult<Request> {
        let mut request = Request::new(method, url)
            .into_py_result(py)?
            .body(self.body)
            .mutation(self.mutation)
            .timeouts(self.timeouts)
            .limits(self.limits)
            .guard(self.guard)
            .destination(self.destination);
        if self.from_peer {
            request = request.from_peer();
        }
        if let Some(headers) = self.headers {
            request = request.headers(headers);
        }
        if let Some(progress) = self.progress {
            request = request.progress(progress);
        }
        Ok(request)
    }
}

/// Headers from a mapping of str, or from pairs of str.
///
/// # Errors
/// `TypeError` for anything else, `InvalidRequest` for what cannot be sent.
pub fn headers_from(value: &Bound<'_, PyAny>) -> PyResult<HeaderMap> {
    let pairs = match value.cast::<PyMapping>() {
        Ok(mapping) => match value.getattr_opt("multi_items")? {
            Some(multi_items) => multi_items.call0()?,
            None => mapping.items()?.into_any(),
        },
        Err(_) => value.clone(),
    };
    // Without what was passed: it may be a secret.
    let not_text =
        |_| PyTypeError::new_err("headers are a mapping or pairs of str, such as {\"name\": \"value\"}");
    let pairs = pairs.try_iter().map_err(not_text)?;
    let pairs = pairs
        .map(|pair| pair?.extract::<(String, String)>().map_err(not_text))
        .collect::<PyResult<Vec<_>>>()?;
    parse_headers(pairs.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
        .into_py_result(value.py())
}

/// `Timeouts` of the package: seconds, or `None` where a phase has no limit of its own.
///
/// # Errors
/// `TypeError` for anything else, `ValueError` for what is no time.
pub fn timeouts_from(value: &Bound<'_, PyAny>) -> PyResult<Timeouts> {
    let seconds = |name: &str| -> PyResult<Option<Duration>> {
        attribute(value, name, "Timeouts")?
            .extract::<Option<f64>>()?
            .map(|seconds| duration(name, seconds))
            .transpose()
    };
    let total =
        seconds("total")?.ok_or_else(|| PyValueError::new_err("total is always set: pass seconds"))?;
    Ok(Timeouts {
        connect: seconds("connect")?,
        first_byte: seconds("first_byte")?,
        idle: seconds("idle")?,
        total,
    })
}

fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    // A year, so that deadlines can be added up.
    const MOST: f64 = 365.0 * 24.0 * 3600.0;
    if seconds > 0.0 && seconds <= MOST {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(PyValueError::new_err(format!(
            "{name}={seconds}: pass seconds above 0 and at most a year, or None"
        )))
    }
}

/// `Limits` of the package.
///
/// # Errors
/// `TypeError` for anything else.
pub fn limits_from(value: &Bound<'_, PyAny>) -> PyResult<Limits> {
    Ok(Limits {
        max_response_bytes: attribute(value, "max_response_bytes", "Limits")?.extract()?,
        max_header_bytes: attribute(value, "max_header_bytes", "Limits")?.extract()?,
        max_headers: attribute(value, "max_headers", "Limits")?.extract()?,
        max_decoded_ratio: attribute(value, "max_decoded_ratio", "Limits")?.extract()?,
        max_event_bytes: attribute(value, "max_event_bytes", "Limits")?.extract()?,
    })
}

/// `Guard` of the package.
///
/// # Errors
/// `TypeError` for anything else, `InvalidRequest` for an entry that is none.
pub fn guard_from(value: &Bound<'_, PyAny>) -> PyResult<Guard> {
    let entries = |name| attribute(value, name, "Guard")?.extract::<Vec<String>>();
    let (allow, deny) = (entries("allow")?, entries("deny")?);
    let guard = Guard::new(allow.iter().map(String::as_str), deny.iter().map(String::as_str));
    let guard = guard.into_py_result(value.py())?;
    let only_from_peers: bool = attribute(value, "only_from_peers", "Guard")?.extract()?;
    Ok(if only_from_peers { guard.only_from_peers() } else { guard })
}

/// An attribute of one of the package's option classes.
///
/// # Errors
/// `TypeError` when `value` is none of `class`.
pub fn attribute<'py>(value: &Bound<'py, PyAny>, name: &str, class: &str) -> PyResult<Bound<'py, PyAny>> {
    value.getattr(name).map_err(|_| {
        let kind = value.get_type();
        PyTypeError::new_err(format!("{kind} is no {class}: pass mcpgateway_rust.{class}({name}=...)"))
    })
}

/// How far a call has come; may be read from any thread while it runs.
#[pyclass(name = "Progress", module = "mcpgateway_rust", frozen)]
#[derive(Default)]
pub struct PyProgress(Arc<Progress>);

impl PyProgress {
    /// What counts.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.0)
    }
}

#[pymethods]
impl PyProgress {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Bytes of the request handed to the connection.
    #[getter]
    fn sent(&self) -> u64 {
        self.0.sent()
    }

    /// Bytes of the reply received.
    #[getter]
    fn received(&self) -> u64 {
        self.0.received()
    }

    /// Bytes of the request, if known.
    #[getter]
    fn total_send(&self) -> Option<u64> {
        self.0.total_send()
    }

    /// Bytes of the reply, if announced.
    #[getter]
    fn total_receive(&self) -> Option<u64> {
        self.0.total_receive()
    }

    fn __repr__(&self) -> String {
        let of = |total: Option<u64>| total.map_or("?".to_owned(), |total| total.to_string());
        let (sent, received) = (self.0.sent(), self.0.received());
        format!(
            "<Progress sent {sent} of {}, received {received} of {}>",
            of(self.0.total_send()),
            of(self.0.total_receive())
        )
    }
}

/// The receiving half of a body that is made while it is sent.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
pub struct BodyStream(Mutex<Option<Body>>);

impl BodyStream {
    fn take(&self, py: Python<'_>) -> PyResult<Body> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        body.ok_or_else(|| {
            Error::new(ErrorKind::InvalidRequest, "this stream was sent already: make another one")
        })
        .into_py_result(py)
    }
}

/// The sending half of a body that is made while it is sent.
#[pyclass(module = "mcpgateway_rust._native", frozen)]
pub struct BodyWriter(Mutex<Option<Arc<BodySender>>>);

/// A body that is made while it is sent: `(writer, stream)`.
#[pyfunction]
#[must_use]
pub fn body_stream() -> (BodyWriter, BodyStream) {
    let (sender, body) = Body::streamed();
    (BodyWriter(Mutex::new(Some(Arc::new(sender)))), BodyStream(Mutex::new(Some(body))))
}

impl BodyWriter {
    fn sender(&self, py: Python<'_>) -> PyResult<Arc<BodySender>> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.ok_or_else(|| Error::new(ErrorKind::Cancelled, "this body was given up")).into_py_result(py)
    }
}

async fn send_part(
    sender: Arc<BodySender>,
    part: mcpgateway_engine::Payload,
) -> mcpgateway_engine::Result<()> {
    for frame in part.into_frames() {
        sender.send(frame).await?;
    }
    Ok(())
}

#[pymethods]
impl BodyWriter {
    /// Send the next part; waits while the socket is slower.
    fn send<'py>(&self, py: Python<'py>, part: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let part = PyBody::from_python(part, &default_policy(py)?)?.into_payload(py)?;
        awaitable(py, send_part(self.sender(py)?, part), |py, ()| Ok(py.None()))
    }

    /// As `send`, for threads that may block.
    fn send_blocking(&self, py: Python<'_>, part: &Bound<'_, PyAny>) -> PyResult<()> {
        let part = PyBody::from_python(part, &default_policy(py)?)?.into_payload(py)?;
        Pending::start(py, send_part(self.sender(py)?, part))?.wait(py)
    }

    /// The body is complete.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let sender = self.sender(py)?;
        awaitable(py, async move { sender.finish().await }, |py, ()| Ok(py.None()))
    }

    /// As `finish`, for threads that may block.
    fn finish_blocking(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.sender(py)?;
        Pending::start(py, async move { sender.finish().await })?.wait(py)
    }

    /// Give the body up: the request fails, so that half a body is never taken for a whole one.
    fn abandon(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
