//! Bodies of any length out of a few shared blocks.
//!
//! The server sits on the same cores as the client it measures, so a long reply must not cost it
//! generation or copying: a [`Rope`] hands out slices of blocks that are built once.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;

/// Bytes after which the source repeats: a prime, so that no power-of-two offset lines up with it
/// and a misplaced chunk shows in a comparison.
pub const PERIOD: usize = 1_048_573;

const SEED: u64 = 41;

/// One period, so that one frame is 1 MiB: frames of 4 MiB took the same CPU time.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| pattern().into());

/// `length` reproducible bytes: byte `i` is byte `i % PERIOD` of the pattern.
pub fn source(length: u64) -> Rope {
    Rope::default().repeat(BLOCK.clone(), length)
}

/// One period: the little-endian words of `SplitMix64` started at [`SEED`].
fn pattern() -> Vec<u8> {
    let mut random = SplitMix64::new(SEED);
    let words = PERIOD.div_ceil(size_of::<u64>());
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| random.next_word().to_le_bytes()).collect();
    bytes.truncate(PERIOD);
    bytes
}

/// The generator of Steele, Lea and Flood: three lines in any language, so that a test in another
/// one can tell what the server sends.
#[derive(Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose first word follows from `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

/// A body of known length: pieces in order, each a block sent once or over and over.
#[derive(Debug, Default)]
pub struct Rope {
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Never empty, or the rope would never end.
    block: Bytes,
    /// How many bytes of the repeated block are still to be sent.
    left: u64,
}

impl Rope {
    /// This rope and then `bytes`, once.
    pub fn then(self, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        self.repeat(bytes, length)
    }

    /// This rope and then `length` bytes of `block` over and over.
    pub fn repeat(mut self, block: Bytes, length: u64) -> Self {
        if !block.is_empty() && length > 0 {
            self.pieces.push_back(Piece { block, left: length });
        }
        self
    }

    /// How many bytes are still to be sent.
    pub fn remaining(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.left).sum()
    }
}

impl Iterator for Rope {
    type Item = Bytes;

    /// The next bytes, as a slice of their block.
    fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.front_mut()?;
        let whole = piece.block.len();
        let length = usize::try_from(piece.left).map_or(whole, |left| left.min(whole));
        // Only the last chunk of a piece is short, so each begins where its block begins.
        let chunk = piece.block.slice(..length);
        piece.left -= length as u64;
        if piece.left == 0 {
            self.pieces.pop_front();
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn collect(rope: Rope) -> Vec<u8> {
        rope.flat_map(Vec::from).collect()
    }

    #[test]
    fn the_bytes_are_those_of_an_independent_python_implementation() {
        let bytes = collect(source(3_000_000));
        assert_eq!(bytes[..8], [0x49, 0xc9, 0x3b, 0xa9, 0x6e, 0x84, 0x8e, 0x11]);
        let digest = Sha256::digest(&bytes);
        assert_eq!(digest[..8], [0x58, 0x74, 0x9c, 0xbd, 0x8d, 0xb4, 0xae, 0xd7]);
    }

    #[test]
    fn every_byte_is_the_one_at_its_place_in_the_period() {
        let pattern = pattern();
        let length = PERIOD * 2 + PERIOD / 2;
        let bytes = collect(source(length as u64));
        assert_eq!(bytes.len(), length);
        assert!(bytes.iter().enumerate().all(|(place, byte)| *byte == pattern[place % PERIOD]));
    }

    #[test]
    fn a_source_of_64_gib_knows_its_length_and_borrows_its_chunks() {
        let mut rope = source(64 << 30);
        let chunk = rope.next().unwrap();
        assert_eq!(chunk.as_ptr(), BLOCK.as_ptr());
        assert_eq!(rope.remaining(), (64 << 30) - BLOCK.len() as u64);
    }

    #[test]
    fn an_empty_rope_ends_at_once() {
        assert_eq!(source(0).next(), None);
        assert_eq!(Rope::default().then("").repeat(Bytes::new(), 9).remaining(), 0);
    }

    #[test]
    fn pieces_follow_each_other() {
        let rope = Rope::default().then("[").repeat(Bytes::from("ab,"), 7).then("]");
        assert_eq!(rope.remaining(), 9);
        assert_eq!(collect(rope), b"[ab,ab,a]");
    }
}
