//! What a forked child must not inherit from its parent, and how it knows that it is one.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Descriptors that a forked child closes before anything else; -1 is a free place.
static CLOSED_IN_CHILD: [AtomicI32; 512] = [const { AtomicI32::new(-1) }; 512];

/// How often the line of processes that ends here has forked since the library was loaded.
///
/// Differs between a parent and its forked child; costs one atomic load.
pub fn generation() -> u64 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: `count_fork` is a plain function that stays loaded as long as the process; it does
        // one atomic addition, which is safe to do in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

unsafe extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in &CLOSED_IN_CHILD {
        let descriptor = place.swap(-1, Ordering::Relaxed);
        if descriptor >= 0 {
            // SAFETY: the child's copy of a file that a `ClosedInChild` owns, which from now on
            // neither uses nor closes it; `close` may be called in a forked child.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// A file or a socket that a forked child does not inherit.
///
/// A lock (`flock`) lives as long as any copy of its descriptor, and so does a connection: without this,
/// the child of a dead worker would keep that worker's lease, and who asks that worker would wait for an
/// answer. Only as many descriptors as there are places are closed; one more is inherited as usual.
#[derive(Debug)]
pub(crate) struct ClosedInChild<T: AsRawFd = File> {
    file: ManuallyDrop<T>,
    generation: u64,
}

impl<T: AsRawFd> ClosedInChild<T> {
    pub(crate) fn new(file: T) -> Self {
        let generation = generation();
        replace_first(-1, file.as_raw_fd());
        Self { file: ManuallyDrop::new(file), generation }
    }
}

impl<T: AsRawFd> Deref for ClosedInChild<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.file
    }
}

impl<T: AsRawFd> Drop for ClosedInChild<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            replace_first(self.file.as_raw_fd(), -1);
            // SAFETY: taken once, here; this process is the one that opened the file.
            drop(unsafe { ManuallyDrop::take(&mut self.file) });
        }
    }
}

/// Put `new` in the first place that holds `old`.
fn replace_first(old: i32, new: i32) {
    for place in &CLOSED_IN_CHILD {
        if place.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::PerProcess;
    use std::sync::Arc;

    #[test]
    fn the_value_is_made_once_and_dropped_with_its_slot() {
        let slot = PerProcess::new();
        let first = Arc::clone(slot.get_or_init(|| Arc::new(7)));
        let second = Arc::clone(slot.get_or_init(|| unreachable!("made already")));
        assert!(Arc::ptr_eq(&first, &second));
        drop(slot);
        drop(second);
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn a_failure_leaves_the_slot_empty() {
        let slot = PerProcess::<i32>::new();
        assert_eq!(slot.get_or_try_init(|| Err("no")), Err("no"));
        assert_eq!(slot.get(), None);
    }

    #[test]
    fn threads_that_race_share_one_value() {
        let slot = PerProcess::new();
        let seen: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| std::ptr::from_ref(slot.get_or_init(|| 7)) as usize)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(seen.iter().all(|address| *address == seen[0]));
    }

    #[cfg(not(miri))]
    #[test]
    fn a_forked_child_makes_its_own_value() {
        let slot = PerProcess::new();
        slot.get_or_init(std::process::id);
        // SAFETY: the child touches atomics and the allocator only, and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let own = *slot.get_or_init(std::process::id) == std::process::id();
            // SAFETY: ends the child without running the test harness's destructors.
            unsafe { libc::_exit(i32::from(!own)) };
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process and `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
        assert_eq!(*slot.get_or_init(|| 0), std::process::id());
    }
}
