//! What a tool answered, looked into where it lies.

use std::borrow::Cow;

use a2a_service::core::{AgentReply, PartKind, PartView, TaskState};
use mcpgateway_engine::json::Node;
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, runtime};
use resource_service::core::Fetch;

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolResult {
    answer: Answer,
    received: Decision,
    status: u16,
    selected: Option<Node>,
}

#[derive(Clone, Debug)]
enum Answer {
    /// The object that MCP has for it.
    Mcp(Node),
    /// The body of a plain reply, and what it says if it is JSON.
    Body { body: Content, document: Option<Node> },
    /// What came of a message to an agent.
    Agent(AgentReply),
}

/// A piece of the content of a result.
#[derive(Clone, Debug)]
pub struct Content(Piece);

#[derive(Clone, Debug)]
enum Piece {
    Node(Node),
    Body { kind: ContentKind, media_type: Option<String>, body: Payload },
    Part(PartView),
}

/// Of what kind a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// A text.
    Text,
    /// An image.
    Image,
    /// Sound.
    Audio,
    /// The address of a resource.
    ResourceLink,
    /// A resource itself.
    Resource,
    /// A kind that is not known here.
    Other,
}

impl ContentKind {
    /// The kind that MCP writes so.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "text" => Self::Text,
            "image" => Self::Image,
            "audio" => Self::Audio,
            "resource_link" => Self::ResourceLink,
            "resource" => Self::Resource,
            _ => Self::Other,
        }
    }

    /// How MCP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::ResourceLink => "resource_link",
            Self::Resource => "resource",
            Self::Other => "other",
        }
    }
}

impl ToolResult {
    /// The result that `result` is: the object that MCP has for it.
    #[must_use]
    pub fn new(result: Node, received: Decision, status: u16) -> Self {
        Self { answer: Answer::Mcp(result), received, status, selected: None }
    }

    /// The result that the body of a plain reply is; `document` is what it says, if it is JSON.
    #[must_use]
    pub fn of_body(body: Payload, media_type: Option<String>, document: Option<Node>, status: u16) -> Self {
        let kind = match media_type.as_deref().map(|name| name.split('/').next().unwrap_or_default()) {
            _ if document.is_some() => ContentKind::Text,
            Some("text") => ContentKind::Text,
            Some("image") => ContentKind::Image,
            Some("audio") => ContentKind::Audio,
            _ => ContentKind::Resource,
        };
        let received = body.decision();
        let body = Content(Piece::Body { kind, media_type, body });
        Self { answer: Answer::Body { body, document }, received, status, selected: None }
    }

    /// The result that an agent's reply is: its parts are the content, the first of data is what is structured.
    #[must_use]
    pub fn of_agent(reply: AgentReply) -> Self {
        // One without success would be an error.
        let (received, status) = (reply.received(), 200);
        Self { answer: Answer::Agent(reply), received, status, selected: None }
    }

    /// The reply, if an agent was called: what became of its task, and by which ids it goes on.
    #[must_use]
    pub fn reply(&self) -> Option<&AgentReply> {
        match &self.answer {
            Answer::Agent(reply) => Some(reply),
            _ => None,
        }
    }

    /// The same, with what a filter made of it.
    #[must_use]
    pub fn with_selected(mut self, selected: Node) -> Self {
        self.selected = Some(selected);
        self
    }

    /// The whole object that it was answered with: by an agent, its task or message.
    #[must_use]
    pub fn node(&self) -> Option<Node> {
        match &self.answer {
            Answer::Mcp(result) => Some(result.clone()),
            Answer::Body { document, .. } => document.clone(),
            Answer::Agent(reply) => reply.item().map(|item| item.node),
        }
    }

    /// The pieces of its content, in order.
    #[must_use]
    pub fn content(&self) -> Vec<Content> {
        match &self.answer {
            Answer::Mcp(result) => {
                let list = result.get("content").into_iter().flat_map(|list| list.elements());
                list.map(|node| Content(Piece::Node(node))).collect()
            }
            Answer::Body { body, .. } => vec![body.clone()],
            Answer::Agent(reply) => {
                parts_of(reply).into_iter().map(|part| Content(Piece::Part(part))).collect()
            }
        }
    }

    /// What the tool gives as data, as it is written; nothing is built of it.
    #[must_use]
    pub fn structured(&self) -> Option<Node> {
        match &self.answer {
            Answer::Mcp(result) => result.get("structuredContent"),
            Answer::Body { document, .. } => document.clone(),
            Answer::Agent(reply) => {
                let data = reply.parts().into_iter().find(|part| part.kind() == Some(PartKind::Data));
                data.and_then(|part| part.content().cloned())
            }
        }
    }

