//! Budgets: asked before anything is allocated, shared by all workers of a directory.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use crate::directory::{Directory, name};
use crate::id::Id;
use crate::lease::{self, Lease};
use crate::ledger::{self, Ledger, Locked, Slot, Table};
use crate::sweep;
use crate::{Error, ErrorKind, Result, generation};

/// How much all workers of a spool directory may hold together, in bytes.
///
/// Clones share it.
#[derive(Clone)]
pub struct Budget {
    account: Arc<Account>,
}

/// The limits of a [`Budget`], in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For bodies in memory, of all workers and tenants.
    pub memory: u64,
    /// For bodies in files, of all workers and tenants.
    pub disk: u64,
    /// The part of `memory` that one tenant may have.
    pub tenant_memory: u64,
    /// The part of `disk` that one tenant may have.
    pub tenant_disk: u64,
}

/// Bytes in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of bodies in memory.
    pub memory: u64,
    /// Bytes of bodies in files.
    pub disk: u64,
}

/// What a budget is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Memory,
    Disk,
}

impl Budget {
    /// Open an account for this worker: take a lease and a slot in the ledger.
    pub(crate) fn open(directory: Arc<Directory>, limits: Limits, tenant: &str) -> Result<Self> {
        let mut ledger = Ledger::open(&directory)?;
        let locked = ledger.lock(&directory)?;
        let lease = Lease::take(&directory, Id::random()?, tenant)?;
        let tenant = hash_of(tenant);
        let slot = Slot { owner: lease.id(), tenant, memory: 0, disk: 0, pid: std::process::id() };
        if let Err(error) = locked.put(&mut locked.read()?, slot) {
            let _ = directory.remove(&name::worker(lease.id()));
            return Err(error);
        }
        drop(locked);
        let state = Mutex::new(State { ledger, used: Usage::default(), swept: None });
        let account = Account { directory, lease, limits, tenant, generation: generation(), state };
        Ok(Self { account: Arc::new(account) })
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.account.limits
    }

    /// What this worker holds: nothing in a forked child, whose parent's it is.
    #[must_use]
    pub fn used_here(&self) -> Usage {
        if self.account.check_process().is_err() {
            return Usage::default();
        }
        self.account.state().used
    }

    /// What all workers hold, and the durable payloads.
    ///
    /// # Errors
    /// When the ledger cannot be read; [`ErrorKind::Unsupported`] in a forked child, which has the budget
    /// of [`Spool::budget`](crate::Spool::budget) for itself.
    pub fn used(&self) -> Result<Usage> {
        self.account.check_process()?;
        let deadline = ledger::deadline();
        let mut state = self.account.state();
        let State { ledger, used, .. } = &mut *state;
        let table = ledger.lock_before(deadline, &self.account.directory)?.read()?;
        Ok(self.account.total(&table, *used, |_| true))
    }

    /// An empty charge, to be grown.
    pub(crate) fn charge(&self, resource: Resource) -> Charge {
        Charge { account: Arc::clone(&self.account), resource, bytes: 0 }
    }

    pub(crate) fn downgrade(&self) -> WeakBudget {
        WeakBudget { account: Arc::downgrade(&self.account) }
    }

    pub(crate) fn worker(&self) -> Id {
        self.account.lease.id()
    }

    pub(crate) fn tenant(&self) -> u64 {
        self.account.tenant
    }

    /// Whether worker `id` lives.
    pub(crate) fn lives(&self, id: Id) -> Result<bool> {
        let directory = &self.account.directory;
        let mut ledger = Ledger::open(directory)?;
        let _locked = ledger.lock(directory)?;
        Ok(!lease::is_free(directory, id))
    }

    /// Write this worker's slot again, should somebody have damaged it, and let no file of ours grow old.
    pub(crate) fn publish(&self) -> Result<()> {
        // Only for who cleans up by age: not a reason to leave the slot as it is.
        let _ = self.account.lease.touch();
        let _ = self.account.directory.touch(name::KEY);
        let mut state = self.account.state();
        let State { ledger, used, .. } = &mut *state;
        let locked = ledger.lock(&self.account.directory)?;
        self.account.write_down(&locked, &mut locked.read()?, *used)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limits", &self.limits()).finish()
    }
}

