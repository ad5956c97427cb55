//! Spooling: a body of unknown size goes from the heap to memory files to disk while it is written.

use std::fmt;
use std::io;

use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3Default;

use crate::budget::{Charge, Resource};
use crate::pool::Pool;
use crate::region::{GIVE_BACK_LATER, Region, RegionMut, Tier};
use crate::spool::Spool;
use crate::storage::Filling;
use crate::{Error, ErrorKind, Result, generation};

/// Bodies up to this size stay on the heap; from there on the pool's recycled regions are better.
const HEAP_UP_TO: u64 = 256 << 10;
/// The smallest and the largest part of a budget that is asked for ahead of what was written.
const AHEAD: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);

/// Takes the bytes of one body as they come, computes their checksum, and moves them up a tier when
/// they outgrow the one they are in, or its budget.
///
/// Dropping it discards what was written and gives the budget back.
pub struct SpoolWriter {
    spool: Spool,
    stage: Stage,
    /// What the body is charged, never less than `len`.
    charge: Charge,
    len: u64,
    expected: u64,
    map_above: u64,
    hasher: Box<Xxh3Default>,
    generation: u64,
}

enum Stage {
    Heap(Vec<u8>),
    Pool(RegionMut),
    File(Filling),
}

impl SpoolWriter {
    pub(crate) fn new(spool: Spool, expected: Option<u64>, map_above: u64) -> Result<Self> {
        let budget = spool.budget()?;
        let mut writer = Self {
            stage: Stage::Heap(Vec::new()),
            charge: budget.charge(Resource::Memory),
            len: 0,
            expected: expected.unwrap_or(0),
            map_above,
            hasher: Box::default(),
            generation: generation(),
            spool,
        };
        writer.make_room(writer.expected)?;
        Ok(writer)
    }

    /// A writer for a body of `len` bytes that goes where other processes can map it, however small.
    pub(crate) fn shareable(spool: Spool, len: u64) -> Result<Self> {
        let mut writer = Self::new(spool, Some(len), 0)?;
        if writer.tier() == Tier::Heap {
            writer.move_to_memory_file()?;
        }
        if writer.tier() == Tier::Pool {
            // Without memory files it is a private one that is handed over.
            writer.move_to_disk(len)?;
        }
        Ok(writer)
    }

