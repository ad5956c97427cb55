//! The A2A service and the engine under it, called from Rust alone, over real sockets.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use a2a_service::core::{Request, invoke_agent};
use a2a_service::serve::ServerThread;
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
