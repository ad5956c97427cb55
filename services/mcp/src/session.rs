//! A session: one endpoint, what was agreed with it, and the requests made there.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcpgateway_engine::http::{EventStream, HeaderMap, HeaderName, HeaderNames, HeaderValue, redacted_url};
use mcpgateway_engine::json::Node;
use mcpgateway_engine::jsonrpc::{Envelope, notification};
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Client, Error, ErrorKind, Limits, Payload, Request, Response, Result, Timeouts};
use mcpgateway_shm::PerProcess;
use tokio::sync::Mutex;

use crate::agreement::{self, Agreed};
use crate::call::Call;
use crate::calling::{Calling, Reply, Step};
use crate::listener::Listener;
use crate::message::{METHOD_NOT_FOUND, Message, result_of};
use crate::params::Params;
use crate::version::{Generation, Version};

const ACCEPT: HeaderName = HeaderName::from_static("accept");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// What only says goodbye may take this long.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is set for a session as a whole.
#[derive(Clone)]
pub struct SessionOptions {
    /// The version to speak; found out with the first call if there is none here.
    pub version: Option<Version>,
    /// The name that the server is told.
    pub client_name: Cow<'static, str>,
    /// The version of what has that name.
    pub client_version: Cow<'static, str>,
    /// What this client can be asked for, as a JSON object: `{"elicitation":{}}`.
    pub capabilities: Payload,
    /// Sent with every request, such as `Authorization`.
    pub headers: HeaderMap,
    /// For calls that do not bring their own; those of the client if there are none here.
    pub timeouts: Option<Timeouts>,
    /// Likewise.
    pub limits: Option<Limits>,
    /// How often one call may be asked for input (`max_input_rounds` in errors).
    pub max_input_rounds: u32,
    /// How often in a row a stream that broke off is resumed without an event coming.
    pub max_resumes: u32,
    /// Whether a legacy server is listened to beside calls, while there are any: some ask what `capabilities` let them
    /// ask only there.
    pub listens: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            version: None,
            client_name: "mcpgateway-rust".into(),
            client_version: env!("CARGO_PKG_VERSION").into(),
            capabilities: "{}".into(),
            headers: HeaderMap::new(),
            timeouts: None,
            limits: None,
            max_input_rounds: 10,
            max_resumes: 5,
            listens: false,
        }
    }
}

impl fmt::Debug for SessionOptions {
    /// Without what the headers say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("version", &self.version)
            .field("client_name", &self.client_name)
            .field("headers", &HeaderNames(&self.headers))
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One endpoint of one server. Clones share what was agreed with it.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) url: String,
    /// The URL without userinfo and query: what the memory of generations is about.
    pub(crate) endpoint: String,
    pub(crate) options: SessionOptions,
    /// A forked child agrees anew: a session has one owner.
    agreed: PerProcess<Mutex<Option<Arc<Agreed>>>>,
    listener: PerProcess<Mutex<Listener>>,
    ids: AtomicU64,
}

/// What client and server agreed on.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The version that is spoken.
    pub version: Version,
    /// What the server said of itself, if it was asked: the result of `initialize` or `server/discover`.
    pub server: Option<Node>,
}

/// What a server answered to a request.
pub(crate) enum Answer {
    /// A body that is a message.
    Message(Message, Received),
    /// A stream of messages.
    Stream(Box<EventStream>),
    /// Nothing, which is all there is to say to what is no request.
    Accepted,
    /// A status that is none of success.
    Refused(Box<Refusal>),
}

/// A reply with a status that is none of success.
pub(crate) struct Refusal {
    pub(crate) response: Response,
    /// The reply of JSON-RPC that its body is, if it is one.
    pub(crate) envelope: Option<Envelope>,
}

