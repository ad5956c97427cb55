//! Server-sent events (WHATWG HTML, section 9.2), one at a time, as the reply that carries them arrives.

mod lines;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use mcpgateway_shm::Spool;

use self::lines::{Lines, Step};
use super::client::StreamingResponse;
use super::options::{ClientOptions, Limits};
use super::receive::{Collector, Destination};
use crate::error::{Error, ErrorKind, Phase, Result, Sent};
use crate::payload::{Payload, TransferPolicy};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` where the sender gave none.
    pub event: String,
    /// The last id that the stream gave, with this event or before.
    pub id: Option<String>,
    /// Its data, the lines joined by LF.
    pub data: Payload,
}

/// The events of a reply.
///
/// Nothing is read ahead of [`next`](Self::next) but what the socket holds, so a slow reader slows the sender.
/// Each byte is looked at once and copied once, into the same memory as the bodies of replies, however the event
/// is cut into lines and chunks.
pub struct EventStream {
    response: StreamingResponse,
    lines: Lines,
    /// What has arrived and was not looked at.
    chunk: Bytes,
    /// The data of the event that is arriving.
    data: Option<Collector>,
    /// Bytes of it.
    len: u64,
    /// Set while data are on their way to a disk: who gives up waiting then loses them.
    writing: bool,
    policy: TransferPolicy,
    spool: Option<Spool>,
}

impl EventStream {
    /// The events in the body of `response`; their data go where `options` of the client have bodies go.
    #[must_use]
    pub fn new(response: StreamingResponse, options: &ClientOptions) -> Self {
        Self {
            response,
            lines: Lines::default(),
            chunk: Bytes::new(),
            data: None,
            len: 0,
            writing: false,
            policy: options.policy,
            spool: options.spool.clone(),
        }
    }

    /// Whether a reply with these headers is a stream of events.
    #[must_use]
    pub fn is_announced_by(headers: &HeaderMap) -> bool {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("text/event-stream")
    }

    /// The reply that carries the events.
    #[must_use]
    pub fn response(&self) -> &StreamingResponse {
        &self.response
    }

    /// The last id that the stream gave, also by what was no whole event: where to resume.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.lines.id()
    }

    /// How long the sender wants a reader to wait before it connects again, if it said so.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.lines.retry()
    }

    /// The next event; `None` at the end of the reply.
    ///
    /// A future that is dropped loses nothing, unless data were on their way to a disk: then the next call says so.
    ///
    /// # Errors
    /// As for [`Client::send`](super::Client::send), and [`ErrorKind::LimitExceeded`] for an event of more than
    /// `max_event_bytes`, [`ErrorKind::IncompleteBody`] when the reply ends within an event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        if self.writing {
            let subject = "the wait for an event was given up while its data were written to disk";
            return Err(Error::new(ErrorKind::Cancelled, subject).with_sent(Sent::Yes));
        }
        loop {
            while let Some(step) = self.lines.next(&mut self.chunk).map_err(while_receiving)? {
                if let Some(event) = self.take(step).await? {
                    return Ok(Some(event));
                }
            }
            match self.response.chunk().await? {
                Some(chunk) => self.chunk = chunk,
                None if self.lines.is_within_event() => return Err(ended_within()),
                None => return Ok(None),
            }
        }
    }

    /// Add `step` to the event that is arriving, and return it if that completes it.
    async fn take(&mut self, step: Step) -> Result<Option<Event>> {
        match step {
            Step::Line { first: true } => self.begin().await.map(|()| None),
            Step::Line { first: false } => self.write(Bytes::from_static(b"\n")).await.map(|()| None),
            Step::Data(bytes) => self.write(bytes).await.map(|()| None),
            Step::Event(event) => {
                let data = self.data.take().expect("an event has data");
                self.writing = true;
                let data = data.finish(&self.policy).await;
                self.writing = false;
                let data = data.map_err(while_receiving)?;
                Ok(Some(Event { event, id: self.lines.id().map(str::to_owned), data }))
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        self.len = 0;
        let collector =
            Collector::new(Destination::Memory, None, self.response.limits(), self.spool.clone()).await;
        self.data = Some(collector.map_err(while_receiving)?);
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.len = self.len.saturating_add(bytes.len() as u64);
        within_limit(self.response.limits(), self.len)?;
        self.writing = true;
        let data = self.data.as_mut().expect("its line has begun");
        let written = data.write(&bytes).await;
        self.writing = false;
        written.map_err(while_receiving)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("url", &self.response.url).field("id", &self.lines.id()).finish()
    }
}

fn within_limit(limits: &Limits, got: u64) -> Result<()> {
    let limit = limits.max_event_bytes;
    if got <= limit {
        return Ok(());
    }
    let subject = format!("an event of the reply has {got} bytes or more, max_event_bytes is {limit}");
    let kind = ErrorKind::LimitExceeded { name: "max_event_bytes", limit, got };
    Err(while_receiving(Error::new(kind, subject)))
}

fn ended_within() -> Error {
    let subject = "the reply ended before its last event was complete";
    while_receiving(Error::new(ErrorKind::IncompleteBody, subject))
}

fn while_receiving(error: Error) -> Error {
    error.with_phase(Phase::Receive).with_sent(Sent::Yes)
}
