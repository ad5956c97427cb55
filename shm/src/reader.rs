//! Opening what another process shares: check the reference, take the nearest location that answers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SocketAddrUnix, connect};

use crate::budget::hash_of;
use crate::directory::{self, Directory, name};
use crate::id::Id;
use crate::key::Key;
use crate::per_process::PerProcess;
use crate::reference::{Claims, Location, PayloadRef, now};
use crate::region::Region;
use crate::storage;
use crate::sys;
use crate::wire::{self, Answer, Outcome, Question};
use crate::{Error, ErrorKind, Result};

/// A worker that does not answer for this long was stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections to one worker that are kept for the next payload.
const KEPT_CONNECTIONS: usize = 8;
/// Workers come and go; connections are kept to this many.
const KEPT_WORKERS: usize = 256;

/// Open a payload that a worker of the spool in `directory` shares with `tenant`, without a spool of
/// one's own; `None` is the default directory.
///
/// # Errors
/// Those of [`Spool::open`](crate::Spool::open), and when the directory cannot be used.
pub fn open(reference: &PayloadRef, directory: Option<&Path>, tenant: &str) -> Result<Region> {
    let reader = Reader::of(directory)?;
    reader.open(reader.admit(reference, tenant)?)
}

/// Opens payloads of one directory. Keeps its connections, which a forked child makes anew.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: Arc<Directory>,
    key: Key,
    connections: PerProcess<Connections>,
}

type Connections = Mutex<HashMap<Id, Vec<UnixStream>>>;

impl Reader {
    pub(crate) fn new(directory: Arc<Directory>) -> Result<Self> {
        let key = Key::load(&directory)?;
        Ok(Self { directory, key, connections: PerProcess::new() })
    }

    /// The reader of a directory, made with the first payload of it.
    fn of(directory: Option<&Path>) -> Result<Arc<Self>> {
        static READERS: PerProcess<Mutex<HashMap<PathBuf, Arc<Reader>>>> = PerProcess::new();
        let opened = Directory::open(directory)?;
        let readers = READERS.get_or_init(Mutex::default);
        let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(opened.path()).filter(|known| known.is_for(&opened)) {
            return Ok(Arc::clone(reader));
        }
        let path = opened.path().to_owned();
        let reader = Arc::new(Self::new(Arc::new(opened))?);
        readers.insert(path, Arc::clone(&reader));
        Ok(reader)
    }

