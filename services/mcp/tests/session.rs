//! Sessions with scripted servers of both generations, over real sockets.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcpgateway_engine::json::Node;
use mcpgateway_engine::{Client, ClientOptions, Error, ErrorKind, Payload, Timeouts};
use mcpgateway_mcp::{Call, Reply, Session, SessionOptions, Step, Version};
use support::{Asked, Server, accepted, error, json, legacy, modern, reply, result, stream};

fn session_with(server: &Server, options: SessionOptions) -> Session {
    let client = Client::new(ClientOptions::default()).expect("default options");
    Session::new(client, &server.url, options).expect("a URL")
}

fn session(server: &Server) -> Session {
    session_with(server, SessionOptions::default())
}

fn echo() -> Call {
    Call::tool("echo", Payload::from(r#"{"a":1}"#))
}

fn raw(reply: &Reply) -> String {
    String::from_utf8(reply.result.raw().into()).expect("UTF-8")
}

fn rpc_code(error: &Error) -> Option<i64> {
    if let ErrorKind::Rpc(rpc) = error.kind() { Some(rpc.code) } else { None }
}

#[tokio::test]
async fn a_modern_request_says_all_of_itself() {
    let server = Server::start(modern(|asked| result(asked, r#"{"resultType":"complete","content":[]}"#)));
    let session = session(&server);
    let reply = session.call(echo().param_header("Region", "us west ")).await.expect("a result");
    assert_eq!(
        (raw(&reply).as_str(), reply.version),
        (r#"{"resultType":"complete","content":[]}"#, Version::V2026_07_28)
    );
    let asked = &server.seen()[1];
    let headers =
        ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region", "accept", "mcp-session-id"];
    assert_eq!(
        headers.map(|name| asked.header(name)),
        [
            Some("2026-07-28"),
            Some("tools/call"),
            Some("echo"),
            Some("=?base64?dXMgd2VzdCA=?="),
            Some("application/json, text/event-stream"),
            None
        ]
    );
    assert_eq!(asked.at("/params/arguments"), r#"{"a":1}"#);
    assert_eq!(asked.at("/params/_meta/io.modelcontextprotocol~1protocolVersion"), r#""2026-07-28""#);
    assert_eq!(asked.at("/params/_meta/io.modelcontextprotocol~1clientCapabilities"), "{}");
    assert_eq!(asked.at("/params/_meta/io.modelcontextprotocol~1clientInfo/name"), r#""mcpgateway-rust""#);
}

#[tokio::test]
async fn a_legacy_server_is_initialized_and_its_session_ended() {
    let server = Server::start(legacy("s-1", |asked| result(asked, r#"{"content":[]}"#)));
    let session = session(&server);
    assert_eq!(session.call(echo()).await.expect("a result").version, Version::V2025_11_25);
    session.call(echo()).await.expect("a result");
    session.close().await.expect("closed");
    assert_eq!(
        server.abouts(),
        ["server/discover", "initialize", "notifications/initialized", "tools/call", "tools/call", "DELETE"]
    );
    let seen = server.seen();
    assert_eq!(seen[1].at("/params/protocolVersion"), r#""2025-11-25""#);
    assert_eq!((seen[1].header("mcp-session-id"), seen[1].header("mcp-protocol-version")), (None, None));
    for asked in &seen[2..] {
        assert_eq!(asked.header("mcp-session-id"), Some("s-1"), "{}", asked.about());
        assert_eq!(asked.header("mcp-protocol-version"), Some("2025-11-25"), "{}", asked.about());
        assert_eq!(asked.header("mcp-method"), None);
    }
}

#[tokio::test]
async fn what_an_endpoint_speaks_is_remembered() {
    for (server, first) in [
        (Server::start(modern(|asked| result(asked, "{}"))), "tools/call"),
        (Server::start(legacy("s", |asked| result(asked, "{}"))), "initialize"),
    ] {
        session(&server).call(echo()).await.expect("a result");
        let before = server.seen().len();
        session(&server).call(echo()).await.expect("a result");
        assert_eq!(server.abouts()[before], first);
    }
}

#[tokio::test]
async fn a_server_that_became_another_is_asked_again() {
    let modernity = AtomicUsize::new(1);
    let (as_modern, as_legacy) = (
        modern(|asked| result(asked, "{}")),
        legacy("s", |asked| match asked.header("mcp-session-id") {
            Some("s") => result(asked, "{}"),
            _ => reply(400, "", "no session"),
        }),
    );
    let server = Server::start(move |asked, before| {
        if before >= 2 {
            modernity.store(0, Ordering::SeqCst);
        }
        if modernity.load(Ordering::SeqCst) == 1 {
            as_modern(asked, before)
        } else {
            as_legacy(asked, before)
        }
    });
    session(&server).call(echo()).await.expect("a result");
    assert_eq!(session(&server).call(echo()).await.expect("a result").version, Version::V2025_11_25);
    assert_eq!(server.abouts()[2..4], ["tools/call", "server/discover"]);
}

#[tokio::test]
async fn an_unsupported_version_leads_to_one_that_both_speak() {
    let legacy = legacy("s", |asked| result(asked, "{}"));
    let server = Server::start(move |asked, before| match asked.about().as_str() {
        "server/discover" => error(asked, 400, -32022, r#"{"supported":["2025-11-25"]}"#),
        _ => legacy(asked, before),
    });
    assert_eq!(session(&server).call(echo()).await.expect("a result").version, Version::V2025_11_25);

    let server = Server::start(|asked, _| error(asked, 400, -32022, r#"{"supported":["2031-01-01"]}"#));
    let refused = session(&server).call(echo()).await.expect_err("no version");
    assert_eq!((rpc_code(&refused), server.abouts().len()), (Some(-32022), 1));
}

#[tokio::test]
async fn a_server_that_refuses_a_version_and_names_it_is_asked_again() {
    let modern = modern(|asked| result(asked, "{}"));
    let server = Server::start(move |asked, before| match before {
        0 => error(asked, 400, -32022, r#"{"supported":["2026-07-28"]}"#),
        _ => modern(asked, before),
    });
    assert_eq!(session(&server).call(echo()).await.expect("a result").version, Version::V2026_07_28);
    assert_eq!(server.abouts(), ["server/discover", "server/discover", "tools/call"]);
}

#[tokio::test]
async fn who_may_not_ask_learns_that_and_nothing_is_assumed() {
    for status in [401, 403, 429] {
        let server = Server::start(move |asked, _| match asked.header("authorization") {
            Some(_) if asked.about() == "server/discover" => {
                result(asked, r#"{"supportedVersions":["2026-07-28"]}"#)
            }
            Some(_) => result(asked, "{}"),
            None => error(asked, status, -32600, "null"),
        });
        let session = session(&server);
        let refused = session.call(echo()).await.expect_err("refused");
        assert!(
            matches!(refused.kind(), ErrorKind::Status(response) if response.status == status),
            "{refused}"
        );
        let token = mcpgateway_engine::http::parse_headers([("authorization", &b"Bearer x"[..])]);
        let allowed = session.call(echo().headers(token.expect("valid"))).await.expect("a result");
        assert_eq!(allowed.version, Version::V2026_07_28);
        assert_eq!(server.abouts(), ["server/discover", "server/discover", "tools/call"]);
    }
}

#[tokio::test]
async fn a_call_whose_session_expired_is_made_in_a_new_one() {
    let server = Server::start({
        let legacy = legacy("s", |asked| result(asked, "{}"));
        move |asked, before| {
            let expired = asked.about() == "tools/call" && before == 3;
            if expired { error(asked, 404, -32600, "null") } else { legacy(asked, before) }
        }
    });
    session(&server).call(echo()).await.expect("a result");
    assert_eq!(
        server.abouts()[2..],
        ["notifications/initialized", "tools/call", "initialize", "notifications/initialized", "tools/call"]
    );
}

#[tokio::test]
async fn a_session_that_expires_while_a_stream_is_resumed_is_typed_and_not_called_again() {
    let server = Server::start(legacy("s", |asked| match asked.method.as_str() {
        "GET" => reply(404, "", ""),
        _ => stream("id: 1\nretry: 1\ndata:\n\n"),
    }));
    let session = session(&server);
    let expired = session.call(echo()).await.expect_err("expired");
    assert_eq!(*expired.kind(), ErrorKind::SessionExpired);
    assert_eq!(server.abouts().iter().filter(|about| *about == "tools/call").count(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_resumed_where_it_was_and_when_it_said() {
    let server =
        Server::start(legacy("s", |asked| match (asked.method.as_str(), asked.header("last-event-id")) {
            ("GET", Some("1")) => {
                stream("retry: 30\nid: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n")
            }
            ("GET", Some("2")) => {
                stream("id: 3\ndata: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"a\":1}}\n\n")
            }
            ("GET", _) => reply(500, "", ""),
            _ => stream("id: 1\nretry: 60\ndata: \n\n"),
        }));
    let session = session(&server);
    let begun = Instant::now();
    let mut calling = session.begin(echo());
    assert!(matches!(calling.next().await.expect("a step"), Step::Notification(n) if n.method == "n"));
    let Step::Reply(reply) = calling.next().await.expect("a step") else { panic!("no reply") };
    assert_eq!(raw(&reply), r#"{"a":1}"#);
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    let seen = server.seen();
    let resumed: Vec<_> = seen.iter().filter(|asked| asked.method == "GET").collect();
    assert!(resumed.iter().all(|asked| asked.header("mcp-session-id") == Some("s")));
    assert_eq!(resumed.len(), 2);
}

#[tokio::test]
async fn a_stream_that_cannot_be_resumed_is_incomplete() {
    let broken = "data: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n";
    for server in [
        Server::start(legacy("s", move |_| stream(broken))),
        Server::start(modern(move |_| stream(&format!("id: 1\n{broken}")))),
    ] {
        let cut = session(&server).call(echo()).await.expect_err("no reply");
        assert_eq!(*cut.kind(), ErrorKind::IncompleteBody);
        assert!(!server.abouts().contains(&"GET".to_owned()));
    }
    let server = Server::start(legacy("s", |asked| match asked.method.as_str() {
        "GET" => stream(""),
        _ => stream("id: 1\nretry: 1\ndata:\n\n"),
    }));
    let options = SessionOptions { max_resumes: 3, ..SessionOptions::default() };
    let cut = session_with(&server, options).call(echo()).await.expect_err("no reply");
    assert_eq!(*cut.kind(), ErrorKind::IncompleteBody);
    assert_eq!(server.abouts().iter().filter(|about| *about == "GET").count(), 3);
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_does_not_outlast_the_call() {
    let server = Server::start(legacy("s", |_| stream("id: 1\nretry: 3600000\ndata:\n\n")));
    let timeouts = Timeouts { total: Duration::from_secs(30), ..Timeouts::default() };
    let late = session(&server).call(echo().timeouts(Some(timeouts))).await.expect_err("too late");
    assert!(matches!(late.kind(), ErrorKind::Timeout { name: "total", .. }), "{late}");
}

#[tokio::test]
async fn a_ping_is_answered_and_other_requests_go_to_whoever_answers_them() {
    let events = "data: {\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n\n\
                  data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"elicitation/create\",\"params\":{\"x\":1}}\n\n\
                  data: {\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"roots/list\"}\n\n\
                  data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n\n";
    let server = Server::start(legacy("s", move |asked| match asked.about().as_str() {
        "tools/call" => stream(events),
        _ => accepted(),
    }));
    let session = session(&server);
    let mut calling = session.begin(echo());
    let Step::Asked(asked) = calling.next().await.expect("a step") else { panic!("nothing asked") };
    assert_eq!(asked.params.as_ref().map(Node::raw), Some(r#"{"x":1}"#.into()));
    calling.answer(&asked, r#"{"action":"accept"}"#.into()).await.expect("taken");
    let Step::Asked(asked) = calling.next().await.expect("a step") else { panic!("nothing asked") };
    calling.refuse(&asked, -32601, "no").await.expect("taken");
    assert!(matches!(calling.next().await.expect("a step"), Step::Reply(_)));
    let bodies: Vec<_> = server.seen()[4..].iter().map(|asked| asked.body.clone()).collect();
    assert_eq!(
        bodies,
        [
            r#"{"jsonrpc":"2.0","id":"p","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"action":"accept"}}"#,
            r#"{"jsonrpc":"2.0","id":8,"error":{"code":-32601,"message":"no"}}"#
        ]
    );
}

#[tokio::test]
async fn what_is_asked_beside_a_call_is_answered_while_it_runs() {
    let (asked_for, answered) = std::sync::mpsc::channel();
    let answered = std::sync::Mutex::new(answered);
    let server = Server::start(legacy("s", move |asked| match asked.about().as_str() {
        "GET" => {
            let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
            let question = r#"{"jsonrpc":"2.0","id":2,"method":"elicitation/create"}"#;
            stream(&format!("data: {ping}\n\ndata: {question}\n\n"))
        }
        "tools/call" => {
            // The head of the reply comes once the question is answered.
            answered.lock().expect("no panic").recv().expect("an answer");
            result(asked, "{}")
        }
        _ => {
            if asked.at("/result") == r#"{"action":"decline"}"# {
                asked_for.send(()).expect("somebody waits");
            }
            accepted()
        }
    }));
    let session = session_with(&server, SessionOptions { listens: true, ..SessionOptions::default() });
    let mut calling = session.begin(echo());
    let Step::Asked(asked) = calling.next().await.expect("a step") else { panic!("nothing asked") };
    calling.answer(&asked, r#"{"action":"decline"}"#.into()).await.expect("taken");
    assert!(matches!(calling.next().await.expect("a step"), Step::Reply(_)));
    assert_eq!(server.seen()[3].header("accept"), Some("application/json, text/event-stream"));
    let pong = server
        .seen()
        .into_iter()
        .find(|asked| asked.at("/id") == "1" && asked.about() == "POST")
        .expect("the ping was answered");
    assert_eq!(pong.at("/result"), "{}");
    session
        .call(Call::new("ping", mcpgateway_mcp::Params::new()))
        .await
        .expect_err("accepted without a reply");
    assert_eq!(server.abouts().iter().filter(|about| *about == "GET").count(), 1);
}

#[tokio::test]
async fn a_server_without_a_stream_beside_calls_is_called_all_the_same() {
    let server = Server::start(legacy("s", |asked| match asked.about().as_str() {
        "GET" => reply(405, "", ""),
        _ => result(asked, "{}"),
    }));
    let session = session_with(&server, SessionOptions { listens: true, ..SessionOptions::default() });
    session.call(echo()).await.expect("a result");
    session.call(echo()).await.expect("a result");
    assert_eq!(server.abouts()[3..], ["GET", "tools/call", "tools/call"]);
}

#[tokio::test]
async fn input_that_is_required_is_given_with_the_state_as_it_was() {
    let server = Server::start(modern(|asked| {
        if asked.at("/params/inputResponses").is_empty() {
            let required = r#"{"resultType":"input_required","requestState":"o\u0070aque","inputRequests":
                {"a":{"method":"elicitation/create","params":{"m":1}},"b":{"method":"roots/list"}}}"#;
            result(asked, &required.replace('\n', ""))
        } else {
            result(asked, r#"{"resultType":"complete","done":true}"#)
        }
    }));
    let session = session(&server);
    let mut calling = session.begin(echo());
    let mut asked = Vec::new();
    let reply = loop {
        match calling.next().await.expect("a step") {
            Step::Asked(question) => {
                asked.push(question.method.clone());
                let answer = Payload::from(format!(r#"{{"n":{}}}"#, asked.len()));
                calling.answer(&question, answer).await.expect("taken");
            }
            Step::Reply(reply) => break reply,
            Step::Notification(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (asked, raw(&reply)),
        (
            vec!["elicitation/create".into(), "roots/list".into()],
            r#"{"resultType":"complete","done":true}"#.into()
        )
    );
    let seen = server.seen();
    let (first, again) = (&seen[1], &seen[2]);
    assert_eq!(again.at("/params/inputResponses"), r#"{"a":{"n":1},"b":{"n":2}}"#);
    assert_eq!(again.at("/params/requestState"), r#""o\u0070aque""#);
    assert_eq!(again.at("/params/arguments"), first.at("/params/arguments"));
    assert_ne!(again.at("/id"), first.at("/id"));
}

#[tokio::test]
async fn a_server_that_asks_for_input_without_end_is_left() {
    let server =
        Server::start(modern(|asked| result(asked, r#"{"resultType":"input_required","requestState":"s"}"#)));
    let options = SessionOptions { max_input_rounds: 3, ..SessionOptions::default() };
    let endless = session_with(&server, options).call(echo()).await.expect_err("endless");
    let kind = ErrorKind::LimitExceeded { name: "max_input_rounds", limit: 3, got: 4 };
    assert_eq!((endless.kind(), server.seen().len()), (&kind, 5));
    assert_eq!(server.seen()[2].at("/params/inputResponses"), "");

    let server = Server::start(modern(|asked| {
        result(asked, r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#)
    }));
    let refused = session(&server).call(echo()).await.expect_err("nobody answers");
    assert_eq!(*refused.kind(), ErrorKind::InvalidReply);
}

#[tokio::test]
async fn progress_is_asked_for_by_the_id_of_the_request() {
    let server = Server::start(modern(|asked| {
        let token = asked.at("/params/_meta/progressToken");
        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
        );
        stream(&format!(
            "data: {progress}\n\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{}}}}\n\n",
            asked.at("/id")
        ))
    }));
    let session = session(&server);
    let mut calling = session.begin(echo().with_progress_notifications());
    let Step::Notification(progress) = calling.next().await.expect("a step") else { panic!("no progress") };
    assert_eq!(progress.method, "notifications/progress");
    assert_eq!(server.seen()[1].at("/params/_meta/progressToken"), server.seen()[1].at("/id"));
    assert!(matches!(calling.next().await.expect("a step"), Step::Reply(_)));
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_a_legacy_server() {
    let server = Server::start(legacy("s", |_| stream("data: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n")));
    let session = session(&server);
    let mut calling = session.begin(echo());
    assert!(matches!(calling.next().await.expect("a step"), Step::Notification(_)));
    drop(calling);
    server.wait_for(5);
    let cancelled = &server.seen()[4];
    assert_eq!(cancelled.about(), "notifications/cancelled");
    assert_eq!(cancelled.at("/params/requestId"), server.seen()[3].at("/id"));
    assert_eq!(cancelled.header("mcp-session-id"), Some("s"));
}

#[tokio::test]
async fn pages_follow_opaque_cursors_to_their_end() {
    let server = Server::start(modern(|asked| {
        let page = match asked.at("/params/cursor").as_str() {
            "" => r#"{"tools":[1],"nextCursor":""}"#,
            r#""""# => r#"{"tools":[2],"nextCursor":"a\"b"}"#,
            r#""a\"b""# => r#"{"tools":[3]}"#,
            _ => "{}",
        };
        result(asked, page)
    }));
    let mut pages = session(&server).pages(Call::list("tools/list", None));
    let mut tools = String::new();
    while let Some(page) = pages.next().await.expect("a page") {
        tools.push_str(&String::from_utf8_lossy(&page.result.get("tools").expect("tools").raw()));
    }
    assert_eq!(tools, "[1][2][3]");

    let server = Server::start(modern(|asked| result(asked, r#"{"tools":[],"nextCursor":"a"}"#)));
    let mut pages = session(&server).pages(Call::list("tools/list", None));
    assert!(pages.next().await.expect("a page").is_some());
    assert_eq!(*pages.next().await.expect_err("no end").kind(), ErrorKind::InvalidReply);
}

#[tokio::test]
async fn calls_that_come_at_once_agree_once() {
    let server = Server::start(legacy("s", |asked| result(asked, "{}")));
    let session = session(&server);
    let calls = (0..8).map(|_| {
        let session = session.clone();
        tokio::spawn(async move { session.call(echo()).await.map(|reply| reply.status) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.expect("no panic").expect("a result"), 200);
    }
    assert_eq!(server.abouts().iter().filter(|about| *about == "initialize").count(), 1);
}

/// What a modern server says instead of a result, and the kind of error that it is.
fn hostile(answer: impl Fn(&Asked) -> support::Answer + Send + Sync + 'static) -> Server {
    Server::start(modern(answer))
}

#[tokio::test]
async fn what_is_no_reply_to_the_call_is_refused() {
    for body in [
        "",
        "<html>",
        "[]",
        r#"{"jsonrpc":"2.0","id":2}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{},"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":999,"result":{}}"#,
        r#"{"jsonrpc":"1.0","id":2,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"x","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{"resultType":"later"}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required"}}"#,
    ] {
        let server = hostile(move |_| json(body));
        let refused = session(&server).call(echo()).await.expect_err(body);
        assert_eq!(*refused.kind(), ErrorKind::InvalidReply, "{body}: {refused}");
    }
}

#[tokio::test]
async fn an_error_keeps_its_code_whatever_its_status() {
    for (status, code, name) in [
        (200, -32602, "InvalidParams"),
        (404, -32601, "MethodNotFound"),
        (400, -32020, "HeaderMismatch"),
        (400, -32021, "MissingClientCapability"),
        (400, -32042, "UrlElicitationRequired"),
    ] {
        let server = hostile(move |asked| error(asked, status, code, r#"{"k":1}"#));
        let refused = session(&server).call(echo()).await.expect_err("an error");
        let ErrorKind::Rpc(rpc) = refused.kind() else { panic!("{refused}") };
        let data = rpc.data.as_ref().map(Node::raw);
        assert_eq!((rpc.code, rpc.name, data), (code, name, Some(r#"{"k":1}"#.into())));
    }
    let server = hostile(|_| reply(503, "", "busy"));
    let refused = session(&server).call(echo()).await.expect_err("a status");
    assert!(matches!(refused.kind(), ErrorKind::Status(response) if response.status == 503), "{refused}");
}

#[tokio::test]
async fn a_session_id_that_no_header_could_carry_is_refused() {
    let server = Server::start(|asked, _| match asked.about().as_str() {
        "initialize" => reply(
            200,
            "Content-Type: application/json\r\nMcp-Session-Id: a b\r\n",
            &format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"2025-11-25"}}}}"#,
                asked.at("/id")
            ),
        ),
        _ => reply(400, "", ""),
    });
    assert_eq!(*session(&server).call(echo()).await.expect_err("refused").kind(), ErrorKind::InvalidReply);
}

#[tokio::test]
async fn a_version_that_nobody_here_speaks_is_refused() {
    let server = Server::start(|asked, _| match asked.about().as_str() {
        "initialize" => result(asked, r#"{"protocolVersion":"1999-01-01"}"#),
        _ => reply(400, "", ""),
    });
    let refused = session(&server).call(echo()).await.expect_err("refused");
    assert!(refused.to_string().contains("1999-01-01"), "{refused}");
}
