//! One error for everything the engine does: what failed, to what, in which phase, and whether the
//! other side may have acted.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::http::Response;
use crate::json::Place;
use crate::jsonrpc::RpcError;

/// The result of everything in the engine that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A worker that does not answer for this long was stopped: the most that a spool waits.
const SPOOL_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// Something that failed, and what a caller needs to decide what to do about it.
pub struct Error {
    // Boxed, so that a `Result` stays as small as its value.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    subject: String,
    phase: Option<Phase>,
    sent: Sent,
    source: Option<Source>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made; no byte was sent.
    Connect,
    /// The address is one that the [`Guard`](crate::http::Guard) lets no request go to; nothing was sent there.
    AddressRefused,
    /// The peers could not agree on TLS, or a certificate was refused.
    Tls,
    /// The connection was reset or closed while it was in use.
    ConnectionLost,
    /// The peer ended the session that a call was under way in.
    SessionExpired,
    /// The body ended before its announced length.
    IncompleteBody,
    /// One of the [`Timeouts`](crate::Timeouts) passed.
    Timeout {
        /// Which: `connect`, `first_byte`, `idle` or `total`.
        name: &'static str,
        /// Its value.
        after: Duration,
    },
    /// One of the [`Limits`](crate::Limits) was passed.
    LimitExceeded {
        /// Which, by the name of its field.
        name: &'static str,
        /// Its value.
        limit: u64,
        /// What arrived or was announced; may be only the part seen before giving up.
        got: u64,
    },
    /// The request itself cannot be sent: its URL, method, a header, an option.
    InvalidRequest,
    /// The reply is not what the protocol above HTTP asks for.
    InvalidReply,
    /// The peer answered with an error of the protocol above HTTP.
    Rpc(Box<RpcError>),
    /// The status of the reply is not one of success.
    Status(Box<Response>),
    /// A text is not JSON, or its JSON is not what was asked for, at that place.
    Json(Place),
    /// What is at a place of a JSON document is of another kind than what was asked of it.
    WrongKind,
    /// A pointer (RFC 6901) that is none.
    InvalidPointer,
    /// A pointer leads nowhere.
    NotFound {
        /// The pointer.
        pointer: String,
        /// The step that there is no value for.
        step: String,
    },
    /// Edits of a document that cannot all be made.
    Conflict,
    /// The peer does not speak HTTP as the standard has it.
    Protocol,
    /// A buffer sent with [`Mutation::Detect`](crate::http::Mutation) changed while it was sent.
    PayloadMutated,
    /// There is not enough memory or disk.
    QuotaExceeded,
    /// A budget is used up; nothing was allocated.
    BudgetExceeded {
        /// Which, such as `memory_budget`.
        name: &'static str,
        /// Its value in bytes.
        limit: u64,
        /// The bytes that would have been in use.
        asked: u64,
    },
    /// A shared payload expired, was revoked, or went with the worker that held it.
    PayloadGone,
    /// A reference is another tenant's or was not signed by the spool, or a file is not one to be used.
    Denied,
    /// A text is no reference to a payload.
    InvalidReference,
    /// An option of a spool cannot hold.
    InvalidOption,
    /// This system cannot do it.
    Unsupported,
    /// A file could not be read or written.
    File,
    /// The handle belongs to the parent of this forked process.
    Forked,
    /// The call was cancelled.
    Cancelled,
    /// The client is closed.
    Closed,
    /// A resource is not any more what it was when its first bytes came.
    ResourceChanged,
    /// A fault of this library: a panic was caught.
    Internal,
}

/// How far a call had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host's address.
    Resolve,
    /// Opening the connection.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the head of the reply.
    FirstByte,
    /// Receiving the body of the reply.
    Receive,
    /// Reading what was received.
    Parse,
}

impl Phase {
    /// The name that Python's `.phase` has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::FirstByte => "first_byte",
            Self::Receive => "receive",
            Self::Parse => "parse",
        }
    }
}

/// Whether the other side may have acted on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// No byte of it left: sending it again is safe.
    No,
    /// A reply began, so it was received.
    Yes,
    /// Some of it may have left.
    Unknown,
}

