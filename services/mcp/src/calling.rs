//! A call under way, step by step.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mcpgateway_engine::http::{HeaderMap, HeaderNames};
use mcpgateway_engine::json::{Node, quoted};
use mcpgateway_engine::jsonrpc::{Id, request};
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, Sent, runtime};

use crate::agreement::{Agreed, meta};
use crate::call::Call;
use crate::memory;
use crate::message::{INVALID_REQUEST, Message, UNSUPPORTED_VERSION, code_of, result_of};
use crate::params::object;
use crate::round::Round;
use crate::session::{Answer, Received, Session};
use crate::stream::{Stream, With};
use crate::version::{Generation, Version};

/// How long is waited before a server that only wants to be called again is: twice as long each time, up to the
/// second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often what was agreed is found not to hold before a call fails.
const MOST_RENEWALS: u32 = 2;
const NOT_FOUND: u16 = 404;

/// A call under way. Dropped before its reply, it is cancelled: by the end of the connection, and for legacy
/// servers by `notifications/cancelled`.
pub struct Calling {
    session: Session,
    call: Call,
    stage: Stage,
    round: Round,
    /// How often what was agreed was found not to hold.
    renewals: u32,
    in_flight: Option<(u64, Arc<Agreed>)>,
}

enum Stage {
    Unsent,
    /// The answer is waited for.
    Sent(Exchange),
    Reading(Box<Stream>),
    /// Input is asked for.
    Asking,
    Done,
}

type Exchange = Pin<Box<dyn Future<Output = Result<(Answer, HeaderMap)>> + Send>>;

/// What happens next in a call.
#[derive(Debug)]
pub enum Step {
    /// The server has something to say.
    Notification(Notification),
    /// The server asks something: [`Calling::answer`] or [`Calling::refuse`] it.
    Asked(Asked),
    /// The end.
    Reply(Reply),
}

/// Something a server has to say during a call, such as `notifications/progress`.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Of what kind.
    pub method: String,
    /// What.
    pub params: Option<Node>,
}

/// A request of the server's, such as `elicitation/create`.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked.
    pub method: String,
    /// With which parameters.
    pub params: Option<Node>,
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    /// The id of a request on the stream.
    Id(Node),
    /// The name within a round.
    Name(String),
}

/// What came of a call.
#[derive(Clone)]
pub struct Reply {
    /// The result, a value of the document that is the reply.
    pub result: Node,
    /// The version that was spoken.
    pub version: Version,
    /// The status of the HTTP reply.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// How the message was received.
    pub received: Decision,
}

impl fmt::Debug for Reply {
    /// Without what the headers say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("result", &self.result)
            .field("version", &self.version)
            .field("status", &self.status)
            .field("headers", &HeaderNames(&self.headers))
            .field("received", &self.received)
            .finish()
    }
}

impl Calling {
    pub(crate) fn new(session: Session, call: Call) -> Self {
        Self { session, call, stage: Stage::Unsent, round: Round::default(), renewals: 0, in_flight: None }
    }

