//! The private directory of a spool, held open, and the files in it.
//!
//! | name | what it is |
//! |---|---|
//! | `ledger` | who uses how much: see `ledger.rs` |
//! | `key` | what references are signed with |
//! | `worker-<id>` | the lease of a living worker: locked as long as it lives |
//! | `socket-<id>` | where that worker hands out descriptors |
//! | `payload-<id>-<tenant>-<expiry>` | a durable payload |
//! | `partial-<id>` | a file that is being written: locked meanwhile |

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW,
};
use rustix::io::Errno;

use crate::id::Id;
use crate::sys;
use crate::{Error, ErrorKind, Result};

/// Both times of a file: when it is looked at.
pub(crate) const NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};

/// A directory that only this user can look into.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Open the directory at `path`, made if it does not exist; `None` is the default one.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let path = path.map_or_else(default_path, Path::to_owned);
        let subject = |what: &str| format!("spool directory {}: {what}", path.display());
        match rustix::fs::mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io(subject("creating it"), errno)),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(Error::new(ErrorKind::Denied, subject("not a directory, or a symbolic link")));
            }
            opened => opened.map_err(|errno| Error::io(subject("opening it"), errno))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io(subject("looking at it"), errno))?;
        if stat.st_uid != user() {
            return Err(Error::new(ErrorKind::Denied, subject("belongs to another user")));
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            return Err(Error::new(ErrorKind::Denied, subject("others may use it: chmod 700")));
        }
        Ok(Self { fd, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Open a regular file of ours. Never follows a link, never waits for a FIFO.
    pub(crate) fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?);
        let stat = rustix::fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode).is_file();
        if regular && stat.st_uid == user() { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Create a file that does not exist yet, to read and to write.
    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Create a file to be written, under a name that a sweep removes should we die meanwhile.
    pub(crate) fn create_partial(&self) -> Result<Partial<'_>> {
        loop {
            let name = name::partial(Id::random()?);
            let file = self.create_file(&name).map_err(|cause| self.error("creating a file", cause))?;
            let partial = Partial { directory: self, name, file: Some(file) };
            match rustix::fs::flock(partial.file(), FlockOperation::NonBlockingLockExclusive) {
                // Before it was locked, a sweep took it for a dead worker's: it is gone, or about to be.
                Ok(()) if self.stat(&partial.name).is_err() => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Ok(()) => return Ok(partial),
                Err(errno) => return Err(self.error("locking a new file", errno)),
            }
        }
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Let the file `name` look as if it was written just now.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&self.fd, name, &NOW, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Names of what is in it; those that are not UTF-8 are not ours.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let list = || -> rustix::io::Result<Vec<String>> {
            Dir::read_from(&self.fd)?
                .filter_map(|entry| entry.map(|entry| utf8(entry.file_name())).transpose())
                .collect()
        };
        list().map_err(|errno| self.error("listing it", errno))
    }

    /// Bytes that the file system has left for this user.
    pub(crate) fn bytes_free(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.fd).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    /// `cause` happened in this directory while doing `what`.
    pub(crate) fn error(&self, what: &str, cause: impl Into<io::Error>) -> Error {
        Error::io(format!("spool directory {}: {what}", self.path.display()), cause)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn utf8(name: &CStr) -> Option<String> {
    name.to_str().ok().map(str::to_owned)
}

/// The user this process acts as.
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Below `$XDG_RUNTIME_DIR`, the directory for temporary files or `/var/tmp`: the first that does not
/// keep its files in memory, or else the first.
fn default_path() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places: Vec<PathBuf> = runtime
        .into_iter()
        .chain([std::env::temp_dir(), "/var/tmp".into()])
        .filter(|place| place.is_absolute() && place.is_dir())
        .collect();
    let on_disk = places.iter().find(|place| {
        File::open(place).is_ok_and(|directory| !sys::keeps_files_in_memory(directory.as_fd()))
    });
    let place = on_disk.or(places.first()).cloned().unwrap_or_else(std::env::temp_dir);
    place.join(format!("mcpgateway-shm-{}", user()))
}

/// A file that is being written and has no lasting name yet; gone when it is dropped.
pub(crate) struct Partial<'a> {
    directory: &'a Directory,
    name: String,
    /// `None` once it was kept.
    file: Option<File>,
}

