//! How far a call has come: read by the caller, and by the clock that ends a call that stands still.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::options::Timeouts;
use super::transport::Lane;
use crate::error::{Error, ErrorKind, Phase, Sent};

const UNKNOWN: u64 = u64::MAX;

/// The bytes of a call sent and received so far; may be read from any thread while it runs.
#[derive(Debug)]
pub struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    total_send: AtomicU64,
    total_receive: AtomicU64,
    stage: AtomicU8,
    /// The wait for the first byte has the connecting in it.
    waits_for_connection: AtomicBool,
    begun: Instant,
    /// Microseconds from `begun` to the last byte that moved.
    moved: AtomicU64,
}

/// What a call is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// A connection, and nothing of the request has been asked for.
    Connecting,
    /// The socket, to take more of the request.
    Sending,
    /// The head of the reply.
    Waiting,
    /// More of the reply.
    Receiving,
}

impl Stage {
    fn from_u8(stage: u8) -> Self {
        [Self::Connecting, Self::Sending, Self::Waiting, Self::Receiving][usize::from(stage)]
    }

    fn phase(self) -> Phase {
        match self {
            Self::Connecting => Phase::Connect,
            Self::Sending => Phase::Send,
            Self::Waiting => Phase::FirstByte,
            Self::Receiving => Phase::Receive,
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            total_send: AtomicU64::new(UNKNOWN),
            total_receive: AtomicU64::new(UNKNOWN),
            stage: AtomicU8::new(Stage::Connecting as u8),
            waits_for_connection: AtomicBool::new(false),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }
}

impl Progress {
    /// Bytes of the request handed to the connection.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Bytes of the reply received.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes of the request, if known.
    pub fn total_send(&self) -> Option<u64> {
        known(&self.total_send)
    }

    /// Bytes of the reply, if announced.
    pub fn total_receive(&self) -> Option<u64> {
        known(&self.total_receive)
    }

    /// A new attempt begins, with a body of `len` bytes where that is known.
    pub(super) fn begin(&self, len: Option<u64>) {
        self.total_send.store(len.unwrap_or(UNKNOWN), Relaxed);
        self.sent.store(0, Relaxed);
        self.touch();
        self.stage.store(Stage::Connecting as u8, Relaxed);
    }

    /// A new attempt begins that has no body.
    pub(super) fn begin_without_body(&self, lane: Lane) {
        self.begin(Some(0));
        // Nobody asks for the frames of an empty body, so where the connection is out of sight, it is part
        // of the wait.
        self.waits_for_connection.store(lane == Lane::Pooled, Relaxed);
        if lane == Lane::Pooled {
            self.enter(Stage::Waiting);
        }
    }

    /// Bytes of the request were taken by the socket.
    pub(super) fn wrote(&self) {
        let is_all = self.total_send() == Some(0);
        self.enter(if is_all { Stage::Waiting } else { Stage::Sending });
    }

    /// Go on to `stage`, unless a later one has begun: a reply may come while the request is sent.
    pub(super) fn enter(&self, stage: Stage) {
        self.touch();
        self.stage.fetch_max(stage as u8, Relaxed);
    }

    pub(super) fn count_sent(&self, len: usize) {
        self.sent.fetch_add(len as u64, Relaxed);
        self.touch();
    }

    /// The head of a reply is there, which announces `len` bytes if that is known.
    pub fn begin_receiving(&self, len: Option<u64>) {
        self.total_receive.store(len.unwrap_or(UNKNOWN), Relaxed);
        self.enter(Stage::Receiving);
    }

    /// Bytes of the reply arrived.
    pub fn count_received(&self, len: usize) {
        self.received.fetch_add(len as u64, Relaxed);
        self.touch();
    }

    pub(super) fn stage(&self) -> Stage {
        Stage::from_u8(self.stage.load(Relaxed))
    }

    /// What can be said of the request when the call fails now.
    pub(super) fn sent_so_far(&self) -> Sent {
        match self.stage() {
            Stage::Connecting => Sent::No,
            Stage::Sending | Stage::Waiting => Sent::Unknown,
            Stage::Receiving => Sent::Yes,
        }
    }

    /// Start the clock of the idle timeout again.
    pub(super) fn touch(&self) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(micros, Relaxed);
    }

    /// Wait until one of `timeouts` has passed, and say which.
    pub(super) async fn expire(&self, timeouts: &Timeouts) -> Error {
        loop {
            let next = self.next_timeout(timeouts);
            if next.at <= Instant::now() {
                return next.into_error(self);
            }
            // A stage that begins meanwhile has a clock of its own, which cannot end before this.
            let soonest =
                timeouts.first_byte.into_iter().chain(timeouts.idle).min().unwrap_or(timeouts.total);
            tokio::time::sleep_until(next.at.min(Instant::now() + soonest)).await;
        }
    }

    /// Wait for `future`, unless one of `timeouts` passes before.
    pub(super) async fn watch<T>(
        &self,
        timeouts: &Timeouts,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = future => done,
            expired = self.expire(timeouts) => Err(expired),
        }
    }

    fn next_timeout(&self, timeouts: &Timeouts) -> NextTimeout {
        let total = NextTimeout { name: "total", after: timeouts.total, at: self.begun + timeouts.total };
        let moved = self.begun + Duration::from_micros(self.moved.load(Relaxed));
        let (name, after, grace) = match self.stage() {
            // The connect timeout ends a connection attempt.
            Stage::Connecting => return total,
            Stage::Waiting if self.waits_for_connection.load(Relaxed) => {
                ("first_byte", timeouts.first_byte, timeouts.connect)
            }
            Stage::Waiting => ("first_byte", timeouts.first_byte, None),
            Stage::Sending | Stage::Receiving => ("idle", timeouts.idle, None),
        };
        let Some(after) = after else { return total };
        let next = NextTimeout { name, after, at: moved + after + grace.unwrap_or_default() };
        if next.at < total.at { next } else { total }
    }
}

struct NextTimeout {
    name: &'static str,
    after: Duration,
    at: Instant,
}

impl NextTimeout {
    fn into_error(self, progress: &Progress) -> Error {
        let phase = progress.stage().phase();
        let waiting_for = match phase {
            Phase::Connect => "waiting for a connection",
            Phase::Send => "waiting for the peer to read the request",
            Phase::FirstByte => "waiting for the head of the reply",
            _ => "waiting for the rest of the reply",
        };
        let seconds = self.after.as_secs_f64();
        let subject = format!("the {} timeout of {seconds} s passed while {waiting_for}", self.name);
        Error::new(ErrorKind::Timeout { name: self.name, after: self.after }, subject)
            .with_phase(phase)
            .with_sent(progress.sent_so_far())
    }
}

fn known(total: &AtomicU64) -> Option<u64> {
    Some(total.load(Relaxed)).filter(|total| *total != UNKNOWN)
}
