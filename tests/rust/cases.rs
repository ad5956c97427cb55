//! The table of cases that the Python implementations answer too, answered by the core.

use std::collections::BTreeMap;
use std::path::Path;

use a2a_service::core::{invoke_agent, json_reply, request_with_json_headers};
use a2a_service::serve::ServerThread;
use mcpgateway_engine::{Client, ClientOptions, Error, ErrorKind, Payload};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    url: String,
    method: String,
    headers_json: String,
    body: Option<String>,
    body_base64: Option<String>,
    body_pieces: Option<Vec<(String, usize)>>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Expect {
    #[serde(default)]
    same: bool,
    json_at: Option<BTreeMap<String, Value>>,
    error: Option<String>,
    status: Option<u16>,
}

impl Case {
    fn body_bytes(&self) -> Option<Vec<u8>> {
        if let Some(text) = &self.body_base64 {
            return Some(base64_simd::STANDARD.decode_to_vec(text).expect("the table holds base64"));
        }
        if let Some(pieces) = &self.body_pieces {
            return Some(
                pieces.iter().map(|(text, times)| text.repeat(*times)).collect::<String>().into_bytes(),
            );
        }
        self.body.as_ref().map(|text| text.as_bytes().to_vec())
    }
}

/// The class that Python raises for an error of this kind.
fn class_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Connect => "ConnectError",
        ErrorKind::InvalidRequest => "InvalidRequest",
        ErrorKind::InvalidReply => "InvalidReply",
        _ => "another",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_core_gives_the_answers_of_the_table() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/invoke_agent.json");
    let table: Table =
        serde_json::from_slice(&std::fs::read(table).expect("the table")).expect("a table of cases");
    assert!(table.cases.len() > 100);
    let server = ServerThread::start().expect("a free port");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    let client = Client::new(ClientOptions::default()).expect("default options");
    for case in table.cases {
        let url = case.url.replace("{agent}", server.url()).replace("{closed}", &closed);
        let answer = async {
            let request = request_with_json_headers(&case.method, &url, &case.headers_json)?;
            let body = case.body_bytes().map_or_else(Payload::empty, Payload::from);
            let reply = invoke_agent(&client, request.body(body)).await?;
            Ok::<_, Error>((reply.status, json_reply(&reply)))
        };
        let name = &case.name;
        match answer.await {
            Ok((status, _)) if !(200..300).contains(&status) => {
                let got = (Some("HTTPStatusError"), Some(status));
                assert_eq!(got, (case.expect.error.as_deref(), case.expect.status), "{name}");
            }
            Ok((_, Ok(text))) if case.expect.same => {
                assert_eq!(Some(text.into_bytes()), case.body_bytes(), "{name}");
            }
            Ok((_, Ok(text))) => {
                let document: Value = serde_json::from_str(&text).expect("checked");
                let values = case.expect.json_at.unwrap_or_else(|| panic!("{name}: an error was expected"));
                for (pointer, value) in values {
                    assert_eq!(document.pointer(&pointer), Some(&value), "{name} at {pointer}");
                }
            }
            Ok((_, Err(error))) | Err(error) => {
                assert_eq!(Some(class_of(&error)), case.expect.error.as_deref(), "{name}: {error}");
            }
        }
    }
}
