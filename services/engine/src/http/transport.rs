//! The two ways to a peer: plain HTTP/1.1 over a connection of the call's own, and reqwest for TLS,
//! HTTP/2 and proxies.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::{Body, Frame, SizeHint};
use reqwest::Url;
use url::Position;

use super::body::RequestBody;
use super::connect;
use super::direct::{self, Direct};
use super::guard::{Guard, Guarded, GuardedHost};
use super::options::{ClientOptions, Http2};
use super::progress::Progress;
use super::resolve::Resolver;
use crate::error::{Error, Result, Source};
use crate::runtime;

/// The connections of one client in one process.
#[derive(Debug)]
pub(super) struct Transport {
    /// `None` where every request takes a proxy or HTTP/2.
    direct: Option<Direct>,
    pooled: reqwest::Client,
    /// A pool for each of the guards used last, so that no connection is used that its guard has not judged.
    guarded: Mutex<Vec<(Guard, reqwest::Client)>>,
}

/// Guards that have a pool of their own at a time: a client rarely has more than two.
const MOST_GUARDS: usize = 8;

/// Which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The call drives the connection, and what it lends is free when the call is over.
    Direct,
    /// The connection has a task of its own, which may outlive the call.
    Pooled,
}

/// One request as it is sent.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestBody,
}

impl Transport {
    pub(super) fn new(options: &ClientOptions) -> Result<Self> {
        let is_direct = options.proxy.is_none() && !options.trust_env && options.http2 != Http2::Always;
        Ok(Self {
            direct: is_direct.then(|| Direct::new(options)),
            pooled: connect::build(options, None)?,
            guarded: Mutex::default(),
        })
    }

    /// The way that a request to `url` goes.
    pub(super) fn lane(&self, url: &Url) -> Lane {
        if self.direct.is_some() && url.scheme() == "http" { Lane::Direct } else { Lane::Pooled }
    }

    /// Send `outgoing` on `lane`, to where `guard` lets it go, and wait for the head of the reply.
    pub(super) async fn send(
        &self,
        lane: Lane,
        outgoing: Outgoing,
        guard: Option<&Guard>,
        options: &ClientOptions,
        progress: &Arc<Progress>,
    ) -> Result<Response<ReplyBody>, TransportError> {
        let url = guard.map(|_| outgoing.url.clone());
        let guarded = guard.zip(url.as_ref()).and_then(|(guard, url)| Guarded::new(guard, url));
        if let Some(guarded) = guarded {
            guarded.check_host()?;
        }
        if let (Some(direct), Lane::Direct) = (&self.direct, lane) {
            let authority = outgoing.url[Position::BeforeHost..Position::AfterPort].to_owned();
            let request = outgoing.into_http(&authority)?;
            let response = direct.send(&authority, guarded, request, progress).await?;
            return Ok(response.map(|body| ReplyBody::Direct(Box::new(body))));
        }
        // Let the I/O driver look first, so that no connection is used that its peer has closed by now.
        tokio::task::yield_now().await;
        let pool = match guarded {
            None => self.pooled.clone(),
            Some(guarded) => self.guarded_pool(guarded, options).await?,
        };
        let response = pool.execute(outgoing.into_reqwest()).await.map_err(TransportError::Reqwest)?;
        Ok(Response::from(response).map(ReplyBody::Pooled))
    }

    /// The pool for a guarded request to `url`.
    async fn guarded_pool(
        &self,
        guarded: Guarded<'_>,
        options: &ClientOptions,
    ) -> Result<reqwest::Client, TransportError> {
        if options.proxy.is_some() || options.trust_env {
            check_all(guarded, options).await?;
        }
        if options.proxy.is_some() {
            // All connections lead to the proxy, which the caller named.
            return Ok(self.pooled.clone());
        }
        if let Some(pool) = self.known_pool(guarded.guard) {
            return Ok(pool);
        }
        let (guard, options) = (guarded.guard.clone(), options.clone());
        // Reading the system's certificates takes milliseconds.
        let made = runtime::blocking(move || connect::build(&options, Some(&guard))).await??;
        let mut pools = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        pools.insert(0, (guarded.guard.clone(), made.clone()));
        pools.truncate(MOST_GUARDS);
        Ok(made)
    }

