//! The ledger: one small file in the directory, in which each worker writes down what it uses.
//!
//! An array of [`Slot`]s of 64 bytes, each with a checksum of its own: a damaged or missing slot is a
//! free one, and its owner writes it again with the next change. It is read and written only while its
//! lock is held, and never mapped, so a file that somebody shortened is no more than slots that are
//! missing. The lock is the kernel's: a worker that dies holding it gives it back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use crate::directory::{Directory, name};
use crate::fork::ClosedInChild;
use crate::id::Id;
use crate::sys;
use crate::{Error, ErrorKind, Result};

/// Bytes of a slot in the file.
const SLOT: usize = 64;
/// Bytes of a slot that its checksum is about.
const CHECKED: usize = SLOT - 8;
/// At most this many workers share a directory.
const MOST_SLOTS: usize = 1024;
/// The lock is held for microseconds: a worker that keeps it longer was stopped by somebody.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger of a directory, open in this process.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: ClosedInChild,
}

impl Ledger {
    pub(crate) fn open(directory: &Directory) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let opened = match directory.open_file(name::LEDGER, flags) {
            // A directory, a link or a FIFO in its place: make room, if that can be done by unlinking.
            Err(cause) if !is_lack_of_resources(&cause) && directory.remove(name::LEDGER).is_ok() => {
                directory.open_file(name::LEDGER, flags)
            }
            opened => opened,
        };
        let file = opened.map_err(|cause| directory.error("opening its ledger", cause))?;
        Ok(Self { file: ClosedInChild::new(file) })
    }

    /// Wait for the lock, at most two seconds.
    pub(crate) fn lock<'a>(&'a mut self, directory: &'a Directory) -> Result<Locked<'a>> {
        self.lock_before(deadline(), directory)
    }

    /// Wait for the lock, until then.
    pub(crate) fn lock_before<'a>(
        &'a mut self,
        deadline: Instant,
        directory: &'a Directory,
    ) -> Result<Locked<'a>> {
        loop {
            lock(&self.file, deadline, directory)?;
            // Somebody may have removed or replaced the file since it was opened.
            if is_named(&self.file, directory) {
                return Ok(Locked { file: &self.file, directory });
            }
            *self = Self::open(directory)?;
        }
    }
}

/// Until when who starts now waits for the lock.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn is_lack_of_resources(cause: &io::Error) -> bool {
    matches!(Errno::from_io_error(cause), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC))
}

fn is_named(file: &File, directory: &Directory) -> bool {
    let Ok(named) = directory.stat(name::LEDGER) else { return false };
    rustix::fs::fstat(file).is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino))
}

fn lock(file: &File, deadline: Instant, directory: &Directory) -> Result<()> {
    let mut pause = Duration::from_micros(5);
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            Err(errno) => return Err(directory.error("locking its ledger", errno)),
        }
    }
}

/// The ledger while this process, and no other, may use it.
pub(crate) struct Locked<'a> {
    file: &'a File,
    directory: &'a Directory,
}

impl Locked<'_> {
    pub(crate) fn directory(&self) -> &Directory {
        self.directory
    }

    /// What the file says.
    pub(crate) fn read(&self) -> Result<Table> {
        let mut bytes = vec![0; MOST_SLOTS * SLOT];
        let mut filled = 0;
        loop {
            match self.file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.directory.error("reading its ledger", cause)),
            }
        }
        Ok(Table { slots: bytes[..filled].chunks_exact(SLOT).map(Slot::decode).collect() })
    }

    /// Write `slot` where its owner's is, or into the first free place.
    pub(crate) fn put(&self, table: &mut Table, slot: Slot) -> Result<()> {
        let place = table.place_of(slot.owner).or_else(|| table.free_place()).ok_or_else(|| {
            let subject = format!(
                "spool directory {}: {MOST_SLOTS} workers use it already",
                self.directory.path().display()
            );
            Error::new(ErrorKind::Unsupported, subject)
        })?;
        self.write(place, Some(&slot))?;
        table.set(place, Some(slot));
        Ok(())
    }

    /// Free the slot of `owner`, if it has one.
    pub(crate) fn remove(&self, table: &mut Table, owner: Id) -> Result<Option<Slot>> {
        let Some(place) = table.place_of(owner) else { return Ok(None) };
        self.write(place, None)?;
        Ok(table.slots[place].take())
    }

    fn write(&self, place: usize, slot: Option<&Slot>) -> Result<()> {
        let offset = (place * SLOT) as u64;
        let bytes = slot.map_or([0; SLOT], Slot::encode);
        sys::check_file_size(offset + SLOT as u64)
            .and_then(|()| self.file.write_all_at(&bytes, offset))
            .map_err(|cause| self.directory.error("writing its ledger", cause))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Explicitly: a child that was forked just now has a copy of the descriptor.
        let _ = rustix::fs::flock(self.file, FlockOperation::Unlock);
    }
}

/// What is in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Slot>>,
}

impl Table {
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    pub(crate) fn slot_of(&self, owner: Id) -> Option<&Slot> {
        self.slots().find(|slot| slot.owner == owner)
    }

