//! Edits that leave the bytes between them where they are.
//!
//! An edit names a place by its pointer; the result is a rope of slices of the text with the new bytes between.
//! Nothing is parsed or written again, so an envelope of 100 MB gets another id in microseconds.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::document::Document;
use super::node::{Child, Kind, Node};
use super::pointer::Pointer;
use super::text::{quoted, says};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;

/// A change to a document.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Where.
    pub pointer: Pointer,
    /// What is there afterwards; nothing at all if it is to be removed.
    pub insert: Option<Insert>,
}

/// JSON to be put into a document, whose sender vouches that it is.
#[derive(Clone, Debug)]
pub struct Insert(Payload);

impl Insert {
    /// The JSON itself.
    #[must_use]
    pub fn into_payload(self) -> Payload {
        self.0
    }

    /// The bytes of a value.
    #[must_use]
    pub fn node(node: &Node) -> Self {
        Self(node.raw().into())
    }

    /// Bytes that are JSON.
    ///
    /// # Errors
    /// As for [`Document::parse`].
    pub fn json(bytes: Bytes) -> Result<Self> {
        super::check(&bytes, &super::Options::default())?;
        Ok(Self(bytes.into()))
    }
}

/// All that changes in one container.
#[derive(Default)]
struct Changes {
    removed: Vec<String>,
    /// Appended members (with their key) and elements (without).
    appended: Vec<(Option<String>, Payload)>,
}

/// A stretch of the text, and what takes its place.
struct Replacement {
    range: Range<usize>,
    with: Vec<Payload>,
    pointer: String,
}

impl Document {
    /// The text with `edits` made, as a rope around the bytes that stay.
    ///
    /// A pointer to a value that is there replaces or removes it; one to a new key of an object adds that member,
    /// and `/…/-` appends to an array. Pointers mean the document as it was: an edit does not move the others.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a pointer leads nowhere, [`ErrorKind::Conflict`] when one edit is inside of
    /// another or two are of the same place, and when the whole document is to be removed.
    pub fn splice(&self, edits: &[Edit]) -> Result<Payload> {
        crate::fault::point("json::splice");
        let mut replacements = Vec::new();
        let mut changes: BTreeMap<u32, (Node, Changes)> = BTreeMap::new();
        for edit in edits {
            self.sort_in(edit, &mut replacements, &mut changes)?;
        }
        for (container, changes) in changes.values() {
            changes.make(container, &mut replacements);
        }
        self.join(replacements)
    }

    fn sort_in(
        &self,
        edit: &Edit,
        replacements: &mut Vec<Replacement>,
        changes: &mut BTreeMap<u32, (Node, Changes)>,
    ) -> Result<()> {
        let pointer = &edit.pointer;
        let Some((last, before)) = pointer.split_last() else {
            let Some(Insert(with)) = &edit.insert else {
                return Err(conflict("the whole document cannot be removed".into()));
            };
            let range = self.inner.root..self.inner.end_of(self.inner.root_spot());
            replacements.push(Replacement { range, with: vec![with.clone()], pointer: String::new() });
            return Ok(());
        };
        let mut parent = self.root();
        for (number, step) in before.iter().enumerate() {
            parent = parent.step(step).map_err(|why| pointer.not_found(number, why))?;
        }
        let found = parent.step(last);
        let append = parent.kind() == Kind::Object || (parent.kind() == Kind::Array && last == "-");
        match (&edit.insert, found) {
            (Some(Insert(with)), Ok(node)) => {
                let range = node.offset()..node.offset() + node.span();
                replacements.push(Replacement {
                    range,
                    with: vec![with.clone()],
                    pointer: pointer.to_string(),
                });
            }
            (Some(Insert(with)), Err(_)) if append => {
                let key = (parent.kind() == Kind::Object).then(|| last.to_owned());
                let changes = changes_of(changes, &parent);
                if key.is_some() && changes.appended.iter().any(|(other, _)| *other == key) {
                    return Err(conflict(format!("{pointer} is set twice")));
                }
                changes.appended.push((key, with.clone()));
            }
            (None, Ok(_)) => {
                let changes = changes_of(changes, &parent);
                if changes.removed.iter().any(|other| other == last) {
                    return Err(conflict(format!("{pointer} is removed twice")));
                }
                changes.removed.push(last.to_owned());
            }
            (_, Err(why)) => return Err(pointer.not_found(before.len(), why)),
        }
        Ok(())
    }

