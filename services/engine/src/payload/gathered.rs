//! Bytes that come in pieces, in one place that grows.

use bytes::Bytes;

use super::budget::{AdmittedRegion, beyond_budget};
use super::{Decision, Payload, Transfer};
use crate::error::Result;

/// Below this many bytes the heap is as good as a region.
const SMALL: usize = 256 << 10;

/// Bytes that come in pieces, in warm memory that grows with them, within the budget of this process.
#[derive(Default)]
pub struct Gathered(Place);

enum Place {
    Heap(Vec<u8>),
    Region(Box<AdmittedRegion>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Gathered {
    /// Append `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::BudgetExceeded`](crate::ErrorKind::BudgetExceeded) when the budget has no room for them, [`ErrorKind::QuotaExceeded`](crate::ErrorKind::QuotaExceeded) when there
    /// is no memory. What was there before stays.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Place::Heap(heap) = &mut self.0 {
            let end = heap.len().saturating_add(bytes.len());
            if end <= SMALL {
                heap.extend_from_slice(bytes);
                return Ok(());
            }
            let mut region = AdmittedRegion::require(end)?;
            region.write(heap)?;
            self.0 = Place::Region(Box::new(region));
        }
        let Place::Region(region) = &mut self.0 else { return Ok(()) };
        let end = region.filled().len().saturating_add(bytes.len());
        if region.write(bytes)? { Ok(()) } else { Err(beyond_budget(end)) }
    }

    /// All of them.
    #[must_use]
    pub fn finish(self) -> Payload {
        let by = |len| Decision::because(Transfer::Copy, len, "gathered from its pieces");
        match self.0 {
            Place::Heap(heap) => {
                let len = heap.len() as u64;
                Payload::new(Bytes::from(heap), by(len))
            }
            Place::Region(region) => region.freeze(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_are_one_payload() {
        for piece in [1, 1000, 70_000, 300_000] {
            let bytes: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
            let mut gathered = Gathered::default();
            for piece in bytes.chunks(piece) {
                gathered.write(piece).expect("room");
            }
            assert_eq!(gathered.finish(), Payload::from(bytes));
        }
        assert!(Gathered::default().finish().is_empty());
    }
}
