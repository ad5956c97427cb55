//! One call of one agent.

use std::collections::BTreeMap;

use mcpgateway_engine::http::parse_headers;
use mcpgateway_engine::{Client, Error, ErrorKind, Phase, Result, Sent, json};

/// What an agent is asked: a method, a URL, headers and a body of any size.
pub type Request = mcpgateway_engine::Request;

/// What an agent answered.
pub type Reply = mcpgateway_engine::Response;

/// Invoke the agent at the URL of `request` and return its reply, whatever its status.
///
/// # Errors
/// Any [`ErrorKind`]; [`sent`](Error::sent) says whether the agent may have acted.
pub async fn invoke_agent(client: &Client, request: Request) -> Result<Reply> {
    client.send(request).await
}

/// A request whose headers are a JSON object of strings, as ADR-041 has it.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`] when method, URL or headers cannot be sent.
pub fn request_with_json_headers(method: &str, url: &str, headers_json: &str) -> Result<Request> {
    let headers: BTreeMap<String, String> = serde_json::from_str(headers_json).map_err(|cause| {
        // Without the cause's text: it may quote a secret.
        let place = format!("line {}, column {}", cause.line(), cause.column());
        Error::invalid_request(format!(
            "headers_json is no JSON object of strings ({place}): pass json.dumps({{\"name\": \"value\"}})"
        ))
    })?;
    let headers = parse_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    Ok(Request::new(method, url)?.headers(headers))
}

/// The body of `reply` as JSON text, checked.
///
/// # Errors
/// [`ErrorKind::InvalidReply`] when it is not JSON (RFC 8259), [`ErrorKind::QuotaExceeded`] when there
/// is no memory to check it.
pub fn json_reply(reply: &Reply) -> Result<String> {
    let bytes = reply.body.clone().into_bytes()?;
    json::check(&bytes, &json::Options::default()).map_err(|cause| {
        Error::new(ErrorKind::InvalidReply, "the reply is not JSON")
            .with_phase(Phase::Parse)
            .with_sent(Sent::Yes)
            .with_source(cause)
    })?;
    String::from_utf8(bytes.into()).map_err(|cause| {
        Error::new(ErrorKind::InvalidReply, "the reply is not UTF-8")
            .with_phase(Phase::Parse)
            .with_sent(Sent::Yes)
            .with_source(cause)
    })
}
