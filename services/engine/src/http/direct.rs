//! Plain HTTP/1.1 over TCP, with the connection in the hands of the call that uses it.
//!
//! Whoever waits for a reply also drives the connection: nothing is handed to another task on the way,
//! and when the call is given up, its socket and the frames that wait to be written go with it. So a
//! caller's buffer can be lent to the connection whole. With the connection in a task of its own, as a
//! general client has it, a peer that stopped reading would keep the buffer long after the call.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tower_service::Service;

use super::body::RequestBody;
use super::connect::{IDLE_CONNECTION, SystemResolver};
use super::options::ClientOptions;
use super::progress::Progress;
use super::transport::TransportError;

/// Connections to any number of hosts, kept for the next request.
#[derive(Debug)]
pub(super) struct Direct {
    connector: HttpConnector<SystemResolver>,
    protocol: http1::Builder,
    connect_timeout: Option<Duration>,
    idle: Arc<IdleConnections>,
}

impl Direct {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let mut connector = HttpConnector::new_with_resolver(SystemResolver);
        connector.set_nodelay(true);
        let mut protocol = http1::Builder::new();
        protocol.max_headers(options.limits.max_headers);
        protocol.max_header_size(options.limits.max_header_bytes);
        Self { connector, protocol, connect_timeout: options.timeouts.connect, idle: Arc::default() }
    }

    /// Send `request` to `authority` (`host` or `host:port`), and wait for the head of the reply.
    pub(super) async fn send(
        &self,
        authority: &str,
        mut request: Request<RequestBody>,
        progress: &Arc<Progress>,
    ) -> Result<Response<ReplyBody>, TransportError> {
        loop {
            let idle = self.idle.take(authority).await;
            let is_fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect(authority).await?,
            };
            match connection.send(request, progress).await {
                Ok(response) => {
                    let home = Home { idle: Arc::clone(&self.idle), authority: authority.into() };
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

    async fn connect(&self, authority: &str) -> Result<Connection, TransportError> {
        let origin = format!("http://{authority}/").parse().map_err(TransportError::Url)?;
        let connecting = self.connector.clone().call(origin);
        let connected = match self.connect_timeout {
            None => connecting.await,
            Some(patience) => tokio::time::timeout(patience, connecting)
                .await
                .map_err(|_| TransportError::ConnectTimeout)?,
        };
        let stream = connected.map_err(|cause| TransportError::Connect(cause.into()))?;
        let wire = Arc::default();
        let socket = Socket { stream, wire: Arc::clone(&wire) };
        let (sender, driver) = self.protocol.handshake(socket).await.map_err(TransportError::Http)?;
        Ok(Connection { sender, driver: Box::pin(driver), is_open: true, wire, seen: 0 })
    }
}

/// A connection, and the half of it that has to be polled for anything to happen.
struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: Pin<Box<http1::Connection<Socket, RequestBody>>>,
    is_open: bool,
    wire: Arc<Wire>,
    /// Of the bytes written, those that the clock of the call has been told of.
    seen: u64,
}

/// What a connection shares with its socket, which the driver owns.
#[derive(Default)]
struct Wire {
    written: AtomicU64,
    /// The next read asks the system whether the peer has closed, rather than wait to be told.
    look: AtomicBool,
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
        // What went wrong is told to whoever waits for the reply or its body.
        self.is_open = self.is_open && self.driver.as_mut().poll(context).is_pending();
        let written = self.wire.written.load(Relaxed);
        if written != self.seen {
            self.seen = written;
            progress.touch();
        }
    }

    /// Whether another request can be sent: the last is complete in both directions, and the peer has
    /// neither closed the connection nor sent what nobody asked for.
    fn is_reusable(&mut self, context: &mut Context<'_>) -> bool {
        self.wire.look.store(true, Relaxed);
        self.is_open = self.is_open && self.driver.as_mut().poll(context).is_pending();
        self.is_open && self.sender.is_ready()
    }
}

/// The socket, with the bytes it took counted.
struct Socket {
    stream: TokioIo<TcpStream>,
    wire: Arc<Wire>,
}

impl Socket {
    /// Whether the peer has closed its side or reset the connection, as far as the system knows.
    fn has_ended(&self) -> bool {
        match SockRef::from(self.stream.inner()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(waiting) => waiting == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.wire.written.fetch_add(bytes as u64, Relaxed);
        }
        written
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.wire.look.swap(false, Relaxed) && self.has_ended() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of a reply, and the connection it comes from. Read to its end, it gives the connection
/// back; dropped before, it closes it.
pub(super) struct ReplyBody {
    incoming: Incoming,
    connection: Option<(Connection, Home)>,
    progress: Arc<Progress>,
}

/// Where a connection is kept when nobody uses it.
struct Home {
    idle: Arc<IdleConnections>,
    authority: Box<str>,
}

impl ReplyBody {
    fn new(incoming: Incoming, connection: Connection, home: Home, progress: &Arc<Progress>) -> Self {
        Self { incoming, connection: Some((connection, home)), progress: Arc::clone(progress) }
    }

    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some((connection, _)) = &mut self.connection {
            connection.drive(context, &self.progress);
        }
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn give_back(&mut self, context: &mut Context<'_>) {
        if let Some((mut connection, home)) = self.connection.take()
            && connection.is_reusable(context)
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

/// Connections that wait for the next request, by authority, the most recently used last.
#[derive(Default)]
struct IdleConnections {
    state: Mutex<IdleState>,
}

#[derive(Default)]
struct IdleState {
    by_authority: HashMap<Box<str>, Vec<Idle>>,
    /// Whether a task closes those that have waited too long.
    is_watched: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl IdleConnections {
    /// The connection used last that is still open.
    async fn take(&self, authority: &str) -> Option<Connection> {
        loop {
            let mut connection = self.pop(authority)?;
            let is_reusable = std::future::poll_fn(|context| Poll::Ready(connection.is_reusable(context)));
            if is_reusable.await {
                return Some(connection);
            }
        }
    }

    fn pop(&self, authority: &str) -> Option<Connection> {
        let idle = self.state().by_authority.get_mut(authority)?.pop()?;
        (idle.since.elapsed() < IDLE_CONNECTION).then_some(idle.connection)
    }

    fn put(self: &Arc<Self>, authority: &str, connection: Connection) {
        let mut state = self.state();
        let idle = Idle { connection, since: Instant::now() };
        match state.by_authority.get_mut(authority) {
            Some(waiting) => waiting.push(idle),
            None => drop(state.by_authority.insert(authority.into(), vec![idle])),
        }
        if !state.is_watched {
            state.is_watched = true;
            tokio::spawn(close_the_stale(Arc::downgrade(self)));
        }
    }

    /// Close what has waited too long; whether there is anything left to watch.
    fn close_stale(&self) -> bool {
        let mut state = self.state();
        state.by_authority.retain(|_, waiting| {
            waiting.retain(|idle| idle.since.elapsed() < IDLE_CONNECTION);
            !waiting.is_empty()
        });
        state.is_watched = !state.by_authority.is_empty();
        state.is_watched
    }

    fn state(&self) -> MutexGuard<'_, IdleState> {
        // Nothing panics while the lock is held; were it to happen, the lists would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for IdleConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting: usize = self.state().by_authority.values().map(Vec::len).sum();
        f.debug_struct("IdleConnections").field("waiting", &waiting).finish()
    }
}

async fn close_the_stale(idle: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(IDLE_CONNECTION).await;
        if !idle.upgrade().is_some_and(|idle| idle.close_stale()) {
            return;
        }
    }
}
