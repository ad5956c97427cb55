//! A body of any size: a rope of segments that are held, not copied, with an exact length.

mod base64;
mod budget;
mod escape;
mod gathered;
mod policy;
mod policy_file;
mod quota;
mod sharing;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use mcpgateway_shm::{FileRules, Pool, Region, RegionMut, Spool};
use memmap2::Mmap;
use xxhash_rust::xxh3::Xxh3Default;

pub use base64::Alphabet;
pub(crate) use budget::overflow_spool;
pub use budget::{AdmittedRegion, MemoryUse, ProcessLimits, filled, limit_process, memory_use};
pub use gathered::Gathered;
pub use policy::{COPY_BELOW, Decision, MAP_ABOVE, Origin, Reason, Transfer, TransferPolicy};
pub use policy_file::POLICY_VARIABLE;

use crate::error::{Error, ErrorKind, Result};

/// Bytes handed to the socket at a time. 64 MiB uploads over loopback (2-core AMD EPYC VM), medians of eight
/// interleaved runs in GB/s: 3.9 at 128 KiB, 3.5 at 256, 3.2 at 512, 2.9 at 4 MiB.
const FRAME: usize = 128 << 10;

/// A body: segments in order, an exact length, and the [`Decision`] that made it.
///
/// Cloning is cheap and shares the bytes. A payload never changes; whether the memory it borrows
/// does is the business of its owner.
#[derive(Clone)]
pub struct Payload {
    segments: Vec<Segment>,
    len: u64,
    decision: Decision,
    /// What all the bytes lie in, where that is ours.
    region: Option<Region>,
    /// Where the region was spooled.
    spool: Option<Spool>,
}

#[derive(Clone)]
enum Segment {
    Bytes(Bytes),
    Base64(base64::Encoded),
    Escaped(escape::Escaped),
}

impl Segment {
    fn as_part(&self) -> Part<'_> {
        match self {
            Self::Bytes(bytes) => Part::Bytes(bytes),
            Self::Base64(_) | Self::Escaped(_) => Part::InsideString,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Base64(encoded) => encoded.len() as u64,
            Self::Escaped(escaped) => escaped.len(),
        }
    }
}

/// What a segment is.
pub(crate) enum Part<'p> {
    /// Bytes, where they lie.
    Bytes(&'p [u8]),
    /// What is encoded while it is sent, into what can stand inside of a JSON string.
    InsideString,
}

impl Payload {
    /// A payload of `bytes`, however they are held, with the decision by which they came to be.
    #[must_use]
    pub fn new(bytes: Bytes, decision: Decision) -> Self {
        let len = bytes.len() as u64;
        Self::of_segment(Segment::Bytes(bytes), len, decision)
    }

    /// No bytes at all.
    #[must_use]
    pub fn empty() -> Self {
        let decision = Decision::because(Transfer::Copy, 0, "no bytes");
        Self { segments: Vec::new(), len: 0, decision, region: None, spool: None }
    }

    /// The parts one after the other, without a copy.
    ///
    /// # Panics
    /// If the parts are longer than 16 EiB together.
    #[must_use]
    pub fn join(parts: impl IntoIterator<Item = Self>) -> Self {
        crate::fault::point("payload::join");
        let mut parts = parts.into_iter().filter(|part| !part.is_empty());
        let Some(first) = parts.next() else { return Self::empty() };
        parts.fold(first, |mut joined, part| {
            joined.len = joined.len.checked_add(part.len).expect("bodies are shorter than 16 EiB");
            joined.segments.extend(part.segments);
            let most = [joined.decision, part.decision].into_iter().max_by_key(|decision| decision.len);
            joined.decision = Decision { len: joined.len, ..most.expect("there are two") };
            (joined.region, joined.spool) = (None, None);
            joined
        })
    }

    /// The base64 text of `source`, encoded while it is sent.
    ///
    /// # Errors
    /// Those of [`into_bytes`](Self::into_bytes), and [`ErrorKind::QuotaExceeded`] when the text would be
    /// larger than memory.
    pub fn base64(source: Self, alphabet: Alphabet) -> Result<Self> {
        let decision = source.decision;
        let encoded = base64::Encoded::new(source.into_bytes()?, alphabet)?;
        let len = encoded.len() as u64;
        Ok(Self::of_segment(Segment::Base64(encoded), len, Decision { len, ..decision }))
    }

