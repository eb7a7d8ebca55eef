//! Matches the patterns of rollout.toml: `*` stands for any run of characters, every other character for itself.

/// A pattern such as `gpt-4o-mini*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Takes any text as a pattern.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the pattern matches all of `text`. Linear in the text for each `*`: the last star is retried one further on.
    pub fn matches(&self, text: &str) -> bool {
        self.fits(text, |a, b| a == b)
    }

    /// True if the pattern matches all of `text`, whatever the case of ASCII letters.
    pub fn matches_in_any_case(&self, text: &str) -> bool {
        self.fits(text, |a, b| a.eq_ignore_ascii_case(&b))
    }

    fn fits(&self, text: &str, is_same: impl Fn(u8, u8) -> bool) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, t));
                p += 1;
            } else if pattern.get(p).zip(text.get(t)).is_some_and(|(a, b)| is_same(*a, *b)) {
                p += 1;
                t += 1;
            } else if let Some((star_p, star_t)) = star {
                p = star_p + 1;
                t = star_t + 1;
                star = Some((star_p, t));
            } else {
                return false;
            }
        }
        pattern.iter().skip(p).all(|byte| *byte == b'*')
    }

    /// Returns the value of the longest pattern that matches `text`.
    pub fn longest<'a, T>(table: &'a [(Self, T)], text: &str) -> Option<&'a T> {
        table
            .iter()
            .filter(|(pattern, _)| pattern.matches(text))
            .max_by_key(|(pattern, _)| pattern.0.len())
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("gpt-4o*", "gpt-4o-mini", true),
            ("gpt-4o*", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("*", "", true),
            ("*mini*", "gpt-4o-mini-2024", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} against {text}");
        }
        assert!(Glob::new("EU*").matches_in_any_case("eu-West") && !Glob::new("EU*").matches("eu-West"));
    }

    #[test]
    fn longest_pattern_wins() {
        let table = [(Glob::new("*"), 1), (Glob::new("gpt-4o-mini*"), 2), (Glob::new("gpt-4o*"), 3)];
        assert_eq!(Glob::longest(&table, "gpt-4o-mini"), Some(&2));
        assert_eq!(Glob::longest(&table, "gpt-4o"), Some(&3));
        assert_eq!(Glob::longest(&table, "o3"), Some(&1));
    }
}
