//! What this worker shares, and the thread that hands out its descriptors.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Result;
use crate::directory::{self, Directory, name};
use crate::fork::ClosedInChild;
use crate::id::Id;
use crate::reference::now;
use crate::region::Region;
use crate::sys;
use crate::wire::{self, Answer, Outcome, QUESTION, Question};

/// More processes than this do not keep a connection: the one that was silent longest loses its own.
const MOST_CONNECTIONS: usize = 128;
/// How long to wait when a connection cannot be accepted for want of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How long to wait at most; some systems refuse to wait for years.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Connections that are accepted before those that wait are served. A fraction of those that are kept, so
/// that a burst does not push out who has not been heard yet.
const ACCEPTED_AT_ONCE: usize = 16;

/// The payloads that this worker shares, each until it expires.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    table: Arc<Mutex<HashMap<Id, Share>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) region: Region,
    /// The hash of the tenant's name.
    pub(crate) tenant: u64,
    /// In milliseconds since 1970.
    pub(crate) expires: u64,
}

impl Shares {
    pub(crate) fn insert(&self, id: Id, share: Share) {
        self.table().insert(id, share);
    }

    pub(crate) fn remove(&self, id: Id) -> Option<Share> {
        self.table().remove(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }

    /// The payload `id`, if it has not expired.
    pub(crate) fn find(&self, id: Id) -> Option<Share> {
        self.table().get(&id).filter(|share| now() < share.expires).cloned()
    }

    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.table());
        drop(all);
    }

    /// Drop what has expired; the time until the next does.
    fn expire(&self) -> Option<Duration> {
        let now = now();
        let mut table = self.table();
        let expired: Vec<Share> =
            table.extract_if(|_, share| share.expires <= now).map(|(_, share)| share).collect();
        let next = table.values().map(|share| share.expires).min();
        drop(table);
        drop(expired);
        next.map(|expires| Duration::from_millis(expires - now))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Id, Share>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket of this worker and its thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    directory: Arc<Directory>,
    worker: Id,
    wake: ClosedInChild<UnixStream>,
}

impl Listener {
    pub(crate) fn start(directory: &Arc<Directory>, worker: Id, shares: Shares) -> Result<Self> {
        let failed = |cause| directory.error("opening a socket to share from", cause);
        let path = sys::socket_path(directory.as_fd(), directory.path(), &name::socket(worker));
        let socket = ClosedInChild::new(UnixListener::bind(path).map_err(failed)?);
        match Self::spawn(socket, shares) {
            Ok(wake) => Ok(Self { directory: Arc::clone(directory), worker, wake }),
            Err(cause) => {
                // In its place nobody could bind another.
                let _ = directory.remove(&name::socket(worker));
                Err(failed(cause))
            }
        }
    }

    fn spawn(socket: ClosedInChild<UnixListener>, shares: Shares) -> io::Result<ClosedInChild<UnixStream>> {
        let (wake, woken) = UnixStream::pair()?;
        let (wake, woken) = (ClosedInChild::new(wake), ClosedInChild::new(woken));
        for stream in [&wake, &woken] {
            stream.set_nonblocking(true)?;
        }
        socket.set_nonblocking(true)?;
        let server = Server { socket, woken, shares, connections: VecDeque::new() };
        std::thread::Builder::new().name("mcpgateway-share".into()).spawn(move || server.run())?;
        Ok(wake)
    }

    /// Let the thread look again at what expires when.
    pub(crate) fn wake(&self) {
        // A full pipe means that it is about to wake up.
        let _ = io::Write::write(&mut &*self.wake, &[0]);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The thread sees the end of `wake`, whoever else has a copy of it.
        let _ = self.wake.shutdown(Shutdown::Both);
        let _ = self.directory.remove(&name::socket(self.worker));
    }
}

struct Server {
    socket: ClosedInChild<UnixListener>,
    woken: ClosedInChild<UnixStream>,
    shares: Shares,
    /// The one that spoke last is last.
    connections: VecDeque<Connection>,
}

struct Connection {
    stream: ClosedInChild<UnixStream>,
    question: [u8; QUESTION],
    filled: usize,
}

/// What there is to do.
struct Ready {
    woken: bool,
    accept: bool,
    /// By their place, in rising order.
    connections: Vec<usize>,
}

impl Server {
    fn run(mut self) {
        let mut accepting = true;
        loop {
            let patience = self.shares.expire();
            let Ok(ready) = self.wait(patience, accepting) else { return };
            if ready.woken && !self.stays_after_waking() {
                return;
            }
            // From the last, so that places stay what they are.
            for place in ready.connections.into_iter().rev() {
                self.serve(place);
            }
            accepting = !ready.accept || self.accept();
        }
    }

    fn wait(&self, patience: Option<Duration>, accepting: bool) -> io::Result<Ready> {
        let wanted = if accepting { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(&*self.woken, PollFlags::IN), PollFd::new(&*self.socket, wanted)];
        polled.extend(self.connections.iter().map(|open| PollFd::new(&*open.stream, PollFlags::IN)));
        let patience = if accepting { patience } else { Some(OUT_OF_DESCRIPTORS) };
        let patience = patience.and_then(|patience| Timespec::try_from(patience.min(LONGEST_WAIT)).ok());
        match poll(&mut polled, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let connections = (2..ready.len()).filter(|at| ready[*at]).map(|at| at - 2).collect();
        Ok(Ready { woken: ready[0], accept: ready[1], connections })
    }

    /// Whether somebody woke us for more than the end.
    fn stays_after_waking(&self) -> bool {
        !matches!((&*self.woken).read(&mut [0; 64]), Ok(0))
    }

    /// Accept some of those who wait; whether that can go on at once.
    fn accept(&mut self) -> bool {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.socket.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return true,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.connections.pop_front().is_some(),
            }
        }
        true
    }

    fn welcome(&mut self, stream: UnixStream) {
        let ours = sys::peer_user(&stream).is_ok_and(|user| user == directory::user());
        if ours && stream.set_nonblocking(true).is_ok() {
            if self.connections.len() >= MOST_CONNECTIONS {
                self.connections.pop_front();
            }
            let stream = ClosedInChild::new(stream);
            self.connections.push_back(Connection { stream, question: [0; QUESTION], filled: 0 });
        }
    }

    fn serve(&mut self, place: usize) {
        let Some(mut connection) = self.connections.remove(place) else { return };
        if connection.serve(&self.shares).is_ok() {
            self.connections.push_back(connection);
        }
    }
}

impl Connection {
    /// Read what has come, answer if it is a whole question.
    ///
    /// # Errors
    /// When the connection is at its end, or says what nobody understands.
    fn serve(&mut self, shares: &Shares) -> io::Result<()> {
        match (&*self.stream).read(&mut self.question[self.filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(cause) => return Err(cause),
        }
        if self.filled < QUESTION {
            return Ok(());
        }
        self.filled = 0;
        let question = Question::decode(&self.question).ok_or(io::ErrorKind::InvalidData)?;
        self.answer(question, shares.find(question.id))
    }

    fn answer(&self, Question { id, tenant }: Question, share: Option<Share>) -> io::Result<()> {
        let refused = |outcome| wire::send(&self.stream, Answer::without_payload(outcome, id), None);
        let Some(Share { region, tenant: owner, .. }) = share else { return refused(Outcome::Gone) };
        if owner != tenant {
            return refused(Outcome::Denied);
        }
        let Some(file) = region.file() else { return refused(Outcome::Gone) };
        let (len, checksum) = (region.len() as u64, region.checksum());
        wire::send(&self.stream, Answer { outcome: Outcome::Here, id, len, checksum }, Some(file))
    }
}
