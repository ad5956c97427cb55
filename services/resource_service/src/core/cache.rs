//! Resources that were fetched before, in a spool, so that all workers of its directory have them.
//!
//! An entry is a small file beside the spool's own that says which payload it is, and what is known of it. It
//! appears by a rename and goes by an unlink, so who reads it sees all of it or none. The payload is a durable
//! one of the spool, within its budgets, and its checksum is looked at before it is used. Whatever is wrong with
//! an entry, or with the directory, costs a request and nothing else.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcpgateway_engine::http::HeaderValue;
use mcpgateway_engine::{Error, ErrorKind, Payload, Result};
use mcpgateway_shm::{PayloadRef, ShareOptions, Spool};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::resource::Scope;
use super::validators::Validators;

/// An entry is a reference of at most 1 KiB and some headers.
const LARGEST_ENTRY: u64 = 64 << 10;
const ENTRY: &str = ".entry";
const LOCK: &str = "lock";

/// How much a [`Cache`] keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of all bodies; those used least recently go first. Besides, the budgets of the spool hold.
    pub max_bytes: u64,
    /// Number of resources.
    pub max_entries: usize,
    /// How long a resource is kept at most, fresh or not.
    pub keep_for: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, max_entries: 10_000, keep_for: Duration::from_secs(24 * 3600) }
    }
}

/// Resources that were fetched before. Clones share it, and so do all processes with a spool in the same
/// directory for the same tenant.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    spool: Spool,
    directory: PathBuf,
    options: CacheOptions,
}

/// What is known of a kept body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) content_type: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// In milliseconds since 1970.
    pub(super) fetched: u64,
    /// In milliseconds from when it was fetched.
    pub(super) fresh_for: Option<u64>,
    pub(super) is_public: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    reference: String,
    len: u64,
    kept: Kept,
}

/// By what a resource is found again.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// For who asks with the same headers.
    private: String,
    /// For anyone.
    public: String,
}

impl Key {
    /// The key of `uri`, asked for by `tenant` with headers of which `credentials` is made.
    pub(super) fn new(tenant: &str, uri: &str, credentials: &[u8]) -> Self {
        let of = |kind: &str, credentials: &[u8]| {
            let parts = [kind.as_bytes(), tenant.as_bytes(), uri.as_bytes(), credentials];
            let mut hash = Sha256::new();
            for part in parts {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            hash.finalize().iter().fold(String::new(), |mut name, byte| {
                write!(name, "{byte:02x}").expect("a String takes all");
                name
            })
        };
        Self { private: of("private", credentials), public: of("public", b"") }
    }
}

impl Kept {
    pub(super) fn scope(&self) -> Scope {
        if self.is_public { Scope::Public } else { Scope::Private }
    }

    pub(super) fn validators(&self) -> Validators {
        let value = |text: &Option<String>| HeaderValue::from_str(text.as_deref()?).ok();
        Validators::kept(value(&self.etag), value(&self.last_modified))
    }

    /// How much longer it need not be asked for again.
    pub(super) fn fresh_until(&self) -> Option<Duration> {
        let until = self.fetched.checked_add(self.fresh_for?)?;
        until.checked_sub(now()).filter(|left| *left > 0).map(Duration::from_millis)
    }
}

impl Cache {
    /// A cache in the directory of `spool`.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when its directory cannot be made there, [`ErrorKind::Denied`] when others may write
    /// to it.
    pub fn new(spool: Spool, options: CacheOptions) -> Result<Self> {
        let directory = spool.directory().join("resources");
        let unusable = |cause: io::Error| {
            let subject = format!("the cache directory {}", directory.display());
            Error::new(ErrorKind::File, subject).with_source(cause)
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(cause)),
            _ => {}
        }
        let found = std::fs::symlink_metadata(&directory).map_err(unusable)?;
        if !found.is_dir() {
            let subject = format!("the cache directory {} is no directory", directory.display());
            return Err(Error::new(ErrorKind::Denied, subject));
        }
        Ok(Self { shared: Arc::new(Shared { spool, directory, options }) })
    }

    /// Whose resources these are.
    pub(super) fn tenant(&self) -> &str {
        self.shared.spool.tenant()
    }

