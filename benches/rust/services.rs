//! The services as plain functions of Rust: one call of an agent, what one agent answers handed to another, and a tool
//! that is an agent called with a resource.
//! Beside them as the floor, the same bytes through raw sockets and memory that is used again.

use a2a_service::core::{
    Agent, AgentOptions, Ask, Binding, Part, Request, SendOptions, Version, invoke_agent,
};
use a2a_service::serve::ServerThread;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpgateway_benches::SIZES;
use mcpgateway_engine::{Client, ClientOptions, Payload};
use resource_service::core::{Fetch, ResourceClient, ResourceOptions, fetch_resource};
use tokio::runtime::{Builder, Runtime};
use tool_service::core::{AgentArgument, call_agent};

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

/// A resource is fetched, and an agent is called with it as a tool. The raw sockets send a message that was written
/// before: base64 is what the services make beside.
fn resource_to_tool_to_agent(criterion: &mut Criterion) {
    let (server, client, runtime) = set_up();
    let second = ServerThread::start().expect("a free port");
    let options = AgentOptions {
        version: Some(Version::V0_3),
        binding: Some(Binding::JsonRpc),
        ..AgentOptions::default()
    };
    let agent = Agent::new(client.clone(), format!("{}/a2a", second.url()), options);
    let resources = ResourceClient::new(client, ResourceOptions::default()).expect("default options");
    let (question, ask) = (Bytes::from_static(b"What does it say?"), Ask::default());
    let mut group = group(criterion, "resource to tool to agent");
    for (name, len) in SIZES {
        let path = format!("/source/{len}");
        let source = format!("{}{path}", server.url());
        let call = async || {
            let fetch = Fetch::new(&source).expect("valid");
            let document = fetch_resource(&resources, fetch).await.expect("a resource").body;
            let parts =
                [("question", Part::text(question.clone().into())), ("document", Part::raw(document))];
            let arguments = parts.map(|(name, part)| (name.to_owned(), AgentArgument::Part(part)));
            let result = call_agent(&agent, arguments.into(), SendOptions::default(), &ask).await;
            assert_eq!(result.expect("a result").content()[0].text().as_deref(), Some("What does it say?"));
        };
        let (mut from, mut to) = (Raw::open(&server, len), Raw::open(&second, 0));
        let message = message_with(from.get(&path));
        // Down, and up as base64.
        group.throughput(Throughput::Bytes((len + message.len()) as u64));
        group.bench_function(format!("core/{name}"), |bencher| bencher.iter(|| runtime.block_on(call())));
        group.bench_function(format!("raw sockets/{name}"), |bencher| {
            bencher.iter(|| {
                assert_eq!(from.get(&path).len(), len);
                assert!(to.post("/a2a", message.as_bytes()).ends_with(b"}}"));
            });
        });
    }
}

/// The message that the agent is sent, as the services write it.
fn message_with(document: &[u8]) -> String {
    let document = base64_simd::STANDARD.encode_to_string(document);
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"message/send","params":{{"message":{{"kind":"message","messageId":"m","role":"user","parts":[{{"kind":"text","text":"What does it say?"}},{{"kind":"file","file":{{"bytes":"{document}","name":"document"}}}}]}}}}}}"#
    )
}

fn set_up() -> (ServerThread, Client, Runtime) {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    (server, client, runtime)
}

criterion_group!(benches, one_agent, one_agent_to_another, resource_to_tool_to_agent);
criterion_main!(benches);
