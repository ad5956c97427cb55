//! Messages to be sent: parts of any size, held where they are until they are.

use std::fmt;
use std::sync::Arc;

use mcpgateway_engine::json::{self, Document, Options};
use mcpgateway_engine::payload::Alphabet;
use mcpgateway_engine::{Error, Payload, Result};

use super::protocol::{Role, Shape};
use super::rope::{Members, Rope};
use super::translate::write_message;
use super::view::{NOT_AN_OBJECT, PartKind};

/// A part of a message.
#[derive(Clone)]
pub struct Part {
    content: Content,
    /// The name of its file.
    pub filename: Option<String>,
    /// The type of its content, such as `application/pdf`.
    pub media_type: Option<String>,
    metadata: Option<Payload>,
}

/// Makes a text when it is sent, on a thread that may take its time.
pub type MakeText = Arc<dyn Fn() -> Result<Payload> + Send + Sync>;

#[derive(Clone)]
enum Content {
    Text(Payload),
    LaterText(MakeText, u64),
    Raw(Payload),
    Url(String),
    Data(Payload),
}

impl Part {
    /// Text, as UTF-8 bytes: checked, and escaped, when it is sent.
    #[must_use]
    pub fn text(text: Payload) -> Self {
        Self::of(Content::Text(text))
    }

    /// Text that `make` makes when it is sent: about `len` bytes of UTF-8.
    #[must_use]
    pub fn text_made_by(make: MakeText, len: u64) -> Self {
        Self::of(Content::LaterText(make, len))
    }

    /// Bytes: made into base64 while they are sent.
    #[must_use]
    pub fn raw(bytes: Payload) -> Self {
        Self::of(Content::Raw(bytes))
    }

    /// The address of bytes, which the agent fetches.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(Content::Url(url.into()))
    }

    /// JSON: checked when it is sent.
    #[must_use]
    pub fn data(json: Payload) -> Self {
        Self::of(Content::Data(json))
    }

    fn of(content: Content) -> Self {
        Self { content, filename: None, media_type: None, metadata: None }
    }

    /// The same part with metadata: a JSON object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when it is none.
    pub fn metadata(self, metadata: Option<Payload>) -> Result<Self> {
        let metadata = metadata.map(|metadata| object("metadata", metadata)).transpose()?;
        Ok(Self { metadata, ..self })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> PartKind {
        match self.content {
            Content::Text(_) | Content::LaterText(..) => PartKind::Text,
            Content::Raw(_) => PartKind::Raw,
            Content::Url(_) => PartKind::Url,
            Content::Data(_) => PartKind::Data,
        }
    }

    /// Bytes of its content, before they are encoded; of a text that has yet to be made, about.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Text(content) | Content::Raw(content) | Content::Data(content) => content.len(),
            Content::LaterText(_, len) => *len,
            Content::Url(url) => url.len() as u64,
        }
    }

    /// Whether its content has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content as JSON.
    fn written(&self, shape: Shape) -> Result<Payload> {
        match &self.content {
            Content::Text(text) => Payload::json_string(text.clone()),
            Content::LaterText(make, _) => Payload::json_string(make()?),
            Content::Raw(bytes) => {
                let mut encoded = Payload::base64(bytes.clone(), Alphabet::Standard)?;
                if shape == Shape::Content {
                    // Its field of bytes has the base64 text of other shapes, and becomes base64 itself.
                    encoded = Payload::base64(encoded, Alphabet::Standard)?;
                }
                Ok(Payload::join([Payload::from("\""), encoded, Payload::from("\"")]))
            }
            Content::Url(url) => Ok(json::quoted(url).into()),
            Content::Data(json) => Ok(read_json("the data of a part", json.clone())?.text().clone().into()),
        }
    }

    fn write(&self, shape: Shape, rope: &mut Rope) -> Result<()> {
        let mut content = self.written(shape)?;
        // 0.3 has a place for objects alone: others go into one, and a mark says so.
        let is_marked = shape != Shape::Modern && self.is_data_but_no_object(&content)?;
        if is_marked {
            content = Payload::join([Payload::from("{\"value\":"), content, Payload::from("}")]);
        }
        let (filename, media_type) = (self.filename.as_deref(), self.media_type.as_deref());
        rope.object(|part| {
            match (shape, self.kind()) {
                (Shape::Modern, kind) => {
                    part.json(kind.as_str(), Some(&content));
                    part.text("filename", filename).text("mediaType", media_type);
                }
                (_, kind @ (PartKind::Raw | PartKind::Url)) => {
                    if shape == Shape::Kinds {
                        part.text("kind", Some("file"));
                    }
                    part.key("file").object(|file| {
                        file.json(file_key(kind, shape), Some(&content));
                        file.text("name", filename).text("mimeType", media_type);
                    });
                }
                (Shape::Content, PartKind::Data) => {
                    part.key("data").object(|data| _ = data.json("data", Some(&content)));
                }
                (_, kind) => {
                    if shape == Shape::Kinds {
                        part.text("kind", Some(kind.as_str()));
                    }
                    part.json(kind.as_str(), Some(&content));
                }
            }
            self.write_metadata(part, is_marked);
        });
        Ok(())
    }

    fn is_data_but_no_object(&self, content: &Payload) -> Result<bool> {
        let is_data = self.kind() == PartKind::Data;
        Ok(is_data && !content.clone().into_bytes()?.trim_ascii_start().starts_with(b"{"))
    }

    fn write_metadata(&self, part: &mut Members<'_>, is_marked: bool) {
        let Some(metadata) = self.metadata.as_ref().filter(|_| is_marked) else {
            if is_marked {
                part.key("metadata").object(|mark| _ = mark.key(NOT_AN_OBJECT).write("true"));
            } else {
                part.json("metadata", self.metadata.as_ref());
            }
            return;
        };
        let own = read_json("metadata", metadata.clone()).map(|document| document.root().members());
        part.key("metadata").object(|marked| {
            for member in own.iter().flatten() {
                marked.node(&member.key(), Some(&member.value));
            }
            marked.key(NOT_AN_OBJECT).write("true");
        });
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({}, {} bytes)", self.kind().as_str(), self.len())
    }
}

