//! Bytes of a resource that are received one after the other, over as many connections as it takes.

use bytes::Bytes;
use mcpgateway_engine::http::{Collector, Destination, StreamingResponse};
use mcpgateway_engine::{Error, ErrorKind, Limits, Payload, Progress, Result, TransferPolicy};
use mcpgateway_shm::Spool;

/// A part of a resource on its way to where it belongs.
pub(super) struct Part<'a> {
    start: u64,
    /// The first byte after it, where that is known.
    end: Option<u64>,
    received: u64,
    target: Target<'a>,
}

enum Target<'a> {
    /// Its place in a region that other parts are received into beside it.
    Room(&'a mut [u8]),
    /// A place of its own; `None` until its first bytes have arrived.
    Own(Option<Collector>),
}

/// What is missing of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    pub(super) start: u64,
    /// The first byte after it, where that is known.
    pub(super) end: Option<u64>,
    /// Whether the part is the whole resource.
    pub(super) is_of_whole: bool,
}

/// Where a body goes that is received as one part.
pub(super) struct Place<'a> {
    pub(super) limits: &'a Limits,
    pub(super) spool: Option<&'a Spool>,
    pub(super) progress: &'a Progress,
}

impl<'a> Part<'a> {
    /// The part that begins at `start` and fills `room`.
    pub(super) fn in_room(start: u64, room: &'a mut [u8]) -> Self {
        Self { start, end: Some(start + room.len() as u64), received: 0, target: Target::Room(room) }
    }

    /// The whole resource, of `total` bytes if that is known.
    pub(super) fn whole(total: Option<u64>) -> Self {
        Self { start: 0, end: total, received: 0, target: Target::Own(None) }
    }

    /// What is missing.
    pub(super) fn missing(&self) -> Missing {
        let is_of_whole = matches!(self.target, Target::Own(_));
        Missing { start: self.start + self.received, end: self.end, is_of_whole }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing is missing, as far as the end is known.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_none_or(|end| self.start + self.received == end)
    }

    /// Take what `reply` has, after the first `skip` bytes of it.
    pub(super) async fn receive(
        &mut self,
        reply: &mut StreamingResponse,
        mut skip: u64,
        place: &Place<'_>,
    ) -> Result<()> {
        while let Some(mut chunk) = reply.chunk().await? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            drop(chunk.split_to(skipped));
            self.take(&chunk, place).await?;
        }
        Ok(())
    }

    /// Take the next bytes.
    pub(super) async fn take(&mut self, chunk: &Bytes, place: &Place<'_>) -> Result<()> {
        let after = self.received + chunk.len() as u64;
        if self.end.is_some_and(|end| self.start + after > end) {
            return Err(Error::invalid_reply("the server sent more bytes than it announced"));
        }
        let limit = place.limits.max_response_bytes;
        if after > limit {
            return Err(too_large(limit, after));
        }
        match &mut self.target {
            Target::Room(room) => {
                let begin = usize::try_from(self.received).expect("it is less than the length of the room");
                room[begin..begin + chunk.len()].copy_from_slice(chunk);
            }
            Target::Own(Some(collector)) => collector.write(chunk).await?,
            Target::Own(collector) => {
                let made =
                    Collector::new(Destination::Memory, self.end, place.limits, place.spool.cloned()).await?;
                collector.insert(made).write(chunk).await?;
            }
        }
        self.received = after;
        place.progress.count_received(chunk.len());
        Ok(())
    }

    /// The bytes, if it had a place of its own.
    pub(super) async fn finish(self, policy: &TransferPolicy) -> Result<Payload> {
        match self.target {
            Target::Own(Some(collector)) => collector.finish(policy).await,
            Target::Own(None) | Target::Room(_) => Ok(Payload::empty()),
        }
    }
}

/// That a resource has `got` bytes or more, where `limit` are allowed.
pub(super) fn too_large(limit: u64, got: u64) -> Error {
    let kind = ErrorKind::LimitExceeded { name: "max_response_bytes", limit, got };
    Error::new(kind, format!("the resource has {got} bytes or more, max_response_bytes is {limit}"))
}
