//! How a Rust future becomes an awaitable of asyncio, or a blocking call. The only file that knows.
//!
//! The future runs on the I/O threads, which never wait for the GIL. When it is done, its result is
//! put into the queue of its event loop, and the loop is woken through a socket that it watches: one
//! wake-up serves all results that are there by then.

use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcpgateway_engine::runtime::AbortHandle;
use mcpgateway_engine::{Error, ErrorKind, Result, runtime};
use mcpgateway_shm::{PerProcess, generation};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use pyo3::{IntoPyObjectExt, intern};

use crate::buffer;
use crate::error::IntoPyResult;
use crate::interpreter::guard;

/// How often a blocking call looks for Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);
/// How long a cancelled call may take to let go of its buffers before its caller goes on.
const LET_GO: Duration = Duration::from_secs(1);

/// Makes the Python object of a result, once Python is there to make it.
pub type Convert<T> = fn(Python<'_>, T) -> PyResult<Py<PyAny>>;

/// An awaitable for `future`, whose value is made by `convert` on the event loop.
///
/// Cancelling it drops `future`, and with it everything it holds.
///
/// # Errors
/// `RuntimeError` when no event loop is running on this thread.
pub fn awaitable<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: Convert<T>,
) -> PyResult<Bound<'_, PyAny>> {
    let event_loop = EventLoop::running(py)?;
    let handle = new_future(py, &event_loop)?;
    let waiting = handle.clone().unbind();
    let future = runtime::catch_panic(future);
    let task = runtime::spawn(async move {
        let result = future.await;
        let resolve =
            Box::new(move |py: Python<'_>| result.into_py_result(py).and_then(|value| convert(py, value)));
        event_loop.complete(Completion { waiting, resolve });
    });
    let abort = Abort(task.into_py_result(py)?);
    handle.setattr(intern!(py, "_abort"), abort)?;
    Ok(handle)
}

/// An awaitable for `future`, or, if `blocking`, its value, waited for without the GIL.
///
/// # Errors
/// As for [`awaitable`], or what `future` returned.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    blocking: bool,
    future: impl Future<Output = Result<T>> + Send + 'static,
    convert: Convert<T>,
) -> PyResult<Py<PyAny>> {
    guard(py, || {
        if blocking {
            let value = Pending::start(py, future)?.wait(py)?;
            return convert(py, value);
        }
        awaitable(py, future, convert).map(Bound::unbind)
    })
}

/// An `asyncio.Future` of `event_loop` that tells us when it is cancelled.
fn new_future<'py>(py: Python<'py>, event_loop: &EventLoop) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || {
        py.import("mcpgateway_rust._future")?.getattr("NativeFuture").map(Bound::unbind)
    })?;
    let arguments = PyDict::new(py);
    arguments.set_item(intern!(py, "loop"), &event_loop.python)?;
    class.bind(py).call((), Some(&arguments))
}

/// Whether an event loop runs on this thread.
pub(crate) fn is_loop_running(py: Python<'_>) -> PyResult<bool> {
    // Where nobody has imported it, no loop can be running.
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let Ok(asyncio) = modules.get_item(intern!(py, "asyncio")) else { return Ok(false) };
    Ok(!asyncio.call_method0(intern!(py, "_get_running_loop"))?.is_none())
}

/// Called by a future that is cancelled.
#[pyclass(frozen)]
struct Abort(AbortHandle);

#[pymethods]
impl Abort {
    fn __call__(&self) {
        self.0.abort();
    }
}

/// An event loop and the results that wait for it.
struct EventLoop {
    python: Py<PyAny>,
    completed: Mutex<Vec<Completion>>,
    /// Our end of the socket that the loop watches.
    waker: UnixStream,
}

struct Completion {
    waiting: Py<PyAny>,
    resolve: Resolve,
}

/// Makes the Python object of a result that is there.
type Resolve = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

impl EventLoop {
    /// The loop that runs on this thread, known to us from now on.
    fn running(py: Python<'_>) -> PyResult<Arc<Self>> {
        static KNOWN: PerProcess<Mutex<Vec<Arc<EventLoop>>>> = PerProcess::new();
        static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let get_running_loop = GET_RUNNING_LOOP
            .get_or_try_init(py, || py.import("asyncio")?.getattr("get_running_loop").map(Bound::unbind))?;
        let python = get_running_loop.bind(py).call0()?;
        let known = KNOWN.get_or_init(Mutex::default);
        if let Some(found) = lock(known).iter().find(|known| known.python.is(&python)) {
            return Ok(Arc::clone(found));
        }
        let made = Self::watch(py, &python)?;
        // Loops that are closed are asked one by one, without the lock: asking runs Python code.
        let others = lock(known).clone();
        let closed: Vec<_> = others.into_iter().filter(|other| other.is_closed(py)).collect();
        let mut known = lock(known);
        known.retain(|other| !closed.iter().any(|closed| Arc::ptr_eq(closed, other)));
        known.push(Arc::clone(&made));
        Ok(made)
    }

