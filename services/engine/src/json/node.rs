//! Values within a document: a document, and a position in it.

use std::borrow::Cow;

use bytes::Bytes;

use super::document::{Container, Document, Inner, position};
use super::grammar::ends_scalar;
use super::numbers::{Number, number_at};
use super::place::PointerText;
use super::pointer::{Pointer, array_index};
use super::text::{says, unescape, unescape_pieces};
use crate::error::{Error, Result};
use crate::payload::{AdmittedRegion, Decision, Payload, Transfer};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `1.5`
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

impl Kind {
    /// `object`, `array`, `string`, `number`, `boolean` or `null`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }
}

/// A value of a document, which it keeps alive. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Node {
    document: Document,
    spot: Spot,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) at: u32,
    /// Its number, if it is a container.
    pub(super) container: u32,
}

/// Of what is no container.
const NO_CONTAINER: u32 = u32::MAX;

/// A child of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    /// From behind the opening quote to the closing one; empty in arrays.
    pub(super) key: (u32, u32),
    pub(super) value: Spot,
    /// Behind the value.
    pub(super) end: u32,
}

impl Child {
    /// Where the child begins, with its key.
    pub(super) fn start(&self) -> usize {
        if self.key.0 == 0 { self.value.at as usize } else { self.key.0 as usize - 1 }
    }
}

/// The children of a container, in order.
#[derive(Clone)]
pub(super) struct Children<'d> {
    inner: &'d Inner,
    is_object: bool,
    at: usize,
    next_container: u32,
}

impl<'d> Children<'d> {
    pub(super) fn of(inner: &'d Inner, container: u32) -> Self {
        let start = inner.containers[container as usize].start as usize;
        let is_object = inner.text[start] == b'{';
        let at = inner.skip_white_space(start + 1);
        Self { inner, is_object, at, next_container: container + 1 }
    }

    /// Continue where [`resume_point`](Self::resume_point) was.
    pub(super) fn resume(inner: &'d Inner, is_object: bool, (at, next_container): (u32, u32)) -> Self {
        Self { inner, is_object, at: at as usize, next_container }
    }

    pub(super) fn resume_point(&self) -> (u32, u32) {
        (position(self.at), self.next_container)
    }
}

impl Iterator for Children<'_> {
    type Item = Child;

    #[inline]
    fn next(&mut self) -> Option<Child> {
        let inner = self.inner;
        let text = &inner.text[..];
        let mut at = self.at;
        if matches!(text[at], b']' | b'}') {
            return None;
        }
        let mut key = (0, 0);
        if self.is_object {
            let end = inner.string_end(at);
            key = (position(at + 1), position(end));
            at = inner.skip_white_space(end + 1);
            at = inner.skip_white_space(at + 1);
        }
        let (value, end) = match text[at] {
            b'{' | b'[' => {
                let container = self.next_container;
                let Container { end, next, .. } = inner.containers[container as usize];
                self.next_container = next;
                (Spot { at: position(at), container }, end as usize)
            }
            _ => (Spot { at: position(at), container: NO_CONTAINER }, inner.scalar_end(at)),
        };
        self.at = inner.skip_white_space(end);
        if text[self.at] == b',' {
            self.at = inner.skip_white_space(self.at + 1);
        }
        Some(Child { key, value, end: position(end) })
    }
}

impl Inner {
    #[inline]
    pub(super) fn skip_white_space(&self, mut at: usize) -> usize {
        while matches!(self.text[at], b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        at
    }

    /// Behind the string, number or literal at `at`.
    #[inline]
    pub(super) fn scalar_end(&self, at: usize) -> usize {
        if self.text[at] == b'"' {
            return self.string_end(at) + 1;
        }
        let rest = &self.text[at..];
        at + rest.iter().position(|byte| ends_scalar(*byte)).unwrap_or(rest.len())
    }

    pub(super) fn children(&self, container: u32) -> Children<'_> {
        Children::of(self, container)
    }

    pub(super) fn raw(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.text[start as usize..end as usize]
    }

