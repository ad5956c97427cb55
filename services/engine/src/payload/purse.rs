//! Bytes that may be in use together, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// No limit was set: the default is found out with the first use.
const UNSET: u64 = u64::MAX;

/// A limit, and what is in use of it.
#[derive(Debug)]
pub(super) struct Purse {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Purse {
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
        Reservation { purse: self, bytes: 0 }
    }
}

/// Bytes that a purse has granted; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    purse: &'a Purse,
    bytes: u64,
}

impl Reservation<'_> {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the purse has room for `bytes` in all; `default` finds out its limit if none was set.
    pub(super) fn grow_to(&mut self, bytes: u64, default: impl FnOnce() -> u64) -> bool {
        let (limit, more) = (self.purse.limit(default), bytes.saturating_sub(self.bytes));
        let granted = self.purse.used.fetch_update(Relaxed, Relaxed, |used| {
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
        self.purse.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_default() -> u64 {
        unreachable!("a limit was set")
    }

    #[test]
    fn a_reservation_is_granted_within_the_limit_and_given_back() {
        let purse = Purse::new();
        purse.set_limit(Some(100));
        let (mut first, mut second) = (purse.reservation(), purse.reservation());
        assert!(first.grow_to(60, no_default));
        assert!(!second.grow_to(41, no_default));
        assert!(second.grow_to(40, no_default));
        assert!(first.grow_to(50, no_default), "it has that already");
        assert_eq!((purse.used(), first.bytes(), second.bytes()), (100, 60, 40));
        drop(first);
        assert!(second.grow_to(100, no_default));
        assert!(!second.grow_to(u64::MAX, no_default));
        drop(second);
        assert_eq!(purse.used(), 0);
    }

    #[test]
    fn the_default_counts_until_a_limit_is_set_and_again_when_it_is_taken_back() {
        let purse = Purse::new();
        assert_eq!([purse.limit(|| 7), purse.limit(no_default)], [7, 7]);
        purse.set_limit(Some(u64::MAX));
        assert_eq!(purse.limit(no_default), u64::MAX - 1);
        purse.set_limit(None);
        assert_eq!(purse.limit(|| 9), 9);
    }

    #[test]
    fn threads_that_race_never_exceed_the_limit() {
        let purse = Purse::new();
        purse.set_limit(Some(100));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut reservation = purse.reservation();
                        let granted = reservation.grow_to(30, no_default);
                        assert!(purse.used() <= 100);
                        assert_eq!(reservation.bytes(), if granted { 30 } else { 0 });
                    }
                });
            }
        });
        assert_eq!(purse.used(), 0);
    }
}
