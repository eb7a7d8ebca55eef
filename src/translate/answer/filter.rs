//! Filter for the text of one choice: removes thoughts from its beginning and enforces stop strings.
//!
//! Invariant: it holds back only a beginning of `<think>` with the blanks before it, or a beginning of a stop string.

use std::borrow::Cow;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Limit, in bytes, on blanks held back before a possible `<think>`; more of them are text.
const MAX_BLANKS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum FilterState {
    /// Only blanks so far, or a beginning of `<think>`.
    #[default]
    Start,
    Thinking,
    Text,
    /// A stop string came; the rest is dropped.
    Cut,
}

#[derive(Debug, Default)]
pub(super) struct Filter {
    state: FilterState,
    /// Text that may be the beginning of a tag or stop string.
    held: String,
    after_thought: bool,
    thought_in_text: bool,
}

/// Text and thought in a piece of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pieces<'a> {
    pub(super) shown: Cow<'a, str>,
    pub(super) thought: Cow<'a, str>,
}

impl Filter {
    /// Tells the filter that the server separated a thought itself, so that newlines after it are dropped.
    pub(super) fn thought_passed(&mut self) {
        if self.state == FilterState::Start {
            self.after_thought = true;
        }
    }

    pub(super) const fn is_cut(&self) -> bool {
        matches!(self.state, FilterState::Cut)
    }

    /// True inside a thought and the blanks after it.
    pub(super) const fn hides(&self) -> bool {
        matches!(self.state, FilterState::Thinking) || (matches!(self.state, FilterState::Start) && self.after_thought)
    }

    /// True once text has begun.
    pub(super) const fn in_text(&self) -> bool {
        matches!(self.state, FilterState::Text | FilterState::Cut)
    }

    pub(super) const fn found_thought(&self) -> bool {
        self.thought_in_text
    }

    pub(super) fn push<'a>(&mut self, text: &'a str, stops: &[String]) -> Pieces<'a> {
        if text.is_empty() || self.is_cut() {
            return Pieces::default();
        }
        let pieces = match self.state {
            FilterState::Text => Pieces { shown: Cow::Borrowed(text), thought: Cow::Borrowed("") },
            FilterState::Start | FilterState::Thinking | FilterState::Cut => self.part(text),
        };
        Pieces { shown: self.stop(pieces.shown, stops), thought: pieces.thought }
    }

    /// Returns the text that was held back, at the end of the answer.
    pub(super) fn flush(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match self.state {
            FilterState::Start | FilterState::Text => held,
            FilterState::Thinking | FilterState::Cut => String::new(),
        }
    }

    fn part(&mut self, text: &str) -> Pieces<'static> {
        let mut buffer = std::mem::take(&mut self.held);
        buffer.push_str(text);
        let (mut shown, mut thought) = (String::new(), String::new());
        let mut rest = buffer.as_str();
        loop {
            if self.state == FilterState::Thinking {
                self.thought_in_text = true;
                let Some((inside, after)) = rest.split_once(CLOSE) else {
                    let (inside, tail) = rest.split_at_checked(rest.len() - overlap(rest, CLOSE)).unwrap_or((rest, ""));
                    thought.push_str(inside);
                    self.held = tail.to_owned();
                    break;
                };
                thought.push_str(inside);
                rest = after;
                self.after_thought = true;
                self.state = FilterState::Start;
            }
            if self.after_thought {
                rest = rest.trim_start_matches(['\n', '\r']);
            }
            let begun = rest.trim_start();
            if let Some(after) = begun.strip_prefix(OPEN) {
                rest = after;
                self.state = FilterState::Thinking;
            } else if OPEN.starts_with(begun) && rest.len() <= MAX_BLANKS {
                self.held = rest.to_owned();
                break;
            } else {
                self.state = FilterState::Text;
                shown.push_str(rest);
                break;
            }
        }
        Pieces { shown: Cow::Owned(shown), thought: Cow::Owned(thought) }
    }

    fn stop<'a>(&mut self, text: Cow<'a, str>, stops: &[String]) -> Cow<'a, str> {
        if stops.is_empty() || text.is_empty() {
            return text;
        }
        let mut text = text;
        if !self.held.is_empty() {
            let mut whole = std::mem::take(&mut self.held);
            whole.push_str(&text);
            text = Cow::Owned(whole);
        }
        let found = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        let end =
            found.unwrap_or_else(|| text.len() - stops.iter().map(|stop| overlap(&text, stop)).max().unwrap_or(0));
        if found.is_some() {
            self.state = FilterState::Cut;
        } else {
            self.held = text.get(end..).unwrap_or_default().to_owned();
        }
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        }
    }
}

/// Returns the number of bytes at the end of `text` that begin `word` without completing it.
fn overlap(text: &str, word: &str) -> usize {
    let longest = word.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|length| word.get(..*length).is_some_and(|start| text.ends_with(start))).unwrap_or(0)
}

/// Text of a whole answer. Here a thought whose `<think>` stood in the prompt is removed too, unlike in a stream.
#[derive(Default)]
pub(super) struct SettledText {
    pub(super) shown: String,
    pub(super) thought: String,
    pub(super) orphan: bool,
    pub(super) in_text: bool,
    pub(super) cut: bool,
}

