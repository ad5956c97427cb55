//! The body of a request on its way to the socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3Default;

use super::progress::{Progress, Stage};
use super::transport::Lane;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::{Frames, Payload, Transfer};

/// Parts of a streamed body that may wait to be sent; a producer that is faster has to wait.
const PARTS_IN_FLIGHT: usize = 4;

/// What a body under way still has to send. The connection takes from it, and the call can take all of
/// it back at any time: a connection in a task of its own lives on after its call, and must not keep the
/// caller's buffer.
struct Lease<T>(Arc<Mutex<Option<T>>>);

impl<T> Lease<T> {
    fn new(rest: T) -> Self {
        Self(Arc::new(Mutex::new(Some(rest))))
    }

    fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The call's side of a body under way: dropped, it ends the sending and lets go of the buffer.
pub(super) struct Upload {
    _end: Option<Box<dyn EndOnDrop>>,
}

trait EndOnDrop: Send + Sync {}

struct End<T>(Lease<T>);

impl<T: Send> EndOnDrop for End<T> {}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        let rest = self.0.lock().take();
        drop(rest);
    }
}

impl Upload {
    /// Nothing to send.
    pub(super) fn none() -> Self {
        Self { _end: None }
    }

    fn of<T: Send + 'static>(lease: &Lease<T>) -> Self {
        Self { _end: Some(Box::new(End(lease.share()))) }
    }
}

