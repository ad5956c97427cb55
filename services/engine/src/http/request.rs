//! A request, checked when it is made, so that nobody has to check it again.

use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;

use super::body::{self, BodySender, Parts};
use super::guard::{GivenBy, Guard};
use super::options::{Limits, Timeouts};
use super::progress::Progress;
use super::receive::Destination;
use super::redact::redacted;
use crate::error::{Error, Result};
use crate::payload::Payload;

/// A request to be sent by a [`Client`](super::Client).
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) mutation: Mutation,
    pub(super) timeouts: Option<Timeouts>,
    pub(super) limits: Option<Limits>,
    pub(super) guard: Option<Guard>,
    pub(super) given_by: GivenBy,
    pub(super) destination: Destination,
    pub(super) progress: Arc<Progress>,
    pub(super) is_idempotent: bool,
}

/// What happens when the owner of a borrowed body writes to it while it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing: the owner promised not to.
    #[default]
    Borrow,
    /// Nothing: a copy made before the first byte leaves is what is sent.
    Snapshot,
    /// The call fails with [`ErrorKind::PayloadMutated`](crate::ErrorKind::PayloadMutated).
    Detect,
}

/// A payload that has yet to be made, on a thread that may take its time.
pub type Prepare = Box<dyn FnOnce() -> Result<Payload> + Send>;

/// The body of a request.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// A body whose length is known.
    Payload(Payload),
    /// A body that is copied or gathered before it is sent, off the calling thread.
    Prepare(Prepare),
    /// A body that is made while it is sent.
    #[doc(hidden)]
    Streamed(Streamed),
}

/// The receiving half of a streamed body.
#[derive(Debug)]
pub struct Streamed(pub(super) Parts);

impl Body {
    /// A body that is made while it is sent, and where to put its parts.
    #[must_use]
    pub fn streamed() -> (BodySender, Self) {
        let (sender, parts) = body::channel();
        (sender, Self::Streamed(Streamed(parts)))
    }
}

impl From<Payload> for Body {
    fn from(payload: Payload) -> Self {
        if payload.is_empty() { Self::Empty } else { Self::Payload(payload) }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Payload(payload) => payload.fmt(f),
            Self::Prepare(_) => f.write_str("Prepare"),
            Self::Streamed(_) => f.write_str("Streamed"),
        }
    }
}

impl Request {
    /// A request without headers or body.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when `method` is no method or
    /// `url` is no absolute `http` or `https` URL.
    pub fn new(method: &str, url: &str) -> Result<Self> {
        Ok(Self {
            method: parse_method(method)?,
            url: parse_url(url)?,
            headers: HeaderMap::new(),
            body: Body::Empty,
            mutation: Mutation::Borrow,
            timeouts: None,
            limits: None,
            guard: None,
            given_by: GivenBy::Caller,
            destination: Destination::Memory,
            progress: Arc::default(),
            is_idempotent: false,
        })
    }

    /// A request like this one, with neither its body nor its destination.
    #[must_use]
    pub fn like(&self) -> Self {
        Self {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: Body::Empty,
            mutation: self.mutation,
            timeouts: self.timeouts,
            limits: self.limits,
            guard: self.guard.clone(),
            given_by: self.given_by,
            destination: Destination::Memory,
            progress: Arc::default(),
            is_idempotent: self.is_idempotent,
        }
    }

    /// What it has beside its method, URL, body and destination.
    #[must_use]
    pub fn template(&self) -> Template {
        Template {
            headers: self.headers.clone(),
            mutation: self.mutation,
            timeouts: self.timeouts,
            limits: self.limits,
            progress: Arc::clone(&self.progress),
            guard: self.guard.clone(),
            given_by: self.given_by,
        }
    }

    /// The same request, and whether sending it twice is the same as sending it once, whatever its method.
    #[must_use]
    pub fn idempotent(mut self, is_idempotent: bool) -> Self {
        self.is_idempotent = is_idempotent;
        self
    }

