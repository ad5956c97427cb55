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
use super::text::Written;
use super::walk::Token;
use crate::error::Result;
use crate::payload::allocate;

/// Texts shorter than this many bytes are walked over as they are.
pub const TAPE_FROM: usize = 64 << 10;

/// Whole numbers from here on are floats to simd-json: 2^63. Texts with such numbers are walked over as they are.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

/// Scratch of a text of more bytes than this is not kept for the next.
const KEPT_BELOW: usize = 32 << 20;

/// A walk over a tape: the tokens that [`Walk`](super::Walk) finds, but with strings as they read.
pub struct TapeWalk<'t> {
    nodes: &'t [Node<'t>],
    at: usize,
    /// Where the containers end that are open.
    ends: Vec<usize>,
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
        .then(|| work(TapeWalk { nodes: &tape.0, at: 0, ends: Vec::new() }));
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
    /// The next token; none at the end.
    #[inline]
    pub fn next_token(&mut self) -> Option<Token<'t>> {
        if self.ends.last() == Some(&self.at) {
            self.ends.pop();
            return Some(Token::End);
        }
        let node = self.nodes.get(self.at)?;
        self.at += 1;
        Some(match node {
            Node::String(text) => {
                let text = text.as_bytes();
                Token::String(text, Written { end: text.len(), escaped: false, ascii: text.is_ascii() })
            }
            Node::Array { len, count } => {
                self.ends.push(self.at + count);
                Token::Array(super::document::position(*len))
            }
            Node::Object { len, count } => {
                self.ends.push(self.at + count);
                Token::Object(super::document::position(*len))
            }
            Node::Static(StaticNode::I64(number)) => Token::Number(Number::Signed(*number)),
            Node::Static(StaticNode::U64(number)) => {
                Token::Number(i64::try_from(*number).map_or(Number::Unsigned(*number), Number::Signed))
            }
            Node::Static(StaticNode::F64(number)) => Token::Number(Number::Float(*number)),
            Node::Static(StaticNode::Bool(value)) => Token::Boolean(*value),
            Node::Static(StaticNode::Null) => Token::Null,
        })
    }
}
