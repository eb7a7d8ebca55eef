//! Body of an answer to the application: batches events, keeps quiet streams alive, and ends the request.
//!
//! Invariant: bytes pass unchanged and without delay; a stream that breaks never ends as if it were whole.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::client_io::Busy;
use super::progress::Progress;
use crate::exchange::{AnswerStream, Next};
use crate::model::End;
use crate::outcome::Ending;
use crate::translate::answer::KEEP_ALIVE;

/// Limit, in bytes, of one batch. Events that arrived together are written together.
const MAX_GATHERED: usize = 16 << 10;
/// Times that the backend's connection is polled for more bytes before a batch is written.
const TURNS: u8 = 4;
/// Size, in bytes, of the pieces of a held body; its memory stays accounted for until the last piece.
const PIECE: usize = 64 << 10;

type Polled = Option<Result<Frame<Bytes>, Broken>>;

/// The answer broke off; hyper then cuts the client's connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct Broken;

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Relay(Box<AnswerStream>),
    /// An answer whose head was sent before a backend had content.
    Early(Early),
    /// No answer: the connection is to be closed.
    HangUp,
    Done,
}

/// A body behind an early head; its request is inside it.
struct Early(Pin<Box<dyn Body<Data = Bytes, Error = Broken> + Send>>);

impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Early")
    }
}

/// End of the request after a held body was sent whole.
#[derive(Debug, Clone, Copy)]
enum WhenWhole {
    /// The body is the answer of the running leg.
    Leg,
    /// The body is shiftgate's own; its leg, if any, has ended.
    Local(End),
}

/// Body of an answer. Boxed, because it is moved between many futures.
#[derive(Debug)]
pub(super) struct AnswerBody(Box<Inside>);

#[derive(Debug)]
struct Inside {
    source: Source,
    progress: Option<Box<Progress>>,
    when_whole: WhenWhole,
    /// Instant of the last write, and the timer for keep-alive comments; used for rewritten streams only.
    left_at: Instant,
    quiet: Option<(Duration, Pin<Box<Sleep>>)>,
    /// True for event streams: bytes that have already arrived are passed on in one write.
    gathers: bool,
    gathered: BytesMut,
    /// Polls of the backend's connection since the last bytes.
    turns: u8,
    /// Last frame, sent after the gathered bytes.
    last: Option<Polled>,
    /// Marks the client's connection as busy until it is dropped.
    busy: Option<Busy>,
    /// Instant at which the last bytes of a copied request were given to the connection.
    given_at: Option<Instant>,
}

impl AnswerBody {
    /// Keeps the connection busy until the body is dropped.
    pub(super) fn hold(&mut self, busy: Busy) {
        self.0.busy = Some(busy);
    }

    /// Creates an answer of shiftgate's own, which ends the request with `end`.
    pub(super) fn local(bytes: Bytes, progress: Box<Progress>, end: End) -> Self {
        Self(Inside::new(Source::Whole(bytes), Some(progress), WhenWhole::Local(end)))
    }

    /// Creates the answer of the running leg from held bytes.
    pub(super) fn whole_leg(bytes: Bytes, progress: Box<Progress>) -> Self {
        Self(Inside::new(Source::Whole(bytes), Some(progress), WhenWhole::Leg))
    }

    /// Creates the body behind an early head.
    pub(super) fn of(body: Pin<Box<dyn Body<Data = Bytes, Error = Broken> + Send>>) -> Self {
        Self(Inside::new(Source::Early(Early(body)), None, WhenWhole::Leg))
    }

    /// Creates the body of no answer.
    pub(super) fn hang_up() -> Self {
        Self(Inside::new(Source::HangUp, None, WhenWhole::Leg))
    }

    /// True if the connection is to be closed instead of answering.
    pub(super) fn hangs_up(&self) -> bool {
        matches!(self.0.source, Source::HangUp)
    }

    /// Creates an empty body for a tunnel, whose task keeps the request.
    pub(super) fn empty() -> Self {
        Self(Inside::new(Source::Done, None, WhenWhole::Leg))
    }

    /// Creates the answer of the running leg from its stream.
    pub(super) fn relay(mut stream: AnswerStream, progress: Box<Progress>) -> Self {
        let quiet = progress.quiet_timeout();
        let (held, gathers, may_be_quiet) = (stream.take_held(), stream.is_stream(), stream.holds_back());
        let mut inside = Inside::new(Source::Relay(Box::new(stream)), Some(progress), WhenWhole::Leg);
        inside.quiet = may_be_quiet.then(|| (quiet, Box::pin(tokio::time::sleep(quiet))));
        inside.note_begun();
        inside.copy(&held);
        (inside.gathers, inside.gathered) = (gathers, held);
        Self(inside)
    }
}

impl Inside {
    fn new(source: Source, progress: Option<Box<Progress>>, when_whole: WhenWhole) -> Box<Self> {
        Box::new(Self {
            source,
            progress,
            when_whole,
            left_at: Instant::now(),
            quiet: None,
            gathers: false,
            gathered: BytesMut::new(),
            turns: 0,
            last: None,
            busy: None,
            given_at: None,
        })
    }

    /// Adds bytes to the capture of a copied request.
    fn copy(&mut self, bytes: &[u8]) {
        if let Some(copy) = self.progress.as_mut().and_then(|progress| progress.copy()) {
            copy.push(bytes);
        }
    }