    /// The JSON string that says `text`, escaped while it is sent. May take long: `text` is looked through.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is not UTF-8, [`ErrorKind::QuotaExceeded`] when it is a rope and
    /// there is no memory to join it.
    pub fn json_string(text: Self) -> Result<Self> {
        let decision = text.decision;
        let (escaped, is_other) = escape::Escaped::new(text.into_bytes()?)?;
        let len = escaped.len();
        let inside = if is_other {
            Self::of_segment(Segment::Escaped(escaped), len, Decision { len, ..decision })
        } else {
            Self::new(escaped.into_text(), decision)
        };
        Ok(Self::join([Self::from("\""), inside, Self::from("\"")]))
    }

    /// The contents of the file at `path`, copied: what happens to the file later changes nothing. Into the
    /// warm pool, or, beyond the memory budget of this process, into a private file.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for what is no regular file, or a link that is not to be followed;
    /// [`ErrorKind::File`] when it cannot be read, [`ErrorKind::BudgetExceeded`] when neither memory nor disk
    /// have room in their budgets, [`ErrorKind::QuotaExceeded`] when there is no memory.
    pub fn read(path: &Path, follow_links: bool) -> Result<Self> {
        let (file, len) = open(path, follow_links)?;
        let Some(region) = AdmittedRegion::allocate(len)? else {
            return Self::open_file(path, FileRules { trusted: false, follow_links }, &overflow_spool()?);
        };
        let region = read_into(region, path, file, len)?;
        let why = "file, copied: nothing that happens to it later can change or harm this payload";
        Ok(region.freeze(|len| Decision::because(Transfer::Copy, len, why)))
    }

    /// The contents of the file at `path`, memory-mapped.
    ///
    /// The caller vouches for the file: if another program shortens it while this payload lives,
    /// looking at the lost bytes kills the process (`SIGBUS`). [`read`](Self::read) has no such risk.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for what is no regular file, or a link that is not to be followed;
    /// [`ErrorKind::File`] when it cannot be opened or mapped.
    pub fn map_trusted(path: &Path, follow_links: bool) -> Result<Self> {
        let (file, len) = open(path, follow_links)?;
        let decision =
            Decision::because(Transfer::Map, len as u64, "file, mapped: the caller trusts it not to change");
        if len == 0 {
            return Ok(Self::new(Bytes::new(), decision));
        }
        // SAFETY: the caller vouches that nobody changes or shortens the file, as documented.
        let map = unsafe { Mmap::map(&file) }.map_err(|cause| unreadable(path, cause))?;
        Ok(Self::new(Bytes::from_owner(MappedFile(Some(map))), decision))
    }

    /// Finish `region` as a payload.
    #[must_use]
    pub fn from_region(region: RegionMut, decide: impl FnOnce(u64) -> Decision) -> Self {
        let region = region.freeze();
        let decision = decide(region.len() as u64);
        Self::in_region(region, decision)
    }

    fn of_segment(segment: Segment, len: u64, decision: Decision) -> Self {
        Self { segments: vec![segment], len, decision, region: None, spool: None }
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How the bytes came to be here.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// Of how many segments the rope consists.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The segments in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.segments.iter().map(Segment::as_part)
    }

    /// The rope of those segments of which `is_kept`, called with each and its length, says so.
    pub(crate) fn retained(&self, mut is_kept: impl FnMut(Part<'_>, u64) -> bool) -> Self {
        let kept = self.segments.iter().filter(|segment| is_kept(segment.as_part(), segment.len()));
        Self::join(kept.map(|kept| Self::of_segment(kept.clone(), kept.len(), self.decision)))
    }

    /// The bytes in one piece, if they are.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&Bytes> {
        static NONE: Bytes = Bytes::new();
        match self.segments.as_slice() {
            [] => Some(&NONE),
            [Segment::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// The bytes in one piece: shared where they are already, else gathered into a warm region, or, beyond the
    /// memory budget of this process, into a private file.
    ///
    /// # Errors
    /// [`ErrorKind::BudgetExceeded`] when neither memory nor disk have room in their budgets,
    /// [`ErrorKind::QuotaExceeded`] when there is no memory, [`ErrorKind::File`] when the file cannot be
    /// written.
    pub fn into_bytes(self) -> Result<Bytes> {
        if let Some(bytes) = self.as_bytes() {
            return Ok(bytes.clone());
        }
        self.gather("rope, gathered into one piece")?.into_bytes()
    }

    /// A copy of the bytes in a warm region, with the reason `why` it was made; beyond the memory budget of
    /// this process in a private file.
    ///
    /// # Errors
    /// Those of [`into_bytes`](Self::into_bytes).
    pub fn to_copy(&self, why: &'static str) -> Result<Self> {
        crate::fault::point("payload::snapshot");
        self.clone().gather(why)
    }

    /// Bytes `start..end` without a copy.
    ///
    /// # Errors
    /// Those of [`into_bytes`](Self::into_bytes), for a rope that has to be gathered first.
    ///
    /// # Panics
    /// If `start > end` or `end` is past the end.
    pub fn slice(&self, start: usize, end: usize) -> Result<Self> {
        let bytes = self.clone().into_bytes()?.slice(start..end);
        Ok(Self::new(bytes, Decision { len: (end - start) as u64, ..self.decision }))
    }

    /// A 64-bit checksum of the bytes (XXH3).
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        self.clone().into_frames().for_each(|frame| hasher.update(&frame));
        hasher.digest()
    }

    /// The bytes as a sequence of frames of at most 128 KiB, each given up as it is taken.
    #[must_use]
    pub fn into_frames(self) -> Frames {
        Frames { remaining: self.len, segments: self.segments.into() }
    }

    fn gather(self, why: &'static str) -> Result<Self> {
        crate::fault::point("payload::gather");
        let len = usize::try_from(self.len)
            .map_err(|_| Error::new(ErrorKind::QuotaExceeded, "the payload is larger than memory"))?;
        let Some(mut region) = AdmittedRegion::allocate(len)? else {
            return Self::spool(self, &overflow_spool()?);
        };
        for frame in self.into_frames() {
            region.spare_mut()[..frame.len()].copy_from_slice(&frame);
            region.advance(frame.len());
        }
        Ok(region.freeze(|len| Decision::because(Transfer::Copy, len, why)))
    }
}

/// A mapped file that is unmapped on a thread that may take its time.
struct MappedFile(Option<Mmap>);

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        Pool::global().unmap_later(self.0.take());
    }
}

