//! A2A and server-sent events from Rust alone, over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use a2a_service::core::{
    Agent, AgentOptions, AgentReply, Ask, Binding, Draft, ItemKind, Message, Part, SendOptions, TaskState,
    TokenFuture, TokenSource, Version,
};
use a2a_service::serve::ServerThread;
use mcpgateway_engine::http::EventStream;
use mcpgateway_engine::{Client, ClientOptions, ErrorKind, Limits, Payload, Request, Result, Sent};
use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: Vec<String>,
    body: Value,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or(&self.line)
    }
}

/// Replies to each request on any connection with what `reply` returns, as it is; a reply that is shorter than it
/// announces ends the connection.
struct Scripted {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    fn start(reply: impl Fn(&str, usize, &Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, own) = (Arc::clone(&asked), url.clone());
        let reply = Arc::new(reply);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(std::result::Result::ok) {
                let (seen, own, reply) = (Arc::clone(&seen), own.clone(), Arc::clone(&reply));
                std::thread::spawn(move || {
                    while let Some(request) = read_request(&connection) {
                        let number = {
                            let mut seen = seen.lock().expect("no panic");
                            seen.push(request.clone());
                            seen.len() - 1
                        };
                        let said = reply(&own, number, &request);
                        let is_whole = !said.starts_with(CUT);
                        let said = said.strip_prefix(CUT).unwrap_or(&said);
                        if (&connection).write_all(said).is_err() || !is_whole {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, asked }
    }

    fn methods(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").iter().map(|asked| asked.method().to_owned()).collect()
    }
}

/// Before a reply: the connection ends with it.
const CUT: &[u8] = b"\0cut\0";

fn read_request(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut asked = Asked { line: lines.remove(0), headers: lines, body: Value::Null };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(asked)
}

fn reply(status: &str, kind: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn json_reply(body: &Value) -> Vec<u8> {
    reply("200 OK", "application/json", body.to_string())
}

fn result_for(asked: &Asked, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result})
}

fn events(asked: &Asked, results: &[Value]) -> Vec<u8> {
    let events = results.iter().map(|result| format!("data: {}\r\n\r\n", result_for(asked, result)));
    reply("200 OK", "text/event-stream", events.collect::<String>())
}

/// The same events, of which the end does not come.
fn broken_events(asked: &Asked, results: &[Value]) -> Vec<u8> {
    let whole = events(asked, results);
    let text = String::from_utf8(whole).expect("UTF-8");
    let (head, body) = text.split_once("content-length: ").expect("there is one");
    let (length, body) = body.split_once("\r\n").expect("it ends");
    let longer = length.parse::<usize>().expect("a number") + 100;
    [CUT, format!("{head}content-length: {longer}\r\n{body}").as_bytes()].concat()
}

fn client() -> Client {
    Client::new(ClientOptions::default()).expect("default options")
}

fn agent_at(url: &str) -> Agent {
    let (version, binding) = (Some(Version::V1_0), Some(Binding::JsonRpc));
    Agent::new(client(), url.to_owned(), AgentOptions { version, binding, ..AgentOptions::default() })
}

fn saying(text: &str) -> Draft {
    Draft::Message(Message::new(vec![Part::text(text.to_owned().into())]))
}

async fn send(agent: &Agent, ask: &Ask) -> Result<AgentReply> {
    agent.send(saying("hi"), SendOptions::default(), ask).await
}

fn message() -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "hello"}]}})
}

fn task(state: &str, texts: &[&str]) -> Value {
    let parts: Vec<_> = texts.iter().map(|text| json!({"text": text})).collect();
    let artifacts = json!([{"artifactId": "a", "parts": parts}]);
    json!({"id": "t", "contextId": "c", "status": {"state": state}, "artifacts": artifacts})
}

fn chunk(text: &str, append: bool) -> Value {
    json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "append": append,
        "artifact": {"artifactId": "a", "parts": [{"text": text}]}}})
}

fn status(state: &str) -> Value {
    json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state}}})
}

