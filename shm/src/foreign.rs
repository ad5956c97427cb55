//! Files of other people: regular ones only, copied unless their owner is trusted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::budget::Resource;
use crate::region::{Region, Tier};
use crate::spool::Spool;
use crate::storage::{self, Filling};
use crate::{Error, ErrorKind, Result};

/// From this size on sharing the blocks of a file is tried before copying them.
const CLONE_FROM: u64 = 1 << 20;

/// How [`Spool::open_file`] treats a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileRules {
    /// Map the file itself. Whoever shortens it afterwards ends this process (SIGBUS), whoever writes
    /// to it changes the payload; without this it is copied, or its blocks are shared.
    pub trusted: bool,
    /// Follow a symbolic link at the end of the path.
    pub follow_links: bool,
}

/// A body with the contents of the file at `path`.
pub(crate) fn open(spool: &Spool, path: &Path, rules: FileRules) -> Result<Region> {
    let (file, len) = open_regular(path, rules.follow_links)?;
    if rules.trusted {
        let map = storage::map(&file, len).map_err(|cause| failed(path, cause))?;
        return Ok(Region::mapped(map, None, Tier::Foreign, None, None));
    }
    if len >= CLONE_FROM
        && let Some(region) = clone_blocks(spool, &file, len)?
    {
        return Ok(region);
    }
    copy(spool, path, &file, len)
}

fn failed(path: &Path, cause: impl Into<io::Error>) -> Error {
    Error::io(format!("file {}", path.display()), cause)
}

/// The file at `path` and its size in bytes; nothing but a regular file, and without waiting for a FIFO.
///
/// # Errors
/// [`ErrorKind::Denied`] for what is no regular file, or a link that is not to be followed;
/// [`ErrorKind::Io`] for what cannot be opened.
pub fn open_regular(path: &Path, follow_links: bool) -> Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = if follow_links { flags } else { flags | OFlags::NOFOLLOW };
    let denied = |what: &str| Error::new(ErrorKind::Denied, format!("file {}: {what}", path.display()));
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(denied("it is a symbolic link")),
        // What opening a socket says.
        Err(Errno::NXIO) => return Err(denied("it is not a regular file")),
        opened => File::from(opened.map_err(|errno| failed(path, errno))?),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| failed(path, errno))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(denied("it is not a regular file"));
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

/// A private file that shares the blocks of `source`; `None` where the file system cannot do that.
fn clone_blocks(spool: &Spool, source: &File, len: u64) -> Result<Option<Region>> {
    let directory = spool.directory_handle();
    let Ok(mut filling) = Filling::on_disk(directory) else { return Ok(None) };
    let Ok(cloned) = filling.clone_from_file(source) else { return Ok(None) };
    let mut charge = spool.budget()?.charge(Resource::Disk);
    match charge.grow_to(cloned.max(len)) {
        // In memory there may be room for a copy.
        Err(error) if error.is_quota() => return Ok(None),
        charged => charged?,
    }
    // One reading pass for the checksum, from blocks that nobody changes any more.
    let checksum =
        filling.checksum(cloned).map_err(|cause| directory.error("reading a cloned file", cause))?;
    charge.shrink_to(cloned);
    let (file, map) = filling
        .finish(cloned, checksum)
        .map_err(|cause| directory.error("finishing a cloned file", cause))?;
    Ok(Some(Region::mapped(map, file, Tier::File, Some(checksum), Some(charge))))
}

fn copy(spool: &Spool, path: &Path, mut file: &File, len: u64) -> Result<Region> {
    let mut writer = spool.writer(Some(len))?;
    if len > 0 {
        // As long as it was when it was opened: what is appended meanwhile is not part of it.
        storage::copy(file, len, |bytes, _| writer.write(bytes).map_err(io::Error::from))
            .map_err(|cause| unwrap(path, cause))?;
        return writer.finish();
    }
    // Of size 0 are also the files of /proc, which have contents all the same.
    let mut buffer = [0; 16 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return writer.finish(),
            Ok(read) => writer.write(&buffer[..read])?,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(failed(path, cause)),
        }
    }
}

/// The writer's own error, if it was that, or what reading said.
fn unwrap(path: &Path, cause: io::Error) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => error,
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            failed(path, io::Error::new(cause.kind(), "it was shortened while it was copied"))
        }
        Err(cause) => failed(path, cause),
    }
}
