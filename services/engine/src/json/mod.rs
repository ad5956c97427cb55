//! JSON without building objects: a text is checked once, by SIMD, and then looked into.
//!
//! A [`Document`] keeps the bytes it was given, untouched, and an index of its arrays and objects. Nodes are
//! positions in it: lookups, pointers, raw bytes. What is wanted as data comes straight from the text: number
//! arrays ([`Node::array`]), columns of records ([`Node::columns`]), base64 ([`Node::base64`]). An edit is a
//! [`splice`](Document::splice): a rope of the untouched bytes with the new ones between.
//!
//! One dialect: RFC 8259, strictly. UTF-8 without a byte order mark, no lone surrogates, no `NaN`; numbers of any
//! size; nested at most [`MAX_DEPTH`] deep; of a key that is there twice the last counts, unless [`Duplicates`]
//! says otherwise.
//!
//! ```
//! use mcpgateway_engine::json::{Document, Options, Pointer};
//!
//! let document = Document::parse(r#"{"id": 7, "result": {"parts": [{"text": "hello"}]}}"#.into(), &Options::default())?;
//! let text = document.root().at(&Pointer::parse("/result/parts/0/text")?)?;
//! assert_eq!(text.text().as_deref(), Some("hello"));
//! # Ok::<(), mcpgateway_engine::Error>(())
//! ```

mod array;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod base64;
mod columns;
mod document;
mod fault;
mod grammar;
mod lookup;
mod node;
mod numbers;
mod peek;
mod place;
mod pointer;
mod rope;
mod runs;
mod scan;
mod splice;
mod tape;
mod text;
mod walk;

#[cfg(test)]
mod tests;

pub use self::base64::decode_base64;
pub use array::{Array, ArrayMemory, DataType};
pub use columns::{Column, ColumnData, Fill, Fills};
pub use document::{Document, Duplicates, MAX_DEPTH, Options, check};
pub use node::{Elements, Kind, Member, Node};
pub use numbers::Number;
pub use peek::{Whole, peek, peek_unless};
pub use place::Place;
pub use pointer::Pointer;
pub use rope::{Outline, check_payload};
pub use splice::{Edit, Insert};
pub use tape::{TAPE_FROM, TapeWalk, with_tape};
pub use text::{quoted, unescape};
pub use walk::{Maker, Stuck, TextWalk, Walk, Walked};
