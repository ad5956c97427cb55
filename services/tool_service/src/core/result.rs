//! What a tool answered, looked into where it lies.

use std::borrow::Cow;

use mcpgateway_engine::json::Node;
use mcpgateway_engine::payload::Decision;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result, runtime};

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
}

/// A piece of the content of a result.
#[derive(Clone, Debug)]
pub struct Content(Piece);

#[derive(Clone, Debug)]
enum Piece {
    Node(Node),
    Body { kind: ContentKind, media_type: Option<String>, body: Payload },
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

    /// The same, with what a filter made of it.
    #[must_use]
    pub fn with_selected(mut self, selected: Node) -> Self {
        self.selected = Some(selected);
        self
    }

    /// The whole object that an MCP server answered with.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match &self.answer {
            Answer::Mcp(result) => Some(result),
            Answer::Body { document, .. } => document.as_ref(),
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
        }
    }

    /// What the tool gives as data, as it is written; nothing is built of it.
    #[must_use]
    pub fn structured(&self) -> Option<Node> {
        match &self.answer {
            Answer::Mcp(result) => result.get("structuredContent"),
            Answer::Body { document, .. } => document.clone(),
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
        }
    }

    /// Its kind, as it is written.
    #[must_use]
    pub fn type_name(&self) -> Option<Cow<'static, str>> {
        match &self.0 {
            Piece::Node(node) => text(&node.get("type")?).map(Cow::Owned),
            Piece::Body { kind, .. } => Some(Cow::Borrowed(kind.as_str())),
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
        };
        match source(node, self.kind()) {
            Some((node, true)) => node.base64(),
            Some((node, false)) => text_of(&node),
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

fn text_of(node: &Node) -> Result<Payload> {
    let Some(raw) = node.raw_text() else { return Err(node.error("a text is expected here")) };
    Ok(match mcpgateway_engine::json::unescape(raw) {
        Cow::Borrowed(_) => node.raw().slice(1..=raw.len()).into(),
        Cow::Owned(text) => text.into(),
    })
}
