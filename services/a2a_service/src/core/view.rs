//! What a message, a task or an update says, whatever its shape: looked up where it lies.

use std::borrow::Cow;

use mcpgateway_engine::json::{Kind, Node, decode_base64};
use mcpgateway_engine::{Error, ErrorKind, Payload, Result};

use super::protocol::{Role, Shape, TaskState};

/// What an agent answers or streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A task.
    Task,
    /// A message.
    Message,
    /// Another status of a task.
    StatusUpdate,
    /// More of an artifact.
    ArtifactUpdate,
}

/// Each kind: its name in Python and 0.3, and the key that wraps it in 1.0.
const KINDS: [(ItemKind, &str, &str); 4] = [
    (ItemKind::Task, "task", "task"),
    (ItemKind::Message, "message", "message"),
    (ItemKind::StatusUpdate, "status-update", "statusUpdate"),
    (ItemKind::ArtifactUpdate, "artifact-update", "artifactUpdate"),
];

impl ItemKind {
    /// `task`, `message`, `status-update` or `artifact-update`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The key that wraps it, but for the shape of kinds.
    pub(super) fn wrapper(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        KINDS.iter().find(|(kind, ..)| *kind == self).expect("the table has all")
    }
}

/// A task, a message or an update.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// It, without what wraps it.
    pub node: Node,
    /// Its shape.
    pub shape: Shape,
}

impl Item {
    /// What `node` is, wrapped or not; none if it is nothing of A2A. A `shape` that is not known is guessed.
    #[must_use]
    pub fn of(node: &Node, shape: Option<Shape>) -> Option<Self> {
        if node.kind() != Kind::Object {
            return None;
        }
        let named = text_at(node, "kind");
        let kind = KINDS.iter().find(|(_, name, _)| named.as_deref() == Some(name)).map(|(kind, ..)| *kind);
        if let Some(kind) = kind {
            return Some(Self { kind, node: node.clone(), shape: shape.unwrap_or(Shape::Kinds) });
        }
        let shape = shape.unwrap_or(Shape::Modern);
        let wrapped = |(kind, _, key): &(ItemKind, _, &str)| {
            let inner = node.get(key).filter(|inner| inner.kind() == Kind::Object)?;
            Some(Self { kind: *kind, node: inner, shape })
        };
        KINDS.iter().find_map(wrapped).or_else(|| Self::by_its_fields(node, shape))
    }

    /// What a bare object without a kind is, such as a task that was asked for.
    fn by_its_fields(node: &Node, shape: Shape) -> Option<Self> {
        let has = |key| node.get(key).is_some();
        let kind = if has("messageId") {
            ItemKind::Message
        } else if has("artifact") && has("taskId") {
            ItemKind::ArtifactUpdate
        } else if has("status") && has("taskId") {
            ItemKind::StatusUpdate
        } else if has("id") && (has("status") || has("contextId")) {
            ItemKind::Task
        } else {
            return None;
        };
        Some(Self { kind, node: node.clone(), shape })
    }

    /// The task that it is, or belongs to.
    #[must_use]
    pub fn task_id(&self) -> Option<String> {
        let key = if self.kind == ItemKind::Task { "id" } else { "taskId" };
        text_at(&self.node, key).filter(|id| !id.is_empty()).map(Cow::into_owned)
    }

    /// The context that it belongs to.
    #[must_use]
    pub fn context_id(&self) -> Option<String> {
        text_at(&self.node, "contextId").filter(|id| !id.is_empty()).map(Cow::into_owned)
    }

    /// How far the task is.
    #[must_use]
    pub fn state(&self) -> Option<TaskState> {
        text_at(&self.node.get("status")?, "state").and_then(|state| TaskState::of(&state))
    }

    /// The message itself, or that of the status.
    #[must_use]
    pub fn message(&self) -> Option<Node> {
        if self.kind == ItemKind::Message {
            return Some(self.node.clone());
        }
        self.node.get("status")?.get("message")
    }

    /// Who speaks, if it is a message.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        text_at(&self.message()?, "role").and_then(|role| Role::of(&role))
    }

    /// The parts of that message.
    #[must_use]
    pub fn message_parts(&self) -> Vec<PartView> {
        self.message().map_or_else(Vec::new, |message| parts_of(&message, self.shape))
    }

    /// The artifacts of a task, or the one of an update.
    #[must_use]
    pub fn artifacts(&self) -> Vec<Node> {
        match self.kind {
            ItemKind::ArtifactUpdate => self.node.get("artifact").into_iter().collect(),
            _ => self.node.get("artifacts").map_or_else(Vec::new, |list| list.elements().collect()),
        }
    }

    /// Whether an update of an artifact adds to what is there, instead of replacing it.
    pub(super) fn appends(&self) -> bool {
        self.node.get("append").and_then(|node| node.boolean()) == Some(true)
    }

    /// The parts of a message, of a status's message, or of all artifacts; of a task without artifacts those of its
    /// status's message.
    #[must_use]
    pub fn parts(&self) -> Vec<PartView> {
        let own = match self.kind {
            ItemKind::Message | ItemKind::StatusUpdate => self.message(),
            // A task that asks has nothing but its question.
            ItemKind::Task => self.message().filter(|_| self.artifacts().is_empty()),
            ItemKind::ArtifactUpdate => None,
        };
        own.into_iter().chain(self.artifacts()).flat_map(|holder| parts_of(&holder, self.shape)).collect()
    }

    /// Whether a stream ends with it.
    #[must_use]
    pub fn ends_stream(&self) -> bool {
        let is_final = || self.node.get("final").and_then(|node| node.boolean()) == Some(true);
        self.kind == ItemKind::Message || self.state().is_some_and(TaskState::ends_stream) || is_final()
    }
}