    /// The same request with a header that it does not have yet.
    #[must_use]
    pub fn default_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.entry(name).or_insert(value);
        self
    }

    /// The same request with one more header.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when the name or value is none,
    /// or the header is one that the connection sets itself.
    pub fn header(mut self, name: &str, value: &[u8]) -> Result<Self> {
        let (name, value) = parse_header(name, value)?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// The same request with these headers, parsed by [`parse_headers`].
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The same request with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request with what happens when its body is written to.
    #[must_use]
    pub fn mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        self
    }

    /// The same request with timeouts of its own.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Option<Timeouts>) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same request with limits of its own.
    #[must_use]
    pub fn limits(mut self, limits: Option<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// The same request with a guard of its own in place of the client's.
    #[must_use]
    pub fn guard(mut self, guard: Option<Guard>) -> Self {
        self.guard = guard;
        self
    }

    /// The same request, whose URL a peer gave, in a card, a part or a link: guarded, if need be by the
    /// default guard, and without the headers of the client, which may be credentials.
    #[must_use]
    pub fn from_peer(mut self) -> Self {
        self.given_by = GivenBy::Peer;
        self
    }

    /// As [`from_peer`](Self::from_peer), but for a URL of the same origin as `known`, which the caller gave.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when `known` is no absolute `http` or
    /// `https` URL.
    pub fn from_peer_at(self, known: &str) -> Result<Self> {
        if is_vouched_for(&parse_url(known)?, &self.url) { Ok(self) } else { Ok(self.from_peer()) }
    }

    /// The same request with another place for the reply's body.
    #[must_use]
    pub fn destination(mut self, destination: Destination) -> Self {
        self.destination = destination;
        self
    }

    /// The same request, counted by `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The method and the URL without what may be secret: userinfo, query and fragment.
    pub(super) fn subject(&self) -> String {
        format!("{} {}", self.method, redacted(&self.url))
    }
}

/// What requests have in common that belong to one call. Cloning shares the progress.
#[derive(Clone, Default)]
pub struct Template {
    /// The headers.
    pub headers: HeaderMap,
    /// What happens when the body is written to while it is sent.
    pub mutation: Mutation,
    /// Instead of the client's.
    pub timeouts: Option<Timeouts>,
    /// Instead of the client's.
    pub limits: Option<Limits>,
    /// Counts the bytes of all of them.
    pub progress: Arc<Progress>,
    /// In place of the client's.
    pub guard: Option<Guard>,
    given_by: GivenBy,
}

impl Template {
    /// A request made from this.
    ///
    /// # Errors
    /// As for [`Request::new`].
    pub fn request(&self, method: &str, url: &str) -> Result<Request> {
        let request = Request::new(method, url)?.headers(self.headers.clone()).mutation(self.mutation);
        let request = request.timeouts(self.timeouts).limits(self.limits).guard(self.guard.clone());
        let request = request.progress(Arc::clone(&self.progress));
        Ok(if self.given_by == GivenBy::Peer { request.from_peer() } else { request })
    }

    /// Whether a header is likely to hold a secret.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.headers.values().any(HeaderValue::is_sensitive)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("headers", &self.headers.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {:?})", self.subject(), self.body)
    }
}

/// Whether who gave the URL `known` has vouched for `url` too: it has the same origin, or is the same host's
/// by TLS, both at their usual ports.
pub(super) fn is_vouched_for(known: &Url, url: &Url) -> bool {
    let is_upgrade = || {
        let is_usual = |url: &Url, scheme| url.scheme() == scheme && url.port().is_none();
        known.host() == url.host() && is_usual(known, "http") && is_usual(url, "https")
    };
    known.origin() == url.origin() || is_upgrade()
}

fn parse_method(method: &str) -> Result<Method> {
    Method::from_bytes(method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT)
        .ok_or_else(|| Error::invalid_request("the method is no HTTP method: pass one such as \"POST\""))
}

