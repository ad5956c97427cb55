//! Services that call each other in Rust: a tool that is an agent, which is given a resource and names another. Over
//! real sockets, without libpython, and without a copy of the bodies: there is no memory for one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use a2a_service::core::{Agent, AgentOptions, Ask, Binding, Part, SendOptions, Version};
use mcpgateway_engine::payload::{ProcessLimits, limit_process, memory_use};
use mcpgateway_engine::{Client, ClientOptions, ErrorKind, Guard, Payload};
use resource_service::core::{Fetch, ResourceClient, ResourceOptions, fetch_resource};
use tokio::runtime::Builder;
use tool_service::core::{AgentArgument, ContentKind, ToolResult, call_agent};

const MIB: usize = 1 << 20;
const LEN: usize = 64 * MIB;
/// What may be around a body: the rest of its message, and pages that are not full.
const SLACK: u64 = 1 << 20;

/// The allocator of the system, which remembers the largest block that the threads of the services asked for.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// What bodies took while the agent was halfway through its request.
static HELD_WHILE_SENT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(size: usize) {
    // A thread that ends asks for nothing large.
    if IS_COUNTED.try_with(Cell::get) == Ok(true) {
        LARGEST.fetch_max(size, Relaxed);
    }
}

// SAFETY: all is done by the allocator of the system, with the arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server with a document, an agent that wants that document, and what the agent answers with: a text, and a link to
/// another document. It is on threads of its own, which are not counted.
struct Peer {
    url: String,
}

struct Bodies {
    document: Vec<u8>,
    encoded: String,
    text: String,
    linked: Vec<u8>,
}

impl Bodies {
    fn new() -> Self {
        let bytes = |period: u8| {
            let mut bytes = (0..period).collect::<Vec<_>>().repeat(LEN / usize::from(period) + 1);
            bytes.truncate(LEN);
            bytes
        };
        let document = bytes(251);
        let encoded = base64_simd::STANDARD.encode_to_string(&document);
        Self { document, encoded, text: "An answer. ".repeat(LEN / 11), linked: bytes(241) }
    }
}

impl Peer {
    fn start(bodies: &Arc<Bodies>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (bodies, own) = (Arc::clone(bodies), url.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (bodies, own) = (Arc::clone(&bodies), own.clone());
                std::thread::spawn(move || while serve(&connection, &bodies, &own).is_some() {});
            }
        });
        Self { url }
    }
}

/// Answer one request; none if there is none.
fn serve(mut connection: &TcpStream, bodies: &Bodies, own: &str) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length =
        head.split("content-length: ").nth(1).map_or("0", |rest| rest.lines().next().expect("a line"));
    let length = length.parse().expect("a number");
    let mut asked = vec![0; length];
    let (first, rest) = asked.split_at_mut(length / 2);
    reader.read_exact(first).ok()?;
    if rest.len() > MIB {
        HELD_WHILE_SENT.fetch_max(memory_use().used, Relaxed);
    }
    reader.read_exact(rest).ok()?;
    let (start, end) = around_the_text(&id_of(&asked), own);
    let (kind, parts): (&str, Vec<&[u8]>) = match head.split(' ').nth(1)? {
        "/document" => ("application/octet-stream", vec![&bodies.document]),
        "/linked" => ("application/octet-stream", vec![&bodies.linked]),
        _ if has_document(&asked, &bodies.encoded) => {
            ("application/json", vec![start.as_bytes(), bodies.text.as_bytes(), end.as_bytes()])
        }
        _ => ("text/plain", vec![b"the document did not arrive as it is"]),
    };
    let length: usize = parts.iter().map(|part| part.len()).sum();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n").ok()?;
    parts.into_iter().try_for_each(|part| connection.write_all(part)).ok()
}

/// An agent's reply, up to its text, and from there on.
fn around_the_text(id: &str, own: &str) -> (String, String) {
    let parts = serde_json::json!([{"text": "TEXT"}, {"url": format!("{own}/linked")}]);
    let message = serde_json::json!({"messageId": "m", "role": "ROLE_AGENT", "parts": parts});
    let reply = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"message":{message}}}}}"#);
    let (start, end) = reply.split_once("TEXT").expect("it is there");
    (start.to_owned(), end.to_owned())
}

