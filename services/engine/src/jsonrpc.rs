//! JSON-RPC 2.0: a request is a rope around parameters of any size, a reply is looked into where it lies.
//!
//! ```
//! use mcpgateway_engine::Payload;
//! use mcpgateway_engine::jsonrpc::{Envelope, Id, request};
//!
//! # async fn example() -> mcpgateway_engine::Result<()> {
//! let body = request(&Id::Number(1), "tasks/get", Some(Payload::from(r#"{"id":"t"}"#)));
//! assert_eq!(body.into_bytes()?, r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"t"}}"#);
//! let reply = Envelope::read(Payload::from(r#"{"jsonrpc":"2.0","id":1,"result":[7]}"#)).await?;
//! assert_eq!(reply.result_of(&Id::Number(1), &[])?.raw(), "[7]");
//! # Ok(())
//! # }
//! ```

use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result, Sent};
use crate::json::{Document, Edit, Insert, Kind, Node, Number, Options, Pointer, quoted};
use crate::payload::Payload;

/// Texts below this many bytes are read where they are: a thread for them would take longer.
const READ_IN_PLACE: u64 = 64 << 10;
/// Characters of a peer's message that an error shows.
const MOST_OF_A_MESSAGE: usize = 1000;

/// The error codes of a protocol, and the name of each.
pub type Codes = [(i64, &'static str)];

/// Codes that JSON-RPC itself gives a meaning.
pub const STANDARD_CODES: &Codes = &[(-32601, "MethodNotFound"), (-32602, "InvalidParams")];

/// What a call is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl Id {
    fn is(&self, node: &Node) -> bool {
        match self {
            Self::Number(ours) => match node.number() {
                Some(Number::Signed(theirs)) => u64::try_from(theirs) == Ok(*ours),
                Some(Number::Unsigned(theirs)) => theirs == *ours,
                // Readers that know only doubles write 1 as 1.0.
                #[expect(clippy::cast_precision_loss, reason = "doubles are what such a peer has")]
                Some(Number::Float(theirs)) => theirs.to_bits() == (*ours as f64).to_bits(),
                _ => false,
            },
            Self::Text(ours) => node.text().is_some_and(|theirs| theirs == *ours),
        }
    }
}

impl fmt::Display for Id {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

/// An error that a peer answered with.
#[derive(Clone)]
pub struct RpcError {
    /// What the protocol calls it; `RpcError` for a code without a name.
    pub name: &'static str,
    /// Its code.
    pub code: i64,
    /// What the peer says of it.
    pub message: String,
    /// What the peer gave with it.
    pub data: Option<Node>,
}

impl RpcError {
    fn raw_data(&self) -> Option<Bytes> {
        self.data.as_ref().map(Node::raw)
    }
}

impl PartialEq for RpcError {
    fn eq(&self, other: &Self) -> bool {
        let of = |error: &Self| (error.name, error.code, error.raw_data());
        of(self) == of(other) && self.message == other.message
    }
}

impl Eq for RpcError {}

impl fmt::Debug for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.raw_data().map(|data| data.len());
        write!(f, "{}({}, {data:?} bytes of data)", self.name, self.code)
    }
}

impl From<RpcError> for Error {
    fn from(error: RpcError) -> Self {
        let shown = |character: char| if character.is_control() { ' ' } else { character };
        let message: String = error.message.chars().take(MOST_OF_A_MESSAGE).map(shown).collect();
        let subject = format!("the peer answered with error {}: {message}", error.code);
        Self::new(ErrorKind::Rpc(Box::new(error)), subject).with_sent(Sent::Yes)
    }
}

