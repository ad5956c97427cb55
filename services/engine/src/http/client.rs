//! The client: one request, perhaps in several attempts, and its reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Version};
use mcpgateway_shm::PerProcess;

use super::attempt::{Attempt, SentBody};
use super::body::Upload;
use super::decode::{self, BodyReader};
use super::failure::classify;
use super::guard::{GivenBy, Guard};
use super::options::{ClientOptions, Limits, Timeouts};
use super::progress::Progress;
use super::receive::{Collector, Destination, within_limit};
use super::redact::redacted;
use super::request::Request;
use super::transport::{ReplyBody, Transport};
use crate::error::{Error, ErrorKind, Phase, Result, Sent};
use crate::payload::{Decision, Payload};

const MOST_REDIRECTS: u32 = 20;
const OUR_NAME: HeaderValue =
    HeaderValue::from_static(concat!("mcpgateway-rust/", env!("CARGO_PKG_VERSION")));

/// A pool of connections and the rules by which requests use them. Clones share it.
///
/// Used in a forked child, it opens connections of its own there.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    /// Sent with every request that does not set the same name.
    headers: HeaderMap,
    transport: PerProcess<Transport>,
    closed: AtomicBool,
}

/// A complete reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The protocol that was spoken.
    pub version: Version,
    /// The URL that answered, without userinfo and query.
    pub url: String,
    /// The body; empty if it went into the caller's buffer or a file.
    pub body: Payload,
    /// Bytes of the body, decoded.
    pub received: u64,
    /// How the body of the request was sent.
    pub sent: Decision,
}

/// A reply whose body has yet to be read.
pub struct StreamingResponse {
    /// The status code.
    pub status: u16,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// The protocol that was spoken.
    pub version: Version,
    /// The URL that answered, without userinfo and query.
    pub url: String,
    /// How the body of the request was sent.
    pub sent: Decision,
    /// The request it belongs to, for the errors.
    subject: String,
    body: BodyReader,
    sent_body: SentBody,
    /// Ends what is left of the request when the reply is complete or not wanted any more.
    upload: Upload,
    call: Call,
}

/// What holds for one call from its beginning to its end.
#[derive(Clone, Debug)]
struct Call {
    timeouts: Timeouts,
    limits: Limits,
    guard: Option<Guard>,
    progress: Arc<Progress>,
}

