//! The A2A service and the engine under it, called from Rust alone, over real sockets.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use a2a_service::core::{Order, Request, invoke_agent, invoke_many};
use a2a_service::serve::ServerThread;
use mcpgateway_engine::http::Body;
use mcpgateway_engine::payload::Alphabet;
use mcpgateway_engine::{Client, ClientOptions, Payload};

/// Bytes whose owner can be seen to be alive.
struct Owned(Arc<Vec<u8>>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn owned(len: usize) -> (Arc<Vec<u8>>, Payload) {
    let bytes = Arc::new(vec![7; len]);
    let payload = Payload::from(bytes::Bytes::from_owner(Owned(Arc::clone(&bytes))));
    (bytes, payload)
}

async fn is_released(owner: &Arc<Vec<u8>>) -> bool {
    for _ in 0..500 {
        if Arc::strong_count(owner) == 1 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_upload_lets_go_of_its_body_though_the_peer_reads_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let accepting = std::thread::spawn(move || listener.accept().expect("a connection"));
    let client = Client::new(ClientOptions::default()).expect("default options");
    let (owner, body) = owned(64 << 20);
    let request = Request::new("POST", &url).expect("valid").body(body);
    let call = tokio::spawn(async move { invoke_agent(&client, request).await });
    let connection = accepting.join().expect("accepted");
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.abort();
    assert!(call.await.expect_err("cancelled").is_cancelled());
    assert!(is_released(&owner).await);
    drop(connection);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_receives_exactly_the_bytes_and_its_reply_comes_back() {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    for len in [0, 1, 1 << 10, (1 << 20) + 1, 40 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
        let url = format!("{}/echo", server.url());
        let request = Request::new("POST", &url).expect("valid").body(Payload::from(bytes.clone()));
        let reply = invoke_agent(&client, request).await.expect("an echo");
        assert_eq!((reply.status, reply.received), (200, u64::from(len)));
        assert!(reply.body.into_bytes().expect("in one piece") == bytes, "{len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rope_and_a_streamed_body_arrive_as_one() {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let url = format!("{}/echo", server.url());
    let raw = Payload::from(vec![0xAB; 300_001]);
    let rope = Payload::join([
        Payload::from("{\"data\":\""),
        Payload::base64(raw, Alphabet::Standard).expect("fits"),
        Payload::from("\"}"),
    ]);
    let expected = rope.clone().into_bytes().expect("fits");
    let reply =
        invoke_agent(&client, Request::new("POST", &url).expect("valid").body(rope)).await.expect("an echo");
    assert_eq!(reply.body.into_bytes().expect("in one piece"), expected);
    let (writer, body) = Body::streamed();
    let sending = tokio::spawn(async move {
        for part in 0..100_u8 {
            writer.send(vec![part; 70_000].into()).await.expect("the request is under way");
        }
        writer.finish().await.expect("the request is under way");
    });
    let reply =
        invoke_agent(&client, Request::new("POST", &url).expect("valid").body(body)).await.expect("an echo");
    sending.await.expect("all parts were sent");
    let received = reply.body.into_bytes().expect("in one piece");
    assert!(
        received.chunks(70_000).zip(0_u8..).all(|(part, number)| part.iter().all(|byte| *byte == number))
    );
    assert_eq!(received.len(), 7_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failure_in_a_batch_does_not_lose_the_others() {
    let server = ServerThread::start().expect("a free port");
    let client = Client::new(ClientOptions::default()).expect("default options");
    let request = |index: usize| {
        let path = if index == 500 { "missing" } else { "echo" };
        let request = Request::new("POST", &format!("{}/{path}", server.url())).expect("valid");
        request.body(Payload::from(index.to_string()))
    };
    let concurrency = NonZeroUsize::new(32).expect("not zero");
    for order in [Order::Input, Order::Completion] {
        let mut batch =
            invoke_many(&client, (0..1000).map(request).collect(), concurrency, order).expect("threads");
        let mut results = Vec::new();
        loop {
            match batch.take(10, 100).await {
                taken if taken.is_empty() => break,
                taken => results.extend(taken),
            }
        }
        if order == Order::Completion {
            results.sort_by_key(|(index, _)| *index);
        }
        assert_eq!(results.len(), 1000);
        for (expected, (index, result)) in results.into_iter().enumerate() {
            let reply = result.expect("a reply");
            let echoed = reply.body.into_bytes().expect("small") == expected.to_string();
            assert_eq!(
                (index, reply.status, echoed),
                (expected, if index == 500 { 404 } else { 200 }, index != 500)
            );
        }
    }
}