    fn watch(py: Python<'_>, python: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let descriptor = woken.as_raw_fd();
        let made = Arc::new(Self { python: python.clone().unbind(), completed: Mutex::default(), waker });
        let drain = Drain { event_loop: Arc::clone(&made), woken, generation: generation() };
        python.call_method1(intern!(py, "add_reader"), (descriptor, drain.into_py_any(py)?))?;
        Ok(made)
    }

    fn is_closed(&self, py: Python<'_>) -> bool {
        self.python
            .call_method0(py, intern!(py, "is_closed"))
            .and_then(|closed| closed.is_truthy(py))
            .unwrap_or(true)
    }

    /// Hand over a result. Wakes the loop unless an earlier result has done so already.
    fn complete(&self, completion: Completion) {
        let mut completed = lock(&self.completed);
        completed.push(completion);
        if completed.len() == 1 {
            // A closed loop watches no more: its results are dropped with it. A full socket is one
            // that will wake the loop anyway.
            let _ = (&self.waker).write(&[1]);
        }
    }
}

/// What an event loop calls when there are results for it.
#[pyclass(frozen)]
struct Drain {
    event_loop: Arc<EventLoop>,
    woken: UnixStream,
    generation: u64,
}

#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if self.generation != generation() {
            // A forked child runs its parent's loop: the results, and the bytes that announce them,
            // are the parent's.
            return Ok(());
        }
        let _ = (&self.woken).read(&mut [0; 16]);
        buffer::release_dropped(py);
        let completed = std::mem::take(&mut *lock(&self.event_loop.completed));
        completed.into_iter().try_for_each(|completion| completion.deliver(py))
    }
}

impl Completion {
    fn deliver(self, py: Python<'_>) -> PyResult<()> {
        let waiting = self.waiting.bind(py);
        if waiting.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        match guard(py, || (self.resolve)(py)) {
            Ok(value) => waiting.call_method1(intern!(py, "set_result"), (value,))?,
            Err(error) => waiting.call_method1(intern!(py, "set_exception"), (error,))?,
        };
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A future that runs already, and that a thread may wait for.
pub struct Pending<T> {
    result: Mutex<Receiver<Result<T>>>,
    abort: AbortHandle,
    generation: u64,
}

impl<T: Send + 'static> Pending<T> {
    /// Start `future` on the I/O threads.
    ///
    /// # Errors
    /// `QuotaExceeded` when the system gives this process no more threads.
    pub fn start(py: Python<'_>, future: impl Future<Output = Result<T>> + Send + 'static) -> PyResult<Self> {
        let (sender, result) = channel();
        let future = runtime::catch_panic(future);
        let task = runtime::spawn(async move {
            let result = future.await;
            // Nobody waits any more: then nobody misses it.
            let _ = sender.send(result);
        });
        Ok(Self { result: Mutex::new(result), abort: task.into_py_result(py)?, generation: generation() })
    }

    /// Wait for the result without the GIL; a signal such as Ctrl-C ends the wait and the call.
    ///
    /// # Errors
    /// What the future returned, or what a signal handler raised.
    pub fn wait(&self, py: Python<'_>) -> PyResult<T> {
        if self.generation != generation() {
            let subject = "this call was begun by the parent of this process: begin it again here";
            return Err(Error::new(ErrorKind::Forked, subject)).into_py_result(py);
        }
        loop {
            match self.receive(py, SIGNAL_CHECK) {
                Ok(result) => {
                    buffer::release_dropped(py);
                    return result.into_py_result(py);
                }
                Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| self.abandon(py))?,
                Err(RecvTimeoutError::Disconnected) => {
                    let subject = "the call was cancelled: the interpreter is ending";
                    return Err(Error::new(ErrorKind::Cancelled, subject)).into_py_result(py);
                }
            }
        }
    }

    /// Cancel the call, and wait until it has let go of its buffers.
    pub fn abandon(&self, py: Python<'_>) {
        self.abort.abort();
        let _ = self.receive(py, LET_GO);
        buffer::release_dropped(py);
    }

    fn receive(&self, py: Python<'_>, patience: Duration) -> Result<Result<T>, RecvTimeoutError> {
        py.detach(|| lock(&self.result).recv_timeout(patience))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            self.abort.abort();
        }
    }
}
