//! Unix systems without sealed memory files: private files take their place.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

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

/// The user at the other end.
pub(crate) fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open, and both pointers are to numbers of the right type.
    let status = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut user, &raw mut group) };
    if status == 0 { Ok(user) } else { Err(io::Error::last_os_error()) }
}
