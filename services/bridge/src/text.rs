//! Buffers of Python objects as text that never changes, which is what a JSON document is made of.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use mcpgateway_engine::{Payload, Result, Transfer, TransferPolicy, runtime};
use pyo3::prelude::*;

use crate::awaitable::Pending;
use crate::buffer::{PyBody, is_immutable, release_dropped};
use crate::error::IntoPyResult;
use crate::payload::PyPayload;

/// Texts below this many bytes are read in place of the call: handing them to a thread would cost more.
pub(crate) const IN_PLACE_BELOW: u64 = 64 << 10;

/// Texts from this many bytes on are read by another thread, while this one looks for signals: they take tens of
/// milliseconds or more.
const PATIENCE: u64 = 16 << 20;

/// A text, which may still have to be gathered or copied.
pub(crate) struct Text {
    body: PyBody,
    /// Whether its bytes may change while they are read, so that they have to be copied before.
    may_change: bool,
}

impl Text {
    /// The text in the buffer of `object`.
    ///
    /// # Errors
    /// `UnsupportedBuffer` when it has none.
    pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(payload) = object.cast::<PyPayload>() {
            // A rope is gathered at most once, whoever looks at it.
            let whole = payload.get().whole(object.py())?.clone();
            let may_change = !payload.get().is_stable();
            return Ok(Self { body: PyBody::Ready(whole.into()), may_change });
        }
        let body = PyBody::from_python(object, &TransferPolicy::default())?;
        let may_change = match &body {
            PyBody::Ready(payload) => payload.decision().transfer != Transfer::Copy && !is_immutable(object),
            PyBody::Strided(_) => false,
        };
        Ok(Self { body, may_change })
    }

    /// Whether it is short enough to be read in place of the call.
    pub(crate) fn is_short(&self) -> bool {
        matches!(&self.body, PyBody::Ready(payload) if payload.len() < IN_PLACE_BELOW)
    }

    /// The bytes, in one piece, which never change. May take long.
    pub(crate) fn into_bytes(self) -> Result<Bytes> {
        let payload = self.body.gather()?;
        if self.may_change {
            return payload.to_copy("buffer, copied: it may change while it is read")?.into_bytes();
        }
        payload.into_bytes()
    }

    /// Run `work` on the bytes: in place if they are few, else without the GIL. Where it may take so long that
    /// somebody loses patience, a signal such as Ctrl-C ends the wait, and sets the flag that `work` looks at.
    ///
    /// # Errors
    /// What `work` returns, `QuotaExceeded` when there is no memory for a copy, or what a signal handler raised.
    pub(crate) fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        work: impl FnOnce(Bytes, &AtomicBool) -> Result<T> + Send + 'static,
    ) -> PyResult<T> {
        let never = AtomicBool::new(false);
        if self.is_short() {
            return self.into_bytes().and_then(|text| work(text, &never)).into_py_result(py);
        }
        if self.len() < PATIENCE {
            let done = py.detach(|| self.into_bytes().and_then(|text| work(text, &never)));
            release_dropped(py);
            return done.into_py_result(py);
        }
        let working = async move {
            runtime::blocking_until_dropped(move |dropped| work(self.into_bytes()?, dropped)).await?
        };
        Pending::start(py, working)?.wait(py)
    }

    /// Bytes of the text.
    fn len(&self) -> u64 {
        match &self.body {
            PyBody::Ready(payload) => payload.len(),
            PyBody::Strided(strided) => strided.len(),
        }
    }
}

impl From<Payload> for Text {
    fn from(payload: Payload) -> Self {
        Self { body: PyBody::Ready(payload), may_change: false }
    }
}
