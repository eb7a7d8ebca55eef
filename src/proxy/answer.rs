//! The body of an answer on its way to the application: it observes, keeps deadlines, and ends the record.
//!
//! Invariant: bytes pass unchanged and at once; a stream that breaks never ends as if it were whole.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::client_io::Busy;
use super::deadlines::Deadlines;
use super::reader::{Ended, OnBreak, Reader, Taken};
use super::record::Record;
use crate::backend;
use crate::model::End;
use crate::translate::answer::KEEP_ALIVE;
use crate::wire::observe::Observer;

/// Events that come together leave together, at most so much at once.
const MAX_GATHERED: usize = 16 << 10;
/// How often the connection to a backend gets its turn to hand on what it has read.
const TURNS: u8 = 4;
/// A body held whole leaves in pieces of this size, so that its room is taken until it is nearly sent.
const PIECE: usize = 64 << 10;

type Polled = Option<Result<Frame<Bytes>, Broken>>;

/// The upstream broke off; hyper then cuts the connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct Broken;

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Relay(backend::AnswerBody),
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
    reader: Reader,
    deadlines: Deadlines,
    sleep: Option<Pin<Box<Sleep>>>,
    /// When waiting for the next byte ends; the timer is moved there only when it has run out.
    next_byte: Option<Instant>,
    /// When something last left, and what wakes us when that was long ago; only of rewritten streams.
    left: Instant,
    quiet: Option<(Duration, Pin<Box<Sleep>>)>,
    /// An event stream: what has already come in is passed on in one write.
    gathers: bool,
    gathered: BytesMut,
    /// When what leaves next had come.
    came: Option<Instant>,
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

    /// `held` has come through the reader already.
    pub(super) fn relay(
        held: BytesMut,
        body: backend::AnswerBody,
        reader: Reader,
        record: Box<Record>,
        deadlines: Deadlines,
    ) -> Self {
        let quiet = record.quiet();
        let mut inside = Inside::new(Source::Relay(body), Some(record));
        inside.next_byte = deadlines.next_byte(inside.left);
        inside.sleep = inside.next_byte.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        inside.quiet = reader.holds_back().then(|| (quiet, Box::pin(tokio::time::sleep(quiet))));
        inside.gathers = reader.is_stream();
        (inside.reader, inside.deadlines, inside.gathered) = (reader, deadlines, held);
        Self(inside)
    }
}

impl Inside {
    fn new(source: Source, record: Option<Box<Record>>) -> Box<Self> {
        Box::new(Self {
            source,
            record,
            end: End::Complete,
            reader: Reader::passing(Observer::off(), OnBreak::Cut),
            deadlines: Deadlines::default(),
            sleep: None,
            next_byte: None,
            left: Instant::now(),
            quiet: None,
            gathers: false,
            gathered: BytesMut::new(),
            came: None,
            waited: 0,
            last: None,
            busy: None,
        })
    }

    fn finish(&mut self, end: End) {
        self.source = Source::Done;
        (self.sleep, self.quiet) = (None, None);
        if let Some(mut record) = self.record.take() {
            // A whole answer was read before it left, and the record already knows what it says.
            if let Some(seen) = self.reader.take_seen(end == End::Complete) {
                record.seen = seen;
            }
            record.noticed(self.reader.stream());
            let end = if record.seen.error_event && end == End::Complete { End::UpstreamError } else { end };
            record.finish(end);
        }
    }

