//! The spool: where bodies go that are to outlive a call, to be shared, or to fit in a budget.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::budget::{Budget, Limits, Resource, Usage, hash_of};
use crate::directory::{Directory, name};
use crate::foreign::{self, FileRules};
use crate::id::Id;
use crate::listener::{Listener, Share, Shares};
use crate::machine;
use crate::per_process::PerProcess;
use crate::pool::{Pool, PoolStats};
use crate::reader::Reader;
use crate::reference::{Claims, Location, PayloadRef, is_content_type, is_tenant, now};
use crate::region::{Region, Tier};
use crate::storage;
use crate::sweep::{self, Keeper, SweepReport};
use crate::sys;
use crate::writer::SpoolWriter;
use crate::{Error, ErrorKind, Result};

/// What a [`Spool`] may use, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct SpoolOptions {
    /// Bytes of memory for the bodies of all workers of the directory. By default a quarter of what the
    /// container (its memory control group) or the machine has, or half of what is free, whichever is
    /// less.
    pub memory_budget: Option<u64>,
    /// Bytes of disk for the bodies of all workers of the directory. By default half of what is free.
    pub disk_budget: Option<u64>,
    /// The directory, made with mode 0700 if it does not exist. By default `mcpgateway-shm-<uid>` below
    /// `$XDG_RUNTIME_DIR`, the directory for temporary files or `/var/tmp`: the first that does not keep
    /// its files in memory.
    pub directory: Option<PathBuf>,
    /// Whose bodies these are: up to 64 ASCII letters, digits, `.`, `_`, `~` and `-`.
    pub tenant: String,
    /// The part of each budget that the tenant may have, above 0 and up to 1.
    pub tenant_share: f64,
    /// Bodies above this size, in bytes, are spooled where other processes can map them; smaller ones
    /// stay in the memory of this process, and are copied when they are shared.
    pub map_above: u64,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            memory_budget: None,
            disk_budget: None,
            directory: None,
            tenant: "default".into(),
            tenant_share: 1.0,
            map_above: 1 << 20,
        }
    }
}

/// How a payload is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareOptions {
    /// For how long it can be opened.
    pub ttl: Duration,
    /// Whether it outlives this worker, in a file, until it expires.
    pub durable: bool,
    /// What kind of content it is: up to 255 visible ASCII characters.
    pub content_type: Option<String>,
}

impl ShareOptions {
    /// For `ttl`, as long as this worker lives.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, durable: false, content_type: None }
    }

    /// For `ttl`, whatever happens to this worker.
    #[must_use]
    pub fn durable(ttl: Duration) -> Self {
        Self { durable: true, ..Self::new(ttl) }
    }
}

/// What a spool holds where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStats {
    /// Its directory.
    pub directory: PathBuf,
    /// Whether files in that directory are kept in memory, where they do not relieve it.
    pub directory_in_memory: bool,
    /// The limits.
    pub limits: Limits,
    /// What all workers hold, and the durable payloads.
    pub used: Usage,
    /// What this worker holds.
    pub used_here: Usage,
    /// Payloads that this worker shares now.
    pub shares: usize,
    /// The warm pool of this process.
    pub pool: PoolStats,
}

/// Takes bodies of any size within its budgets, and hands them to other processes. Clones share it.
///
/// After a fork the child has an account, a lease and threads of its own with its first call.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    directory: Arc<Directory>,
    reader: Reader,
    limits: Limits,
    tenant: String,
    map_above: u64,
    worker: PerProcess<Worker>,
}

/// What belongs to one process.
struct Worker {
    budget: Budget,
    shares: Shares,
    listener: Mutex<Option<Listener>>,
    _keeper: Keeper,
}

