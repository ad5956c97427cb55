//! A resource over HTTP: in several ranges at once into one region, and resumed where a connection breaks.
//!
//! The first request asks for the first range. Its reply says how large the resource is and which version of it
//! this is; the others ask for their ranges of that version (`If-Range`). A server that does not do ranges sends
//! the whole instead, and that is taken.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use mcpgateway_engine::http::{HeaderMap, StreamingResponse};
use mcpgateway_engine::payload::{AdmittedRegion, Origin};
use mcpgateway_engine::{Client, Error, ErrorKind, Limits, Payload, Phase, Request, Result, Sent};

use super::client::Fetch;
use super::part::{Missing, Part, Place, too_large};
use super::range::{ContentRange, asking_for};
use super::validators::Validators;

/// What is waited for before a broken transfer is resumed, the first time; doubled each time without progress.
const PATIENCE: Duration = Duration::from_millis(50);
const MOST_PATIENCE: Duration = Duration::from_secs(2);

/// A transfer, and the rules it follows.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) fetch: &'a Fetch,
    pub(super) streams: NonZeroUsize,
    pub(super) part_bytes: u64,
    pub(super) resumes: u32,
    pub(super) limits: &'a Limits,
}

/// What a transfer came to.
pub(super) enum Downloaded {
    /// The version that the caller has is the current one.
    Unchanged(HeaderMap),
    /// A body, and the headers of the reply that it began with.
    Body(HeaderMap, Payload),
}

/// A reply that has begun, and what was read of it already; `None` if it broke before.
type Begun = Option<(StreamingResponse, Option<Bytes>)>;

/// Which version of a resource its parts have to be of.
struct Version {
    validators: Validators,
    total: Option<u64>,
}

