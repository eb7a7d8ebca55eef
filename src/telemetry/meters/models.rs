//! Bounded set of model names used as labels; all of them are safe to print.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Limit of names; further ones are labelled [`OTHER`].
const MAX_NAMES: usize = 64;
/// Limit of a name, in characters; longer ones are labelled [`OTHER`].
const MAX_LENGTH: usize = 128;

const OTHER: &str = "other";

/// A model name as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ModelLabel {
    /// The request or answer has no name.
    None,
    Known(u8),
    Other,
}

/// ModelLabels in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct ModelLabels(RwLock<HashMap<Box<str>, u8>>);

impl ModelLabels {
    /// Looks up a name. A new one is added only if `is_real`: a backend has answered to it. ModelLabels that an application
    /// sends by mistake therefore never become labels, and take no place.
    pub(super) fn of(&self, name: &str, is_real: bool) -> ModelLabel {
        if name.is_empty() {
            return ModelLabel::None;
        }
        if let Some(place) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return ModelLabel::Known(*place);
        }
        // A name with spaces is free text, and `other` would collide with the label of folded names.
        let is_plain = name != OTHER && !name.contains(|c: char| c.is_control() || c.is_whitespace());
        if !is_real || !is_plain || name.chars().nth(MAX_LENGTH).is_some() {
            return ModelLabel::Other;
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match u8::try_from(names.len()) {
            Ok(next) if names.len() < MAX_NAMES => ModelLabel::Known(*names.entry(name.into()).or_insert(next)),
            _ => names.get(name).map_or(ModelLabel::Other, |place| ModelLabel::Known(*place)),
        }
    }

    /// True if the name has a label of its own.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    pub(super) fn label(&self, name: ModelLabel) -> String {
        match name {
            ModelLabel::None => String::new(),
            ModelLabel::Other => OTHER.to_owned(),
            ModelLabel::Known(place) => {
                let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
                names.iter().find(|(_, at)| **at == place).map_or(OTHER, |(name, _)| name).to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sixty_four_real_names_are_told_apart() {
        let names = ModelLabels::default();
        for n in 0..MAX_NAMES {
            assert_eq!(names.of(&format!("unreal-{n}"), false), ModelLabel::Other);
            assert_eq!(names.label(names.of(&format!("model-{n}"), true)), format!("model-{n}"));
        }
        assert_eq!(names.of("one-more", true), ModelLabel::Other);
        assert_eq!(names.label(names.of("model-63", false)), "model-63");
        assert_eq!(
            (names.label(ModelLabel::None), names.label(ModelLabel::Other)),
            (String::new(), "other".to_owned())
        );
        assert_eq!(names.of("", true), ModelLabel::None);
    }

    #[test]
    fn a_name_is_printable_and_not_long() {
        let names = ModelLabels::default();
        for odd in ["a\nb", "\u{1b}[31m", "other", "\u{85}", "tell me a secret"] {
            assert_eq!(names.of(odd, true), ModelLabel::Other, "{odd:?}");
        }
        assert_eq!(names.label(names.of("org/a-\"b\"#{x}:7b", true)), "org/a-\"b\"#{x}:7b");
        let (longest, longer) = ("é".repeat(MAX_LENGTH), "é".repeat(MAX_LENGTH + 1));
        assert_eq!(names.label(names.of(&longest, true)), longest);
        assert_eq!(names.of(&longer, true), ModelLabel::Other);
    }
}