impl Spool {
    /// Open a spool, and sweep its directory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a tenant or a share that cannot be, [`ErrorKind::Denied`] for a
    /// directory that others may use, [`ErrorKind::NoSpace`] for one without room for its ledger.
    pub fn new(options: SpoolOptions) -> Result<Self> {
        check(&options)?;
        let directory = Arc::new(Directory::open(options.directory.as_deref())?);
        let limits = limits(&options, &directory);
        let shared = Shared {
            reader: Reader::new(Arc::clone(&directory))?,
            directory,
            limits,
            tenant: options.tenant,
            map_above: options.map_above,
            worker: PerProcess::new(),
        };
        shared.worker()?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A writer for a body, of about `expected` bytes if that is known: it goes straight to where so
    /// many have room.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] when `expected` is over the budgets: nothing was allocated.
    pub fn writer(&self, expected: Option<u64>) -> Result<SpoolWriter> {
        SpoolWriter::new(self.clone(), expected, self.shared.map_above)
    }

    /// A body with these bytes.
    ///
    /// # Errors
    /// Those of [`writer`](Self::writer) and [`SpoolWriter::write`].
    pub fn put(&self, bytes: &[u8]) -> Result<Region> {
        self.put_frames(Some(bytes.len() as u64), [bytes])
    }

    /// A body with these bytes, which come in pieces; `expected` is how many there are, if that is known.
    ///
    /// # Errors
    /// Those of [`writer`](Self::writer) and [`SpoolWriter::write`].
    pub fn put_frames(
        &self,
        expected: Option<u64>,
        frames: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Region> {
        let mut writer = self.writer(expected)?;
        frames.into_iter().try_for_each(|frame| writer.write(frame.as_ref()))?;
        writer.finish()
    }

    /// A body with the contents of the file at `path`, by default a copy of it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for what is no regular file, or a link; [`ErrorKind::Io`] for what cannot be
    /// read, or is shortened meanwhile; else those of [`writer`](Self::writer).
    pub fn open_file(&self, path: &Path, rules: FileRules) -> Result<Region> {
        foreign::open(self, path, rules)
    }

    /// A reference with which other processes of this user can open `region` until it expires.
    ///
    /// The payload stays where it is until then, in its budget, whether or not `region` is dropped;
    /// see [`revoke`](Self::revoke). A body in the memory of this process is copied once, and so is any
    /// body in memory that is made durable. What is durable counts as disk space of its own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a content type or a time that cannot be; else those of
    /// [`writer`](Self::writer), if there is something to copy.
    pub fn share(&self, region: &Region, options: &ShareOptions) -> Result<PayloadRef> {
        let worker = self.shared.worker()?;
        let claims = self.claims(Id::random()?, region, options)?;
        let shareable = if options.durable {
            region.file().map(|_| region.clone())
        } else {
            Some(self.shareable(region)?)
        };
        let descriptor = shareable.as_ref().map(|_| Location::Descriptor { worker: worker.budget.worker() });
        let locations = descriptor.into_iter().chain(options.durable.then_some(Location::File)).collect();
        // Before anything is shared that nobody could revoke without it.
        let reference = PayloadRef::sign(Claims { locations, ..claims.clone() }, self.shared.reader.key())?;
        if let Some(region) = shareable {
            let share = Share { region, tenant: worker.budget.tenant(), expires: claims.expires };
            worker.share(&self.shared.directory, claims.id, share)?;
        }
        if options.durable {
            self.keep_in_file(&claims, region).inspect_err(|_| drop(worker.shares.remove(claims.id)))?;
        }
        Ok(reference)
    }

    /// End what [`share`](Self::share) began: nobody opens the payload any more. Who has it open keeps it.
    ///
    /// Only the worker that shares the payload can do that, as long as it lives.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for a reference that is not this tenant's; [`ErrorKind::PayloadGone`] for one
    /// that has expired; [`ErrorKind::Unsupported`] for one that another living worker serves, a parent of
    /// this forked process among them: nothing was revoked.
    pub fn revoke(&self, reference: &PayloadRef) -> Result<()> {
        let claims = self.shared.reader.admit(reference, &self.shared.tenant)?;
        let worker = self.shared.worker()?;
        for location in &claims.locations {
            if let Location::Descriptor { worker: other } = *location
                && other != worker.budget.worker()
                && worker.budget.lives(other)?
            {
                let subject = format!("payload {}: only worker {other} can revoke it", claims.id);
                return Err(Error::new(ErrorKind::Unsupported, subject));
            }
        }
        worker.shares.remove(claims.id);
        if claims.locations.contains(&Location::File) {
            match self.shared.directory.remove(&durable_name(claims)) {
                Ok(()) => drop(self.sweep()?),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(self.shared.directory.error("removing a payload", cause)),
            }
        }
        Ok(())
    }

    /// Open a payload that a worker with the same directory shares: the same pages, not a copy.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for a reference that this spool did not sign, or that is another tenant's;
    /// [`ErrorKind::PayloadGone`] for one that has expired or was revoked, or whose worker is gone;
    /// [`ErrorKind::TimedOut`] for a worker that does not answer.
    pub fn open(&self, reference: &PayloadRef) -> Result<Region> {
        let Shared { reader, tenant, .. } = &*self.shared;
        let claims = reader.admit(reference, tenant)?;
        let ours = self.shared.worker()?.shares.find(claims.id);
        ours.map_or_else(|| reader.open(claims), |share| Ok(share.region))
    }

    /// Remove what dead workers of the directory left, and what has expired. Happens every minute, too.
    ///
    /// # Errors
    /// When the directory cannot be read, or its ledger is locked for more than two seconds.
    pub fn sweep(&self) -> Result<SweepReport> {
        sweep::sweep_directory(&self.shared.directory)
    }

    /// What is held where.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn stats(&self) -> Result<SpoolStats> {
        let worker = self.shared.worker()?;
        Ok(SpoolStats {
            directory: self.directory().to_owned(),
            directory_in_memory: sys::keeps_files_in_memory(self.shared.directory.as_fd()),
            limits: self.shared.limits,
            used: worker.budget.used()?,
            used_here: worker.budget.used_here(),
            shares: worker.shares.len(),
            pool: Pool::global().stats(),
        })
    }

    /// The budget that all workers of the directory share.
    ///
    /// # Errors
    /// When this is a forked child that cannot open an account of its own.
    pub fn budget(&self) -> Result<Budget> {
        Ok(self.shared.worker()?.budget.clone())
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.shared.directory.path()
    }

    /// Whose bodies these are.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.shared.tenant
    }