impl Download<'_> {
    /// Fetch the resource, unless it is still the version `known`.
    pub(super) async fn run(&self, known: Option<&Validators>) -> Result<Downloaded> {
        let first = (self.streams.get() > 1).then(|| asking_for(0, Some(self.part_bytes)));
        let mut reply = self.open(self.conditional(known, first.as_deref())?).await?;
        if first.is_some() && reply.status == 416 {
            // An empty resource has no first byte.
            reply = self.open(self.conditional(known, None)?).await?;
        }
        match reply.status {
            304 if known.is_some() => Ok(Downloaded::Unchanged(reply.headers)),
            200 => self.whole(reply).await,
            206 if first.is_some() => self.ranged(reply).await,
            _ => Err(self.refused(reply).await),
        }
    }

    /// Take the whole resource from a reply that has all of it.
    async fn whole(&self, reply: StreamingResponse) -> Result<Downloaded> {
        let headers = reply.headers.clone();
        let version = Version { validators: Validators::of(&headers), total: reply.announced() };
        self.fetch.counted_by().begin_receiving(version.total);
        let body = self.sequence(Some((reply, None)), &version).await?;
        Ok(Downloaded::Body(headers, body))
    }

    /// Take the whole resource, of which `reply` has the first part.
    async fn ranged(&self, mut reply: StreamingResponse) -> Result<Downloaded> {
        let headers = reply.headers.clone();
        let range = checked_range(&reply, 0, Some(self.part_bytes))?;
        let version = Version { validators: Validators::of(&headers), total: range.total };
        let is_all = range.total == Some(range.end);
        let Some(total) = range.total.filter(|_| is_all || version.validators.if_range().is_some()) else {
            // The other parts might be of another version: then rather all at once.
            drop(reply);
            let reply = self.open(self.fetch.request()?).await?;
            return if reply.status == 200 {
                self.whole(reply).await
            } else {
                Err(self.refused(reply).await)
            };
        };
        if total > self.limits.max_response_bytes {
            return Err(too_large(self.limits.max_response_bytes, total));
        }
        self.fetch.counted_by().begin_receiving(Some(total));
        // The size is the sender's word: nothing is set aside for it before its first bytes are there.
        let begun = match reply.chunk().await {
            Ok(chunk) => Some((reply, chunk)),
            Err(error) if !self.may_resume(&error, &version, 1) => return Err(error),
            Err(_) => None,
        };
        let body = match self.region_for(total, is_all)? {
            Some(region) => self.in_parallel(region, begun, range.end, &version).await?,
            None => self.sequence(begun, &version).await?,
        };
        Ok(Downloaded::Body(headers, body))
    }

    /// Room for all of a resource that is larger than its first part; `None` where it goes to a spool.
    fn region_for(&self, total: u64, is_all: bool) -> Result<Option<(AdmittedRegion, usize)>> {
        let is_for_spool =
            self.client.options().spool.as_ref().is_some_and(|spool| total > spool.map_above());
        match usize::try_from(total) {
            Ok(len) if !is_all && !is_for_spool => {
                Ok(AdmittedRegion::allocate(len)?.map(|region| (region, len)))
            }
            _ => Ok(None),
        }
    }

    /// Receive into one region, several parts at a time.
    async fn in_parallel(
        &self,
        (mut region, len): (AdmittedRegion, usize),
        begun: Begun,
        end: u64,
        version: &Version,
    ) -> Result<Payload> {
        let as_size = |len: u64| usize::try_from(len).unwrap_or(usize::MAX);
        let (first, rest) = region.spare_mut()[..len].split_at_mut(as_size(end));
        let mut start = end;
        let parts = rest.chunks_mut(as_size(self.part_bytes)).map(|room| {
            let part = Part::in_room(start, room);
            start += self.part_bytes;
            part
        });
        let parts: Vec<_> = parts.collect();
        let streams = self.streams.get().min(parts.len() + 1);
        let waiting = Mutex::new(parts.into_iter());
        let first = (Part::in_room(0, first), begun);
        let others = (1..streams).map(|_| None);
        let workers = std::iter::once(Some(first)).chain(others);
        try_join_all(workers.map(|first| self.fill_all(first, &waiting, version))).await?;
        drop(waiting);
        region.advance(len);
        let policy = &self.client.options().policy;
        Ok(region.freeze(|len| policy.decide(as_size(len), Origin::Reply)))
    }

    /// Receive the part that has begun, if any, and then of those that wait until none is left.
    async fn fill_all(
        &self,
        first: Option<(Part<'_>, Begun)>,
        waiting: &Mutex<std::vec::IntoIter<Part<'_>>>,
        version: &Version,
    ) -> Result<()> {
        if let Some((mut part, begun)) = first {
            self.fill(&mut part, begun, version).await?;
        }
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(mut part) = next else { return Ok(()) };
            self.fill(&mut part, None, version).await?;
        }
    }

    /// Receive one part after the other.
    async fn sequence(&self, begun: Begun, version: &Version) -> Result<Payload> {
        let mut part = Part::whole(version.total);
        self.fill(&mut part, begun, version).await?;
        part.finish(&self.client.options().policy).await
    }

    /// Receive until nothing of `part` is missing.
    async fn fill(&self, part: &mut Part<'_>, mut begun: Begun, version: &Version) -> Result<()> {
        let mut in_vain = 0;
        loop {
            let before = part.received();
            let outcome = self.receive(part, begun.take(), version).await;
            in_vain = if part.received() > before { 0 } else { in_vain + 1 };
            match outcome {
                Ok(()) if part.is_complete() => return Ok(()),
                // The server chose to send less than it was asked for.
                Ok(()) if in_vain == 0 => {}
                Ok(()) => {
                    return Err(Error::invalid_reply("the server sent nothing of the range it announced"));
                }
                Err(error) if !self.may_resume(&error, version, in_vain) => return Err(error),
                Err(_) => {
                    let patience = PATIENCE * 2_u32.saturating_pow(in_vain);
                    tokio::time::sleep(patience.min(MOST_PATIENCE)).await;
                }
            }
        }
    }

    fn may_resume(&self, error: &Error, version: &Version, in_vain: u32) -> bool {
        error.is_of_the_connection()
            && in_vain <= self.resumes
            && self.resumes > 0
            && version.validators.if_range().is_some()
    }

    /// Receive into `part` from a reply that has begun, or one that is asked for what is missing.
    async fn receive(&self, part: &mut Part<'_>, begun: Begun, version: &Version) -> Result<()> {
        let place = Place {
            limits: self.limits,
            spool: self.client.options().spool.as_ref(),
            progress: self.fetch.counted_by(),
        };
        let Some((mut reply, chunk)) = begun else {
            let (mut reply, skip) = self.open_rest(part.missing(), version).await?;
            return part.receive(&mut reply, skip, &place).await;
        };
        if let Some(chunk) = chunk {
            part.take(&chunk, &place).await?;
        }
        part.receive(&mut reply, 0, &place).await
    }

    /// Ask for what is missing; how many bytes of the reply are there already.
    async fn open_rest(&self, missing: Missing, version: &Version) -> Result<(StreamingResponse, u64)> {
        let range = asking_for(missing.start, missing.end);
        let mut request = self.fetch.request()?.header("range", range.as_bytes())?;
        if let Some(validator) = version.validators.if_range() {
            request = request.header("if-range", validator.as_bytes())?;
        }
        let reply = self.open(request).await?;
        let validators = Validators::of(&reply.headers);
        match reply.status {
            206 if version.validators.may_be(&validators) => {
                let range = checked_range(&reply, missing.start, missing.end)?;
                let is_same =
                    range.total.is_none() || version.total.is_none() || range.total == version.total;
                if is_same { Ok((reply, 0)) } else { Err(changed()) }
            }
            200 if version.validators.is(&validators) && missing.is_of_whole => Ok((reply, missing.start)),
            200 if version.validators.is(&validators) => Err(Error::invalid_reply(
                "the server sent a range of the resource, and then all of it for another range",
            )),
            200 | 206 | 412 | 416 => Err(changed()),
            _ => Err(self.refused(reply).await),
        }
    }

    fn conditional(&self, known: Option<&Validators>, range: Option<&str>) -> Result<Request> {
        let mut request = self.fetch.request()?;
        if let Some(range) = range {
            request = request.header("range", range.as_bytes())?;
        }
        let Some(known) = known else { return Ok(request) };
        match (&known.etag, &known.last_modified) {
            (Some(etag), _) => request.header("if-none-match", etag.as_bytes()),
            (None, Some(date)) => request.header("if-modified-since", date.as_bytes()),
            (None, None) => Ok(request),
        }
    }

    async fn open(&self, request: Request) -> Result<StreamingResponse> {
        self.client.stream(request).await
    }

    /// Why a reply with such a status brings no resource.
    async fn refused(&self, reply: StreamingResponse) -> Error {
        let status = reply.status;
        match reply.read(self.client.options()).await.and_then(mcpgateway_engine::Response::error_for_status)
        {
            Ok(_) => Error::invalid_reply(format!(
                "the server answered a request for a resource with status {status}"
            )),
            Err(error) => error,
        }
    }
}

/// What a reply with status 206 has, if that is what was asked for.
fn checked_range(reply: &StreamingResponse, start: u64, end: Option<u64>) -> Result<ContentRange> {
    let range = ContentRange::of(&reply.headers)?;
    let is_asked = range.start == start && end.is_none_or(|end| range.end <= end);
    let is_framed = reply.announced().is_none_or(|len| len == range.end - range.start);
    if is_asked && is_framed {
        return Ok(range);
    }
    Err(Error::invalid_reply(format!(
        "the server was asked for bytes {start}-{} and announced bytes {}-{}",
        end.map(|end| (end - 1).to_string()).unwrap_or_default(),
        range.start,
        range.end - 1
    )))
}

fn changed() -> Error {
    let subject = "the resource changed while it was fetched: fetch it again";
    Error::new(ErrorKind::ResourceChanged, subject).with_phase(Phase::Receive).with_sent(Sent::Yes)
}
