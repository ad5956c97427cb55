//! The memory budget of this process for replies that no spool was given for, and where they go beyond it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mcpgateway_shm::{PerProcess, Region, RegionMut, Spool, SpoolOptions, default_memory_budget};

use super::{Decision, Payload, allocate, no_memory};
use crate::error::Result;

/// No limit was set: the default is found out with the first use.
const UNSET: u64 = u64::MAX;

static LIMIT: AtomicU64 = AtomicU64::new(UNSET);
static USED: AtomicU64 = AtomicU64::new(0);
static LIMITS: Mutex<ProcessLimits> =
    Mutex::new(ProcessLimits { memory_budget: None, disk_budget: None, directory: None });

/// What all replies of this process may use together, where no spool was given for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of the warm pool in use. By default a quarter of what the container or the machine has, or
    /// half of what is free, whichever is less.
    pub memory_budget: Option<u64>,
    /// Bytes of the files that take the replies beyond that. By default half of what is free.
    pub disk_budget: Option<u64>,
    /// The spool directory of these files, and of payloads that are shared without a spool of their own.
    pub directory: Option<PathBuf>,
}

/// What the replies of this process use of their memory budget, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// The budget.
    pub limit: u64,
    /// What is in use.
    pub used: u64,
}

/// Set the limits of this process, for replies from now on.
pub fn limit_process(limits: ProcessLimits) {
    LIMIT.store(limits.memory_budget.map_or(UNSET, |bytes| bytes.min(UNSET - 1)), Relaxed);
    *limits_now() = limits;
    *spools() = Spools::default();
}

/// What the replies of this process use of their memory budget.
#[must_use]
pub fn memory_use() -> MemoryUse {
    MemoryUse { limit: limit(), used: USED.load(Relaxed) }
}

fn limit() -> u64 {
    let set = LIMIT.load(Relaxed);
    if set != UNSET {
        return set;
    }
    let default = default_memory_budget().min(UNSET - 1);
    // Another thread may have found it out, or somebody set it: that one counts.
    LIMIT.compare_exchange(UNSET, default, Relaxed, Relaxed).map_or_else(|set| set, |_| default)
}

fn limits_now() -> MutexGuard<'static, ProcessLimits> {
    LIMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that the budget has granted; given back when this is dropped.
#[derive(Debug, Default)]
struct Reservation {
    bytes: u64,
}

impl Reservation {
    /// Whether the budget has room for `bytes` in all.
    fn grow_to(&mut self, bytes: u64) -> bool {
        let (limit, more) = (limit(), bytes.saturating_sub(self.bytes));
        let granted = USED.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(more).filter(|asked| more == 0 || *asked <= limit)
        });
        if granted.is_ok() {
            self.bytes += more;
        }
        granted.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        USED.fetch_sub(self.bytes, Relaxed);
    }
}

/// A region of the warm pool that is being filled, and its part of the budget.
pub(crate) struct AdmittedRegion {
    region: RegionMut,
    reservation: Reservation,
}

impl AdmittedRegion {
    /// Room for `len` bytes; `None` where the budget has none.
    pub(crate) fn allocate(len: usize) -> Result<Option<Self>> {
        let mut reservation = Reservation::default();
        if !reservation.grow_to(len as u64) {
            return Ok(None);
        }
        Ok(Some(Self { region: allocate(len)?, reservation }))
    }

    pub(crate) fn filled(&self) -> &[u8] {
        self.region.filled()
    }

    /// Append `bytes`, and say whether the budget had room for them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<bool> {
        let filled = self.region.filled().len();
        let end = filled.saturating_add(bytes.len());
        if end as u64 > self.reservation.bytes {
            // Grows by half, as the region does, where the budget allows.
            let generous = end.max(filled.saturating_add(filled / 2));
            if !self.reservation.grow_to(generous as u64) && !self.reservation.grow_to(end as u64) {
                return Ok(false);
            }
        }
        self.region.write(bytes).map_err(|cause| no_memory(end, cause))?;
        Ok(true)
    }

    /// Finish as a payload that holds its part of the budget as long as somebody looks at its bytes.
    pub(crate) fn freeze(self, decide: impl FnOnce(u64) -> Decision) -> Payload {
        let region = self.region.freeze();
        let decision = decide(region.len() as u64);
        let held = Admitted { region: region.clone(), _reservation: self.reservation };
        Payload { region: Some(region), ..Payload::new(Bytes::from_owner(held), decision) }
    }
}

struct Admitted {
    region: Region,
    /// Given back after the region.
    _reservation: Reservation,
}

impl AsRef<[u8]> for Admitted {
    fn as_ref(&self) -> &[u8] {
        &self.region
    }
}

/// The spools that a process makes for itself when it first needs them.
#[derive(Default)]
struct Spools {
    overflow: Option<Spool>,
    shared: Option<Spool>,
}

fn spools() -> MutexGuard<'static, Spools> {
    static SPOOLS: PerProcess<Mutex<Spools>> = PerProcess::new();
    SPOOLS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The spool that takes replies to disk when the memory budget is used up.
///
/// # Errors
/// Those of [`Spool::new`].
pub(crate) fn overflow_spool() -> Result<Spool> {
    made_once(&mut spools().overflow, |options| SpoolOptions {
        memory_budget: Some(0),
        map_above: 0,
        ..options
    })
}

/// The spool that payloads are shared in where no other is given.
///
/// # Errors
/// Those of [`Spool::new`].
pub(super) fn shared_spool() -> Result<Spool> {
    made_once(&mut spools().shared, |options| options)
}

fn made_once(place: &mut Option<Spool>, adapt: impl FnOnce(SpoolOptions) -> SpoolOptions) -> Result<Spool> {
    if let Some(made) = place {
        return Ok(made.clone());
    }
    let ProcessLimits { memory_budget, disk_budget, directory } = limits_now().clone();
    let options = SpoolOptions { memory_budget, disk_budget, directory, ..SpoolOptions::default() };
    Ok(place.insert(Spool::new(adapt(options))?).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Transfer;

    #[test]
    fn a_reservation_is_granted_within_the_limit_and_given_back() {
        limit_process(ProcessLimits { memory_budget: Some(1 << 20), ..ProcessLimits::default() });
        let before = memory_use().used;
        let mut region = AdmittedRegion::allocate(600 << 10).expect("memory").expect("room in the budget");
        assert!(AdmittedRegion::allocate(600 << 10).expect("memory").is_none());
        assert!(region.write(&vec![7; 700 << 10]).expect("memory"));
        assert!(!region.write(&vec![7; 700 << 10]).expect("memory"));
        let payload = region.freeze(|len| Decision::because(Transfer::Copy, len, "for a test"));
        assert_eq!(payload.len(), 700 << 10);
        let frames = payload.into_frames();
        assert_eq!(memory_use().limit, 1 << 20);
        assert!(memory_use().used >= before + (700 << 10));
        drop(frames);
        assert_eq!(memory_use().used, before);
        limit_process(ProcessLimits::default());
    }
}
