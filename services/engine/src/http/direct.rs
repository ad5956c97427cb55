//! Plain HTTP/1.1 over TCP, with the connection in the hands of the call that uses it.
//!
//! Whoever waits for a reply also drives the connection: nothing is handed to another task on the way,
//! and when the call is given up, its socket and the frames that wait to be written go with it. So a
//! caller's buffer can be lent to the connection whole. With the connection in a task of its own, as a
//! general client has it, a peer that stopped reading would keep the buffer long after the call.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use super::body::RequestBody;
use super::guard::Guarded;
use super::idle::IdleConnections;
use super::options::ClientOptions;
use super::progress::Progress;
use super::resolve::Resolver;
use super::socket::{Socket, Wire};
use super::transport::TransportError;

/// The most that hyper buffers unless told otherwise, the head of a reply included.
const DEFAULT_BUFFER: usize = 400 << 10;

/// Connections to any number of hosts, kept for the next request.
#[derive(Debug)]
pub(super) struct Direct {
    resolver: Resolver,
    connector: HttpConnector<Resolver>,
    protocol: http1::Builder,
    connect_timeout: Option<Duration>,
    idle: Arc<IdleConnections>,
}

impl Direct {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let resolver = Resolver { names: options.resolver.clone(), guard: None };
        let connector = connector(&resolver);
        let mut protocol = http1::Builder::new();
        protocol.max_headers(options.limits.max_headers);
        protocol.max_header_size(options.limits.max_header_bytes);
        if options.limits.max_header_bytes > DEFAULT_BUFFER {
            protocol.max_buf_size(options.limits.max_header_bytes);
        }
        Self {
            resolver,
            connector,
            protocol,
            connect_timeout: options.timeouts.connect,
            idle: Arc::default(),
        }
    }

    /// Send `request` to `authority` (`host` or `host:port`), and wait for the head of the reply. With a guard,
    /// over a connection that it lets pass, be it a new one or one that waits for a request.
    pub(super) async fn send(
        &self,
        authority: &str,
        guarded: Option<Guarded<'_>>,
        mut request: Request<RequestBody>,
        progress: &Arc<Progress>,
    ) -> Result<Response<ReplyBody>, TransportError> {
        loop {
            let idle = self.idle.take(authority, guarded).await;
            let is_fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect(authority, guarded).await?,
            };
            match connection.send(request, progress).await {
                Ok(response) => {
                    // Of an HTTP/1.0 peer, hyper would expect no body of unknown length any more.
                    let home = (response.version() == Version::HTTP_11)
                        .then(|| Home { idle: Arc::clone(&self.idle), authority: authority.into() });
                    return Ok(response.map(|body| ReplyBody::new(body, connection, home, progress)));
                }
                Err(mut failed) => match failed.take_message() {
                    // The connection had ended before it looked at the request.
                    Some(untouched) if !is_fresh => request = untouched,
                    _ => return Err(TransportError::Http(failed.into_error())),
                },
            }
        }
    }

    /// Close the connections that wait for a request.
    pub(super) fn close_idle(&self) {
        self.idle.clear();
    }

    async fn connect(
        &self,
        authority: &str,
        guarded: Option<Guarded<'_>>,
    ) -> Result<Connection, TransportError> {
        let origin = format!("http://{authority}/").parse().map_err(TransportError::Url)?;
        let connecting = match guarded {
            None => self.connector.clone().call(origin),
            Some(Guarded { guard, .. }) => {
                let guard = Some(guard.clone());
                connector(&Resolver { guard, ..self.resolver.clone() }).call(origin)
            }
        };
        let connected = match self.connect_timeout {
            None => connecting.await,
            Some(patience) => tokio::time::timeout(patience, connecting)
                .await
                .map_err(|_| TransportError::ConnectTimeout)?,
        };
        let stream = connected.map_err(|cause| TransportError::Connect(cause.into()))?;
        // Of a socket that is not connected any more, writing will tell.
        let address = stream.inner().peer_addr().ok().map(|address| address.ip());
        let wire = Arc::default();
        let socket = Socket::new(stream, Arc::clone(&wire));
        let (sender, driver) = self.protocol.handshake(socket).await.map_err(TransportError::Http)?;
        Ok(Connection { sender, driver: Some(Box::pin(driver)), address, wire, seen: 0 })
    }
}

fn connector(resolver: &Resolver) -> HttpConnector<Resolver> {
    let mut connector = HttpConnector::new_with_resolver(resolver.clone());
    connector.set_nodelay(true);
    connector
}

/// A connection, and the half of it that has to be polled for anything to happen.
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// `None` once it has ended: dropped, it hands back a request that it never looked at.
    driver: Option<Pin<Box<http1::Connection<Socket, RequestBody>>>>,
    /// Where it leads.
    address: Option<IpAddr>,
    wire: Arc<Wire>,
    /// Of the bytes written, those that the clock of the call has been told of.
    seen: u64,
}

impl Connection {
    async fn send(
        &mut self,
        request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let mut reply = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|context| {
            self.drive(context, progress);
            reply.as_mut().poll(context)
        })
        .await
    }

    /// Write and read what can be without waiting.
    fn drive(&mut self, context: &mut Context<'_>, progress: &Progress) {
        self.poll_driver(context);
        let written = self.wire.written();
        if written != self.seen {
            self.seen = written;
            progress.wrote();
        }
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        // What went wrong is told to whoever waits for the reply or its body.
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            self.driver = None;
        }
    }

    /// Whether another request can be sent: the last is complete in both directions.
    fn is_complete(&mut self, context: &mut Context<'_>) -> bool {
        self.poll_driver(context);
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether the guard lets requests go where it leads.
    pub(super) fn is_permitted(&self, guarded: Option<Guarded<'_>>) -> bool {
        guarded.is_none_or(|guarded| self.address.is_some_and(|address| guarded.permits(address)))
    }

    /// Whether it waits for a request, and the peer has neither closed it nor sent what nobody asked for.
    pub(super) fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        self.wire.ask_whether_quiet();
        self.is_complete(context) && self.wire.was_quiet()
    }
}

/// The body of a reply, and the connection it comes from. Read to its end, it gives the connection
/// back; dropped before, it closes it.
pub(super) struct ReplyBody {
    incoming: Incoming,
    connection: Option<Connection>,
    /// `None` if the connection serves once only.
    home: Option<Home>,
    progress: Arc<Progress>,
}

/// Where a connection is kept when nobody uses it.
struct Home {
    idle: Arc<IdleConnections>,
    authority: Box<str>,
}

impl ReplyBody {
    fn new(incoming: Incoming, connection: Connection, home: Option<Home>, progress: &Arc<Progress>) -> Self {
        Self { incoming, connection: Some(connection), home, progress: Arc::clone(progress) }
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some(connection) = &mut self.connection {
            connection.drive(context, &self.progress);
        }
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn give_back(&mut self, context: &mut Context<'_>) {
        if let Some(mut connection) = self.connection.take()
            && let Some(home) = self.home.take()
            && connection.is_complete(context)
        {
            home.idle.put(&home.authority, connection);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        // Asking for a frame is what lets the connection read it: so ask, drive, and ask again.
        let polled = match this.poll_incoming(context) {
            Poll::Pending => this.poll_incoming(context),
            ready @ Poll::Ready(_) => ready,
        };
        if matches!(polled, Poll::Ready(None)) {
            this.give_back(context);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
