//! What differs between systems, one file for each, with the same functions.
//!
//! Linux has all of it. Other Unix systems have no sealed memory files: [`memory_file`] says
//! [`Unsupported`](std::io::ErrorKind::Unsupported), bodies stay in the pool or go to a private file,
//! and that file is what crosses processes.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;

use std::io;

use rustix::process::{Resource, getrlimit};

/// Whether this process may have files of `size` bytes.
///
/// Asked before a file grows: past `RLIMIT_FSIZE` the kernel does not only refuse (EFBIG), it sends
/// SIGXFSZ, which ends a process that does not ignore it.
///
/// # Errors
/// `FileTooLarge` (EFBIG) past the limit.
pub(crate) fn check_file_size(size: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if size > limit => Err(rustix::io::Errno::FBIG.into()),
        _ => Ok(()),
    }
}