/// The text of a call. Whoever passes `params` vouches that they are JSON: an object or an array.
#[must_use]
pub fn request(id: &Id, method: &str, params: Option<Payload>) -> Payload {
    enclose(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{}", quoted(method)), params)
}

/// The text of a call that nobody answers. Likewise.
#[must_use]
pub fn notification(method: &str, params: Option<Payload>) -> Payload {
    enclose(format!("{{\"jsonrpc\":\"2.0\",\"method\":{}", quoted(method)), params)
}

fn enclose(mut head: String, params: Option<Payload>) -> Payload {
    let Some(params) = params else { return Payload::from(head + "}") };
    head.push_str(",\"params\":");
    Payload::join([Payload::from(head), params, Payload::from("}")])
}

/// A message: its parts are values of the document, where they lie.
#[derive(Clone, Debug)]
pub struct Envelope {
    root: Node,
}

impl Envelope {
    /// The envelope that `document` is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReply`] when it is no object, or has the same key twice: two readers might see two.
    pub fn new(document: &Document) -> Result<Self> {
        let root = document.root();
        if root.kind() != Kind::Object {
            return Err(Error::invalid_reply("the reply is no JSON object"));
        }
        if root.repeats_a_key() {
            return Err(Error::invalid_reply("the reply has the same key twice"));
        }
        Ok(Self { root })
    }

    /// The envelope that `text` is, read on a thread that may take its time if it is long.
    ///
    /// # Errors
    /// As for [`new`](Self::new), and [`ErrorKind::InvalidReply`] when it is not JSON; as for [`Document::parse`].
    pub async fn read(text: Payload) -> Result<Self> {
        let read = if text.len() < READ_IN_PLACE {
            Document::parse(text.into_bytes()?, &Options::default())
        } else {
            Document::open(move || text.into_bytes(), Options::default()).await
        };
        Self::new(&read.map_err(not_json)?)
    }

    /// The document that it is.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The id of the call that this is, or answers.
    #[must_use]
    pub fn id(&self) -> Option<Node> {
        self.root.get("id")
    }

    /// The method, if this is a call or a notification.
    #[must_use]
    pub fn method(&self) -> Option<String> {
        self.root.get("method").and_then(|method| method.text().map(std::borrow::Cow::into_owned))
    }

    /// What the method is called with.
    #[must_use]
    pub fn params(&self) -> Option<Node> {
        self.root.get("params")
    }

    /// What came of the call.
    #[must_use]
    pub fn result(&self) -> Option<Node> {
        self.root.get("result")
    }

    /// Why nothing came of it.
    #[must_use]
    pub fn error(&self) -> Option<Node> {
        self.root.get("error")
    }

    /// What came of the call `id`, by the letter of JSON-RPC 2.0; `codes` name the errors of the protocol above.
    ///
    /// # Errors
    /// [`ErrorKind::Rpc`] when the peer answered with an error, [`ErrorKind::InvalidReply`] when this is no reply
    /// to that call: another version or id, or not exactly one of a result and an error.
    pub fn result_of(&self, id: &Id, codes: &Codes) -> Result<Node> {
        if self.root.get("jsonrpc").and_then(|version| version.text().map(|text| text == "2.0")) != Some(true)
        {
            return Err(Error::invalid_reply("the reply is not of JSON-RPC 2.0"));
        }
        match (self.result(), self.error()) {
            (Some(result), None) => self.check_id(id, false).map(|()| result),
            (None, Some(error)) => {
                // A peer that could not read the call does not know its id.
                self.check_id(id, true)?;
                Err(error_from(&error, codes)?.into())
            }
            (Some(_), Some(_)) => Err(Error::invalid_reply("the reply has both a result and an error")),
            (None, None) => Err(Error::invalid_reply("the reply has neither a result nor an error")),
        }
    }

    /// Whether this answers the call `id` with nothing at all, as servers do that leave a result of null out.
    #[must_use]
    pub fn is_void_reply_to(&self, id: &Id) -> bool {
        let is_ours = self.id().is_some_and(|theirs| id.is(&theirs));
        is_ours && self.result().is_none() && self.error().is_none() && self.method().is_none()
    }

    fn check_id(&self, ours: &Id, may_be_null: bool) -> Result<()> {
        match self.id() {
            Some(theirs) if ours.is(&theirs) || (may_be_null && theirs.kind() == Kind::Null) => Ok(()),
            Some(_) => Err(Error::invalid_reply(format!("the reply is to another call than {ours}"))),
            None => Err(Error::invalid_reply("the reply has no id")),
        }
    }

    /// The same message with another id: no other byte is touched, and none is copied.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory for the rope.
    pub fn with_id(&self, id: Insert) -> Result<Payload> {
        let edit = Edit { pointer: Pointer::parse("/id")?, insert: Some(id) };
        self.root.document().splice(&[edit])
    }
}

fn error_from(error: &Node, codes: &Codes) -> Result<RpcError> {
    let code = error.get("code");
    let Some(Number::Signed(code)) = code.as_ref().and_then(Node::number) else {
        return Err(Error::invalid_reply("the error of the reply has no whole number as its code"));
    };
    let known = codes.iter().chain(STANDARD_CODES).find(|(known, _)| *known == code);
    let message = error.get("message").and_then(|message| message.text().map(std::borrow::Cow::into_owned));
    Ok(RpcError {
        name: known.map_or("RpcError", |(_, name)| name),
        code,
        message: message.unwrap_or_default(),
        data: error.get("data"),
    })
}

/// What is no JSON is no reply; a limit stays one.
fn not_json(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Json(_) => Error::invalid_reply("the reply is not JSON").with_source(error),
        _ => error.with_sent(Sent::Yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(text: &'static str) -> Result<Envelope> {
        Envelope::new(&Document::parse(text.into(), &Options::default())?)
    }

    fn kind_of(text: &'static str, id: &Id) -> ErrorKind {
        let result = envelope(text).and_then(|envelope| envelope.result_of(id, &[(-32001, "TaskNotFound")]));
        let error = result.expect_err(text);
        assert_eq!(error.sent(), Sent::Yes, "{text}");
        error.kind().clone()
    }

    #[test]
    fn a_request_holds_its_parameters_as_they_are() {
        let text = |payload: Payload| String::from_utf8(payload.into_bytes().expect("small").to_vec());
        let params = || Some(Payload::from(r#"{ "a" : 1 }"#));
        let id = Id::Text("a\"b".into());
        assert_eq!(
            [
                request(&id, "x/\u{1}", params()),
                request(&Id::Number(7), "x", None),
                notification("x", params())
            ]
            .map(|payload| text(payload).expect("UTF-8")),
            [
                r#"{"jsonrpc":"2.0","id":"a\"b","method":"x/\u0001","params":{ "a" : 1 }}"#,
                r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#,
                r#"{"jsonrpc":"2.0","method":"x","params":{ "a" : 1 }}"#
            ]
        );
        let big = Payload::from(vec![b'1'; 1 << 20]);
        assert_eq!(request(&id, "x", Some(big)).segments(), 3);
    }

    #[test]
    fn the_result_is_that_of_the_call() {
        for (text, id) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#, Id::Number(7)),
            (r#"{"result":{"a":1},"id":7.0,"jsonrpc":"2.0","extra":0}"#, Id::Number(7)),
            (r#"{"jsonrpc":"2.0","id":18446744073709551615,"result":{"a":1}}"#, Id::Number(u64::MAX)),
            (r#"{"jsonrpc":"2.0","id":"\u0061","result":{"a":1}}"#, Id::Text("a".into())),
        ] {
            let result = envelope(text).and_then(|envelope| envelope.result_of(&id, &[]));
            assert_eq!(result.expect(text).raw(), r#"{"a":1}"#);
        }
    }

    #[test]
    fn an_error_keeps_its_code_its_message_and_its_data() {
        let rpc = |name, code, message: &str, data: Option<&'static str>| {
            let data =
                data.map(|data| Document::parse(data.into(), &Options::default()).expect("JSON").root());
            ErrorKind::Rpc(Box::new(RpcError { name, code, message: message.into(), data }))
        };
        for (text, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"n\u006f","data":[1, 2]}}"#,
                rpc("TaskNotFound", -32001, "no", Some("[1, 2]")),
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
                rpc("RpcError", -32700, "?", None),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#, rpc("MethodNotFound", -32601, "", None)),
        ] {
            assert_eq!(kind_of(text, &Id::Number(1)), expected);
        }
    }

    #[test]
    fn what_is_no_reply_to_the_call_is_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":2,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":"1","result":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1.5}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":2.0,"id":1,"result":1}"#,
            r#"{"id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":1,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"\u0069d":1,"result":1}"#,
            r#"[{"jsonrpc":"2.0","id":1,"result":1}]"#,
            "1",
        ] {
            assert_eq!(kind_of(text, &Id::Number(1)), ErrorKind::InvalidReply, "{text}");
        }
    }

    #[test]
    fn a_reply_without_a_result_is_known_as_such() {
        let is_void = |text| envelope(text).expect("an envelope").is_void_reply_to(&Id::Number(1));
        assert!(is_void(r#"{"jsonrpc":"2.0","id":1}"#));
        for text in
            [r#"{"id":2}"#, r#"{"id":1,"result":null}"#, r#"{"id":1,"error":{}}"#, r#"{"id":1,"method":"x"}"#]
        {
            assert!(!is_void(text), "{text}");
        }
    }

    #[test]
    fn a_message_of_a_peer_cannot_forge_lines_of_a_log() {
        let message = "a\n2026 ERROR b".repeat(200);
        let error = Error::from(RpcError { name: "RpcError", code: 1, message: message.clone(), data: None });
        assert!(!error.to_string().contains('\n') && error.to_string().len() < 1100);
        assert!(matches!(error.kind(), ErrorKind::Rpc(rpc) if rpc.message == message));
    }

    #[test]
    fn another_id_is_all_that_changes() {
        let id = || Insert::json(r#""x""#.into()).expect("JSON");
        let forwarded = |text| envelope(text).and_then(|envelope| envelope.with_id(id())?.into_bytes());
        assert_eq!(
            forwarded(r#"{ "id" : 1, "result" : { "id" : 2 } }"#).expect("possible"),
            r#"{ "id" : "x", "result" : { "id" : 2 } }"#
        );
        assert_eq!(forwarded(r#"{"result":1}"#).expect("possible"), r#"{"result":1,"id":"x"}"#);
    }

    #[test]
    fn what_stands_deeper_is_not_the_envelopes_business() {
        assert!(envelope(r#"{"result":{"a":1,"a":2}}"#).is_ok());
        let call = envelope(r#"{"method":"a\/b","params":[1]}"#).expect("a notification");
        assert_eq!((call.method().as_deref(), call.id().is_none()), (Some("a/b"), true));
        assert_eq!(call.params().map(|params| params.raw()), Some(Bytes::from_static(b"[1]")));
    }

    #[tokio::test]
    async fn a_reply_is_read_whatever_its_size() {
        for len in [1_usize, 1 << 20] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{}"}}"#, "x".repeat(len));
            let result =
                Envelope::read(text.into()).await.and_then(|reply| reply.result_of(&Id::Number(1), &[]));
            assert_eq!(result.expect("a reply").span(), len + 2);
        }
        let error = Envelope::read(Payload::from("<html>")).await.expect_err("no JSON");
        assert_eq!((error.kind(), error.sent()), (&ErrorKind::InvalidReply, Sent::Yes));
        let deep = Envelope::read(Payload::from("[".repeat(5000))).await.expect_err("too deep");
        assert!(matches!(deep.kind(), ErrorKind::LimitExceeded { name: "max_depth", .. }), "{deep}");
    }
}
