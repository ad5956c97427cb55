//! One call of one agent.

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

/// The body of `reply` as JSON text, checked.
///
/// # Errors
/// [`ErrorKind::InvalidReply`] when it is not JSON (RFC 8259), [`ErrorKind::QuotaExceeded`] when there
/// is no memory to check it.
pub fn json_reply(reply: &Reply) -> Result<String> {
    let bytes = reply.body.clone().into_bytes()?;
    json::validate(&bytes)?;
    String::from_utf8(bytes.into()).map_err(|cause| {
        Error::new(ErrorKind::InvalidReply, "the reply is not UTF-8")
            .with_phase(Phase::Parse)
            .with_sent(Sent::Yes)
            .with_source(cause)
    })
}
