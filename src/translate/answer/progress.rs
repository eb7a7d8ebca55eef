//! Progress of a stream of any API.

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::backend_error::BackendError;
use super::notes::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// Progress of a stream.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) seen: AnswerFacts,
    pub(super) shown: bool,
    pub(super) notes: Notes,
    /// The answer is complete or failed; later events are dropped.
    pub(super) ended: bool,
    pub(super) error: Option<BackendError>,
}

impl Progress {
    /// Records that a token of any kind came.
    pub(super) fn generated(&mut self, now: Instant) {
        self.seen.first_content.get_or_insert(now);
    }

    /// Records the pace of an event, unless it comes after the finish reason and so not from the model.
    pub(super) fn paced(&mut self, was_finished: bool, now: Instant) {
        if self.seen.first_content.is_some() && !self.ended && !was_finished {
            self.seen.pace.get_or_insert_default().chunk(now);
        }
    }

    /// Ends the answer with an error. It is sent only if something was shown: before that another backend may answer.
    pub(super) fn fail(&mut self, error: BackendError, out: &mut BytesMut) {
        if self.shown {
            out.put_slice(&error.error.to_event());
        }
        self.note_error(error);
        self.ended = true;
    }

    pub(super) fn note_error(&mut self, error: BackendError) {
        self.seen.error_event = true;
        self.error.get_or_insert(error);
    }
}
