//! State that a forked child must not share with its parent.
//!
//! A child of `fork` inherits the memory of its parent but none of its threads: a runtime has no
//! workers, a lock may be held for ever by a thread that is not there, a socket is still the parent's.
//! What is kept in a [`PerProcess`] is therefore made anew on first use in the child, and the
//! inherited value is leaked, neither used nor dropped.

use crate::generation;
use crate::sync::{AtomicPtr, Ordering};

/// One value for each process: made on first use, made anew in a forked child.
///
/// Threads share the value, so it must be one that they can share:
/// ```compile_fail
/// static COUNT: mcpgateway_shm::PerProcess<std::cell::Cell<u32>> = mcpgateway_shm::PerProcess::new();
/// COUNT.get_or_init(Default::default);
/// ```
#[derive(Debug)]
pub struct PerProcess<T> {
    slot: AtomicPtr<Tagged<T>>,
}

#[derive(Debug)]
struct Tagged<T> {
    generation: u64,
    value: T,
}

impl<T> PerProcess<T> {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self { slot: AtomicPtr::new(std::ptr::null_mut()) }
    }

    #[expect(clippy::unused_self, reason = "the value is borrowed from the slot")]
    fn current(&self, seen: *mut Tagged<T>) -> Option<&T> {
        // SAFETY: null, or published by `get_or_try_init` and not freed while `self` is borrowed.
        let tagged = unsafe { seen.as_ref() }?;
        (tagged.generation == generation()).then_some(&tagged.value)
    }
}

/// The slot itself may go to any thread, and takes its value along.
impl<T: Send + Sync> PerProcess<T> {
    /// The value of this process, made by `make` if there is none yet.
    ///
    /// Threads that race to make it all get the one that was first.
    ///
    /// # Errors
    /// Whatever `make` returns; the slot stays empty then.
    pub fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let seen = self.slot.load(Ordering::Acquire);
        if let Some(value) = self.current(seen) {
            return Ok(value);
        }
        let ours = Box::into_raw(Box::new(Tagged { generation: generation(), value: make()? }));
        let stored = match self.slot.compare_exchange(seen, ours, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => ours,
            Err(winner) => {
                // SAFETY: `ours` came from `Box::into_raw` above and was never published.
                drop(unsafe { Box::from_raw(ours) });
                winner
            }
        };
        // SAFETY: a published pointer is never freed while `self` is borrowed: it is replaced only in
        // a forked child, which leaks the old value.
        Ok(&unsafe { &*stored }.value)
    }

    /// The value of this process, made by `make` if there is none yet.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let Ok(value) = self.get_or_try_init(|| Ok::<T, std::convert::Infallible>(make()));
        value
    }

    /// The value of this process, if one was made.
    pub fn get(&self) -> Option<&T> {
        self.current(self.slot.load(Ordering::Acquire))
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let seen = self.slot.load(Ordering::Acquire);
        if self.current(seen).is_some() {
            // SAFETY: not null, came from `Box::into_raw`, and `&mut self` shows that nobody borrows it.
            drop(unsafe { Box::from_raw(seen) });
        }
    }
}
