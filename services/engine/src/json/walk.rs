//! All of a value, token by token, for who builds objects of it.

use super::document::Document;
use super::node::Node;
use super::numbers::{Number, number_at};
use super::text::{Written, written_at};

/// A part of a value, in the order of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'d> {
    /// An array of so many elements begins.
    Array(u32),
    /// An object of so many members begins: a string for each key, then its value.
    Object(u32),
    /// The array or object that began last ends.
    End,
    /// A string or key: the bytes between its quotes.
    String(&'d [u8], Written),
    /// A number.
    Number(Number<'d>),
    /// True or false.
    Boolean(bool),
    /// Null.
    Null,
}

/// A walk over a value, which can be interrupted and taken up again.
#[derive(Clone, Debug)]
pub struct Walk {
    document: Document,
    at: usize,
    end: usize,
    next_container: usize,
    /// Where the last token began.
    last: usize,
}

impl Walk {
    /// Begin at `node`.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let at = node.offset();
        Self {
            document: node.document().clone(),
            at,
            end: at + node.span(),
            next_container: node.container().map_or(0, |container| container as usize),
            last: at,
        }
    }

    /// Where the last token began, in bytes.
    #[must_use]
    pub fn last(&self) -> usize {
        self.last
    }

    /// The document that is walked over.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The next token; none at the end of the value.
    #[inline]
    pub fn next_token(&mut self) -> Option<Token<'_>> {
        let inner = &*self.document.inner;
        let text = &inner.text[..self.end];
        // The text is valid, so commas and colons say nothing new.
        while matches!(text.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') {
            self.at += 1;
        }
        let start = self.at;
        self.last = start;
        let (token, end) = match text[start] {
            b'"' => {
                let written = written_at(text, start + 1);
                (Token::String(&text[start + 1..written.end], written), written.end + 1)
            }
            bracket @ (b'{' | b'[') => {
                let count = inner.containers[self.next_container].count;
                self.next_container += 1;
                (if bracket == b'{' { Token::Object(count) } else { Token::Array(count) }, start + 1)
            }
            b'}' | b']' => (Token::End, start + 1),
            b't' => (Token::Boolean(true), start + 4),
            b'f' => (Token::Boolean(false), start + 5),
            b'n' => (Token::Null, start + 4),
            _ => {
                let (number, end) = number_at(text, start);
                (Token::Number(number), end)
            }
        };
        self.at = end;
        Some(token)
    }
}
