//! The atomics of loom as those of the standard library: made in constants, registered with the first use.

use std::sync::OnceLock;

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

#[derive(Debug)]
pub(crate) struct AtomicU64 {
    start: u64,
    made: OnceLock<atomic::AtomicU64>,
}

impl AtomicU64 {
    pub(crate) const fn new(start: u64) -> Self {
        Self { start, made: OnceLock::new() }
    }

    fn made(&self) -> &atomic::AtomicU64 {
        self.made.get_or_init(|| atomic::AtomicU64::new(self.start))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.made().load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.made().store(value, order);
    }

    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.made().fetch_sub(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.made().compare_exchange(current, new, success, failure)
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        update: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        self.made().fetch_update(set, fetch, update)
    }
}

#[derive(Debug)]
pub(crate) struct AtomicPtr<T> {
    made: OnceLock<atomic::AtomicPtr<T>>,
}

impl<T> AtomicPtr<T> {
    pub(crate) const fn new(start: *mut T) -> Self {
        assert!(start.is_null(), "no other beginning is modelled");
        Self { made: OnceLock::new() }
    }

    fn made(&self) -> &atomic::AtomicPtr<T> {
        self.made.get_or_init(|| atomic::AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn load(&self, order: Ordering) -> *mut T {
        self.made().load(order)
    }

    pub(crate) fn compare_exchange(
        &self,
        current: *mut T,
        new: *mut T,
        success: Ordering,
        failure: Ordering,
    ) -> Result<*mut T, *mut T> {
        self.made().compare_exchange(current, new, success, failure)
    }
}