/// How a message came.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) decision: Decision,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { url, options, .. } = &*self.shared;
        f.debug_struct("Session")
            .field("url", &redacted_url(url))
            .field("options", options)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session with the server at `url`; nothing is sent before the first call.
    ///
    /// # Errors
    /// [`InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when `url` is no absolute `http` or `https`
    /// URL.
    pub fn new(client: Client, url: &str, options: SessionOptions) -> Result<Self> {
        // Checked here, so that no later request can fail for it.
        Request::new("POST", url)?;
        let endpoint = url::Url::parse(url.trim_ascii()).map_or_else(
            |_| url.to_owned(),
            |url| format!("{}{}", url.origin().ascii_serialization(), url.path()),
        );
        let shared = Shared {
            client,
            url: url.to_owned(),
            endpoint,
            options,
            agreed: PerProcess::new(),
            listener: PerProcess::new(),
            ids: AtomicU64::new(1),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Make `call` and wait for its result. What the server asks back is refused; what it notifies of is passed
    /// over.
    ///
    /// # Errors
    /// Any [`ErrorKind`](mcpgateway_engine::ErrorKind): `Rpc` for an error that the server answered with, `Status`
    /// for a reply without a message.
    pub async fn call(&self, call: Call) -> Result<Reply> {
        let mut calling = self.begin(call);
        loop {
            match calling.next().await? {
                Step::Reply(reply) => return Ok(reply),
                Step::Notification(_) => {}
                Step::Asked(asked) => {
                    calling.refuse(&asked, METHOD_NOT_FOUND, "this client answers no such request").await?;
                }
            }
        }
    }

    /// Make `call` step by step: notifications, requests of the server's, and the reply at the end.
    #[must_use]
    pub fn begin(&self, call: Call) -> Calling {
        Calling::new(self.clone(), call)
    }

    /// The pages of a list, such as `tools/list`.
    #[must_use]
    pub fn pages(&self, call: Call) -> Pages {
        Pages { session: self.clone(), call, cursor: None, ended: false }
    }

    /// Send a notification. Modern servers have none to be sent over HTTP; it is sent all the same.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub async fn notify(&self, method: &str, params: Params) -> Result<()> {
        let call = Call::new(method.to_owned(), params);
        let agreed = self.agreed(&call).await?;
        let request =
            self.post(&agreed, &call, notification(method, call.params.clone().into_json()), None)?;
        self.tell(request).await
    }

    /// What is agreed with the server, which is asked if nothing is.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub async fn agreement(&self) -> Result<Agreement> {
        let agreed = self.agreed(&Call::new("ping", Params::new())).await?;
        Ok(Agreement { version: agreed.version, server: agreed.server.clone() })
    }

    /// End the session, if the server gave one out. The next call begins another.
    ///
    /// # Errors
    /// That no connection could be made. A server that does not let its sessions be ended is none.
    pub async fn close(&self) -> Result<()> {
        let agreed = self.slot().lock().await.take();
        *self.listener().lock().await = Listener::default();
        let Some(agreed) = agreed.filter(|agreed| agreed.session.is_some()) else { return Ok(()) };
        let ending = Call { headers: agreed.headers.clone(), ..Call::new("DELETE", Params::new()) };
        let request = self.request("DELETE", Some(&agreed), &ending)?.timeouts(Some(farewell()));
        self.shared.client.send(request).await.map(drop)
    }

    pub(crate) fn listener(&self) -> &Mutex<Listener> {
        self.shared.listener.get_or_init(Mutex::default)
    }

    fn slot(&self) -> &Mutex<Option<Arc<Agreed>>> {
        self.shared.agreed.get_or_init(Mutex::default)
    }

    /// What is agreed, for `call` if for none before; calls that come at once wait for one of them to agree.
    pub(crate) async fn agreed(&self, call: &Call) -> Result<Arc<Agreed>> {
        let mut slot = self.slot().lock().await;
        if let Some(agreed) = &*slot {
            return Ok(Arc::clone(agreed));
        }
        let agreed = Arc::new(Box::pin(agreement::agree(self, call)).await?);
        *slot = Some(Arc::clone(&agreed));
        Ok(agreed)
    }

    /// What was agreed does not hold any more, unless another call has found that already.
    pub(crate) async fn disagree(&self, agreed: &Arc<Agreed>) {
        let mut slot = self.slot().lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, agreed)) {
            *slot = None;
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.shared.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The timeouts of `call`, with what is left until `total` from `begun` on.
    pub(crate) fn timeouts(&self, call: &Call) -> Timeouts {
        let own = call.timeouts.or(self.shared.options.timeouts);
        own.unwrap_or(self.shared.client.options().timeouts)
    }

    /// A request with the headers that every one of `call` has.
    pub(crate) fn request(&self, method: &str, agreed: Option<&Agreed>, call: &Call) -> Result<Request> {
        let mut headers = self.shared.options.headers.clone();
        if let Some(own) = &call.headers {
            for name in own.keys() {
                headers.remove(name);
            }
            headers.extend(own.clone());
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(agreed) = agreed {
            identify(&mut headers, agreed);
        }
        let limits = call.limits.or(self.shared.options.limits);
        let request = Request::new(method, &self.shared.url)?.headers(headers).limits(limits);
        Ok(request.timeouts(Some(self.timeouts(call))))
    }

    /// The POST that carries `body`; modern servers are told in headers what it is about.
    pub(crate) fn post(
        &self,
        agreed: &Agreed,
        call: &Call,
        body: Payload,
        timeouts: Option<Timeouts>,
    ) -> Result<Request> {
        let mut request = self.request("POST", Some(agreed), call)?;
        request = request.header(CONTENT_TYPE.as_str(), b"application/json")?;
        if agreed.version.generation() == Generation::Modern {
            request = request.header("mcp-method", call.method.as_bytes())?;
            if let Some(name) = &call.name {
                request = request.header("mcp-name", crate::header_value(name).as_bytes())?;
            }
            for (name, value) in &call.param_headers {
                let value = crate::header_value(value);
                request = request.header(&format!("mcp-param-{name}"), value.as_bytes())?;
            }
        }
        if let Some(timeouts) = timeouts {
            request = request.timeouts(Some(timeouts));
        }
        Ok(request.body(body))
    }

    /// Send a request and see what kind of answer comes.
    pub(crate) async fn exchange(&self, request: Request) -> Result<(Answer, HeaderMap)> {
        let response = self.shared.client.stream(request).await?;
        let headers = response.headers.clone();
        let status = response.status;
        let options = self.shared.client.options();
        if !(200..300).contains(&status) {
            let refusal = Refusal::read(response.read(options).await?).await;
            return Ok((Answer::Refused(Box::new(refusal)), headers));
        }
        if EventStream::is_announced_by(&headers) {
            return Ok((Answer::Stream(Box::new(EventStream::new(response, options))), headers));
        }
        let response = response.read(options).await?;
        if response.body.is_empty() {
            return Ok((Answer::Accepted, headers));
        }
        let received = Received { status, headers: headers.clone(), decision: response.body.decision() };
        Ok((Answer::Message(Message::read(response.body).await?, received), headers))
    }

    /// Send what is answered with a status alone.
    pub(crate) async fn tell(&self, request: Request) -> Result<()> {
        match Box::pin(self.exchange(request)).await?.0 {
            Answer::Refused(refusal) => Err(refusal.into_error(None)),
            // What else there may be in a reply to what asks nothing is nobody's.
            _ => Ok(()),
        }
    }

    /// Tell a legacy server that nobody waits for request `id` any more.
    pub(crate) async fn cancel(&self, agreed: &Agreed, id: u64, headers: Option<HeaderMap>) -> Result<()> {
        let params = Params::new().json("requestId", id.to_string().into()).text("reason", "cancelled");
        let call = Call { headers, ..Call::new("notifications/cancelled", params) };
        let body = notification(&call.method, call.params.clone().into_json());
        self.tell(self.post(agreed, &call, body, Some(farewell()))?).await
    }
}

/// The pages of a list.
#[derive(Debug)]
pub struct Pages {
    session: Session,
    call: Call,
    cursor: Option<String>,
    ended: bool,
}

impl Pages {
    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// As for [`Session::call`], and `InvalidReply` when the server says the same cursor twice.
    pub async fn next(&mut self) -> Result<Option<Reply>> {
        if self.ended {
            return Ok(None);
        }
        let mut call = self.call.clone();
        if let Some(cursor) = &self.cursor {
            call.params = call.params.text("cursor", cursor);
        }
        let reply = self.session.call(call).await?;
        let next = reply.result.get("nextCursor").and_then(|cursor| cursor.text().map(Cow::into_owned));
        if next.is_some() && next == self.cursor {
            let subject = format!("{} says the same cursor twice: its list has no end", self.call.method);
            return Err(Error::invalid_reply(subject));
        }
        self.ended = next.is_none();
        self.cursor = next;
        Ok(Some(reply))
    }
}

/// Say in `headers` what was agreed.
fn identify(headers: &mut HeaderMap, agreed: &Agreed) {
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(agreed.version.as_str()));
    if let Some(session) = &agreed.session {
        headers.insert(SESSION_ID, session.clone());
    }
}

fn farewell() -> Timeouts {
    Timeouts { total: FAREWELL, ..Timeouts::default() }
}

impl Refusal {
    async fn read(response: Response) -> Self {
        let is_stream = EventStream::is_announced_by(&response.headers);
        let envelope = match Message::read(response.body.clone()).await {
            Ok(Message::Reply(envelope)) if !is_stream && envelope.error().is_some() => Some(envelope),
            _ => None,
        };
        Self { response, envelope }
    }

    /// Whether it is about who asks, or how often, and says nothing of what the server speaks.
    pub(crate) fn is_about_access(&self) -> bool {
        matches!(self.response.status, 401 | 403 | 407 | 429)
    }

    /// The error that it stands for, as the answer to request `id` if there was one.
    pub(crate) fn into_error(self, id: Option<u64>) -> Error {
        if !self.is_about_access()
            && let Some(envelope) = &self.envelope
            && let Err(error) = result_of(envelope, id.unwrap_or_default())
            && matches!(error.kind(), ErrorKind::Rpc(_))
        {
            return error;
        }
        match self.response.error_for_status() {
            Err(error) => error,
            Ok(_) => Error::invalid_reply("the server refused with a status of success"),
        }
    }
}
