//! The body of a reply on its way into memory that is warm, the caller's own, or a file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mcpgateway_shm::RegionMut;
use tokio::io::AsyncWriteExt;

use super::options::Limits;
use crate::error::{Error, ErrorKind, Phase, Result, Sent};
use crate::payload::{self, Decision, Origin, Payload, TransferPolicy};
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
    /// Memory of ours: a warm region, or the heap for small ones.
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

/// A body being received.
pub(super) enum Collector {
    Heap(Vec<u8>),
    Region(RegionMut),
    Into { memory: Box<dyn WritableMemory>, filled: usize },
    File(Box<FileCollector>),
}

pub(super) struct FileCollector {
    path: PathBuf,
    temporary: tempfile::TempPath,
    file: tokio::fs::File,
    written: u64,
}

impl Collector {
    /// A place for a body of `announced` bytes, of which the first have arrived: the announcement is
    /// the sender's word, so nothing is set aside for it before, nor beyond `limits`.
    pub(super) async fn new(
        destination: Destination,
        announced: Option<u64>,
        limits: &Limits,
    ) -> Result<Self> {
        crate::fault::point("receive::allocate");
        Ok(match destination {
            Destination::Into(memory) => {
                crate::fault::point("receive::into");
                Self::Into { memory, filled: 0 }
            }
            Destination::File(path) => Self::File(Box::new(FileCollector::new(path).await?)),
            Destination::Memory => {
                let expected = announced.unwrap_or(0).min(limits.max_response_bytes);
                let expected = usize::try_from(expected).map_err(|_| too_large_for_memory(expected))?;
                if expected < SMALL {
                    Self::Heap(Vec::with_capacity(expected))
                } else {
                    Self::Region(payload::allocate(expected)?)
                }
            }
        })
    }

    pub(super) async fn write(&mut self, chunk: &[u8]) -> Result<()> {
        crate::fault::point("receive::chunk");
        match self {
            Self::Heap(heap) if heap.len() + chunk.len() <= SMALL => {
                heap.extend_from_slice(chunk);
                Ok(())
            }
            Self::Heap(heap) => {
                let mut region = payload::allocate(2 * (heap.len() + chunk.len()))?;
                write_region(&mut region, heap)?;
                write_region(&mut region, chunk)?;
                *self = Self::Region(region);
                Ok(())
            }
            Self::Region(region) => write_region(region, chunk),
            Self::Into { memory, filled } => write_into(memory.bytes_mut(), filled, chunk),
            Self::File(file) => file.write(chunk).await,
        }
    }

    /// The complete body; empty where it is not ours.
    pub(super) async fn finish(self, policy: &TransferPolicy) -> Result<Payload> {
        crate::fault::point("receive::finish");
        let decide = |len: u64| policy.decide(usize::try_from(len).unwrap_or(usize::MAX), Origin::Reply);
        match self {
            Self::Heap(heap) => {
                let decision = decide(heap.len() as u64);
                Ok(Payload::new(Bytes::from(heap), decision))
            }
            Self::Region(region) => Ok(Payload::from_region(region, decide)),
            Self::Into { filled, .. } => {
                Ok(elsewhere(filled as u64, "reply, received into the caller's buffer"))
            }
            Self::File(file) => file.finish().await,
        }
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

fn write_region(region: &mut RegionMut, chunk: &[u8]) -> Result<()> {
    region.write(chunk).map_err(|cause| payload::no_memory(region.filled().len() + chunk.len(), cause))
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