pub(super) fn settle(text: &str, after_thought: bool, stops: &[String]) -> SettledText {
    // Without a tag, a stop string or blanks to be dropped everything is shown.
    if !after_thought && stops.is_empty() && memchr::memchr(b'<', text.as_bytes()).is_none() {
        return SettledText { shown: text.to_owned(), ..SettledText::default() };
    }
    let (mut rest, mut after_thought) = (text.to_owned(), after_thought);
    let (mut thought, mut orphan, mut in_text) = (String::new(), false, false);
    loop {
        let mut filter = Filter { after_thought, ..Filter::default() };
        let pieces = filter.push(&rest, &[]);
        thought.push_str(&pieces.thought);
        in_text |= filter.found_thought();
        let mut shown = pieces.shown.into_owned();
        shown.push_str(&filter.flush());
        let Some((before, after)) = orphan_close(&shown) else {
            rest = shown;
            break;
        };
        thought.push_str(before);
        (orphan, after_thought) = (true, true);
        rest = after.to_owned();
    }
    let mut filter = Filter { state: FilterState::Text, ..Filter::default() };
    let mut shown = filter.push(&rest, stops).shown.into_owned();
    shown.push_str(&filter.flush());
    SettledText { shown, thought, orphan, in_text, cut: filter.is_cut() }
}

/// Splits at a `</think>` that nothing opened. A quoted one stays, since an answer may speak of the tag.
fn orphan_close(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once(CLOSE)?;
    let quoted = before.ends_with(['`', '"', '\'']) || after.starts_with(['`', '"', '\'']);
    (!quoted && !before.contains(OPEN)).then_some((before, after))
}

/// Search across pieces for a word whose only `<` is its first byte.
#[derive(Debug)]
pub(super) struct WordWatch {
    word: &'static [u8],
    matched: usize,
    pub(super) found: bool,
}

impl WordWatch {
    pub(super) const fn close_of_thought() -> Self {
        Self { word: CLOSE.as_bytes(), matched: 0, found: false }
    }

    pub(super) const fn tool_call() -> Self {
        Self { word: b"<tool_call>", matched: 0, found: false }
    }

    pub(super) fn push(&mut self, text: &str) {
        if self.found || (self.matched == 0 && memchr::memchr(b'<', text.as_bytes()).is_none()) {
            return;
        }
        for byte in text.bytes() {
            if self.word.get(self.matched) == Some(&byte) {
                self.matched += 1;
            } else {
                self.matched = usize::from(byte == b'<');
            }
            if self.matched == self.word.len() {
                self.found = true;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&str], stops: &[&str]) -> (String, String) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = Filter::default();
        let (mut shown, mut thought) = (String::new(), String::new());
        for piece in pieces {
            let pieces = filter.push(piece, &stops);
            shown.push_str(&pieces.shown);
            thought.push_str(&pieces.thought);
        }
        shown.push_str(&filter.flush());
        (shown, thought)
    }

    #[test]
    fn thoughts_stops_and_what_only_looks_like_them() {
        for (text, stops, shown, thought) in [
            ("<think>a</think>\n\nb", &[][..], "b", "a"),
            ("\n<think>\na\n</think>\n\nb\n\nc", &[], "b\n\nc", "\na\n"),
            ("<think>a</think>\n<think>b</think>c", &[], "c", "ab"),
            ("<think>never closed", &[], "", "never closed"),
            ("<thin air", &[], "<thin air", ""),
            ("  x", &[], "  x", ""),
            ("a <think>b</think>", &[], "a <think>b</think>", ""),
            ("The capital of France", &["France"], "The capital of ", ""),
            ("a Fra b", &["France"], "a Fra b", ""),
            ("aab", &["ab"], "a", ""),
            ("x\n\nEND", &["END", "\n\n"], "x", ""),
            ("<think>END</think>\n\nb END", &["END"], "b ", "END"),
            ("ends with F", &["France"], "ends with F", ""),
            ("日本語ENDE", &["END"], "日本語", ""),
        ] {
            let expected = (shown.to_owned(), thought.to_owned());
            assert_eq!(run(&[text], stops), expected, "{text:?} at once");
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(run(&letters, stops), expected, "{text:?} letter by letter");
        }
    }

    #[test]
    fn an_orphan_is_taken_out_of_a_whole_text_only() {
        for (text, shown) in [
            ("thought\n</think>\n\nb", "b"),
            ("a</think>b</think>c", "c"),
            ("Write `</think>` to end it", "Write `</think>` to end it"),
            ("<think>a</think>b</think>c", "c"),
        ] {
            assert_eq!(settle(text, false, &[]).shown, shown, "{text:?}");
        }
        assert_eq!(run(&["thought\n</think>\n\nb"], &[]).0, "thought\n</think>\n\nb");
    }

    #[test]
    fn a_word_is_found_across_pieces() {
        let mut watch = WordWatch::tool_call();
        for piece in ["a <tool", "_<tool_", "call"] {
            watch.push(piece);
            assert!(!watch.found);
        }
        watch.push(">");
        assert!(watch.found);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(
            parts in proptest::collection::vec("(<think>|</think>|\n|[<thinkE]|END|é|x){0,4}", 0..8),
            stop in "(END|E|<)?",
        ) {
            let stops: Vec<&str> = if stop.is_empty() { vec![] } else { vec![&stop] };
            let whole = parts.concat();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&parts, &stops), run(&[&whole], &stops));
        }
    }
}
