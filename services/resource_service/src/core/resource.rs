//! What was fetched.

use std::fmt;
use std::time::Duration;

use mcpgateway_engine::Payload;
use mcpgateway_engine::http::redacted_url;

/// A resource: its bytes, and what is known of them.
#[derive(Clone)]
pub struct Resource {
    /// Where it is, as it was asked for.
    pub uri: String,
    /// What kind of content it is, as its sender says.
    pub content_type: Option<String>,
    /// Its bytes.
    pub body: Payload,
    /// The name that its sender has for this version of it.
    pub etag: Option<String>,
    /// When it was changed last, as its sender says.
    pub last_modified: Option<String>,
    /// How long it is as good as a new one, from when it was fetched.
    pub fresh_for: Option<Duration>,
    /// Who may be given the same bytes.
    pub scope: Scope,
    /// Where the bytes came from this time.
    pub came_from: CameFrom,
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("uri", &redacted_url(&self.uri))
            .field("content_type", &self.content_type)
            .field("body", &self.body)
            .field("came_from", &self.came_from)
            .finish_non_exhaustive()
    }
}

/// Who may be given a resource that was fetched for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Who asks with the same headers.
    #[default]
    Private,
    /// Anyone.
    Public,
}

/// Where the bytes of a resource came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameFrom {
    /// Its server.
    Network,
    /// The cache, without asking its server.
    Cache,
    /// The cache, after its server said that nothing has changed.
    Revalidated,
    /// A file.
    File,
    /// Its own URL.
    Data,
}

impl Scope {
    /// The name that MCP has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

impl CameFrom {
    /// The name that Python has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Cache => "cache",
            Self::Revalidated => "revalidated",
            Self::File => "file",
            Self::Data => "data",
        }
    }
}
