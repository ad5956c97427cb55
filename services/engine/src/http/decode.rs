//! Undoing the one content coding that was asked for, within bounds on what comes out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::failure::classify;
use super::options::{Coding, Limits, Timeouts};
use super::progress::Progress;
use super::receive::within_limit;
use super::transport::{ReplyBody, TransportError};
use crate::error::{Error, ErrorKind, Phase, Result, Sent};

/// Decoded bytes taken at a time.
const DECODE_BUFFER: usize = 64 << 10;
/// Decoded bytes that no ratio is asked of: a short body of zeros is no bomb.
const FREE_OF_RATIO: u64 = 1 << 20;

/// The body of a reply, decoded where that was asked for.
pub(super) enum BodyReader {
    Plain(ReplyBody),
    Decoded { coding: Coding, reader: Pin<Box<dyn AsyncRead + Send + Sync>>, decoded: u64 },
}

impl BodyReader {
    pub(super) fn new(
        body: ReplyBody,
        coding: Option<Coding>,
        progress: &Arc<Progress>,
        limits: &Limits,
    ) -> Self {
        crate::fault::point("receive::decode");
        let Some(coding) = coding else {
            return Self::Plain(body);
        };
        let wire = WireReader::new(body, Arc::clone(progress), limits.max_response_bytes);
        Self::Decoded { coding, reader: decoder(coding, wire), decoded: 0 }
    }

    /// The length of what is left, if the sender announced it.
    pub(super) fn announced(&self) -> Option<u64> {
        match self {
            Self::Plain(body) => body.size_hint().exact(),
            Self::Decoded { .. } => None,
        }
    }

    /// The next bytes, within the limits; `None` at the end.
    pub(super) async fn next(
        &mut self,
        progress: &Progress,
        timeouts: &Timeouts,
        limits: &Limits,
    ) -> Result<Option<Bytes>> {
        let classified = |cause| classify(cause, progress, timeouts, limits);
        match self {
            Self::Plain(body) => {
                let Some(chunk) = next_chunk(body).await.map_err(classified)? else {
                    return Ok(None);
                };
                progress.count_received(chunk.len());
                within_limit("max_response_bytes", limits.max_response_bytes, progress.received())?;
                Ok(Some(chunk))
            }
            Self::Decoded { coding, reader, decoded } => {
                let mut chunk = BytesMut::with_capacity(DECODE_BUFFER);
                match reader.read_buf(&mut chunk).await {
                    Ok(0) => return Ok(None),
                    Ok(read) => *decoded += read as u64,
                    Err(cause) => {
                        return Err(match undecodable(*coding, cause) {
                            DecodeFailure::Wire(cause) => classified(cause),
                            DecodeFailure::Coding(error) => error,
                        });
                    }
                }
                check_decoded(*decoded, progress, limits)?;
                Ok(Some(chunk.freeze()))
            }
        }
    }
}

async fn next_chunk(body: &mut ReplyBody) -> Result<Option<Bytes>, TransportError> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.transpose()?.map(http_body::Frame::into_data) {
            None => return Ok(None),
            Some(Ok(chunk)) => return Ok(Some(chunk)),
            // Trailers: nothing of the body.
            Some(Err(_)) => {}
        }
    }
}

/// The reader that undoes `coding` on what `wire` delivers. All members of a body count (RFC 1952).
fn decoder(coding: Coding, wire: WireReader) -> Pin<Box<dyn AsyncRead + Send + Sync>> {
    match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(wire);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Coding::Brotli => Box::pin(BrotliDecoder::new(wire)),
        Coding::Zstd => {
            let mut decoder = ZstdDecoder::new(wire);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    }
}

/// The coding to undo, if the reply has one that was asked for.
pub(super) fn coding_of(headers: &http::HeaderMap, asked_for: &[Coding]) -> Result<Option<Coding>> {
    let mut values = headers.get_all(http::header::CONTENT_ENCODING).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(http::header::CONTENT_ENCODING) && !asked_for.is_empty() {
            Err(nested())
        } else {
            Ok(None)
        };
    };
    let name = value.to_str().unwrap_or_default().trim();
    if name.contains(',') && !asked_for.is_empty() {
        return Err(nested());
    }
    Ok(Coding::from_name(name).ok().filter(|coding| asked_for.contains(coding)))
}

/// Fail if `decoded` bytes are too many, or too many for the bytes on the wire.
fn check_decoded(decoded: u64, progress: &Progress, limits: &Limits) -> Result<()> {
    within_limit("max_response_bytes", limits.max_response_bytes, decoded)?;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let ratio = decoded.saturating_sub(FREE_OF_RATIO) as f64 / progress.received().max(1) as f64;
    if ratio <= limits.max_decoded_ratio {
        return Ok(());
    }
    let subject = format!(
        "the reply decodes to more than max_decoded_ratio ({}) times its size",
        limits.max_decoded_ratio
    );
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people to read")]
    let kind = ErrorKind::LimitExceeded {
        name: "max_decoded_ratio",
        limit: limits.max_decoded_ratio as u64,
        got: ratio as u64,
    };
    Err(Error::new(kind, subject).with_phase(Phase::Receive).with_sent(Sent::Yes))
}

/// What a decoder reports, as one of our errors.
fn undecodable(coding: Coding, cause: io::Error) -> DecodeFailure {
    match cause.downcast::<TransportError>() {
        Ok(wire) => DecodeFailure::Wire(wire),
        Err(cause) => {
            let subject =
                format!("the body of the reply is not {} as its Content-Encoding says", coding.as_str());
            let kind = if cause.kind() == io::ErrorKind::UnexpectedEof {
                ErrorKind::IncompleteBody
            } else {
                ErrorKind::Protocol
            };
            let error = Error::new(kind, subject).with_phase(Phase::Receive).with_sent(Sent::Yes);
            DecodeFailure::Coding(error.with_source(cause))
        }
    }
}

/// Why a body could not be decoded.
enum DecodeFailure {
    /// It did not arrive.
    Wire(TransportError),
    /// It is not what it claims to be.
    Coding(Error),
}

fn nested() -> Error {
    let subject = "the reply has more than one Content-Encoding: only one is undone";
    Error::new(ErrorKind::Protocol, subject).with_phase(Phase::Receive).with_sent(Sent::Yes)
}

/// The bytes of a reply as they come off the wire, counted.
struct WireReader {
    body: ReplyBody,
    chunk: Bytes,
    progress: Arc<Progress>,
    limit: u64,
}

impl WireReader {
    fn new(body: ReplyBody, progress: Arc<Progress>, limit: u64) -> Self {
        Self { body, chunk: Bytes::new(), progress, limit }
    }

    /// Wait until `chunk` has bytes, or the body has ended.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => break,
                Some(frame) => self.chunk = frame.map_err(io::Error::other)?.into_data().unwrap_or_default(),
            }
            self.progress.count_received(self.chunk.len());
            if self.progress.received() > self.limit {
                let error = within_limit("max_response_bytes", self.limit, self.progress.received());
                return Poll::Ready(error.map_err(io::Error::other));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for WireReader {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_chunk(context))?;
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().chunk.advance(len);
    }
}

impl AsyncRead for WireReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_chunk(context))?;
        let len = this.chunk.len().min(out.remaining());
        out.put_slice(&this.chunk.split_to(len));
        Poll::Ready(Ok(()))
    }
}