    /// Bodies above this size are spooled where other processes can map them.
    #[must_use]
    pub fn map_above(&self) -> u64 {
        self.shared.map_above
    }

    pub(crate) fn directory_handle(&self) -> &Directory {
        &self.shared.directory
    }

    fn claims(&self, id: Id, region: &Region, options: &ShareOptions) -> Result<Claims> {
        if options.content_type.as_deref().is_some_and(|text| !is_content_type(text)) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the content type is not visible ASCII of up to 255 bytes",
            ));
        }
        let ttl = u64::try_from(options.ttl.as_millis()).ok();
        let expires = ttl.and_then(|ttl| now().checked_add(ttl));
        Ok(Claims {
            id,
            tenant: self.shared.tenant.clone(),
            len: region.len() as u64,
            checksum: region.checksum(),
            expires: expires
                .ok_or_else(|| Error::new(ErrorKind::InvalidOption, "the ttl is no time at all"))?,
            content_type: options.content_type.clone(),
            locations: Vec::new(),
        })
    }

    /// `region`, or a copy of it that other processes can map.
    fn shareable(&self, region: &Region) -> Result<Region> {
        if region.file().is_some() {
            return Ok(region.clone());
        }
        let mut writer = SpoolWriter::shareable(self.clone(), region.len() as u64)?;
        writer.write(region)?;
        let copy = writer.finish()?;
        if copy.file().is_some() {
            return Ok(copy);
        }
        let subject = format!("sharing {} bytes: no descriptor for them", region.len());
        Err(Error::new(ErrorKind::Unsupported, subject))
    }

    /// Give a durable payload its file: by name where it is in one already, else by a copy.
    fn keep_in_file(&self, claims: &Claims, region: &Region) -> Result<()> {
        let directory = self.directory_handle();
        let failed = |cause| directory.error("keeping a durable payload", cause);
        let mut charge = self.budget()?.charge(Resource::Disk);
        charge.grow_to(storage::size_on_disk(claims.len))?;
        let name = durable_name(claims);
        let publish = |file| sys::publish(file, directory.as_fd(), &name).map_err(failed);
        if let Some(file) = region.file().filter(|_| region.tier() == Tier::File)
            && charge.make_durable(|| publish(file)).is_ok()
        {
            return Ok(());
        }
        let partial = directory.create_partial()?;
        storage::write_complete(partial.file(), region, claims.checksum).map_err(failed)?;
        charge.make_durable(|| partial.keep_as(&name).map(drop).map_err(failed))
    }
}

impl Shared {
    fn worker(&self) -> Result<&Worker> {
        self.worker.get_or_try_init(|| Worker::start(self))
    }
}

impl Worker {
    fn start(shared: &Shared) -> Result<Self> {
        sweep::sweep_directory(&shared.directory)?;
        let budget = Budget::open(Arc::clone(&shared.directory), shared.limits, &shared.tenant)?;
        let keeper = Keeper::start(&shared.directory, &budget);
        Ok(Self { budget, shares: Shares::default(), listener: Mutex::new(None), _keeper: keeper })
    }

    fn share(&self, directory: &Arc<Directory>, id: Id, share: Share) -> Result<()> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.is_none() {
            *listener = Some(Listener::start(directory, self.budget.worker(), self.shares.clone())?);
        }
        self.shares.insert(id, share);
        if let Some(listener) = &*listener {
            listener.wake();
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread of the listener may hold the table a little longer than we do.
        self.shares.clear();
    }
}

fn durable_name(claims: &Claims) -> String {
    name::payload(claims.id, hash_of(&claims.tenant), claims.expires)
}

fn check(options: &SpoolOptions) -> Result<()> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidOption, what));
    if !is_tenant(&options.tenant) {
        return invalid("tenant: 1 to 64 ASCII letters, digits, '.', '_', '~' and '-'");
    }
    if !(options.tenant_share > 0.0 && options.tenant_share <= 1.0) {
        return invalid("tenant_share: above 0 and up to 1");
    }
    Ok(())
}

fn limits(options: &SpoolOptions, directory: &Directory) -> Limits {
    let memory = options.memory_budget.unwrap_or_else(machine::default_memory_budget);
    let disk = options.disk_budget.unwrap_or_else(|| directory.bytes_free().unwrap_or(0) / 2);
    Limits {
        memory,
        disk,
        tenant_memory: share_of(memory, options.tenant_share),
        tenant_disk: share_of(disk, options.tenant_share),
    }
}

fn share_of(budget: u64, share: f64) -> u64 {
    if share >= 1.0 {
        return budget;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a budget need not be exact to the byte, and is not negative"
    )]
    let bytes = (budget as f64 * share) as u64;
    bytes
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { limits, tenant, .. } = &*self.shared;
        f.debug_struct("Spool")
            .field("directory", &self.directory())
            .field("tenant", tenant)
            .field("limits", limits)
            .finish()
    }
}
