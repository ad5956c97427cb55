//! Files that bodies are written into: sealed memory files and private files, mapped once complete.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{FileType, Mode};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::directory::{self, Directory};
use crate::region::Tier;
use crate::sys;

/// Room is reserved in steps of this many bytes.
const STEP: u64 = 16 << 20;
/// Bytes that are copied at a time from one file to another.
const COPIED_AT_ONCE: usize = 1 << 20;

/// A file that is being filled from its start, and that nobody else can reach.
#[derive(Debug)]
pub(crate) struct Filling {
    file: File,
    /// The same, open for reading only, where it cannot be opened again.
    reader: Option<File>,
    tier: Tier,
    reserved: u64,
}

impl Filling {
    /// A memory file, to be sealed.
    pub(crate) fn in_memory() -> io::Result<Self> {
        Ok(Self { file: sys::memory_file()?, reader: None, tier: Tier::Memory, reserved: 0 })
    }

    /// A file without a name in the directory.
    pub(crate) fn on_disk(directory: &Directory) -> io::Result<Self> {
        let (file, reader) = match sys::unnamed_file(directory.as_fd()) {
            Err(cause) if cause.kind() == io::ErrorKind::Unsupported => {
                let (file, reader) = directory.create_partial().map_err(io::Error::from)?.keep_unnamed()?;
                (file, Some(reader))
            }
            opened => (opened?, None),
        };
        Ok(Self { file, reader, tier: Tier::File, reserved: 0 })
    }

    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Let it share the blocks of `source`; its length is returned.
    pub(crate) fn clone_from_file(&mut self, source: &File) -> io::Result<u64> {
        sys::clone_contents(&self.file, source)?;
        self.reserved = self.file.metadata()?.len();
        Ok(self.reserved)
    }

    /// The checksum of the first `len` bytes.
    pub(crate) fn checksum(&self, len: u64) -> io::Result<u64> {
        let mut hasher = Xxh3Default::new();
        copy(&self.file, len, |bytes, _| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hasher.digest())
    }

    /// Reserve room up to `end`, and up to `hint` as far as that makes sense.
    pub(crate) fn reserve(&mut self, end: u64, hint: u64) -> io::Result<()> {
        if end > self.reserved {
            let generous = end.max(hint.min(end.saturating_add(STEP)));
            let target = if sys::check_file_size(generous).is_ok() { generous } else { end };
            sys::check_file_size(target)?;
            self.reserved = match self.reserve_to(target) {
                // There may be room for what is needed.
                Err(_) if target > end => self.reserve_to(end)?,
                reserved => reserved?,
            };
        }
        Ok(())
    }