/// Room for `len` bytes in the warm pool.
///
/// # Errors
/// [`ErrorKind::QuotaExceeded`] when there is no memory for it.
pub fn allocate(len: usize) -> Result<RegionMut> {
    Pool::global().allocate(len).map_err(|cause| no_memory(len, cause))
}

pub(crate) fn no_memory(len: usize, cause: io::Error) -> Error {
    Error::out_of_memory(format!("mapping memory for {len} bytes"), cause)
}

/// The file at `path` and its size: a regular file, opened without waiting for anybody.
fn open(path: &Path, follow_links: bool) -> Result<(File, usize)> {
    let (file, len) = mcpgateway_shm::open_regular(path, follow_links)?;
    let len = usize::try_from(len).map_err(|cause| unreadable(path, io::Error::other(cause)))?;
    Ok((file, len))
}

/// Read a file of `len` bytes; all there is where the system does not say how much (as of what is in /proc).
fn read_into(mut region: AdmittedRegion, path: &Path, mut file: File, len: usize) -> Result<AdmittedRegion> {
    if len == 0 {
        return read_to_end(region, path, file);
    }
    while region.filled().len() < len {
        let rest = len - region.filled().len();
        let room = &mut region.spare_mut()[..rest];
        match retry(|| file.read(room)).map_err(|cause| unreadable(path, cause))? {
            0 => break,
            read => region.advance(read),
        }
    }
    Ok(region)
}

fn read_to_end(mut region: AdmittedRegion, path: &Path, mut file: File) -> Result<AdmittedRegion> {
    let mut block = [0; 16 << 10];
    loop {
        match retry(|| file.read(&mut block)).map_err(|cause| unreadable(path, cause))? {
            0 => return Ok(region),
            read if region.write(&block[..read])? => {}
            read => return Err(budget::beyond_budget(read)),
        }
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("reading {}", path.display())).with_source(cause)
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let decision =
            Decision::because(Transfer::Borrow, bytes.len() as u64, "shared: these bytes never change");
        Self::new(bytes, decision)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        if self.len != other.len {
            return false;
        }
        match (self.as_bytes(), other.as_bytes()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.clone().into_frames().flatten().eq(other.clone().into_frames().flatten()),
        }
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("len", &self.len).field("segments", &self.segments.len()).finish()
    }
}

/// The bytes of a [`Payload`], frame by frame.
#[derive(Clone)]
pub struct Frames {
    segments: VecDeque<Segment>,
    remaining: u64,
}

impl Frames {
    /// Bytes that are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = match self.segments.front_mut()? {
                Segment::Bytes(bytes) => take_frame(bytes),
                Segment::Base64(encoded) => encoded.next_piece(),
                Segment::Escaped(escaped) => escaped.next_piece(),
            };
            match frame {
                Some(frame) => {
                    self.remaining -= frame.len() as u64;
                    return Some(frame);
                }
                None => drop(self.segments.pop_front()),
            }
        }
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("remaining", &self.remaining).finish()
    }
}

