//! The body of a reply on its way into memory that is warm, the caller's own, or a file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mcpgateway_shm::{Spool, SpoolWriter};
use tokio::io::AsyncWriteExt;

use super::options::Limits;
use crate::error::{Error, ErrorKind, Phase, Result, Sent};
use crate::payload::{AdmittedRegion, Decision, Origin, Payload, TransferPolicy, overflow_spool};
use crate::runtime;

/// Bodies below this size are received into the heap: a mapping of its own would cost more.
const SMALL: usize = 256 << 10;
/// Bytes of a file written at a time.
const FILE_BUFFER: usize = 2 << 20;

/// Memory of the caller that a reply is received into.
pub trait WritableMemory: Send {
    /// All of it.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Where the body of a reply goes.
#[derive(Default)]
pub enum Destination {
    /// Memory of ours: a warm region, the heap for small ones, a spool for large ones if the client has one.
    #[default]
    Memory,
    /// Memory of the caller's.
    Into(Box<dyn WritableMemory>),
    /// A file; it appears under this path once it is complete, and not at all if the call fails.
    File(PathBuf),
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            Self::Into(_) => "Into",
            Self::File(_) => "File",
        })
    }
}

/// A body being received: hand it the chunks in order, then [`finish`](Self::finish) it.
pub struct Collector {
    stage: Stage,
    spool: Option<Spool>,
}

/// Where it is now.
enum Stage {
    Heap(Vec<u8>),
    Region(AdmittedRegion),
    Spool(Box<SpoolCollector>),
    Into { memory: Box<dyn WritableMemory>, filled: usize },
    File(Box<FileCollector>),
}

/// A body on its way into a spool.
struct SpoolCollector {
    spool: Spool,
    /// `None` only while a chunk is written elsewhere.
    writer: Option<SpoolWriter>,
}

struct FileCollector {
    path: PathBuf,
    temporary: tempfile::TempPath,
    file: tokio::fs::File,
    written: u64,
}

impl Collector {
    /// A place for a body of `announced` bytes, of which the first have arrived: the announcement is
    /// the sender's word, so nothing is set aside for it before, nor beyond `limits`. Bodies above what
    /// `spool` keeps in this process go there; so do those that the memory budget has no room for, into a
    /// spool of this process if there is no other.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] or [`ErrorKind::BudgetExceeded`] when there is no room for it,
    /// [`ErrorKind::File`] when the file of a [`Destination::File`] cannot be made.
    pub async fn new(
        destination: Destination,
        announced: Option<u64>,
        limits: &Limits,
        spool: Option<Spool>,
    ) -> Result<Self> {
        crate::fault::point("receive::allocate");
        let stage = match destination {
            Destination::Into(memory) => {
                crate::fault::point("receive::into");
                Stage::Into { memory, filled: 0 }
            }
            Destination::File(path) => Stage::File(Box::new(FileCollector::new(path).await?)),
            Destination::Memory => {
                let expected = announced.unwrap_or(0).min(limits.max_response_bytes);
                Self::first_stage(expected, spool.as_ref()).await?
            }
        };
        Ok(Self { stage, spool })
    }

    async fn first_stage(expected: u64, spool: Option<&Spool>) -> Result<Stage> {
        if is_for_spool(expected, spool) {
            return SpoolCollector::begin(spool, expected).await;
        }
        let len = usize::try_from(expected).map_err(|_| too_large_for_memory(expected))?;
        if len < SMALL {
            return Ok(Stage::Heap(Vec::with_capacity(len)));
        }
        match AdmittedRegion::allocate(len)? {
            Some(region) => Ok(Stage::Region(region)),
            None => SpoolCollector::begin(spool, expected).await,
        }
    }

    /// Append `chunk`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`ErrorKind::LimitExceeded`] when the caller's memory is full.
    pub async fn write(&mut self, chunk: &Bytes) -> Result<()> {
        crate::fault::point("receive::chunk");
        while !self.write_here(chunk).await? {
            self.move_on(chunk.len()).await?;
        }
        Ok(())
    }

    /// Whether there was room for `chunk` where the body is.
    async fn write_here(&mut self, chunk: &Bytes) -> Result<bool> {
        let for_spool =
            |len: usize, spool: &Option<Spool>| is_for_spool((len + chunk.len()) as u64, spool.as_ref());
        match &mut self.stage {
            Stage::Heap(heap) => {
                let fits = heap.len() + chunk.len() <= SMALL && !for_spool(heap.len(), &self.spool);
                if fits {
                    heap.extend_from_slice(chunk);
                }
                Ok(fits)
            }
            Stage::Region(region) => {
                Ok(!for_spool(region.filled().len(), &self.spool) && region.write(chunk)?)
            }
            Stage::Spool(spool) => spool.write(chunk).await.map(|()| true),
            Stage::Into { memory, filled } => write_into(memory.bytes_mut(), filled, chunk).map(|()| true),
            Stage::File(file) => file.write(chunk).await.map(|()| true),
        }
    }

    /// Move what has arrived to where `more` bytes have room besides.
    async fn move_on(&mut self, more: usize) -> Result<()> {
        let before = std::mem::replace(&mut self.stage, Stage::Heap(Vec::new()));
        self.stage = match before {
            Stage::Heap(heap) => {
                let len = heap.len() + more;
                let mut next = Self::first_stage(len as u64, self.spool.as_ref()).await?;
                match &mut next {
                    Stage::Region(region) => _ = region.write(&heap)?,
                    Stage::Spool(spool) => spool.write(&heap.into()).await?,
                    _ => {}
                }
                next
            }
            Stage::Region(region) => SpoolCollector::take_over(region, self.spool.as_ref()).await?,
            other => other,
        };
        Ok(())
    }

