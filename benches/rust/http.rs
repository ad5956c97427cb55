//! `a2a_service::core::invoke_agent` over loopback, up and down; a raw socket beside it as the floor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use a2a_service::core::{Request, invoke_agent};
use a2a_service::serve::ServerThread;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpgateway_benches::SIZES;
use mcpgateway_engine::{Client, ClientOptions, Payload};
use tokio::runtime::Runtime;

fn upload(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let mut group = criterion.benchmark_group("upload");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, len) in SIZES {
        let body = Bytes::from(vec![7; len]);
        let send = || {
            let url = format!("{}/sink?digest=none", server.url());
            let request = Request::new("POST", &url).expect("valid").body(Payload::from(body.clone()));
            let reply = runtime.block_on(invoke_agent(&client, request)).expect("a reply");
            reply.body.into_bytes().expect("small")
        };
        assert_eq!(send(), format!("{{\"bytes\": {len}}}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("invoke_agent/{name}"), |bencher| bencher.iter(send));
        let mut raw = RawConnection::open(&server);
        let head = format!("POST /sink?digest=none HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n");
        let mut reply = vec![0; 4096];
        group.bench_function(format!("raw socket/{name}"), |bencher| {
            bencher.iter(|| {
                raw.0.write_all(head.as_bytes()).expect("written");
                raw.0.write_all(&body).expect("written");
                assert!(raw.0.read(&mut reply).expect("a reply") > 0);
            });
        });
    }
}

fn download(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let mut group = criterion.benchmark_group("download");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (name, len) in SIZES {
        let receive = || {
            let url = format!("{}/source/{len}", server.url());
            let reply = runtime.block_on(invoke_agent(&client, Request::new("GET", &url).expect("valid")));
            reply.expect("a reply").body.len()
        };
        assert_eq!(receive(), len as u64);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("invoke_agent/{name}"), |bencher| bencher.iter(receive));
        let mut raw = RawConnection::open(&server);
        let mut reused = vec![0; len + 4096];
        group.bench_function(format!("raw socket/{name}"), |bencher| {
            bencher.iter(|| raw.get(&format!("/source/{len}"), &mut reused));
        });
    }
}

fn set_up() -> (ServerThread, Client, Runtime) {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    (server, client, runtime)
}

/// A connection without any HTTP library.
struct RawConnection(TcpStream);

impl RawConnection {
    fn open(server: &ServerThread) -> Self {
        let address = server.url().strip_prefix("http://").expect("an http URL");
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("a TCP socket");
        Self(stream)
    }

    /// Receive the reply into `reused`, as far as its Content-Length says.
    fn get(&mut self, path: &str, reused: &mut [u8]) {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").expect("written");
        let (mut received, mut expected) = (0, usize::MAX);
        while received < expected {
            received += self.0.read(&mut reused[received..]).expect("a reply");
            if expected == usize::MAX
                && let Some(end) =
                    reused[..received.min(4096)].windows(4).position(|window| window == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&reused[..end]).to_ascii_lowercase();
                let length =
                    head.split("content-length: ").nth(1).expect("a length").lines().next().expect("a line");
                expected = end + 4 + length.parse::<usize>().expect("a number");
            }
        }
    }
}

criterion_group!(benches, upload, download);
criterion_main!(benches);
