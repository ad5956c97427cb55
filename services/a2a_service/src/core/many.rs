//! Many calls at once, each with a result of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use mcpgateway_engine::runtime::AbortHandle;
use mcpgateway_engine::{Client, Error, ErrorKind, Result, runtime};
use tokio::sync::mpsc;

use super::{Reply, Request, invoke_agent};

/// In which order the results of a [`Batch`] are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the requests were given.
    Input,
    /// As they complete.
    Completion,
}

/// Calls under way. Dropping it cancels those that are not done.
#[derive(Debug)]
pub struct Batch {
    results: mpsc::UnboundedReceiver<(usize, Result<Reply>)>,
    order: Order,
    /// Calls whose result has not come, by index.
    pending: BTreeSet<usize>,
    /// Results that came before their turn.
    early: BTreeMap<usize, Result<Reply>>,
    next: usize,
    workers: Stopper,
}

/// Ends a [`Batch`] from elsewhere, even while somebody waits for its results.
#[derive(Clone, Debug)]
pub struct Stopper(Vec<AbortHandle>);

impl Stopper {
    /// Cancel the calls that are not done; the batch then ends with the results that are there.
    pub fn stop(&self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Begin to invoke the agents of `requests`, at most `concurrency` at a time.
///
/// A failed call is a result like any other: it does not end the batch.
///
/// # Errors
/// [`QuotaExceeded`](mcpgateway_engine::ErrorKind::QuotaExceeded) when the system gives this process
/// no more threads.
pub fn invoke_many(
    client: &Client,
    requests: Vec<Request>,
    concurrency: NonZeroUsize,
    order: Order,
) -> Result<Batch> {
    let (sender, results) = mpsc::unbounded_channel();
    let workers = concurrency.get().min(requests.len());
    let pending = (0..requests.len()).collect();
    let waiting = Arc::new(Mutex::new(requests.into_iter().enumerate()));
    let work = |_| {
        let (client, waiting, sender) = (client.clone(), Arc::clone(&waiting), sender.clone());
        runtime::spawn(async move {
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((index, request)) = next() {
                if sender.send((index, runtime::catch_panic(invoke_agent(&client, request)).await)).is_err() {
                    break;
                }
            }
        })
    };
    let workers = (0..workers).map(work).collect::<Result<_>>()?;
    Ok(Batch { results, order, pending, early: BTreeMap::new(), next: 0, workers: Stopper(workers) })
}

impl Batch {
    /// What ends this batch from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.workers.clone()
    }

    /// Wait until the calls that a [`Stopper`] cancelled have let go of their buffers; drops the results.
    pub async fn ended(&mut self) {
        while self.results.recv().await.is_some() {}
    }

    /// Wait until there are `least` results or all there will be, and take those that are there, at most
    /// `most`. Empty at the end.
    pub async fn take(&mut self, least: usize, most: usize) -> Vec<(usize, Result<Reply>)> {
        let mut taken = Vec::new();
        self.take_early(&mut taken, most);
        while taken.len() < least.clamp(1, most) {
            match self.results.recv().await {
                Some((index, result)) => self.sort_in(index, result, &mut taken),
                None if self.pending.is_empty() => break,
                None => self.give_up_pending(),
            }
            self.take_early(&mut taken, most);
        }
        while taken.len() < most
            && let Ok((index, result)) = self.results.try_recv()
        {
            self.sort_in(index, result, &mut taken);
        }
        self.take_early(&mut taken, most);
        taken
    }

    /// No more results come: what was cancelled gets one that says so.
    fn give_up_pending(&mut self) {
        for index in std::mem::take(&mut self.pending) {
            self.early.insert(
                index,
                Err(Error::new(ErrorKind::Cancelled, "the batch was cancelled before this call was done")),
            );
        }
    }

    fn sort_in(&mut self, index: usize, result: Result<Reply>, taken: &mut Vec<(usize, Result<Reply>)>) {
        self.pending.remove(&index);
        match self.order {
            Order::Completion => taken.push((index, result)),
            Order::Input => {
                self.early.insert(index, result);
            }
        }
    }

    /// Take the results whose turn has come.
    fn take_early(&mut self, taken: &mut Vec<(usize, Result<Reply>)>, most: usize) {
        while taken.len() < most
            && let Some(first) = self.early.first_entry()
            && (self.order == Order::Completion || *first.key() == self.next)
        {
            taken.push(first.remove_entry());
            self.next += 1;
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.workers.stop();
    }
}
