//! Removing what dead workers left and what has expired, and listing what is there.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::budget::{Budget, Usage};
use crate::directory::{Directory, name};
use crate::id::Id;
use crate::lease;
use crate::ledger::{Ledger, Locked, Slot, Table};
use crate::reference::now;

/// How often a spool sweeps its directory.
const EVERY: Duration = Duration::from_secs(60);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Dead workers whose part of the budget was given back.
    pub workers: usize,
    /// The bytes they held.
    pub returned: Usage,
    /// Durable payloads that had expired.
    pub payloads: usize,
    /// Bytes of these payloads.
    pub payload_bytes: u64,
    /// Leases, sockets and half-written files of dead workers.
    pub files: usize,
}

/// What a spool directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The workers, living and dead.
    pub workers: Vec<Worker>,
    /// The durable payloads.
    pub payloads: Vec<DurablePayload>,
    /// Half-written files.
    pub partial_files: usize,
    /// Files that are none of ours; they are left alone.
    pub foreign_files: usize,
}

/// A worker, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its id in this directory.
    pub id: Id,
    /// Its process, as it sees itself.
    pub pid: u32,
    /// Whose payloads it spools; empty if that is not known any more.
    pub tenant: String,
    /// Whether it lives: what a dead one holds is given back by the next sweep.
    pub alive: bool,
    /// The bytes it holds.
    pub used: Usage,
}

/// A payload in a file that outlives its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurablePayload {
    /// Its id.
    pub id: Id,
    /// Bytes of its file.
    pub bytes: u64,
    /// When it is removed.
    pub expires: SystemTime,
}

/// Remove from a spool directory (`None`: the default one) what dead workers left, and the durable
/// payloads that have expired. Files that are none of ours are left alone.
///
/// # Errors
/// When the directory cannot be used, or its ledger is locked for more than two seconds.
pub fn sweep(directory: Option<&Path>) -> Result<SweepReport> {
    sweep_directory(&Directory::open(directory)?)
}

/// What a spool directory (`None`: the default one) holds.
///
/// # Errors
/// When the directory cannot be used, or its ledger is locked for more than two seconds.
pub fn list(directory: Option<&Path>) -> Result<Listing> {
    let directory = Directory::open(directory)?;
    let mut ledger = Ledger::open(&directory)?;
    let locked = ledger.lock(&directory)?;
    let mut listing = Listing { workers: list_workers(&locked)?, ..Listing::default() };
    for name in directory.names()? {
        match name::parse(&name) {
            Some(name::Kind::Payload { id, expires, .. }) => {
                let expires = UNIX_EPOCH.checked_add(Duration::from_millis(expires)).unwrap_or(UNIX_EPOCH);
                let bytes = size_of(&directory, &name);
                listing.payloads.push(DurablePayload { id, bytes, expires });
            }
            Some(name::Kind::Partial) => listing.partial_files += 1,
            Some(name::Kind::Worker(_) | name::Kind::Socket(_)) => {}
            None if [".", "..", name::LEDGER, name::KEY].contains(&name.as_str()) => {}
            None => listing.foreign_files += 1,
        }
    }
    Ok(listing)
}

fn list_workers(locked: &Locked<'_>) -> Result<Vec<Worker>> {
    let table = locked.read()?;
    let workers = table.slots().filter(|slot| !slot.is_durable()).map(|slot| {
        let (id, directory) = (slot.owner, locked.directory());
        let tenant = lease::holder(directory, id).map(|(_, tenant)| tenant).unwrap_or_default();
        let used = Usage { memory: slot.memory, disk: slot.disk };
        Worker { id, pid: slot.pid, tenant, alive: !lease::is_free(directory, id), used }
    });
    Ok(workers.collect())
}

pub(crate) fn sweep_directory(directory: &Directory) -> Result<SweepReport> {
    let mut ledger = Ledger::open(directory)?;
    let locked = ledger.lock(directory)?;
    sweep_locked(&locked, &mut locked.read()?)
}