    /// Append `bytes`.
    ///
    /// After an error nothing of `bytes` counts as written, and writing them may be tried again.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when neither memory nor disk have room in their budgets,
    /// [`ErrorKind::NoSpace`] when the disk has none, [`ErrorKind::Unsupported`] in a forked child of the
    /// process that began the body.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len.checked_add(bytes.len() as u64).ok_or_else(too_large)?;
        self.make_room(end)?;
        self.reserve(end)?;
        let failed = |cause| Error::io(format!("spooling byte {} to {end}", self.len), cause);
        match &mut self.stage {
            Stage::Heap(body) => body.extend_from_slice(bytes),
            Stage::Pool(region) => region.write(bytes).map_err(failed)?,
            Stage::File(filling) if filling.tier() == Tier::File => {
                let failed = |cause| self.spool.directory_handle().error("writing to a file", cause);
                filling.write_at(bytes, self.len).map_err(failed)?;
            }
            Stage::File(filling) => filling.write_at(bytes, self.len).map_err(failed)?,
        }
        self.hasher.update(bytes);
        self.len = end;
        Ok(())
    }

    /// The body, immutable from now on.
    ///
    /// # Errors
    /// When the system refuses to seal or to map it.
    pub fn finish(mut self) -> Result<Region> {
        self.check_process()?;
        let checksum = self.hasher.digest();
        self.charge.shrink_to(self.len);
        let (len, charge) = (self.len, self.charge.take());
        Ok(match self.take_stage() {
            Stage::Heap(body) => Region::heap(body, checksum, charge),
            Stage::Pool(region) => Region::pooled(region, Some(checksum), Some(charge)),
            Stage::File(filling) => {
                let tier = filling.tier();
                let (file, map) = filling
                    .finish(len, checksum)
                    .map_err(|cause| Error::io(format!("sealing and mapping {len} bytes"), cause))?;
                Region::mapped(map, file, tier, Some(checksum), Some(charge))
            }
        })
    }

    /// Bytes written so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a count of what was written")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the bytes are now.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match &self.stage {
            Stage::Heap(_) => Tier::Heap,
            Stage::Pool(_) => Tier::Pool,
            Stage::File(filling) => filling.tier(),
        }
    }

    fn take_stage(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Heap(Vec::new()))
    }

    #[cfg(all(test, not(miri), not(mcpgateway_portable)))]
    pub(crate) fn charged(&self) -> u64 {
        self.charge.bytes()
    }

    /// See to it that bytes up to `end` fit in the stage and in its budget.
    fn make_room(&mut self, end: u64) -> Result<()> {
        self.check_process()?;
        if end > self.charge.bytes() && !self.grow_charge(end)? {
            self.move_to_disk(end)?;
        }
        if self.tier() == Tier::Heap && end > self.map_above.min(HEAP_UP_TO) {
            self.leave_the_heap(end)?;
        }
        if self.tier() == Tier::Pool && end > self.map_above {
            self.move_to_memory_file()?;
        }
        Ok(())
    }

    /// Whether the budget of this stage has room up to `end`, asked for in growing steps.
    fn grow_charge(&mut self, end: u64) -> Result<bool> {
        let ahead = self.len.clamp(*AHEAD.start(), *AHEAD.end());
        let generous = if end <= self.expected { self.expected } else { end.saturating_add(ahead) };
        let granted = self.charge.grow_to(generous).or_else(|_| self.charge.grow_to(end));
        match granted {
            Ok(()) => Ok(true),
            Err(error) if error.is_quota() && self.charge.resource() == Resource::Memory => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn leave_the_heap(&mut self, end: u64) -> Result<()> {
        if end > self.map_above {
            return self.move_to_memory_file();
        }
        let Stage::Heap(body) = &self.stage else { return Ok(()) };
        let room = usize::try_from(end.max(self.expected.min(self.map_above))).map_err(|_| too_large())?;
        let no_memory = |cause| Error::io(format!("mapping memory for {end} bytes"), cause);
        let mut region = Pool::global().allocate(room).map_err(no_memory)?;
        region.write(body).map_err(no_memory)?;
        self.stage = Stage::Pool(region);
        Ok(())
    }

    fn move_to_memory_file(&mut self) -> Result<()> {
        match Filling::in_memory() {
            Ok(filling) => self.move_into(filling),
            // Without memory files, or descriptors for them, the pool takes bodies of any size.
            Err(cause) if is_without(&cause) && self.tier() == Tier::Pool => Ok(()),
            Err(cause) if is_without(&cause) => self.move_to_pool(),
            Err(cause) => Err(Error::io("creating a memory file", cause)),
        }
    }

    fn move_to_pool(&mut self) -> Result<()> {
        self.map_above = u64::MAX;
        self.leave_the_heap(self.len.max(1))
    }

    /// Memory is used up: the disk takes the body, if its budget allows.
    fn move_to_disk(&mut self, end: u64) -> Result<()> {
        let mut charge = self.spool.budget()?.charge(Resource::Disk);
        charge.grow_to(end.max(self.expected)).or_else(|_| charge.grow_to(end))?;
        let directory = self.spool.directory_handle();
        let filling =
            Filling::on_disk(directory).map_err(|cause| directory.error("creating a file", cause))?;
        self.move_into(filling)?;
        // The charge for memory is given back here, after the memory itself.
        self.charge = charge;
        Ok(())
    }

    fn move_into(&mut self, mut filling: Filling) -> Result<()> {
        let moved = match &self.stage {
            Stage::Heap(body) => write_all(&mut filling, body),
            Stage::Pool(region) => write_all(&mut filling, region.filled()),
            Stage::File(before) => filling.copy_from(before, self.len),
        };
        moved.map_err(|cause| self.no_room(filling.tier(), cause))?;
        self.stage = Stage::File(filling);
        Ok(())
    }

    /// Reserve the room that the budget has granted, as far as a file needs that. Not before the first
    /// byte is there: the length that a sender announces is only its word.
    fn reserve(&mut self, end: u64) -> Result<()> {
        let hint = self.charge.bytes();
        let Stage::File(filling) = &mut self.stage else { return Ok(()) };
        let tier = filling.tier();
        match filling.reserve(end, hint) {
            Ok(()) => Ok(()),
            Err(cause) if tier == Tier::Memory && is_full(&cause) => {
                self.move_to_disk(end)?;
                self.reserve(end)
            }
            Err(cause) => Err(self.no_room(tier, cause)),
        }
    }

    fn no_room(&self, tier: Tier, cause: io::Error) -> Error {
        match tier {
            Tier::File => self.spool.directory_handle().error("reserving room in a file", cause),
            _ => Error::io("reserving room in a memory file", cause),
        }
    }

    fn check_process(&self) -> Result<()> {
        if self.generation == generation() {
            return Ok(());
        }
        let subject = "the body was begun by the parent of this forked process";
        Err(Error::new(ErrorKind::Unsupported, subject))
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if self.len >= GIVE_BACK_LATER as u64 {
            // In this order: the budget has room again once the memory is given back.
            Pool::global().unmap_later((self.take_stage(), self.charge.take()));
        }
    }
}

fn write_all(filling: &mut Filling, bytes: &[u8]) -> io::Result<()> {
    filling.reserve(bytes.len() as u64, 0)?;
    filling.write_at(bytes, 0)
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOption, "the body would be larger than memory")
}

/// Whether there are no memory files here, or no descriptors left for one.
fn is_without(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::Unsupported
        || matches!(Errno::from_io_error(cause), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether memory is what there is none of, where the disk may have room.
fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory)
}

impl io::Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for SpoolWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolWriter").field("len", &self.len).field("tier", &self.tier()).finish()
    }
}
