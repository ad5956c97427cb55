//! What differs between systems, one file for each, with the same functions.
//!
//! Linux has all of it. Other Unix systems have no sealed memory files: [`memory_file`] says
//! [`Unsupported`](std::io::ErrorKind::Unsupported), bodies stay in the pool or go to a private file,
//! and that file is what crosses processes.

//!
//! With `--cfg mcpgateway_portable` Linux takes the way of the others, so that its tests run there, too: see
//! `make test-portable`.

#[cfg(all(target_os = "linux", not(mcpgateway_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(mcpgateway_portable)))]
pub(crate) use linux::*;

#[cfg(any(not(target_os = "linux"), mcpgateway_portable))]
mod other;
#[cfg(any(not(target_os = "linux"), mcpgateway_portable))]
pub(crate) use other::*;

mod peer;
pub(crate) use peer::peer_user;

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
