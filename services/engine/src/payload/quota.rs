//! Bytes that may be in use together, counted without a lock.

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// No limit was set: the default is found out with the first use.
const UNSET: u64 = u64::MAX;

/// A limit, and what is in use of it.
#[derive(Debug)]
pub(super) struct Quota {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Quota {
    pub(super) const fn new() -> Self {
        Self { limit: AtomicU64::new(UNSET), used: AtomicU64::new(0) }
    }

    /// Set the limit for what is asked for from now on; `None` is the default.
    pub(super) fn set_limit(&self, bytes: Option<u64>) {
        self.limit.store(bytes.map_or(UNSET, |bytes| bytes.min(UNSET - 1)), Relaxed);
    }

    /// The limit; found out by `default` if none was set.
    pub(super) fn limit(&self, default: impl FnOnce() -> u64) -> u64 {
        let set = self.limit.load(Relaxed);
        if set != UNSET {
            return set;
        }
        let default = default().min(UNSET - 1);
        // Another thread may have found it out, or somebody set it: that one counts.
        self.limit.compare_exchange(UNSET, default, Relaxed, Relaxed).map_or_else(|set| set, |_| default)
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// An empty reservation, to be grown.
    pub(super) fn reservation(&self) -> Reservation<'_> {
        Reservation { quota: self, bytes: 0 }
    }
}

/// Bytes that a quota has granted; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    quota: &'a Quota,
    bytes: u64,
}

impl Reservation<'_> {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the quota has room for `bytes` in all; `default` finds out its limit if none was set.
    pub(super) fn grow_to(&mut self, bytes: u64, default: impl FnOnce() -> u64) -> bool {
        let (limit, more) = (self.quota.limit(default), bytes.saturating_sub(self.bytes));
        let granted = self.quota.used.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(more).filter(|asked| more == 0 || *asked <= limit)
        });
        if granted.is_ok() {
            self.bytes += more;
        }
        granted.is_ok()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Relaxed);
    }
}