/// A budget that does not keep its account open.
pub(crate) struct WeakBudget {
    account: Weak<Account>,
}

impl WeakBudget {
    pub(crate) fn upgrade(&self) -> Option<Budget> {
        self.account.upgrade().map(|account| Budget { account })
    }
}

/// The hash of a tenant's name, as the ledger has it.
pub(crate) fn hash_of(tenant: &str) -> u64 {
    xxh3_64(tenant.as_bytes())
}

/// Bytes of a budget that a body holds; given back when it is dropped.
///
/// Not by a forked child: what it inherited is its parent's.
pub(crate) struct Charge {
    account: Arc<Account>,
    resource: Resource,
    bytes: u64,
}

impl Charge {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn resource(&self) -> Resource {
        self.resource
    }

    /// Hold at least `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when that is over a limit; what was held stays held.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            self.account.take(self.resource, more)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Hold at most `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.account.give_back(self.resource, less);
            self.bytes = bytes;
        }
    }

    /// All that is held, for another owner.
    pub(crate) fn take(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { account: Arc::clone(&self.account), resource: self.resource, bytes }
    }

    /// Let the tenant's durable payloads have these bytes on disk, which no worker gives back: `publish`
    /// gives their file the name under which a sweep counts it.
    ///
    /// All of it under the lock of the ledger: a sweep finds the bytes here or there, never neither.
    ///
    /// # Errors
    /// When the ledger cannot be written, or `publish` fails: then the bytes are still held here.
    pub(crate) fn make_durable(&mut self, publish: impl FnOnce() -> Result<()>) -> Result<()> {
        let account = &*self.account;
        let mut state = account.state();
        let State { ledger, used, .. } = &mut *state;
        let locked = ledger.lock(&account.directory)?;
        let mut table = locked.read()?;
        let before = account.durable_slot(&table);
        let after = Slot { disk: before.disk.saturating_add(self.bytes), ..before.clone() };
        locked.put(&mut table, after)?;
        if let Err(error) = publish() {
            // Should this fail, the next sweep does it.
            let _ = locked.put(&mut table, before);
            return Err(error);
        }
        *used.of_mut(self.resource) -= self.bytes;
        self.bytes = 0;
        // If the ledger cannot be written now, the next change or the next minute does it.
        let _ = account.write_down(&locked, &mut table, *used);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({:?}, {})", self.resource, self.bytes)
    }
}

/// The account of one worker: its lease, and what it uses.
struct Account {
    directory: Arc<Directory>,
    lease: Lease,
    limits: Limits,
    tenant: u64,
    generation: u64,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger,
    /// The truth about this worker; its slot in the ledger says the same to the others.
    used: Usage,
    /// When this worker last swept before it refused.
    swept: Option<Instant>,
}

