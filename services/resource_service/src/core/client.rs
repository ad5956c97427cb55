//! Resources by their URI, whatever its scheme.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcpgateway_engine::http::{HeaderMap, HeaderName, HeaderNames, HeaderValue, redacted_url};
use mcpgateway_engine::{
    Client, Error, ErrorKind, Guard, Limits, Payload, Phase, Progress, Request, Result, Timeouts, runtime,
};
use mcpgateway_mcp::Session;
use url::Url;

use super::cache::{Cache, Kept, Key, now};
use super::data;
use super::download::{Download, Downloaded};
use super::file::{self, Root};
use super::freshness::Freshness;
use super::resource::{CameFrom, Resource, Scope};
use super::validators::Validators;

/// Headers of a request that are ours here.
const OURS: [&str; 7] = [
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "accept-encoding",
];

/// How a [`ResourceClient`] fetches.
#[derive(Clone, Debug)]
pub struct ResourceOptions {
    /// Ranges of one resource that are received at a time; with 1, the whole is asked for at once.
    pub streams: NonZeroUsize,
    /// Bytes of each range.
    pub part_bytes: u64,
    /// How often a broken transfer is resumed without a byte of progress in between.
    pub resumes: u32,
    /// Directories that files may be read below; without any, no `file:` URL is read.
    pub roots: Vec<PathBuf>,
    /// Where resources are kept.
    pub cache: Option<Cache>,
}

impl Default for ResourceOptions {
    fn default() -> Self {
        Self {
            streams: NonZeroUsize::new(4).expect("not zero"),
            part_bytes: 16 << 20,
            resumes: 5,
            roots: Vec::new(),
            cache: None,
        }
    }
}

/// Fetches resources. Clones share it.
#[derive(Clone)]
pub struct ResourceClient {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: ResourceOptions,
    roots: Vec<Root>,
    /// With MCP servers, by their URL.
    sessions: Mutex<HashMap<String, Session>>,
}

/// A resource to be fetched, and how.
#[derive(Clone)]
pub struct Fetch {
    uri: String,
    place: Place,
    headers: HeaderMap,
    timeouts: Option<Timeouts>,
    limits: Option<Limits>,
    guard: Option<Guard>,
    given_by: GivenBy,
    progress: Arc<Progress>,
    reload: bool,
}

#[derive(Clone)]
enum Place {
    Http,
    File(Url),
    Data,
}

#[derive(Clone)]
enum GivenBy {
    Caller,
    Peer,
    PeerAt(String),
}

impl fmt::Debug for ResourceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { client, options, .. } = &*self.shared;
        f.debug_struct("ResourceClient")
            .field("client", client)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Fetch {
    /// Without what the headers say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("uri", &redacted_url(&self.uri))
            .field("headers", &HeaderNames(&self.headers))
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Fetch a resource.
///
/// # Errors
/// [`ErrorKind::Status`] for a status other than one of success, with the reply; [`ErrorKind::ResourceChanged`]
/// when it changed while its ranges were fetched; [`ErrorKind::Denied`] for a file that may not be read;
/// [`ErrorKind::AddressRefused`] for a URL that the guard refuses; else any of [`Client::send`].
pub async fn fetch_resource(client: &ResourceClient, fetch: Fetch) -> Result<Resource> {
    client.fetch(fetch).await
}

impl Fetch {
    /// Fetch `uri`: an `http:`, `https:`, `file:` or `data:` URL.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is none.
    pub fn new(uri: &str) -> Result<Self> {
        let scheme = uri.trim_start().split_once(':').map_or("", |(scheme, _)| scheme);
        let place = match scheme.to_ascii_lowercase().as_str() {
            "data" => Place::Data,
            "file" => Place::File(uri.parse().map_err(|cause: url::ParseError| {
                Error::invalid_request("the file: URL is none: pass file:///path").with_source(cause)
            })?),
            "http" | "https" => {
                Request::new("GET", uri)?;
                Place::Http
            }
            _ => return Err(unknown_scheme(scheme)),
        };
        Ok(Self {
            uri: uri.to_owned(),
            place,
            headers: HeaderMap::new(),
            timeouts: None,
            limits: None,
            guard: None,
            given_by: GivenBy::Caller,
            progress: Arc::default(),
            reload: false,
        })
    }

    /// The same with headers.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for those by which ranges and conditions are asked for.
    pub fn headers(mut self, headers: HeaderMap) -> Result<Self> {
        if let Some(name) = OURS.iter().find(|name| headers.contains_key(**name)) {
            return Err(Error::invalid_request(format!(
                "the header {name:?} is set by the fetching itself: leave it out"
            )));
        }
        self.headers = headers;
        Ok(self)
    }

    /// The same with timeouts of its own; `total` holds for all its requests together.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Option<Timeouts>) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The same with limits of its own.
    #[must_use]
    pub fn limits(mut self, limits: Option<Limits>) -> Self {
        self.limits = limits;
        self
    }

    /// The same with a guard of its own in place of the client's.
    #[must_use]
    pub fn guard(mut self, guard: Option<Guard>) -> Self {
        self.guard = guard;
        self
    }

    /// The same, whose URI a peer gave, as in a part or a link: guarded, without the headers of the client, and never a
    /// file of this host.
    #[must_use]
    pub fn from_peer(mut self) -> Self {
        self.given_by = GivenBy::Peer;
        self
    }

    /// As [`from_peer`](Self::from_peer), but for a URL of the same origin as `known`, which the caller gave.
    #[must_use]
    pub fn from_peer_at(mut self, known: &str) -> Self {
        self.given_by = GivenBy::PeerAt(known.to_owned());
        self
    }

    /// The same, its bytes counted by `progress`.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// The same, asking its server even if a fresh one is kept.
    #[must_use]
    pub fn reload(mut self) -> Self {
        self.reload = true;
        self
    }

    /// A request for all of it.
    pub(super) fn request(&self) -> Result<Request> {
        let request = Request::new("GET", &self.uri)?
            .headers(self.headers.clone())
            .timeouts(self.timeouts)
            .limits(self.limits)
            .guard(self.guard.clone());
        match &self.given_by {
            GivenBy::Caller => Ok(request),
            GivenBy::Peer => Ok(request.from_peer()),
            GivenBy::PeerAt(known) => request.from_peer_at(known),
        }
    }

    /// What counts its bytes.
    pub(super) fn counted_by(&self) -> &Progress {
        &self.progress
    }

    /// By what it is kept: its URI, and who may connect to where it is. What one guard lets pass, and it was kept for
    /// that, another one that would refuse it must not find.
    fn name(&self, client: &Client) -> String {
        let guard = self.guard.as_ref().or(client.options().guard.as_ref());
        match (guard, self.is_from_peer()) {
            (None, false) => self.uri.clone(),
            (guard, is_from_peer) => format!("{guard:?} {is_from_peer} {}", self.uri),
        }
    }

    /// All that makes one caller's resource another than the next one's.
    fn credentials(&self, client: &Client) -> Vec<u8> {
        [lines_of(&client.options().headers), lines_of(&self.headers)].join(&b'|')
    }

    fn is_from_peer(&self) -> bool {
        !matches!(self.given_by, GivenBy::Caller)
    }
}

fn lines_of(headers: &HeaderMap) -> Vec<u8> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        [name.as_str().as_bytes(), b":", value.as_bytes()].concat()
    };
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines.join(&b'\n')
}

