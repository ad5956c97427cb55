//! The HTTP client over loopback, up and down; a raw socket beside it as the floor.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpgateway_benches::SIZES;
use mcpgateway_engine::{Client, ClientOptions, Payload, Request};

use a2a_service::serve::ServerThread;
use tokio::runtime::Runtime;

mod measured;
mod raw;
use measured::group;
use raw::Raw;

fn up(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let url = format!("{}/sink?digest=none", server.url());
    let mut group = group(criterion, "http up");
    for (name, len) in SIZES {
        let body = Bytes::from(vec![7; len]);
        let answer = format!("{{\"bytes\": {len}}}");
        let send = || {
            let request = Request::new("POST", &url).expect("valid").body(Payload::from(body.clone()));
            let reply = runtime.block_on(client.send(request)).expect("a reply");
            assert_eq!(reply.body.into_bytes().expect("small"), answer);
        };
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("client/{name}"), |bencher| bencher.iter(send));
        let mut raw = Raw::open(&server, 0);
        group.bench_function(format!("raw socket/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(raw.post("/sink?digest=none", &body), answer.as_bytes()));
        });
    }
}

fn down(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let mut group = group(criterion, "http down");
    for (name, len) in SIZES {
        let path = format!("/source/{len}");
        let url = format!("{}{path}", server.url());
        let mut raw = Raw::open(&server, len);
        let receive = || {
            let request = Request::new("GET", &url).expect("valid");
            runtime.block_on(client.send(request)).expect("a reply").body.into_bytes().expect("in one piece")
        };
        assert_eq!(receive(), raw.get(&path));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("client/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(receive().len(), len));
        });
        group.bench_function(format!("raw socket/{name}"), |bencher| {
            bencher.iter(|| assert_eq!(raw.get(&path).len(), len));
        });
    }
}

fn set_up() -> (ServerThread, Client, Runtime) {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    (server, client, runtime)
}

criterion_group!(benches, up, down);
criterion_main!(benches);