    pub(super) fn kind_of(&self, spot: Spot) -> Kind {
        match self.text[spot.at as usize] {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub(super) fn end_of(&self, spot: Spot) -> usize {
        match spot.container {
            NO_CONTAINER => self.scalar_end(spot.at as usize),
            container => self.containers[container as usize].end as usize,
        }
    }

    /// The pointer to the value that byte `offset` belongs to.
    pub(super) fn pointer_to(&self, offset: usize) -> String {
        let mut pointer = PointerText::default();
        let mut within = self.root_spot();
        while within.container != NO_CONTAINER {
            let holding = |child: &Child| (child.end as usize) > offset;
            let Some((index, child)) =
                self.children(within.container).enumerate().find(|(_, child)| holding(child))
            else {
                break;
            };
            if child.start() > offset {
                break;
            }
            match child.key {
                (0, 0) => pointer.push_index(index),
                key => pointer.push_key(self.raw(key)),
            }
            within = child.value;
        }
        pointer.into_string()
    }

    pub(super) fn root_spot(&self) -> Spot {
        let container = if matches!(self.text[self.root], b'{' | b'[') { 0 } else { NO_CONTAINER };
        Spot { at: position(self.root), container }
    }

    /// The last member called `key`.
    pub(super) fn member(&self, container: u32, key: &str) -> Option<Spot> {
        if let Some(lookup) = self.lookup(container) {
            return lookup.member(self, key);
        }
        let named = |child: &Child| says(self.raw(child.key), key.as_bytes());
        self.children(container).filter(named).last().map(|child| child.value)
    }

    pub(super) fn element(&self, container: u32, index: usize) -> Option<Spot> {
        if index >= self.containers[container as usize].count as usize {
            return None;
        }
        let child = match self.lookup(container) {
            Some(lookup) => lookup.element(self, index),
            None => self.children(container).nth(index),
        };
        child.map(|child| child.value)
    }
}

impl Node {
    pub(super) fn at_root(document: Document) -> Self {
        let spot = document.inner.root_spot();
        Self { document, spot }
    }

    pub(super) fn new(document: Document, spot: Spot) -> Self {
        Self { document, spot }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.document.inner
    }

    /// The number of the container that this node is.
    pub(super) fn container(&self) -> Option<u32> {
        (self.spot.container != NO_CONTAINER).then_some(self.spot.container)
    }

    /// The document this is a value of.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What the value is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner().kind_of(self.spot)
    }

    /// Elements of an array, or members of an object, each key counted once; none for other values.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        let container = self.container()?;
        match self.kind() {
            Kind::Object => Some(self.inner().member_count(container)),
            _ => Some(self.inner().containers[container as usize].count as usize),
        }
    }

