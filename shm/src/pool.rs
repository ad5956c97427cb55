//! The warm pool: anonymous mappings in size classes, recycled, capped and trimmed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use crate::machine;
use crate::per_process::PerProcess;
use crate::region::RegionMut;
use crate::sys;

/// The smallest region; below it the heap is as good.
const SMALLEST: usize = 256 << 10;
/// The size of a huge page on the systems that have them.
const HUGE_PAGE: usize = 2 << 20;
/// An idle region is given back to the system after this time.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// A region that grows goes on in the largest idle one of at most so many times what it needs. At 8, what a body of
/// 64 MiB was before that took another 12 to 18 MiB of memory for as long as it is idle; at 32 it is about one.
const MOST_ROOM: usize = 32;
/// The shared pool keeps at most a quarter of the machine's memory idle, and never more than this.
const MOST_IDLE: usize = 2 << 30;

/// A pool of recycled regions. Clones share it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// What a [`Pool`] holds, in bytes of mapping and in regions, and how often it could recycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes mapped by regions in use.
    pub live_bytes: usize,
    /// Bytes mapped by regions that wait to be used again.
    pub idle_bytes: usize,
    /// Regions in use.
    pub regions_live: usize,
    /// Regions that wait to be used again.
    pub regions_idle: usize,
    /// Allocations served by a recycled region.
    pub hits: u64,
    /// Allocations that had to map fresh memory.
    pub misses: u64,
    /// At most this many bytes are kept idle.
    pub cap_bytes: usize,
}

struct Shared {
    state: Mutex<State>,
    /// Told when there is something to unmap, or a first idle region to watch.
    wake: Condvar,
}

#[derive(Default)]
struct State {
    stats: PoolStats,
    /// Idle regions by capacity, the most recently used last.
    idle: BTreeMap<usize, Vec<Idle>>,
    /// Mappings over the cap, to be unmapped by the janitor.
    discarded: Vec<Box<dyn Send>>,
    janitor_runs: bool,
}

struct Idle {
    map: MmapMut,
    since: Instant,
}

impl Pool {
    /// A pool of its own that keeps at most `cap_bytes` idle.
    #[must_use]
    pub fn new(cap_bytes: usize) -> Self {
        let state = State { stats: PoolStats { cap_bytes, ..PoolStats::default() }, ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() }) }
    }

    /// The pool of this process; a forked child has its own.
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: PerProcess<Pool> = PerProcess::new();
        GLOBAL.get_or_init(|| Self::new((memory_of_this_machine() / 4).min(MOST_IDLE)))
    }

    /// A region with room for `len` bytes, recycled if there is one of about that size.
    ///
    /// # Errors
    /// When the system has no more memory to map.
    pub fn allocate(&self, len: usize) -> io::Result<RegionMut> {
        let capacity = size_class(len)?;
        let recycled = self.state().take(capacity);
        let map = if let Some(map) = recycled {
            map
        } else {
            let map = map_fresh(capacity)?;
            self.state().count_fresh(capacity);
            map
        };
        Ok(RegionMut::new(map, self.clone()))
    }

    /// What the pool holds now.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.state().stats
    }

    /// Give every idle region back to the system.
    pub fn trim(&self) {
        let idle = self.state().take_idle_since(None);
        drop(idle);
    }

    /// Give `region` room for `needed` bytes or more: in an idle region if there is one, else by half as much again.
    ///
    /// How long a body that grows will be is not known: so it takes the largest that is idle, and leaves what it did
    /// not need in [`fitted`](Self::fitted). Were it to grow alone, each long body would leave an idle region that no
    /// body after it uses, as each begins small.
    pub(crate) fn grow(&self, region: &mut RegionMut, needed: usize) -> io::Result<()> {
        let before = region.capacity();
        let roomy = self.state().take_roomy(size_class(needed)?);
        if let Some(map) = roomy {
            self.give_back(region.move_to(map));
            return Ok(());
        }
        region.resize(size_class(needed.max(before.saturating_add(before / 2)))?)?;
        self.state().stats.live_bytes += region.capacity() - before;
        Ok(())
    }

    /// `region`, or what it holds in a region of its size if it is in more than twice the room.
    pub(crate) fn fitted(&self, region: RegionMut) -> RegionMut {
        let filled = region.filled();
        if size_class(filled.len()).is_ok_and(|fitting| region.capacity() / 2 <= fitting) {
            return region;
        }
        // Where there is no memory for that, it stays.
        let Ok(mut fitting) = self.allocate(filled.len()) else { return region };
        fitting.spare_mut()[..filled.len()].copy_from_slice(filled);
        fitting.advance(filled.len());
        fitting
    }

    /// Keep `map` for the next body, or leave it to the janitor if the pool is full: unmapping
    /// 256 MB can take half a second, and this may be the event loop.
    pub(crate) fn give_back(&self, map: MmapMut) {
        let mut state = self.state();
        state.stats.live_bytes -= map.len();
        state.stats.regions_live -= 1;
        if state.stats.idle_bytes.saturating_add(map.len()) <= state.stats.cap_bytes {
            state.keep(map);
        } else {
            state.discarded.push(Box::new(map));
        }
        self.wake_janitor(&mut state);
    }

    /// Drop `large` soon, on another thread: unmapping it, or closing its file, takes long, and this may be
    /// the event loop. 1 GiB of a memory file stopped it for 0.16 to 0.19 s.
    pub fn unmap_later(&self, large: impl Send + 'static) {
        let mut state = self.state();
        state.discarded.push(Box::new(large));
        self.wake_janitor(&mut state);
    }

    fn wake_janitor(&self, state: &mut State) {
        if !state.janitor_runs {
            state.janitor_runs = Janitor::start(&self.shared);
        }
        self.shared.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; were it to happen, the lists would still be whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pool").field(&self.stats()).finish()
    }
}

