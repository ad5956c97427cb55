//! What an agent's reply says, without building it.

use mcpgateway_engine::json::{Document, Insert, Node, Options};
use mcpgateway_engine::jsonrpc::{Envelope, Id, RpcError};
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, ErrorKind, Payload, Response, Result};

use super::operation::Endpoint;
use super::protocol::{Binding, ERROR_CODES, Shape, code_of_reason};
use super::translate::{translate, translate_bare};
use super::view::{Item, PartView, text_at};

/// Texts below this many bytes are read where they are: a thread for them would take longer.
const READ_IN_PLACE: u64 = 64 << 10;
/// What the details of an error over HTTP have the reason in.
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// The reply of an agent: an envelope of JSON-RPC, or over HTTP its result alone.
#[derive(Clone, Debug)]
pub struct AgentReply {
    envelope: Option<Envelope>,
    result: Option<Node>,
    shape: Option<Shape>,
    received: Decision,
}

impl AgentReply {
    /// The reply in an envelope that `document` is; whether it answers anything is not asked.
    ///
    /// # Errors
    /// As for [`Envelope::new`].
    pub fn new(document: &Document) -> Result<Self> {
        let envelope = Envelope::new(document)?;
        let received = Payload::from(document.text().clone()).decision();
        Ok(Self { result: envelope.result(), envelope: Some(envelope), shape: None, received })
    }

    /// The reply to the call `id` of `endpoint`.
    ///
    /// # Errors
    /// [`ErrorKind::Rpc`] when the agent answered with an error, [`ErrorKind::Status`] when its status is none of
    /// success, [`ErrorKind::InvalidReply`] when it is no reply to that call.
    pub(super) async fn read(endpoint: &Endpoint, id: &Id, response: Response) -> Result<Self> {
        let is_success = (200..300).contains(&response.status);
        if !is_success {
            return Err(error_of_status(endpoint.binding, id, response).await);
        }
        Self::of_text(endpoint, id, response.body).await
    }

    /// Whether the call `id` of `endpoint` was done, which has nothing to return.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub(super) async fn read_void(endpoint: &Endpoint, id: &Id, response: Response) -> Result<()> {
        let is_success = (200..300).contains(&response.status);
        if is_success && endpoint.binding == Binding::JsonRpc {
            let envelope = Envelope::read(response.body).await?;
            let done = if envelope.is_void_reply_to(id) {
                Ok(())
            } else {
                envelope.result_of(id, ERROR_CODES).map(drop)
            };
            return done;
        }
        if is_success { Ok(()) } else { Err(error_of_status(endpoint.binding, id, response).await) }
    }

    /// The same, of a text that came with success.
    pub(super) async fn of_text(endpoint: &Endpoint, id: &Id, text: Payload) -> Result<Self> {
        let (shape, received) = (Some(Shape::of(endpoint.version, endpoint.binding)), text.decision());
        if endpoint.binding == Binding::JsonRpc {
            let envelope = Envelope::read(text).await?;
            let result = envelope.result_of(id, ERROR_CODES)?;
            return Ok(Self { envelope: Some(envelope), result: Some(result), shape, received });
        }
        if text.is_empty() {
            return Ok(Self { envelope: None, result: None, shape, received });
        }
        let root = read(text).await?.root();
        if root.repeats_a_key() {
            return Err(Error::invalid_reply("the reply has the same key twice"));
        }
        Ok(Self { envelope: None, result: Some(root), shape, received })
    }

    /// The id of the call that this answers, where it says so.
    #[must_use]
    pub fn id(&self) -> Option<Node> {
        self.envelope.as_ref()?.id()
    }

    /// What came of the call.
    #[must_use]
    pub fn result(&self) -> Option<Node> {
        self.result.clone()
    }

    /// Why nothing came of it.
    #[must_use]
    pub fn error(&self) -> Option<Node> {
        self.envelope.as_ref()?.error()
    }

    /// The task or message that came of it.
    #[must_use]
    pub fn item(&self) -> Option<Item> {
        Item::of(self.result.as_ref()?, self.shape)
    }

    /// The task or message, as what was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReply`] when it is neither.
    pub(super) fn with_item(self) -> Result<Self> {
        match self.item() {
            Some(_) => Ok(self),
            None => Err(Error::invalid_reply("the result of the reply is neither a task nor a message")),
        }
    }

    /// How it was received.
    #[must_use]
    pub fn received(&self) -> Decision {
        self.received
    }

    /// The artifacts of a task.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Node> {
        self.item().map_or_else(Vec::new, |item| item.artifacts())
    }

    /// The parts of a message, or of all artifacts of a task.
    #[must_use]
    pub fn parts(&self) -> Vec<PartView> {
        self.item().map_or_else(Vec::new, |item| item.parts())
    }

    /// The same reply to the call `id`: no other byte is touched, and none is copied.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory for the rope.
    pub fn with_id(&self, id: Insert) -> Result<Payload> {
        if let Some(envelope) = &self.envelope {
            return envelope.with_id(id);
        }
        let result = self.result.as_ref().map_or_else(|| Payload::from("null"), |result| result.raw().into());
        let (begin, middle, end) = ("{\"jsonrpc\":\"2.0\",\"id\":", ",\"result\":", "}");
        Ok(Payload::join([begin.into(), id.into_payload(), middle.into(), result, end.into()]))
    }

    /// The result as another generation, or binding, has it: the bytes of its parts are not copied.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when it is neither a task nor a message.
    pub fn translated(&self, shape: Shape) -> Result<Payload> {
        let (Some(item), Some(result)) = (self.item(), &self.result) else {
            let subject = "only tasks, messages and updates are known in both generations";
            return Err(Error::new(ErrorKind::Unsupported, subject));
        };
        let is_bare = item.node.offset() == result.offset() && item.shape != Shape::Kinds;
        Ok(if is_bare { translate_bare(&item, shape) } else { translate(&item, shape) })
    }
}

