//! A loopback server to try the gateway on, and the peer of its tests and benches.
//!
//! | request | reply |
//! |---|---|
//! | `POST /echo` | the same bytes and content type, while they arrive |
//! | `POST or PUT /sink` | `{"bytes": n, "sha256": "…"}`; with `?digest=none` without the digest |
//! | `GET /source/{n}` | `n` reproducible bytes |
//! | `GET /json/{text,messages,embeddings,table}/{n}` | JSON of `n` bytes |
//! | `POST /a2a` | a JSON-RPC 2.0 agent that sends text parts back, at once or as a stream |
//! | `GET /.well-known/agent-card.json` | its card |
//!
//! HTTP/1.1 and HTTP/2 with prior knowledge are spoken on the same port.

mod agent;
mod json;
mod source;

use std::convert::Infallible;
use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use json::Shape;
use source::Rope;

/// The longest reply that may be asked for: 64 GiB.
const MAX_REPLY_LENGTH: u64 = 64 << 30;

/// The longest request that the agent takes: 2 GiB. It is the only one held in memory.
const MAX_AGENT_REQUEST: usize = 2 << 30;

/// Memory set aside on the word of a Content-Length alone; beyond it, bytes must have arrived.
const TRUSTED_LENGTH: usize = 16 << 20;

/// HTTP/2 windows: a large body must not wait for updates.
const WINDOW: u32 = 16 << 20;

/// How long to wait after a failed accept: file descriptors that ran out come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A bound server.
///
/// ```no_run
/// # use a2a_service::serve::Server;
/// # async fn example() -> std::io::Result<()> {
/// let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
/// println!("{}", server.url());
/// server.run(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listen at `address`; port 0 takes a free one, which [`Server::url`] tells.
    ///
    /// # Errors
    /// What the system says when the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serve until `shutdown` resolves; connections open then are dropped as they are.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let protocols = protocols();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                // Finished connections leave the set, or it would grow for ever.
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(stream, protocols.clone()));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        connections.shutdown().await;
    }
}

/// A server on its own thread and its own runtime, for tests and benches; it stops when dropped.
#[derive(Debug)]
pub struct ServerThread {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Start a server on a free port of 127.0.0.1, ready for requests when this returns.
    ///
    /// # Errors
    /// What the system says when there is no port, thread or runtime to be had.
    pub fn start() -> io::Result<ServerThread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (bound, url) = std::sync::mpsc::channel();
        // All of it on the new thread: the caller's may belong to a runtime, which cannot block.
        let serve = async move {
            let server = match Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await {
                Ok(server) => server,
                Err(error) => return bound.send(Err(error)).unwrap_or(()),
            };
            bound.send(Ok(server.url())).unwrap_or(());
            server
                .run(async {
                    // An error means that the sender is gone: a reason to stop as well.
                    stopped.await.ok();
                })
                .await;
        };
        let thread = std::thread::Builder::new()
            .name("loopback-server".into())
            .spawn(move || runtime.block_on(serve))?;
        let url = url.recv().map_err(io::Error::other)??;
        Ok(ServerThread { url, stop: Some(stop), thread: Some(thread) })
    }

    /// See [`Server::url`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed; a second one here would abort the test run.
            thread.join().ok();
        }
    }
}

/// Only the windows are set: read buffers of 64 KiB to 4 MiB in place of hyper's 408 KiB, and
/// HTTP/2 frames of 16 KiB to 1 MiB, made no difference to 512 MiB on loopback.
fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    builder
}

async fn serve_connection(stream: TcpStream, protocols: auto::Builder<TokioExecutor>) {
    // Where it cannot be set, small replies are late and nothing else is wrong.
    stream.set_nodelay(true).ok();
    let connection = protocols.serve_connection(TokioIo::new(stream), service_fn(respond));
    // A connection that breaks concerns its client, who sees it; there is no one to tell here.
    connection.await.ok();
}

type Reply = Response<ReplyBody>;

async fn respond(request: Request<Incoming>) -> Result<Reply, Infallible> {
    Ok(route(request).await.unwrap_or_else(Refusal::into_reply))
}

async fn route(request: Request<Incoming>) -> Result<Reply, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["echo"] => Ok(echo(allow_post(request)?)),
        ["sink"] => sink(allow_upload(request)?).await,
        ["a2a"] => invoke_agent(allow_post(request)?).await,
        [".well-known", "agent-card.json"] => {
            let request = allow_get(request)?;
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
            let card = agent::card(host.unwrap_or("127.0.0.1"));
            Ok(download(&request, JSON, card))
        }
        ["source", length] => {
            let request = allow_get(request)?;
            let body = source::source(reply_length(length)?);
            Ok(download(&request, OCTETS, body))
        }
        ["json", shape, length] => {
            let request = allow_get(request)?;
            let shape = Shape::from_name(shape).ok_or_else(unknown_shape)?;
            let body = json::document(shape, reply_length(length)?);
            Ok(download(&request, JSON, body))
        }
        _ => Err(unknown_path()),
    }
}