/// Who asks for more than there is does not make all others wait for a sweep more often than this.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a fork copied is the parent's, its mutex perhaps locked for ever.
    fn check_process(&self) -> Result<()> {
        if self.generation == generation() {
            return Ok(());
        }
        let subject = "the budget is that of the parent of this forked process";
        Err(Error::new(ErrorKind::Unsupported, subject))
    }

    fn take(&self, resource: Resource, bytes: u64) -> Result<()> {
        self.check_process()?;
        // Who waits for another thread first is not more patient for that.
        let deadline = ledger::deadline();
        let mut state = self.state();
        let State { ledger, used, swept } = &mut *state;
        let locked = ledger.lock_before(deadline, &self.directory)?;
        let mut table = self.admit(&locked, *used, swept, resource, bytes)?;
        let mut after = *used;
        let sum = after.of(resource).checked_add(bytes);
        *after.of_mut(resource) = sum.expect("admitted: even the sum of all workers is a number");
        self.write_down(&locked, &mut table, after)?;
        *used = after;
        Ok(())
    }

    fn give_back(&self, resource: Resource, bytes: u64) {
        if self.generation != generation() {
            return;
        }
        let deadline = ledger::deadline();
        let mut state = self.state();
        let State { ledger, used, .. } = &mut *state;
        *used.of_mut(resource) -= bytes;
        // If the ledger cannot be written now, the next change or the next minute does it.
        if let Ok(locked) = ledger.lock_before(deadline, &self.directory)
            && let Ok(mut table) = locked.read()
        {
            let _ = self.write_down(&locked, &mut table, *used);
        }
    }

    /// The ledger, if `bytes` more are within the limits; what nobody needs is swept before refusing,
    /// where that can help and was not done just now.
    fn admit(
        &self,
        locked: &Locked<'_>,
        used: Usage,
        swept: &mut Option<Instant>,
        resource: Resource,
        bytes: u64,
    ) -> Result<Table> {
        let mut table = locked.read()?;
        if let Err(refused) = self.check(&table, used, resource, bytes) {
            let just_now = swept.is_some_and(|swept| swept.elapsed() < BETWEEN_SWEEPS);
            if just_now || self.check(&Table::default(), Usage::default(), resource, bytes).is_err() {
                return Err(refused);
            }
            *swept = Some(Instant::now());
            sweep::sweep_locked(locked, &mut table)?;
            self.check(&table, used, resource, bytes)?;
        }
        Ok(table)
    }

    fn check(&self, table: &Table, used: Usage, resource: Resource, bytes: u64) -> Result<()> {
        let all = self.total(table, used, |_| true).of(resource);
        let tenant = self.total(table, used, |slot| slot.tenant == self.tenant).of(resource);
        let ((limit, value), (tenant_limit, tenant_value)) = self.limits.of(resource);
        within(limit, value, all, bytes)?;
        within(tenant_limit, tenant_value, tenant, bytes)
    }

    /// What this worker and the others that `count` selects use together.
    fn total(&self, table: &Table, used: Usage, count: impl Fn(&Slot) -> bool) -> Usage {
        let others = table.slots().filter(|slot| slot.owner != self.lease.id() && count(slot));
        others.fold(used, |sum, slot| Usage {
            memory: sum.memory.saturating_add(slot.memory),
            disk: sum.disk.saturating_add(slot.disk),
        })
    }

    /// What the ledger says about the tenant's durable payloads.
    fn durable_slot(&self, table: &Table) -> Slot {
        let owner = Slot::durable(self.tenant);
        let none = Slot { owner, tenant: self.tenant, memory: 0, disk: 0, pid: 0 };
        table.slot_of(owner).cloned().unwrap_or(none)
    }

    fn write_down(&self, locked: &Locked<'_>, table: &mut Table, used: Usage) -> Result<()> {
        let Usage { memory, disk } = used;
        let pid = std::process::id();
        locked.put(table, Slot { owner: self.lease.id(), tenant: self.tenant, memory, disk, pid })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.generation != generation() {
            return;
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Ok(locked) = state.ledger.lock(&self.directory)
            && let Ok(mut table) = locked.read()
        {
            let _ = locked.remove(&mut table, self.lease.id());
            let _ = self.directory.remove(&name::worker(self.lease.id()));
        }
        // Else the next sweep does it: the lease is free as soon as its file is closed.
    }
}

fn within(limit: &'static str, value: u64, used: u64, more: u64) -> Result<()> {
    match used.checked_add(more) {
        Some(asked) if asked <= value => Ok(()),
        asked => Err(over(limit, value, more, asked.unwrap_or(u64::MAX))),
    }
}

fn over(limit: &'static str, value: u64, more: u64, asked: u64) -> Error {
    let subject = format!("{more} bytes more would be {asked}, over {limit} ({value} bytes)");
    Error::new(ErrorKind::QuotaExceeded { limit, value, asked }, subject)
}

impl Usage {
    fn of(self, resource: Resource) -> u64 {
        match resource {
            Resource::Memory => self.memory,
            Resource::Disk => self.disk,
        }
    }

    fn of_mut(&mut self, resource: Resource) -> &mut u64 {
        match resource {
            Resource::Memory => &mut self.memory,
            Resource::Disk => &mut self.disk,
        }
    }
}

