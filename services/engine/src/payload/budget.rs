//! The memory budget of this process for replies and copies that no spool was given for, and where they go
//! beyond it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mcpgateway_shm::{PerProcess, Region, RegionMut, Spool, SpoolOptions, default_memory_budget};

use super::quota::{Quota, Reservation};
use super::{Decision, Payload, allocate, no_memory};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are gathered at a time where they go to disk.
const BLOCK: usize = 1 << 20;

/// Of all replies and copies of this process.
static QUOTA: Quota = Quota::new();
static LIMITS: Mutex<ProcessLimits> =
    Mutex::new(ProcessLimits { memory_budget: None, disk_budget: None, directory: None });

/// What all replies of this process may use together, and the copies it makes of buffers and files, where no
/// spool was given for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of the warm pool in use. By default a quarter of what the container or the machine has, or
    /// half of what is free, whichever is less.
    pub memory_budget: Option<u64>,
    /// Bytes of the files that take what is beyond that. By default half of what is free.
    pub disk_budget: Option<u64>,
    /// The spool directory of these files, and of payloads that are shared without a spool of their own.
    pub directory: Option<PathBuf>,
}

/// What the replies and copies of this process use of their memory budget, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// The budget.
    pub limit: u64,
    /// What is in use.
    pub used: u64,
}

/// Set the limits of this process, for what comes from now on.
pub fn limit_process(limits: ProcessLimits) {
    QUOTA.set_limit(limits.memory_budget);
    *limits_now() = limits;
    *spools() = Spools::default();
}

/// What the replies and copies of this process use of their memory budget.
#[must_use]
pub fn memory_use() -> MemoryUse {
    MemoryUse { limit: QUOTA.limit(default_memory_budget), used: QUOTA.used() }
}

fn limits_now() -> MutexGuard<'static, ProcessLimits> {
    LIMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reserve(reservation: &mut Reservation<'_>, bytes: usize) -> bool {
    reservation.grow_to(bytes as u64, default_memory_budget)
}

/// A payload of `len` bytes that `fill` writes, some at a time and in order: in the warm pool as far as the
/// memory budget has room, and beyond it in a private file.
///
/// # Errors
/// [`ErrorKind::BudgetExceeded`] when neither memory nor disk have room in their budgets,
/// [`ErrorKind::QuotaExceeded`] when there is no memory, [`ErrorKind::File`] when the file cannot be written.
pub fn filled(
    len: usize,
    decide: impl FnOnce(u64) -> Decision,
    mut fill: impl FnMut(&mut [u8]),
) -> Result<Payload> {
    if let Some(mut region) = AdmittedRegion::allocate(len)? {
        fill(&mut region.spare_mut()[..len]);
        region.advance(len);
        return Ok(region.freeze(decide));
    }
    let spool = overflow_spool()?;
    let mut writer = spool.writer(Some(len as u64))?;
    let mut block = vec![0; BLOCK.min(len)];
    for start in (0..len).step_by(BLOCK) {
        let piece = &mut block[..BLOCK.min(len - start)];
        fill(piece);
        writer.write(piece)?;
    }
    Ok(Payload::spooled(writer.finish()?, &spool))
}

/// A region of the warm pool that is being filled, and its part of the memory budget of this process.
pub struct AdmittedRegion {
    region: RegionMut,
    reservation: Reservation<'static>,
}

