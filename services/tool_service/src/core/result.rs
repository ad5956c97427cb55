//! What a tool answered, looked into where it lies.

use std::borrow::Cow;

use mcpgateway_engine::json::Node;
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, Payload, Result, runtime};

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolResult {
    result: Node,
    received: Decision,
    status: u16,
    selected: Option<Node>,
}

/// A piece of the content of a result.
#[derive(Clone, Debug)]
pub struct Content(Node);

/// Of what kind a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// A text.
    Text,
    /// An image, as base64.
    Image,
    /// Sound, as base64.
    Audio,
    /// The address of a resource.
    ResourceLink,
    /// A resource itself.
    Resource,
    /// A kind that is not known here.
    Other,
}

impl ToolResult {
    /// The result that `result` is: the object that MCP has for it.
    #[must_use]
    pub fn new(result: Node, received: Decision, status: u16) -> Self {
        Self { result, received, status, selected: None }
    }

    /// The same, with what a filter made of it.
    #[must_use]
    pub fn with_selected(mut self, selected: Node) -> Self {
        self.selected = Some(selected);
        self
    }

    /// The whole object.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.result
    }

    /// The pieces of its content, in order.
    #[must_use]
    pub fn content(&self) -> Vec<Content> {
        self.result.get("content").map_or_else(Vec::new, |list| list.elements().map(Content).collect())
    }

    /// What the tool gives as data, as it is written; nothing is built of it.
    #[must_use]
    pub fn structured(&self) -> Option<Node> {
        self.result.get("structuredContent")
    }

    /// Whether the tool itself failed; its content then says why.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.result.get("isError").and_then(|is_error| is_error.boolean()) == Some(true)
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
    /// The object that it is.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0
    }

    /// Its kind, as it is written.
    #[must_use]
    pub fn type_name(&self) -> Option<Cow<'static, str>> {
        self.0.get("type").and_then(|name| name.text().map(|name| Cow::Owned(name.into_owned())))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ContentKind {
        match self.type_name().as_deref() {
            Some("text") => ContentKind::Text,
            Some("image") => ContentKind::Image,
            Some("audio") => ContentKind::Audio,
            Some("resource_link") => ContentKind::ResourceLink,
            Some("resource") => ContentKind::Resource,
            _ => ContentKind::Other,
        }
    }

    /// A field of it, or of the resource that it holds, such as `mimeType`, `uri` or `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Node> {
        self.0.get(name).or_else(|| self.0.get("resource")?.get(name))
    }

    /// The string that its bytes are in, and whether that is base64.
    #[must_use]
    pub fn source(&self) -> Option<(Node, bool)> {
        let text = |node: Node| Some((node, false));
        let base64 = |node: Node| Some((node, true));
        match self.kind() {
            ContentKind::Text => self.0.get("text").and_then(text),
            ContentKind::Image | ContentKind::Audio => self.0.get("data").and_then(base64),
            ContentKind::Resource => {
                self.field("text").and_then(text).or_else(|| self.field("blob").and_then(base64))
            }
            ContentKind::ResourceLink | ContentKind::Other => None,
        }
    }

    /// Its bytes: a text as UTF-8, where it lies if nothing in it is escaped; all else decoded from base64. May take
    /// long.
    ///
    /// # Errors
    /// [`WrongKind`](mcpgateway_engine::ErrorKind::WrongKind) when it has none, and as for [`Node::base64`].
    pub fn payload(&self) -> Result<Payload> {
        match self.source() {
            Some((node, true)) => node.base64(),
            Some((node, false)) => text_of(&node),
            None => Err(Error::new(
                mcpgateway_engine::ErrorKind::WrongKind,
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
}

fn text_of(node: &Node) -> Result<Payload> {
    let Some(raw) = node.raw_text() else { return Err(node.error("a text is expected here")) };
    let all = node.raw();
    Ok(match mcpgateway_engine::json::unescape(raw) {
        Cow::Borrowed(_) => all.slice(1..=raw.len()).into(),
        Cow::Owned(text) => text.into(),
    })
}