    /// Tells the guard, if it waits for that, that the stream has content.
    fn note_begun(&mut self) {
        if let (Source::Relay(stream), Some(progress)) = (&self.source, &mut self.progress)
            && progress.is_waited_for()
            && stream.has_begun()
        {
            progress.begun();
        }
    }

    /// Accounts the time that the application's connection took for the last bytes of a copied request.
    fn note_client(&mut self) {
        if let Some(at) = self.given_at.take()
            && let Some(copy) = self.progress.as_mut().and_then(|progress| progress.copy())
        {
            copy.waited_for_client(at.elapsed());
        }
    }

    /// Ends the request after the end of the source.
    fn finish(&mut self, ending: Ending) {
        self.note_facts(ending == Ending::Complete);
        self.source = Source::Done;
        self.quiet = None;
        let Some(progress) = self.progress.take() else { return };
        match self.when_whole {
            WhenWhole::Local(end) => progress.finish(end),
            WhenWhole::Leg => progress.finish_leg(ending),
        }
    }

    /// Gives the facts of a stream to its leg; those of a held answer are there already.
    fn note_facts(&mut self, is_whole: bool) {
        if let (Source::Relay(stream), Some(progress)) = (&mut self.source, &mut self.progress)
            && let Some(leg) = progress.leg_mut()
        {
            (leg.facts, leg.notes) = stream.take_facts(is_whole);
        }
    }

    /// True if a keep-alive comment is due: no bytes were sent for long, though the answer continues.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let is_relayed = matches!(&self.source, Source::Relay(stream) if stream.may_be_quiet());
        let Some((after, quiet)) = self.quiet.as_mut().filter(|_| is_relayed) else { return false };
        while quiet.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_due = self.left_at + *after <= now;
            if is_due {
                self.left_at = now;
            }
            quiet.as_mut().reset((self.left_at + *after).into());
            if is_due {
                return true;
            }
        }
        false
    }

    fn has_more(&self) -> bool {
        matches!(&self.source, Source::Relay(stream) if stream.has_more())
    }

    /// Returns the bytes to send after `data` arrived; `None` while more of the stream has arrived.
    fn gather(&mut self, data: Bytes) -> Option<Bytes> {
        if self.gathers && self.gathered.len() + data.len() <= MAX_GATHERED && self.has_more() {
            self.gathered.extend_from_slice(&data);
            self.turns = 0;
            return None;
        }
        if self.gathered.is_empty() {
            return Some(data);
        }
        self.gathered.extend_from_slice(&data);
        Some(self.gathered.split().freeze())
    }

    /// Handles an empty source: polls the backend's connection a few times, then sends the gathered bytes.
    fn nothing_more(&mut self, cx: &Context<'_>) -> Poll<Polled> {
        if self.gathered.is_empty() {
            return Poll::Pending;
        }
        if self.turns < TURNS {
            self.turns += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Source::Relay(stream) = &mut self.source {
            stream.settle();
        }
        Poll::Ready(Some(Ok(Frame::data(self.gathered.split().freeze()))))
    }

    /// Ends the body after the gathered bytes.
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
        self.0.note_client();
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
            let next = match &mut self.source {
                Source::Done | Source::HangUp => return Poll::Ready(None),
                Source::Early(Early(body)) => return body.as_mut().poll_frame(cx),
                Source::Whole(bytes) if bytes.is_empty() => {
                    self.finish(Ending::Complete);
                    return self.end_with(None);
                }
                Source::Whole(bytes) => Poll::Ready(Next::Bytes(bytes.split_to(bytes.len().min(PIECE)))),
                Source::Relay(stream) => stream.poll_next(cx),
            };
            match next {
                Poll::Ready(Next::Bytes(events)) => {
                    self.note_begun();
                    self.copy(&events);
                    if let Some(data) = self.gather(events) {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Next::End(end)) => {
                    self.copy(&end.rest);
                    self.finish(end.ending);
                    let rest = (!end.rest.is_empty()).then_some(Ok(Frame::data(end.rest)));
                    return self.end_with(if end.is_cut { Some(Err(Broken)) } else { rest });
                }
                Poll::Pending => {
                    return match self.nothing_more(cx) {
                        Poll::Pending if self.poll_quiet(cx) => {
                            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(KEEP_ALIVE)))))
                        }
                        polled => polled,
                    };
                }
            }
        }
    }

    /// Notes that bytes are sent: accounts shiftgate's time and restarts the quiet timer.
    fn leaves(&mut self, polled: Poll<Polled>) -> Poll<Polled> {
        if polled.is_ready() {
            if let (Source::Relay(stream), Some(progress)) = (&mut self.source, &mut self.progress)
                && let Some(came_at) = stream.take_came_at()
            {
                progress.passed(came_at.elapsed());
            }
            if self.quiet.is_some() {
                self.left_at = Instant::now();
            }
            if self.progress.as_mut().is_some_and(|progress| progress.copy().is_some()) {
                self.given_at = Some(Instant::now());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        if !self.gathered.is_empty() || self.last.is_some() {
            return false;
        }
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Relay(stream) => stream.is_end_stream(),
            Source::Done | Source::HangUp => true,
            Source::Early(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Relay(stream) => stream.size_hint(),
            Source::Done | Source::HangUp => SizeHint::with_exact(0),
            Source::Early(_) => SizeHint::default(),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.progress.is_some() {
            if self.is_end_stream() {
                self.finish(Ending::Complete);
            } else {
                // The application left, or shutdown cut the answer; the request knows which.
                self.note_facts(false);
            }
        }
    }
}
