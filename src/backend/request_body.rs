//! The body of a request to a backend: held bytes that can be sent again, or the application's stream as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What goes upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// Held whole: shared, never copied.
    Whole(Option<Bytes>),
    /// Passed on unread, after what had been read before that was known.
    Stream { read: Option<Bytes>, rest: Incoming },
}

impl RequestBody {
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { read, rest } => {
                if let Some(bytes) = read.take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                // Trailers of the application end here: no backend has a use for them.
                match Pin::new(rest).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(None),
                    other => other,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream { read, rest } => read.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream { read: None, rest } => rest.size_hint(),
            Self::Stream { read: Some(read), rest } => {
                let mut hint = SizeHint::new();
                let (read, rest) = (read.len() as u64, rest.size_hint());
                hint.set_lower(read.saturating_add(rest.lower()));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}
