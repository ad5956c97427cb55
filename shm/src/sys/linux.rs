//! Linux: sealed memory files, unnamed files, reflinks, mappings that grow.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapMut, RemapOptions};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals,
    fcntl_get_seals, fstatfs, ioctl_ficlone, linkat, memfd_create, openat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with};

/// What makes a memory file immutable for every process, its maker included.
const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);
/// File systems that keep their files in memory: tmpfs and ramfs (`linux/magic.h`).
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// A file of memory pages without a name, which can be sealed.
pub(crate) fn memory_file() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("mcpgateway", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know that flag.
        Err(Errno::INVAL) => memfd_create("mcpgateway", flags),
        created => created,
    }
    .map(File::from)
    .map_err(|errno| match errno {
        Errno::NOSYS => io::ErrorKind::Unsupported.into(),
        errno => errno.into(),
    })
}

/// Make a memory file immutable.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SEALS)?)
}

/// Whether `file` is a memory file that nobody can write to, shorten or lengthen.
pub(crate) fn is_sealed(file: &File) -> bool {
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// Reserve room for `len` bytes at `offset`, so that a full file system is an error here and not a
/// SIGBUS later.
pub(crate) fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), offset, len)) {
        // Such a file system says ENOSPC to the write itself.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        reserved => Ok(reserved?),
    }
}

/// A new file without a name in `directory`; [`publish`] can name it later.
pub(crate) fn unnamed_file(directory: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat(directory, ".", flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Err(io::ErrorKind::Unsupported.into()),
        opened => Ok(File::from(opened?)),
    }
}

/// Give an unnamed file its name in `directory`, which must not exist yet.
pub(crate) fn publish(file: &File, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    Ok(linkat(CWD, path_of(file.as_fd()), directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// The same file, open for reading only: what is mapped from it can never be made writable, and who
/// is handed it cannot write either.
pub(crate) fn reopen_read_only(file: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(openat(CWD, path_of(file.as_fd()), flags, Mode::empty())?))
}

/// Let `to` share the blocks of `from`, where the file system can.
pub(crate) fn clone_contents(to: &File, from: &File) -> io::Result<()> {
    Ok(ioctl_ficlone(to, from)?)
}

/// Whether the files of this directory are kept in memory, where they do not relieve it.
pub(crate) fn keeps_files_in_memory(directory: BorrowedFd<'_>) -> bool {
    fstatfs(directory).is_ok_and(|stat| {
        // The width of `f_type` differs between architectures.
        #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
        MEMORY_FILE_SYSTEMS.contains(&(stat.f_type as i64))
    })
}

/// A path to `name` in an open directory, of a length that fits a socket's address.
pub(crate) fn socket_path(directory: BorrowedFd<'_>, _path: &Path, name: &str) -> PathBuf {
    path_of(directory).join(name)
}

fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

/// A socket to connect with, which a program that is started does not inherit.
pub(crate) fn open_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A peer that reads nothing is not waited for, and one that is gone is an error and no signal.
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// With these, [`received`] has nothing left to do.
pub(crate) const RECEIVE_FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// A file whose descriptor came over a socket.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail here")]
pub(crate) fn received(descriptor: OwnedFd) -> io::Result<File> {
    Ok(descriptor.into())
}

/// Give `map`, of anonymous memory, `len` bytes; those it has stay, by moving page tables rather than bytes.
pub(crate) fn grow(map: &mut MmapMut, len: usize) -> io::Result<()> {
    // SAFETY: the map is anonymous, so growing it cannot reach past the end of a file, and `&mut` shows that
    // nothing borrows the bytes that may move.
    unsafe { map.remap(len, RemapOptions::new().may_move(true)) }
}

/// Ask for huge pages: first touch of 256 MB costs 0.3 CPU s/GB with them and 0.9 without.
pub(crate) fn advise_huge_pages(map: &MmapMut) {
    // Only advice: a kernel that was built without them refuses, which changes nothing but the speed.
    let _ = map.advise(Advice::HugePage);
}