fn allow_post(request: Request<Incoming>) -> Result<Request<Incoming>, Refusal> {
    match *request.method() {
        Method::POST => Ok(request),
        _ => Err(Refusal::method("POST")),
    }
}

/// Object stores know PUT only, and look at nothing of the reply but its `ETag`.
fn allow_upload(request: Request<Incoming>) -> Result<Request<Incoming>, Refusal> {
    match *request.method() {
        Method::POST | Method::PUT => Ok(request),
        _ => Err(Refusal::method("POST, PUT")),
    }
}

fn allow_get(request: Request<Incoming>) -> Result<Request<Incoming>, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(request),
        _ => Err(Refusal::method("GET, HEAD")),
    }
}

fn reply_length(digits: &str) -> Result<u64, Refusal> {
    match digits.parse() {
        Ok(length) if length <= MAX_REPLY_LENGTH => Ok(length),
        _ => Err(Refusal::bad_request(format!(
            "end the path with a length in bytes, a whole number from 0 to {MAX_REPLY_LENGTH}"
        ))),
    }
}

fn unknown_shape() -> Refusal {
    let names = Shape::ALL.map(Shape::name).join(", ");
    Refusal::new(StatusCode::NOT_FOUND, format!("no such JSON shape: use one of {names}"))
}

fn unknown_path() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no such path: use /echo, /sink, /source/{n}, /json/{shape}/{n} or /a2a",
    )
}

fn echo(request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let mut reply = Response::new(ReplyBody::Echo(body));
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    reply
}