    /// Whether the tool itself failed; its content then says why.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match &self.answer {
            Answer::Mcp(result) => {
                result.get("isError").and_then(|is_error| is_error.boolean()) == Some(true)
            }
            Answer::Body { .. } => !(200..300).contains(&self.status),
            Answer::Agent(reply) => has_failed(reply),
        }
    }

    /// What a filter made of it, if there was one.
    #[must_use]
    pub fn selected(&self) -> Option<&Node> {
        self.selected.as_ref()
    }

    /// How the message that it is part of was received.
    #[must_use]
    pub fn received(&self) -> Decision {
        self.received
    }

    /// The status of the HTTP reply.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl Content {
    /// The object that it is; a plain body is none.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match &self.0 {
            Piece::Node(node) => Some(node),
            Piece::Body { .. } => None,
            Piece::Part(part) => Some(&part.node),
        }
    }

    /// Its kind, as MCP writes it; a data part of an agent is `data`.
    #[must_use]
    pub fn type_name(&self) -> Option<Cow<'static, str>> {
        match &self.0 {
            Piece::Node(node) => text(&node.get("type")?).map(Cow::Owned),
            Piece::Body { kind, .. } => Some(Cow::Borrowed(kind.as_str())),
            Piece::Part(part) => type_of(part).map(Cow::Borrowed),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ContentKind {
        self.type_name().map_or(ContentKind::Other, |name| ContentKind::from_name(&name))
    }

    /// A text that is a field of it, or of the resource that it holds: `mimeType`, `uri`, `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        match &self.0 {
            Piece::Node(node) => text(&field_of(node, name)?),
            Piece::Body { media_type, .. } => media_type.clone().filter(|_| name == "mimeType"),
            Piece::Part(part) => match name {
                "mimeType" => part.media_type(),
                "name" => part.filename(),
                "uri" if part.kind() == Some(PartKind::Url) => text(part.content()?),
                _ => None,
            },
        }
    }

    /// Its text, if it is one. May take long.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match &self.0 {
            Piece::Node(node) => match source(node, self.kind())? {
                (node, false) => text(&node),
                (_, true) => None,
            },
            Piece::Body { kind: ContentKind::Text, body, .. } => {
                String::from_utf8(body.clone().into_bytes().ok()?.into()).ok()
            }
            Piece::Body { .. } => None,
            Piece::Part(part) => text(part.content().filter(|_| part.kind() == Some(PartKind::Text))?),
        }
    }

    /// Its bytes: a text as UTF-8, where it lies if nothing in it is escaped; all else decoded from base64. May take
    /// long.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when it has none, and as for [`Node::base64`].
    pub fn payload(&self) -> Result<Payload> {
        let node = match &self.0 {
            Piece::Node(node) => node,
            Piece::Body { body, .. } => return Ok(body.clone()),
            Piece::Part(part) => return part.payload(),
        };
        match source(node, self.kind()) {
            Some((node, true)) => node.base64(),
            Some((node, false)) => node.text_payload(),
            None => Err(Error::new(
                ErrorKind::WrongKind,
                "this piece of content has no bytes of its own: it is a link, or of a kind that is not known here",
            )),
        }
    }

    /// As [`payload`](Self::payload), on a thread that may take its time.
    ///
    /// # Errors
    /// As for `payload`.
    pub async fn open(self) -> Result<Payload> {
        runtime::blocking(move || self.payload()).await?
    }

    /// The address that it leads to, if it is a link.
    #[must_use]
    pub fn target(&self) -> Option<String> {
        self.field("uri").filter(|_| self.kind() == ContentKind::ResourceLink)
    }

    /// What it links to, to be fetched: guarded, as a peer named it, and never a file of this host.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when it is no link, [`ErrorKind::InvalidRequest`] when its URI is none that can be
    /// fetched: those of other schemes are for `resources/read` of the server that gave them.
    pub fn link(&self) -> Result<Fetch> {
        match self.target() {
            Some(uri) => Ok(Fetch::new(&uri)?.from_peer()),
            None => {
                Err(Error::new(ErrorKind::WrongKind, "this piece of content is no link: look at its bytes"))
            }
        }
    }
}

/// All that an agent says. What says why it failed comes before what it had done by then.
fn parts_of(reply: &AgentReply) -> Vec<PartView> {
    let Some(item) = reply.item() else { return Vec::new() };
    if has_failed(reply) && !item.artifacts().is_empty() {
        return item.message_parts().into_iter().chain(item.parts()).collect();
    }
    item.parts()
}

/// Whether the agent did not do what it was asked, and will not without credentials.
fn has_failed(reply: &AgentReply) -> bool {
    let state = reply.item().and_then(|item| item.state());
    matches!(
        state,
        Some(TaskState::Failed | TaskState::Canceled | TaskState::Rejected | TaskState::AuthRequired)
    )
}

