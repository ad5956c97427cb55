//! JSON-RPC messages as servers send them.

use mcpgateway_engine::json::{Node, Number};
use mcpgateway_engine::jsonrpc::{Codes, Envelope, Id};
use mcpgateway_engine::{Error, Payload, Result};

/// JSON-RPC code: a routing header is missing or says something else than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// JSON-RPC code: the request needs a capability that the client did not declare.
pub const MISSING_CAPABILITY: i64 = -32021;
/// JSON-RPC code: the server does not speak the version of the request.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// JSON-RPC code: a legacy server has no such resource.
const RESOURCE_NOT_FOUND: i64 = -32002;
/// JSON-RPC code: a page has to be visited first.
const URL_ELICITATION_REQUIRED: i64 = -32042;
/// JSON-RPC code: what old servers answer to what they cannot place.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC code: nobody here answers such a request.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;

/// The errors of MCP, by the names of their classes in Python.
pub const CODES: &Codes = &[
    (RESOURCE_NOT_FOUND, "ResourceNotFound"),
    (HEADER_MISMATCH, "HeaderMismatch"),
    (MISSING_CAPABILITY, "MissingClientCapability"),
    (UNSUPPORTED_VERSION, "UnsupportedProtocolVersion"),
    (URL_ELICITATION_REQUIRED, "UrlElicitationRequired"),
];

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// What came of a request of ours.
    Reply(Envelope),
    /// A request of the server's.
    Request { id: Node, method: String, params: Option<Node> },
    /// Something to know.
    Notification { method: String, params: Option<Node> },
}

impl Message {
    /// Read the message that `text` is, on another thread if it is long.
    pub(crate) async fn read(text: Payload) -> Result<Self> {
        let envelope = Envelope::read(text).await?;
        let Some(method) = envelope.method() else { return Ok(Self::Reply(envelope)) };
        if envelope.result().is_some() || envelope.error().is_some() {
            return Err(Error::invalid_reply("a message of the server is both a request and a reply"));
        }
        let params = envelope.params();
        Ok(match envelope.id() {
            Some(id) => Self::Request { id, method, params },
            None => Self::Notification { method, params },
        })
    }
}

/// What came of the request `id`.
pub(crate) fn result_of(envelope: &Envelope, id: u64) -> Result<Node> {
    envelope.result_of(&Id::Number(id), CODES)
}

/// The code of the error that a reply is.
pub(crate) fn code_of(envelope: &Envelope) -> Option<i64> {
    match envelope.error()?.get("code")?.number()? {
        Number::Signed(code) => Some(code),
        _ => None,
    }
}
