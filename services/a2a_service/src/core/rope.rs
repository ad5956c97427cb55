//! JSON put together around bytes that stay where they are.

use mcpgateway_engine::Payload;
use mcpgateway_engine::json::{Node, quoted};

/// JSON text that is being written: small pieces are joined, large ones are held.
#[derive(Default)]
pub(super) struct Rope {
    parts: Vec<Payload>,
    text: String,
}

impl Rope {
    pub(super) fn write(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// `text` as a JSON string.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.write(&quoted(text))
    }

    /// JSON as it is.
    pub(super) fn json(&mut self, json: Payload) -> &mut Self {
        if !self.text.is_empty() {
            self.parts.push(std::mem::take(&mut self.text).into());
        }
        self.parts.push(json);
        self
    }

    /// A value as it is written.
    pub(super) fn node(&mut self, node: &Node) -> &mut Self {
        const SHORT: usize = 256;
        let raw = node.raw();
        match std::str::from_utf8(&raw) {
            Ok(text) if raw.len() < SHORT => self.write(text),
            _ => self.json(raw.into()),
        }
    }

    /// An object, whose members `write` writes.
    pub(super) fn object(&mut self, write: impl FnOnce(&mut Members<'_>)) -> &mut Self {
        self.write("{");
        write(&mut Members { rope: self, is_first: true });
        self.write("}")
    }

    /// An array, whose elements `write` writes one by one.
    pub(super) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.write("[");
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.write(",");
            }
            write(self, item);
        }
        self.write("]")
    }

    pub(super) fn finish(mut self) -> Payload {
        if !self.text.is_empty() {
            self.parts.push(self.text.into());
        }
        Payload::join(self.parts)
    }
}

/// The members of an object that is being written.
pub(super) struct Members<'r> {
    rope: &'r mut Rope,
    is_first: bool,
}

impl Members<'_> {
    /// The place for the value of `key`.
    pub(super) fn key(&mut self, key: &str) -> &mut Rope {
        if !std::mem::take(&mut self.is_first) {
            self.rope.write(",");
        }
        self.rope.string(key).write(":")
    }

    /// A member with a text, if there is one.
    pub(super) fn text(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.key(key).string(text);
        }
        self
    }

    /// A member that is JSON, if there is any.
    pub(super) fn json(&mut self, key: &str, json: Option<&Payload>) -> &mut Self {
        if let Some(json) = json {
            self.key(key).json(json.clone());
        }
        self
    }

    /// A member as it is written.
    pub(super) fn node(&mut self, key: &str, node: Option<&Node>) -> &mut Self {
        if let Some(node) = node {
            self.key(key).node(node);
        }
        self
    }

    /// A member with a list of texts, if there are any.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) -> &mut Self {
        if !texts.is_empty() {
            self.key(key).array(texts, |rope, text| _ = rope.string(text));
        }
        self
    }
}
