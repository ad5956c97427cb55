//! What an agent's reply says, without building it.

use mcpgateway_engine::json::{Document, Edit, Insert, Kind, Node, Pointer};
use mcpgateway_engine::{Error, ErrorKind, Payload, Phase, Result, Sent};

/// A JSON-RPC reply: its parts are values of the document, where they lie.
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
        let invalid = |subject: &str| {
            let error = Error::new(ErrorKind::InvalidReply, subject);
            Err(error.with_phase(Phase::Parse).with_sent(Sent::Yes))
        };
        if root.kind() != Kind::Object {
            return invalid("the reply is no JSON object");
        }
        if root.repeats_a_key() {
            return invalid("the reply has the same key twice");
        }
        Ok(Self { root })
    }

    /// The id of the call that this answers.
    #[must_use]
    pub fn id(&self) -> Option<Node> {
        self.root.get("id")
    }

    /// What came of the call: a task or a message.
    #[must_use]
    pub fn result(&self) -> Option<Node> {
        self.root.get("result")
    }

    /// Why nothing came of it.
    #[must_use]
    pub fn error(&self) -> Option<Node> {
        self.root.get("error")
    }

    /// The artifacts of a task.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Node> {
        self.payload()
            .and_then(|payload| payload.get("artifacts"))
            .map_or_else(Vec::new, |list| list.elements().collect())
    }

    /// The parts of a message, or of all artifacts of a task.
    #[must_use]
    pub fn parts(&self) -> Vec<Node> {
        let own = self.payload().into_iter();
        let parts = own.chain(self.artifacts()).filter_map(|holder| holder.get("parts"));
        parts.flat_map(|parts| parts.elements()).collect()
    }

    /// The same reply to the call `id`: no other byte is touched, and none is copied.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory for the rope.
    pub fn with_id(&self, id: Insert) -> Result<Payload> {
        let edit = Edit { pointer: Pointer::parse("/id")?, insert: Some(id) };
        self.root.document().splice(&[edit])
    }

    /// The task or message, which A2A 1.0 has inside of the result, and earlier versions as the result.
    fn payload(&self) -> Option<Node> {
        let result = self.result()?;
        Some(
            ["task", "message"]
                .iter()
                .find_map(|kind| result.get(kind))
                .filter(|inner| inner.kind() == Kind::Object)
                .unwrap_or(result),
        )
    }
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::Options;

    use super::*;

    fn envelope(text: &'static str) -> Result<Envelope> {
        Envelope::new(&Document::parse(text.into(), &Options::default())?)
    }

    fn raw(nodes: &[Node]) -> Vec<String> {
        nodes.iter().map(|node| String::from_utf8_lossy(&node.raw()).into_owned()).collect()
    }

    #[test]
    fn parts_are_found_in_messages_and_tasks_of_either_version() {
        for text in [
            r#"{"id":1,"result":{"kind":"message","parts":[{"text":"a"},{"text":"b"}]}}"#,
            r#"{"id":1,"result":{"message":{"parts":[{"text":"a"},{"text":"b"}]}}}"#,
            r#"{"id":1,"result":{"artifacts":[{"parts":[{"text":"a"}]},{"parts":[{"text":"b"}]}]}}"#,
            r#"{"id":1,"result":{"task":{"artifacts":[{"parts":[{"text":"a"},{"text":"b"}]}]}}}"#,
        ] {
            let parts = envelope(text).expect("an envelope").parts();
            assert_eq!(raw(&parts), [r#"{"text":"a"}"#, r#"{"text":"b"}"#], "{text}");
        }
        let failed = envelope(r#"{"id":null,"error":{"code":-32600}}"#).expect("an envelope");
        assert_eq!((failed.result().is_none(), failed.artifacts().len(), failed.parts().len()), (true, 0, 0));
        assert_eq!(failed.error().and_then(|error| error.get("code")).expect("a code").raw(), "-32600");
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
    fn what_two_readers_might_read_differently_is_refused() {
        for text in [r#"{"id":1,"id":2}"#, r#"{"id":1,"\u0069d":2}"#, "[]", "1"] {
            assert_eq!(*envelope(text).expect_err(text).kind(), ErrorKind::InvalidReply);
        }
        assert!(envelope(r#"{"result":{"a":1,"a":2}}"#).is_ok());
    }
}
