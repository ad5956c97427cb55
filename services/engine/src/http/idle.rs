//! Connections that wait for their next request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Instant;

use super::connect::IDLE_CONNECTION;
use super::direct::Connection;
use super::guard::Guarded;

/// Connections that wait for the next request, by authority, the most recently used last.
#[derive(Default)]
pub(super) struct IdleConnections {
    state: Mutex<IdleState>,
}

#[derive(Default)]
struct IdleState {
    by_authority: HashMap<Box<str>, Vec<Idle>>,
    /// Whether a task closes those that have waited too long.
    is_watched: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl IdleConnections {
    /// The connection used last that is still open, of those that the guard lets pass.
    pub(super) async fn take(&self, authority: &str, guarded: Option<Guarded<'_>>) -> Option<Connection> {
        loop {
            let mut connection = self.pop(authority, guarded)?;
            let is_quiet = std::future::poll_fn(|context| Poll::Ready(connection.is_quiet(context)));
            if is_quiet.await {
                return Some(connection);
            }
        }
    }

    fn pop(&self, authority: &str, guarded: Option<Guarded<'_>>) -> Option<Connection> {
        let mut state = self.state();
        let waiting = state.by_authority.get_mut(authority)?;
        let last = waiting.iter().rposition(|idle| idle.connection.is_permitted(guarded))?;
        let idle = waiting.remove(last);
        drop(state);
        (idle.since.elapsed() < IDLE_CONNECTION).then_some(idle.connection)
    }

    pub(super) fn put(self: &Arc<Self>, authority: &str, connection: Connection) {
        let mut state = self.state();
        let idle = Idle { connection, since: Instant::now() };
        match state.by_authority.get_mut(authority) {
            Some(waiting) => waiting.push(idle),
            None => drop(state.by_authority.insert(authority.into(), vec![idle])),
        }
        if !state.is_watched {
            state.is_watched = true;
            tokio::spawn(close_the_stale(Arc::downgrade(self)));
        }
    }

    /// Close all of them.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut self.state().by_authority);
        drop(closed);
    }

    /// Close what has waited too long; whether there is anything left to watch.
    fn close_stale(&self) -> bool {
        let mut state = self.state();
        state.by_authority.retain(|_, waiting| {
            waiting.retain(|idle| idle.since.elapsed() < IDLE_CONNECTION);
            !waiting.is_empty()
        });
        state.is_watched = !state.by_authority.is_empty();
        state.is_watched
    }

    fn state(&self) -> MutexGuard<'_, IdleState> {
        // Nothing panics while the lock is held; were it to happen, the lists would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for IdleConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting: usize = self.state().by_authority.values().map(Vec::len).sum();
        f.debug_struct("IdleConnections").field("waiting", &waiting).finish()
    }
}

async fn close_the_stale(idle: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(IDLE_CONNECTION).await;
        if !idle.upgrade().is_some_and(|idle| idle.close_stale()) {
            return;
        }
    }
}
