//! What an agent's reply says, without building it.

use mcpgateway_engine::Result;
use mcpgateway_engine::json::{Document, Kind, Node};
use mcpgateway_engine::jsonrpc::Envelope;

/// The envelope of an agent's reply, and what of it is of A2A.
#[derive(Clone, Debug)]
pub struct AgentReply {
    /// The envelope.
    pub envelope: Envelope,
}

impl AgentReply {
    /// The reply that `document` is.
    ///
    /// # Errors
    /// As for [`Envelope::new`].
    pub fn new(document: &Document) -> Result<Self> {
        Ok(Self { envelope: Envelope::new(document)? })
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

    /// The task or message, which A2A 1.0 has inside of the result, and earlier versions as the result.
    fn payload(&self) -> Option<Node> {
        let result = self.envelope.result()?;
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

    fn reply(text: &'static str) -> AgentReply {
        let document = Document::parse(text.into(), &Options::default()).expect("JSON");
        AgentReply::new(&document).expect("an envelope")
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
            assert_eq!(raw(&reply(text).parts()), [r#"{"text":"a"}"#, r#"{"text":"b"}"#], "{text}");
        }
        let failed = reply(r#"{"id":null,"error":{"code":-32600}}"#);
        assert_eq!((failed.artifacts().len(), failed.parts().len()), (0, 0));
    }
}