    /// The complete body; empty where it is not ours.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn finish(self, policy: &TransferPolicy) -> Result<Payload> {
        crate::fault::point("receive::finish");
        let decide = |len: u64| policy.decide(usize::try_from(len).unwrap_or(usize::MAX), Origin::Reply);
        match self.stage {
            Stage::Heap(heap) => {
                let decision = decide(heap.len() as u64);
                Ok(Payload::new(Bytes::from(heap), decision))
            }
            Stage::Region(region) => Ok(region.freeze(decide)),
            Stage::Spool(spool) => spool.finish().await,
            Stage::Into { filled, .. } => {
                Ok(elsewhere(filled as u64, "reply, received into the caller's buffer"))
            }
            Stage::File(file) => file.finish().await,
        }
    }
}

/// Whether `spool` wants a body of `len` bytes.
fn is_for_spool(len: u64, spool: Option<&Spool>) -> bool {
    spool.is_some_and(|spool| len > spool.map_above())
}

impl SpoolCollector {
    /// A writer into `spool`, or into the one that takes what is beyond the memory budget.
    async fn open(spool: Option<&Spool>, expected: u64) -> Result<Self> {
        let given = spool.cloned();
        let opened = runtime::blocking(move || {
            let spool = given.map_or_else(overflow_spool, Ok)?;
            let writer = spool.writer(Some(expected))?;
            Ok::<_, Error>((spool, writer))
        });
        let (spool, writer) = opened.await??;
        Ok(Self { spool, writer: Some(writer) })
    }

    async fn begin(spool: Option<&Spool>, expected: u64) -> Result<Stage> {
        Ok(Stage::Spool(Box::new(Self::open(spool, expected).await?)))
    }

    /// Go on where `region` ends; its bytes are copied where that stops nobody.
    async fn take_over(region: AdmittedRegion, spool: Option<&Spool>) -> Result<Stage> {
        let mut collector = Self::open(spool, region.filled().len() as u64).await?;
        collector.elsewhere(move |writer| writer.write(region.filled())).await?;
        Ok(Stage::Spool(Box::new(collector)))
    }

    /// Append `chunk`, on a thread that may wait for the disk, or move all that came before. For memory
    /// files, too: written here, one large reply kept calls beside it waiting for up to 0.8 s.
    async fn write(&mut self, chunk: &Bytes) -> Result<()> {
        let chunk = chunk.clone();
        self.elsewhere(move |writer| writer.write(&chunk)).await
    }

    async fn elsewhere(
        &mut self,
        act: impl FnOnce(&mut SpoolWriter) -> mcpgateway_shm::Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut writer = self.writer.take().expect("it is here between two chunks");
        let acted = runtime::blocking(move || {
            let acted = act(&mut writer);
            (writer, acted)
        });
        let (writer, acted) = acted.await?;
        self.writer = Some(writer);
        Ok(acted?)
    }

    async fn finish(mut self: Box<Self>) -> Result<Payload> {
        let writer = self.writer.take().expect("it is here between two chunks");
        let region = runtime::blocking(move || writer.finish()).await??;
        Ok(Payload::spooled(region, &self.spool))
    }
}

impl FileCollector {
    async fn new(path: PathBuf) -> Result<Self> {
        crate::fault::point("receive::file");
        let target = path.clone();
        let made = runtime::blocking(move || {
            let directory =
                target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            tempfile::Builder::new().prefix(".mcpgateway-").tempfile_in(directory)
        });
        // Without its text, which names the temporary file.
        let made = made.await?.map_err(|cause| unwritable(&path, cause.kind().into()))?;
        let (file, temporary) = made.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(FILE_BUFFER);
        Ok(Self { path, temporary, file, written: 0 })
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.file.write_all(chunk).await.map_err(|cause| unwritable(&self.path, cause))?;
        self.written += chunk.len() as u64;
        Ok(())
    }

    async fn finish(mut self) -> Result<Payload> {
        self.file.flush().await.map_err(|cause| unwritable(&self.path, cause))?;
        let (path, temporary) = (self.path.clone(), self.temporary);
        let moved = runtime::blocking(move || temporary.persist(path)).await?;
        moved.map_err(|failed| unwritable(&self.path, failed.error))?;
        Ok(elsewhere(self.written, "reply, received into a file"))
    }
}

fn write_into(memory: &mut [u8], filled: &mut usize, chunk: &[u8]) -> Result<()> {
    let limit = memory.len();
    let Some(room) = memory[*filled..].get_mut(..chunk.len()) else {
        let got = (*filled + chunk.len()) as u64;
        let subject = format!("the reply does not fit into the {limit} bytes of `into`");
        return Err(Error::new(ErrorKind::LimitExceeded { name: "into", limit: limit as u64, got }, subject));
    };
    room.copy_from_slice(chunk);
    *filled += chunk.len();
    Ok(())
}

/// A body that is somewhere else: no bytes here, but how it came.
fn elsewhere(len: u64, why: &'static str) -> Payload {
    Payload::new(Bytes::new(), Decision::because(crate::Transfer::Copy, len, why))
}

fn too_large_for_memory(len: u64) -> Error {
    Error::new(ErrorKind::QuotaExceeded, format!("a reply of {len} bytes is larger than memory: use to_file"))
}

fn unwritable(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::File, format!("writing the reply to {}", path.display())).with_source(cause)
}

/// Fail if `got` bytes are more than a limit allows.
pub(super) fn within_limit(name: &'static str, limit: u64, got: u64) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    let subject = format!("the reply has {got} bytes or more, {name} is {limit}");
    Err(Error::new(ErrorKind::LimitExceeded { name, limit, got }, subject)
        .with_phase(Phase::Receive)
        .with_sent(Sent::Yes))
}