    /// The pool made for a guard like this one, which is now the one used last.
    fn known_pool(&self, guard: &Guard) -> Option<reqwest::Client> {
        let mut pools = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = pools.iter().position(|(other, _)| other.is_like(guard))?;
        pools[..=place].rotate_right(1);
        Some(pools[0].1.clone())
    }

    /// Close the direct connections that nobody uses; the others go within the idle time.
    pub(super) fn close_idle(&self) {
        if let Some(direct) = &self.direct {
            direct.close_idle();
        }
    }
}

/// Fail if any address of the host is refused: a proxy may choose any of them.
async fn check_all(guarded: Guarded<'_>, options: &ClientOptions) -> Result<(), TransportError> {
    let GuardedHost::Name(host) = guarded.host else { return Ok(()) };
    let resolver = Resolver { names: options.resolver.clone(), guard: None };
    let found = resolver.all(host).await.map_err(|cause| TransportError::Connect(cause.into()))?;
    Ok(found.into_iter().try_for_each(|address| guarded.guard.check(host, address))?)
}

impl Outgoing {
    fn into_http(self, authority: &str) -> Result<http::Request<RequestBody>, TransportError> {
        let path = &self.url[Position::BeforePath..Position::AfterQuery];
        let mut request = http::Request::new(self.body);
        *request.uri_mut() = path.parse().map_err(TransportError::Url)?;
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let host = HeaderValue::from_str(authority).expect("a parsed URL has a host of visible ASCII");
        request.headers_mut().insert(HOST, host);
        Ok(request)
    }

    fn into_reqwest(mut self) -> reqwest::Request {
        // The credentials are in a header by now. These cannot fail where there is a host, and there is one.
        let _ = self.url.set_username("");
        let _ = self.url.set_password(None);
        let mut request = reqwest::Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        *request.body_mut() = match self.body {
            RequestBody::Empty => None,
            body => Some(reqwest::Body::wrap(body)),
        };
        request
    }
}

/// The body of a reply, whichever way it comes.
pub(super) enum ReplyBody {
    Direct(Box<direct::ReplyBody>),
    Pooled(reqwest::Body),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        match self.get_mut() {
            Self::Direct(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|it| it.map_err(TransportError::Http))),
            Self::Pooled(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|it| it.map_err(TransportError::Reqwest))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct(body) => body.is_end_stream(),
            Self::Pooled(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct(body) => body.size_hint(),
            Self::Pooled(body) => body.size_hint(),
        }
    }
}

/// What went wrong on the way to a peer or back, before it is one of our errors.
#[derive(Debug)]
pub(super) enum TransportError {
    /// No HTTP request can be made of the URL: it has a character that none can have, or is too long.
    Url(http::uri::InvalidUri),
    /// It is one of ours already.
    Own(Error),
    /// There is no connection within the connect timeout.
    ConnectTimeout,
    /// There is no connection.
    Connect(Source),
    /// The connection broke, or what came over it is not HTTP.
    Http(hyper::Error),
    /// As reqwest tells it.
    Reqwest(reqwest::Error),
}

impl TransportError {
    /// Whether it was the connection that could not be made.
    pub(super) fn is_connect(&self) -> bool {
        match self {
            Self::ConnectTimeout | Self::Connect(_) => true,
            Self::Url(_) | Self::Own(_) | Self::Http(_) => false,
            Self::Reqwest(error) => error.is_connect(),
        }
    }

    /// Whether that took longer than the connect timeout.
    pub(super) fn is_connect_timeout(&self) -> bool {
        match self {
            Self::ConnectTimeout => true,
            Self::Url(_) | Self::Own(_) | Self::Connect(_) | Self::Http(_) => false,
            Self::Reqwest(error) => error.is_connect() && error.is_timeout(),
        }
    }

    /// The same error without the URL, which may hold secrets.
    pub(super) fn without_url(self) -> Self {
        match self {
            Self::Reqwest(error) => Self::Reqwest(error.without_url()),
            other => other,
        }
    }
}

impl From<Error> for TransportError {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Own(error) => error.fmt(f),
            Self::ConnectTimeout => f.write_str("no connection in time"),
            Self::Connect(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::Reqwest(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransportError {
    /// The cause of what is printed here: the wrapper itself adds nothing to the chain.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(_) | Self::ConnectTimeout => None,
            Self::Own(error) => Some(error),
            Self::Connect(error) => Some(&**error),
            Self::Http(error) => Some(error),
            Self::Reqwest(error) => Some(error),
        }
    }
}
