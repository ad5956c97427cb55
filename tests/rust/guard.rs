//! The address guard over real sockets: every way to write an internal address, redirects, names whose
//! address changes, and connections that were made without a guard.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use a2a_service::serve::Server;
use mcpgateway_engine::http::{Http2, Resolution, Resolve};
use mcpgateway_engine::{Client, ClientOptions, Error, ErrorKind, Guard, Request, Response, Sent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A resolver that gives the answers it was told, in turn, and the last one from then on.
#[derive(Debug)]
struct Told {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Told {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| answer.iter().map(|text| ip(text)).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parsed).collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Told {
    fn resolve(&self, _: &str) -> Resolution {
        self.asked.fetch_add(1, SeqCst);
        let mut answers = self.answers.lock().expect("nothing panicked");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let answer = answer.ok_or_else(|| std::io::Error::other("no such host"));
        Box::pin(async { answer })
    }
}

/// Says which of its addresses was connected to, or redirects; counts connections.
struct Front {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// On `addresses`, all at one port. To a request it answers `reply(port, local address)`.
    async fn start(
        addresses: &[&str],
        reply: impl Fn(u16, IpAddr) -> String + Send + Sync + 'static,
    ) -> Self {
        let (mut port, reply) = (0, Arc::new(reply));
        let connections = Arc::new(AtomicUsize::new(0));
        for address in addresses {
            let listener = TcpListener::bind(SocketAddr::new(ip(address), port)).await.expect("a free port");
            port = listener.local_addr().expect("bound").port();
            let (counted, reply) = (Arc::clone(&connections), Arc::clone(&reply));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    counted.fetch_add(1, SeqCst);
                    let local = stream.local_addr().expect("connected");
                    tokio::spawn(answer(stream, reply(local.port(), local.ip())));
                }
            });
        }
        Self { port, connections }
    }

    async fn telling_its_address(addresses: &[&str]) -> Self {
        Self::start(addresses, |_, local| ok(&local.to_string())).await
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn answer(mut stream: TcpStream, reply: String) {
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            stream.write_all(reply.as_bytes()).await.expect("the client reads its reply");
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 307 There\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn guard(allow: &[&str], deny: &[&str]) -> Guard {
    Guard::new(allow.iter().copied(), deny.iter().copied()).expect("valid entries")
}

fn client(options: ClientOptions) -> Client {
    Client::new(options).expect("valid options")
}

async fn get(client: &Client, url: &str) -> Result<Response, Error> {
    client.send(Request::new("GET", url)?).await
}

/// What a GET of `url`, which a peer gave, came to: the body, or why there is none.
async fn get_for_peer(client: &Client, url: &str) -> Result<String, ErrorKind> {
    let request = Request::new("GET", url).expect("valid").from_peer();
    let reply = client.send(request).await.map_err(|error| error.kind().clone())?;
    Ok(String::from_utf8(reply.body.into_bytes().expect("small").to_vec()).expect("text"))
}

fn internal_urls() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/internal_urls.json");
    let table = std::fs::read_to_string(path).expect("the table is in this repository");
    let kinds: BTreeMap<String, Vec<String>> = serde_json::from_str(&table).expect("lists by name");
    let urls: Vec<_> = kinds.into_values().flatten().collect();
    assert!(urls.len() > 150);
    urls
}

#[tokio::test]
async fn an_internal_address_is_refused_however_it_is_written() {
    // Nobody is asked for an address: what is written says enough.
    let told = Told::new(&[]);
    let guarded = client(ClientOptions {
        guard: Some(Guard::default()),
        resolver: Some(told.clone()),
        ..ClientOptions::default()
    });
    let unguarded = client(ClientOptions { resolver: Some(told.clone()), ..ClientOptions::default() });
    for url in internal_urls() {
        let error = get(&guarded, &url).await.expect_err(&url);
        assert_eq!((error.kind(), error.sent()), (&ErrorKind::AddressRefused, Sent::No), "{url}: {error}");
        assert_eq!(get_for_peer(&unguarded, &url).await, Err(ErrorKind::AddressRefused), "{url}");
    }
    assert_eq!(told.asked.load(SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_to_an_internal_address_is_refused_though_the_caller_gave_the_first_url() {
    let client = client(ClientOptions { follow_redirects: true, ..ClientOptions::default() });
    for url in internal_urls() {
        let location = redirect(&url);
        let front = Front::start(&["127.0.0.1"], move |_, _| location.clone()).await;
        let error = get(&client, &format!("http://127.0.0.1:{}/", front.port)).await.expect_err(&url);
        assert_eq!((error.kind(), error.sent()), (&ErrorKind::AddressRefused, Sent::Yes), "{url}: {error}");
        assert_eq!(front.connections(), 1);
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_that_the_caller_gave_is_followed() {
    // Each connection has one reply here, so it is closed after the first.
    let connections = AtomicUsize::new(0);
    let front = Front::start(&["127.0.0.1"], move |port, _| match connections.fetch_add(1, SeqCst) {
        0 => redirect(&format!("http://127.0.0.1:{port}/a")).replacen("\r\n", "\r\nconnection: close\r\n", 1),
        _ => ok("there"),
    })
    .await;
    let client = client(ClientOptions { follow_redirects: true, ..ClientOptions::default() });
    let reply = get(&client, &format!("http://127.0.0.1:{}/", front.port)).await.expect("a reply");
    assert_eq!((reply.status, &*reply.body.into_bytes().expect("small")), (200, &b"there"[..]));
}

#[tokio::test]
async fn a_name_that_moves_to_an_internal_address_is_refused_when_it_is_connected_to() {
    let front = Front::start(&["127.0.0.2"], |_, local| {
        let body = local.to_string();
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
    .await;
    for http2 in [Http2::Never, Http2::Auto] {
        for internal in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
        ] {
            let told = Told::new(&[&["127.0.0.2"], &[internal]]);
            let client = client(ClientOptions {
                guard: Some(guard(&["127.0.0.2"], &[])),
                resolver: Some(told.clone()),
                http2,
                ..ClientOptions::default()
            });
            let url = format!("http://rebinding.example:{}/", front.port);
            assert_eq!(get_for_peer(&client, &url).await.as_deref(), Ok("127.0.0.2"));
            assert_eq!(get_for_peer(&client, &url).await, Err(ErrorKind::AddressRefused), "{internal}");
            assert_eq!(told.asked.load(SeqCst), 2);
            // Over TLS, too, where another pool connects.
            let url = format!("https://rebinding.example:{}/", front.port);
            assert_eq!(get_for_peer(&client, &url).await, Err(ErrorKind::AddressRefused), "{internal}");
        }
    }
}

#[tokio::test]
async fn of_several_addresses_only_those_that_pass_are_connected_to() {
    let front = Front::telling_its_address(&["127.0.0.1", "127.0.0.2"]).await;
    for answer in
        [&["127.0.0.1", "127.0.0.2"][..], &["::1", "127.0.0.1", "127.0.0.2"], &["127.0.0.2", "127.0.0.1"]]
    {
        let client = client(ClientOptions {
            guard: Some(guard(&["127.0.0.2"], &[])),
            resolver: Some(Told::new(&[answer])),
            ..ClientOptions::default()
        });
        let url = format!("http://mixed.example:{}/", front.port);
        assert_eq!(get_for_peer(&client, &url).await.as_deref(), Ok("127.0.0.2"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_used_only_by_requests_whose_guard_lets_it_pass() {
    let front = Front::telling_its_address(&["127.0.0.1", "127.0.0.2"]).await;
    let told = Told::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = client(ClientOptions {
        guard: Some(guard(&["127.0.0.2"], &[]).only_from_peers()),
        resolver: Some(told.clone()),
        ..ClientOptions::default()
    });
    let url = format!("http://agent.example:{}/", front.port);
    let text = |reply: Response| reply.body.into_bytes().expect("small");
    assert_eq!(text(get(&client, &url).await.expect("not guarded")), "127.0.0.1");
    assert_eq!(get_for_peer(&client, &url).await.as_deref(), Ok("127.0.0.2"));
    // Now both wait; the one used last comes first.
    assert_eq!(get_for_peer(&client, &url).await.as_deref(), Ok("127.0.0.2"));
    assert_eq!(text(get(&client, &url).await.expect("not guarded")), "127.0.0.2");
    assert_eq!((front.connections(), told.asked.load(SeqCst)), (2, 2));
    // Another guard looks at the same connections with its own eyes.
    let other = Request::new("GET", &url).expect("valid").guard(Some(guard(&["127.0.0.1"], &[])));
    assert_eq!(text(client.send(other).await.expect("allowed")), "127.0.0.1");
    assert_eq!(front.connections(), 2);
}

#[tokio::test]
async fn the_pool_of_many_streams_is_no_way_around_the_guard_either() {
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let url = server.url().replace("127.0.0.1", "agent.example") + "/source/5";
    let (_stop, stopped) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(server.run(async { _ = stopped.await }));
    let told = Told::new(&[&["127.0.0.1"]]);
    let client = client(ClientOptions {
        http2: Http2::Always,
        resolver: Some(told.clone()),
        ..ClientOptions::default()
    });
    assert_eq!(get(&client, &url).await.expect("not guarded").received, 5);
    assert_eq!(get_for_peer(&client, &url).await, Err(ErrorKind::AddressRefused));
    let allowed = || Request::new("GET", &url).expect("valid").guard(Some(guard(&["127.0.0.0/8"], &[])));
    for _ in 0..3 {
        assert_eq!(client.send(allowed()).await.expect("allowed").received, 5);
    }
    // One connection without a guard, one for the guard that lets it pass, which equal guards share.
    assert_eq!(told.asked.load(SeqCst), 3);
    assert_eq!(get_for_peer(&client, &url).await, Err(ErrorKind::AddressRefused));
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_is_refused_here() {
    let proxy = Front::telling_its_address(&["127.0.0.1"]).await;
    let asking = |answers: &[&[&str]]| {
        client(ClientOptions {
            proxy: Some(format!("http://127.0.0.1:{}", proxy.port)),
            resolver: Some(Told::new(answers)),
            ..ClientOptions::default()
        })
    };
    for (url, answer) in [
        ("http://10.0.0.1/", &["8.8.8.8"][..]),
        ("http://localhost/", &["8.8.8.8"]),
        ("http://inside.example/", &["10.0.0.1"]),
        ("http://mixed.example/", &["8.8.8.8", "10.0.0.1"]),
    ] {
        assert_eq!(get_for_peer(&asking(&[answer]), url).await, Err(ErrorKind::AddressRefused), "{url}");
    }
    assert_eq!(proxy.connections(), 0);
    let public = asking(&[&["8.8.8.8"]]);
    assert_eq!(get_for_peer(&public, "http://public.example/").await.as_deref(), Ok("127.0.0.1"));
    // A name that nobody here knows the addresses of cannot be judged.
    assert_eq!(get_for_peer(&asking(&[]), "http://public.example/").await, Err(ErrorKind::Connect));
}

#[tokio::test]
async fn a_url_of_the_origin_that_the_caller_gave_is_the_callers_own() {
    let front = Front::telling_its_address(&["127.0.0.1", "127.0.0.2"]).await;
    let client = client(ClientOptions::default());
    let own = format!("http://127.0.0.1:{}/agent", front.port);
    for (url, allowed) in [
        (format!("http://127.0.0.1:{}/other", front.port), true),
        (format!("http://127.0.0.2:{}/agent", front.port), false),
        (format!("http://localhost:{}/agent", front.port), false),
        (format!("http://127.0.0.1:{}/agent", front.port ^ 1), false),
    ] {
        let request = Request::new("GET", &url).expect("valid").from_peer_at(&own).expect("a URL");
        let kind = client.send(request).await.map(|reply| reply.status).map_err(|error| error.kind().clone());
        assert_eq!(kind, if allowed { Ok(200) } else { Err(ErrorKind::AddressRefused) }, "{url}");
    }
}
