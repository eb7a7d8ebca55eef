//! Turns a backend's bytes into the application's: unchanged, cut at whole events, or rewritten.
//!
//! Invariant: if a stream may have to end with an event of ours, the bytes passed on end with an event.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::translate::answer::{BackendError, Ending, Note, Notes, Stream};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::error_body::ApiError;
use crate::wire::observe::{self, Observer};
use crate::wire::sse;

/// Handling of an answer that breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnBreak {
    /// The application's answer is cut too, without a clean end.
    Cut,
    /// A last error event in OpenAI's format and a clean end. Until then only whole events are passed on.
    ErrorEvent,
}

/// Result of reading one piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Nothing,
    Bytes(Bytes),
    /// An error ended the answer; these are the last bytes.
    Failed(Bytes),
    /// The answer is complete for the application, though the backend may continue.
    Over(Bytes),
}

/// Ending of an answer whose body ended without a transport error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Whole(Bytes),
    /// The last event was an error.
    Failed(Bytes),
    /// It stopped in the middle, though the connection was closed properly.
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
        /// True if the server does not know the stop strings and would continue after one.
        cuts: bool,
    },
}

struct Passing {
    observer: Observer,
    /// The last, incomplete event; used only if the stream may have to end with an event of ours.
    unfinished: BytesMut,
    /// True if the bytes passed on end within an event larger than the limit.
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

    /// `cuts` is true if the answer is complete for the application once a stop string has ended its text.
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

    /// True if shiftgate may send keep-alive comments: the stream holds reasoning back.
    pub(super) fn holds_back(&self) -> bool {
        self.stream().is_some_and(Stream::holds_back)
    }

    /// True if the answer is complete for the application, though the backend may continue.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.kind, Kind::Rewrites { stream, cuts: true } if is_cut(stream))
    }

    pub(super) fn seen(&self) -> &AnswerFacts {
        match &self.kind {
            Kind::Passes(passing) => &passing.observer.seen,
            Kind::Rewrites { stream, .. } => stream.seen(),
        }
    }

    /// Returns facts and notes at the end; `is_whole` is true if the whole answer arrived.
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

    /// True if the application would have got content by this point.
    pub(super) fn has_shown(&self) -> bool {
        match &self.kind {
            Kind::Passes(passing) => passing.observer.seen.first_content.is_some(),
            Kind::Rewrites { stream, .. } => stream.has_shown(),
        }
    }

    /// The error that ended the stream, if its format is known.
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

    /// Reads one piece.
    pub(super) fn take(&mut self, data: Bytes, now: Instant) -> Taken {
        match &mut self.kind {
            Kind::Rewrites { stream, cuts } => {
                let mut out = BytesMut::with_capacity(data.len() + 256);
                stream.push(&data, now, &mut out);
                let mut out = out.freeze();
                if stream.error().is_some() && self.on_break == OnBreak::ErrorEvent {
                    // Bytes after an error event in an unheld stream are dropped.
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
                // After a candidate's error event nothing follows, not even `[DONE]`.
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

    /// Ends the answer after the end of the backend's body.
    pub(super) fn end(&mut self) -> Ended {
        match &mut self.kind {
            Kind::Rewrites { stream, .. } => {
                let mut out = BytesMut::new();
                match stream.end(&mut out) {
                    Ending::Complete => Ended::Whole(out.freeze()),
                    Ending::Failed => Ended::Failed(out.freeze()),
                    // The baseline's own ending is passed on.
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

    /// True if the stream was marked done.
    pub(super) fn was_done(&self) -> bool {
        self.seen().done
    }

    /// Returns the error event for an answer that broke off; `None` if an ending was sent already.
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

/// True if every choice met a stop string and the server continues.
fn is_cut(stream: &Stream) -> bool {
    stream.is_over() && stream.notes().has(Note::StopCut) && !stream.seen().done
}

impl Passing {
    /// Returns the whole events of the kept bytes and `data`; `None` if none is complete.
    fn whole_events(&mut self, data: Bytes) -> Option<Bytes> {
        if self.unfinished.is_empty() && sse::ends_event(&data) {
            self.in_event = false;
            return Some(data);
        }
        let known = self.unfinished.len();
        self.unfinished.extend_from_slice(&data);
        // An event above the limit passes in pieces: bounded memory matters more than a clean break.
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
