//! The decision matrix, as code: what is copied, what is borrowed, what is mapped, and why.

use std::fmt;

/// Below this many bytes a buffer is copied: that takes a few microseconds, and saves holding an export and
/// giving it back with the GIL. The crossover has yet to be measured; set it per client until then.
pub const COPY_BELOW: usize = 64 << 10;

/// From this many bytes on a reply counts as mapped (ADR-041: 10 MB). It lies in a region of the warm pool;
/// so do smaller ones from 256 KiB on, which are too short for the difference to matter.
pub const MAP_ABOVE: usize = 10 << 20;

/// The thresholds by which payloads are copied, borrowed or mapped.
///
/// ```
/// use mcpgateway_engine::{Origin, Transfer, TransferPolicy};
///
/// let policy = TransferPolicy::default();
/// assert_eq!(policy.decide(1 << 10, Origin::Buffer).transfer, Transfer::Copy);
/// assert_eq!(policy.decide(1 << 26, Origin::Buffer).transfer, Transfer::Borrow);
/// assert_eq!(policy.decide(1 << 26, Origin::Reply).to_string(), "map: 64.0 MiB reply, from map_above (10.0 MiB) on");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferPolicy {
    /// Buffers below this many bytes are copied, others borrowed.
    pub copy_below: usize,
    /// Replies from this many bytes on are received into a mapped region of their own size.
    pub map_above: usize,
}

/// Where the bytes of a payload come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Memory of the caller.
    Buffer,
    /// A file that nobody else changes.
    File,
    /// The network.
    Reply,
    /// Another process, or bound for one.
    Share,
}

/// What is done with the bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// They are copied into memory of ours.
    Copy,
    /// They stay where they are, and their owner is held until they are sent.
    Borrow,
    /// They are, or are put into, a memory-mapped region.
    Map,
}

/// A decision and what it rests on. Prints as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub transfer: Transfer,
    /// The length of the payload in bytes.
    pub len: u64,
    /// Why.
    pub reason: Reason,
}

/// Why a decision was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The length is below a threshold.
    Below(Origin, &'static str, usize),
    /// The length has reached a threshold.
    From(Origin, &'static str, usize),
    /// What it is decides, whatever the length.
    Because(&'static str),
}

impl TransferPolicy {
    /// What to do with `len` bytes from `origin`.
    #[must_use]
    pub fn decide(&self, len: usize, origin: Origin) -> Decision {
        let by_threshold = |name, threshold, below, from| {
            if len < threshold {
                (below, Reason::Below(origin, name, threshold))
            } else {
                (from, Reason::From(origin, name, threshold))
            }
        };
        let (transfer, reason) = match origin {
            Origin::Buffer => by_threshold("copy_below", self.copy_below, Transfer::Copy, Transfer::Borrow),
            Origin::Reply | Origin::Share => {
                by_threshold("map_above", self.map_above, Transfer::Copy, Transfer::Map)
            }
            Origin::File => by_threshold("copy_below", self.copy_below, Transfer::Copy, Transfer::Map),
        };
        Decision { transfer, len: len as u64, reason }
    }
}

impl Default for TransferPolicy {
    fn default() -> Self {
        Self { copy_below: COPY_BELOW, map_above: MAP_ABOVE }
    }
}

impl Decision {
    /// A decision that rests on what the payload is, whatever its length.
    #[must_use]
    pub fn because(transfer: Transfer, len: u64, why: &'static str) -> Self {
        Self { transfer, len, reason: Reason::Because(why) }
    }
}

impl Transfer {
    /// `copy`, `borrow` or `map`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Borrow => "borrow",
            Self::Map => "map",
        }
    }
}

impl Origin {
    /// `buffer`, `file`, `reply` or `share`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::File => "file",
            Self::Reply => "reply",
            Self::Share => "share",
        }
    }

    /// The origin of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Buffer, Self::File, Self::Reply, Self::Share]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

impl fmt::Display for TransferPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (copy_below, map_above) = (Size(self.copy_below as u64), Size(self.map_above as u64));
        write!(f, "copy below {copy_below}, borrow from there on, map replies from {map_above} on")
    }
}

impl fmt::Display for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.transfer, Size(self.len), self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(origin, name, threshold) => {
                write!(f, "{}, below {name} ({})", origin.as_str(), Size(*threshold as u64))
            }
            Self::From(origin, name, threshold) => {
                write!(f, "{}, from {name} ({}) on", origin.as_str(), Size(*threshold as u64))
            }
            Self::Because(why) => f.write_str(why),
        }
    }
}

/// A number of bytes, printed in the largest unit that leaves a whole part.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match UNITS.iter().find(|(_, bits)| self.0 >> bits > 0) {
            #[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
            Some((unit, bits)) => write!(f, "{:.1} {unit}", self.0 as f64 / (1_u64 << bits) as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_matrix_is_decided_at_its_threshold() {
        let policy = TransferPolicy { copy_below: 100, map_above: 1000 };
        let decided = |len, origin| policy.decide(len, origin).transfer;
        assert_eq!(
            [decided(99, Origin::Buffer), decided(100, Origin::Buffer)],
            [Transfer::Copy, Transfer::Borrow]
        );
        assert_eq!(
            [decided(999, Origin::Reply), decided(1000, Origin::Reply)],
            [Transfer::Copy, Transfer::Map]
        );
        assert_eq!(
            [decided(999, Origin::Share), decided(1000, Origin::Share)],
            [Transfer::Copy, Transfer::Map]
        );
        assert_eq!([decided(99, Origin::File), decided(100, Origin::File)], [Transfer::Copy, Transfer::Map]);
    }

    #[test]
    fn a_decision_prints_as_a_sentence() {
        let policy = TransferPolicy::default();
        assert_eq!(
            policy.decide(5, Origin::Buffer).to_string(),
            "copy: 5 B buffer, below copy_below (64.0 KiB)"
        );
        assert_eq!(Decision::because(Transfer::Copy, 1536, "as asked").to_string(), "copy: 1.5 KiB as asked");
        assert_eq!(
            policy.to_string(),
            "copy below 64.0 KiB, borrow from there on, map replies from 10.0 MiB on"
        );
    }
}
