//! Body of a request to a backend: held bytes that can be sent again, or the application's body as it arrives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

/// Body of a request to a backend.
#[derive(Debug)]
pub enum RequestBody {
    /// Held whole; clones share the bytes.
    Whole(Option<Bytes>),
    /// Passed on without being held, after the bytes read so far.
    Stream(Box<Passing>),
}

/// An application's body in transit.
#[derive(Debug)]
pub struct Passing {
    read: Option<Bytes>,
    rest: Incoming,
    /// Longest pause between two pieces.
    patience: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

/// Reason for which the application's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's connection failed.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The client paused for longer than its timeout.
    #[error("no more of it came in time")]
    Slow,
}

impl RequestBody {
    /// Creates a body from held bytes.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// Creates a body that is passed on: first `read`, then `rest`, with pauses of at most `patience`.
    pub fn passing(read: Option<Bytes>, rest: Incoming, patience: Duration) -> Self {
        Self::Stream(Box::new(Passing { read, rest, patience, pause: None }))
    }
}

impl Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(bytes) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match Pin::new(&mut self.rest).poll_frame(cx) {
            Poll::Ready(polled) => {
                self.pause = None;
                // Trailers of the application are dropped: backends do not use them.
                Poll::Ready(polled.filter(|frame| !matches!(frame, Ok(frame) if frame.is_trailers())))
                    .map_err(BodyError::from)
            }
            Poll::Pending => {
                let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
                pause.as_mut().poll(cx).map(|()| Some(Err(BodyError::Slow)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let Some(read) = &self.read else { return rest };
        let mut hint = SizeHint::new();
        let read = read.len() as u64;
        hint.set_lower(read.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(passing) => passing.read.is_none() && passing.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(passing) => passing.size_hint(),
        }
    }
}
