//! What a stream that was taken up again says twice.
//!
//! Agents of 0.3 go on with what comes next, so the task is asked for to learn what came in between. By then more may
//! have come, which the task has and the stream is still to say. An event that was received before the task was asked
//! for marks the place in the task from which on the stream says again what the task has. Where the same content is
//! in the task more than once, the last place is taken: more may be said twice then, but nothing is lost.

use bytes::Bytes;
use mcpgateway_engine::Result;
use mcpgateway_engine::json::Node;
use memchr::memmem;

use super::artifact::{Artifact, artifacts_of};
use super::view::{Item, ItemKind, PartView, text_at};

/// The artifacts of a task since its stream was taken up again.
#[derive(Default)]
pub(super) struct Resumed(Vec<Known>);

struct Known {
    id: String,
    /// The last event of it.
    last: Item,
    /// What the task had behind that.
    rest: Rest,
}

/// What an event says of what is known already.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing: it is new.
    New,
    /// The same: it is a repetition.
    Repeated,
    /// The task has to be asked for.
    Unknown,
}

impl Resumed {
    /// What `event` says of what is known.
    pub(super) fn judge(&mut self, event: &Item) -> Result<Judgement> {
        if event.kind != ItemKind::ArtifactUpdate {
            return Ok(Judgement::New);
        }
        let id = artifact_id(event);
        let known = self.0.iter_mut().find(|known| known.id == id);
        match known {
            Some(known) => {
                known.last = event.clone();
                let is_repeated = event.appends() && known.rest.begins_with(event)?;
                if !is_repeated {
                    known.rest = Rest::default();
                }
                Ok(if is_repeated { Judgement::Repeated } else { Judgement::New })
            }
            None if event.appends() => Ok(Judgement::Unknown),
            None => {
                self.0.push(Known { id, last: event.clone(), rest: Rest::default() });
                Ok(Judgement::New)
            }
        }
    }

    /// Learn what `task`, which was asked for after `event` was received, has beyond what was received; returns
    /// whether it has `event` as well.
    pub(super) fn compare(&mut self, event: &Item, task: &Item) -> Result<bool> {
        if event.kind != ItemKind::ArtifactUpdate {
            self.find_rests(task)?;
            return Ok(event.state() == task.state());
        }
        let id = artifact_id(event);
        self.0.retain(|known| known.id != id);
        self.0.push(Known { id, last: event.clone(), rest: Rest::default() });
        let found = self.find_rests(task)?;
        // What is replaced is said anew from there on.
        let own = self.0.last_mut().expect("it was pushed");
        if !event.appends() {
            own.rest = Rest::default();
        }
        Ok(found && event.appends())
    }

    /// Returns whether the task has the last event of the last artifact.
    fn find_rests(&mut self, task: &Item) -> Result<bool> {
        let mut found = false;
        let of_task = artifacts_of(task)?;
        for known in &mut self.0 {
            let rest = of_task.iter().find(|artifact| artifact.id == known.id);
            let rest = rest.map(|artifact| Rest::behind(artifact, &known.last)).transpose()?.flatten();
            found = rest.is_some();
            known.rest = rest.unwrap_or_default();
        }
        Ok(found)
    }
}

fn artifact_id(event: &Item) -> String {
    let artifact = event.node.get("artifact");
    artifact.and_then(|artifact| text_at(&artifact, "artifactId")).unwrap_or_default().into_owned()
}

/// The content of an artifact from some place on.
#[derive(Default)]
struct Rest {
    text: Bytes,
    raw: Bytes,
    others: Vec<Bytes>,
}

impl Rest {
    /// What `artifact` has behind the content of `event`; none if it does not have that. Of what is not in `event`,
    /// nothing is known.
    fn behind(artifact: &Artifact, event: &Item) -> Result<Option<Self>> {
        let (all, told) = (Self::all_of(artifact)?, Self::of_event(event)?);
        let places = (place_of(&all.text, &told.text), place_of(&all.raw, &told.raw));
        let (Some(text), Some(raw)) = places else { return Ok(None) };
        let others = all.others.windows(told.others.len().max(1)).rposition(|window| window == told.others);
        let others = others.map(|at| at + told.others.len());
        let Some(others) = others.or(told.others.is_empty().then_some(all.others.len())) else {
            return Ok(None);
        };
        Ok(Some(Self {
            text: all.text.slice(text..),
            raw: all.raw.slice(raw..),
            others: all.others[others..].to_vec(),
        }))
    }

    /// Whether it begins with the content of `event`, which is taken off then.
    fn begins_with(&mut self, event: &Item) -> Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        let told = Self::of_event(event)?;
        let begins = self.text.starts_with(&told.text)
            && self.raw.starts_with(&told.raw)
            && self.others.starts_with(&told.others);
        if !begins || told.is_empty() {
            return Ok(false);
        }
        self.text = self.text.slice(told.text.len()..);
        self.raw = self.raw.slice(told.raw.len()..);
        self.others.drain(..told.others.len());
        Ok(true)
    }

    fn of_event(event: &Item) -> Result<Self> {
        artifacts_of(event)?.first().map_or_else(|| Ok(Self::default()), Self::all_of)
    }

    fn all_of(artifact: &Artifact) -> Result<Self> {
        let (text, raw) = (artifact.text.clone().into_bytes()?, artifact.raw.clone().into_bytes()?);
        let content = |part: &PartView| part.content().map_or_else(Bytes::new, Node::raw);
        Ok(Self { text, raw, others: artifact.others.iter().map(content).collect() })
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.raw.is_empty() && self.others.is_empty()
    }
}