    /// The next step; after a reply or an error there is none.
    ///
    /// # Errors
    /// As for [`Session::call`].
    pub async fn next(&mut self) -> Result<Step> {
        loop {
            let step = match &mut self.stage {
                Stage::Unsent => self.send().await?,
                Stage::Sent(_) | Stage::Reading(_) => {
                    match self.hear().await.map_err(|error| self.lose(error))? {
                        Heard::Answer(answer) => self.judge(answer).await?,
                        Heard::Message(text, received) => {
                            self.take(Message::read(text).await?, received).await?
                        }
                        Heard::Beside(text) => self.take_beside(text).await?,
                    }
                }
                Stage::Asking => self.ask().await?,
                Stage::Done => {
                    return Err(Error::invalid_request("this call is over: there is no next step"));
                }
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Wait for what comes first: something of this call, or something beside it. Dropped, it loses nothing.
    async fn hear(&mut self) -> Result<Heard> {
        let Some((_, agreed)) = &self.in_flight else {
            return Err(Error::invalid_request("this call is over: there is no next step"));
        };
        let session = &self.session;
        match &mut self.stage {
            Stage::Sent(exchange) => tokio::select! {
                biased;
                answer = exchange => answer.map(|(answer, _)| Heard::Answer(answer)),
                text = listen(session) => Ok(Heard::Beside(text)),
            },
            Stage::Reading(stream) => {
                let with = With { session, agreed: Some(agreed), call: &self.call };
                let text = tokio::select! {
                    biased;
                    text = stream.next(with) => text?,
                    text = listen(session) => return Ok(Heard::Beside(text)),
                };
                let head = stream.events().response();
                let (status, headers) = (head.status, head.headers.clone());
                let decision = text.decision();
                Ok(Heard::Message(text, Received { status, headers, decision }))
            }
            _ => Err(Error::invalid_request("this call is not under way")),
        }
    }

    /// Answer a request of the server's with a result that is JSON, for which the caller vouches.
    ///
    /// # Errors
    /// As for [`Session::call`].
    pub async fn answer(&mut self, asked: &Asked, result: Payload) -> Result<()> {
        match &asked.key {
            Key::Name(name) => {
                self.round.answer(name, result);
                Ok(())
            }
            Key::Id(id) => self.respond(id, "result", result).await,
        }
    }

    /// Refuse a request of the server's by a JSON-RPC error.
    ///
    /// # Errors
    /// As for [`Session::call`]; [`ErrorKind::InvalidReply`] where a modern server cannot go on without.
    pub async fn refuse(&mut self, asked: &Asked, code: i64, why: &str) -> Result<()> {
        match &asked.key {
            Key::Name(_) => {
                self.stage = Stage::Done;
                let method: String = asked.method.chars().take(80).collect();
                Err(Error::invalid_reply(format!(
                    "the server requires input by {method:?}, which was refused: {why}"
                )))
            }
            Key::Id(id) => {
                let error = object([
                    ("code".into(), code.to_string().into()),
                    ("message".into(), quoted(why).into()),
                ]);
                self.respond(id, "error", error).await
            }
        }
    }

    /// Send the reply to a request on the stream.
    async fn respond(&mut self, id: &Node, key: &'static str, value: Payload) -> Result<()> {
        let Some((_, agreed)) = self.in_flight.clone() else { return Ok(()) };
        let body = object([
            ("jsonrpc".into(), "\"2.0\"".into()),
            ("id".into(), id.raw().into()),
            (key.into(), value),
        ]);
        let bare = Call { progress: None, ..self.call.clone() };
        self.session.tell(self.session.post(&agreed, &bare, body, None)?).await
    }

    /// Send the request, once there is somebody to listen beside it.
    async fn send(&mut self) -> Result<Option<Step>> {
        let agreed = self.session.agreed(&self.call).await?;
        if self.session.shared.options.listens {
            self.session.listener().lock().await.open(&self.session, &agreed).await;
        }
        let id = self.session.next_id();
        let mut request = self.session.post(&agreed, &self.call, self.body(&agreed, id), None)?;
        if let Some(progress) = &self.call.progress {
            request = request.progress(Arc::clone(progress));
        }
        self.in_flight = Some((id, agreed));
        let session = self.session.clone();
        self.stage = Stage::Sent(Box::pin(async move { session.exchange(request).await }));
        Ok(None)
    }

    /// What the answer to the request means: perhaps that what was agreed does not hold any more.
    async fn judge(&mut self, answer: Answer) -> Result<Option<Step>> {
        let Some((id, agreed)) = self.in_flight.clone() else { return Ok(None) };
        match answer {
            answer if self.renewals < MOST_RENEWALS && is_outdated(&agreed, &answer) => {
                self.renewals += 1;
                self.in_flight = None;
                if agreed.version.generation() == Generation::Modern {
                    memory::forget(&self.session.shared.endpoint);
                }
                self.session.disagree(&agreed).await;
                self.stage = Stage::Unsent;
                Ok(None)
            }
            Answer::Stream(events) => {
                let stream = Stream::new(events, self.session.timeouts(&self.call));
                self.stage = Stage::Reading(Box::new(stream));
                Ok(None)
            }
            Answer::Message(message, received) => self.take(message, received).await,
            Answer::Accepted => {
                let error = Error::invalid_reply("the server accepted a request without a reply to it");
                Err(self.end(error))
            }
            Answer::Refused(refusal) => Err(self.end(refusal.into_error(Some(id)))),
        }
    }

    /// What a message beside the call means for it; what is no request or notification is nobody's.
    async fn take_beside(&mut self, text: Payload) -> Result<Option<Step>> {
        match Message::read(text).await {
            Ok(Message::Request { id, method, .. }) if method == "ping" => {
                self.respond(&id, "result", "{}".into()).await?;
                Ok(None)
            }
            Ok(Message::Request { id, method, params }) => {
                Ok(Some(Step::Asked(Asked { method, params, key: Key::Id(id) })))
            }
            Ok(Message::Notification { method, params }) => {
                Ok(Some(Step::Notification(Notification { method, params })))
            }
            Ok(Message::Reply(_)) | Err(_) => Ok(None),
        }
    }

    fn body(&self, agreed: &Agreed, id: u64) -> Payload {
        let mut params = self.round.add_to(self.call.params.clone());
        if agreed.version.generation() == Generation::Modern {
            params = meta(&self.session, agreed.version, params);
        }
        if self.call.wants_progress {
            params = params.meta("progressToken", id.to_string().into());
        }
        request(&Id::Number(id), &self.call.method, params.into_json())
    }

    /// The call was lost by this error; of a request that never left, there is nothing to be cancelled.
    fn lose(&mut self, error: Error) -> Error {
        if error.sent() == Sent::No {
            self.in_flight = None;
        }
        error
    }

    /// The call is over, by this error.
    fn end(&mut self, error: Error) -> Error {
        self.in_flight = None;
        self.stage = Stage::Done;
        error
    }

    /// What a message means for the call.
    async fn take(&mut self, message: Message, received: Received) -> Result<Option<Step>> {
        let Some((id, agreed)) = self.in_flight.clone() else {
            return Err(Error::invalid_request("this call is over: there is no next step"));
        };
        match message {
            Message::Notification { method, params } => {
                Ok(Some(Step::Notification(Notification { method, params })))
            }
            // A client of modern servers sends no replies.
            Message::Request { .. } if agreed.version.generation() == Generation::Modern => Ok(None),
            Message::Request { id, method, .. } if method == "ping" => {
                self.respond(&id, "result", "{}".into()).await?;
                Ok(None)
            }
            Message::Request { id, method, params } => {
                Ok(Some(Step::Asked(Asked { method, params, key: Key::Id(id) })))
            }
            Message::Reply(envelope) => {
                self.in_flight = None;
                self.stage = Stage::Done;
                self.result(result_of(&envelope, id)?, &agreed, received)
            }
        }
    }

    fn result(&mut self, result: Node, agreed: &Agreed, received: Received) -> Result<Option<Step>> {
        let kind = result.get("resultType").filter(|_| agreed.version.generation() == Generation::Modern);
        match kind.as_ref().and_then(Node::text).as_deref() {
            None | Some("complete") => {}
            Some("input_required") => {
                self.round.begin(&result, self.session.shared.options.max_input_rounds)?;
                self.stage = Stage::Asking;
                return Ok(None);
            }
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                return Err(Error::invalid_reply(format!(
                    "the server gives a result of type {other:?}, which is not known here"
                )));
            }
        }
        let Received { status, headers, decision } = received;
        let reply = Reply { result, version: agreed.version, status, headers, received: decision };
        Ok(Some(Step::Reply(reply)))
    }

    /// Ask the next thing that the server requires, or call it again when all is answered.
    async fn ask(&mut self) -> Result<Option<Step>> {
        if let Some((name, method, params)) = self.round.open.pop_front() {
            return Ok(Some(Step::Asked(Asked { method, params, key: Key::Name(name) })));
        }
        if self.round.unanswered > 0 {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                "the server requires input that was not given: answer or refuse each of its requests",
            ));
        }
        if self.round.is_empty() {
            let (first, most) = AGAIN;
            tokio::time::sleep(first.saturating_mul(1 << (self.round.count - 1).min(10)).min(most)).await;
        }
        self.stage = Stage::Unsent;
        Ok(None)
    }
}

