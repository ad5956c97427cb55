//! A body: being written into a mapping of the pool ([`RegionMut`]), or finished ([`Region`]).

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memmap2::{Mmap, MmapMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::budget::Charge;
use crate::pool::Pool;
use crate::sys;

/// A mapping of this process that is being filled from its start.
///
/// Goes back to its pool when it is dropped.
pub struct RegionMut {
    /// `None` only while it is being dropped.
    map: Option<MmapMut>,
    filled: usize,
    generation: u64,
    pool: Pool,
}

impl RegionMut {
    pub(crate) fn new(map: MmapMut, pool: Pool) -> Self {
        Self { map: Some(map), filled: 0, generation: crate::generation(), pool }
    }

    fn map(&self) -> &MmapMut {
        self.map.as_ref().expect("a region has its map until it is dropped")
    }

    fn map_mut(&mut self) -> &mut MmapMut {
        self.map.as_mut().expect("a region has its map until it is dropped")
    }

    /// Bytes that fit without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.map().len()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.map()[..self.filled]
    }

    /// The room after the bytes written so far; holds whatever an earlier body left there.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.map_mut()[filled..]
    }

    /// Count the first `len` bytes of [`spare_mut`](Self::spare_mut) as written.
    ///
    /// # Panics
    /// If `len` is more than the spare room.
    pub fn advance(&mut self, len: usize) {
        let filled = self.filled + len;
        assert!(filled <= self.capacity(), "advanced past the end of the region");
        self.filled = filled;
    }

    /// Append `bytes`, growing if there is no room.
    ///
    /// # Errors
    /// When the system has no more memory to map.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve(bytes.len())?;
        self.spare_mut()[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// Make room for `additional` more bytes: in an idle region of the pool, to which the bytes are copied, else by
    /// half at least, and by moving page tables rather than bytes where the system can do that.
    ///
    /// # Errors
    /// When the system has no more memory to map, or the size is no size at all.
    pub fn reserve(&mut self, additional: usize) -> io::Result<()> {
        let too_large =
            || io::Error::new(io::ErrorKind::OutOfMemory, "the region would be larger than memory");
        let needed = self.filled.checked_add(additional).ok_or_else(too_large)?;
        if needed <= self.capacity() {
            return Ok(());
        }
        self.pool.clone().grow(self, needed)
    }

    /// Give the mapping at least `capacity` bytes; the filled bytes stay.
    pub(crate) fn resize(&mut self, capacity: usize) -> io::Result<()> {
        sys::grow(self.map_mut(), capacity)
    }

    /// Go on in `map`, which has room for what is filled; what it was in is returned.
    pub(crate) fn move_to(&mut self, mut map: MmapMut) -> MmapMut {
        map[..self.filled].copy_from_slice(self.filled());
        std::mem::replace(self.map_mut(), map)
    }

    /// Finish: from now on the bytes never change. Where they are in far more room than they need, they are moved to
    /// less.
    #[must_use]
    pub fn freeze(self) -> Region {
        Region::pooled(self, None, None)
    }

    fn fitted(self) -> Self {
        // In a forked child the pool, and whoever may hold its lock, are the parent's.
        if self.generation == crate::generation() { self.pool.clone().fitted(self) } else { self }
    }
}

impl Drop for RegionMut {
    fn drop(&mut self) {
        let Some(map) = self.map.take() else { return };
        if self.generation == crate::generation() {
            self.pool.give_back(map);
        }
        // Else this is a forked child: the pool, and whoever may hold its lock, are the parent's.
        // Dropping the map unmaps the child's view only.
    }
}

impl fmt::Debug for RegionMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionMut").field("filled", &self.filled).field("capacity", &self.capacity()).finish()
    }
}

/// A finished body: immutable bytes, wherever they are.
///
/// Clones share it, and so does [`Bytes::from`], without a copy. When the last is gone its memory goes
/// back to the pool, or to the system; a large mapping is unmapped on another thread.
#[derive(Clone)]
pub struct Region {
    body: Arc<Body>,
}

/// Where the bytes of a [`Region`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// On the heap of this process.
    Heap,
    /// In the warm pool of this process.
    Pool,
    /// In a sealed memory file, which other processes can map.
    Memory,
    /// In a private file, which other processes can map.
    ///
    /// Unlike a memory file it cannot be sealed. Its mode lets nobody open it for writing and no descriptor
    /// that can write to it is handed out, so other users cannot change it; a hostile process of the same
    /// user can, by changing the mode first, and then shorten it: reading the bytes that are gone ends this
    /// process (SIGBUS). Who must open a body of such a process copies it with `read`, or does not open it.
    File,
    /// In a file of somebody else, who was trusted not to change it.
    Foreign,
}

/// From this size on memory is given back to the system on another thread: 256 MiB can take half a second.
pub(crate) const GIVE_BACK_LATER: usize = 4 << 20;

struct Body {
    storage: Storage,
    checksum: OnceLock<u64>,
    charge: Option<Charge>,
}

enum Storage {
    Heap(Box<[u8]>),
    Pool(RegionMut),
    Mapped { map: Option<Mmap>, file: Option<File>, tier: Tier },
}