/// `text` as a document, read on a thread that may take its time if it is long.
pub(super) async fn read(text: Payload) -> Result<Document> {
    let read = if text.len() < READ_IN_PLACE {
        Document::parse(text.into_bytes()?, &Options::default())
    } else {
        Document::open(move || text.into_bytes(), Options::default()).await
    };
    read.map_err(|error| match error.kind() {
        ErrorKind::Json(_) => Error::invalid_reply("the reply is not JSON").with_source(error),
        _ => error.with_sent(mcpgateway_engine::Sent::Yes),
    })
}

/// The error that a reply without success is: the one that its body tells of, else its status.
pub(super) async fn error_of_status(binding: Binding, id: &Id, response: Response) -> Error {
    let told = match read(response.body.clone()).await {
        Ok(document) if binding == Binding::JsonRpc => {
            Envelope::new(&document).and_then(|envelope| envelope.result_of(id, ERROR_CODES)).err()
        }
        Ok(document) => error_in(&document.root()),
        Err(_) => None,
    };
    let told = told.filter(|error| matches!(error.kind(), ErrorKind::Rpc(_)));
    told.unwrap_or_else(|| {
        response
            .error_for_status()
            .map_or_else(|error| error, |_| Error::invalid_reply("an error without one"))
    })
}

/// The error that a body of the HTTP binding tells of, in either generation.
pub(super) fn error_in(root: &Node) -> Option<Error> {
    let error = root.get("error").unwrap_or_else(|| root.clone());
    let details = error.get("details");
    let is_info = |detail: &Node| text_at(detail, "@type").as_deref() == Some(ERROR_INFO);
    let info = details.iter().flat_map(Node::elements).find(is_info);
    let reason =
        info.as_ref().and_then(|info| text_at(info, "reason")).or_else(|| text_at(&error, "type"))?;
    let code = code_of_reason(&reason)?;
    let name = ERROR_CODES.iter().find(|(known, _)| *known == code).map_or("RpcError", |(_, name)| name);
    let message = text_at(&error, "message").or_else(|| text_at(&error, "detail")).unwrap_or_default();
    Some(RpcError { name, code, message: message.into_owned(), data: details }.into())
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Version;
    use super::*;

    fn document(text: &'static str) -> Document {
        Document::parse(text.into(), &Options::default()).expect("JSON")
    }

    fn reply(text: &'static str) -> AgentReply {
        AgentReply::new(&document(text)).expect("an envelope")
    }

    fn text(payload: Payload) -> String {
        String::from_utf8(payload.into_bytes().expect("small").to_vec()).expect("UTF-8")
    }

    #[test]
    fn parts_are_found_in_messages_and_tasks_of_either_version() {
        for text in [
            r#"{"id":1,"result":{"kind":"message","parts":[{"text":"a"},{"text":"b"}]}}"#,
            r#"{"id":1,"result":{"message":{"parts":[{"text":"a"},{"text":"b"}]}}}"#,
            r#"{"id":1,"result":{"id":"t","status":{},"artifacts":[{"parts":[{"text":"a"}]},{"parts":[{"text":"b"}]}]}}"#,
            r#"{"id":1,"result":{"task":{"artifacts":[{"parts":[{"text":"a"},{"text":"b"}]}]}}}"#,
        ] {
            let parts = reply(text).parts();
            let raw: Vec<_> = parts.iter().map(|part| part.node.raw()).collect();
            assert_eq!(raw, [r#"{"text":"a"}"#, r#"{"text":"b"}"#], "{text}");
        }
        let failed = reply(r#"{"id":null,"error":{"code":-32600}}"#);
        assert_eq!((failed.artifacts().len(), failed.parts().len()), (0, 0));
    }

    #[test]
    fn a_result_without_envelope_gets_one() {
        let root = document(r#"{"task":{"id":"t"}}"#).root();
        let received = Payload::empty().decision();
        let bare = AgentReply { envelope: None, result: Some(root), shape: Some(Shape::Modern), received };
        let id = Insert::json(r#""x""#.into()).expect("JSON");
        assert_eq!(
            text(bare.with_id(id).expect("possible")),
            r#"{"jsonrpc":"2.0","id":"x","result":{"task":{"id":"t"}}}"#
        );
    }

    #[test]
    fn errors_over_http_are_known_by_their_reason() {
        for (body, code, message) in [
            (
                r#"{"error":{"code":404,"status":"NOT_FOUND","message":"no","details":[{"@type":"x"},
                    {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TASK_NOT_FOUND"}]}}"#,
                -32001,
                "no",
            ),
            (r#"{"type":"TaskNotCancelableError","message":"over"}"#, -32002, "over"),
            (
                r#"{"type":"https://a2a-protocol.org/errors/version-not-supported","detail":"old"}"#,
                -32009,
                "old",
            ),
        ] {
            let error = error_in(&document(body).root()).expect(body);
            let ErrorKind::Rpc(rpc) = error.kind() else { panic!("{error}") };
            assert_eq!((rpc.code, &*rpc.message), (code, message), "{body}");
        }
        for body in ["{}", "[]", r#"{"error":"x"}"#, r#"{"error":{"code":500}}"#, r#"{"type":"other"}"#] {
            assert!(error_in(&document(body).root()).is_none(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_none_is_refused() {
        let endpoint =
            |binding| Endpoint { url: String::new(), version: Version::V1_0, binding, tenant: None };
        for (binding, text) in [
            (Binding::JsonRpc, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
            (Binding::HttpJson, r#"{"task":{},"task":{}}"#),
            (Binding::HttpJson, "<html>"),
        ] {
            let read = AgentReply::of_text(&endpoint(binding), &Id::Number(1), text.into()).await;
            assert_eq!(*read.expect_err(text).kind(), ErrorKind::InvalidReply);
        }
        let empty = AgentReply::of_text(&endpoint(Binding::HttpJson), &Id::Number(1), Payload::empty()).await;
        assert!(empty.expect("nothing was asked for").result().is_none());
    }
}
