//! Bearer tokens of a Python callable.

use std::sync::{Arc, Mutex, PoisonError};

use mcpgateway_engine::{Error, ErrorKind, Result, runtime};
use pyo3::intern;
use pyo3::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::core::{TokenFuture, TokenSource};

/// Gives the tokens of a Python callable, which is called on a thread that may wait for it. It returns a token, or a
/// `concurrent.futures.Future` of one: no thread waits for that, and it is cancelled with the call that wants it.
pub(super) struct PyTokenSource(Arc<Py<PyAny>>);

impl PyTokenSource {
    pub(super) fn new(callable: Py<PyAny>) -> Self {
        Self(Arc::new(callable))
    }
}

impl TokenSource for PyTokenSource {
    fn token(&self) -> TokenFuture {
        let callable = Arc::clone(&self.0);
        Box::pin(async move {
            let (teller, told) = oneshot::channel();
            let call = move || Python::attach(|py| call(py, &callable, teller).map_err(refused));
            match runtime::blocking(call).await?? {
                Given::Token(token) => Ok(token),
                Given::Promise(mut promise) => {
                    let token = told.await;
                    promise.0 = None;
                    token.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Cancelled, "the event loop that gives the token is gone"))
                    })
                }
            }
        })
    }
}

/// What the callable returned.
enum Given {
    Token(String),
    Promise(Promise),
}

fn call(py: Python<'_>, callable: &Py<PyAny>, teller: Teller) -> PyResult<Given> {
    let given = callable.bind(py).call0()?;
    let Ok(add_done_callback) = given.getattr(intern!(py, "add_done_callback")) else {
        return given.extract().map(Given::Token);
    };
    add_done_callback.call1((Tell(Mutex::new(Some(teller))),))?;
    Ok(Given::Promise(Promise(Some(given.unbind()))))
}

/// The error of the callable, which its caller is given as it is.
fn refused(cause: PyErr) -> Error {
    Error::invalid_request("the token could not be had").with_source(cause)
}

type Teller = oneshot::Sender<Result<String>>;

/// Called with the future when it is done.
#[pyclass(frozen)]
struct Tell(Mutex<Option<Teller>>);

#[pymethods]
impl Tell {
    fn __call__(&self, future: &Bound<'_, PyAny>) {
        let token = future.call_method0("result").and_then(|token| token.extract::<String>());
        if let Some(teller) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody waits any more: then nobody misses it.
            let _ = teller.send(token.map_err(refused));
        }
    }
}

/// A future of Python's that is cancelled when nobody waits for it any more; `None` once it is done.
struct Promise(Option<Py<PyAny>>);

impl Drop for Promise {
    fn drop(&mut self) {
        // Threads of ours that run tasks do not wait for the GIL.
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || {
                // What it would raise is the business of nobody who is left.
                Python::attach(|py| future.call_method0(py, intern!(py, "cancel")).map(drop)).ok()
            });
        }
    }
}