impl Sent {
    /// The name that Python's `.sent` has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

impl Error {
    /// An error of `kind`; `subject` says what was being done to what, without secrets.
    pub fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        let inner = Inner { kind, subject: subject.into(), phase: None, sent: Sent::No, source: None };
        Self { inner: Box::new(inner) }
    }

    /// A request that cannot be sent; `subject` says what to pass instead.
    pub fn invalid_request(subject: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, subject)
    }

    /// A reply that is not what the protocol above HTTP asks for; `subject` says what it is.
    pub fn invalid_reply(subject: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidReply, subject).with_phase(Phase::Parse).with_sent(Sent::Yes)
    }

    /// A fault of this library, from what a panic left behind.
    #[must_use]
    pub fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let subject = format!("a fault inside mcpgateway_rust, please report it: {text}");
        Self::new(ErrorKind::Internal, subject).with_sent(Sent::Unknown)
    }

    /// Memory that could not be had.
    pub(crate) fn out_of_memory(subject: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::QuotaExceeded, subject).with_source(source)
    }

    /// The same error with the phase it happened in.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    /// The same error with what is known of the request.
    #[must_use]
    pub fn with_sent(mut self, sent: Sent) -> Self {
        self.inner.sent = sent;
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The same error with `context`, such as the request it belongs to, before its subject.
    #[must_use]
    pub fn within(mut self, context: &str) -> Self {
        self.inner.subject = format!("{context}: {}", self.inner.subject);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.inner.kind
    }

    /// How far the call had come, if it had begun.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// Whether the other side may have acted on the request.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.inner.sent
    }

    /// Whether the same call may succeed later without acting twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.inner.sent == Sent::No && self.is_of_the_connection()
    }

    /// Whether the network failed, rather than the request or the reply.
    #[must_use]
    pub fn is_of_the_connection(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Connect
                | ErrorKind::ConnectionLost
                | ErrorKind::IncompleteBody
                | ErrorKind::Timeout { .. }
        )
    }
}

impl From<mcpgateway_shm::Error> for Error {
    fn from(error: mcpgateway_shm::Error) -> Self {
        use mcpgateway_shm::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::QuotaExceeded { limit, value, asked } => {
                ErrorKind::BudgetExceeded { name: limit, limit: value, asked }
            }
            Kind::PayloadGone => ErrorKind::PayloadGone,
            Kind::Denied => ErrorKind::Denied,
            Kind::InvalidRef => ErrorKind::InvalidReference,
            Kind::InvalidOption => ErrorKind::InvalidOption,
            Kind::Unsupported => ErrorKind::Unsupported,
            Kind::TimedOut => ErrorKind::Timeout { name: "spool", after: SPOOL_PATIENCE },
            _ => ErrorKind::File,
        };
        let made = Self::new(kind, error.to_string());
        if error.source().is_some() { made.with_source(error) } else { made }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.subject)?;
        if let Some(source) = &self.inner.source {
            write!(f, " ({})", Causes(source.as_ref()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// The innermost cause of a chain: the one that says something.
struct Causes<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause = self.0;
        while let Some(next) = cause.source() {
            cause = next;
        }
        fmt::Display::fmt(cause, f)
    }
}

/// Find a cause of type `E` in the chain that begins with `error`, looking into I/O errors too.
pub(crate) fn find_cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inside.map(|inside| inside as _).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_printed_once() {
        let cause = std::io::Error::other("no route");
        let error = Error::new(ErrorKind::Connect, "connecting to 127.0.0.1:1").with_source(cause);
        assert_eq!(
            error.within("POST http://127.0.0.1:1/").to_string(),
            "POST http://127.0.0.1:1/: connecting to 127.0.0.1:1 (no route)"
        );
    }

    #[test]
    fn only_what_never_left_is_retryable() {
        let lost = || Error::new(ErrorKind::ConnectionLost, "lost");
        assert!(lost().is_retryable());
        assert!(!lost().with_sent(Sent::Unknown).is_retryable());
        assert!(!Error::invalid_request("bad").is_retryable());
    }

    #[test]
    fn a_cause_is_found_inside_an_io_error() {
        let error = std::io::Error::other(Error::invalid_request("inside"));
        assert_eq!(find_cause::<Error>(&error).map(Error::kind), Some(&ErrorKind::InvalidRequest));
        assert!(find_cause::<fmt::Error>(&error).is_none());
    }
}
