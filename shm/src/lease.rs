//! A lease: a locked file that says a worker lives. The kernel takes the lock when it dies.

use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::Result;
use crate::directory::{Directory, NOW, name};
use crate::fork;
use crate::id::Id;

/// The lease of this worker. Given back when it is dropped, by the process that took it.
#[derive(Debug)]
pub(crate) struct Lease {
    file: fork::ClosedInChild,
    id: Id,
}

impl Lease {
    /// Take the lease `id`; its file says who has it. The caller holds the lock of the ledger, so that
    /// nobody takes the file for a dead worker's before it is locked.
    pub(crate) fn take(directory: &Directory, id: Id, tenant: &str) -> Result<Self> {
        let taking = |cause: std::io::Error| directory.error("taking a lease", cause);
        let file = directory.create_file(&name::worker(id)).map_err(taking)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| taking(errno.into()))?;
        let file = fork::ClosedInChild::new(file);
        // For people who list the directory; a full disk must not keep a worker from starting.
        let _ = file.write_all_at(format!("{} {tenant}\n", std::process::id()).as_bytes(), 0);
        Ok(Self { file, id })
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// Let the file look new to what cleans directories for temporary files by age: without it this worker
    /// would count as dead.
    pub(crate) fn touch(&self) -> std::io::Result<()> {
        Ok(rustix::fs::futimens(&*self.file, &NOW)?)
    }
}

/// Whether the worker `id` is gone. The caller holds the lock of the ledger.
pub(crate) fn is_free(directory: &Directory, id: Id) -> bool {
    is_free_file(directory, &name::worker(id))
}

/// Whether nobody holds the lock of the file `name`, or it is no file of ours.
pub(crate) fn is_free_file(directory: &Directory, name: &str) -> bool {
    let Ok(file) = directory.open_file(name, OFlags::RDONLY) else {
        // Not there; or a link, a FIFO, another user's file: no worker made that. A worker whose file
        // cannot be opened for another reason (no descriptors left) must not be taken for dead.
        return directory.stat(name).map_or_else(
            |cause| cause.kind() == std::io::ErrorKind::NotFound,
            |stat| !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file(),
        );
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(errno) => errno != Errno::WOULDBLOCK && errno != Errno::INTR,
    }
}

/// Process and tenant of a worker, as its lease says.
pub(crate) fn holder(directory: &Directory, id: Id) -> Option<(u32, String)> {
    let file = directory.open_file(&name::worker(id), OFlags::RDONLY).ok()?;
    let mut text = [0; 128];
    let len = file.read_at(&mut text, 0).ok()?;
    let (pid, tenant) = std::str::from_utf8(&text[..len]).ok()?.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, tenant.to_owned()))
}