async fn sink(request: Request<Incoming>) -> Result<Reply, Refusal> {
    let mut digest = digest_asked_for(request.uri().query())?;
    let mut received = 0_u64;
    let mut body = request.into_body();
    while let Some(chunk) = next_chunk(&mut body).await? {
        received += chunk.len() as u64;
        if let Some(digest) = &mut digest {
            digest.update(&chunk);
        }
    }
    let (tag, json) = match digest.map(|digest| hexadecimal(&digest.finalize())) {
        Some(digest) => {
            (format!(r#""{received}-{digest}""#), format!(r#"{{"bytes": {received}, "sha256": "{digest}"}}"#))
        }
        None => (format!(r#""{received}""#), format!(r#"{{"bytes": {received}}}"#)),
    };
    let mut reply = made(JSON, Rope::default().then(json));
    reply.headers_mut().insert(ETAG, HeaderValue::try_from(tag).expect("digits and letters in quotes"));
    Ok(reply)
}

fn digest_asked_for(query: Option<&str>) -> Result<Option<Sha256>, Refusal> {
    match query.unwrap_or_default() {
        "" | "digest=sha256" => Ok(Some(Sha256::new())),
        "digest=none" => Ok(None),
        _ => Err(Refusal::bad_request("the only query here is digest=none or digest=sha256")),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
        text
    })
}

async fn invoke_agent(request: Request<Incoming>) -> Result<Reply, Refusal> {
    let body = collect(request.into_body()).await?;
    Ok(match agent::answer(&body) {
        agent::Answer::Reply(reply) => made(JSON, reply),
        agent::Answer::Events(events) => made(EVENTS, events),
    })
}

async fn collect(mut body: Incoming) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > MAX_AGENT_REQUEST {
        return Err(too_large());
    }
    let mut collected = Vec::with_capacity(announced.min(TRUSTED_LENGTH));
    while let Some(chunk) = next_chunk(&mut body).await? {
        if chunk.len() > MAX_AGENT_REQUEST - collected.len() {
            return Err(too_large());
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected.into())
}

/// The next data of `body`, past trailers; `None` at the end.
async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::bad_request(format!("the request body did not arrive whole: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the agent takes requests of up to {MAX_AGENT_REQUEST} bytes: send less"),
    )
}

fn made(content_type: HeaderValue, body: Rope) -> Reply {
    let length = body.remaining();
    let mut reply = Response::new(ReplyBody::Made(body));
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply.headers_mut().insert(CONTENT_LENGTH, length.into());
    reply
}

/// A reply to GET, or only its head to HEAD.
fn download(request: &Request<Incoming>, content_type: HeaderValue, body: Rope) -> Reply {
    let reply = made(content_type, body);
    if request.method() == Method::HEAD { reply.map(|_| ReplyBody::Made(Rope::default())) } else { reply }
}

/// Why a request is not served, and what to send instead.
struct Refusal {
    status: StatusCode,
    message: String,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn method(allow: &'static str) -> Self {
        let message = format!("this path takes {allow} only");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    fn into_reply(self) -> Reply {
        let body = serde_json::json!({"error": self.message}).to_string();
        let mut reply = made(JSON, Rope::default().then(body));
        *reply.status_mut() = self.status;
        if let Some(methods) = self.allow {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        reply
    }
}

/// What a reply is made of.
enum ReplyBody {
    Made(Rope),
    Echo(Incoming),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            ReplyBody::Made(rope) => Poll::Ready(rope.next().map(|chunk| Ok(Frame::data(chunk)))),
            ReplyBody::Echo(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Made(rope) => rope.remaining() == 0,
            ReplyBody::Echo(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Made(rope) => SizeHint::with_exact(rope.remaining()),
            ReplyBody::Echo(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn connect(server: &ServerThread) -> TcpStream {
        TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap()
    }

    /// Send `request` as it is and read head and body of the reply up to the connection's end.
    fn exchange(request: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        let server = ServerThread::start().unwrap();
        let mut stream = connect(&server);
        let mut writer = stream.try_clone().unwrap();
        let request = request.as_ref().to_vec();
        // From a thread of its own: an echo that is not read while it is sent stops both sides.
        let sent = std::thread::spawn(move || writer.write_all(&request).unwrap());
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        sent.join().unwrap();
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let body = reply.split_off(end + 4);
        (String::from_utf8(reply).unwrap().to_lowercase(), body)
    }

    fn get(path: &str) -> (String, Vec<u8>) {
        exchange(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))
    }

    fn post(path: &str, body: &[u8]) -> (String, Vec<u8>) {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: text/x-test\r\n\
             content-length: {length}\r\n\r\n"
        );
        exchange([head.as_bytes(), body].concat())
    }

    fn assert_refused((head, body): (String, Vec<u8>), status: u16) {
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(!body["error"].as_str().unwrap().is_empty());
    }

    #[test]
    fn a_source_has_its_length_and_its_bytes() {
        let (head, body) = get("/source/5000000");
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("\r\ncontent-length: 5000000\r\n"), "{head}");
        assert!(body == source::source(5_000_000).flat_map(Vec::from).collect::<Vec<u8>>());
    }

    #[test]
    fn head_tells_the_length_without_the_bytes() {
        let request = "HEAD /source/68719476736 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let (head, body) = exchange(request);
        assert!(head.contains("\r\ncontent-length: 68719476736\r\n"), "{head}");
        assert_eq!(body, b"");
    }

    #[test]
    fn every_json_shape_is_served_as_json() {
        for shape in Shape::ALL {
            let (head, body) = get(&format!("/json/{}/200000", shape.name()));
            assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
            assert_eq!(body.len(), 200_000);
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
    }

    #[test]
    fn an_echo_has_the_same_bytes_length_and_content_type() {
        let sent: Vec<u8> = source::source(20_000_000).flat_map(Vec::from).collect();
        let (head, body) = post("/echo", &sent);
        assert!(head.contains("\r\ncontent-length: 20000000\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: text/x-test\r\n"), "{head}");
        assert!(body == sent);
    }

    #[test]
    fn a_chunked_echo_is_chunked() {
        let (head, body) = exchange(
            "POST /echo HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(body.iter().filter(|byte| byte.is_ascii_lowercase()).count(), 5);
        assert!(body.ends_with(b"0\r\n\r\n"));
    }

    #[test]
    fn a_sink_counts_and_digests() {
        let (_, body) = post("/sink", b"abc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(body, format!(r#"{{"bytes": 3, "sha256": "{expected}"}}"#).as_bytes());
        assert_eq!(post("/sink?digest=none", b"abc").1, br#"{"bytes": 3}"#);
        assert_refused(post("/sink?digest=md5", b"abc"), 400);
    }

    #[test]
    fn the_agent_sends_the_text_back() {
        let (head, body) = post(
            "/a2a",
            br#"{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"parts":[{"text":"hi"}]}}}"#,
        );
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["result"]["parts"][0]["text"], "hi");
    }

    #[test]
    fn an_agent_request_over_the_limit_is_refused_before_it_is_sent() {
        let request =
            "POST /a2a HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 2147483649\r\n\r\n";
        assert_refused(exchange(request), 413);
    }

    #[test]
    fn what_is_not_served_is_refused_with_advice() {
        for path in ["/", "/nothing", "/source", "/source/1/2", "/json/tree/100", "/echo/"] {
            assert_refused(get(path), 404);
        }
        for path in ["/source/x", "/source/-1", "/source/", "/source/68719476737", "/json/text/1e3"] {
            assert_refused(get(path), 400);
        }
        assert!(get("/echo").0.contains("\r\nallow: post\r\n"));
        assert!(post("/source/1", b"").0.contains("\r\nallow: get, head\r\n"));
        assert_refused(get("/a2a"), 405);
    }

    #[test]
    fn http_2_with_prior_knowledge_is_understood() {
        const SETTINGS: u8 = 4;
        let server = ServerThread::start().unwrap();
        let mut stream = connect(&server);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut frame_head = [0; 9];
        stream.read_exact(&mut frame_head).unwrap();
        assert_eq!(frame_head[3], SETTINGS);
    }

    #[test]
    fn dropping_the_server_closes_its_connections_and_its_port() {
        let server = ServerThread::start().unwrap();
        let address = server.url().strip_prefix("http://").unwrap().to_owned();
        let mut idle = connect(&server);
        idle.write_all(b"GET /source/1 HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        idle.read_exact(&mut [0; 16]).unwrap();
        drop(server);
        assert!(idle.read_to_end(&mut Vec::new()).is_ok());
        assert!(TcpStream::connect(address).is_err());
    }
}
