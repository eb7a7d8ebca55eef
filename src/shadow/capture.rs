//! The answer of a leg on its way to the comparison: handed over in parts, read as they come, up to a limit.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::compare::{Answer, Reading, Sizes};
use crate::exchange::Room;
use crate::wire::endpoint::Endpoint;

/// Limit of the content that is kept of an answer, in bytes; a larger answer cannot be compared.
pub(crate) const MAX_ANSWER: usize = 256 << 10;
/// Size of a part of an answer that is handed over while more of it comes, in bytes. Handing it over wakes a thread, so
/// that most answers are one part.
const PART: usize = 32 << 10;
/// Least memory of a part, in bytes: most answers fit.
const MIN_CAPACITY: usize = 4 << 10;
/// Limit of parts of one answer that are not read yet; at it the pair is `lagged`.
const MAX_PARTS: usize = 16;

/// A part of an answer. Its memory is a share of `shadow.max_bytes`.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Vec<u8>,
    _room: Room,
}

/// Parts of an answer that come while it is running.
pub(super) type Parts = mpsc::Receiver<Part>;

/// The reason for which an answer is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It is larger than what is kept of one, or than the memory that is left.
    OverCap,
    /// It came faster than it was read.
    Lagged,
}

/// The side of the served path, which copies bytes and never waits.
#[derive(Debug)]
pub(super) struct Captured {
    part: Vec<u8>,
    room: Room,
    parts: mpsc::Sender<Part>,
    loss: Option<Loss>,
}

impl Captured {
    /// An empty capture whose bytes are held in `room`, and its parts.
    pub(super) fn new(room: Room) -> (Self, Parts) {
        let (sender, parts) = mpsc::channel(MAX_PARTS);
        (Self { part: Vec::new(), room, parts: sender, loss: None }, parts)
    }

    /// Adds bytes. Copies them: a slice of a read buffer would hold the whole buffer.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while self.loss.is_none() && !bytes.is_empty() {
            if self.part.len() >= PART {
                self.hand_over();
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART.saturating_sub(self.part.len())));
            if self.loss.is_none() && self.make_room(now.len()) {
                self.part.extend_from_slice(now);
            } else {
                self.loss = self.loss.or(Some(Loss::OverCap));
                self.part = Vec::new();
                self.room.release();
            }
            bytes = later;
        }
    }

    fn hand_over(&mut self) {
        let room = self.room.sibling();
        let part = Part { bytes: std::mem::take(&mut self.part), _room: std::mem::replace(&mut self.room, room) };
        // Without a reader the answer is not wanted any more.
        if let Err(TrySendError::Full(_)) = self.parts.try_send(part) {
            self.loss = Some(Loss::Lagged);
        }
    }

    /// Makes room for more bytes. Memory is accounted for before it is taken.
    fn make_room(&mut self, bytes: usize) -> bool {
        let (length, capacity) = (self.part.len(), self.part.capacity());
        if length + bytes <= capacity {
            return true;
        }
        let wanted = (length + bytes).max(capacity * 2).clamp(MIN_CAPACITY, PART);
        let fits = self.room.hold((wanted - capacity) as u64);
        if fits {
            self.part.reserve_exact(wanted - length);
        }
        fits
    }
}

/// The side of the comparison: an answer as far as it was read. Its memory is a share of `shadow.max_bytes`.
#[derive(Debug)]
pub(super) struct Kept {
    reading: Option<Reading>,
    room: Room,
    held: usize,
    loss: Option<Loss>,
}

impl Kept {
    /// An answer of which nothing was read.
    pub(super) fn new(endpoint: Endpoint, is_stream: bool, room: Room) -> Self {
        Self { reading: Some(Reading::new(endpoint, is_stream)), room, held: 0, loss: None }
    }

