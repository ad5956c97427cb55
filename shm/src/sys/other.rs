//! Unix systems without sealed memory files: private files take their place.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use memmap2::MmapMut;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, socket};

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There are none here.
pub(crate) fn memory_file() -> io::Result<File> {
    unsupported()
}

/// There are none here.
pub(crate) fn seal(_: &File) -> io::Result<()> {
    unsupported()
}

/// There are none here.
pub(crate) fn is_sealed(_: &File) -> bool {
    false
}

/// A full file system is an error of the write; nothing is mapped before it was written.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail here")]
pub(crate) fn reserve(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// Files have a name here, until they are unlinked.
pub(crate) fn unnamed_file(_: BorrowedFd<'_>) -> io::Result<File> {
    unsupported()
}

/// Without unnamed files there are none to name.
pub(crate) fn publish(_: &File, _: BorrowedFd<'_>, _: &str) -> io::Result<()> {
    unsupported()
}

/// Not by its descriptor alone.
pub(crate) fn reopen_read_only(_: &File) -> io::Result<File> {
    unsupported()
}

/// Files are copied.
pub(crate) fn clone_contents(_: &File, _: &File) -> io::Result<()> {
    unsupported()
}

/// Not known here.
pub(crate) fn keeps_files_in_memory(_: BorrowedFd<'_>) -> bool {
    false
}

/// The path of `name` in a directory.
pub(crate) fn socket_path(_: BorrowedFd<'_>, path: &Path, name: &str) -> PathBuf {
    path.join(name)
}

/// A socket to connect with, which a program that is started does not inherit.
pub(crate) fn open_socket() -> io::Result<OwnedFd> {
    let descriptor = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// The sockets of a listener do not wait by themselves.
pub(crate) const SEND_FLAGS: SendFlags = SendFlags::empty();

/// What is received is closed on exec by [`received`].
pub(crate) const RECEIVE_FLAGS: RecvFlags = RecvFlags::empty();

/// A file whose descriptor came over a socket.
pub(crate) fn received(descriptor: OwnedFd) -> io::Result<File> {
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor.into())
}

/// Give `map`, of anonymous memory, `len` bytes; those it has stay, by a copy.
pub(crate) fn grow(map: &mut MmapMut, len: usize) -> io::Result<()> {
    let mut larger = MmapMut::map_anon(len)?;
    larger[..map.len()].copy_from_slice(map);
    *map = larger;
    Ok(())
}

/// There is no such advice here.
pub(crate) fn advise_huge_pages(_: &MmapMut) {}