    /// Whether this is about that very directory, and not an earlier one of the same name.
    fn is_for(&self, other: &Directory) -> bool {
        let identity =
            |directory: &Directory| rustix::fs::fstat(directory).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        identity(&self.directory).is_some_and(|ours| Some(ours) == identity(other))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// What the reference says, if it is genuine, this tenant's and not expired.
    pub(crate) fn admit<'a>(&self, reference: &'a PayloadRef, tenant: &str) -> Result<&'a Claims> {
        let claims = reference.verify(&self.key)?;
        if claims.tenant != tenant {
            return Err(denied(claims));
        }
        if claims.expires <= now() {
            return Err(gone(claims, "it has expired"));
        }
        Ok(claims)
    }

    /// The payload that admitted `claims` are about.
    pub(crate) fn open(&self, claims: &Claims) -> Result<Region> {
        let mut failure = gone(claims, "no location that can be used here");
        for location in &claims.locations {
            match self.open_at(location, claims) {
                Ok(region) => return Ok(region),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn open_at(&self, location: &Location, claims: &Claims) -> Result<Region> {
        let file = match location {
            Location::Descriptor { worker } => self.ask(*worker, claims)?,
            Location::File => self.open_file(claims)?,
            Location::Object { .. } => {
                let subject = format!("payload {}: object stores cannot be read yet", claims.id);
                return Err(Error::new(ErrorKind::Unsupported, subject));
            }
        };
        map(&file, claims).map_err(|cause| Error::io(format!("payload {}: mapping it", claims.id), cause))?
    }

    fn open_file(&self, claims: &Claims) -> Result<File> {
        let name = name::payload(claims.id, hash_of(&claims.tenant), claims.expires);
        self.directory.open_file(&name, OFlags::RDONLY).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => gone(claims, "its file was removed"),
            _ => self.directory.error("opening a payload's file", cause),
        })
    }

    /// Ask a worker for the descriptor; over a new connection if the kept one turns out to be dead.
    fn ask(&self, worker: Id, claims: &Claims) -> Result<File> {
        let kept = self.take_connection(worker);
        let answered = match kept.map(|stream| exchange(stream, claims)) {
            Some(Ok(answered)) => Ok(answered),
            Some(Err(cause)) if !is_dead(&cause) => Err(cause),
            _ => self.ask_anew(worker, claims),
        };
        let (stream, answer, file) = answered.map_err(|cause| {
            if is_dead(&cause) {
                return gone(claims, "the worker that held it is gone");
            }
            Error::io(format!("payload {}: asking the worker that holds it", claims.id), cause)
        })?;
        self.keep_connection(worker, stream);
        match (answer.outcome, file) {
            (Outcome::Here, Some(file)) if (answer.len, answer.checksum) == (claims.len, claims.checksum) => {
                Ok(file)
            }
            (Outcome::Denied, _) => Err(denied(claims)),
            _ => Err(gone(claims, "the worker does not hold it any more")),
        }
    }

    /// Ask over a new connection; once more if it was closed, as a worker with too many of them does.
    fn ask_anew(&self, worker: Id, claims: &Claims) -> io::Result<(UnixStream, Answer, Option<File>)> {
        match exchange(self.connect(worker)?, claims) {
            Err(cause) if is_dead(&cause) => exchange(self.connect(worker)?, claims),
            answered => answered,
        }
    }

    fn connect(&self, worker: Id) -> io::Result<UnixStream> {
        let path = sys::socket_path(self.directory.as_fd(), self.directory.path(), &name::socket(worker));
        let address = SocketAddrUnix::new(path.as_path())?;
        let descriptor = sys::open_socket()?;
        set_socket_timeout(&descriptor, Timeout::Recv, Some(PATIENCE))?;
        set_socket_timeout(&descriptor, Timeout::Send, Some(PATIENCE))?;
        rustix::io::retry_on_intr(|| connect(&descriptor, &address))?;
        let stream = UnixStream::from(descriptor);
        if sys::peer_user(&stream)? == directory::user() {
            Ok(stream)
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the worker is another user's"))
        }
    }

    fn take_connection(&self, worker: Id) -> Option<UnixStream> {
        self.with_connections(|connections| connections.get_mut(&worker)?.pop())
    }

    fn keep_connection(&self, worker: Id, stream: UnixStream) {
        self.with_connections(|connections| {
            if connections.len() >= KEPT_WORKERS {
                connections.clear();
            }
            let kept = connections.entry(worker).or_default();
            if kept.len() < KEPT_CONNECTIONS {
                kept.push(stream);
            }
        });
    }

    fn with_connections<T>(&self, act: impl FnOnce(&mut HashMap<Id, Vec<UnixStream>>) -> T) -> T {
        let connections = self.connections.get_or_init(Mutex::default);
        act(&mut connections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ask for a payload, and keep the connection only if it answers that question.
fn exchange(mut stream: UnixStream, claims: &Claims) -> io::Result<(UnixStream, Answer, Option<File>)> {
    let question = Question { id: claims.id, tenant: hash_of(&claims.tenant) };
    stream.write_all(&question.encode())?;
    let (answer, file) = wire::receive(&stream)?;
    if answer.id == claims.id {
        Ok((stream, answer, file))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
    }
}

fn is_dead(cause: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        cause.kind(),
        Kind::NotFound
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    )
}

/// Map a payload that somebody else made, once all about it is checked.
fn map(file: &File, claims: &Claims) -> io::Result<Result<Region>> {
    let Some(tier) = storage::check(file, claims.len, claims.checksum)? else {
        return Ok(Err(gone(claims, "what is in its place is not what was shared")));
    };
    let map = storage::map(file, claims.len)?;
    Ok(Ok(Region::mapped(map, None, tier, Some(claims.checksum), None)))
}

pub(crate) fn gone(claims: &Claims, why: &str) -> Error {
    Error::new(ErrorKind::PayloadGone, format!("payload {}: {why}", claims.id))
}

fn denied(claims: &Claims) -> Error {
    Error::new(ErrorKind::Denied, format!("payload {}: it is another tenant's", claims.id))
}