impl Limits {
    /// Name and value of the limit for all, and of that for a tenant.
    fn of(&self, resource: Resource) -> ((&'static str, u64), (&'static str, u64)) {
        match resource {
            Resource::Memory => (("memory_budget", self.memory), ("tenant_memory", self.tenant_memory)),
            Resource::Disk => (("disk_budget", self.disk), ("tenant_disk", self.tenant_disk)),
        }
    }
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn limits(memory: u64, tenant_memory: u64) -> Limits {
        Limits { memory, disk: 0, tenant_memory, tenant_disk: 0 }
    }

    fn directory() -> (tempfile::TempDir, Arc<Directory>) {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(Some(&outer.path().join("spool"))).expect("private");
        (outer, Arc::new(directory))
    }

    fn refused(error: &Error) -> (&'static str, u64, u64) {
        match error.kind() {
            ErrorKind::QuotaExceeded { limit, value, asked } => (limit, value, asked),
            other => panic!("not a quota: {other:?}"),
        }
    }

    #[test]
    fn all_workers_together_stay_within_the_limit() {
        let (_outer, directory) = directory();
        let open = || Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        let (one, two) = (open(), open());
        let mut first = one.charge(Resource::Memory);
        first.grow_to(60).expect("room");
        let mut second = two.charge(Resource::Memory);
        let error = second.grow_to(41).expect_err("full");
        assert_eq!(refused(&error), ("memory_budget", 100, 101));
        second.grow_to(40).expect("room");
        assert_eq!(one.used().expect("read").memory, 100);
        drop(first);
        second.grow_to(100).expect("room again");
        drop(second);
        assert_eq!(two.used().expect("read"), Usage::default());
    }

    #[test]
    fn a_tenant_has_its_share_and_no_more() {
        let (_outer, directory) = directory();
        let open =
            |tenant: &str| Budget::open(Arc::clone(&directory), limits(100, 60), tenant).expect("a slot");
        let (one, two, other) = (open("a"), open("a"), open("b"));
        let mut first = one.charge(Resource::Memory);
        first.grow_to(50).expect("room");
        let error = two.charge(Resource::Memory).grow_to(11).expect_err("over the share");
        assert_eq!(refused(&error), ("tenant_memory", 60, 61));
        other.charge(Resource::Memory).grow_to(50).expect("another tenant has its own share");
    }

    #[test]
    fn an_account_that_ends_leaves_nothing() {
        let (outer, directory) = directory();
        let budget = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        let mut charge = budget.charge(Resource::Memory);
        charge.grow_to(10).expect("room");
        drop(budget);
        let count = || std::fs::read_dir(outer.path().join("spool")).expect("listed").count();
        assert_eq!(count(), 2, "the ledger, and the lease that the charge keeps");
        drop(charge);
        assert_eq!(count(), 1);
        let mut ledger = Ledger::open(&directory).expect("opened");
        assert_eq!(ledger.lock(&directory).expect("free").read().expect("read").slots().count(), 0);
    }

    #[test]
    fn the_share_of_a_dead_worker_is_given_to_who_asks() {
        let (_outer, directory) = directory();
        let mut ledger = Ledger::open(&directory).expect("opened");
        let locked = ledger.lock(&directory).expect("free");
        let dead = Slot { owner: Id([7; 16]), tenant: 0, memory: 100, disk: 0, pid: 1 };
        locked.put(&mut locked.read().expect("read"), dead).expect("room");
        drop(locked);
        let budget = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        assert_eq!(budget.used().expect("read").memory, 100);
        budget.charge(Resource::Memory).grow_to(100).expect("nobody holds that lease");
    }

