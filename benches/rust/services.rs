//! The services as plain functions of Rust: one call of an agent, and what one agent answers handed to another.
//! Beside them as the floor, the same bytes through raw sockets and memory that is used again.

use a2a_service::core::{Request, invoke_agent};
use a2a_service::serve::ServerThread;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpgateway_benches::SIZES;
use mcpgateway_engine::{Client, ClientOptions, Payload};
use tokio::runtime::{Builder, Runtime};

mod measured;
mod raw;
use measured::group;
use raw::Raw;

/// An agent that answers with what it is asked.
fn one_agent(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let url = format!("{}/echo", server.url());
    let mut group = group(criterion, "invoke_agent");
    for (name, len) in SIZES {
        let body = Bytes::from(vec![7; len]);
        let mut raw = Raw::open(&server, len);
        let invoke = || {
            let request = Request::new("POST", &url).expect("valid").body(Payload::from(body.clone()));
            let reply = runtime.block_on(invoke_agent(&client, request)).expect("a reply");
            reply.body.into_bytes().expect("in one piece")
        };
        assert_eq!([&invoke()[..], raw.echo("/echo", &body)], [&body[..]; 2]);
        // Up and down.
        group.throughput(Throughput::Bytes(2 * len as u64));
        group.bench_function(format!("core/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(invoke().len(), len));
        });
        group.bench_function(format!("raw socket/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(raw.echo("/echo", &body).len(), len));
        });
    }
}

/// The reply of one call is the body of the next: Rust to Rust, without a copy and without Python.
fn one_agent_to_another(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let (first, second) = (server.url(), ServerThread::start().expect("a free port"));
    let sink = format!("{}/sink?digest=none", second.url());
    let mut group = group(criterion, "rust to rust");
    for (name, len) in SIZES {
        let path = format!("/source/{len}");
        let source = format!("{first}{path}");
        let answer = format!("{{\"bytes\": {len}}}");
        let forward = async || {
            let asked = Request::new("GET", &source).expect("valid");
            let body = invoke_agent(&client, asked).await.expect("a reply").body;
            let passed_on = Request::new("POST", &sink).expect("valid").body(body);
            let reply = invoke_agent(&client, passed_on).await.expect("a reply");
            assert_eq!(reply.body.into_bytes().expect("small"), answer);
        };
        let (mut from, mut to) = (Raw::open(&server, len), Raw::open(&second, 0));
        // Down and up.
        group.throughput(Throughput::Bytes(2 * len as u64));
        group.bench_function(format!("core/{name}"), |bencher| bencher.iter(|| runtime.block_on(forward())));
        group.bench_function(format!("raw sockets/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(from.forward(&mut to, &path, "/sink?digest=none"), answer.as_bytes()));
        });
    }
}

fn set_up() -> (ServerThread, Client, Runtime) {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    (server, client, runtime)
}

criterion_group!(benches, one_agent, one_agent_to_another);
criterion_main!(benches);