fn parse_url(text: &str) -> Result<Url> {
    crate::fault::point("request::url");
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::invalid_request("the URL has a control character: percent-encode it"));
    }
    let url = Url::parse(text.trim_ascii()).map_err(|cause| not_absolute().with_source(cause))?;
    // The parser would take the first part of the path for the host (`http:///path`).
    let has_host = text.split_once("//").is_some_and(|(_, rest)| !rest.starts_with(['/', '\\', '?', '#']));
    if !has_host || !matches!(url.scheme(), "http" | "https") {
        return Err(not_absolute());
    }
    Ok(url)
}

fn not_absolute() -> Error {
    Error::invalid_request("the URL must be absolute: begin it with http:// or https:// and a host")
}

/// Check a list of headers, keeping repeated names and their order.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), as for [`Request::header`].
pub fn parse_headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<HeaderMap> {
    pairs.into_iter().try_fold(HeaderMap::new(), |mut headers, (name, value)| {
        let (name, value) = parse_header(name, value)?;
        headers.append(name, value);
        Ok(headers)
    })
}

fn parse_header(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue)> {
    crate::fault::point("request::header");
    // Not quoted: what is no name may be a secret in the wrong place.
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Error::invalid_request(
            "a header name is empty or has a character other than letters, digits and hyphens",
        )
    })?;
    if is_ours(&parsed) {
        let subject = format!("the header {name:?} is set by the connection itself: leave it out");
        return Err(Error::invalid_request(subject));
    }
    let mut value = HeaderValue::from_bytes(value).map_err(|_| {
        Error::invalid_request(format!(
            "the value of header {name:?} has a control character such as CR, LF or NUL"
        ))
    })?;
    value.set_sensitive(is_sensitive(&parsed));
    Ok((parsed, value))
}

/// Headers that say how a message is framed: a caller's value could smuggle a second request.
fn is_ours(name: &HeaderName) -> bool {
    let named = ["keep-alive", "proxy-connection", "http2-settings"];
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE, TRAILER, EXPECT].contains(name)
        || named.contains(&name.as_str())
}

/// Headers that are likely to hold a secret: HTTP/2 never indexes them, and nothing prints them.
fn is_sensitive(name: &HeaderName) -> bool {
    ["auth", "cookie", "key", "token", "secret", "session"].iter().any(|part| name.as_str().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn refused<T: fmt::Debug>(result: Result<T>) -> String {
        let error = result.expect_err("refused");
        assert_eq!(*error.kind(), ErrorKind::InvalidRequest);
        error.to_string()
    }

    #[test]
    fn what_is_no_request_is_refused_before_anything_is_sent() {
        for url in
            ["agent.example/a", "/a", "", "ftp://agent.example", "http://a\r\nb", "http://a/\0", "http://"]
        {
            refused(Request::new("GET", url));
        }
        for method in ["", "GE T", "GET\r\n", "CONNECT"] {
            refused(Request::new(method, "http://a/"));
        }
        for (name, value) in [
            ("a b", "c"),
            ("", "c"),
            ("a", "b\r\nc: d"),
            ("a", "b\0"),
            ("Host", "b"),
            ("content-length", "1"),
        ] {
            refused(Request::new("GET", "http://a/").expect("valid").header(name, value.as_bytes()));
        }
    }

    #[test]
    fn what_may_be_secret_is_not_printed() {
        let request = Request::new("POST", "https://user:canary@agent.example:8443/a?key=canary#canary")
            .expect("valid");
        let request = request.header("Authorization", b"Bearer canary").expect("valid");
        assert_eq!(format!("{request:?}"), "Request(POST https://agent.example:8443/a?…, Empty)");
        assert!(!refused(request.header("X-Api-Key", b"canary\n")).contains("canary"));
    }

    #[test]
    fn repeated_headers_are_kept_in_order() {
        let headers = parse_headers([("Accept", &b"a"[..]), ("X", b"1"), ("accept", b"b")]).expect("valid");
        let accepted: Vec<_> = headers.get_all("accept").iter().collect();
        assert_eq!(accepted, ["a", "b"]);
    }
}
