//! A connection that fails below HTTP: cut at a byte, one byte at a time, garbage.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Number of bytes left on a connection that is not cut.
const ENDLESS: usize = usize::MAX;

/// Faults of one connection, set by the request being answered.
#[derive(Debug)]
pub(super) struct StreamControl {
    /// Bytes that are written before the connection is reset.
    left: AtomicUsize,
    /// True to write one byte at a time.
    pub(super) dribble: AtomicBool,
    /// True to write something that is not HTTP.
    pub(super) garbage: AtomicBool,
}

impl Default for StreamControl {
    fn default() -> Self {
        Self { left: AtomicUsize::new(ENDLESS), dribble: AtomicBool::new(false), garbage: AtomicBool::new(false) }
    }
}

impl StreamControl {
    /// Resets the connection after this many more bytes.
    pub(super) fn cut_after(&self, bytes: usize) {
        self.left.store(bytes, Relaxed);
    }
}

/// A TCP stream with the faults of its [`StreamControl`].
#[derive(Debug)]
pub(super) struct FaultyStream {
    stream: TcpStream,
    control: Arc<StreamControl>,
    /// True once garbage was written.
    has_spat: bool,
}

impl FaultyStream {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<StreamControl>) {
        let control = Arc::new(StreamControl::default());
        (Self { stream, control: Arc::clone(&control), has_spat: false }, control)
    }
}

impl AsyncRead for FaultyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.control.garbage.load(Relaxed) {
            let garbage = b"\x16\x03\x01 this is no HTTP\r\n\r\n".as_slice();
            if !self.has_spat {
                self.has_spat = true;
                return Pin::new(&mut self.stream).poll_write(cx, garbage).map_ok(|_| buf.len());
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let left = self.control.left.load(Relaxed);
        if left == 0 {
            // Zero linger sends RST instead of FIN.
            self.stream.set_zero_linger()?;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut most = buf.len().min(left);
        if self.control.dribble.load(Relaxed) {
            most = most.min(1);
        }
        let part = buf.get(..most).unwrap_or(buf);
        let polled = Pin::new(&mut self.stream).poll_write(cx, part);
        if let Poll::Ready(Ok(written)) = polled
            && left != ENDLESS
        {
            self.control.left.store(left.saturating_sub(written), Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
