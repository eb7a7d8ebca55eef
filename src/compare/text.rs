//! Forms of a text under which two texts count as equal.

use std::borrow::Cow;
use std::cell::OnceCell;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use super::caps::SHORT;

/// Marks around a label: quotes and Markdown's emphasis.
const AROUND: &str = "\"'“”‘’«»「」*_`";
/// Marks that end a label.
const ENDS: &str = ".!。！";

/// A text that is compared more than once; its forms are made when they are first needed.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    raw: String,
    folded: OnceCell<String>,
    plain: OnceCell<Vec<char>>,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Text {
    pub(super) const fn new(raw: String) -> Self {
        Self { raw, folded: OnceCell::new(), plain: OnceCell::new() }
    }

    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    pub(super) fn folded(&self) -> &str {
        self.folded.get_or_init(|| fold(&self.raw))
    }

    pub(super) fn plain(&self) -> &[char] {
        self.plain.get_or_init(|| plain(&self.raw))
    }
}

/// True if `text` has nothing but white space.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// Returns NFKC with runs of white space as one space, trimmed. Case counts.
pub(super) fn fold(text: &str) -> String {
    let normal = nfkc(text);
    let mut folded = String::with_capacity(normal.len());
    for word in normal.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

/// Returns the characters that chrF counts: NFKC without Markdown's marks and white space.
pub(super) fn plain(text: &str) -> Vec<char> {
    let is_seen = |c: &char| !matches!(c, '*' | '_' | '`' | '#' | '~') && !c.is_whitespace();
    nfkc(text).chars().filter(is_seen).collect()
}

/// True if both texts are one label, or one number by value.
pub(super) fn is_same_label(a: &str, b: &str) -> bool {
    let (a, b) = (label(a), label(b));
    a == b || matches!((number(&a), number(&b)), (Some(a), Some(b)) if a == b)
}

/// True if `text` is one line, not counting white space around it.
pub(super) fn is_one_line(text: &str) -> bool {
    !text.trim_matches(is_trimmed).contains('\n')
}

/// True if the folded text has at most [`SHORT`] characters. It folds no more than it needs.
pub(super) fn is_short(text: &str) -> bool {
    let mut length = 0;
    let mut is_after_space = false;
    for c in text.nfkc() {
        if c.is_whitespace() {
            is_after_space = length > 0;
            continue;
        }
        length += 1 + usize::from(is_after_space);
        is_after_space = false;
        if length > SHORT {
            return false;
        }
    }
    true
}

fn label(text: &str) -> String {
    let folded = fold(text);
    let bare = folded
        .trim_start_matches(|c| AROUND.contains(c))
        .trim_end_matches(|c| AROUND.contains(c) || ENDS.contains(c))
        .trim_matches(is_trimmed);
    caseless::default_case_fold_str(bare)
}

/// The reference trims the four separators of ASCII too, which are not white space in Unicode.
fn is_trimmed(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Returns the value of `[+-]?digits[.digits]`.
fn number(text: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, part)| (whole, Some(part)));
    if !digits(whole) || !fraction.is_none_or(digits) {
        return None;
    }
    text.parse().ok()
}

fn nfkc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.nfkc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_case_and_joins_white_space() {
        for (text, expected) in [
            ("  a\t\u{3000}\r\n B ", "a B"),
            ("ﬁx １２", "fix 12"),
            ("e\u{301}", "é"),
            ("a\x1cb", "a\x1cb"),
            ("\u{a0}", ""),
        ] {
            assert_eq!(fold(text), expected, "{text:?}");
        }
    }

    #[test]
    fn short_texts_are_short_when_folded() {
        let spaced = "é   ".repeat(16);
        for text in [
            "",
            &"é".repeat(32),
            &"é".repeat(33),
            "\u{fdfa}\u{fdfa}",
            spaced.as_str(),
            &format!("{spaced} b"),
            &format!("{spaced}bc"),
        ] {
            assert_eq!(is_short(text), fold(text).chars().count() <= SHORT, "{text:?}");
        }
    }

    #[test]
    fn labels_lose_quotes_marks_and_case() {
        for (a, b) in [
            ("Yes", "“Yes.”"),
            ("**YES**!", "yes"),
            ("「はい」。", "はい"),
            ("STRASSE", "straße"),
            ("1000", "1000.00"),
            ("+4", "4."),
            ("a \x1c", "a"),
        ] {
            assert!(is_same_label(a, b), "{a:?} {b:?}");
        }
        for (a, b) in [("1000", "1_000"), ("inf", "Infinity"), ("4", ".4"), ("1", "1e0"), ("yes", "yess")] {
            assert!(!is_same_label(a, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_line_break_at_the_edge_does_not_count() {
        assert!(is_one_line("\n yes \r\n"));
        assert!(!is_one_line("a\nb"));
    }

    #[test]
    fn chrf_does_not_see_markdown_and_white_space() {
        assert_eq!(plain("# **A** `b`\u{3000}~c~_"), ['A', 'b', 'c']);
    }
}
