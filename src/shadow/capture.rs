//! The bytes of an answer as the application gets them, up to a limit.

use crate::exchange::Room;

/// Limit of an answer that is kept, in bytes; a larger answer cannot be compared.
pub(crate) const MAX_ANSWER: usize = 256 << 10;
/// Least memory of a capture, in bytes: most answers fit.
const MIN_CAPACITY: usize = 4 << 10;

/// Bytes of one answer. Its memory is a share of `shadow.max_bytes`.
#[derive(Debug)]
pub(super) struct Captured {
    bytes: Vec<u8>,
    room: Room,
    is_over_cap: bool,
}

impl Captured {
    /// An empty capture whose bytes are held in `room`.
    pub(super) const fn new(room: Room) -> Self {
        Self { bytes: Vec::new(), room, is_over_cap: false }
    }

    /// Adds bytes. Copies them: a slice of a read buffer would hold the whole buffer.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.is_over_cap {
            return;
        }
        if self.bytes.len() + bytes.len() <= MAX_ANSWER && self.make_room(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.give_up();
        }
    }

    /// Makes room for more bytes. Memory is accounted for before it is taken.
    fn make_room(&mut self, bytes: usize) -> bool {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length + bytes <= capacity {
            return true;
        }
        let wanted = (length + bytes).max(capacity * 2).clamp(MIN_CAPACITY, MAX_ANSWER);
        let fits = self.room.hold((wanted - capacity) as u64);
        if fits {
            self.bytes.reserve_exact(wanted - length);
        }
        fits
    }

    /// Drops the bytes: the answer is larger than what is kept.
    pub(super) fn give_up(&mut self) {
        (self.bytes, self.is_over_cap) = (Vec::new(), true);
        self.room.release();
    }

    /// The bytes; empty if the answer is over the limit.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if the answer is larger than what is kept.
    pub(super) const fn is_over_cap(&self) -> bool {
        self.is_over_cap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Gauge;

    #[test]
    fn an_answer_is_kept_up_to_its_limit_and_to_that_of_all() {
        let gauge = Gauge::default();
        let mut one = Captured::new(Room::of(&gauge, 1 << 30));
        one.push(&vec![b'x'; MAX_ANSWER]);
        assert_eq!((one.bytes().len(), one.is_over_cap(), gauge.get()), (MAX_ANSWER, false, MAX_ANSWER as u64));
        one.push(b"y");
        one.push(b"z");
        assert_eq!((one.bytes().len(), one.is_over_cap(), gauge.get()), (0, true, 0));
        let mut small = Captured::new(Room::of(&gauge, 5000));
        small.push(&[b'a'; 4000]);
        assert_eq!((small.is_over_cap(), gauge.get()), (false, 4096));
        small.push(&[b'b'; 1000]);
        assert_eq!((small.is_over_cap(), gauge.get()), (true, 0));
    }
}