impl Partial<'_> {
    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().expect("a partial file is there until it is kept")
    }

    /// Keep it as `name`, in the place of whatever has that name.
    pub(crate) fn keep_as(mut self, name: &str) -> io::Result<File> {
        rustix::fs::renameat(&self.directory.fd, self.name.as_str(), &self.directory.fd, name)?;
        Ok(self.file.take().expect("a partial file is there until it is kept"))
    }

    /// Keep it without any name: itself, and open for reading only, which it cannot be any more without a name
    /// on some systems.
    pub(crate) fn keep_unnamed(mut self) -> io::Result<(File, File)> {
        let reader = self.directory.open_file(&self.name, OFlags::RDONLY)?;
        self.directory.remove(&self.name)?;
        Ok((self.file.take().expect("a partial file is there until it is kept"), reader))
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Should this fail, a sweep removes it: its lock goes with the file.
            let _ = self.directory.remove(&self.name);
        }
    }
}

/// The names of files, and what they say.
pub(crate) mod name {
    use crate::id::{Id, parse_hex};

    pub(crate) const LEDGER: &str = "ledger";
    pub(crate) const KEY: &str = "key";

    pub(crate) fn worker(id: Id) -> String {
        format!("worker-{id}")
    }

    pub(crate) fn socket(id: Id) -> String {
        format!("socket-{id}")
    }

    pub(crate) fn partial(id: Id) -> String {
        format!("partial-{id}")
    }

    /// A durable payload; `tenant` is its hash, `expires` in milliseconds since 1970.
    pub(crate) fn payload(id: Id, tenant: u64, expires: u64) -> String {
        format!("payload-{id}-{tenant:016x}-{expires:016x}")
    }

    /// What a name in the directory stands for.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum Kind {
        Worker(Id),
        Socket(Id),
        Partial,
        Payload { id: Id, tenant: u64, expires: u64 },
    }

    /// What `name` stands for; `None` for the ledger, the key and what is not ours.
    pub(crate) fn parse(name: &str) -> Option<Kind> {
        let (kind, rest) = name.split_once('-')?;
        match kind {
            "worker" => Id::parse(rest).map(Kind::Worker),
            "socket" => Id::parse(rest).map(Kind::Socket),
            "partial" => Id::parse(rest).map(|_| Kind::Partial),
            "payload" => parse_payload(rest),
            _ => None,
        }
    }

    fn parse_payload(rest: &str) -> Option<Kind> {
        let mut parts = rest.split('-');
        let (id, tenant, expires) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text| parse_hex(text).map(u64::from_be_bytes);
        let payload =
            Kind::Payload { id: Id::parse(id)?, tenant: number(tenant)?, expires: number(expires)? };
        parts.next().is_none().then_some(payload)
    }
}

// Miri has no locks of files, no private directories and no descriptors to pass.
#[cfg(all(test, not(miri)))]
mod tests {
    use super::name::Kind;
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_directory_is_private_or_refused() {
        let outer = tempfile::tempdir().expect("a directory");
        let path = outer.path().join("spool");
        Directory::open(Some(&path)).expect("it is made");
        assert_eq!(std::fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let refused = |path: &Path| Directory::open(Some(path)).expect_err("refused").kind();
        assert_eq!(refused(&path), ErrorKind::Denied);

        let link = outer.path().join("link");
        symlink(&path, &link).expect("a link");
        assert_eq!(refused(&link), ErrorKind::Denied);

        let file = outer.path().join("file");
        std::fs::write(&file, "x").expect("a file");
        assert_eq!(refused(&file), ErrorKind::Denied);
        assert_eq!(refused(&outer.path().join("no/such/place")), ErrorKind::Io);
    }

    #[test]
    fn names_say_what_they_stand_for() {
        let id = Id([0xab; 16]);
        assert_eq!(name::parse(&name::worker(id)), Some(Kind::Worker(id)));
        assert_eq!(name::parse(&name::socket(id)), Some(Kind::Socket(id)));
        assert_eq!(name::parse(&name::partial(id)), Some(Kind::Partial));
        let payload = Kind::Payload { id, tenant: 7, expires: u64::MAX };
        assert_eq!(name::parse(&name::payload(id, 7, u64::MAX)), Some(payload));
        let foreign = ["ledger", "key", "worker-", "worker-xyz", "payload-1-2-3", "a-b"];
        assert_eq!(foreign.map(name::parse), [const { None }; 6]);
    }

    #[test]
    fn a_partial_file_that_is_given_up_is_gone() {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(Some(&outer.path().join("spool"))).expect("private");
        drop(directory.create_partial().expect("room"));
        directory.create_partial().expect("room").keep_as("kept").expect("renamed");
        let mut names = directory.names().expect("listed");
        names.retain(|name| !name.starts_with('.'));
        assert_eq!(names, ["kept"]);
    }
}