    /// Whether it is an array or object without children.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.container().is_some_and(|container| self.inner().containers[container as usize].count == 0)
    }

    /// Bytes from the first to the last of the value.
    #[must_use]
    pub fn span(&self) -> usize {
        self.inner().end_of(self.spot) - self.spot.at as usize
    }

    /// The member called `key`, the last if there are several; none if this is no object or has no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        let container = self.container().filter(|_| self.kind() == Kind::Object)?;
        self.inner().member(container, key).map(|spot| self.with(spot))
    }

    /// Element `index` from 0 on; none if this is no array or is shorter.
    #[must_use]
    pub fn index(&self, index: usize) -> Option<Self> {
        let container = self.container().filter(|_| self.kind() == Kind::Array)?;
        self.inner().element(container, index).map(|spot| self.with(spot))
    }

    /// The value at `pointer`, seen from this one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub fn at(&self, pointer: &Pointer) -> Result<Self> {
        let steps = pointer.steps();
        let mut node = self.clone();
        for (number, step) in steps.iter().enumerate() {
            node = node.step(step).map_err(|why| pointer.not_found(number, why))?;
        }
        Ok(node)
    }

    /// The child that one step of a pointer leads to, or why there is none.
    pub(super) fn step(&self, step: &str) -> Result<Self, &'static str> {
        match self.kind() {
            Kind::Object => self.get(step).ok_or("there is no such key"),
            Kind::Array => match array_index(step) {
                Some(index) => self.index(index).ok_or("the array is shorter"),
                None if step == "-" => Err("- is behind the last element, where there is nothing"),
                None => Err("this is no index of an array"),
            },
            _ => Err("the value here has no parts"),
        }
    }

    /// The elements of an array, in order; none if this is no array.
    #[must_use]
    pub fn elements(&self) -> Elements {
        let container = self.container().filter(|_| self.kind() == Kind::Array);
        let at = container.map(|container| Children::of(self.inner(), container).resume_point());
        Elements { document: self.document.clone(), at }
    }

    /// The members of an object, each key once, with its last value, in the order of the first; none if this is
    /// no object.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let Some(container) = self.container().filter(|_| self.kind() == Kind::Object) else {
            return Vec::new();
        };
        let members = self.inner().unique_members(container).into_iter();
        members.map(|child| Member { key: child.key, value: self.with(child.value) }).collect()
    }

    /// Whether this is an object that has the same key twice; what is inside of its values does not count.
    #[must_use]
    pub fn repeats_a_key(&self) -> bool {
        let container = self.container().filter(|_| self.kind() == Kind::Object);
        container.is_some_and(|container| self.inner().repeated_key(container).is_some())
    }

    /// The bytes of the value, as they are written.
    #[must_use]
    pub fn raw(&self) -> Bytes {
        let start = self.spot.at as usize;
        self.document.inner.text.slice(start..start + self.span())
    }

    /// The text of a string; none if this is none.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        self.raw_text().map(text_of)
    }

    /// The bytes between the quotes of a string; none if this is none.
    #[must_use]
    pub fn raw_text(&self) -> Option<&[u8]> {
        let start = self.spot.at as usize;
        (self.kind() == Kind::String).then(|| &self.inner().text[start + 1..self.inner().string_end(start)])
    }

    /// What a string says, as UTF-8 bytes; those of the document itself where nothing is escaped. May take long.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`](crate::ErrorKind::WrongKind) when this is no string; for a large one that has escapes,
    /// [`ErrorKind::BudgetExceeded`](crate::ErrorKind::BudgetExceeded) when the memory budget has no room for it, and
    /// [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded) when there is no memory.
    pub fn text_payload(&self) -> Result<Payload> {
        let Some(raw) = self.raw_text() else {
            return Err(self.wrong_kind("text is in strings", Kind::String));
        };
        Ok(unescaped(raw)?.unwrap_or_else(|| self.raw().slice(1..=raw.len()).into()))
    }

    /// What number this is; none if it is none.
    #[must_use]
    pub fn number(&self) -> Option<Number<'_>> {
        (self.kind() == Kind::Number).then(|| number_at(&self.inner().text, self.spot.at as usize).0)
    }

    /// True or false; none if it is neither.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        (self.kind() == Kind::Boolean).then(|| self.inner().text[self.spot.at as usize] == b't')
    }

    /// The pointer from the root of the document to this value.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.inner().pointer_to(self.spot.at as usize)
    }

    /// Where in the document the value begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.spot.at as usize
    }

    /// The error that says `what` about this value.
    #[must_use]
    pub fn error(&self, what: impl Into<String>) -> Error {
        self.document.error_at(self.spot.at as usize, what)
    }

    fn with(&self, spot: Spot) -> Self {
        Self { document: self.document.clone(), spot }
    }
}

/// What the bytes between the quotes of a string say, of large ones within the memory budget; none if nothing of them
/// is escaped.
pub(super) fn unescaped(raw: &[u8]) -> Result<Option<Payload>> {
    /// Bytes below which the heap is as good as a region.
    const SMALL: usize = 64 << 10;
    let by_unescaping = |len| Decision::because(Transfer::Copy, len, "text, unescaped");
    if memchr::memchr(b'\\', raw).is_none() {
        return Ok(None);
    }
    if raw.len() < SMALL {
        let text = unescape(raw).into_owned();
        let decision = by_unescaping(text.len() as u64);
        return Ok(Some(Payload::new(text.into(), decision)));
    }
    // No text is longer than it is written.
    let mut region = AdmittedRegion::require(raw.len())?;
    unescape_pieces(raw, |piece| region.write(piece).map(drop))?;
    Ok(Some(region.freeze(by_unescaping)))
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Member {
    key: (u32, u32),
    /// Its value.
    pub value: Node,
}

impl Member {
    /// The key.
    #[must_use]
    pub fn key(&self) -> Cow<'_, str> {
        text_of(self.raw_key())
    }

    /// The bytes of the key, as they are written between its quotes.
    #[must_use]
    pub fn raw_key(&self) -> &[u8] {
        self.value.inner().raw(self.key)
    }
}

/// What the bytes between the quotes of a string say; they were checked when the document was opened.
fn text_of(raw: &[u8]) -> Cow<'_, str> {
    match unescape(raw) {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).expect("UTF-8, as was checked")),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).expect("UTF-8, as was checked")),
    }
}

/// The elements of an array, in order.
#[derive(Clone, Debug)]
pub struct Elements {
    document: Document,
    at: Option<(u32, u32)>,
}

impl Iterator for Elements {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        let mut children = Children::resume(&self.document.inner, false, self.at?);
        let child = children.next();
        self.at = child.map(|_| children.resume_point());
        child.map(|child| Node::new(self.document.clone(), child.value))
    }
}
