//! The one tokio runtime of this process.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mcpgateway_shm::PerProcess;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

static RUNTIME: PerProcess<Running> = PerProcess::new();

/// I/O threads. One large stream gains nothing from a second thread, and on few cores a second one
/// takes time from the caller: `benches/results/` has both.
const WORKERS: usize = 1;

struct Running {
    handle: Handle,
    /// Taken by [`shutdown`].
    runtime: Mutex<Option<Runtime>>,
}

/// Run `future` on the I/O threads. A forked child gets a runtime of its own on its first call.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`] when the system gives this process no more threads.
pub fn spawn<F>(future: F) -> Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(RUNTIME.get_or_try_init(start)?.handle.spawn(future))
}

/// Cancel all that runs, and wait for its end, at most as long as `patience`.
///
/// What is spawned afterwards is cancelled at once.
pub fn shutdown(patience: Duration) {
    let Some(running) = RUNTIME.get() else { return };
    let runtime = running.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(patience);
    }
}

/// Run `work`, which may take long or block, on a thread made for that. Call it within the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::Cancelled, "the runtime is shutting down")),
    }
}

fn start() -> Result<Running> {
    let no_threads =
        |cause| Error::new(ErrorKind::QuotaExceeded, "starting the I/O threads").with_source(cause);
    let mut builder = Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(WORKERS)
        .thread_name("mcpgateway-io")
        .enable_all()
        .build()
        .map_err(no_threads)?;
    Ok(Running { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
}
