//! The messages of a stream, which a legacy server may break off and resume.

use std::sync::Arc;
use std::time::Duration;

use mcpgateway_engine::http::{EventStream, HeaderValue};
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, ErrorKind, Phase, Result, Sent, Timeouts};
use tokio::time::Instant;

use crate::agreement::Agreed;
use crate::call::Call;
use crate::message::Message;
use crate::session::{Answer, LAST_EVENT_ID, Session};
use crate::version::Generation;

/// How long is waited before a stream is resumed whose server did not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
const SESSION_EXPIRED: u16 = 404;

pub(crate) struct Stream {
    session: Session,
    call: Call,
    /// None while nothing is agreed yet: then nothing is resumed.
    agreed: Option<Arc<Agreed>>,
    events: Box<EventStream>,
    /// Where to resume.
    last_id: Option<String>,
    retry: Option<Duration>,
    /// Resumed so often without an event.
    silent: u32,
    timeouts: Timeouts,
    deadline: Instant,
}

impl Stream {
    pub(crate) fn new(
        session: Session,
        call: Call,
        agreed: Option<Arc<Agreed>>,
        events: Box<EventStream>,
    ) -> Self {
        let timeouts = session.timeouts(&call);
        let deadline = Instant::now() + timeouts.total;
        Self { session, call, agreed, events, last_id: None, retry: None, silent: 0, timeouts, deadline }
    }

    /// The head of the reply that carries the messages now.
    pub(crate) fn events(&self) -> &EventStream {
        &self.events
    }

    /// The next message, and how it came.
    pub(crate) async fn next(&mut self) -> Result<(Message, Decision)> {
        loop {
            match self.events.next().await {
                Ok(Some(event)) => {
                    self.silent = 0;
                    // An event without data says where to resume; others than messages are nobody's.
                    if !event.data.is_empty() && event.event == "message" {
                        let decision = event.data.decision();
                        return Ok((Message::read(event.data).await?, decision));
                    }
                }
                Ok(None) => self.resume(None).await?,
                Err(error) if is_break(&error) => self.resume(Some(error)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Go on where the stream broke off, by `cause` if there was one.
    async fn resume(&mut self, cause: Option<Error>) -> Result<()> {
        if let Some(id) = self.events.last_event_id() {
            self.last_id = Some(id.to_owned());
        }
        self.retry = self.events.retry().or(self.retry);
        let agreed = self.agreed.clone().filter(|agreed| agreed.version.generation() == Generation::Legacy);
        let (Some(agreed), Some(id)) = (agreed, self.last_id.clone()) else {
            return Err(cause.unwrap_or_else(ended));
        };
        let mut cause = cause;
        while self.silent < self.session.shared.options.max_resumes {
            self.silent += 1;
            self.wait().await?;
            match self.reconnect(&agreed, &id).await {
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

    async fn reconnect(&mut self, agreed: &Arc<Agreed>, id: &str) -> Result<Box<EventStream>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut request = self.session.request("GET", Some(agreed), &self.call)?;
        let id = HeaderValue::from_str(id)
            .map_err(|_| Error::invalid_reply("the server gave its events an id that no header can carry"))?;
        request = request.header(LAST_EVENT_ID.as_str(), id.as_bytes())?;
        let timeouts = Timeouts { total: left.max(Duration::from_millis(1)), ..self.timeouts };
        match self.session.exchange(request.timeouts(Some(timeouts))).await?.0 {
            Answer::Stream(events) => Ok(events),
            Answer::Refused(refusal)
                if refusal.response.status == SESSION_EXPIRED && agreed.session.is_some() =>
            {
                self.session.disagree(agreed).await;
                let subject =
                    "the session expired while the call was under way; whether it was done is not known";
                Err(Error::new(ErrorKind::SessionExpired, subject)
                    .with_phase(Phase::Receive)
                    .with_sent(Sent::Yes))
            }
            Answer::Refused(refusal) => Err(refusal.into_error(None)),
            Answer::Message(..) | Answer::Accepted => {
                Err(Error::invalid_reply("the server answered with no stream where one was to be resumed"))
            }
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