/// The parts of a message or an artifact.
pub(super) fn parts_of(holder: &Node, shape: Shape) -> Vec<PartView> {
    let parts = holder.get("parts").or_else(|| holder.get(shape.parts()));
    let view = |node| PartView::new(node, shape);
    parts.map_or_else(Vec::new, |parts| parts.elements().map(view).collect())
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Text.
    Text,
    /// Bytes, as base64.
    Raw,
    /// The address of bytes.
    Url,
    /// JSON.
    Data,
}

impl PartKind {
    /// `text`, `raw`, `url` or `data`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Raw => "raw",
            Self::Url => "url",
            Self::Data => "data",
        }
    }
}

/// A part of any shape.
#[derive(Clone, Debug)]
pub struct PartView {
    /// It, as it was received.
    pub node: Node,
    shape: Shape,
    content: Option<(PartKind, Node)>,
}

/// The mark by which the official SDK knows data that are no object, which 0.3 has no place for.
pub(super) const NOT_AN_OBJECT: &str = "data_part_compat";

/// Where a part, or its file, has its content.
const CONTENTS: [(&str, PartKind); 4] =
    [("text", PartKind::Text), ("raw", PartKind::Raw), ("url", PartKind::Url), ("data", PartKind::Data)];
const FILE_CONTENTS: [(&str, PartKind); 4] = [
    ("bytes", PartKind::Raw),
    ("uri", PartKind::Url),
    ("fileWithBytes", PartKind::Raw),
    ("fileWithUri", PartKind::Url),
];

impl PartView {
    pub(super) fn new(node: Node, shape: Shape) -> Self {
        let found = |holder: &Node, places: &[(&str, PartKind)]| {
            let mut all = places.iter().filter_map(|(key, kind)| Some((*kind, holder.get(key)?)));
            // Of a part with two contents, two readers might see two.
            all.next().filter(|_| all.next().is_none())
        };
        let content = match node.get("file").filter(|file| file.kind() == Kind::Object) {
            Some(file) => found(&file, &FILE_CONTENTS),
            None => found(&node, &CONTENTS).map(|content| without_wrapper(content, &node, shape)),
        };
        Self { node, shape, content }
    }

    /// What it is; none if it is nothing of A2A.
    #[must_use]
    pub fn kind(&self) -> Option<PartKind> {
        self.content.as_ref().map(|(kind, _)| *kind)
    }

    /// Its content, as it lies there.
    #[must_use]
    pub fn content(&self) -> Option<&Node> {
        self.content.as_ref().map(|(_, node)| node)
    }

    /// The name of its file.
    #[must_use]
    pub fn filename(&self) -> Option<String> {
        self.field("filename", "name")
    }

    /// The type of its content, such as `application/pdf`.
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        self.field("mediaType", "mimeType")
    }

    fn field(&self, modern: &str, of_file: &str) -> Option<String> {
        let own = || self.node.get(modern);
        let field = self.node.get("file").and_then(|file| file.get(of_file)).or_else(own)?;
        field.text().filter(|text| !text.is_empty()).map(Cow::into_owned)
    }

    /// The bytes of a text or raw part: the text as UTF-8, the base64 decoded. May take long.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when it is no such part, [`ErrorKind::Json`] when its base64 is none,
    /// [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn payload(&self) -> Result<Payload> {
        match &self.content {
            Some((PartKind::Raw, node)) if self.shape == Shape::Content => {
                let once = node.base64()?;
                // Twice by those who put the text of other shapes there; once by those who put the bytes.
                let twice = decode_base64(&once.clone().into_bytes()?)?;
                Ok(twice.unwrap_or(once))
            }
            Some((PartKind::Raw, node)) => node.base64(),
            Some((PartKind::Text, node)) => node.text_payload(),
            Some((PartKind::Data, node)) => Ok(node.raw().into()),
            Some((PartKind::Url, _)) => Err(Error::new(
                ErrorKind::WrongKind,
                "a url part says where its bytes are: fetch them from there",
            )),
            None => Err(Error::new(ErrorKind::WrongKind, "the part has neither text, raw, url nor data")),
        }
    }
}

/// Over HTTP, 0.3 has data inside of another object; and over either binding data that are no object are in one,
/// which its metadata tell.
fn without_wrapper((kind, content): (PartKind, Node), part: &Node, shape: Shape) -> (PartKind, Node) {
    if kind != PartKind::Data || shape == Shape::Modern {
        return (kind, content);
    }
    let within = |content: Node, key| content.get(key).unwrap_or(content);
    let data = if shape == Shape::Content { within(content, "data") } else { content };
    let mark = part.get("metadata").and_then(|metadata| metadata.get(NOT_AN_OBJECT)?.boolean());
    (kind, if mark == Some(true) { within(data, "value") } else { data })
}

/// The text at `key` of an object.
pub(super) fn text_at<'n>(node: &Node, key: &str) -> Option<Cow<'n, str>> {
    Some(Cow::Owned(node.get(key)?.text()?.into_owned()))
}