/// The body of a request.
pub(super) enum RequestBody {
    Empty,
    Payload(PayloadBody),
    Streamed(StreamedBody),
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Payload(body) => Pin::new(body).poll_frame(context),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Payload(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Payload(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// Frames of a payload, counted and, if asked for, hashed as they leave.
pub(super) struct PayloadBody {
    frames: Lease<Frames>,
    remaining: u64,
    /// A connection that may outlive the call is given copies of a borrowed buffer, made in a small window
    /// that stays in the cache; `None` where frames are lent, or ours anyway.
    window: Option<BytesMut>,
    progress: Arc<Progress>,
    /// Boxed: the state of the hash is larger than all else, and bodies are moved often.
    hash: Option<Box<(Xxh3Default, Arc<SentChecksum>)>>,
}

/// The checksum of what was sent, once all of it was.
#[derive(Debug, Default)]
pub(super) struct SentChecksum(AtomicU64);

impl SentChecksum {
    /// What [`get`](Self::get) says as long as not all is sent.
    pub(super) const NOT_YET: u64 = 0;

    /// The XXH3 of all bytes sent, once the last has left.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl PayloadBody {
    /// The body of `payload` for `lane`, and what ends it.
    pub(super) fn new(
        payload: Payload,
        lane: Lane,
        progress: &Arc<Progress>,
        checksum: Option<Arc<SentChecksum>>,
    ) -> (Self, Upload) {
        let is_copied = lane == Lane::Pooled && payload.decision().transfer != Transfer::Copy;
        let remaining = payload.len();
        let frames = Lease::new(payload.into_frames());
        let upload = Upload::of(&frames);
        let body = Self {
            frames,
            remaining,
            window: is_copied.then(BytesMut::new),
            progress: Arc::clone(progress),
            hash: checksum.map(|sum| Box::new((Xxh3Default::new(), sum))),
        };
        (body, upload)
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>> {
        if self.progress.stage() == Stage::Connecting {
            crate::fault::point("send::first_frame");
            self.progress.enter(Stage::Sending);
        }
        crate::fault::point("send::frame");
        let Some(frame) = self.take_frame()? else {
            return Ok(None);
        };
        self.remaining -= frame.len() as u64;
        self.progress.count_sent(frame.len());
        if let Some(hash) = &mut self.hash {
            hash.0.update(&frame);
        }
        if self.remaining == 0 {
            self.progress.enter(Stage::Waiting);
            if let Some(hash) = &self.hash {
                hash.1.0.store(hash.0.digest(), Relaxed);
            }
        }
        Ok(Some(frame))
    }

    /// The next frame, if the call has not taken the rest back.
    fn take_frame(&mut self) -> Result<Option<Bytes>> {
        let mut frames = self.frames.lock();
        let frames = frames.as_mut().ok_or_else(not_wanted)?;
        let Some(window) = &mut self.window else {
            return Ok(frames.next());
        };
        Ok(frames.next().map(|frame| {
            window.extend_from_slice(&frame);
            // Once it is sent, its memory goes back to the window.
            window.split().freeze()
        }))
    }
}

impl http_body::Body for PayloadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = caught(|| this.next_frame());
        Poll::Ready(frame.map(|frame| frame.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

/// The sending half of a streamed body. Once the head of the reply has been returned, parts are taken as the
/// reply is read. Dropped before [`finish`](Self::finish), it fails the
/// request, so that half a body is never taken for a whole one.
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<Option<Bytes>>);

impl BodySender {
    /// Hand over the next part; waits while the socket is slower.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the request is over; its own result says why.
    pub async fn send(&self, part: Bytes) -> Result<()> {
        self.0.send(Some(part)).await.map_err(|_| request_is_over())
    }

    /// The body is complete.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the request is over; its own result says why.
    pub async fn finish(&self) -> Result<()> {
        self.0.send(None).await.map_err(|_| request_is_over())
    }
}

/// The parts of a body that is made while it is sent.
pub(super) struct StreamedBody {
    parts: Lease<mpsc::Receiver<Option<Bytes>>>,
    progress: Arc<Progress>,
    complete: bool,
}

/// The receiving half of a streamed body, before it is sent.
#[derive(Debug)]
pub(super) struct Parts(mpsc::Receiver<Option<Bytes>>);

pub(super) fn channel() -> (BodySender, Parts) {
    let (sender, parts) = mpsc::channel(PARTS_IN_FLIGHT);
    (BodySender(sender), Parts(parts))
}

impl StreamedBody {
    /// The body of `parts`, and what ends it.
    pub(super) fn new(parts: Parts, progress: &Arc<Progress>) -> (Self, Upload) {
        let parts = Lease::new(parts.0);
        let upload = Upload::of(&parts);
        (Self { parts, progress: Arc::clone(progress), complete: false }, upload)
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        crate::fault::point("send::stream");
        if self.progress.stage() == Stage::Connecting {
            // The head may leave from now on, even if no part of the body is there yet.
            self.progress.enter(Stage::Sending);
        }
        let mut parts = self.parts.lock();
        let Some(parts) = parts.as_mut() else {
            return Poll::Ready(Some(Err(not_wanted())));
        };
        parts.poll_recv(context).map(|part| match part {
            Some(Some(part)) => {
                self.progress.count_sent(part.len());
                Some(Ok(part))
            }
            Some(None) => {
                self.progress.enter(Stage::Waiting);
                None
            }
            None => Some(Err(Error::new(ErrorKind::Cancelled, "the source of the request's body failed"))),
        })
    }
}

impl http_body::Body for StreamedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.complete {
            return Poll::Ready(None);
        }
        let polled = caught(|| Ok(this.poll_part(context)));
        let part = std::task::ready!(polled.unwrap_or_else(|panic| Poll::Ready(Some(Err(panic)))));
        this.complete = part.is_none();
        Poll::Ready(part.map(|part| part.map(Frame::data)))
    }
}

/// What `poll` returns, or its panic as an error: hyper polls it, and a panic there would look like a lost
/// connection or end the connection's task.
fn caught<T>(poll: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
}

fn not_wanted() -> Error {
    Error::new(ErrorKind::Cancelled, "the reply is complete, the rest of the request is not wanted")
}

fn request_is_over() -> Error {
    Error::new(ErrorKind::Cancelled, "the request is over, no more of its body can be sent")
}