fn type_of(part: &PartView) -> Option<&'static str> {
    let kind = match part.kind()? {
        PartKind::Text => ContentKind::Text,
        PartKind::Url => ContentKind::ResourceLink,
        PartKind::Data => return Some(PartKind::Data.as_str()),
        PartKind::Raw => match part.media_type().as_deref().and_then(|name| name.split('/').next()) {
            Some("image") => ContentKind::Image,
            Some("audio") => ContentKind::Audio,
            _ => ContentKind::Resource,
        },
    };
    Some(kind.as_str())
}

fn text(node: &Node) -> Option<String> {
    node.text().map(Cow::into_owned)
}

fn field_of(node: &Node, name: &str) -> Option<Node> {
    node.get(name).or_else(|| node.get("resource")?.get(name))
}

/// The string that the bytes of a piece are in, and whether that is base64.
fn source(node: &Node, kind: ContentKind) -> Option<(Node, bool)> {
    let text = |node: Node| (node, false);
    let base64 = |node: Node| (node, true);
    match kind {
        ContentKind::Text => node.get("text").map(text),
        ContentKind::Image | ContentKind::Audio => node.get("data").map(base64),
        ContentKind::Resource => {
            field_of(node, "text").map(text).or_else(|| field_of(node, "blob").map(base64))
        }
        ContentKind::ResourceLink | ContentKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};

    use super::*;

    fn answered(result: &str) -> ToolResult {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let document = Document::parse(text.into(), &Options::default()).expect("JSON");
        ToolResult::of_agent(AgentReply::new(&document).expect("an envelope"))
    }

    fn task(state: &str) -> ToolResult {
        let status = format!(r#"{{"state":"{state}","message":{{"parts":[{{"text":"why"}}]}}}}"#);
        let artifacts = r#"[{"artifactId":"a","parts":[{"text":"half"}]}]"#;
        answered(&format!(r#"{{"id":"t","contextId":"c","status":{status},"artifacts":{artifacts}}}"#))
    }

    fn texts(result: &ToolResult) -> Vec<String> {
        result.content().iter().filter_map(Content::text).collect()
    }

    #[test]
    fn what_an_agent_did_not_do_is_an_error_that_says_why_first() {
        for state in ["failed", "canceled", "rejected", "auth-required", "TASK_STATE_FAILED"] {
            let result = task(state);
            assert_eq!(
                (result.is_error(), texts(&result)),
                (true, vec!["why".into(), "half".into()]),
                "{state}"
            );
        }
        for state in ["completed", "working", "input-required", "TASK_STATE_COMPLETED", "unheard-of"] {
            let result = task(state);
            assert_eq!((result.is_error(), texts(&result)), (false, vec!["half".into()]), "{state}");
        }
    }

    #[test]
    fn parts_lie_where_they_came_and_the_first_of_data_is_what_is_structured() {
        let result = answered(
            r#"{"messageId":"m","role":"agent","parts":[{"text":"plain"},{"data":{"a":1}},{"data":[2]},{}]}"#,
        );
        let content = result.content();
        let names: Vec<_> = content.iter().map(|piece| piece.type_name().unwrap_or_default()).collect();
        assert_eq!(names, ["text", "data", "data", ""]);
        assert_eq!(result.structured().map(|node| node.raw()), Some(r#"{"a":1}"#.into()));
        let whole = result.node().expect("a message").raw();
        for piece in &content[..3] {
            let bytes = piece.payload().expect("bytes").into_bytes().expect("in one piece");
            assert!(whole.as_ptr_range().contains(&bytes.as_ptr()), "{piece:?}");
        }
        assert_eq!(*content[3].payload().expect_err("nothing").kind(), ErrorKind::WrongKind);
    }

    #[test]
    fn a_link_is_fetched_as_a_peer_named_it_and_nothing_else_is_one() {
        let uris = ["https://a.example/x", "data:,x", "file:///etc/passwd", "peer://x", ""];
        let parts = uris.map(|uri| format!(r#"{{"url":"{uri}"}}"#)).join(",");
        let result =
            answered(&format!(r#"{{"messageId":"m","role":"agent","parts":[{parts},{{"text":"x"}}]}}"#));
        let links: Vec<_> = result
            .content()
            .iter()
            .map(|piece| piece.link().map_err(|error| format!("{:?}", error.kind())))
            .collect();
        let found: Vec<_> =
            links.iter().map(|link| link.as_ref().map_or_else(String::as_str, |_| "")).collect();
        assert_eq!(found, ["", "", "", "InvalidRequest", "InvalidRequest", "WrongKind"]);
    }
}
