//! Body of a backend's answer: returns its connection to the pool, and counts the bytes that have already arrived.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::TRANSFER_ENCODING;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::kept::{Http1, Kept};

/// Smallest chunk on the wire, in bytes: one byte of data with its framing.
const LEAST_CHUNK: u64 = 6;

/// Body of an answer. Reading it to its end returns the connection to the pool; dropping it earlier closes the
/// connection, which tells the server to stop generating.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    source: Source,
    /// Estimated number of bytes read on the connection that are the head or were handed on already.
    passed: u64,
    chunked: bool,
}

#[derive(Debug)]
enum Source {
    Http1(Option<(Http1, Weak<Kept>)>),
    Http2(#[expect(dead_code, reason = "held: it counts the stream")] Arc<()>),
}

impl AnswerBody {
    /// `kept` is the connection and its pool, `None` if the connection cannot be reused; `before` is its byte count
    /// before this answer.
    pub(super) fn http1(
        response: Response<Incoming>,
        kept: Option<(Http1, Weak<Kept>)>,
        before: u64,
    ) -> Response<Self> {
        let passed = before.saturating_add(head_length(&response));
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        response.map(|incoming| Self { incoming, source: Source::Http1(kept), passed, chunked })
    }

    /// `alive` counts the stream on its connection.
    pub(super) fn http2(incoming: Incoming, alive: Arc<()>) -> Self {
        Self { incoming, source: Source::Http2(alive), passed: 0, chunked: false }
    }

    /// True if more bytes have arrived than were handed on. This is an estimate: unusual spacing in the head makes it
    /// wrong until [`Self::settle`].
    pub fn has_more(&self) -> bool {
        match &self.source {
            Source::Http1(Some((conn, _))) => conn.read.get() > self.passed + LEAST_CHUNK,
            Source::Http1(None) | Source::Http2(_) => false,
        }
    }

    /// Corrects the estimate after a wait in which nothing arrived: all bytes read so far were handed on.
    pub fn settle(&mut self) {
        if let Source::Http1(Some((conn, _))) = &self.source {
            self.passed = conn.read.get();
        }
    }

    fn pass(&mut self, data: usize) {
        self.passed += data as u64;
        if self.chunked {
            // Framing of a chunk: its size in hexadecimal and two line ends.
            self.passed += u64::from(usize::BITS - data.leading_zeros()).div_ceil(4) + 4;
        }
        if let Source::Http1(Some((conn, _))) = &self.source {
            self.passed = self.passed.min(conn.read.get());
        }
    }

    fn release(&mut self) {
        if let Source::Http1(conn) = &mut self.source
            && let Some((conn, kept)) = conn.take()
            && let Some(kept) = kept.upgrade()
        {
            kept.give_back(conn);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Err(_))) => {
                if let Source::Http1(conn) = &mut self.source {
                    *conn = None;
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, Bytes::len);
                self.pass(data);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}

/// Returns the likely length of the head in bytes, assuming one space after each colon as most servers write it.
fn head_length<B>(response: &Response<B>) -> u64 {
    let fields = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let reason = response.status().canonical_reason().unwrap_or_default();
    ("HTTP/1.1 200 \r\n\r\n".len() + reason.len() + fields.sum::<usize>()) as u64
}