/// The end of the last place where `all` has `told`; the end of all if that is nothing.
fn place_of(all: &Bytes, told: &Bytes) -> Option<usize> {
    if told.is_empty() {
        return Some(all.len());
    }
    memmem::rfind(all, told).map(|at| at + told.len())
}

#[cfg(test)]
mod tests {
    use mcpgateway_engine::json::{Document, Options};

    use super::*;

    fn item(text: &str) -> Item {
        let document = Document::parse(text.to_owned().into(), &Options::default()).expect("JSON");
        Item::of(&document.root(), None).expect("of A2A")
    }

    fn update(id: &str, append: bool, parts: &str) -> Item {
        let artifact = format!(r#"{{"artifactId":"{id}","parts":[{parts}]}}"#);
        item(&format!(r#"{{"kind":"artifact-update","taskId":"t","artifact":{artifact},"append":{append}}}"#))
    }

    fn chunk(text: &str) -> Item {
        update("a", true, &format!(r#"{{"kind":"text","text":"{text}"}}"#))
    }

    fn task(texts: &[&str]) -> Item {
        let parts: Vec<_> =
            texts.iter().map(|text| format!(r#"{{"kind":"text","text":"{text}"}}"#)).collect();
        let artifact = format!(r#"{{"artifactId":"a","parts":[{}]}}"#, parts.join(","));
        item(&format!(
            r#"{{"kind":"task","id":"t","status":{{"state":"working"}},"artifacts":[{artifact}]}}"#
        ))
    }

    /// What of `events` is kept after a task with `texts` was asked for when `first` was received.
    fn kept<'e>(first: &str, texts: &[&str], events: &[&'e str]) -> Vec<&'e str> {
        let mut resumed = Resumed::default();
        assert!(resumed.compare(&chunk(first), &task(texts)).expect("room"));
        let mut kept = events.to_vec();
        kept.retain(|text| resumed.judge(&chunk(text)).expect("room") != Judgement::Repeated);
        kept
    }

    #[test]
    fn what_the_task_has_already_is_repeated_and_what_comes_then_is_not() {
        assert_eq!(kept("c", &["a", "b", "c"], &["d", "c"]), ["d", "c"]);
        assert_eq!(kept("c", &["a", "b", "c", "d", "e"], &["d", "e", "f", "e"]), ["f", "e"]);
        // An agent may keep as one part what came in several.
        assert_eq!(kept("c", &["abcde"], &["d", "e", "f"]), ["f"]);
    }

    #[test]
    fn of_content_that_is_there_more_than_once_nothing_is_lost() {
        assert_eq!(kept("-", &["-", "x", "-", "y"], &["x", "-", "y", "z"]), ["x", "-", "y", "z"]);
        assert_eq!(kept("-", &["-", "-"], &["-", "-"]), ["-", "-"]);
    }

    #[test]
    fn bytes_and_data_are_compared_as_well() {
        let parts = |parts: &[&str]| update("a", true, &parts.join(","));
        let file = r#"{"kind":"file","file":{"bytes":"QUI="}}"#;
        let other = r#"{"kind":"file","file":{"bytes":"QkM="}}"#;
        let (data, last) = (r#"{"kind":"data","data":{"k":1}}"#, r#"{"kind":"data","data":{"k":2}}"#);
        let all = [file, data, other, last].join(",");
        let artifact = format!(r#"{{"artifactId":"a","parts":[{all}]}}"#);
        let task = item(&format!(r#"{{"kind":"task","id":"t","status":{{}},"artifacts":[{artifact}]}}"#));
        let mut resumed = Resumed::default();
        assert!(resumed.compare(&parts(&[file, data]), &task).expect("room"));
        assert_eq!(resumed.judge(&parts(&[other, last])).expect("room"), Judgement::Repeated);
        assert_eq!(resumed.judge(&parts(&[other, last])).expect("room"), Judgement::New);
    }

    #[test]
    fn what_the_task_does_not_have_or_what_is_said_anew_is_kept() {
        let mut resumed = Resumed::default();
        assert!(!resumed.compare(&chunk("z"), &task(&["a"])).expect("room"));
        assert!(!resumed.compare(&update("a", false, r#"{"text":"a"}"#), &task(&["a", "b"])).expect("room"));
        assert_eq!(resumed.judge(&chunk("b")).expect("room"), Judgement::New);
        assert_eq!(resumed.judge(&update("b", true, r#"{"text":"?"}"#)).expect("room"), Judgement::Unknown);
        assert_eq!(resumed.judge(&update("b", false, "")).expect("room"), Judgement::New);
        assert_eq!(resumed.judge(&update("b", true, r#"{"text":"?"}"#)).expect("room"), Judgement::New);
    }
}
