//! One request as it is sent, sent again, or sent elsewhere after a redirect.

use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION,
    USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::body::{PayloadBody, RequestBody, SentChecksum, StreamedBody, Upload};
use super::guard::GivenBy;
use super::options::{ClientOptions, Retry};
use super::progress::Progress;
use super::request::{Body, Mutation, Request, is_vouched_for};
use super::transport::{Lane, Outgoing};
use crate::error::{Error, ErrorKind, Phase, Result, Sent};
use crate::payload::{Decision, Payload, Transfer};
use crate::runtime;

/// Headers that go along to another origin. A list of what may, as any other may be a secret.
const ACROSS_ORIGINS: [HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT];

/// A request that can be sent, and sent again as long as its body is held.
pub(super) struct Attempt {
    method: Method,
    url: Url,
    given_by: GivenBy,
    headers: HeaderMap,
    body: Body,
    /// The body was made while it was sent: there is nothing left to send again.
    is_spent: bool,
    is_idempotent: bool,
    checksum: Option<Arc<SentChecksum>>,
}

/// What is left of the body of a request once it was sent.
#[derive(Default)]
pub(super) struct SentBody {
    watched: Option<(Payload, Arc<SentChecksum>)>,
}

impl Attempt {
    /// Make the body, where it has yet to be made, and put the headers of the client beside its own. They are for
    /// whom the caller chose: to where a peer says, go those alone that any other origin gets.
    pub(super) async fn prepare(request: Request, defaults: &HeaderMap) -> Result<Self> {
        let mut headers = match request.given_by {
            GivenBy::Caller => defaults.clone(),
            GivenBy::Peer => keep_only(defaults, &ACROSS_ORIGINS),
        };
        let mut last = None;
        for (name, value) in request.headers {
            if let Some(name) = name {
                // The first value of a name takes the place of the client's.
                headers.insert(&name, value);
                last = Some(name);
            } else {
                let name = last.as_ref().expect("a repeated name comes after its first value");
                headers.append(name, value);
            }
        }
        if let Some(credentials) = basic_credentials(&request.url)
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, credentials);
        }
        if matches!(request.body, Body::Streamed(_)) && !may_have_streamed_body(&request.method) {
            let subject = format!("a {} request cannot have a body of unknown length", request.method);
            return Err(Error::invalid_request(subject));
        }
        let body = prepare_body(request.body, request.mutation).await?;
        let checksum = (request.mutation == Mutation::Detect).then(Arc::default);
        Ok(Self {
            method: request.method,
            url: request.url,
            given_by: request.given_by,
            headers,
            body,
            is_spent: false,
            is_idempotent: request.is_idempotent,
            checksum,
        })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Where the URL comes from.
    pub(super) fn given_by(&self) -> GivenBy {
        self.given_by
    }

    /// How the body is sent.
    pub(super) fn decision(&self) -> Decision {
        match &self.body {
            Body::Payload(payload) => payload.decision(),
            Body::Streamed(_) => Decision::because(Transfer::Copy, 0, "stream, sent as it is made"),
            Body::Empty | Body::Prepare(_) => Decision::because(Transfer::Copy, 0, "no body"),
        }
    }

    /// The request as it is sent on `lane`, and what ends the sending of its body. Unless it is to be kept
    /// for another attempt, the body is given away, so that its owner is free as soon as the last byte
    /// has left.
    pub(super) fn next(&mut self, lane: Lane, progress: &Arc<Progress>, keep: bool) -> (Outgoing, Upload) {
        let headers = if keep { self.headers.clone() } else { std::mem::take(&mut self.headers) };
        let (body, upload) = match self.body_to_send(keep) {
            Body::Payload(payload) => {
                progress.begin(Some(payload.len()));
                let (body, upload) = PayloadBody::new(payload, lane, progress, self.checksum.clone());
                (RequestBody::Payload(body), upload)
            }
            Body::Streamed(streamed) => {
                self.is_spent = true;
                progress.begin(None);
                let (body, upload) = StreamedBody::new(streamed.0, progress);
                (RequestBody::Streamed(body), upload)
            }
            Body::Empty | Body::Prepare(_) => {
                progress.begin_without_body(lane);
                (RequestBody::Empty, Upload::none())
            }
        };
        (Outgoing { method: self.method.clone(), url: self.url.clone(), headers, body }, upload)
    }

    fn body_to_send(&mut self, keep: bool) -> Body {
        match &self.body {
            Body::Payload(payload) if keep || self.checksum.is_some() => Body::Payload(payload.clone()),
            _ => std::mem::take(&mut self.body),
        }
    }

    /// Whether this request may be sent again after `error`.
    pub(super) fn may_follow(&self, error: &Error, retry: Retry) -> bool {
        let is_idempotent = self.is_idempotent || self.method.is_idempotent();
        let harmless = error.sent() == Sent::No || retry.non_idempotent || is_idempotent;
        let timed_out = matches!(error.kind(), ErrorKind::Timeout { name, .. } if *name != "connect");
        error.is_of_the_connection() && harmless && !timed_out && !self.is_spent
    }

    /// The request that `response` redirects to, if it does and redirects are followed.
    pub(super) fn redirected_by<B>(
        &self,
        response: &http::Response<B>,
        options: &ClientOptions,
    ) -> Result<Option<Self>> {
        let Some(location) = response.headers().get(LOCATION).filter(|_| options.follow_redirects) else {
            return Ok(None);
        };
        let (method, body) = match response.status() {
            StatusCode::SEE_OTHER if self.method != Method::HEAD => (Method::GET, Body::Empty),
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if self.method == Method::POST => {
                (Method::GET, Body::Empty)
            }
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => (self.method.clone(), self.body_again()?),
            _ => return Ok(None),
        };
        let url = self.redirect_url(location.as_bytes())?;
        let mut headers = self.headers.clone();
        if matches!(body, Body::Empty) {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
        }
        if url.origin() != self.url.origin() {
            headers = keep_only(&headers, &ACROSS_ORIGINS);
        }
        let given_by = if is_vouched_for(&self.url, &url) { self.given_by } else { GivenBy::Peer };
        let checksum = self.checksum.clone();
        let is_idempotent = self.is_idempotent;
        Ok(Some(Self { method, url, given_by, headers, body, is_spent: false, is_idempotent, checksum }))
    }

    fn redirect_url(&self, location: &[u8]) -> Result<Url> {
        let url = std::str::from_utf8(location).ok().and_then(|location| self.url.join(location).ok());
        url.filter(|url| url.scheme() == "https" || (url.scheme() == "http" && self.url.scheme() == "http"))
            .ok_or_else(|| {
                let subject = "redirected to something that is no URL, or from https to http";
                Error::new(ErrorKind::InvalidReply, subject).with_phase(Phase::FirstByte).with_sent(Sent::Yes)
            })
    }

    fn body_again(&self) -> Result<Body> {
        match &self.body {
            Body::Payload(payload) => Ok(Body::Payload(payload.clone())),
            _ if self.is_spent => {
                let subject = "redirected, but a body that is made while it is sent cannot be sent again";
                Err(Error::invalid_request(subject).with_phase(Phase::FirstByte).with_sent(Sent::Yes))
            }
            Body::Empty | Body::Prepare(_) | Body::Streamed(_) => Ok(Body::Empty),
        }
    }

    /// Let the body go, unless it has to be looked at once more.
    pub(super) fn into_sent_body(self) -> SentBody {
        match (self.body, self.checksum) {
            (Body::Payload(payload), Some(checksum)) => SentBody { watched: Some((payload, checksum)) },
            _ => SentBody::default(),
        }
    }
}

