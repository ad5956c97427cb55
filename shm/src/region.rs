//! One mapping, being written ([`RegionMut`]) or finished ([`Region`]).

use std::fmt;
use std::io;
use std::ops::Deref;

use bytes::Bytes;
use memmap2::MmapMut;

use crate::pool::Pool;

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

    /// Make room for `additional` more bytes. Grows at least by half, and by moving page tables
    /// rather than bytes where the system can do that.
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
        self.pool.clone().grow(self, needed.max(self.capacity().saturating_add(self.capacity() / 2)))
    }

    /// Give the mapping at least `capacity` bytes; the filled bytes stay.
    #[cfg(target_os = "linux")]
    pub(crate) fn resize(&mut self, capacity: usize) -> io::Result<()> {
        // SAFETY: the map is anonymous, so growing it cannot reach past the end of a file, and
        // `&mut self` shows that nothing borrows the bytes that may move.
        unsafe { self.map_mut().remap(capacity, memmap2::RemapOptions::new().may_move(true)) }
    }

    /// Give the mapping at least `capacity` bytes; the filled bytes stay.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn resize(&mut self, capacity: usize) -> io::Result<()> {
        let mut larger = MmapMut::map_anon(capacity)?;
        larger[..self.filled].copy_from_slice(self.filled());
        self.map = Some(larger);
        Ok(())
    }

    /// Finish: from now on the bytes never change.
    #[must_use]
    pub fn freeze(self) -> Region {
        Region(self)
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

/// A finished region: immutable bytes that go back to their pool when the last view is gone.
///
/// [`Bytes::from`] shares it without a copy.
pub struct Region(RegionMut);

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.filled()
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
        f.debug_struct("Region").field("len", &self.len()).finish()
    }
}
