//! The body of an answer on its way to the application: it observes, keeps deadlines, and ends the record.
//!
//! Invariant: bytes pass unchanged and at once; a stream that breaks never ends as if it were whole.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::client_io::Busy;
use super::deadlines::Deadlines;
use super::record::Record;
use crate::backend;
use crate::model::End;
use crate::wire::error_body::ApiError;
use crate::wire::observe::{self, Observer};
use crate::wire::sse;

/// Events that come together leave together, at most so much at once.
const MAX_GATHERED: usize = 16 << 10;
/// How often the connection to a backend gets its turn to hand on what it has read.
const TURNS: u8 = 4;
/// A body held whole leaves in pieces of this size, so that its room is taken until it is nearly sent.
const PIECE: usize = 64 << 10;

type Polled = Option<Result<Frame<Bytes>, Broken>>;

/// What a broken answer looks like to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnBreak {
    /// As it came: cut, without a clean end.
    Cut,
    /// A last error event in OpenAI's shape, and a proper end. Until then only whole events leave.
    ErrorEvent,
}

/// The upstream broke off; hyper then cuts the connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct Broken;

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Relay { held: VecDeque<Bytes>, body: backend::AnswerBody },
    Done,
}

/// On the heap: an answer is handed from step to step, and what is small is cheap to hand on.
#[derive(Debug)]
pub(super) struct AnswerBody(Box<Inside>);

#[derive(Debug)]
struct Inside {
    source: Source,
    record: Option<Box<Record>>,
    /// How the record ends when the source ends well.
    end: End,
    observer: Observer,
    deadlines: Deadlines,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When waiting for the next byte ends; the timer is moved there only when it has run out.
    next_byte: Option<Instant>,
    on_break: OnBreak,
    /// The event begun but not ended, where a stream may have to end with one of ours.
    unfinished: BytesMut,
    /// What has left ends within an event that is larger than the bound.
    in_event: bool,
    /// An event stream: what has already come in is passed on in one write.
    gathers: bool,
    gathered: BytesMut,
    /// Turns that the connection to the backend had since anything came.
    waited: u8,
    /// Comes after what is gathered.
    last: Option<Polled>,
    /// The connection is busy until this goes.
    busy: Option<Busy>,
}

impl AnswerBody {
    pub(super) fn hold(&mut self, busy: Busy) {
        self.0.busy = Some(busy);
    }

    pub(super) fn whole(bytes: Bytes, record: Box<Record>, end: End) -> Self {
        let mut inside = Inside::new(Source::Whole(bytes), Some(record));
        inside.end = end;
        Self(inside)
    }

    /// For a tunnel, whose task keeps the record.
    pub(super) fn empty() -> Self {
        Self(Inside::new(Source::Done, None))
    }

    /// `held` has been observed already.
    pub(super) fn relay(
        held: VecDeque<Bytes>,
        body: backend::AnswerBody,
        observer: Observer,
        record: Box<Record>,
        deadlines: Deadlines,
        on_break: OnBreak,
    ) -> Self {
        let mut inside = Inside::new(Source::Relay { held, body }, Some(record));
        inside.next_byte = deadlines.next_byte(Instant::now());
        inside.sleep = inside.next_byte.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        inside.gathers = observer.is_stream();
        (inside.observer, inside.deadlines, inside.on_break) = (observer, deadlines, on_break);
        Self(inside)
    }
}

impl Inside {
    fn new(source: Source, record: Option<Box<Record>>) -> Box<Self> {
        Box::new(Self {
            source,
            record,
            end: End::Complete,
            observer: Observer::off(),
            deadlines: Deadlines::default(),
            sleep: None,
            next_byte: None,
            on_break: OnBreak::Cut,
            unfinished: BytesMut::new(),
            in_event: false,
            gathers: false,
            gathered: BytesMut::new(),
            waited: 0,
            last: None,
            busy: None,
        })
    }

    fn finish(&mut self, end: End) {
        self.source = Source::Done;
        self.sleep = None;
        if let Some(mut record) = self.record.take() {
            if end == End::Complete {
                self.observer.finish();
            }
            // A whole answer was read before it left, and the record already knows what it says.
            if self.observer.has_seen() {
                record.seen = std::mem::take(&mut self.observer.seen);
            }
            let end = if record.seen.error_event && end == End::Complete { End::UpstreamError } else { end };
            record.finish(end);
        }
    }