impl ResourceClient {
    /// A client that fetches over `client`, as `options` say.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] when a root is no directory, or a range would have no byte.
    pub fn new(client: Client, options: ResourceOptions) -> Result<Self> {
        if options.part_bytes == 0 {
            return Err(Error::new(ErrorKind::InvalidOption, "part_bytes is 0: pass at least 1"));
        }
        let roots = options.roots.iter().map(|path| Root::new(path)).collect::<Result<_>>()?;
        Ok(Self { shared: Arc::new(Shared { client, options, roots, sessions: Mutex::default() }) })
    }

    /// What it fetches over.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &ResourceOptions {
        &self.shared.options
    }

    /// See [`fetch_resource`].
    ///
    /// # Errors
    /// Those of [`fetch_resource`].
    pub async fn fetch(&self, fetch: Fetch) -> Result<Resource> {
        let total = fetch.timeouts.unwrap_or(self.shared.client.options().timeouts).total;
        let whole = self.fetch_untimed(fetch);
        tokio::time::timeout(total, whole).await.unwrap_or_else(|_| Err(too_late(total)))
    }

    pub(super) fn sessions(&self) -> &Mutex<HashMap<String, Session>> {
        &self.shared.sessions
    }

    /// What the headers of the client itself make of a resource.
    pub(super) fn own_credentials(&self) -> Vec<u8> {
        lines_of(&self.shared.client.options().headers)
    }

    async fn fetch_untimed(&self, fetch: Fetch) -> Result<Resource> {
        match &fetch.place {
            Place::Http => self.fetch_http(&fetch).await,
            Place::Data => runtime::blocking(move || from_data(&fetch)).await?,
            Place::File(_) if fetch.is_from_peer() => {
                Err(Error::new(ErrorKind::Denied, "a peer named a file of this host"))
            }
            Place::File(url) => {
                let (url, limits, shared) = (url.clone(), self.limits(&fetch), Arc::clone(&self.shared));
                let body = runtime::blocking(move || file::read(&url, &shared.roots, &limits)).await??;
                Ok(local(fetch.uri, None, body, CameFrom::File))
            }
        }
    }

    async fn fetch_http(&self, fetch: &Fetch) -> Result<Resource> {
        let Some(cache) = &self.shared.options.cache else {
            return match self.download(fetch, None).await? {
                Downloaded::Body(headers, body) => Ok(from_network(fetch, &headers, body)),
                Downloaded::Unchanged(_) => {
                    Err(Error::invalid_reply("the server answered a question nobody asked"))
                }
            };
        };
        let client = &self.shared.client;
        let key = Key::new(cache.tenant(), &fetch.name(client), &fetch.credentials(client));
        let (searched, wanted) = (cache.clone(), key.clone());
        let found = runtime::blocking(move || searched.find(&wanted)).await?;
        match found {
            Some((kept, body)) if !fetch.reload && kept.fresh_until().is_some() => {
                Ok(from_cache(&fetch.uri, kept, body, CameFrom::Cache))
            }
            found => self.fetch_and_keep(fetch, cache, key, found).await,
        }
    }

    /// Ask the server, unless what was `found` is what it has, and keep what it sends.
    async fn fetch_and_keep(
        &self,
        fetch: &Fetch,
        cache: &Cache,
        key: Key,
        found: Option<(Kept, Payload)>,
    ) -> Result<Resource> {
        let validators = found.as_ref().map(|(kept, _)| kept.validators());
        let cache = cache.clone();
        match (self.download(fetch, validators.as_ref()).await?, found) {
            (Downloaded::Unchanged(headers), Some((kept, body))) => {
                let renewed = renewed(kept, fetch, &headers);
                let noted = renewed.clone();
                runtime::blocking(move || cache.renew(&key, noted)).await?;
                Ok(from_cache(&fetch.uri, renewed, body, CameFrom::Revalidated))
            }
            (Downloaded::Body(headers, body), _) => {
                let resource = from_network(fetch, &headers, body.clone());
                let freshness = Freshness::of(&headers, !fetch.headers.is_empty());
                let is_worth_it = freshness.fresh_for.is_some_and(|time| time > Duration::ZERO)
                    || resource.etag.is_some()
                    || resource.last_modified.is_some();
                if freshness.may_be_kept && is_worth_it {
                    let kept = Kept {
                        content_type: resource.content_type.clone(),
                        etag: resource.etag.clone(),
                        last_modified: resource.last_modified.clone(),
                        fetched: now(),
                        fresh_for: freshness.fresh_for.map(in_millis),
                        is_public: freshness.scope == Scope::Public,
                    };
                    runtime::blocking(move || cache.keep(&key, kept, &body)).await?;
                }
                Ok(resource)
            }
            (Downloaded::Unchanged(_), None) => {
                Err(Error::invalid_reply("the server answered a question nobody asked"))
            }
        }
    }

    async fn download(&self, fetch: &Fetch, known: Option<&Validators>) -> Result<Downloaded> {
        let limits = self.limits(fetch);
        let ResourceOptions { streams, part_bytes, resumes, .. } = self.shared.options;
        let download =
            Download { client: &self.shared.client, fetch, streams, part_bytes, resumes, limits: &limits };
        // Boxed, so that its kilobytes are not part of each future around it.
        Box::pin(download.run(known)).await
    }

    fn limits(&self, fetch: &Fetch) -> Limits {
        fetch.limits.unwrap_or(self.shared.client.options().limits)
    }
}

