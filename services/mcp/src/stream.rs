//! The messages of a stream, which a legacy server may break off and resume.

use std::sync::Arc;
use std::time::Duration;

use mcpgateway_engine::http::{EventStream, HeaderValue};
use mcpgateway_engine::{Error, ErrorKind, Payload, Phase, Result, Sent, Timeouts};
use tokio::time::Instant;

use crate::agreement::Agreed;
use crate::call::Call;
use crate::session::{Answer, LAST_EVENT_ID, Session};
use crate::version::Generation;

/// How long is waited before a stream is resumed whose server did not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
const SESSION_EXPIRED: u16 = 404;

/// A stream of messages, wherever it broke off.
pub(crate) struct Stream {
    events: Box<EventStream>,
    /// Where to resume.
    last_id: Option<String>,
    retry: Option<Duration>,
    /// Resumed so often without an event.
    silent: u32,
    timeouts: Timeouts,
    deadline: Instant,
}

/// Whom a stream is with: what is needed to resume it.
#[derive(Clone, Copy)]
pub(crate) struct With<'a> {
    pub(crate) session: &'a Session,
    /// None while nothing is agreed yet: then nothing is resumed.
    pub(crate) agreed: Option<&'a Arc<Agreed>>,
    pub(crate) call: &'a Call,
}

impl Stream {
    /// The messages in `events`, which end `timeouts.total` from now at the latest.
    pub(crate) fn new(events: Box<EventStream>, timeouts: Timeouts) -> Self {
        let deadline = Instant::now() + timeouts.total;
        Self { events, last_id: None, retry: None, silent: 0, timeouts, deadline }
    }

    /// The head of the reply that carries the messages now.
    pub(crate) fn events(&self) -> &EventStream {
        &self.events
    }

    /// The text of the next message. A future that is dropped loses none.
    pub(crate) async fn next(&mut self, with: With<'_>) -> Result<Payload> {
        loop {
            match self.events.next().await {
                Ok(Some(event)) => {
                    self.silent = 0;
                    // An event without data says where to resume; others than messages are nobody's.
                    if !event.data.is_empty() && event.event == "message" {
                        return Ok(event.data);
                    }
                }
                // Boxed, as it is rare and holds kilobytes.
                Ok(None) => Box::pin(self.resume(with, None)).await?,
                Err(error) if is_break(&error) => Box::pin(self.resume(with, Some(error))).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Go on where the stream broke off, by `cause` if there was one.
    async fn resume(&mut self, with: With<'_>, mut cause: Option<Error>) -> Result<()> {
        if let Some(id) = self.events.last_event_id() {
            self.last_id = Some(id.to_owned());
        }
        self.retry = self.events.retry().or(self.retry);
        let agreed = with.agreed.filter(|agreed| agreed.version.generation() == Generation::Legacy);
        let (Some(agreed), Some(id)) = (agreed, self.last_id.clone()) else {
            return Err(cause.unwrap_or_else(ended));
        };
        while self.silent < with.session.shared.options.max_resumes {
            self.silent += 1;
            self.wait().await?;
            match self.reconnect(with, agreed, &id).await {
                Ok(events) => {
                    self.events = events;
                    return Ok(());
                }
                Err(error) if may_pass(&error) => cause = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(cause.unwrap_or_else(ended))
    }

    async fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + self.retry.unwrap_or(DEFAULT_RETRY);
        if until >= self.deadline {
            let kind = ErrorKind::Timeout { name: "total", after: self.timeouts.total };
            let subject = "the server wants its stream resumed after the call has to be done";
            return Err(Error::new(kind, subject).with_phase(Phase::Receive).with_sent(Sent::Yes));
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    async fn reconnect(
        &mut self,
        with: With<'_>,
        agreed: &Arc<Agreed>,
        id: &str,
    ) -> Result<Box<EventStream>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeouts = Timeouts { total: left.max(Duration::from_millis(1)), ..self.timeouts };
        let id = HeaderValue::from_str(id)
            .map_err(|_| Error::invalid_reply("the server gave its events an id that no header can carry"))?;
        open(with, agreed, timeouts, Some(&id)).await
    }
}

/// Ask for the stream that goes on behind event `id`, or for the one of what belongs to no call.
pub(crate) async fn open(
    with: With<'_>,
    agreed: &Arc<Agreed>,
    timeouts: Timeouts,
    id: Option<&HeaderValue>,
) -> Result<Box<EventStream>> {
    let mut request = with.session.request("GET", Some(agreed), with.call)?.timeouts(Some(timeouts));
    if let Some(id) = id {
        request = request.header(LAST_EVENT_ID.as_str(), id.as_bytes())?;
    }
    match with.session.exchange(request).await?.0 {
        Answer::Stream(events) => Ok(events),
        Answer::Refused(refusal)
            if refusal.response.status == SESSION_EXPIRED && agreed.session.is_some() =>
        {
            with.session.disagree(agreed).await;
            let subject =
                "the session expired while the call was under way; whether it was done is not known";
            let error = Error::new(ErrorKind::SessionExpired, subject);
            Err(error.with_phase(Phase::Receive).with_sent(Sent::Yes))
        }
        Answer::Refused(refusal) => Err(refusal.into_error(None)),
        Answer::Message(..) | Answer::Accepted => {
            Err(Error::invalid_reply("the server answered with no stream where one was asked for"))
        }
    }
}

/// Whether the connection was lost, rather than too slow.
fn is_break(error: &Error) -> bool {
    error.is_of_the_connection() && !matches!(error.kind(), ErrorKind::Timeout { .. })
}

/// Whether another attempt to resume may succeed.
fn may_pass(error: &Error) -> bool {
    is_break(error) || matches!(error.kind(), ErrorKind::Status(response) if response.status >= 500)
}

fn ended() -> Error {
    let subject = "the server ended its stream before the reply";
    Error::new(ErrorKind::IncompleteBody, subject).with_phase(Phase::Receive).with_sent(Sent::Yes)
}