impl Client {
    /// A client with these options.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when an option cannot hold, such as a file without a certificate.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let headers = default_headers(&options)?;
        let transport = PerProcess::new();
        transport.get_or_try_init(|| Transport::new(&options))?;
        Ok(Self { shared: Arc::new(Shared { options, headers, transport, closed: AtomicBool::new(false) }) })
    }

    /// The client of this process with all options at their defaults, and the policy of the environment.
    ///
    /// # Errors
    /// As for [`new`](Self::new) and [`TransferPolicy::from_environment`](crate::TransferPolicy::from_environment).
    pub fn shared() -> Result<&'static Self> {
        static SHARED: PerProcess<Client> = PerProcess::new();
        SHARED.get_or_try_init(|| {
            let policy = crate::TransferPolicy::from_environment()?;
            Self::new(ClientOptions { policy, ..ClientOptions::default() })
        })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Refuse further requests and close the connections that nobody uses; those under way go on.
    pub fn close(&self) {
        self.shared.closed.store(true, Relaxed);
        if let Some(transport) = self.shared.transport.get() {
            transport.close_idle();
        }
    }

    /// Send `request` and receive its whole reply.
    ///
    /// # Errors
    /// Any [`ErrorKind`]; its [`sent`](Error::sent) says whether the peer may have acted. A status
    /// of 400 or more is not an error here.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        let subject = request.subject();
        let destination = std::mem::take(&mut request.destination);
        let call = self.call(&request);
        // Boxed, as what watches it would hold its kilobytes twice.
        let whole = Box::pin(async {
            let opened = self.open(&call, request, subject.clone()).await?;
            opened.receive(destination, self.options()).await
        });
        call.progress.watch(&call.timeouts, whole).await.map_err(|error| error.within(&subject))
    }

    /// Send `request` and receive the head of its reply; the body is read chunk by chunk.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn stream(&self, request: Request) -> Result<StreamingResponse> {
        let subject = request.subject();
        let call = self.call(&request);
        let opening = self.open(&call, request, subject.clone());
        call.progress.watch(&call.timeouts, opening).await.map_err(|error| error.within(&subject))
    }

    fn call(&self, request: &Request) -> Call {
        let options = self.options();
        Call {
            timeouts: request.timeouts.unwrap_or(options.timeouts),
            limits: request
                .limits
                .map_or(options.limits, |limits| limits.within_head_limits(&options.limits)),
            guard: request.guard.clone().or_else(|| options.guard.clone()),
            progress: Arc::clone(&request.progress),
        }
    }

    /// Send until there is a reply that is no redirect to follow.
    async fn open(&self, call: &Call, request: Request, subject: String) -> Result<StreamingResponse> {
        crate::fault::point("client::send");
        if self.shared.closed.load(Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the client is closed: make a new one"));
        }
        let options = self.options();
        let mut attempt = Attempt::prepare(request, &self.shared.headers).await?;
        let sent = attempt.decision();
        let (mut retries, mut redirects) = (options.retry.attempts, 0);
        loop {
            let exchanged = self.exchange(call, &mut attempt, retries > 0).await;
            match exchanged.map_err(|error| if redirects > 0 { after_redirect(error) } else { error }) {
                Ok((response, upload)) => match attempt.redirected_by(&response, options)? {
                    Some(_) if redirects == MOST_REDIRECTS => {
                        return Err(Error::new(ErrorKind::InvalidReply, "more than 20 redirects")
                            .with_sent(Sent::Yes));
                    }
                    Some(next) => (attempt, redirects) = (next, redirects + 1),
                    None => {
                        return StreamingResponse::new(
                            (response, upload),
                            attempt,
                            sent,
                            subject,
                            call.clone(),
                            options,
                        );
                    }
                },
                Err(error) if retries > 0 && attempt.may_follow(&error, options.retry) => retries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Send once and wait for the head of the reply.
    async fn exchange(
        &self,
        call: &Call,
        attempt: &mut Attempt,
        may_retry: bool,
    ) -> Result<(http::Response<ReplyBody>, Upload)> {
        let keep = may_retry || self.options().follow_redirects;
        let transport = self.shared.transport.get_or_try_init(|| Transport::new(self.options()))?;
        let lane = transport.lane(attempt.url());
        let guard = call.guard_for(attempt.given_by());
        let (outgoing, upload) = attempt.next(lane, &call.progress, keep);
        match transport.send(lane, outgoing, guard.as_ref(), self.options(), &call.progress).await {
            Ok(response) => Ok((response, upload)),
            Err(cause) => Err(classify(cause, &call.progress, &call.timeouts, &call.limits)),
        }
    }
}

impl Response {
    /// This reply, if its status is one of success: 200 to 299.
    ///
    /// # Errors
    /// [`ErrorKind::Status`], which holds it.
    pub fn error_for_status(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let subject = format!("{} answered with status {}", self.url, self.status);
        let error = Error::new(ErrorKind::Status(Box::new(self)), subject);
        Err(error.with_phase(Phase::FirstByte).with_sent(Sent::Yes))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    /// Without the headers, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &self.url)
            .field("received", &self.received)
            .finish()
    }
}

impl Call {
    /// What judges the addresses of a request whose URL comes from there.
    fn guard_for(&self, given_by: GivenBy) -> Option<Guard> {
        match &self.guard {
            Some(guard) => Some(guard).filter(|guard| guard.is_for(given_by)).cloned(),
            None => (given_by == GivenBy::Peer).then(Guard::default),
        }
    }
}

impl StreamingResponse {
    fn new(
        (response, upload): (http::Response<ReplyBody>, Upload),
        attempt: Attempt,
        sent: Decision,
        subject: String,
        call: Call,
        options: &ClientOptions,
    ) -> Result<Self> {
        crate::fault::point("receive::head");
        let (head, body) = response.into_parts();
        let url = redacted(attempt.url());
        let sent_body = attempt.into_sent_body();
        // A reply to HEAD, a 204 or a 304 names the coding of a body that it does not have.
        let has_body = !http_body::Body::is_end_stream(&body);
        let coding = has_body
            .then(|| decode::coding_of(&head.headers, &options.accept_encoding))
            .transpose()?
            .flatten();
        let announced = http_body::Body::size_hint(&body).exact();
        call.progress.begin_receiving(announced);
        check_head(&head.headers, announced, &call.limits)?;
        let body = BodyReader::new(body, coding, &call.progress, &call.limits);
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            version: head.version,
            url,
            sent,
            subject,
            body,
            sent_body,
            upload,
            call,
        })
    }

    /// What holds for the reply.
    pub(super) fn limits(&self) -> &Limits {
        &self.call.limits
    }

    /// Bytes of the body, as far as the peer has announced them.
    #[must_use]
    pub fn announced(&self) -> Option<u64> {
        self.body.announced()
    }

    /// The next bytes of the body as they arrive; `None` at its end.
    ///
    /// Nothing is read ahead of this call but what the socket holds: a slow reader slows the peer.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Self { body, call, subject, .. } = self;
        call.progress.touch();
        let next = body.next(&call.progress, &call.timeouts, &call.limits);
        let chunk = call.progress.watch(&call.timeouts, next).await.map_err(|error| error.within(subject))?;
        if chunk.is_none() {
            self.upload = Upload::none();
            self.sent_body.check().await?;
        }
        Ok(chunk)
    }

    /// All that is left of the body.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub async fn read(self, options: &ClientOptions) -> Result<Response> {
        let (subject, call) = (self.subject.clone(), self.call.clone());
        call.progress.touch();
        let whole = self.receive(Destination::Memory, options);
        call.progress.watch(&call.timeouts, whole).await.map_err(|error| error.within(&subject))
    }

    async fn receive(mut self, destination: Destination, options: &ClientOptions) -> Result<Response> {
        let body = self.collect(destination, options).await.map_err(while_receiving)?;
        drop(self.upload);
        self.sent_body.check().await?;
        Ok(Response {
            status: self.status,
            headers: self.headers,
            version: self.version,
            url: self.url,
            received: body.decision().len,
            body,
            sent: self.sent,
        })
    }

    async fn collect(&mut self, destination: Destination, options: &ClientOptions) -> Result<Payload> {
        let Call { progress, timeouts, limits, .. } = &self.call;
        let announced = self.body.announced();
        let mut next = self.body.next(progress, timeouts, limits).await?;
        let mut collector = Collector::new(destination, announced, limits, options.spool.clone()).await?;
        while let Some(chunk) = next {
            collector.write(&chunk).await?;
            drop(chunk);
            next = self.body.next(progress, timeouts, limits).await?;
        }
        collector.finish(&options.policy).await
    }
}

