//! The interpreter's beginning and end, and panics on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcpgateway_engine::{Error, runtime};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::buffer;
use crate::error::to_py_err;

/// How long calls in flight may take to notice the end of the interpreter.
const PATIENCE: Duration = Duration::from_secs(2);

static EXITING: AtomicBool = AtomicBool::new(false);

/// Refuse sub-interpreters, and see to a clean end of this one.
///
/// # Errors
/// `ImportError` in a sub-interpreter.
pub fn prepare_interpreter(py: Python<'_>) -> PyResult<()> {
    if !is_main_interpreter() {
        return Err(PyImportError::new_err(
            "mcpgateway_rust cannot be imported into a sub-interpreter: its buffers and callbacks belong to the main one",
        ));
    }
    mcpgateway_engine::fault::arm();
    let at_exit = wrap_pyfunction!(end_calls, py)?;
    py.import("atexit")?.call_method1("register", (at_exit,))?;
    Ok(())
}

fn is_main_interpreter() -> bool {
    // SAFETY: the caller is attached to an interpreter.
    let this = unsafe { pyo3::ffi::PyInterpreterState_Get() };
    // SAFETY: always safe once Python is initialised.
    let main = unsafe { pyo3::ffi::PyInterpreterState_Main() };
    this == main
}

/// Cancel the calls in flight, so that nothing touches Python once it is gone.
#[pyfunction]
fn end_calls(py: Python<'_>) {
    py.detach(|| runtime::shutdown(PATIENCE));
    buffer::release_dropped(py);
    EXITING.store(true, Ordering::SeqCst);
}

/// Whether the interpreter is ending: from then on, what is Python's is left alone.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Run an entry point; a panic in it becomes an `InternalError` instead of a `PanicException`, which
/// `except Exception` would miss.
///
/// # Errors
/// What `entry` returns, or `InternalError`.
pub fn guard<T>(py: Python<'_>, entry: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(entry))
        .unwrap_or_else(|panic| Err(to_py_err(py, &Error::from_panic(panic.as_ref()))))
}
