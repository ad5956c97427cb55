//! What can go wrong, as one type with a kind to match on.

use std::fmt;
use std::io;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, what was being done, and the system's own error where there is one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    source: Option<io::Error>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A budget is used up; nothing was allocated.
    QuotaExceeded {
        /// The name of the limit: `memory_budget`, `disk_budget`, `tenant_memory` or `tenant_disk`.
        limit: &'static str,
        /// Its value in bytes.
        value: u64,
        /// The bytes that would have been in use, had this been granted.
        asked: u64,
    },
    /// The file system, a quota or a limit on the size of files has no room (ENOSPC, EDQUOT, EFBIG).
    NoSpace,
    /// The payload expired, was revoked, or went with the worker that held it.
    PayloadGone,
    /// The reference is another tenant's or not signed by this spool, or a file is not ours to use.
    Denied,
    /// The text is no reference.
    InvalidRef,
    /// An option or an argument is not usable.
    InvalidOption,
    /// This system, or this process, cannot do it.
    Unsupported,
    /// Another process holds a lock, or does not answer.
    TimedOut,
    /// The system refused; [`source`](std::error::Error::source) says why.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), source: None }
    }

    /// `cause` happened while doing `subject`; its kind follows from the cause.
    pub(crate) fn io(subject: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        Self { kind: kind_of(&cause), subject: subject.into(), source: Some(cause) }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a budget was used up.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        matches!(self.kind, ErrorKind::QuotaExceeded { .. })
    }

    /// The system's error number, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

fn kind_of(cause: &io::Error) -> ErrorKind {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::NoSpace
        }
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::TimedOut,
        _ => ErrorKind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::QuotaExceeded { .. } => io::ErrorKind::QuotaExceeded,
            ErrorKind::NoSpace => io::ErrorKind::StorageFull,
            ErrorKind::PayloadGone => io::ErrorKind::NotFound,
            ErrorKind::Denied => io::ErrorKind::PermissionDenied,
            ErrorKind::InvalidRef | ErrorKind::InvalidOption => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Io => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