    /// What is kept for `key`, with its body. Reads all of the body, to see that it is what was kept.
    pub(super) fn find(&self, key: &Key) -> Option<(Kept, Payload)> {
        [(&key.private, false), (&key.public, true)]
            .into_iter()
            .find_map(|(name, is_public)| self.open(name).filter(|(kept, _)| kept.is_public == is_public))
    }

    fn open(&self, name: &str) -> Option<(Kept, Payload)> {
        let path = self.path(name);
        let file = open_own(&path).ok()?;
        let opened = read_entry(&file).and_then(|entry| {
            let region = self.shared.spool.open(&entry.reference.parse().ok()?).ok()?;
            region.is_intact().then(|| (entry.kept, Payload::spooled(region, &self.shared.spool)))
        });
        if opened.is_some() {
            // Used just now: among the last to go. If that cannot be noted, it goes earlier.
            let _ = file.set_modified(SystemTime::now());
        } else {
            self.remove(&path);
        }
        opened
    }

    /// Keep `body` for `key`. What cannot be kept is not: that is no error.
    pub(super) fn keep(&self, key: &Key, kept: Kept, body: &Payload) {
        let len = body.len();
        if len > self.shared.options.max_bytes || !self.make_room(len) {
            return;
        }
        let share = ShareOptions::durable(self.shared.options.keep_for);
        let shared = body.share(Some(&self.shared.spool), &share).or_else(|_| {
            // No room in the budgets of the spool: what was used least recently makes some.
            self.make_room(self.shared.options.max_bytes);
            body.share(Some(&self.shared.spool), &share)
        });
        let Ok(reference) = shared else { return };
        let entry = Entry { reference: reference.to_string(), len, kept };
        if self.write(key, &entry).is_err() {
            // Nobody else knows of it; if it cannot be revoked, it expires.
            let _ = self.shared.spool.revoke(&reference);
        }
    }

    /// Note that what is kept for `key` is as good as new, as `kept` says.
    pub(super) fn renew(&self, key: &Key, kept: Kept) {
        let name = if kept.is_public { &key.public } else { &key.private };
        if let Some(entry) = open_own(&self.path(name)).ok().as_ref().and_then(read_entry) {
            // If that fails, the resource is asked for again next time.
            let _ = self.write_file(name, &Entry { kept, ..entry });
        }
    }

    fn write(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let (name, other) =
            if entry.kept.is_public { (&key.public, &key.private) } else { (&key.private, &key.public) };
        let replaced = open_own(&self.path(name)).ok().as_ref().and_then(read_entry);
        self.write_file(name, entry)?;
        if let Some(replaced) = replaced {
            self.revoke(&replaced);
        }
        // What was kept for somebody alone is anyone's now, or the other way round.
        if entry.kept.is_public {
            self.remove(&self.path(other));
        }
        Ok(())
    }

