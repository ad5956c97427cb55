//! Artifacts that come in chunks, put together: each byte is copied once, however many chunks there are.

use mcpgateway_engine::json::Node;
use mcpgateway_engine::payload::Gathered;
use mcpgateway_engine::{Payload, Result};

use super::view::{Item, ItemKind, PartKind, PartView, parts_of, text_at};

/// An artifact, with its chunks in one piece.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// All of its text parts, one after the other.
    pub text: Payload,
    /// All of its raw parts, decoded, one after the other.
    pub raw: Payload,
    /// Its data and url parts.
    pub others: Vec<PartView>,
    /// The name of its file, as the first part that has one says.
    pub filename: Option<String>,
    /// The type of its content, likewise.
    pub media_type: Option<String>,
    /// Whether the agent said that no more of it comes.
    pub is_complete: bool,
}

/// The artifacts of a task, or the piece of one that an update has.
pub(super) fn artifacts_of(item: &Item) -> Result<Vec<Artifact>> {
    let mut artifacts = Artifacts::default();
    artifacts.take(item)?;
    Ok(artifacts.finish())
}

/// The artifacts of a task, as far as they have come.
#[derive(Default)]
pub(super) struct Artifacts(Vec<Growing>);

#[derive(Default)]
struct Growing {
    id: String,
    name: Option<String>,
    text: Gathered,
    raw: Gathered,
    others: Vec<PartView>,
    filename: Option<String>,
    media_type: Option<String>,
    is_complete: bool,
}

impl Artifacts {
    /// Take what `item` has of artifacts: a task has all of them.
    pub(super) fn take(&mut self, item: &Item) -> Result<()> {
        match item.kind {
            ItemKind::Task if item.node.get("artifacts").is_some() => {
                self.0.clear();
                for artifact in item.artifacts() {
                    self.place(&artifact, false).take(&artifact, item)?;
                }
            }
            ItemKind::ArtifactUpdate => {
                let says = |key| item.node.get(key).and_then(|node| node.boolean()) == Some(true);
                for artifact in item.artifacts() {
                    let growing = self.place(&artifact, item.appends());
                    growing.take(&artifact, item)?;
                    growing.is_complete = says("lastChunk");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where `artifact` grows; empty unless it is appended to what is there.
    fn place(&mut self, artifact: &Node, append: bool) -> &mut Growing {
        let id = text_at(artifact, "artifactId").unwrap_or_default().into_owned();
        let found = self.0.iter().position(|growing| growing.id == id);
        let index = found.unwrap_or(self.0.len());
        let made = || Growing { id: id.clone(), ..Growing::default() };
        match found {
            None => self.0.push(made()),
            Some(index) if !append => self.0[index] = made(),
            Some(_) => {}
        }
        &mut self.0[index]
    }

    pub(super) fn finish(self) -> Vec<Artifact> {
        let finish = |growing: Growing| Artifact {
            id: growing.id,
            name: growing.name,
            text: growing.text.finish(),
            raw: growing.raw.finish(),
            others: growing.others,
            filename: growing.filename,
            media_type: growing.media_type,
            is_complete: growing.is_complete,
        };
        self.0.into_iter().map(finish).collect()
    }
}

impl Growing {
    fn take(&mut self, artifact: &Node, item: &Item) -> Result<()> {
        let name = || text_at(artifact, "name").map(std::borrow::Cow::into_owned);
        self.name = self.name.take().or_else(name);
        for part in parts_of(artifact, item.shape) {
            self.filename = self.filename.take().or_else(|| part.filename());
            self.media_type = self.media_type.take().or_else(|| part.media_type());
            match part.kind() {
                Some(PartKind::Text) => self.text.write(&part.payload()?.into_bytes()?)?,
                Some(PartKind::Raw) => self.raw.write(&part.payload()?.into_bytes()?)?,
                _ => self.others.push(part),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};

    use super::*;

    fn item(text: &str) -> Item {
        let document = Document::parse(text.to_owned().into(), &Options::default()).expect("JSON");
        Item::of(&document.root(), None).expect("of A2A")
    }

    fn update(id: &str, parts: &str, append: bool, last: bool) -> Item {
        let artifact = format!(r#"{{"artifactId":"{id}","parts":[{parts}]}}"#);
        item(&format!(
            r#"{{"artifactUpdate":{{"taskId":"t","artifact":{artifact},"append":{append},"lastChunk":{last}}}}}"#
        ))
    }

    fn collected(items: &[Item]) -> Vec<(String, String, String, usize, bool)> {
        let mut artifacts = Artifacts::default();
        for item in items {
            artifacts.take(item).expect("room");
        }
        let text = |payload: Payload| String::from_utf8(payload.into_bytes().expect("small").to_vec());
        let shown = |artifact: Artifact| {
            let (text, raw) = (text(artifact.text).expect("UTF-8"), text(artifact.raw).expect("ASCII"));
            (artifact.id, text, raw, artifact.others.len(), artifact.is_complete)
        };
        artifacts.finish().into_iter().map(shown).collect()
    }

    #[test]
    fn chunks_are_appended_to_the_artifact_they_name() {
        let items = [
            update("a", r#"{"text":"one\n"}"#, false, false),
            update("b", r#"{"raw":"QUI="},{"data":1}"#, false, true),
            update("a", r#"{"text":"two"},{"raw":"QUI="}"#, true, false),
            update("a", r#"{"text":"!"}"#, true, true),
        ];
        let expected = [
            ("a".into(), "one\ntwo!".into(), "AB".into(), 0, true),
            ("b".into(), String::new(), "AB".into(), 1, true),
        ];
        assert_eq!(collected(&items), expected);
    }

    #[test]
    fn what_is_not_appended_replaces_what_was_there_and_a_task_replaces_all() {
        let items =
            [update("a", r#"{"text":"old"}"#, false, false), update("a", r#"{"text":"new"}"#, false, false)];
        assert_eq!(collected(&items), [("a".into(), "new".into(), String::new(), 0, false)]);
        let task = item(
            r#"{"kind":"task","id":"t","artifacts":[{"artifactId":"c","parts":[
                {"kind":"text","text":"x"},{"kind":"file","file":{"bytes":"QUI="}}]}]}"#,
        );
        let items = [items[0].clone(), task, update("c", r#"{"text":"y"}"#, true, true)];
        assert_eq!(collected(&items), [("c".into(), "xy".into(), "AB".into(), 0, true)]);
    }
}
