//! The one tokio runtime of this process.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::abortable;
use mcpgateway_shm::PerProcess;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};

/// Ends a future that was spawned; nothing is told to whoever waits for it.
pub use futures_util::future::AbortHandle;

static RUNTIME: PerProcess<Running> = PerProcess::new();

/// What is left to be done when the runtime ends may take this long.
const GRACE: Duration = Duration::from_secs(1);

/// One thread does all I/O. One large stream gains nothing from a second thread, and what takes long runs
/// on threads of its own. On two cores, 64 requests of 1 KiB at once took 15 to 20 % less CPU than with a
/// multi-thread runtime of one worker; linking as one unit, adopted with it, has its part in that.
struct Running {
    /// What is to be run. A queue of our own, as each spawn from outside would wake the thread by a
    /// system call: this one wakes it once for a burst, and not at all while it is busy.
    intake: mpsc::UnboundedSender<Task>,
    /// Taken by [`shutdown`].
    thread: Mutex<Option<IoThread>>,
}

struct IoThread {
    /// Dropped, it ends the thread.
    stop: oneshot::Sender<()>,
    ended: std::sync::mpsc::Receiver<()>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Run `future` on the I/O thread until it is done or aborted. A forked child gets a runtime of its own on
/// its first call.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`] when the system gives this process no more threads.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<AbortHandle> {
    let (future, abort) = abortable(future);
    // After the shutdown nobody takes it: it is dropped here, which is its cancellation.
    let _ = RUNTIME.get_or_try_init(start)?.intake.send(Box::pin(async move {
        let _ = future.await;
    }));
    Ok(abort)
}

/// Cancel all that runs, and wait for its end, at most as long as `patience`.
///
/// What is spawned afterwards is cancelled at once.
pub fn shutdown(patience: Duration) {
    let Some(running) = RUNTIME.get() else { return };
    let thread = running.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(IoThread { stop, ended }) = thread {
        drop(stop);
        // Late or not: the caller goes on.
        let _ = ended.recv_timeout(patience);
    }
}

/// `future`, with its panics as errors.
pub fn catch_panic<T, F: Future<Output = Result<T>>>(future: F) -> CatchPanic<F> {
    // Boxed here, so that the kilobytes of its state are moved once.
    CatchPanic(Box::pin(future))
}

/// See [`catch_panic`].
pub struct CatchPanic<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T>>> Future for CatchPanic<F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(Error::from_panic(panic.as_ref()))))
    }
}

/// As [`blocking`], for work that looks, now and then, at a flag that is set when the future is dropped.
///
/// # Errors
/// [`ErrorKind::Cancelled`] when the runtime is shutting down.
pub async fn blocking_until_dropped<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T> {
    let dropped = SetOnDrop::default();
    let flag = Arc::clone(&dropped.0);
    blocking(move || work(&flag)).await
}

#[derive(Default)]
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Run `work`, which may take long or block, on a thread made for that. Call it within the runtime.
///
/// # Errors
/// [`ErrorKind::Cancelled`] when the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::Cancelled, "the runtime is shutting down")),
    }
}

fn start() -> Result<Running> {
    let no_thread =
        |cause| Error::new(ErrorKind::QuotaExceeded, "starting the I/O thread").with_source(cause);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let (intake, mut tasks) = mpsc::unbounded_channel::<Task>();
    let (stop, stopped) = oneshot::channel::<()>();
    let (ending, ended) = std::sync::mpsc::channel();
    let run = move || {
        runtime.spawn(async move {
            while let Some(task) = tasks.recv().await {
                tokio::spawn(task);
            }
        });
        // An error means that the sender is gone: that is the signal.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_timeout(GRACE);
        // Nobody waits any more: then nobody misses it.
        let _ = ending.send(());
    };
    std::thread::Builder::new().name("mcpgateway-io".into()).spawn(run).map_err(no_thread)?;
    Ok(Running { intake, thread: Mutex::new(Some(IoThread { stop, ended })) })
}