/// The request was received by whoever redirected it: a refusal to go on does not undo that.
fn after_redirect(error: Error) -> Error {
    if *error.kind() == ErrorKind::AddressRefused { error.with_sent(Sent::Yes) } else { error }
}

/// What can be said of an error in receiving, where it does not say so itself.
fn while_receiving(error: Error) -> Error {
    let phase = error.phase().unwrap_or(Phase::Receive);
    error.with_phase(phase).with_sent(Sent::Yes)
}

fn check_head(headers: &HeaderMap, announced: Option<u64>, limits: &Limits) -> Result<()> {
    crate::fault::point("receive::limits");
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    within_limit("max_header_bytes", limits.max_header_bytes as u64, bytes as u64)?;
    within_limit("max_headers", limits.max_headers as u64, headers.len() as u64)?;
    within_limit("max_response_bytes", limits.max_response_bytes, announced.unwrap_or(0))?;
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        // One of them lies: such a reply may have been smuggled in (RFC 9112, section 6.3).
        let subject = "the reply has both a Content-Length and a Transfer-Encoding";
        return Err(Error::new(ErrorKind::Protocol, subject)
            .with_phase(Phase::FirstByte)
            .with_sent(Sent::Yes));
    }
    Ok(())
}

/// The headers of every request: the caller's, and ours where the caller has none.
fn default_headers(options: &ClientOptions) -> Result<HeaderMap> {
    let mut headers = options.headers.clone();
    let accepted = match options.accept_encoding.as_slice() {
        // Without this header any coding would do (RFC 9110, section 12.5.3).
        [] => "identity".to_owned(),
        codings => codings.iter().map(|coding| coding.as_str()).collect::<Vec<_>>().join(", "),
    };
    let accepted = HeaderValue::from_str(&accepted)
        .map_err(|cause| Error::invalid_request("accept_encoding is no header value").with_source(cause))?;
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(ACCEPT_ENCODING).or_insert(accepted);
    headers.entry(USER_AGENT).or_insert(OUR_NAME);
    Ok(headers)
}
