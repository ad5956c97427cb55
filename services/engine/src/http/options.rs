//! What a caller may set, with the values used when they do not.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcpgateway_shm::Spool;

use super::guard::Guard;
use super::redact::{HeaderNames, redacted_url};
use super::resolve::Resolve;
use crate::error::{Error, Result};
use crate::payload::TransferPolicy;

/// How long each part of a call may take. `None` means that only `total` bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To look up the host, connect and agree on TLS.
    pub connect: Option<Duration>,
    /// From the last byte of the request to the head of the reply.
    pub first_byte: Option<Duration>,
    /// Without a byte moving, while the request is sent or the reply is received.
    pub idle: Option<Duration>,
    /// For the whole call, with all its attempts and redirects.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(10)),
            first_byte: Some(Duration::from_secs(60)),
            idle: Some(Duration::from_secs(60)),
            total: Duration::from_secs(600),
        }
    }
}

/// How much of a reply is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a reply's body, on the wire and after decoding.
    pub max_response_bytes: u64,
    /// Bytes of a reply's header names and values. A request can only lower what its client allows.
    pub max_header_bytes: usize,
    /// Number of a reply's headers. Likewise.
    pub max_headers: usize,
    /// Decoded bytes for each byte on the wire, beyond a first mebibyte.
    pub max_decoded_ratio: f64,
    /// Bytes of the data of one server-sent event.
    pub max_event_bytes: u64,
}

impl Limits {
    /// These limits, with those on the head no higher than the ones of the client, which its connections
    /// are made with.
    pub(super) fn within_head_limits(self, client: &Self) -> Self {
        Self {
            max_headers: self.max_headers.min(client.max_headers),
            max_header_bytes: self.max_header_bytes.min(client.max_header_bytes),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_response_bytes: 4 << 30,
            max_header_bytes: 256 << 10,
            max_headers: 256,
            max_decoded_ratio: 200.0,
            max_event_bytes: 1 << 30,
        }
    }
}

/// What is sent again when the connection fails.
///
/// A request of which no byte has left may always be sent again; one that may have been received,
/// only if its method is idempotent (RFC 9110, section 9.2.2) or the caller vouches for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first.
    pub attempts: u32,
    /// Whether a POST or PATCH that may have been received is sent again too.
    pub non_idempotent: bool,
}

/// When HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// Where TLS agrees on it.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Always, without asking first: also on connections without TLS.
    Always,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of this system.
    #[default]
    System,
    /// The authorities in this PEM file, and no others.
    Authorities(PathBuf),
    /// Anyone's. For tests only.
    Anyone,
}

/// A coding of a reply's body that the client can undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The name in `Content-Encoding`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of that name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), with the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::Gzip, Self::Brotli, Self::Zstd]
            .into_iter()
            .find(|coding| coding.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::invalid_request(format!("accept_encoding {name:?}: pass gzip, br or zstd")))
    }
}

/// Everything that is set for a client as a whole.
#[derive(Clone, Default)]
pub struct ClientOptions {
    /// For calls that do not bring their own.
    pub timeouts: Timeouts,
    /// For calls that do not bring their own.
    pub limits: Limits,
    /// What is sent again.
    pub retry: Retry,
    /// What is copied, borrowed and mapped.
    pub policy: TransferPolicy,
    /// Sent with every request that does not set the same name.
    pub headers: http::HeaderMap,
    /// When HTTP/2 is spoken.
    pub http2: Http2,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// PEM files with this client's certificate and its key, in that order; one file may hold both.
    pub identity: Vec<PathBuf>,
    /// A proxy for all requests.
    pub proxy: Option<String>,
    /// Whether `HTTP_PROXY` and the like in the environment count.
    pub trust_env: bool,
    /// Whether redirects are followed, at most twenty.
    pub follow_redirects: bool,
    /// Which addresses requests may go to. Without one, any for a URL of the caller's; for one that came from
    /// a peer, as in a redirect to another origin, those that the default guard lets pass.
    pub guard: Option<Guard>,
    /// Who looks up the addresses of hosts; the system if nobody is named.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Codings to ask for and undo; none means that the body is asked for as it is.
    pub accept_encoding: Vec<Coding>,
    /// Where replies above its `map_above` go, ready to be shared with other processes.
    pub spool: Option<Spool>,
}

impl fmt::Debug for ClientOptions {
    /// Without what the headers say and who the proxy is told we are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .field("retry", &self.retry)
            .field("headers", &HeaderNames(&self.headers))
            .field("proxy", &self.proxy.as_deref().map(redacted_url))
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// Whether a header that goes with every request is likely to hold a secret.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.headers.values().any(http::HeaderValue::is_sensitive)
    }
}
