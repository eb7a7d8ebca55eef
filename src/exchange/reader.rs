//! What of a backend's bytes leaves for the application: as they come, whole events only, or rewritten.
//!
//! Invariant: what leaves of a stream that may have to end with one of our events ends with an event.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::translate::answer::{BackendError, Ending, Note, Notes, Stream};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::error_body::ApiError;
use crate::wire::observe::{self, Observer};
use crate::wire::sse;

/// What a broken answer looks like to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnBreak {
    /// As it came: cut, without a clean end.
    Cut,
    /// A last error event in OpenAI's shape, and a proper end. Until then only whole events leave.
    ErrorEvent,
}

/// What leaves now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    Bytes(Bytes),
    /// An error ended the answer: this is the last of it.
    Failed(Bytes),
    /// The application has all of it, though the backend may go on.
    Over(Bytes),
}

/// How the answer ended when its backend ended it well.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Whole(Bytes),
    /// An error was the last thing said.
    Failed(Bytes),
    /// It stopped in the middle, however politely.
    Broke,
}

pub(super) struct Reader {
    pub(super) on_break: OnBreak,
    kind: Kind,
}

enum Kind {
    Passes(Box<Passing>),
    Rewrites {
        stream: Box<Stream>,
        /// The server does not know of the stop strings: it would go on after one.
        cuts: bool,
    },
}

struct Passing {
    observer: Observer,
    /// The event begun but not ended, where a stream may have to end with one of ours.
    unfinished: BytesMut,
    /// What has left ends within an event that is larger than the bound.
    in_event: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("on_break", &self.on_break).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn passing(observer: Observer, on_break: OnBreak) -> Self {
        let passing = Passing { observer, unfinished: BytesMut::new(), in_event: false };
        Self { on_break, kind: Kind::Passes(Box::new(passing)) }
    }

    /// `cuts` is whether the answer is over for the application when a stop string has ended its text.
    pub(super) fn rewriting(stream: Stream, on_break: OnBreak, cuts: bool) -> Self {
        Self { on_break, kind: Kind::Rewrites { stream: Box::new(stream), cuts } }
    }

    pub(super) fn is_stream(&self) -> bool {
        match &self.kind {
            Kind::Passes(passing) => passing.observer.is_stream(),
            Kind::Rewrites { .. } => true,
        }
    }

    pub(super) const fn is_rewriting(&self) -> bool {
        matches!(self.kind, Kind::Rewrites { .. })
    }

    /// Whether we may say that the stream goes on.
    pub(super) fn holds_back(&self) -> bool {
        self.stream().is_some_and(Stream::holds_back)
    }

    /// Whether the application has all of it, though the backend may go on.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.kind, Kind::Rewrites { stream, cuts: true } if is_cut(stream))
    }

    pub(super) fn seen(&self) -> &AnswerFacts {
        match &self.kind {
            Kind::Passes(passing) => &passing.observer.seen,
            Kind::Rewrites { stream, .. } => stream.seen(),
        }
    }

    /// The facts and notes at the end; `is_whole` is true if all of the answer came.
    pub(super) fn take_facts(&mut self, is_whole: bool) -> (AnswerFacts, Notes) {
        match &mut self.kind {
            Kind::Passes(passing) => {
                if is_whole {
                    passing.observer.finish();
                }
                (std::mem::take(&mut passing.observer.seen), Notes::default())
            }
            Kind::Rewrites { stream, .. } => (stream.seen().clone(), stream.notes()),
        }
    }

    /// Whether the application would have seen content by now.
    pub(super) fn has_shown(&self) -> bool {
        match &self.kind {
            Kind::Passes(passing) => passing.observer.seen.first_content.is_some(),
            Kind::Rewrites { stream, .. } => stream.has_shown(),
        }
    }

    /// The error that the stream ended with, where its shape was understood.
    pub(super) fn error(&self) -> Option<&BackendError> {
        match &self.kind {
            Kind::Passes(_) => None,
            Kind::Rewrites { stream, .. } => stream.error(),
        }
    }

    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.kind {
            Kind::Passes(_) => None,
            Kind::Rewrites { stream, .. } => Some(stream),
        }
    }

    /// Takes what came.
    pub(super) fn take(&mut self, data: Bytes, now: Instant) -> Taken {
        match &mut self.kind {
            Kind::Rewrites { stream, cuts } => {
                let mut out = BytesMut::with_capacity(data.len() + 256);
                stream.push(&data, now, &mut out);
                let mut out = out.freeze();
                if stream.error().is_some() && self.on_break == OnBreak::ErrorEvent {
                    // Of a stream that passes as it comes, what came with the error is cut off here.
                    if let Some(end) = observe::end_of_error(&out, now) {
                        out.truncate(end);
                    }
                    Taken::Failed(out)
                } else if *cuts && is_cut(stream) {
                    Taken::Over(out)
                } else if out.is_empty() {
                    Taken::Nothing
                } else {
                    Taken::Bytes(out)
                }
            }
            Kind::Passes(passing) => {
                passing.observer.push(&data, now);
                if self.on_break == OnBreak::Cut {
                    return Taken::Bytes(data);
                }
                let Some(mut events) = passing.whole_events(data) else { return Taken::Nothing };
                // After a candidate's error event nothing follows, least of all `[DONE]`.
                match passing.observer.seen.error_event.then(|| observe::end_of_error(&events, now)).flatten() {
                    Some(end) => {
                        events.truncate(end);
                        Taken::Failed(events)
                    }
                    None => Taken::Bytes(events),
                }
            }
        }
    }

    /// The backend's body has ended as HTTP has it.
    pub(super) fn end(&mut self) -> Ended {
        match &mut self.kind {
            Kind::Rewrites { stream, .. } => {
                let mut out = BytesMut::new();
                match stream.end(&mut out) {
                    Ending::Complete => Ended::Whole(out.freeze()),
                    Ending::Failed => Ended::Failed(out.freeze()),
                    // The baseline's own end is its own.
                    Ending::Broke if self.on_break == OnBreak::Cut => Ended::Whole(out.freeze()),
                    Ending::Broke => Ended::Broke,
                }
            }
            Kind::Passes(passing) => {
                let seen = &passing.observer.seen;
                if self.on_break == OnBreak::ErrorEvent && !seen.finished() && !seen.error_event {
                    return Ended::Broke;
                }
                Ended::Whole(passing.unfinished.split().freeze())
            }
        }
    }

    /// It had said that it was done before it broke.
    pub(super) fn was_done(&self) -> bool {
        self.seen().done
    }

    /// What the application gets when an answer broke in the middle: an error event, where nothing was said yet.
    pub(super) fn break_event(&self) -> Option<Bytes> {
        if self.on_break == OnBreak::Cut || self.was_done() || self.seen().error_event {
            return None;
        }
        let error = ApiError::server("the answer broke off; what came so far is all there is", "upstream_error");
        let event = error.to_event();
        let within = matches!(&self.kind, Kind::Passes(passing) if passing.in_event);
        Some(if within { [b"\n\n".as_slice(), &event].concat().into() } else { event })
    }
}

/// Every choice met a stop string, and the server goes on.
fn is_cut(stream: &Stream) -> bool {
    stream.is_over() && stream.notes().has(Note::StopCut) && !stream.seen().done
}

impl Passing {
    /// Of `data`, after what was kept, as much as makes whole events; `None` while there is not one.
    fn whole_events(&mut self, data: Bytes) -> Option<Bytes> {
        if self.unfinished.is_empty() && sse::ends_event(&data) {
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
}