fn id_of(asked: &[u8]) -> String {
    let text = String::from_utf8_lossy(&asked[..asked.len().min(200)]).into_owned();
    let rest = text.split("\"id\":").nth(1).unwrap_or("null").trim_start();
    rest.chars().take_while(char::is_ascii_digit).collect()
}

fn has_document(asked: &[u8], encoded: &str) -> bool {
    let key = b"\"raw\":\"";
    let start = asked.windows(key.len()).position(|window| window == key);
    start.is_some_and(|start| asked[start + key.len()..].starts_with(encoded.as_bytes()))
}

fn is_about(used: u64, bodies: u64) -> bool {
    (bodies * LEN as u64..=bodies * LEN as u64 + SLACK).contains(&used)
}

fn one_piece(payload: &Payload) -> &[u8] {
    payload.as_bytes().expect("in one piece")
}

fn client(guard: Option<Guard>) -> Client {
    Client::new(ClientOptions { guard, ..ClientOptions::default() }).expect("default options")
}

fn resources(guard: Option<Guard>) -> ResourceClient {
    ResourceClient::new(client(guard), ResourceOptions::default()).expect("default options")
}

/// Fetch the document, and call the agent with it.
async fn ask_about_the_document(peer: &Peer) -> ToolResult {
    let document = Fetch::new(&format!("{}/document", peer.url)).expect("a URL");
    let document = fetch_resource(&resources(None), document).await.expect("a resource");
    assert!(is_about(memory_use().used, 1), "{:?}", memory_use());
    let options = AgentOptions {
        version: Some(Version::V1_0),
        binding: Some(Binding::JsonRpc),
        ..AgentOptions::default()
    };
    let agent = Agent::new(client(None), format!("{}/agent", peer.url), options);
    let arguments = vec![("document".to_owned(), AgentArgument::Part(Part::raw(document.body.clone())))];
    let result =
        call_agent(&agent, arguments, SendOptions::default(), &Ask::default()).await.expect("an answer");
    let held = HELD_WHILE_SENT.load(Relaxed);
    assert!(is_about(held, 1), "{held} bytes of bodies while one was sent");
    // What was sent, and what came.
    assert!(is_about(memory_use().used, 2), "{:?}", memory_use());
    result
}

#[test]
fn a_tool_reaches_an_agent_that_reads_a_resource_and_no_service_copies_64_mib() {
    let bodies = Arc::new(Bodies::new());
    let peer = Peer::start(&bodies);
    // Room for two bodies at a time, as they are received; for a copy of one there is none, on disk neither.
    limit_process(ProcessLimits {
        memory_budget: Some(2 * LEN as u64 + 2 * SLACK),
        disk_budget: Some(0),
        ..ProcessLimits::default()
    });
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(|| IS_COUNTED.set(true))
        .enable_all()
        .build()
        .expect("a runtime");
    IS_COUNTED.set(true);
    runtime.block_on(async {
        let result = ask_about_the_document(&peer).await;
        assert!(is_about(memory_use().used, 1), "the document is let go: {:?}", memory_use());
        let [text, link] = &result.content()[..] else { panic!("{result:?}") };
        assert_eq!((text.kind(), link.kind()), (ContentKind::Text, ContentKind::ResourceLink));
        let reply = result.node().expect("a message").raw();
        let found = text.payload().expect("a text");
        assert!(one_piece(&found) == bodies.text.as_bytes());
        assert!(reply.as_ptr_range().contains(&one_piece(&found).as_ptr()), "a text is where it came");

        let refused = resources(None).fetch(link.link().expect("a link")).await.expect_err("loopback");
        assert_eq!(*refused.kind(), ErrorKind::AddressRefused);
        let guard = Guard::new(["127.0.0.1"], []).expect("an address");
        let linked = resources(Some(guard)).fetch(link.link().expect("a link")).await.expect("a resource");
        assert!(one_piece(&linked.body) == bodies.linked);
        assert!(is_about(memory_use().used, 2), "{:?}", memory_use());
    });
    assert_eq!(memory_use().used, 0);
    let largest = LARGEST.load(Relaxed);
    assert!((1..4 * MIB).contains(&largest), "a block of {largest} bytes beside the memory of the bodies");
    let mapped = std::fs::read_to_string("/proc/self/maps").expect("readable");
    assert!(!mapped.contains("libpython"), "{mapped}");
}
