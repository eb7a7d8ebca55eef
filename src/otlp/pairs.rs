//! Spans of a pair: the calls of its copies, and the comparison with its scores.

use std::time::Instant;

use super::writer::{INTERNAL, KNOWS_REMOTE, SAMPLED, WRITER, Writer, field, nanos};
use crate::outcome::{Comparison, Outcome, Pair, Score};
use crate::telemetry::names::{attribute, event};

/// Appends the CLIENT spans of a request's copies, then the span of their comparison.
pub(super) fn encode(pair: &Pair, to: &mut Vec<u8>) {
    WRITER.with_borrow_mut(|writer| {
        for leg in pair.copies() {
            for (place, attempt) in leg.attempts.iter().enumerate() {
                writer.client(&pair.served, leg, attempt, place);
                writer.finish(to);
            }
        }
        if let Some(comparison) = &pair.comparison {
            writer.comparison(pair, comparison);
            writer.finish(to);
        }
    });
}

impl Writer {
    /// Encodes the comparison of two answers, with links to their attempts.
    fn comparison(&mut self, pair: &Pair, comparison: &Comparison) {
        let served = &pair.served;
        self.begin(served, comparison.span, Some(served.span), INTERNAL);
        self.one.bytes(field::NAME, event::COMPARE.as_bytes());
        self.times(served, comparison.began_at, comparison.ended_at);
        self.one.fixed32(field::FLAGS, SAMPLED | KNOWS_REMOTE);
        let legs = served.legs.first().into_iter().chain(std::iter::once(pair.shadow.as_ref()));
        for attempt in legs.filter_map(|leg| leg.attempts.last()) {
            self.event.bytes(1, &served.trace.trace.as_u128().to_be_bytes());
            self.event.bytes(2, &attempt.span.as_u64().to_be_bytes());
            self.one.bytes(field::LINK, self.event.as_slice());
            self.event.clear();
        }
        self.text(attribute::SHIFTGATE_BACKEND, &pair.shadow.backend.name);
        for score in &comparison.scores {
            let mut key = std::mem::take(&mut self.scratch);
            key.clear();
            key.push_str(attribute::SHIFTGATE_COMPARE_PREFIX);
            key.push_str(score.name);
            self.one.double(field::ATTRIBUTE, &key, score.value);
            self.scratch = key;
            self.known_text(attribute::SHIFTGATE_COMPARE_KIND, score.label);
            self.evaluation(served, comparison.ended_at, score);
        }
    }

    /// Adds a score as an event of the GenAI conventions.
    fn evaluation(&mut self, served: &Outcome, at: Instant, score: &Score) {
        self.event.fixed64(1, nanos(served.clock.wall_of(at)));
        self.event.bytes(2, event::EVALUATION.as_bytes());
        self.event.text(3, attribute::EVALUATION_NAME, score.name);
        self.event.double(3, attribute::EVALUATION_VALUE, score.value);
        if let Some(label) = score.label {
            self.event.text(3, attribute::EVALUATION_LABEL, label);
        }
        self.one.bytes(field::EVENT, self.event.as_slice());
        self.event.clear();
    }
}