    #[test]
    fn a_durable_payload_counts_while_it_is_copied_and_once_it_is_kept() {
        let (_outer, directory) = directory();
        let limits = Limits { disk: 100, tenant_disk: 100, ..limits(0, 0) };
        let budget = Budget::open(Arc::clone(&directory), limits, "a").expect("a slot");
        let disk = || {
            sweep::sweep_directory(&directory).expect("swept");
            (budget.used().expect("read").disk, budget.used_here().disk)
        };
        let mut charge = budget.charge(Resource::Disk);
        charge.grow_to(60).expect("room");
        let partial = directory.create_partial().expect("created");
        partial.file().set_len(60).expect("room");
        assert_eq!(disk(), (60, 60), "while it is copied");
        let fails = || Err(Error::new(ErrorKind::Io, "no"));
        assert_eq!(charge.make_durable(fails).expect_err("refused").kind(), ErrorKind::Io);
        assert_eq!((budget.used().expect("read").disk, disk()), (60, (60, 60)), "still a copy");
        let name = name::payload(Id([1; 16]), budget.tenant(), u64::MAX);
        charge
            .make_durable(|| partial.keep_as(&name).map(drop).map_err(|cause| directory.error("", cause)))
            .expect("kept");
        assert_eq!((budget.used().expect("read").disk, disk()), (60, (60, 0)), "kept");
        let error = budget.charge(Resource::Disk).grow_to(41).expect_err("full");
        assert_eq!(refused(&error), ("disk_budget", 100, 101));
        drop(charge);
        assert_eq!(disk(), (60, 0));
    }

    #[test]
    fn who_asks_for_more_than_the_limit_does_not_cause_a_sweep() {
        let (_outer, directory) = directory();
        let budget = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        let mut ledger = Ledger::open(&directory).expect("opened");
        let locked = ledger.lock(&directory).expect("free");
        let dead = Slot { owner: Id([7; 16]), tenant: 0, memory: 100, disk: 0, pid: 1 };
        locked.put(&mut locked.read().expect("read"), dead).expect("room");
        drop(locked);
        let error = budget.charge(Resource::Memory).grow_to(101).expect_err("over the limit");
        assert_eq!(refused(&error), ("memory_budget", 100, 201));
        assert_eq!(budget.used().expect("read").memory, 100, "the dead worker's share is still there");
        let error = budget.charge(Resource::Memory).grow_to(u64::MAX).expect_err("over the limit");
        assert_eq!(refused(&error), ("memory_budget", 100, u64::MAX));
    }

    #[test]
    fn no_file_that_a_worker_needs_grows_old() {
        let (_outer, directory) = directory();
        let budget = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        crate::key::Key::load(&directory).expect("made");
        let zero = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
        let long_ago = rustix::fs::Timestamps { last_access: zero, last_modification: zero };
        let names = [name::worker(budget.worker()), name::KEY.into(), name::LEDGER.into()];
        for name in &names {
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::utimensat(&*directory, name.as_str(), &long_ago, flags).expect("ours");
        }
        budget.publish().expect("written");
        assert!(names.iter().all(|name| directory.stat(name).expect("there").st_mtime > 0));
    }

    #[test]
    fn a_damaged_ledger_is_written_anew() {
        let (outer, directory) = directory();
        let budget = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        let other = Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot");
        let mut charge = budget.charge(Resource::Memory);
        charge.grow_to(30).expect("room");
        std::fs::write(outer.path().join("spool").join(name::LEDGER), [0xa5; 300]).expect("damaged");
        charge.grow_to(40).expect("room");
        assert_eq!(other.used().expect("read").memory, 40);
        std::fs::write(outer.path().join("spool").join(name::LEDGER), "").expect("damaged");
        budget.publish().expect("written");
        assert_eq!(other.used().expect("read").memory, 40);
    }

    #[test]
    fn threads_that_race_never_exceed_the_limit() {
        let (_outer, directory) = directory();
        let budgets: Vec<Budget> = (0..4)
            .map(|_| Budget::open(Arc::clone(&directory), limits(100, 100), "a").expect("a slot"))
            .collect();
        std::thread::scope(|scope| {
            for budget in &budgets {
                scope.spawn(move || {
                    for _ in 0..200 {
                        let mut charge = budget.charge(Resource::Memory);
                        let _ = charge.grow_to(30);
                        assert!(budget.used().expect("read").memory <= 100);
                    }
                });
            }
        });
        assert_eq!(budgets[0].used().expect("read"), Usage::default());
    }
}
