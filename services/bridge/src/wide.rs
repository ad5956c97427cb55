//! Long texts of Python that are not ASCII, as UTF-8: made without the GIL, from where they lie.

use mcpgateway_engine::payload::{Decision, Transfer, allocate};
use mcpgateway_engine::{Error, ErrorKind, Payload, Result};

/// Characters encoded at a time: what they become fits into the cache.
const PIECE: usize = 16 << 10;

/// The characters of a str, each in `width` bytes, which is 1, 2 or 4.
pub(crate) struct WideText<B> {
    pub(crate) characters: B,
    pub(crate) width: usize,
}

impl<B: AsRef<[u8]>> WideText<B> {
    /// Bytes that it takes as UTF-8.
    pub(crate) fn utf8_len(&self) -> usize {
        let lengths = |piece: &[u8]| self.code_points(piece).map(utf8_len).sum::<usize>();
        self.characters.as_ref().chunks(PIECE * self.width).map(lengths).sum()
    }

    /// The text as UTF-8.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it has a lone surrogate, [`ErrorKind::QuotaExceeded`] when there is no
    /// memory.
    pub(crate) fn encode(&self) -> Result<Payload> {
        let mut region = allocate(self.utf8_len())?;
        let mut utf8 = String::with_capacity(PIECE * 4);
        for piece in self.characters.as_ref().chunks(PIECE * self.width) {
            utf8.clear();
            for code in self.code_points(piece) {
                utf8.push(char::from_u32(code).ok_or_else(lone_surrogate)?);
            }
            region.write(utf8.as_bytes()).map_err(|cause| {
                Error::new(ErrorKind::QuotaExceeded, "memory for a text as UTF-8").with_source(cause)
            })?;
        }
        let why = "str, encoded as UTF-8";
        Ok(Payload::from_region(region, |len| Decision::because(Transfer::Copy, len, why)))
    }

    fn code_points<'p>(&self, piece: &'p [u8]) -> impl Iterator<Item = u32> + 'p {
        let width = self.width;
        piece.chunks_exact(width).map(move |unit| match *unit {
            [one] => u32::from(one),
            [one, two] => u32::from(u16::from_ne_bytes([one, two])),
            [one, two, three, four] => u32::from_ne_bytes([one, two, three, four]),
            _ => 0,
        })
    }
}

fn utf8_len(code: u32) -> usize {
    1 + usize::from(code >= 0x80) + usize::from(code >= 0x800) + usize::from(code >= 0x1_0000)
}

fn lone_surrogate() -> Error {
    Error::new(ErrorKind::InvalidRequest, "a text has a lone surrogate, which UTF-8 cannot have")
}