    fn broke(&mut self, end: End) -> Poll<Polled> {
        let (event, done) = (self.reader.break_event(), self.reader.was_done());
        let on_break = self.reader.on_break;
        self.finish(if on_break == OnBreak::ErrorEvent && done { self.end } else { end });
        match on_break {
            OnBreak::Cut => Poll::Ready(Some(Err(Broken))),
            OnBreak::ErrorEvent => Poll::Ready(event.map(|event| Ok(Frame::data(event)))),
        }
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

    /// Nothing has left for long, though the answer goes on.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        if self.reader.was_done() {
            return false;
        }
        let Some((after, quiet)) = &mut self.quiet else { return false };
        while quiet.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_due = self.left + *after <= now;
            if is_due {
                self.left = now;
            }
            quiet.as_mut().reset((self.left + *after).into());
            if is_due {
                return true;
            }
        }
        false
    }

    fn more_is_here(&self) -> bool {
        match &self.source {
            Source::Relay(body) => body.has_more(),
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
        if let Source::Relay(body) = &mut self.source {
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
        let polled = self.0.leaves(polled);
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
        if let Some(last) = self.last.take() {
            return Poll::Ready(last);
        }
        loop {
            let taken = match self.poll_source(cx) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(last)) => return self.end_with(last),
                Poll::Pending => match self.nothing_more(cx) {
                    Poll::Pending if self.poll_quiet(cx) => {
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(KEEP_ALIVE)))));
                    }
                    polled => return polled,
                },
            };
            let events = match taken {
                Taken::Nothing => continue,
                Taken::Bytes(events) => events,
                Taken::Failed(events) => return self.end_after(events, End::UpstreamError),
                Taken::Over(events) => return self.over(events),
            };
            if let Some(data) = self.gather(events) {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn leaves(&mut self, polled: Poll<Polled>) -> Poll<Polled> {
        if polled.is_ready()
            && let (Some(came), Some(record)) = (self.came.take(), &mut self.record)
        {
            record.watch.passing += came.elapsed();
        }
        if self.quiet.is_some() && polled.is_ready() {
            self.left = Instant::now();
        }
        polled
    }

    /// These are the last bytes.
    fn end_after(&mut self, events: Bytes, end: End) -> Poll<Polled> {
        self.finish(end);
        let last = (!events.is_empty()).then(|| Ok(Frame::data(events)));
        self.end_with(last)
    }

    /// The application has all of it: what the backend still says is not waited for.
    fn over(&mut self, events: Bytes) -> Poll<Polled> {
        let rest = match self.reader.end() {
            Ended::Whole(rest) | Ended::Failed(rest) => rest,
            Ended::Broke => Bytes::new(),
        };
        let events = if rest.is_empty() { events } else { [events, rest].concat().into() };
        self.end_after(events, self.end)
    }

    fn is_end_stream(&self) -> bool {
        if !self.gathered.is_empty() || self.last.is_some() {
            return false;
        }
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            // Whether a candidate's stream was whole is known only at its end, which therefore has to be seen.
            Source::Relay(_) if self.ends_by_itself() => false,
            Source::Relay(body) => body.is_end_stream(),
            Source::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Relay(_) if self.ends_by_itself() => SizeHint::default(),
            Source::Relay(body) => body.size_hint(),
            Source::Done => SizeHint::with_exact(0),
        }
    }

    /// What leaves is not what comes, or may end otherwise.
    fn ends_by_itself(&self) -> bool {
        self.reader.on_break == OnBreak::ErrorEvent || self.reader.is_rewriting()
    }

    /// What leaves next, or how it ends.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, Polled>> {
        let polled = match &mut self.source {
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                return Poll::Ready(Ok(Taken::Bytes(piece)));
            }
            // It ended before its head left.
            Source::Relay(_) if self.reader.is_over() => return Poll::Ready(Ok(Taken::Over(Bytes::new()))),
            Source::Relay(body) => Pin::new(body).poll_frame(cx),
            Source::Done => return Poll::Ready(Err(None)),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { return Poll::Ready(Ok(Taken::Nothing)) };
                let now = Instant::now();
                self.came.get_or_insert(now);
                if self.deadlines.idle.is_some() {
                    self.next_byte = self.deadlines.next_byte(now);
                }
                Poll::Ready(Ok(self.reader.take(data, now)))
            }
            Poll::Ready(None) => match self.reader.end() {
                Ended::Broke => self.broke(End::UpstreamError).map(Err),
                Ended::Failed(rest) => self.ended(rest, End::UpstreamError),
                Ended::Whole(rest) => self.ended(rest, self.end),
            },
            Poll::Ready(Some(Err(_))) => self.broke(End::UpstreamError).map(Err),
            Poll::Pending if self.poll_deadline(cx) => self.broke(End::Timeout).map(Err),
            Poll::Pending => Poll::Pending,
        }
    }

    fn ended(&mut self, rest: Bytes, end: End) -> Poll<Result<Taken, Polled>> {
        self.finish(end);
        Poll::Ready(Err((!rest.is_empty()).then(|| Ok(Frame::data(rest)))))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.record.is_some() {
            if self.is_end_stream() {
                self.finish(self.end);
            } else if let Some(mut record) = self.record.take() {
                // Neither whole nor broken: the application left, or the drain cut it. The record knows which.
                if let Some(seen) = self.reader.take_seen(false) {
                    record.seen = seen;
                }
                record.noticed(self.reader.stream());
            }
        }
    }
}
