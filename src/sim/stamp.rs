//! Ids of simulated answers.

/// Number and time of an answer. Everything in which two answers to the same request differ is made of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    /// Number of the request at this server, from 1.
    pub(super) number: u64,
    /// Unix time, in seconds.
    pub(super) created: u64,
}

impl Stamp {
    /// Returns hex digits that no other part of any answer has.
    pub(super) fn hex(self, part: usize, digits: usize) -> String {
        let spread = (self.number.wrapping_add(1) ^ ((part as u64) << 48)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let whole = format!("{spread:016x}{:016x}{:016x}", spread.rotate_left(23), self.number);
        whole.chars().take(digits).collect()
    }

    /// Returns a UUID that no other answer has.
    pub(super) fn uuid(self) -> String {
        let [first, second, third, last] =
            [(0, 8), (1, 4), (2, 3), (3, 12)].map(|(part, digits)| self.hex(part, digits));
        format!("{first}-{second}-4{third}-8{third}-{last}")
    }
}
