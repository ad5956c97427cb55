//! No credential of a URL, and nothing that a header says, is in what debugging prints.

use std::fmt::Debug;
use std::time::Duration;

use a2a_service::core::{Agent, AgentOptions, AgentReply, Binding, Card, Endpoint, Message, Part, Version};
use mcpgateway_engine::http::{HeaderMap, HeaderValue};
use mcpgateway_engine::json::{Document, Options};
use mcpgateway_engine::{Client, ClientOptions, Payload, Request};
use mcpgateway_mcp::{Call, Session, SessionOptions};
use resource_service::core::{CameFrom, Fetch, Resource, ResourceClient, ResourceOptions, Scope};
use tool_service::core::{CallOptions, McpServer, RestBody, RestTool};

const CANARY: &str = "canary-8c1f";
const URL: &str = "https://user:canary-8c1f@h.example/a?key=canary-8c1f#canary-8c1f";

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer canary-8c1f"));
    headers.insert("x-api-key", HeaderValue::from_static("canary-8c1f"));
    headers
}

fn client() -> Client {
    let proxy = Some("http://user:canary-8c1f@proxy.example:1".to_owned());
    Client::new(ClientOptions { headers: headers(), proxy, ..ClientOptions::default() })
        .expect("these can hold")
}

/// That `shown` says something, and no secret.
fn is_discreet(shown: &dyn Debug, says: &str) {
    for text in [format!("{shown:?}"), format!("{shown:#?}")] {
        assert!(text.contains(says) && !text.contains(CANARY), "{text}");
    }
}

#[test]
fn nothing_that_is_sent_with_a_request_is_printed() {
    let request = Request::new("POST", URL).expect("a URL");
    let request = request.header("x-api-key", CANARY.as_bytes()).expect("a header");
    is_discreet(&client(), "x-api-key");
    is_discreet(&request, "https://h.example/a?…");
    is_discreet(&request.template(), "Template");
}

#[test]
fn agents_and_their_cards_are_printed_without_secrets() {
    let options = AgentOptions { query: vec![("key".into(), CANARY.into())], ..AgentOptions::default() };
    is_discreet(&Agent::new(client(), URL.to_owned(), options), "Agent");
    let endpoint =
        Endpoint { url: URL.to_owned(), version: Version::V1_0, binding: Binding::JsonRpc, tenant: None };
    is_discreet(&endpoint, "https://h.example/a?…");
    let json = |text: String| Document::parse(text.into(), &Options::default()).expect("JSON");
    let interface = format!(r#"{{"url":"{URL}","protocolBinding":"JSONRPC","protocolVersion":"1.0"}}"#);
    let card = Card::new(json(format!(r#"{{"supportedInterfaces":[{interface}]}}"#))).expect("a card");
    is_discreet(&card, "https://h.example/a?…");
    is_discreet(&Message::new(vec![Part::url(URL), Part::text(CANARY.into())]), "Part(url");
    let part = format!(r#"{{"messageId":"m","parts":[{{"url":"{URL}"}}]}}"#);
    let reply = AgentReply::new(&json(format!(r#"{{"id":1,"result":{part}}}"#))).expect("an envelope");
    is_discreet(&reply, "AgentReply");
    is_discreet(&reply.parts(), "Url");
}

#[test]
fn sessions_and_calls_of_mcp_are_printed_without_secrets() {
    let options = || SessionOptions { headers: headers(), ..SessionOptions::default() };
    let session = Session::new(client(), URL, options()).expect("a URL");
    let call = Call::resource(URL).headers(headers()).param_header("Region", CANARY);
    is_discreet(&options(), "authorization");
    is_discreet(&session, "https://h.example/a?…");
    is_discreet(&session.pages(call.clone()), "Pages");
    is_discreet(&call, "resources/read");
    is_discreet(&session.begin(call), "Calling");
    is_discreet(&McpServer::new(session), "https://h.example/a?…");
    is_discreet(&CallOptions { headers: Some(headers()), ..CallOptions::default() }, "x-api-key");
}

#[test]
fn rest_tools_and_resources_are_printed_without_secrets() {
    let tool = RestTool::new("GET", URL, Vec::new(), Vec::new(), RestBody::Query).expect("a URL");
    is_discreet(&tool, "GET");
    let resources = ResourceClient::new(client(), ResourceOptions::default()).expect("these can hold");
    is_discreet(&resources, "x-api-key");
    is_discreet(&Fetch::new(URL).and_then(|fetch| fetch.headers(headers())).expect("a URL"), "x-api-key");
    is_discreet(&Fetch::new(&format!("data:text/plain,{CANARY}")).expect("a URL"), "data:…");
    let resource = Resource {
        uri: URL.to_owned(),
        content_type: None,
        body: Payload::from(CANARY),
        etag: None,
        last_modified: None,
        fresh_for: Some(Duration::from_secs(1)),
        scope: Scope::Private,
        came_from: CameFrom::Network,
    };
    is_discreet(&resource, "https://h.example/a?…");
}
