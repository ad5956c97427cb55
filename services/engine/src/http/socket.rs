//! The socket under a connection that its call drives.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

/// What a connection shares with its socket, which hyper owns.
#[derive(Default)]
pub(super) struct Wire {
    written: AtomicU64,
    /// The next read asks the system whether anything has come.
    asked: AtomicBool,
    /// What the system said.
    quiet: AtomicBool,
}

impl Wire {
    /// Bytes that the socket took.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Have the next read ask the system whether the peer is quiet, which it knows before tokio does.
    pub(super) fn ask_whether_quiet(&self) {
        self.quiet.store(false, Relaxed);
        self.asked.store(true, Relaxed);
    }

    /// Whether that read came, and found that the peer has neither sent anything nor closed.
    pub(super) fn was_quiet(&self) -> bool {
        self.asked.store(false, Relaxed);
        self.quiet.load(Relaxed)
    }
}

/// The socket, with the bytes it took counted.
pub(super) struct Socket {
    stream: TokioIo<TcpStream>,
    wire: Arc<Wire>,
}

impl Socket {
    pub(super) fn new(stream: TokioIo<TcpStream>, wire: Arc<Wire>) -> Self {
        Self { stream, wire }
    }

    /// Whether the peer has sent nothing and not closed, as far as the system knows.
    fn is_quiet(&self) -> bool {
        let peeked = SockRef::from(self.stream.inner()).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.wire.written.fetch_add(bytes as u64, Relaxed);
        }
        written
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.wire.asked.swap(false, Relaxed) {
            let is_quiet = self.is_quiet();
            self.wire.quiet.store(is_quiet, Relaxed);
        }
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
