//! Each order in which threads can come across what is shared without a lock, tried by loom, a model checker that
//! knows what each order of memory allows.
//!
//! The sources are those of the crates themselves. Here `crate::sync` has the atomics of loom.

use loom::cell::UnsafeCell;
use loom::model;
use loom::sync::Arc;
use loom::thread;

#[allow(dead_code, reason = "not every part of it is modelled")]
#[path = "../../shm/src/per_process.rs"]
mod per_process;
#[allow(dead_code, reason = "not every part of it is modelled")]
#[path = "../../services/engine/src/payload/quota.rs"]
mod quota;
mod sync;

use per_process::PerProcess;
use quota::Quota;

/// There is one process here.
fn generation() -> u64 {
    0
}

fn no_default() -> u64 {
    unreachable!("a limit was set")
}

/// A quota whose atomics are there before the threads are, as those of a static are.
fn quota() -> Arc<Quota> {
    let quota = Quota::new();
    quota.set_limit(None);
    assert_eq!(quota.used(), 0);
    Arc::new(quota)
}

/// Run `act` in two threads at once.
fn twice<T: 'static>(shared: &Arc<T>, act: fn(&T)) {
    let other = {
        let shared = Arc::clone(shared);
        thread::spawn(move || act(&shared))
    };
    act(shared);
    other.join().expect("no panic");
}

#[test]
fn reservations_never_exceed_the_limit_and_give_all_back() {
    model(|| {
        let quota = quota();
        quota.set_limit(Some(100));
        twice(&quota, |quota| {
            let mut reservation = quota.reservation();
            let granted = reservation.grow_to(40, no_default);
            assert!(granted, "nobody has more than 60 then");
            let more = reservation.grow_to(60, no_default);
            assert!(quota.used() <= 100);
            assert_eq!(reservation.bytes(), if more { 60 } else { 40 });
        });
        assert_eq!(quota.used(), 0);
    });
}

#[test]
fn two_that_find_out_the_default_agree() {
    model(|| {
        let quota = quota();
        twice(&quota, |quota| assert_eq!(quota.limit(|| 7), 7));
    });
}

/// A value that is written before it is shared, and may only be read where that was seen.
struct Written(UnsafeCell<u32>);

// SAFETY: written before it is shared, and only read from then on: that this holds is what loom verifies.
unsafe impl Sync for Written {}
// SAFETY: as above.
unsafe impl Send for Written {}

#[test]
fn who_races_to_make_a_value_sees_the_one_that_was_first_and_all_of_it() {
    model(|| {
        let slot = Arc::new(PerProcess::<Written>::new());
        // As above.
        assert!(slot.get().is_none());
        twice(&slot, |slot| {
            let make = || Written(UnsafeCell::new(7));
            let ours = slot.get_or_init(make);
            assert!(std::ptr::eq(ours, slot.get().expect("made")));
            let read = ours.0.with(|value| {
                // SAFETY: nobody writes to it any more.
                unsafe { *value }
            });
            assert_eq!(read, 7);
        });
    });
}