impl SentBody {
    /// Fail if the buffer is not what was sent.
    pub(super) async fn check(&mut self) -> Result<()> {
        let Some((payload, checksum)) = self.watched.take() else {
            return Ok(());
        };
        let sent = checksum.get();
        if sent == SentChecksum::NOT_YET || sent == runtime::blocking(move || payload.checksum()).await? {
            return Ok(());
        }
        let subject = "the body was written to while it was sent: what the peer received may be mixed";
        Err(Error::new(ErrorKind::PayloadMutated, subject).with_phase(Phase::Send).with_sent(Sent::Yes))
    }
}

/// Whether a body of unknown length would be sent: HTTP/1.1 gives it no framing with these.
fn may_have_streamed_body(method: &Method) -> bool {
    ![Method::GET, Method::HEAD].contains(method)
}

/// The userinfo of `url` as basic authentication (RFC 7617), if it has one.
fn basic_credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut userinfo: Vec<u8> = percent_decode_str(url.username()).collect();
    userinfo.push(b':');
    userinfo.extend(percent_decode_str(url.password().unwrap_or_default()));
    let encoded = base64_simd::STANDARD.encode_to_string(userinfo);
    let mut credentials = HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 is ASCII");
    credentials.set_sensitive(true);
    Some(credentials)
}

async fn prepare_body(body: Body, mutation: Mutation) -> Result<Body> {
    crate::fault::point("payload::prepare");
    let payload = match body {
        Body::Prepare(prepare) => runtime::blocking(prepare).await??,
        Body::Payload(payload) => payload,
        other => return Ok(other),
    };
    if mutation == Mutation::Snapshot && payload.decision().transfer != Transfer::Copy {
        let copied =
            runtime::blocking(move || payload.to_copy("snapshot: copied before the first byte left"));
        return Ok(copied.await??.into());
    }
    Ok(payload.into())
}

fn keep_only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
