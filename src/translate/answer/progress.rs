//! How far a stream has come, whatever API it belongs to.

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::backend_error::BackendError;
use super::notes::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// How far a stream has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) seen: AnswerFacts,
    pub(super) shown: bool,
    pub(super) notes: Notes,
    /// Nothing is written any more.
    pub(super) ended: bool,
    pub(super) error: Option<BackendError>,
}

impl Progress {
    /// A token came, of whatever kind.
    pub(super) fn generated(&mut self, now: Instant) {
        self.seen.first_content.get_or_insert(now);
    }

    /// An event has been read. What comes after the reason for the end is not the model's.
    pub(super) fn paced(&mut self, was_finished: bool, now: Instant) {
        if self.seen.first_content.is_some() && !self.ended && !was_finished {
            self.seen.pace.get_or_insert_default().chunk(now);
        }
    }

    /// The answer ends here. Before it showed anything another backend may still give it.
    pub(super) fn fail(&mut self, said: BackendError, out: &mut BytesMut) {
        if self.shown {
            out.put_slice(&said.error.to_event());
        }
        self.note_error(said);
        self.ended = true;
    }

    pub(super) fn note_error(&mut self, said: BackendError) {
        self.seen.error_event = true;
        self.error.get_or_insert(said);
    }
}