fn text_of(payload: &Payload) -> String {
    String::from_utf8(payload.clone().into_bytes().expect("small").to_vec()).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_found_by_its_card_asked_and_listened_to() {
    let server = ServerThread::start().expect("a free port");
    let agent = Agent::new(client(), server.url().to_owned(), AgentOptions::default());
    let ask = Ask::default();
    let text = "a \"text\" of é\n".repeat(20_000);
    let draft = || {
        let scan = Part::raw(vec![7; 1 << 20].into());
        Draft::Message(Message::new(vec![Part::text(text.clone().into()), scan, Part::text("!".into())]))
    };
    let reply = agent.send(draft(), SendOptions::default(), &ask).await.expect("a message");
    let parts: Vec<_> = reply.parts().iter().map(|part| text_of(&part.payload().expect("text"))).collect();
    assert_eq!(parts, [text.as_str(), "!"]);
    let mut stream = agent.stream(draft(), SendOptions::default(), ask, 0).await.expect("a stream");
    let first = stream.next().await.expect("an event").expect("there is one");
    assert_eq!((first.item.kind, stream.task_id()), (ItemKind::ArtifactUpdate, Some("reply")));
    let rest = stream.collect().await.expect("the rest");
    assert_eq!((text_of(&rest.artifacts[0].text), rest.state), ("!".into(), Some(TaskState::Completed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_arrive_as_they_are_in_every_shape() {
    let raw: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
    let encoded = base64_simd::STANDARD.encode_to_string(&raw);
    let text = "\u{1}\"\\\n\té\u{1F600} plain ".repeat(30_000);
    let data = json!({"data": {"rows": [1.5, null]}});
    for (version, binding) in [
        (Version::V1_0, Binding::JsonRpc),
        (Version::V1_0, Binding::HttpJson),
        (Version::V0_3, Binding::JsonRpc),
        (Version::V0_3, Binding::HttpJson),
    ] {
        let server = Scripted::start(move |_, _, asked| match binding {
            Binding::JsonRpc => json_reply(&result_for(asked, &message())),
            Binding::HttpJson => json_reply(&message()),
        });
        let options =
            AgentOptions { version: Some(version), binding: Some(binding), ..AgentOptions::default() };
        let agent = Agent::new(client(), server.url.clone(), options);
        let mut file = Part::raw(raw.clone().into());
        (file.filename, file.media_type) = (Some("f".into()), Some("a/b".into()));
        let parts = vec![
            Part::text(text.clone().into()),
            file,
            Part::url("http://u/?a=\"b\""),
            Part::data(data.to_string().into()),
        ];
        let draft = Draft::Message(Message::new(parts));
        agent.send(draft, SendOptions::default(), &Ask::default()).await.expect("a message");
        let asked = server.asked.lock().expect("no panic")[0].clone();
        let params = if binding == Binding::JsonRpc { &asked.body["params"] } else { &asked.body };
        let sent = &params["message"];
        let parts =
            if (version, binding) == (Version::V0_3, Binding::HttpJson) { "content" } else { "parts" };
        let parts = sent[parts].as_array().expect("parts");
        assert!(parts[0]["text"] == text.as_str(), "{version:?} {binding:?}");
        let (file, url, inner) = match (version, binding) {
            (Version::V1_0, _) => (&parts[1]["raw"], &parts[2]["url"], &parts[3]["data"]),
            (_, Binding::JsonRpc) => {
                (&parts[1]["file"]["bytes"], &parts[2]["file"]["uri"], &parts[3]["data"])
            }
            _ => (
                &parts[1]["file"]["fileWithBytes"],
                &parts[2]["file"]["fileWithUri"],
                &parts[3]["data"]["data"],
            ),
        };
        let twice = base64_simd::STANDARD.encode_to_string(&encoded);
        let expected = if parts[1]["file"]["fileWithBytes"].is_string() { &twice } else { &encoded };
        assert!(file == expected.as_str(), "{version:?} {binding:?}");
        assert_eq!((url, inner), (&json!("http://u/?a=\"b\""), &data));
        assert_eq!(asked.header("a2a-version"), Some(version.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_goes_on_where_the_task_is() {
    let server = Scripted::start(|_, number, asked| match number {
        0 => broken_events(asked, &[json!({"task": task("TASK_STATE_WORKING", &[])}), chunk("one ", false)]),
        1 => broken_events(asked, &[json!({"task": task("TASK_STATE_WORKING", &["one ", "two "])})]),
        _ => events(
            asked,
            &[
                json!({"task": task("TASK_STATE_WORKING", &["one ", "two ", "three "])}),
                chunk("four", true),
                status("TASK_STATE_COMPLETED"),
            ],
        ),
    });
    let agent = agent_at(&server.url);
    let mut stream =
        agent.stream(saying("go"), SendOptions::default(), Ask::default(), 3).await.expect("a stream");
    let collected = stream.collect().await.expect("all of it");
    assert_eq!(text_of(&collected.artifacts[0].text), "one two three four");
    assert_eq!((collected.state, collected.task_id.as_deref()), (Some(TaskState::Completed), Some("t")));
    assert_eq!(server.methods(), ["SendStreamingMessage", "SubscribeToTask", "SubscribeToTask"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_says_again_after_a_break_is_not_repeated() {
    const GET: &str = "GetTask";
    let (one, three, four) = (chunk("one ", false), chunk("three ", true), chunk("four ", true));
    let (working, completed) = (status("TASK_STATE_WORKING"), status("TASK_STATE_COMPLETED"));
    // What comes after the break, and what the task has each time that it is asked for.
    let cases = [
        (
            vec![three.clone(), four.clone(), chunk("five", true), completed.clone()],
            vec![vec!["one ", "two ", "three ", "four "]],
            "one two three four five",
        ),
        (
            vec![working, three.clone(), four.clone(), completed.clone()],
            vec![vec!["one ", "two ", "three "], vec!["one ", "two ", "three ", "four "]],
            "one two three four ",
        ),
        // The task does not have it yet.
        (vec![three, four, completed], vec![vec!["one ", "two "]], "one two three four "),
    ];
    for (after, tasks, expected) in cases {
        let (times, one) = (tasks.len(), one.clone());
        let server = Scripted::start(move |_, number, asked| match asked.method() {
            GET => json_reply(&result_for(asked, &task("TASK_STATE_WORKING", &tasks[number - 2]))),
            "SubscribeToTask" => events(asked, &after),
            _ => broken_events(asked, &[status("TASK_STATE_WORKING"), one.clone()]),
        });
        let agent = agent_at(&server.url);
        let mut stream =
            agent.stream(saying("go"), SendOptions::default(), Ask::default(), 1).await.expect("a stream");
        let collected = stream.collect().await.expect("all of it");
        assert_eq!(text_of(&collected.artifacts[0].text), expected);
        assert_eq!(collected.state, Some(TaskState::Completed));
        let asked = [&["SendStreamingMessage", "SubscribeToTask"], vec![GET; times].as_slice()].concat();
        assert_eq!(server.methods(), asked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ended_while_the_stream_was_broken_is_asked_for() {
    let server = Scripted::start(|_, number, asked| match number {
        0 => broken_events(asked, &[status("TASK_STATE_WORKING")]),
        1 => json_reply(
            &json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": -32004, "message": "it is over"}}),
        ),
        _ => json_reply(&result_for(asked, &task("TASK_STATE_COMPLETED", &["all"]))),
    });
    let agent = agent_at(&server.url);
    let mut stream =
        agent.stream(saying("go"), SendOptions::default(), Ask::default(), 1).await.expect("a stream");
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await.expect("an event") {
        seen.push((event.item.kind, event.item.state(), event.is_after_break));
    }
    assert_eq!(
        seen,
        [
            (ItemKind::StatusUpdate, Some(TaskState::Working), false),
            (ItemKind::Task, Some(TaskState::Completed), true)
        ]
    );
    assert_eq!(server.methods(), ["SendStreamingMessage", "SubscribeToTask", "GetTask"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_before_its_task_is_no_success() {
    for (reattach, asked) in [(0, 1), (2, 3)] {
        let server = Scripted::start(|_, number, asked| match number {
            0 => events(asked, &[status("TASK_STATE_WORKING")]),
            _ => events(asked, &[]),
        });
        let agent = agent_at(&server.url);
        let mut stream = agent
            .stream(saying("go"), SendOptions::default(), Ask::default(), reattach)
            .await
            .expect("a stream");
        let error = stream.collect().await.expect_err("it did not end");
        assert_eq!((error.kind(), error.sent()), (&ErrorKind::IncompleteBody, Sent::Yes));
        assert_eq!(server.methods().len(), asked);
    }
}

#[derive(Default)]
struct Numbered(AtomicUsize);

impl TokenSource for Numbered {
    fn token(&self) -> TokenFuture {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(format!("token-{number}")) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_replaced_once() {
    let server = Scripted::start(|_, _, asked| match asked.header("authorization") {
        Some("Bearer token-1") => json_reply(&result_for(asked, &message())),
        _ => reply("401 Unauthorized", "text/plain", "who?"),
    });
    let agent = agent_at(&server.url);
    let tokens = Arc::new(Numbered::default());
    let ask = Ask { token: Some(tokens.clone()), ..Ask::default() };
    for _ in 0..2 {
        assert_eq!(send(&agent, &ask).await.expect("a message").parts().len(), 1);
    }
    assert_eq!((server.methods().len(), tokens.0.load(Ordering::SeqCst)), (3, 2));
    let other = agent_at(&server.url);
    let refused = Ask { token: Some(Arc::new(Numbered(AtomicUsize::new(7)))), ..Ask::default() };
    let error = send(&other, &refused).await.expect_err("both were refused");
    assert!(matches!(error.kind(), ErrorKind::Status(response) if response.status == 401), "{error}");
    assert_eq!(server.methods().len(), 5);
}

fn card(url: &str) -> Value {
    json!({"supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "acme"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_kept_by_its_etag_and_its_tenant_is_copied() {
    let server = Scripted::start(|own, _, asked| {
        if !asked.line.starts_with("GET ") {
            return json_reply(&result_for(asked, &message()));
        }
        let (status, body) = match asked.header("if-none-match") {
            Some("\"1\"") => ("304 Not Modified", String::new()),
            _ => ("200 OK", card(own).to_string()),
        };
        let head = format!("HTTP/1.1 {status}\r\netag: \"1\"\r\ncache-control: max-age=0\r\n");
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let agent = Agent::new(client(), server.url.clone(), AgentOptions::default());
    for _ in 0..2 {
        send(&agent, &Ask::default()).await.expect("a message");
    }
    let asked = server.asked.lock().expect("no panic").clone();
    let place = "GET /.well-known/agent-card.json HTTP/1.1";
    let methods: Vec<_> = asked.iter().map(Asked::method).collect();
    assert_eq!(methods, [place, "SendMessage", place, "SendMessage"]);
    let matched: Vec<_> = asked.iter().map(|asked| asked.header("if-none-match")).collect();
    assert_eq!(matched, [None, None, Some("\"1\""), None]);
    assert_eq!(asked[3].body["params"]["tenant"], "acme");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_leads_elsewhere_gets_neither_credentials_nor_internal_addresses() {
    let victim = Scripted::start(|_, _, asked| json_reply(&result_for(asked, &message())));
    let elsewhere = victim.url.clone();
    let liar = Scripted::start(move |_, _, _| json_reply(&card(&elsewhere)));
    let agent = |options| {
        Agent::new(
            client(),
            liar.url.clone(),
            AgentOptions { trust_card: options, ..AgentOptions::default() },
        )
    };
    let error = send(&agent(false), &Ask::default()).await.expect_err("loopback");
    assert!(matches!(error.kind(), ErrorKind::AddressRefused), "{error:?}");
    let with_token = Ask { token: Some(Arc::new(Numbered::default())), ..Ask::default() };
    let error = send(&agent(false), &with_token).await.expect_err("credentials");
    assert_eq!(*error.kind(), ErrorKind::Denied);
    assert_eq!(victim.methods().len(), 0);
    send(&agent(true), &with_token).await.expect("the caller vouched for it");
    assert_eq!(victim.methods(), ["SendMessage"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_taken_from_a_reply_one_by_one_and_within_their_limit() {
    let large = "x".repeat(3 << 20);
    let body = format!(": hello\n\ndata: one\rid: 7\r\rdata: {large}\n\nevent: end\ndata: a\ndata: b\n\n");
    let half = format!("data: {large}");
    let server = Scripted::start(move |_, _, asked| {
        let body = if asked.line.contains("/half") { &half } else { &body };
        reply("200 OK", "text/event-stream; charset=utf-8", body)
    });
    let client = client();
    let open = async |path: &str, limits: Option<Limits>| {
        let request = Request::new("GET", &format!("{}{path}", server.url)).expect("valid").limits(limits);
        let response = client.stream(request).await.expect("a reply");
        assert!(EventStream::is_announced_by(&response.headers));
        EventStream::new(response, client.options())
    };
    let mut stream = open("/", None).await;
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await.expect("an event") {
        seen.push((event.event, event.id, text_of(&event.data)));
    }
    let id = Some("7".to_owned());
    let expected = [
        ("message".to_owned(), id.clone(), "one".to_owned()),
        ("message".to_owned(), id.clone(), "x".repeat(3 << 20)),
        ("end".to_owned(), id, "a\nb".to_owned()),
    ];
    assert!(seen == expected, "{} events", seen.len());
    let error = open("/half", None).await.next().await.expect_err("it has no end");
    assert_eq!((error.kind(), error.sent()), (&ErrorKind::IncompleteBody, Sent::Yes));
    let limits = Limits { max_event_bytes: 1 << 20, ..Limits::default() };
    let mut stream = open("/", Some(limits)).await;
    assert_eq!(text_of(&stream.next().await.expect("short").expect("an event").data), "one");
    let error = stream.next().await.expect_err("too large");
    let ErrorKind::LimitExceeded { name, limit, got } = error.kind() else { panic!("{error}") };
    assert_eq!((*name, *limit, *got > 1 << 20), ("max_event_bytes", 1 << 20, true));
    assert!(error.to_string().contains("max_event_bytes is 1048576"), "{error}");
}