    fn place_of(&self, owner: Id) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.owner == owner))
    }

    fn free_place(&self) -> Option<usize> {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        (free < MOST_SLOTS).then_some(free)
    }

    fn set(&mut self, place: usize, slot: Option<Slot>) {
        if place >= self.slots.len() {
            self.slots.resize(place + 1, None);
        }
        self.slots[place] = slot;
    }
}

/// What one worker uses, or what the durable payloads of one tenant do, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) owner: Id,
    /// The hash of the tenant's name.
    pub(crate) tenant: u64,
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) pid: u32,
}

impl Slot {
    /// The owner of the slot for a tenant's durable payloads, which belong to no worker.
    pub(crate) fn durable(tenant: u64) -> Id {
        let mut id = [0xff; 16];
        id[8..].copy_from_slice(&tenant.to_le_bytes());
        Id(id)
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.owner == Self::durable(self.tenant)
    }

    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..16].copy_from_slice(&self.owner.0);
        bytes[16..24].copy_from_slice(&self.tenant.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.memory.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.disk.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.pid.to_le_bytes());
        let checksum = xxh3_64(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The slot in `bytes`, unless it is free or damaged.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let slot = Self {
            owner: Id(bytes[..16].try_into().expect("16 bytes")),
            tenant: number(16),
            memory: number(24),
            disk: number(32),
            pid: u32::from_le_bytes(bytes[40..44].try_into().expect("4 bytes")),
        };
        (slot.owner.0 != [0; 16] && number(CHECKED) == xxh3_64(&bytes[..CHECKED])).then_some(slot)
    }
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(owner: u8, memory: u64) -> Slot {
        Slot { owner: Id([owner; 16]), tenant: 1, memory, disk: 2, pid: 3 }
    }

    fn directory() -> (tempfile::TempDir, Directory) {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(Some(&outer.path().join("spool"))).expect("private");
        (outer, directory)
    }

    #[test]
    fn slots_are_written_found_and_freed() {
        let (_outer, directory) = directory();
        let mut ledger = Ledger::open(&directory).expect("opened");
        let locked = ledger.lock(&directory).expect("free");
        let mut table = locked.read().expect("read");
        for slot in [slot(1, 10), slot(2, 20), slot(1, 11)] {
            locked.put(&mut table, slot).expect("room");
        }
        let read = locked.read().expect("read");
        assert_eq!(read.slots().cloned().collect::<Vec<_>>(), [slot(1, 11), slot(2, 20)]);
        assert_eq!(locked.remove(&mut table, Id([1; 16])).expect("written"), Some(slot(1, 11)));
        assert_eq!(locked.remove(&mut table, Id([9; 16])).expect("nothing to do"), None);
        locked.put(&mut table, slot(3, 30)).expect("room");
        let read = locked.read().expect("read");
        assert_eq!(read.slots().cloned().collect::<Vec<_>>(), [slot(3, 30), slot(2, 20)]);
    }

    #[test]
    fn a_ledger_that_was_removed_is_made_again() {
        let (_outer, directory) = directory();
        let mut ledger = Ledger::open(&directory).expect("opened");
        directory.remove(name::LEDGER).expect("there");
        let locked = ledger.lock(&directory).expect("made again");
        locked.put(&mut locked.read().expect("read"), slot(1, 1)).expect("room");
        drop(locked);
        let mut other = Ledger::open(&directory).expect("opened");
        let table = other.lock(&directory).expect("free").read().expect("read");
        assert_eq!(table.slots().count(), 1);
    }

    #[test]
    fn something_else_in_its_place_is_replaced() {
        let (outer, directory) = directory();
        let victim = outer.path().join("victim");
        std::fs::write(&victim, "unchanged").expect("a file");
        std::os::unix::fs::symlink(&victim, outer.path().join("spool").join(name::LEDGER)).expect("a link");
        let mut ledger = Ledger::open(&directory).expect("opened");
        let locked = ledger.lock(&directory).expect("free");
        locked.put(&mut locked.read().expect("read"), slot(1, 1)).expect("room");
        assert_eq!(std::fs::read(victim).expect("there"), b"unchanged");
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_it_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let (outer, directory) = directory();
            std::fs::write(outer.path().join("spool").join(name::LEDGER), bytes).expect("a file");
            let mut ledger = Ledger::open(&directory).expect("opened");
            let locked = ledger.lock(&directory).expect("free");
            let mut table = locked.read().expect("read");
            locked.put(&mut table, slot(1, 10)).expect("room");
            let read = locked.read().expect("read");
            prop_assert_eq!(read.slot_of(Id([1; 16])), Some(&slot(1, 10)));
        }

        #[test]
        fn a_slot_with_any_bit_changed_is_free(at in 0..SLOT, bit in 0..8_u32) {
            let mut bytes = slot(1, 10).encode();
            prop_assert_eq!(Slot::decode(&bytes), Some(slot(1, 10)));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Slot::decode(&bytes), None);
        }
    }
}