impl State {
    /// An idle region of at least `capacity` bytes, and at most twice that.
    fn take(&mut self, capacity: usize) -> Option<MmapMut> {
        let (&found, _) = self.idle.range(capacity..=capacity.saturating_mul(2)).next()?;
        self.take_of(found)
    }

    /// The largest idle region of at least `capacity` bytes, and at most [`MOST_ROOM`] times that.
    fn take_roomy(&mut self, capacity: usize) -> Option<MmapMut> {
        let (&found, _) = self.idle.range(capacity..=capacity.saturating_mul(MOST_ROOM)).next_back()?;
        self.take_of(found)
    }

    /// The idle region of exactly `capacity` bytes that was used last.
    fn take_of(&mut self, capacity: usize) -> Option<MmapMut> {
        let list = self.idle.get_mut(&capacity)?;
        let map = list.pop()?.map;
        if list.is_empty() {
            self.idle.remove(&capacity);
        }
        self.stats.idle_bytes -= map.len();
        self.stats.regions_idle -= 1;
        self.stats.live_bytes += map.len();
        self.stats.regions_live += 1;
        self.stats.hits += 1;
        Some(map)
    }

    fn count_fresh(&mut self, capacity: usize) {
        self.stats.live_bytes += capacity;
        self.stats.regions_live += 1;
        self.stats.misses += 1;
    }

    fn keep(&mut self, map: MmapMut) {
        self.stats.idle_bytes += map.len();
        self.stats.regions_idle += 1;
        self.idle.entry(map.len()).or_default().push(Idle { map, since: Instant::now() });
    }

    /// Take out the regions that have been idle since `moment` or longer; all of them for `None`.
    fn take_idle_since(&mut self, moment: Option<Instant>) -> Vec<MmapMut> {
        let mut taken = Vec::new();
        for list in self.idle.values_mut() {
            let stale =
                list.iter().take_while(|idle| moment.is_none_or(|moment| idle.since <= moment)).count();
            taken.extend(list.drain(..stale).map(|idle| idle.map));
        }
        self.idle.retain(|_, list| !list.is_empty());
        self.stats.idle_bytes -= taken.iter().map(|map| map.len()).sum::<usize>();
        self.stats.regions_idle -= taken.len();
        taken
    }

    fn oldest_idle(&self) -> Option<Instant> {
        self.idle.values().filter_map(|list| list.first()).map(|idle| idle.since).min()
    }
}

/// The thread that unmaps what is over the cap or has been idle too long. Ends with its pool.
struct Janitor;

impl Janitor {
    /// Whether it could be started; without it, the next region to come back tries again.
    fn start(shared: &Arc<Shared>) -> bool {
        let shared = Arc::downgrade(shared);
        std::thread::Builder::new().name("mcpgateway-pool".into()).spawn(move || Self::run(&shared)).is_ok()
    }

    fn run(pool: &Weak<Shared>) {
        while let Some(shared) = pool.upgrade() {
            let unwanted = Self::wait_for_unwanted(&shared);
            drop(unwanted);
        }
    }

    /// Wait for a region to unmap, at most `IDLE_FOR`, so that the end of the pool is noticed.
    fn wait_for_unwanted(shared: &Shared) -> Vec<Box<dyn Send>> {
        let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = state
            .oldest_idle()
            .map_or(IDLE_FOR, |since| (since + IDLE_FOR).saturating_duration_since(Instant::now()));
        let (mut state, _) = shared
            .wake
            .wait_timeout_while(state, patience, |state| state.discarded.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let mut unwanted = std::mem::take(&mut state.discarded);
        if let Some(moment) = Instant::now().checked_sub(IDLE_FOR) {
            unwanted.extend(state.take_idle_since(Some(moment)).into_iter().map(|map| Box::new(map) as _));
        }
        unwanted
    }
}

/// The capacity for a body of `len` bytes: four steps to each power of two, so at most a quarter is
/// left over, and whole huge pages from 2 MiB on.
fn size_class(len: usize) -> io::Result<usize> {
    let len = len.max(SMALLEST);
    let least_step = if len >= HUGE_PAGE { HUGE_PAGE } else { SMALLEST / 4 };
    len.checked_next_power_of_two()
        .and_then(|power| len.checked_next_multiple_of((power / 8).max(least_step)))
        .filter(|capacity| isize::try_from(*capacity).is_ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "the region would be larger than memory"))
}

