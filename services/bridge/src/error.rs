//! One match from the engine's errors to the classes of `mcpgateway_rust.exceptions`.

use mcpgateway_engine::{Error, ErrorKind, Response, Result};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::document::PyNode;
use crate::response::PyResponse;

/// Turn a result of the engine into one of Python.
pub trait IntoPyResult<T> {
    /// The same result, its error as a Python exception.
    ///
    /// # Errors
    /// The error that was there.
    fn into_py_result(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> IntoPyResult<T> for Result<T> {
    fn into_py_result(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_py_err(py, &error))
    }
}

/// The Python exception for `error`.
#[must_use]
pub fn to_py_err(py: Python<'_>, error: &Error) -> PyErr {
    // What Python code of the caller raised is what the caller hears of.
    if let Some(own) = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<PyErr>()) {
        return own.clone_ref(py);
    }
    if let ErrorKind::Status(response) = error.kind() {
        return status_error(py, error, response);
    }
    raise(py, class_of(error.kind()), &error.to_string(), |details| {
        details.set_item("phase", error.phase().map(mcpgateway_engine::Phase::as_str))?;
        details.set_item("sent", error.sent().as_str())?;
        details.set_item("retryable", error.is_retryable())?;
        match error.kind() {
            ErrorKind::Timeout { name, after } => {
                details.set_item("timeout", name)?;
                details.set_item("seconds", after.as_secs_f64())
            }
            ErrorKind::LimitExceeded { name, limit, got } => {
                details.set_item("limit", name)?;
                details.set_item("value", limit)?;
                details.set_item("got", got)
            }
            ErrorKind::Json(place) => {
                details.set_item("line", place.line)?;
                details.set_item("column", place.column)?;
                details.set_item("offset", place.offset)?;
                details.set_item("pointer", &place.pointer)
            }
            ErrorKind::NotFound { pointer, step } => {
                details.set_item("pointer", pointer)?;
                details.set_item("step", step)
            }
            ErrorKind::Rpc(rpc) => {
                details.set_item("code", rpc.code)?;
                details.set_item("peer_message", &rpc.message)?;
                let data = rpc.data.clone().map(|data| PyNode::convert(py, data)).transpose()?;
                details.set_item("data", data)
            }
            ErrorKind::BudgetExceeded { name, limit, asked } => {
                details.set_item("limit", name)?;
                details.set_item("value", limit)?;
                details.set_item("got", asked)
            }
            _ => Ok(()),
        }
    })
}

/// An `HTTPStatusError`, which holds `response`.
fn status_error(py: Python<'_>, error: &Error, response: &Response) -> PyErr {
    raise(py, "HTTPStatusError", &error.to_string(), |details| {
        details.set_item("response", PyResponse::convert(py, response.clone())?)
    })
}

/// An `UnsupportedBuffer`, whose message says what to pass instead.
pub(crate) fn unsupported_buffer(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "UnsupportedBuffer", message, |details| details.set_item("sent", "no"))
}

/// An `EventLoopError`, whose message says what to await instead.
pub(crate) fn would_block_the_loop(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "EventLoopError", message, |details| details.set_item("sent", "yes"))
}

fn class_of(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Connect => "ConnectError",
        ErrorKind::AddressRefused => "AddressRefused",
        ErrorKind::Tls => "TlsError",
        ErrorKind::ConnectionLost => "ConnectionLost",
        ErrorKind::SessionExpired => "SessionExpired",
        ErrorKind::IncompleteBody => "IncompleteBody",
        ErrorKind::Timeout { .. } => "GatewayTimeout",
        ErrorKind::LimitExceeded { .. } => "LimitExceeded",
        ErrorKind::InvalidRequest => "InvalidRequest",
        ErrorKind::InvalidReply => "InvalidReply",
        ErrorKind::Json(_) => "JsonError",
        ErrorKind::Rpc(rpc) => rpc.name,
        ErrorKind::Status(_) => "HTTPStatusError",
        ErrorKind::WrongKind => "WrongKind",
        ErrorKind::InvalidPointer => "InvalidPointer",
        ErrorKind::NotFound { .. } => "PointerError",
        ErrorKind::Conflict => "EditConflict",
        ErrorKind::Protocol => "ProtocolError",
        ErrorKind::PayloadMutated => "PayloadMutated",
        ErrorKind::QuotaExceeded | ErrorKind::BudgetExceeded { .. } => "QuotaExceeded",
        ErrorKind::PayloadGone => "PayloadGone",
        ErrorKind::Denied => "Denied",
        ErrorKind::InvalidReference => "InvalidReference",
        ErrorKind::InvalidOption => "InvalidOption",
        ErrorKind::Unsupported => "Unsupported",
        ErrorKind::File => "FileError",
        ErrorKind::ResourceChanged => "ResourceChanged",
        ErrorKind::Forked => "ForkedError",
        ErrorKind::Cancelled => "Cancelled",
        ErrorKind::Closed => "ClientClosed",
        _ => "InternalError",
    }
}

/// Make an exception of `class` with the attributes that `describe` sets.
fn raise(
    py: Python<'_>,
    class: &str,
    message: &str,
    describe: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let made = exceptions(py).and_then(|module| {
        let details = PyDict::new(py);
        describe(&details)?;
        module.getattr(class)?.call((message,), Some(&details))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The class of `mcpgateway_rust.exceptions` with that name.
pub(crate) fn exceptions(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        PyModule::import(py, "mcpgateway_rust.exceptions").map(Bound::unbind).map_err(|cause| {
            let error = PyImportError::new_err(
                "mcpgateway_rust.exceptions is part of this package: install it again",
            );
            error.set_cause(py, Some(cause));
            error
        })
    })?;
    Ok(module.bind(py))
}