/// Under which name a file of 0.3 has its content.
pub(super) fn file_key(kind: PartKind, shape: Shape) -> &'static str {
    match (kind, shape) {
        (PartKind::Raw, Shape::Content) => "fileWithBytes",
        (PartKind::Raw, _) => "bytes",
        (_, Shape::Content) => "fileWithUri",
        (..) => "uri",
    }
}

/// A message of parts.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// What it says.
    pub parts: Vec<Part>,
    /// Who says it.
    pub role: Role,
    /// By what it is known; a random id if there is none.
    pub message_id: Option<String>,
    /// The task that it belongs to.
    pub task_id: Option<String>,
    /// The context that it belongs to.
    pub context_id: Option<String>,
    /// Tasks that it speaks of.
    pub reference_task_ids: Vec<String>,
    /// Extensions that it makes use of.
    pub extensions: Vec<String>,
    metadata: Option<Payload>,
}

impl Message {
    /// A message of `parts`.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts, ..Self::default() }
    }

    /// The same message with metadata: a JSON object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when it is none.
    pub fn metadata(self, metadata: Option<Payload>) -> Result<Self> {
        let metadata = metadata.map(|metadata| object("metadata", metadata)).transpose()?;
        Ok(Self { metadata, ..self })
    }

    fn write(&self, shape: Shape) -> Result<Payload> {
        let message_id = self.message_id.clone().map_or_else(random_id, Ok)?;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut rope = Rope::default();
            part.write(shape, &mut rope)?;
            parts.push(rope.finish());
        }
        let mut rope = Rope::default();
        rope.object(|message| {
            if shape == Shape::Kinds {
                message.text("kind", Some("message"));
            }
            message.text("messageId", Some(&message_id)).text("role", Some(self.role.written(shape)));
            message.text("taskId", self.task_id.as_deref()).text("contextId", self.context_id.as_deref());
            message.texts("referenceTaskIds", &self.reference_task_ids).texts("extensions", &self.extensions);
            message.json("metadata", self.metadata.as_ref());
            message.key(shape.parts()).array(parts, |rope, part| _ = rope.json(part));
        });
        Ok(rope.finish())
    }
}

/// A message on its way: put together from parts, or JSON that somebody wrote, in either shape.
#[derive(Clone, Debug)]
pub enum Draft {
    /// Parts.
    Message(Message),
    /// A message as JSON; the bytes of its parts stay where they are.
    Json(Payload),
}

impl Draft {
    /// Bytes that are looked at before they are sent.
    pub(super) fn effort(&self) -> u64 {
        match self {
            Self::Json(json) => json.len(),
            Self::Message(message) => {
                message.parts.iter().filter(|part| part.kind() != PartKind::Raw).map(Part::len).sum()
            }
        }
    }

    /// The message as `shape` has it, with the ids that it does not have itself. May take long.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when a text is not UTF-8 or the
    /// JSON is no message.
    pub(super) fn write(
        self,
        shape: Shape,
        task_id: Option<String>,
        context_id: Option<String>,
    ) -> Result<Payload> {
        match self {
            Self::Message(message) => {
                let task_id = message.task_id.clone().or(task_id);
                let context_id = message.context_id.clone().or(context_id);
                Message { task_id, context_id, ..message }.write(shape)
            }
            Self::Json(json) => {
                let document = read_json("the message", json)?;
                let root = document.root();
                if root.get("parts").or_else(|| root.get("content")).is_none() {
                    return Err(Error::invalid_request("the message is no object with parts"));
                }
                let message_id = match root.get("messageId") {
                    Some(_) => None,
                    None => Some(random_id()?),
                };
                let mut rope = Rope::default();
                let missing = [("messageId", message_id), ("taskId", task_id), ("contextId", context_id)];
                write_message(&mut rope, &root, shape, &missing);
                Ok(rope.finish())
            }
        }
    }
}

/// `json` as a document.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](mcpgateway_engine::ErrorKind::InvalidRequest) when it is not JSON.
pub(super) fn read_json(what: &str, json: Payload) -> Result<Document> {
    Document::parse(json.into_bytes()?, &Options::default())
        .map_err(|cause| Error::invalid_request(format!("{what} is not JSON")).with_source(cause))
}

/// `json`, if it is an object.
pub(super) fn object(what: &str, json: Payload) -> Result<Payload> {
    let document = read_json(what, json)?;
    if document.root().kind() != json::Kind::Object {
        return Err(Error::invalid_request(format!("{what} is no JSON object")));
    }
    Ok(document.text().clone().into())
}

/// An id that nobody else has: 122 random bits as a UUID of version 4.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`](mcpgateway_engine::ErrorKind::QuotaExceeded) when the system has no random bytes.
pub(super) fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        Error::new(mcpgateway_engine::ErrorKind::QuotaExceeded, "the system has no random bytes")
    })?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let number = u128::from_be_bytes(bytes);
    let digits = format!("{number:032x}");
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}
