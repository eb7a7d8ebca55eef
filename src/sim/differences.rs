//! Planted differences: which answers of a server differ from those of the others, and in which way. The draw is a
//! function of the request, so that a test knows each of them.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher24;

/// A way in which an answer differs from those of a server without differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A text of other words, of similar length.
    OtherWords,
    /// The first call has another name, or other arguments.
    WrongTool,
    /// JSON that ends half-way.
    BrokenJson,
    /// JSON without the first field that its schema requires.
    SchemaViolation,
    /// A refusal: in the field `refusal` of engines that have it, else as text.
    Refusal,
    /// An answer cut half-way, with the finish reason `length`.
    Truncation,
    /// As many characters of Chinese.
    Chinese,
    /// No text at all.
    Empty,
}

/// Form of an answer, on which the possible differences depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Words.
    Text,
    /// Calls of tools.
    Tools,
    /// A JSON object or list without required fields.
    Json,
    /// A JSON object with required fields.
    Schema,
}

/// Share of answers that differ. The default has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Differences {
    /// Seed of the draw: another one plants the differences in other answers.
    pub seed: u64,
    /// Share of answers that differ, from 0 to 1.
    pub share: f64,
    /// Differences that are planted. Those that are possible in an answer are equally likely; where none is, the answer
    /// does not differ.
    pub kinds: Vec<Difference>,
    /// True to draw anew for each call, so that a request's second answer may differ from its first.
    pub by_call: bool,
}

impl Default for Differences {
    fn default() -> Self {
        Self { seed: 0, share: 0.0, kinds: Difference::ALL.to_vec(), by_call: false }
    }
}

/// A difference, and the number that its details are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planted {
    pub(super) difference: Difference,
    pub(super) draw: u64,
}

impl Difference {
    /// Every difference once.
    pub const ALL: [Self; 8] = [
        Self::OtherWords,
        Self::WrongTool,
        Self::BrokenJson,
        Self::SchemaViolation,
        Self::Refusal,
        Self::Truncation,
        Self::Chinese,
        Self::Empty,
    ];

    /// True if an answer of this form can have the difference.
    pub const fn is_possible(self, form: Form) -> bool {
        match self {
            Self::OtherWords | Self::Chinese | Self::Empty => matches!(form, Form::Text),
            Self::WrongTool => matches!(form, Form::Tools),
            Self::BrokenJson => matches!(form, Form::Json | Form::Schema),
            Self::SchemaViolation => matches!(form, Form::Schema),
            Self::Truncation => !matches!(form, Form::Tools),
            Self::Refusal => true,
        }
    }
}

impl Differences {
    /// Returns the difference that is planted in the answer to a request whose last user text this is, unless it is
    /// drawn [for each call](Self::by_call).
    pub fn planted(&self, user: &str, form: Form) -> Option<Difference> {
        self.drawn(user, form, 0).map(|planted| planted.difference)
    }

    /// Returns the difference of the call with this number.
    pub(super) fn drawn(&self, user: &str, form: Form, number: u64) -> Option<Planted> {
        if self.share <= 0.0 {
            return None;
        }
        let call = if self.by_call { number } else { 0 };
        let hash = |step: u8| {
            let mut hasher = SipHasher24::new_with_keys(self.seed, call);
            (step, user).hash(&mut hasher);
            hasher.finish()
        };
        let place = (hash(0) >> 11) as f64 / (1_u64 << 53) as f64;
        if place >= self.share {
            return None;
        }
        let possible: Vec<Difference> = self.kinds.iter().copied().filter(|kind| kind.is_possible(form)).collect();
        let at = (hash(1) % (possible.len() as u64).max(1)) as usize;
        possible.get(at).map(|difference| Planted { difference: *difference, draw: hash(2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [Form; 4] = [Form::Text, Form::Tools, Form::Json, Form::Schema];

    #[test]
    fn a_share_of_answers_has_each_possible_difference() {
        let planted = Differences { seed: 7, share: 0.3, ..Differences::default() };
        for form in FORMS {
            let drawn: Vec<_> = (0..4000).map(|number| planted.planted(&number.to_string(), form)).collect();
            let differing = drawn.iter().flatten().count();
            assert!((1080..1320).contains(&differing), "{form:?}: {differing}");
            for kind in Difference::ALL {
                let count = drawn.iter().filter(|drawn| **drawn == Some(kind)).count();
                assert_eq!(count > 180, kind.is_possible(form), "{form:?} {kind:?}: {count}");
            }
            assert_eq!(Differences::default().planted("x", form), None);
        }
    }

    #[test]
    fn another_seed_and_another_call_draw_anew() {
        let (one, other) = [1, 2].map(|seed| Differences { seed, share: 0.5, ..Differences::default() }).into();
        let texts: Vec<String> = (0..100).map(|number: u8| number.to_string()).collect();
        let all = |of: &Differences, call| {
            texts.iter().map(|text| of.drawn(text, Form::Text, call).is_some()).collect::<Vec<bool>>()
        };
        assert_ne!(all(&one, 1), all(&other, 1));
        assert_eq!(all(&one, 1), all(&one, 2));
        let by_call = Differences { by_call: true, ..one };
        assert_ne!(all(&by_call, 1), all(&by_call, 2));
    }
}