impl AdmittedRegion {
    /// Room for `len` bytes; `None` where the budget has none.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn allocate(len: usize) -> Result<Option<Self>> {
        let mut reservation = QUOTA.reservation();
        if !reserve(&mut reservation, len) {
            return Ok(None);
        }
        Ok(Some(Self { region: allocate(len)?, reservation }))
    }

    /// Room for `len` bytes that cannot go anywhere else.
    ///
    /// # Errors
    /// [`ErrorKind::BudgetExceeded`] when the budget has none, [`ErrorKind::QuotaExceeded`] when there is no
    /// memory.
    pub fn require(len: usize) -> Result<Self> {
        Self::allocate(len)?.ok_or_else(|| beyond_budget(len))
    }

    /// The bytes written so far.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.region.filled()
    }

    /// The room after the bytes written so far; holds whatever an earlier body left there.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        self.region.spare_mut()
    }

    /// Count the first `len` bytes of [`spare_mut`](Self::spare_mut) as written.
    ///
    /// # Panics
    /// If `len` is more than the spare room.
    pub fn advance(&mut self, len: usize) {
        self.region.advance(len);
    }

    /// Append `bytes`, and say whether the budget had room for them.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn write(&mut self, bytes: &[u8]) -> Result<bool> {
        let filled = self.region.filled().len();
        let end = filled.saturating_add(bytes.len());
        if end as u64 > self.reservation.bytes() {
            // Grows by half, as the region does, where the budget allows.
            let generous = end.max(filled.saturating_add(filled / 2));
            if !reserve(&mut self.reservation, generous) && !reserve(&mut self.reservation, end) {
                return Ok(false);
            }
        }
        self.region.write(bytes).map_err(|cause| no_memory(end, cause))?;
        Ok(true)
    }

    /// Finish as a payload that holds its part of the budget as long as somebody looks at its bytes.
    #[must_use]
    pub fn freeze(self, decide: impl FnOnce(u64) -> Decision) -> Payload {
        let region = self.region.freeze();
        let decision = decide(region.len() as u64);
        let held = Admitted { region: region.clone(), _reservation: self.reservation };
        Payload { region: Some(region), ..Payload::new(Bytes::from_owner(held), decision) }
    }
}

impl std::fmt::Debug for AdmittedRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AdmittedRegion").field(&self.region).finish()
    }
}

/// The refusal of `len` bytes more.
pub(super) fn beyond_budget(len: usize) -> Error {
    let MemoryUse { limit, used } = memory_use();
    let asked = used.saturating_add(len as u64);
    let subject =
        format!("{len} bytes more: memory_budget is {limit}, {asked} would be in use (see limit_process)");
    Error::new(ErrorKind::BudgetExceeded { name: "memory_budget", limit, asked }, subject)
}

struct Admitted {
    region: Region,
    /// Given back after the region.
    _reservation: Reservation<'static>,
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

/// The spool that takes replies and copies to disk when the memory budget is used up.
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
    use super::super::quota::Quota;

    fn no_default() -> u64 {
        unreachable!("a limit was set")
    }

    #[test]
    fn a_reservation_is_granted_within_the_limit_and_given_back() {
        let quota = Quota::new();
        quota.set_limit(Some(100));
        let (mut first, mut second) = (quota.reservation(), quota.reservation());
        assert!(first.grow_to(60, no_default));
        assert!(!second.grow_to(41, no_default));
        assert!(second.grow_to(40, no_default));
        assert!(first.grow_to(50, no_default), "it has that already");
        assert_eq!((quota.used(), first.bytes(), second.bytes()), (100, 60, 40));
        drop(first);
        assert!(second.grow_to(100, no_default));
        assert!(!second.grow_to(u64::MAX, no_default));
        drop(second);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn the_default_counts_until_a_limit_is_set_and_again_when_it_is_taken_back() {
        let quota = Quota::new();
        assert_eq!([quota.limit(|| 7), quota.limit(no_default)], [7, 7]);
        quota.set_limit(Some(u64::MAX));
        assert_eq!(quota.limit(no_default), u64::MAX - 1);
        quota.set_limit(None);
        assert_eq!(quota.limit(|| 9), 9);
    }

    // Every order in which they can: tests/rust/interleavings.rs.
    #[test]
    fn threads_that_race_never_exceed_the_limit() {
        let quota = Quota::new();
        quota.set_limit(Some(100));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut reservation = quota.reservation();
                        let granted = reservation.grow_to(30, no_default);
                        assert!(quota.used() <= 100);
                        assert_eq!(reservation.bytes(), if granted { 30 } else { 0 });
                    }
                });
            }
        });
        assert_eq!(quota.used(), 0);
    }
}
