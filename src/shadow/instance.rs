//! Identity of the process in records, and the secret that hides keys in them.

use std::hash::Hasher;
use std::sync::Mutex;

use siphasher::sip::SipHasher24;

use crate::stats::lock;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// One process.
pub(super) struct Instance {
    name: String,
    /// Secret of the day; a new one is drawn each day and none is written.
    secret: Mutex<(i64, (u64, u64))>,
}

/// Hides the secret.
impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Instance {
    /// A process with a random name and secret.
    pub(super) fn random() -> Self {
        Self { name: format!("{:06x}", rand::random::<u32>() >> 8), secret: Mutex::new((i64::MIN, (0, 0))) }
    }

    /// Its name: 6 hex digits.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns 16 hex digits that tell keys apart within a day, and nothing else. `now` is the wall clock in seconds.
    pub(super) fn hide(&self, key: u64, now: i64) -> String {
        let day = now.div_euclid(DAY);
        let mut secret = lock(&self.secret);
        // Around midnight a request of the day before may end last; it has the new name.
        if secret.0 < day {
            *secret = (day, (rand::random(), rand::random()));
        }
        let (_, (first, second)) = *secret;
        drop(secret);
        let mut hasher = SipHasher24::new_with_keys(first, second);
        hasher.write_u64(key);
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name_a_day_and_in_one_process() {
        let (one, other) = (Instance::random(), Instance::random());
        let today = one.hide(7, 10);
        assert_eq!((one.hide(7, DAY - 1), today.len(), one.name().len()), (today.clone(), 16, 6));
        assert_ne!(one.hide(8, 10), today);
        assert_ne!(other.hide(7, 10), today);
        let tomorrow = one.hide(7, DAY);
        assert_ne!(tomorrow, today);
        assert_eq!((one.hide(7, DAY - 1), one.hide(7, DAY)), (tomorrow.clone(), tomorrow), "midnight passes once");
        assert!(!format!("{one:?}").contains("secret"));
    }
}