/// Sweep while the lock of the ledger is held.
pub(crate) fn sweep_locked(locked: &Locked<'_>, table: &mut Table) -> Result<SweepReport> {
    let mut report = SweepReport::default();
    for slot in forget_the_dead(locked, table)? {
        report.workers += 1;
        report.returned.memory = report.returned.memory.saturating_add(slot.memory);
        report.returned.disk = report.returned.disk.saturating_add(slot.disk);
    }
    let durable = sweep_files(locked.directory(), &mut report)?;
    write_durable(locked, table, &durable)?;
    Ok(report)
}

/// Free the slots of workers that are gone; what they held is returned.
fn forget_the_dead(locked: &Locked<'_>, table: &mut Table) -> Result<Vec<Slot>> {
    let workers = table.slots().filter(|slot| !slot.is_durable());
    let dead: Vec<Id> =
        workers.map(|slot| slot.owner).filter(|owner| lease::is_free(locked.directory(), *owner)).collect();
    let mut freed = Vec::new();
    for owner in dead {
        freed.extend(locked.remove(table, owner)?);
    }
    Ok(freed)
}

/// Remove the files that nobody needs; what is left of durable payloads, in bytes by tenant.
fn sweep_files(directory: &Directory, report: &mut SweepReport) -> Result<HashMap<u64, u64>> {
    let now = now();
    let mut durable = HashMap::new();
    for name in directory.names()? {
        let unneeded = match name::parse(&name) {
            Some(name::Kind::Worker(_) | name::Kind::Partial) => lease::is_free_file(directory, &name),
            Some(name::Kind::Socket(id)) => lease::is_free(directory, id),
            Some(name::Kind::Payload { tenant, expires, .. }) => {
                sweep_payload(directory, &name, expires <= now, durable.entry(tenant).or_default(), report);
                false
            }
            None => false,
        };
        if unneeded && directory.remove(&name).is_ok() {
            report.files += 1;
        }
    }
    Ok(durable)
}

fn sweep_payload(directory: &Directory, name: &str, expired: bool, kept: &mut u64, report: &mut SweepReport) {
    let bytes = size_of(directory, name);
    if expired && directory.remove(name).is_ok() {
        report.payloads += 1;
        report.payload_bytes += bytes;
    } else {
        *kept = kept.saturating_add(bytes);
    }
}

fn size_of(directory: &Directory, name: &str) -> u64 {
    directory.stat(name).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
}

/// Let the ledger say what was counted.
fn write_durable(locked: &Locked<'_>, table: &mut Table, bytes: &HashMap<u64, u64>) -> Result<()> {
    let before: Vec<Slot> = table.slots().filter(|slot| slot.is_durable()).cloned().collect();
    for slot in before.iter().filter(|slot| bytes.get(&slot.tenant).is_none_or(|bytes| *bytes == 0)) {
        locked.remove(table, slot.owner)?;
    }
    for (&tenant, &disk) in bytes.iter().filter(|(_, bytes)| **bytes > 0) {
        let slot = Slot { owner: Slot::durable(tenant), tenant, memory: 0, disk, pid: 0 };
        if table.slot_of(slot.owner) != Some(&slot) {
            locked.put(table, slot)?;
        }
    }
    Ok(())
}

/// The thread that sweeps every minute; ends soon after this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
}

impl Keeper {
    /// Without a thread to spare nothing is swept until the next start of a spool, which is no reason
    /// not to have one.
    pub(crate) fn start(directory: &Arc<Directory>, budget: &Budget) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (seen, directory, budget) = (Arc::clone(&stop), Arc::clone(directory), budget.downgrade());
        let run = move || {
            while !Self::stopped(&seen) {
                if let Some(budget) = budget.upgrade() {
                    let _ = budget.publish();
                }
                let _ = sweep_directory(&directory);
            }
        };
        let _ = std::thread::Builder::new().name("mcpgateway-sweep".into()).spawn(run);
        Self { stop }
    }

    /// Whether it is over, after waiting for that as long as a minute.
    fn stopped((stop, told): &(Mutex<bool>, Condvar)) -> bool {
        let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, _) =
            told.wait_timeout_while(stop, EVERY, |stop| !*stop).unwrap_or_else(PoisonError::into_inner);
        *stop
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let (stop, told) = &*self.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.notify_one();
    }
}
