//! All of a text as the tape of simd-json: every value read, every string unescaped, before the first object is made.
//!
//! Who builds objects of everything wants that work done before taking the GIL. It costs a copy of the text, which
//! simd-json unescapes in place, and 24 bytes a value, so it is only for that: a [`Document`](super::Document) has
//! neither.

use std::sync::{Mutex, PoisonError};

use mcpgateway_shm::Pool;
use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

use super::document::MAX_DEPTH;
use super::numbers::Number;
use super::walk::{Maker, Stuck, Walk, Walked};
use crate::error::Result;
use crate::payload::allocate;

/// Texts shorter than this many bytes are walked over as they are.
pub const TAPE_FROM: usize = 64 << 10;

/// Whole numbers from here on are floats to simd-json: 2^63. Texts with such numbers are walked over as they are.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

/// Scratch of a text of more bytes than this is not kept for the next.
const KEPT_BELOW: usize = 32 << 20;

/// A walk over a tape, which has every number read and every string unescaped already.
pub struct TapeWalk<'t> {
    nodes: &'t [Node<'t>],
    at: usize,
    open: Vec<Open>,
}

/// An array or object that has begun.
struct Open {
    is_object: bool,
    /// Elements or members.
    len: usize,
    /// Where in the tape it ends.
    end: usize,
}

/// What simd-json works in.
struct Scratch {
    buffers: Buffers,
    tape: Tape<'static>,
}

static KEPT: Mutex<Option<Scratch>> = Mutex::new(None);

/// Read `text` and let `work` walk over its tape; none if it has to be read another way: it is no JSON (which
/// [`Document::parse`](super::Document::parse) says more of), or has numbers beyond what simd-json holds exactly.
///
/// # Errors
/// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded) when there is no memory for the copy.
pub fn with_tape<T>(text: &[u8], work: impl FnOnce(TapeWalk<'_>) -> T) -> Result<Option<T>> {
    crate::fault::point("json::tape");
    let Some(len) = text.len().checked_add(INPUT_PADDING).filter(|len| u32::try_from(*len).is_ok()) else {
        return Ok(None);
    };
    let mut copy = allocate(len)?;
    let padded = &mut copy.spare_mut()[..len];
    padded[..text.len()].copy_from_slice(text);
    let Scratch { mut buffers, tape } = Scratch::take();
    let mut tape = tape.reset();
    let read = simd_json::fill_tape_padded(padded, text.len(), &mut buffers, &mut tape);
    let done = (read.is_ok() && !tape.0.iter().any(is_large))
        .then(|| work(TapeWalk { nodes: &tape.0, at: 0, open: Vec::new() }));
    Scratch { buffers, tape: tape.reset() }.give_back(text.len());
    Ok(done)
}

fn is_large(node: &Node<'_>) -> bool {
    matches!(node, Node::Static(StaticNode::F64(number)) if number.abs() >= LARGE)
}

impl Scratch {
    fn take() -> Self {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| Self { buffers: Buffers::with_max_depth(0, MAX_DEPTH), tape: Tape::null() })
    }

    fn give_back(self, len: usize) {
        if len < KEPT_BELOW {
            *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
        } else {
            // Giving it back to the system takes long, and this may be a thread that somebody waits for.
            Pool::global().unmap_later(self);
        }
    }
}

impl<'t> TapeWalk<'t> {
    /// The strings and keys of at least `len` bytes, in the order in which they are walked over.
    pub fn strings_from(&self, len: usize) -> impl Iterator<Item = &'t [u8]> {
        self.nodes.iter().filter_map(move |node| match node {
            Node::String(text) if text.len() >= len => Some(text.as_bytes()),
            _ => None,
        })
    }

    /// Read one value, or the opening of one; whether it is whole.
    #[inline]
    fn value<M: Maker>(&mut self, maker: &mut M) -> Result<bool, M::Error> {
        let node = &self.nodes[self.at];
        self.at += 1;
        match node {
            Node::String(text) => maker.string(text.as_bytes(), text.is_ascii())?,
            Node::Array { len: 0, .. } => maker.array(0)?,
            Node::Object { len: 0, .. } => maker.object(0)?,
            Node::Array { len, count } => {
                self.open.push(Open { is_object: false, len: *len, end: self.at + count });
                return Ok(false);
            }
            Node::Object { len, count } => {
                self.open.push(Open { is_object: true, len: *len, end: self.at + count });
                return Ok(false);
            }
            Node::Static(StaticNode::I64(number)) => maker.number(Number::Signed(*number))?,
            Node::Static(StaticNode::U64(number)) => {
                maker.number(i64::try_from(*number).map_or(Number::Unsigned(*number), Number::Signed))?;
            }
            Node::Static(StaticNode::F64(number)) => maker.number(Number::Float(*number))?,
            Node::Static(StaticNode::Bool(value)) => maker.boolean(*value)?,
            Node::Static(StaticNode::Null) => maker.null()?,
        }
        Ok(true)
    }
}

impl Walk for TapeWalk<'_> {
    fn walk<M: Maker>(&mut self, maker: &mut M, values: usize) -> Result<Walked, Stuck<M::Error>> {
        for _ in 0..values {
            if let Some(Open { is_object: true, .. }) = self.open.last()
                && let Node::String(key) = &self.nodes[self.at]
            {
                self.at += 1;
                maker.key(key.as_bytes(), key.is_ascii())?;
            }
            if !self.value(maker)? {
                continue;
            }
            while let Some(top) = self.open.last().filter(|top| top.end == self.at) {
                if top.is_object { maker.object(top.len) } else { maker.array(top.len) }?;
                self.open.pop();
            }
            if self.open.is_empty() {
                return Ok(Walked::Whole);
            }
        }
        Ok(Walked::Partly)
    }
}