/// Take the next frame off `bytes`. The last one is taken whole, so that nothing holds their owner
/// once it is sent.
fn take_frame(bytes: &mut Bytes) -> Option<Bytes> {
    match bytes.len() {
        0 => None,
        1..=FRAME => Some(std::mem::take(bytes)),
        _ => Some(bytes.split_to(FRAME)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collected(payload: &Payload) -> Vec<u8> {
        payload.clone().into_frames().flatten().collect()
    }

    #[test]
    fn a_rope_holds_the_very_bytes_it_was_given() {
        let big = Bytes::from(vec![1; 3 << 20]);
        let rope = Payload::join([Payload::from("["), big.clone().into(), Payload::from("]")]);
        assert_eq!((rope.len(), rope.segments()), ((3 << 20) + 2, 3));
        let frames: Vec<Bytes> = rope.into_frames().collect();
        assert_eq!(frames[1].as_ptr(), big.as_ptr());
        assert!(frames.iter().all(|frame| frame.len() <= FRAME));
    }

    #[test]
    fn the_owner_is_let_go_with_the_last_frame() {
        struct Held(std::sync::Arc<Vec<u8>>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let owner = std::sync::Arc::new(vec![1_u8; 5 << 20]);
        let mut frames = Payload::from(Bytes::from_owner(Held(owner.clone()))).into_frames();
        assert_eq!(frames.by_ref().map(|frame| frame.len()).sum::<usize>(), 5 << 20);
        assert_eq!(std::sync::Arc::strong_count(&owner), 1);
        assert_eq!(frames.remaining(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_does_not_tell_its_size_is_read_to_its_end() {
        let read = Payload::read(Path::new("/proc/self/status"), false).expect("readable");
        assert!(collected(&read).starts_with(b"Name:"));
        assert_eq!(read.len(), collected(&read).len() as u64);
    }

    #[test]
    fn files_are_read_or_mapped() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let contents: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        io::Write::write_all(&mut file, &contents).expect("room on disk");
        let read = Payload::read(file.path(), false).expect("readable");
        let mapped = Payload::map_trusted(file.path(), false).expect("readable");
        assert_eq!([read.decision().transfer, mapped.decision().transfer], [Transfer::Copy, Transfer::Map]);
        assert_eq!(collected(&read), contents);
        assert_eq!(read, mapped);
        io::Write::write_all(&mut file, b"grown").expect("room on disk");
        assert_eq!(read.len(), 3_000_000);
        assert!(
            matches!(Payload::read(Path::new("/no/such/file"), false), Err(error) if *error.kind() == ErrorKind::File)
        );
        assert!(
            matches!(Payload::read(Path::new("/"), false), Err(error) if *error.kind() == ErrorKind::Denied)
        );
    }

    #[test]
    fn an_empty_join_is_an_empty_payload() {
        let empty = Payload::join([Payload::from(""), Payload::from(Vec::new())]);
        assert_eq!((empty.len(), collected(&empty)), (0, Vec::new()));
    }

    proptest! {
        #[test]
        fn base64_equals_the_whole_encoding_and_its_length_is_known(source in prop::collection::vec(any::<u8>(), 0..2000), repeat in 1_usize..300) {
            let source = source.repeat(repeat);
            for (alphabet, codec) in [(Alphabet::Standard, STANDARD_ORACLE), (Alphabet::UrlSafe, URL_SAFE_ORACLE)] {
                let payload = Payload::base64(source.clone().into(), alphabet).expect("fits in memory");
                let text = collected(&payload);
                prop_assert_eq!(payload.len(), text.len() as u64);
                prop_assert_eq!(String::from_utf8(text).expect("ASCII"), codec.encode_to_string(&source));
            }
        }

        #[test]
        fn gathering_slicing_and_hashing_agree_with_the_bytes(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), cut in any::<(prop::sample::Index, prop::sample::Index)>()) {
            let whole = parts.concat();
            let rope = Payload::join(parts.into_iter().map(Payload::from));
            prop_assert_eq!(&rope.clone().into_bytes().expect("small")[..], &whole[..]);
            prop_assert_eq!(&rope, &Payload::from(whole.clone()));
            prop_assert_eq!(rope.checksum(), xxhash_rust::xxh3::xxh3_64(&whole));
            let (a, b) = (cut.0.index(whole.len() + 1), cut.1.index(whole.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            prop_assert_eq!(collected(&rope.slice(start, end).expect("small")), &whole[start..end]);
        }
    }

    const STANDARD_ORACLE: base64_simd::Base64 = base64_simd::STANDARD;
    const URL_SAFE_ORACLE: base64_simd::Base64 = base64_simd::URL_SAFE;
}
