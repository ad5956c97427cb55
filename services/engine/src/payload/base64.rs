//! Base64 made while it is sent, so that a file part of a gigabyte needs no second gigabyte.

use base64_simd::{Base64, Out, STANDARD, URL_SAFE};
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// Source bytes encoded at a time: a multiple of three, so that only the last piece is padded.
const PIECE: usize = 192 << 10;

/// The alphabet of an encoded segment (RFC 4648); both are padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// With `+` and `/` (section 4).
    Standard,
    /// With `-` and `_` (section 5).
    UrlSafe,
}

/// Bytes that are base64 text once they are sent.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    source: Bytes,
    alphabet: Alphabet,
    /// Length of the text, known before anything is encoded.
    len: usize,
}

impl Encoded {
    pub(super) fn new(source: Bytes, alphabet: Alphabet) -> Result<Self> {
        let len = source.len().div_ceil(3).checked_mul(4).ok_or_else(|| {
            Error::new(ErrorKind::QuotaExceeded, "base64 text of this buffer would be larger than memory")
        })?;
        Ok(Self { source, alphabet, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Take and encode the next piece; `None` when all is encoded.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        if self.source.is_empty() {
            return None;
        }
        crate::fault::point("payload::base64");
        let piece = self.source.split_to(PIECE.min(self.source.len()));
        let mut text = vec![0; piece.len().div_ceil(3) * 4];
        let encoded = self.codec().encode(&piece, Out::from_slice(&mut text)).len();
        debug_assert_eq!(encoded, text.len());
        self.len -= encoded;
        Some(text.into())
    }

    fn codec(&self) -> Base64 {
        match self.alphabet {
            Alphabet::Standard => STANDARD,
            Alphabet::UrlSafe => URL_SAFE,
        }
    }
}
