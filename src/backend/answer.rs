//! A backend's answer on its way: what it holds of its connection, and how much of it is here already.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::TRANSFER_ENCODING;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::kept::{Http1, Kept};

/// A chunk with one byte and its frame.
const LEAST_CHUNK: u64 = 6;

/// An answer's body. Read to its end, its connection goes back to the pool; dropped before, the connection is closed,
/// which is what tells a server to stop generating.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    source: Source,
    /// About how much of what the connection has read is the head, or was handed on.
    passed: u64,
    chunked: bool,
}

#[derive(Debug)]
enum Source {
    Http1(Option<(Http1, Weak<Kept>)>),
    Http2(#[expect(dead_code, reason = "held: it counts the stream")] Arc<()>),
}

impl AnswerBody {
    /// `kept` is the connection, where it can be used again; `before` is what it had read before this answer.
    pub(super) fn http1(
        response: Response<Incoming>,
        kept: Option<(Http1, Weak<Kept>)>,
        before: u64,
    ) -> Response<Self> {
        let passed = before.saturating_add(head_length(&response));
        let chunked = response.headers().contains_key(TRANSFER_ENCODING);
        response.map(|incoming| Self { incoming, source: Source::Http1(kept), passed, chunked })
    }

    /// `alive` counts the stream.
    pub(super) fn http2(incoming: Incoming, alive: Arc<()>) -> Self {
        Self { incoming, source: Source::Http2(alive), passed: 0, chunked: false }
    }

    /// Whether more of it has been read from the connection than was handed on. A guess: a head with unusual spacing
    /// makes it wrong until [`Self::settle`].
    pub fn has_more(&self) -> bool {
        match &self.source {
            Source::Http1(Some((conn, _))) => conn.read.get() > self.passed + LEAST_CHUNK,
            Source::Http1(None) | Source::Http2(_) => false,
        }
    }

    /// Nothing more came though it was waited for: what has been read is what was handed on.
    pub fn settle(&mut self) {
        if let Source::Http1(Some((conn, _))) = &self.source {
            self.passed = conn.read.get();
        }
    }

    fn pass(&mut self, data: usize) {
        self.passed += data as u64;
        if self.chunked {
            // The size in hexadecimal and two line ends.
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

/// As servers commonly write it: one space after each colon.
fn head_length<B>(response: &Response<B>) -> u64 {
    let fields = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let reason = response.status().canonical_reason().unwrap_or_default();
    ("HTTP/1.1 200 \r\n\r\n".len() + reason.len() + fields.sum::<usize>()) as u64
}