    /// Reads bytes; false if the answer is over its limit.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        reading.push(bytes);
        let Sizes { content, memory } = reading.sizes();
        let fits = content <= MAX_ANSWER && self.room.hold(memory.saturating_sub(self.held) as u64);
        self.held = self.held.max(memory);
        if !fits {
            self.give_up(Loss::OverCap);
        }
        fits
    }

    /// Reads the next part of a served answer; false if the answer is over its limit.
    pub(super) fn take(&mut self, part: &Part) -> bool {
        self.push(&part.bytes)
    }

    /// Reads what is left of a served answer after its end.
    pub(super) fn finish(&mut self, captured: Captured, mut parts: Parts) {
        let Captured { part, room, parts: sender, loss } = captured;
        drop(sender);
        while let Ok(part) = parts.try_recv() {
            self.take(&part);
        }
        match loss {
            Some(loss) => self.give_up(loss),
            None => drop(self.push(&part)),
        }
        drop(room);
    }

    /// Drops what was read: the answer is larger than what is kept.
    pub(super) fn give_up_over_cap(&mut self) {
        self.give_up(Loss::OverCap);
    }

    /// Drops what was read: the answer failed.
    pub(super) fn clear(&mut self) {
        self.reading = None;
        self.room.release();
    }

    fn give_up(&mut self, loss: Loss) {
        self.loss = self.loss.or(Some(loss));
        self.clear();
    }

    /// Returns the answer; `None` if it is not one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.reading.as_ref()?.answer()
    }

    /// True if the answer is larger than what is kept.
    pub(super) fn is_over_cap(&self) -> bool {
        self.loss == Some(Loss::OverCap)
    }

    /// True if the answer came faster than it was read.
    pub(super) fn is_lagged(&self) -> bool {
        self.loss == Some(Loss::Lagged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Gauge;

    /// A stream of so many events.
    fn stream(events: usize) -> String {
        let event = format!(
            "data: {{\"id\":\"{}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word \"}}}}]}}\n\n",
            "x".repeat(200)
        );
        event.repeat(events)
    }

    /// Pushes the bytes into a capture that is read after each push if `is_read`.
    fn kept(gauge: &Gauge, (limit, is_read): (u64, bool), is_stream: bool, bytes: &[u8]) -> Kept {
        let (mut captured, mut parts) = Captured::new(Room::of(gauge, limit));
        let mut kept = Kept::new(Endpoint::ChatCompletions, is_stream, Room::of(gauge, limit));
        for piece in bytes.chunks(1000) {
            captured.push(piece);
            if is_read && let Ok(part) = parts.try_recv() {
                kept.take(&part);
            }
        }
        kept.finish(captured, parts);
        kept
    }

    #[test]
    fn a_stream_is_kept_by_its_content_and_not_by_its_events() {
        let gauge = Gauge::default();
        let kept = kept(&gauge, (1 << 20, true), true, stream(10_000).as_bytes());
        assert_eq!(kept.answer().unwrap().text().len(), 50_000);
        assert!(gauge.get() < 80_000 && !kept.is_over_cap() && !kept.is_lagged(), "{}", gauge.get());
        drop(kept);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_body_is_kept_up_to_its_limit() {
        let gauge = Gauge::default();
        let body = |text| format!(r#"{{"choices":[{{"message":{{"content":"{}"}}}}]}}"#, "x".repeat(text));
        assert_eq!(
            kept(&gauge, (1 << 20, true), false, body(100_000).as_bytes()).answer().unwrap().text().len(),
            100_000
        );
        for (is_stream, bytes) in [(false, body(300_000)), (true, stream(60_000))] {
            let kept = kept(&gauge, (1 << 20, true), is_stream, bytes.as_bytes());
            assert!(kept.is_over_cap() && !kept.is_lagged() && kept.answer().is_none());
            assert_eq!(gauge.get(), 0, "its memory is given back");
        }
    }

    #[test]
    fn all_answers_together_have_a_limit() {
        let gauge = Gauge::default();
        let kept = kept(&gauge, (5000, false), true, stream(40).as_bytes());
        assert!(kept.is_over_cap() && gauge.get() == 0);
    }

    #[test]
    fn an_answer_that_comes_faster_than_it_is_read_is_lagged() {
        let gauge = Gauge::default();
        let (all, one) = ((MAX_PARTS + 2) * PART, stream(1).len());
        let kept = kept(&gauge, (1 << 30, false), true, stream(all / one).as_bytes());
        assert!(kept.is_lagged() && !kept.is_over_cap() && kept.answer().is_none());
        assert_eq!(gauge.get(), 0);
    }
}