/// What was heard during a call.
enum Heard {
    Answer(Answer),
    Message(Payload, Received),
    /// On the stream of what belongs to no call.
    Beside(Payload),
}

/// What the server sends beside calls; nothing ever, where nobody listens.
async fn listen(session: &Session) -> Payload {
    if session.shared.options.listens
        && let Some(text) = session.listener().lock().await.next(session).await
    {
        return text;
    }
    std::future::pending().await
}

/// Whether an answer says that what was agreed does not hold, and that the request was not acted on.
fn is_outdated(agreed: &Agreed, answer: &Answer) -> bool {
    let envelope = match answer {
        Answer::Message(Message::Reply(envelope), _) => Some(envelope),
        Answer::Refused(refusal) => refusal.envelope.as_ref(),
        _ => None,
    };
    let code = envelope.and_then(code_of);
    let (status, is_about_access) = match answer {
        Answer::Refused(refusal) => (refusal.response.status, refusal.is_about_access()),
        _ => (200, false),
    };
    match agreed.version.generation() {
        Generation::Legacy => agreed.session.is_some() && status == NOT_FOUND,
        Generation::Modern if code == Some(UNSUPPORTED_VERSION) => true,
        // An endpoint that was modern once may have become another server.
        Generation::Modern => {
            let says_little = code.is_none() || code == Some(INVALID_REQUEST);
            agreed.recalled && (400..500).contains(&status) && says_little && !is_about_access
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        let Some((id, agreed)) = self.in_flight.take() else { return };
        if agreed.version.generation() == Generation::Legacy {
            let (session, headers) = (self.session.clone(), self.call.headers.clone());
            // Nobody waits for it, and without threads there is nothing to be told.
            let _ = runtime::spawn(async move {
                let _ = session.cancel(&agreed, id, headers).await;
            });
        }
    }
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").field("method", &self.call.method).finish()
    }
}