fn map_fresh(capacity: usize) -> io::Result<MmapMut> {
    let map = MmapMut::map_anon(capacity)?;
    if capacity >= HUGE_PAGE {
        sys::advise_huge_pages(&map);
    }
    Ok(map)
}

/// Bytes of memory that this process may hope for, and no more than makes sense to keep idle.
fn memory_of_this_machine() -> usize {
    machine::memory_limit().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST_IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn body(pool: &Pool, len: usize) -> Bytes {
        let mut region = pool.allocate(len).expect("memory for a test");
        region.write(&vec![7; len]).expect("memory for a test");
        region.freeze().into()
    }

    #[test]
    fn a_region_is_used_again_when_its_last_view_is_gone() {
        let pool = Pool::new(64 << 20);
        let first = body(&pool, 4 << 20);
        let view = first.slice(10..20);
        drop(first);
        assert_eq!(pool.stats().regions_idle, 0);
        drop(view);
        assert_eq!((pool.stats().regions_idle, pool.stats().live_bytes), (1, 0));
        drop(body(&pool, 4 << 20));
        assert_eq!((pool.stats().hits, pool.stats().misses), (1, 1));
    }

    #[test]
    fn a_view_keeps_its_bytes_while_others_come_and_go() {
        let pool = Pool::new(64 << 20);
        let kept = body(&pool, 1 << 20);
        for _ in 0..100 {
            let mut region = pool.allocate(1 << 20).expect("memory for a test");
            region.write(&vec![9; 1 << 20]).expect("memory for a test");
        }
        assert!(kept.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn what_is_over_the_cap_is_not_kept() {
        let pool = Pool::new(1 << 20);
        let bodies: Vec<Bytes> = (0..4).map(|_| body(&pool, 1 << 20)).collect();
        drop(bodies);
        assert_eq!(pool.stats().idle_bytes, 1 << 20);
    }

    #[test]
    fn a_region_grows_and_keeps_its_bytes() {
        let pool = Pool::new(64 << 20);
        let mut region = pool.allocate(1).expect("memory for a test");
        for round in 0..100_u8 {
            region.write(&vec![round; 100_000]).expect("memory for a test");
        }
        let region = region.freeze();
        assert_eq!(region.len(), 10_000_000);
        assert!(
            region.chunks(100_000).zip(0_u8..).all(|(chunk, round)| chunk.iter().all(|byte| *byte == round))
        );
        drop(region);
        assert_eq!((pool.stats().live_bytes, pool.stats().regions_live), (0, 0));
    }

    /// A body whose length nobody knew beforehand.
    fn grown(pool: &Pool, len: usize) -> Bytes {
        let mut region = pool.allocate(1).expect("memory for a test");
        for chunk in vec![7; len].chunks(100_000) {
            region.write(chunk).expect("memory for a test");
        }
        region.freeze().into()
    }

    #[test]
    fn bodies_that_grow_one_after_the_other_use_the_same_memory() {
        let pool = Pool::new(256 << 20);
        let sevens = vec![7; 16 << 20];
        drop(grown(&pool, sevens.len()));
        let first = pool.stats().idle_bytes;
        for _ in 0..5 {
            assert!(grown(&pool, sevens.len()) == sevens);
        }
        let PoolStats { idle_bytes, live_bytes, .. } = pool.stats();
        assert!(idle_bytes < first + first / 8 && live_bytes == 0, "{idle_bytes} bytes, {first} after one");
    }

    #[test]
    fn a_body_that_grew_in_more_room_than_it_needs_gives_the_room_back() {
        let pool = Pool::new(256 << 20);
        drop(body(&pool, 16 << 20));
        let small = grown(&pool, 2 << 20);
        assert!(small == vec![7; 2 << 20]);
        assert_eq!((pool.stats().live_bytes, pool.stats().regions_live), (2 << 20, 1));
        drop(body(&pool, 16 << 20));
        assert_eq!(pool.stats().regions_idle, 2, "that of 16 MiB is there, and where the small body began");
    }

    #[test]
    fn a_size_that_no_machine_has_is_an_error() {
        let pool = Pool::new(0);
        assert_eq!(pool.allocate(usize::MAX).expect_err("too large").kind(), io::ErrorKind::OutOfMemory);
        assert!(pool.allocate(1 << 60).is_err());
        assert_eq!(pool.stats().live_bytes, 0);
    }

    #[test]
    fn trimming_gives_everything_back() {
        let pool = Pool::new(64 << 20);
        drop([body(&pool, 1 << 20), body(&pool, 3 << 20)]);
        assert_eq!(pool.stats().regions_idle, 2);
        pool.trim();
        assert_eq!((pool.stats().regions_idle, pool.stats().idle_bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn a_size_class_fits_and_wastes_at_most_a_quarter(len in 1_usize..1 << 40) {
            let capacity = size_class(len).expect("a size that can be");
            prop_assert!(capacity >= len.max(SMALLEST));
            prop_assert!(capacity - len <= (len / 4).max(SMALLEST).max(HUGE_PAGE.min(len)));
            prop_assert_eq!(size_class(capacity).expect("its own class"), capacity);
        }
    }
}