    /// The text with all replacements made.
    fn join(&self, mut replacements: Vec<Replacement>) -> Result<Payload> {
        // At the same place an insertion comes behind what ends there.
        replacements.sort_by_key(|replacement| (replacement.range.start, replacement.range.end));
        let text = &self.inner.text;
        let (mut parts, mut copied, mut last) = (Vec::new(), 0, "");
        for replacement in &replacements {
            let Range { start, end } = replacement.range;
            if start < copied {
                let pointer = &replacement.pointer;
                return Err(conflict(format!("the edits of {last:?} and {pointer:?} are of the same bytes")));
            }
            parts.push(Payload::from(text.slice(copied..start)));
            parts.extend(replacement.with.iter().cloned());
            (copied, last) = (end, &replacement.pointer);
        }
        parts.push(Payload::from(text.slice(copied..)));
        Ok(Payload::join(parts))
    }
}

fn conflict(subject: String) -> Error {
    Error::new(ErrorKind::Conflict, subject)
}

fn changes_of<'c>(changes: &'c mut BTreeMap<u32, (Node, Changes)>, parent: &Node) -> &'c mut Changes {
    let container = parent.container().expect("what has parts is a container");
    &mut changes.entry(container).or_insert_with(|| (parent.clone(), Changes::default())).1
}

impl Changes {
    /// Remove and append in `parent`, so that its commas are right.
    fn make(&self, parent: &Node, replacements: &mut Vec<Replacement>) {
        let inner = parent.inner();
        let container = parent.container().expect("what has parts is a container");
        let pointer = parent.pointer();
        let (mut kept_end, mut first_start, mut last_end) = (None, None, None);
        let mut run: Option<Range<usize>> = None;
        let mut remove = |range: Range<usize>| {
            let range = Replacement { range, with: Vec::new(), pointer: pointer.clone() };
            replacements.push(range);
        };
        for (index, child) in inner.children(container).enumerate() {
            first_start.get_or_insert(child.start());
            let end = child.end as usize;
            if self.removes(parent, index, &child) {
                run = Some(run.map_or(child.start(), |run| run.start)..end);
            } else {
                match (run.take(), kept_end) {
                    // With the comma before it.
                    (Some(run), Some(kept_end)) => remove(kept_end..run.end),
                    // Nothing is kept before it: with the comma behind it.
                    (Some(run), None) => remove(run.start..child.start()),
                    (None, _) => {}
                }
                kept_end = Some(end);
            }
            last_end = Some(end);
        }
        if let Some(run) = run {
            remove(kept_end.unwrap_or(run.start)..run.end);
        }
        if self.appended.is_empty() {
            return;
        }
        // Behind the last child, or the opening bracket.
        let at = last_end.unwrap_or(parent.offset() + 1);
        let mut with = Vec::new();
        for (index, (key, value)) in self.appended.iter().enumerate() {
            if index > 0 || kept_end.is_some() {
                with.push(Payload::from(","));
            }
            if let Some(key) = key {
                with.push(Payload::from(quoted(key) + ":"));
            }
            with.push(value.clone());
        }
        replacements.push(Replacement { range: at..at, with, pointer });
    }

    fn removes(&self, parent: &Node, index: usize, child: &Child) -> bool {
        if parent.kind() == Kind::Array {
            return self.removed.iter().any(|removed| *removed == index.to_string());
        }
        // Each of them, if a key is there more than once: else another would take its place.
        let raw = parent.inner().raw(child.key);
        self.removed.iter().any(|removed| says(raw, removed.as_bytes()))
    }
}