    fn broke(&mut self, end: End) -> Poll<Polled> {
        let (done, said) = (self.observer.seen.done, self.observer.seen.error_event);
        self.finish(if self.on_break == OnBreak::ErrorEvent && done { self.end } else { end });
        match self.on_break {
            OnBreak::Cut => Poll::Ready(Some(Err(Broken))),
            // It had said all, or why not.
            OnBreak::ErrorEvent if done || said => Poll::Ready(None),
            OnBreak::ErrorEvent => {
                let error =
                    ApiError::server("the answer broke off; what came so far is all there is", "upstream_error");
                let event = error.to_event();
                let event = if self.in_event { [b"\n\n".as_slice(), &event].concat().into() } else { event };
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
        }
    }

    /// After a candidate's error event nothing follows, least of all `[DONE]`.
    fn ends_at_error(&self, events: &mut Bytes) -> bool {
        if self.on_break == OnBreak::Cut || !self.observer.seen.error_event {
            return false;
        }
        match observe::end_of_error(events, Instant::now()) {
            Some(end) => {
                events.truncate(end);
                true
            }
            None => false,
        }
    }

    /// Of `data`, after what was kept, as much as makes whole events; `None` while there is not one.
    fn whole_events(&mut self, data: Bytes) -> Option<Bytes> {
        if self.on_break == OnBreak::Cut || (self.unfinished.is_empty() && sse::ends_event(&data)) {
            self.in_event = false;
            return Some(data);
        }
        let known = self.unfinished.len();
        self.unfinished.extend_from_slice(&data);
        // An event beyond the bound passes in pieces: memory counts for more than a tidy break.
        let end = if self.unfinished.len() > sse::MAX_EVENT {
            self.unfinished.len()
        } else {
            sse::last_event_end(&self.unfinished, known)
        };
        let events = (end > 0).then(|| self.unfinished.split_to(end).freeze())?;
        self.in_event = !sse::ends_event(&events);
        Some(events)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(sleep) = &mut self.sleep else { return false };
        while sleep.as_mut().poll(cx).is_ready() {
            match self.next_byte {
                Some(at) if at > Instant::now() => sleep.as_mut().reset(at.into()),
                _ => return true,
            }
        }
        false
    }

    fn passed(&mut self, data: &Bytes) {
        let now = Instant::now();
        self.observer.push(data, now);
        if self.deadlines.idle.is_some() {
            self.next_byte = self.deadlines.next_byte(now);
        }
    }

    fn more_is_here(&self) -> bool {
        match &self.source {
            Source::Relay { held, body } => !held.is_empty() || body.has_more(),
            Source::Whole(_) | Source::Done => false,
        }
    }

    /// What leaves now that `data` has come: nothing while more of the stream is here already.
    fn gather(&mut self, data: Bytes) -> Option<Bytes> {
        if self.gathers && self.gathered.len() + data.len() <= MAX_GATHERED && self.more_is_here() {
            self.gathered.extend_from_slice(&data);
            self.waited = 0;
            return None;
        }
        if self.gathered.is_empty() {
            return Some(data);
        }
        self.gathered.extend_from_slice(&data);
        Some(self.gathered.split().freeze())
    }

    /// Nothing is ready: the backend's connection gets its turns, then what is gathered leaves.
    fn nothing_more(&mut self, cx: &Context<'_>) -> Poll<Polled> {
        if self.gathered.is_empty() {
            return Poll::Pending;
        }
        if self.waited < TURNS {
            self.waited += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Source::Relay { body, .. } = &mut self.source {
            body.settle();
        }
        Poll::Ready(Some(Ok(Frame::data(self.gathered.split().freeze()))))
    }

    /// The end, after what is gathered.
    fn end_with(&mut self, last: Polled) -> Poll<Polled> {
        if self.gathered.is_empty() {
            return Poll::Ready(last);
        }
        self.last = Some(last);
        Poll::Ready(Some(Ok(Frame::data(self.gathered.split().freeze()))))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        if let Some(busy) = &mut self.0.busy {
            busy.gives(false);
        }
        let polled = self.0.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(busy)) = (&polled, &mut self.0.busy) {
            busy.gives(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Inside {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        let this = self;
        if let Some(last) = this.last.take() {
            return Poll::Ready(last);
        }
        loop {
            let polled = match this.poll_source(cx) {
                Poll::Ready(polled) => polled,
                Poll::Pending => return this.nothing_more(cx),
            };
            let data = match polled {
                Some(Ok(frame)) if frame.is_data() && !matches!(this.source, Source::Done) => frame.into_data(),
                other => return this.end_with(other),
            };
            let Some(mut events) = data.ok().and_then(|data| this.whole_events(data)) else { continue };
            if this.ends_at_error(&mut events) {
                this.finish(End::UpstreamError);
                this.unfinished.clear();
                return this.end_with(Some(Ok(Frame::data(events))));
            }
            if let Some(data) = this.gather(events) {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if !self.gathered.is_empty() || self.last.is_some() {
            return false;
        }
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            // Whether a candidate's stream was whole is known only at its end, which therefore has to be seen.
            Source::Relay { .. } if self.on_break == OnBreak::ErrorEvent => false,
            Source::Relay { held, body } => held.is_empty() && body.is_end_stream(),
            Source::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Relay { .. } if self.on_break == OnBreak::ErrorEvent => SizeHint::default(),
            Source::Relay { held, body } if held.is_empty() => body.size_hint(),
            Source::Relay { .. } => SizeHint::default(),
            Source::Done => SizeHint::with_exact(0),
        }
    }
}

impl Inside {
    /// A candidate's stream that ends without saying so was cut, however politely.
    fn broke_unseen(&self) -> bool {
        let seen = &self.observer.seen;
        self.on_break == OnBreak::ErrorEvent && !seen.finished() && !seen.error_event
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        let this = self;
        let polled = match &mut this.source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Source::Relay { held, body } => match held.pop_front() {
                Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(body).poll_frame(cx),
            },
            Source::Done => return Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.passed(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if this.broke_unseen() => this.broke(End::UpstreamError),
            Poll::Ready(None) => {
                let end = this.end;
                this.finish(end);
                let rest = std::mem::take(&mut this.unfinished);
                Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest.freeze()))))
            }
            Poll::Ready(Some(Err(_))) => this.broke(End::UpstreamError),
            Poll::Pending if this.poll_deadline(cx) => this.broke(End::Timeout),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.record.is_some() {
            if self.is_end_stream() {
                self.finish(self.end);
            } else if let Some(mut record) = self.record.take() {
                // Neither whole nor broken: the application left, or the drain cut it. The record knows which.
                record.seen = std::mem::take(&mut self.observer.seen);
            }
        }
    }
}