    fn reserve_to(&self, target: u64) -> io::Result<u64> {
        sys::reserve(&self.file, self.reserved, target - self.reserved).map(|()| target)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Append the first `len` bytes of another file.
    pub(crate) fn copy_from(&mut self, source: &Self, len: u64) -> io::Result<()> {
        self.reserve(len, len)?;
        copy(&source.file, len, |bytes, offset| self.write_at(bytes, offset))
    }

    /// Make the first `len` bytes immutable and map them. The file is open for reading only, or sealed;
    /// without one (there is no /proc, or no descriptor left) the body cannot be handed over as it is.
    pub(crate) fn finish(self, len: u64, checksum: u64) -> io::Result<(Option<File>, Option<Mmap>)> {
        match self.tier {
            Tier::Memory => {
                if self.reserved != len {
                    self.file.set_len(len)?;
                }
                sys::seal(&self.file)?;
            }
            _ => self.finish_on_disk(len, checksum)?,
        }
        let reader = self.reader.map_or_else(|| sys::reopen_read_only(&self.file), Ok);
        let Ok(file) = reader else {
            let map = map(&self.file, len)?;
            // What was sealed can be handed out even with a descriptor that was made for writing.
            return Ok(((self.tier == Tier::Memory).then_some(self.file), map));
        };
        let map = map(&file, len)?;
        Ok((Some(file), map))
    }

    fn finish_on_disk(&self, len: u64, checksum: u64) -> io::Result<()> {
        let end = Trailer::end_of(len)?;
        sys::check_file_size(end)?;
        if self.reserved > end {
            self.file.set_len(end)?;
        }
        self.file.write_all_at(&Trailer { len, checksum }.encode(), len)?;
        // From now on nobody but the superuser can open it for writing.
        Ok(rustix::fs::fchmod(&self.file, Mode::RUSR)?)
    }
}

/// Call `write` with the first `len` bytes of `source`, some at a time.
///
/// # Errors
/// `UnexpectedEof` when there are fewer; else what reading or writing says.
pub(crate) fn copy(
    source: &File,
    len: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let room = usize::try_from(len).unwrap_or(usize::MAX).min(COPIED_AT_ONCE);
    let mut buffer = vec![0; room];
    let mut offset = 0;
    while offset < len {
        let wanted = usize::try_from(len - offset).unwrap_or(usize::MAX).min(room);
        source.read_exact_at(&mut buffer[..wanted], offset)?;
        write(&buffer[..wanted], offset)?;
        offset += wanted as u64;
    }
    Ok(())
}

/// Bytes of the file of a body of `len` bytes.
pub(crate) fn size_on_disk(len: u64) -> u64 {
    len.saturating_add(Trailer::SIZE as u64)
}

/// Write a finished body with its trailer into `file`, for others to map.
pub(crate) fn write_complete(file: &File, bytes: &[u8], checksum: u64) -> io::Result<()> {
    let len = bytes.len() as u64;
    let end = Trailer::end_of(len)?;
    sys::check_file_size(end)?;
    sys::reserve(file, 0, end)?;
    file.write_all_at(bytes, 0)?;
    file.write_all_at(&Trailer { len, checksum }.encode(), len)?;
    Ok(rustix::fs::fchmod(file, Mode::RUSR)?)
}

/// Map the first `len` bytes of a file that has them; `None` for no bytes, which cannot be mapped.
pub(crate) fn map(file: &File, len: u64) -> io::Result<Option<Mmap>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    if len == 0 {
        return Ok(None);
    }
    // SAFETY: the caller made or checked the file: it is a sealed memory file, which no process can
    // change or shorten; or a complete, private file of ours, which nobody opens for writing any more;
    // or the user vouched for it.
    unsafe { MmapOptions::new().len(len).map(file) }.map(Some)
}

/// Where the bytes of `file` are, if it is a complete body of `len` bytes with that checksum which
/// nobody can change under a mapping.
pub(crate) fn check(file: &File, len: u64, checksum: u64) -> io::Result<Option<Tier>> {
    let stat = rustix::fs::fstat(file)?;
    let regular = FileType::from_raw_mode(stat.st_mode).is_file();
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if !regular {
        return Ok(None);
    }
    if sys::is_sealed(file) {
        return Ok((size == len).then_some(Tier::Memory));
    }
    let ours = stat.st_uid == directory::user() && Mode::from_raw_mode(stat.st_mode) == Mode::RUSR;
    let complete = Trailer::end_of(len).is_ok_and(|end| end == size)
        && Trailer::read(file, len)? == Some(Trailer { len, checksum });
    Ok((ours && complete).then_some(Tier::File))
}

/// Behind the bytes of a private file, written last: the file is complete.
#[derive(Debug, PartialEq, Eq)]
struct Trailer {
    len: u64,
    checksum: u64,
}

impl Trailer {
    const MAGIC: [u8; 8] = *b"mcpshm\x00\x01";
    const SIZE: usize = 32;

    /// Bytes of a file with a body of `len` bytes.
    fn end_of(len: u64) -> io::Result<u64> {
        let end = size_on_disk(len);
        if i64::try_from(end).is_ok() { Ok(end) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.checksum.to_le_bytes());
        let own = xxh3_64(&bytes[..24]);
        bytes[24..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    fn read(file: &File, len: u64) -> io::Result<Option<Self>> {
        let mut bytes = [0; Self::SIZE];
        match file.read_exact_at(&mut bytes, len) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let trailer = Self { len: number(8), checksum: number(16) };
        Ok((trailer.encode() == bytes).then_some(trailer))
    }
}
