//! Which generation an endpoint was found to speak, remembered for this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mcpgateway_shm::PerProcess;

use crate::version::Generation;

/// Endpoints remembered; beyond that all are forgotten, and found out again.
const MOST: usize = 4096;

static KNOWN: PerProcess<Mutex<HashMap<String, Generation>>> = PerProcess::new();

pub(crate) fn recall(endpoint: &str) -> Option<Generation> {
    with(|known| known.get(endpoint).copied())
}

pub(crate) fn remember(endpoint: &str, generation: Generation) {
    with(|known| {
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(endpoint.to_owned(), generation);
    });
}

pub(crate) fn forget(endpoint: &str) {
    with(|known| known.remove(endpoint));
}

fn with<T>(act: impl FnOnce(&mut HashMap<String, Generation>) -> T) -> T {
    let known = KNOWN.get_or_init(Mutex::default);
    act(&mut known.lock().unwrap_or_else(PoisonError::into_inner))
}
