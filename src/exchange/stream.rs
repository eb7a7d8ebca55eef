//! An answer read piece by piece, rewritten where necessary, up to its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::{Body, SizeHint};
use tokio::time::Sleep;

use super::deadlines::{Deadlines, Due};
use super::reader::{Ended, OnBreak, Reader, Taken};
use crate::backend;
use crate::outcome::Ending;
use crate::translate::answer::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// Next piece of an answer.
#[derive(Debug)]
pub enum Next {
    /// Bytes to pass on.
    Bytes(Bytes),
    /// The answer is over.
    End(StreamEnd),
}

/// The end of an answer.
#[derive(Debug)]
pub struct StreamEnd {
    /// The last bytes, possibly none.
    pub rest: Bytes,
    /// The way it ended.
    pub ending: Ending,
    /// True if the client's connection must be cut, as the backend's was.
    pub is_cut: bool,
}

/// An answer in progress. Dropping it early closes its connection, which tells the server to stop.
#[derive(Debug)]
pub struct AnswerStream {
    body: backend::AnswerBody,
    reader: Reader,
    deadlines: Deadlines,
    held: BytesMut,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Deadline of the next byte. The timer is moved only when it has fired, which saves work per piece.
    next_byte: Option<Due>,
    /// Arrival of the bytes that are passed on next.
    came_at: Option<Instant>,
}

impl AnswerStream {
    /// Creates a stream that first yields `held`, bytes that the reader has processed.
    pub(super) fn new(held: BytesMut, body: backend::AnswerBody, reader: Reader, deadlines: Deadlines) -> Self {
        let next_byte = deadlines.next_byte(Instant::now());
        let sleep = next_byte.map(|due| Box::pin(tokio::time::sleep_until(due.at.into())));
        Self { body, reader, deadlines, held, sleep, next_byte, came_at: None }
    }

    /// Takes the bytes that were held before the answer was opened.
    pub fn take_held(&mut self) -> BytesMut {
        std::mem::take(&mut self.held)
    }

    /// Polls for the next piece.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            // The answer may be complete before its head is sent.
            if self.reader.is_over() {
                return Poll::Ready(self.over(Bytes::new()));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(self.broke(Ending::Broken)),
                Poll::Ready(None) => return Poll::Ready(self.ended()),
                Poll::Pending => {
                    let Some(due) = self.poll_deadline(cx) else { return Poll::Pending };
                    return Poll::Ready(if due.is_clients {
                        cut(Ending::ClientGone)
                    } else {
                        self.broke(Ending::TimedOut)
                    });
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            let now = Instant::now();
            self.came_at.get_or_insert(now);
            if self.deadlines.moves() {
                self.next_byte = self.deadlines.next_byte(now);
            }
            match self.reader.take(data, now) {
                Taken::Nothing => {}
                Taken::Bytes(events) => return Poll::Ready(Next::Bytes(events)),
                Taken::Failed(events) => return Poll::Ready(end(events, Ending::Broken)),
                Taken::Over(events) => return Poll::Ready(self.over(events)),
            }
        }
    }

    /// Returns the deadline that has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Option<Due> {
        let (sleep, due) = (self.sleep.as_mut()?, self.next_byte?);
        while sleep.as_mut().poll(cx).is_ready() {
            if due.at <= Instant::now() {
                return Some(due);
            }
            sleep.as_mut().reset(due.at.into());
        }
        None
    }

    /// Ends the answer without waiting for the rest of the backend's body.
    fn over(&mut self, events: Bytes) -> Next {
        let rest = match self.reader.end() {
            Ended::Whole(rest) | Ended::Failed(rest) => rest,
            Ended::Broke => Bytes::new(),
        };
        end(if rest.is_empty() { events } else { [events, rest].concat().into() }, Ending::Complete)
    }

    fn ended(&mut self) -> Next {
        match self.reader.end() {
            Ended::Whole(rest) => end(rest, Ending::Complete),
            Ended::Failed(rest) => end(rest, Ending::Broken),
            Ended::Broke => self.broke(Ending::Broken),
        }
    }

    fn broke(&self, ending: Ending) -> Next {
        match self.reader.on_break {
            OnBreak::Cut => cut(ending),
            OnBreak::ErrorEvent => {
                // An answer marked done lacks nothing.
                let ending = if self.reader.was_done() { Ending::Complete } else { ending };
                end(self.reader.break_event().unwrap_or_default(), ending)
            }
        }
    }

    /// True if anything was generated.
    pub fn has_begun(&self) -> bool {
        self.reader.seen().first_content.is_some()
    }

    /// Takes facts and notes of the answer; `is_whole` is true if it reached its end.
    pub fn take_facts(&mut self, is_whole: bool) -> (AnswerFacts, Notes) {
        self.reader.take_facts(is_whole)
    }

    /// The model that the answer names, if known.
    pub fn model(&self) -> Option<&str> {
        self.reader.stream().and_then(|stream| stream.model())
    }

    /// Takes the arrival of the bytes that are passed on next.
    pub fn take_came_at(&mut self) -> Option<Instant> {
        self.came_at.take()
    }

    /// True if the answer is a stream of events.
    pub fn is_stream(&self) -> bool {
        self.reader.is_stream()
    }

    /// True if reasoning may be held back, so that the stream can be silent for long.
    pub fn holds_back(&self) -> bool {
        self.reader.holds_back()
    }

    /// True if the stream may need keep-alive comments: reasoning is held back, and it was not marked done.
    pub fn may_be_quiet(&self) -> bool {
        self.reader.holds_back() && !self.reader.was_done()
    }

    /// True if the bytes passed on may differ from the backend's, in content or in their ending.
    pub fn ends_by_itself(&self) -> bool {
        self.reader.on_break == OnBreak::ErrorEvent || self.reader.is_rewriting()
    }

    /// True if more of the answer has arrived than was read. See [`backend::AnswerBody::has_more`].
    pub fn has_more(&self) -> bool {
        self.body.has_more()
    }

    /// Corrects that estimate after a wait without bytes. See [`backend::AnswerBody::settle`].
    pub fn settle(&mut self) {
        self.body.settle();
    }

    /// True if the body is known to have ended. A candidate's stream has to be read to its end: only there it shows
    /// whether it is whole.
    pub fn is_end_stream(&self) -> bool {
        !self.ends_by_itself() && self.body.is_end_stream()
    }

    /// Length of the body, if its bytes are unchanged.
    pub fn size_hint(&self) -> SizeHint {
        if self.ends_by_itself() { SizeHint::default() } else { self.body.size_hint() }
    }
}

const fn cut(ending: Ending) -> Next {
    Next::End(StreamEnd { rest: Bytes::new(), ending, is_cut: true })
}

const fn end(rest: Bytes, ending: Ending) -> Next {
    Next::End(StreamEnd { rest, ending, is_cut: false })
}