impl Region {
    /// Bytes of the heap.
    pub(crate) fn heap(bytes: Vec<u8>, checksum: u64, charge: Charge) -> Self {
        Self::new(Storage::Heap(bytes.into()), Some(checksum), Some(charge))
    }

    /// A region of the pool, with its share of the budget.
    pub(crate) fn pooled(region: RegionMut, checksum: Option<u64>, charge: Option<Charge>) -> Self {
        Self::new(Storage::Pool(region.fitted()), checksum, charge)
    }

    /// A file that nobody changes, mapped; `None` where there are no bytes. The descriptor is kept only
    /// if it is to be shared again.
    pub(crate) fn mapped(
        map: Option<Mmap>,
        file: Option<File>,
        tier: Tier,
        checksum: Option<u64>,
        charge: Option<Charge>,
    ) -> Self {
        Self::new(Storage::Mapped { map, file, tier }, checksum, charge)
    }

    fn new(storage: Storage, checksum: Option<u64>, charge: Option<Charge>) -> Self {
        let checksum = checksum.map_or_else(OnceLock::new, OnceLock::from);
        Self { body: Arc::new(Body { storage, checksum, charge }) }
    }

    /// Where the bytes are.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match &self.body.storage {
            Storage::Heap(_) => Tier::Heap,
            Storage::Pool(_) => Tier::Pool,
            Storage::Mapped { tier, .. } => *tier,
        }
    }

    /// The XXH3 checksum of the bytes: that of the sender, or of the spool; else it is computed with
    /// the first call, which reads all of them.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        *self.body.checksum.get_or_init(|| xxh3_64(self))
    }

    /// Whether the bytes are those that were spooled: reads all of them.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        xxh3_64(self) == self.checksum()
    }

    /// The file that other processes can map, if there is one.
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.body.storage {
            Storage::Mapped { file, .. } => file.as_ref(),
            _ => None,
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Storage::Mapped { map, file, .. } = &mut self.storage
            && map.as_ref().is_some_and(|map| map.len() >= GIVE_BACK_LATER)
        {
            // The file with the map: whichever of them goes last frees the pages. In this order: the budget has
            // room again once the memory is given back.
            Pool::global().unmap_later((map.take(), file.take(), self.charge.take()));
        }
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.body.storage {
            Storage::Heap(bytes) => bytes,
            Storage::Pool(region) => region.filled(),
            Storage::Mapped { map, .. } => map.as_deref().unwrap_or_default(),
        }
    }
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Region> for Bytes {
    fn from(region: Region) -> Self {
        Self::from_owner(region)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).field("tier", &self.tier()).finish()
    }
}

// Miri has no locks of files, no private directories and no memory files; nor have other systems the last.
#[cfg(all(test, not(miri), not(mcpgateway_portable)))]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::{Spool, SpoolOptions};

    /// Holds the thread that gives memory back from when this is dropped there, until it is told to go on.
    struct Hold {
        begun: Sender<()>,
        over: Receiver<()>,
    }

    impl Drop for Hold {
        fn drop(&mut self) {
            self.begun.send(()).expect("the test waits");
            // An error as well means that the test is over.
            let _ = self.over.recv();
        }
    }

    /// What a descriptor of this process is open on, whoever has it by now.
    fn target(descriptor: i32) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(format!("/proc/self/fd/{descriptor}")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let outer = tempfile::tempdir().expect("a directory");
        let options = SpoolOptions {
            directory: Some(outer.path().join("spool")),
            memory_budget: Some(64 << 20),
            map_above: 0,
            ..SpoolOptions::default()
        };
        (outer, Spool::new(options).expect("a spool"))
    }

    #[test]
    fn a_large_body_and_its_file_are_given_back_by_another_thread() {
        let (_outer, spool) = spool();
        let region = spool.put(&vec![7; GIVE_BACK_LATER]).expect("room");
        let descriptor = region.file().expect("a memory file").as_raw_fd();
        let (file, start) = (target(descriptor), region.as_ptr() as usize);
        let mut writer = spool.writer(None).expect("room");
        writer.write(&vec![7; GIVE_BACK_LATER]).expect("room");
        assert_eq!(spool.stats().expect("read").used.memory, writer.charged() + GIVE_BACK_LATER as u64);

        let (begun, held) = channel();
        let (goes_on, over) = channel();
        Pool::global().unmap_later(Hold { begun, over });
        held.recv().expect("the other thread is there");
        let used = spool.stats().expect("read").used;
        drop((region, writer));
        assert!(file.is_some());
        assert_eq!(target(descriptor), file, "closed on this thread");
        assert!(is_mapped(start), "unmapped on this thread");
        assert_eq!(spool.stats().expect("read").used, used, "given back before it is free");

        drop(goes_on);
        while spool.stats().expect("read").used.memory > 0 {
            std::thread::yield_now();
        }
        assert_ne!(target(descriptor), file);
    }

    fn is_mapped(start: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
        maps.lines().any(|line| line.starts_with(&format!("{start:x}-")) && line.contains("mcpgateway"))
    }
}