    fn write_file(&self, name: &str, entry: &Entry) -> io::Result<()> {
        let temporary = self.shared.directory.join(format!("{name}.{}", std::process::id()));
        let text = serde_json::to_vec(entry).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&temporary)
            .and_then(|mut file| io::Write::write_all(&mut file, &text))
            .and_then(|()| std::fs::rename(&temporary, self.path(name)));
        written.inspect_err(|_| _ = std::fs::remove_file(&temporary))
    }

    /// Let what was used least recently go until `len` more bytes fit; whether they do. One worker at a time
    /// does that: where another is about to, nothing is kept this time.
    fn make_room(&self, len: u64) -> bool {
        let Ok(lock) = self.lock() else { return false };
        let CacheOptions { max_bytes, max_entries, .. } = self.shared.options;
        let mut entries = self.entries();
        entries.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let (mut bytes, mut count) = (len, 1);
        for (_, path, size) in entries {
            bytes = bytes.saturating_add(size);
            count += 1;
            if bytes > max_bytes || count > max_entries {
                self.remove(&path);
            }
        }
        drop(lock);
        true
    }

    /// When each entry was used, where it is, and how large its body is.
    fn entries(&self) -> Vec<(SystemTime, PathBuf, u64)> {
        let listed = std::fs::read_dir(&self.shared.directory).into_iter().flatten().flatten();
        let paths = listed.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(ENTRY));
        let described = paths.map(|path| {
            let file = open_own(&path).ok();
            let used = file.as_ref().and_then(|file| file.metadata().ok()?.modified().ok());
            // What cannot be read goes first.
            let len = file.as_ref().and_then(read_entry).map_or(u64::MAX, |entry| entry.len);
            (used.unwrap_or(UNIX_EPOCH), path, len)
        });
        described.collect()
    }

    /// A lease that ends with this process at the latest.
    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.shared.directory.join(LOCK))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn remove(&self, path: &Path) {
        let entry = open_own(path).ok().as_ref().and_then(read_entry);
        // Gone already, or not to be removed by us: then it is left alone.
        let _ = std::fs::remove_file(path);
        if let Some(entry) = entry {
            self.revoke(&entry);
        }
    }

    fn revoke(&self, entry: &Entry) {
        if let Ok(reference) = entry.reference.parse::<PayloadRef>() {
            // Another worker may hold it: then it ends with that one, or expires.
            let _ = self.shared.spool.revoke(&reference);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.directory.join(format!("{name}{ENTRY}"))
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("directory", &self.shared.directory).finish()
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A file of the cache: never through a link, never waiting for a FIFO.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn read_entry(mut file: &File) -> Option<Entry> {
    let mut text = Vec::new();
    file.by_ref().take(LARGEST_ENTRY).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use mcpgateway_shm::SpoolOptions;

    use super::*;

    fn spool(outer: &Path, disk_budget: u64) -> Spool {
        let directory = Some(outer.join("spool"));
        Spool::new(SpoolOptions { directory, disk_budget: Some(disk_budget), ..SpoolOptions::default() })
            .expect("a spool")
    }

    fn cache(outer: &Path, max_bytes: u64, max_entries: usize) -> Cache {
        let options = CacheOptions { max_bytes, max_entries, ..CacheOptions::default() };
        Cache::new(spool(outer, 1 << 30), options).expect("a cache")
    }

    fn key(uri: &str) -> Key {
        Key::new("default", uri, b"")
    }

    fn kept(etag: &str) -> Kept {
        Kept { etag: Some(etag.into()), fetched: now(), fresh_for: Some(60_000), ..Kept::default() }
    }

    fn body(byte: u8, len: usize) -> Payload {
        vec![byte; len].into()
    }

    fn files(cache: &Cache) -> Vec<PathBuf> {
        let listed = std::fs::read_dir(&cache.shared.directory).expect("a directory");
        listed.map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn what_is_kept_is_found_by_every_worker_until_it_is_replaced() {
        let outer = tempfile::tempdir().expect("a directory");
        let (one, other) = (cache(outer.path(), 1 << 20, 10), cache(outer.path(), 1 << 20, 10));
        assert!(one.find(&key("a")).is_none());
        one.keep(&key("a"), kept("1"), &body(1, 5000));
        assert_eq!(other.find(&key("a")), Some((kept_as(&one, "a"), body(1, 5000))));
        other.keep(&key("a"), kept("2"), &body(2, 6000));
        let (found, bytes) = one.find(&key("a")).expect("kept");
        assert_eq!((found.etag.as_deref(), bytes), (Some("2"), body(2, 6000)));
        assert!(found.fresh_until().is_some_and(|left| left <= Duration::from_secs(60)));
        // One entry, and the lock.
        assert_eq!(files(&one).len(), 2);
    }

    fn kept_as(cache: &Cache, uri: &str) -> Kept {
        let file = open_own(&cache.path(&key(uri).private)).expect("there");
        read_entry(&file).expect("an entry").kept
    }

    #[test]
    fn what_is_private_is_found_only_with_the_same_credentials() {
        let outer = tempfile::tempdir().expect("a directory");
        let cache = cache(outer.path(), 1 << 20, 10);
        let key = |credentials: &[u8]| Key::new("default", "a", credentials);
        cache.keep(&key(b"mine"), kept("1"), &body(1, 10));
        assert!(cache.find(&key(b"mine")).is_some() && cache.find(&key(b"yours")).is_none());
        cache.keep(&key(b"mine"), Kept { is_public: true, ..kept("2") }, &body(2, 10));
        for credentials in [&b"mine"[..], b"yours"] {
            assert_eq!(cache.find(&key(credentials)).expect("public").1, body(2, 10));
        }
        assert!(cache.find(&Key::new("other", "a", b"mine")).is_none());
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let outer = tempfile::tempdir().expect("a directory");
        let cache = cache(outer.path(), 2500, 10);
        for uri in ["a", "b"] {
            cache.keep(&key(uri), kept(uri), &body(1, 1000));
        }
        let older = SystemTime::now() - Duration::from_secs(60);
        let file = open_own(&cache.path(&key("b").private)).expect("there");
        file.set_modified(older).expect("our own");
        cache.keep(&key("c"), kept("c"), &body(1, 1000));
        let is_kept = |uri| cache.find(&key(uri)).is_some();
        assert_eq!((is_kept("a"), is_kept("b"), is_kept("c")), (true, false, true));
        cache.keep(&key("d"), kept("d"), &body(1, 2501));
        assert!(!is_kept("d") && is_kept("c"));
        assert_eq!(cache.shared.spool.stats().expect("read").used.disk, 2 * on_disk(1000));
    }

    /// Bytes of the file that a durable body of `len` bytes is in.
    fn on_disk(len: u64) -> u64 {
        let outer = tempfile::tempdir().expect("a directory");
        let spool = spool(outer.path(), 1 << 30);
        let len = usize::try_from(len).expect("small");
        body(0, len).share(Some(&spool), &ShareOptions::durable(Duration::from_secs(60))).expect("room");
        spool.stats().expect("read").used.disk
    }

    #[test]
    fn a_damaged_entry_or_body_is_as_good_as_none() {
        let outer = tempfile::tempdir().expect("a directory");
        let cache = cache(outer.path(), 1 << 20, 10);
        let path = cache.path(&key("a").private);
        for damage in [&b""[..], b"{", b"[]", b"{\"reference\":\"x\",\"len\":1,\"kept\":{}}", &[0xFF; 100]] {
            cache.keep(&key("a"), kept("1"), &body(1, 5000));
            std::fs::write(&path, damage).expect("written");
            assert!(cache.find(&key("a")).is_none());
            assert!(!path.exists());
        }
        cache.keep(&key("a"), kept("1"), &body(1, 5000));
        let stored = std::fs::read_dir(outer.path().join("spool")).expect("a directory");
        let stored = stored.map(|entry| entry.expect("an entry").path());
        for file in stored.filter(|path| path.is_file() && path.metadata().is_ok_and(|it| it.len() >= 5000)) {
            use std::os::unix::fs::{FileExt, PermissionsExt};
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("our own");
            let written = OpenOptions::new().write(true).open(&file).expect("our own");
            written.write_all_at(&[9], 2500).expect("written");
        }
        assert!(cache.find(&key("a")).is_none());
        std::fs::create_dir(&path).expect("made");
        assert!(cache.find(&key("a")).is_none());
        cache.keep(&key("b"), kept("1"), &body(1, 5000));
        assert!(cache.find(&key("b")).is_some());
    }

    #[test]
    fn a_full_spool_or_a_busy_worker_means_that_nothing_is_kept() {
        let outer = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(spool(outer.path(), 10), CacheOptions::default()).expect("a cache");
        cache.keep(&key("a"), kept("1"), &body(1, 5000));
        assert!(cache.find(&key("a")).is_none());
        let outer = tempfile::tempdir().expect("a directory");
        let other = self::cache(outer.path(), 1 << 20, 10);
        let lock = other.lock().expect("free");
        other.keep(&key("a"), kept("1"), &body(1, 10));
        assert!(other.find(&key("a")).is_none());
        drop(lock);
        other.keep(&key("a"), kept("1"), &body(1, 10));
        assert!(other.find(&key("a")).is_some());
        assert!(
            files(&other).iter().all(|path| path.ends_with(LOCK) || path.to_string_lossy().ends_with(ENTRY))
        );
    }
}