fn from_data(fetch: &Fetch) -> Result<Resource> {
    let (content_type, body) = data::read(fetch.uri.trim_start())?;
    Ok(local(fetch.uri.clone(), Some(content_type), body, CameFrom::Data))
}

fn local(uri: String, content_type: Option<String>, body: Payload, came_from: CameFrom) -> Resource {
    Resource {
        uri,
        content_type,
        body,
        etag: None,
        last_modified: None,
        fresh_for: None,
        scope: Scope::Private,
        came_from,
    }
}

fn from_network(fetch: &Fetch, headers: &HeaderMap, body: Payload) -> Resource {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let freshness = Freshness::of(headers, !fetch.headers.is_empty());
    Resource {
        uri: fetch.uri.clone(),
        content_type: text("content-type"),
        body,
        etag: text("etag"),
        last_modified: text("last-modified"),
        fresh_for: freshness.fresh_for,
        scope: freshness.scope,
        came_from: CameFrom::Network,
    }
}

pub(super) fn from_cache(uri: &str, kept: Kept, body: Payload, came_from: CameFrom) -> Resource {
    let (fresh_for, scope) = (kept.fresh_until(), kept.scope());
    Resource {
        uri: uri.to_owned(),
        content_type: kept.content_type,
        body,
        etag: kept.etag,
        last_modified: kept.last_modified,
        fresh_for,
        scope,
        came_from,
    }
}

/// What is known of a kept body now that its server has said that it is current.
fn renewed(kept: Kept, fetch: &Fetch, headers: &HeaderMap) -> Kept {
    let stated = Freshness::of(headers, !fetch.headers.is_empty()).fresh_for.map(in_millis);
    Kept { fetched: now(), fresh_for: stated.or(kept.fresh_for), ..kept }
}

pub(super) fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn too_late(total: Duration) -> Error {
    let subject = format!("the total timeout of {} s passed while fetching a resource", total.as_secs_f64());
    Error::new(ErrorKind::Timeout { name: "total", after: total }, subject).with_phase(Phase::Receive)
}

fn unknown_scheme(scheme: &str) -> Error {
    let shown: String = scheme.chars().take(32).collect();
    Error::invalid_request(format!(
        "no resource can be fetched by {shown:?}: pass an http:, https:, file: or data: URL"
    ))
}
