//! The body of a request on its way to the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3Default;

use super::progress::{Progress, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Frames;

/// Parts of a streamed body that may wait to be sent; a producer that is faster has to wait.
const PARTS_IN_FLIGHT: usize = 4;

/// Frames of a payload, counted and, if asked for, hashed as they leave.
pub(super) struct PayloadBody {
    frames: Frames,
    progress: Arc<Progress>,
    hash: Option<(Xxh3Default, Arc<SentChecksum>)>,
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
    pub(super) fn new(frames: Frames, progress: Arc<Progress>, checksum: Option<Arc<SentChecksum>>) -> Self {
        Self {
            frames,
            progress,
            hash: checksum.map(|sum| (Xxh3Default::new(), sum)),
        }
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        if self.progress.stage() == Stage::Connecting {
            crate::fault::point("send::first_frame");
            self.progress.enter(Stage::Sending);
        }
        crate::fault::point("send::frame");
        let frame = self.frames.next()?;
        self.progress.count_sent(frame.len());
        if let Some((hasher, _)) = &mut self.hash {
            hasher.update(&frame);
        }
        if self.frames.remaining() == 0 {
            self.progress.enter(Stage::Waiting);
            if let Some((hasher, sum)) = &self.hash {
                sum.0.store(hasher.digest(), Relaxed);
            }
        }
        Some(frame)
    }
}

impl http_body::Body for PayloadBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.progress.is_stopped() {
            return Poll::Ready(Some(Err(not_wanted())));
        }
        Poll::Ready(this.next_frame().map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.frames.remaining())
    }
}

/// The sending half of a streamed body. Dropped before [`finish`](Self::finish), it fails the
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
#[derive(Debug)]
pub(super) struct StreamedBody {
    parts: mpsc::Receiver<Option<Bytes>>,
    progress: Option<Arc<Progress>>,
    complete: bool,
}

impl StreamedBody {
    pub(super) fn channel() -> (BodySender, Self) {
        let (sender, parts) = mpsc::channel(PARTS_IN_FLIGHT);
        (
            BodySender(sender),
            Self {
                parts,
                progress: None,
                complete: false,
            },
        )
    }

    pub(super) fn counted_by(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The head may leave from now on, even if no part of the body is there yet.
    fn begin(&self) {
        if let Some(progress) = self
            .progress
            .as_ref()
            .filter(|progress| progress.stage() == Stage::Connecting)
        {
            progress.enter(Stage::Sending);
        }
    }

    fn count(&self, len: usize) {
        if let Some(progress) = &self.progress {
            progress.count_sent(len);
        }
    }

    fn end(&mut self) {
        self.complete = true;
        if let Some(progress) = &self.progress {
            progress.enter(Stage::Waiting);
        }
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
        if this
            .progress
            .as_ref()
            .is_some_and(|progress| progress.is_stopped())
        {
            return Poll::Ready(Some(Err(not_wanted())));
        }
        crate::fault::point("send::stream");
        this.begin();
        this.parts.poll_recv(context).map(|part| match part {
            Some(Some(part)) => {
                this.count(part.len());
                Some(Ok(Frame::data(part)))
            }
            Some(None) => {
                this.end();
                None
            }
            None => Some(Err(Error::new(
                ErrorKind::Cancelled,
                "the source of the request's body failed",
            ))),
        })
    }
}

fn not_wanted() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the reply is complete, the rest of the request is not wanted",
    )
}

fn request_is_over() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the request is over, no more of its body can be sent",
    )
}
