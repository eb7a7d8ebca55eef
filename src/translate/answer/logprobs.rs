//! Log probabilities of tokens, with all of OpenAI's fields and no others, of the tokens that are shown.

use std::borrow::Cow;

use memchr::memmem;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::read::Text;

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[derive(Deserialize)]
struct LogprobsField<'a> {
    #[serde(borrow)]
    content: Option<Vec<LogprobEntry<'a>>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct LogprobEntry<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow)]
    bytes: Option<TokenBytes<'a>>,
    #[serde(borrow, default)]
    top_logprobs: Option<Vec<TopLogprob<'a>>>,
}

#[derive(Deserialize, Serialize)]
struct TopLogprob<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
}

/// Bytes of a token, which may hold parts of a character.
enum TokenBytes<'a> {
    /// List of numbers, as the server wrote it.
    Raw(&'a RawValue),
    Cut(Vec<u8>),
}

impl<'de: 'a, 'a> Deserialize<'de> for TokenBytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self::Raw)
    }
}

impl Serialize for TokenBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Cut(bytes) => bytes.serialize(serializer),
        }
    }
}

impl LogprobEntry<'_> {
    /// Returns the bytes of the token; those of its text where the server does not list them.
    fn spelling(&self) -> Cow<'_, [u8]> {
        match &self.bytes {
            Some(TokenBytes::Cut(bytes)) => Cow::Borrowed(bytes),
            Some(TokenBytes::Raw(raw)) => serde_json::from_str(raw.get())
                .map_or_else(|_| Cow::Borrowed(self.token.0.as_bytes()), |bytes: Vec<u8>| Cow::Owned(bytes)),
            None => Cow::Borrowed(self.token.0.as_bytes()),
        }
    }

    /// Cuts the token to these bytes of it.
    fn cut_to(&mut self, bytes: &[u8]) {
        self.token = Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned()));
        if self.bytes.is_some() {
            self.bytes = Some(TokenBytes::Cut(bytes.to_vec()));
        }
    }
}

/// Returns an entry for each token; none if the value is not in OpenAI's format.
pub(super) fn entries(raw: Option<&RawValue>) -> Vec<LogprobEntry<'_>> {
    let field = raw.and_then(|raw| serde_json::from_str::<LogprobsField<'_>>(raw.get()).ok());
    let mut entries = field.and_then(|field| field.content).unwrap_or_default();
    for entry in &mut entries {
        entry.top_logprobs.get_or_insert_default();
    }
    entries
}

/// Returns the entries as JSON joined by commas, without brackets.
pub(super) fn joined(entries: &[LogprobEntry<'_>]) -> Vec<u8> {
    // A list of texts and numbers always serialises.
    let list = serde_json::to_vec(entries).unwrap_or_default();
    list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")).unwrap_or_default().to_vec()
}

/// Parts of the tokens that a choice shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShownTokens<'t> {
    /// Text that the tokens spell.
    pub(super) content: &'t str,
    /// The tokens include a thought.
    pub(super) has_thought: bool,
    /// The application receives the thought.
    pub(super) keeps_thought: bool,
}

/// Returns the entries of the tokens that spell the content. Servers list those of a thought, of a stop string and of
/// the end too. A token that is shown in part is cut.
pub(super) fn shown<'a>(entries: Vec<LogprobEntry<'a>>, shown: ShownTokens<'_>) -> Vec<LogprobEntry<'a>> {
    let keeps_thought = shown.has_thought && shown.keeps_thought;
    if shown.content.is_empty() {
        return if keeps_thought { entries } else { Vec::new() };
    }
    let (mut spelt, mut starts) = (Vec::new(), Vec::with_capacity(entries.len()));
    for entry in &entries {
        starts.push(spelt.len());
        spelt.extend_from_slice(&entry.spelling());
    }
    let Some(start) = start_of(&spelt, &starts, shown) else { return roughly(entries, shown) };
    let end = start + shown.content.len();
    let within = if keeps_thought { 0..end } else { start..end };
    let ends = starts.iter().copied().skip(1).chain([spelt.len()]);
    let mut kept = Vec::with_capacity(entries.len());
    for ((mut entry, from), to) in entries.into_iter().zip(starts.iter().copied()).zip(ends) {
        let is_inside = if from == to { within.contains(&from) } else { from < within.end && to > within.start };
        if !is_inside {
            continue;
        }
        if from < within.start || to > within.end {
            entry.cut_to(spelt.get(from.max(within.start)..to.min(within.end)).unwrap_or_default());
        }
        kept.push(entry);
    }
    kept
}

/// Returns the place in the joined tokens at which the content begins.
fn start_of(spelt: &[u8], starts: &[usize], shown: ShownTokens<'_>) -> Option<usize> {
    let begins = |at: &usize| spelt.get(*at..).is_some_and(|rest| rest.starts_with(shown.content.as_bytes()));
    let text_after = |at: usize| {
        let blanks = spelt.iter().skip(at).take_while(|byte| matches!(byte, b'\n' | b'\r'));
        at + blanks.count()
    };
    let thoughts = if shown.has_thought { spelt } else { &[] };
    let after_thought = memmem::find_iter(thoughts, CLOSE).map(|at| text_after(at + CLOSE.len()));
    let at_the_beginning = [0, text_after(0)];
    after_thought.chain(at_the_beginning).find(begins).or_else(|| starts.iter().copied().find(|at| begins(at)))
}

const CLOSE: &str = "</think>";

/// Returns the entries after a thought and before the end token, where tokens do not spell the text: a server without
/// `bytes` cannot tell the parts of a character.
fn roughly<'a>(mut entries: Vec<LogprobEntry<'a>>, shown: ShownTokens<'_>) -> Vec<LogprobEntry<'a>> {
    if shown.has_thought && !shown.keeps_thought {
        let Some(close) = entries.iter().rposition(|entry| entry.token.0.contains(CLOSE)) else { return Vec::new() };
        entries.drain(..=close);
        let is_blank = |entry: &&LogprobEntry<'_>| entry.token.0.bytes().all(|byte| matches!(byte, b'\n' | b'\r'));
        let blanks = entries.iter().take_while(is_blank).count();
        entries.drain(..blanks);
    }
    let is_end = |entry: &LogprobEntry<'_>| {
        let token = entry.token.0.as_ref();
        token.starts_with("<|") && token.ends_with("|>") && !shown.content.ends_with(token)
    };
    while entries.last().is_some_and(is_end) {
        entries.pop();
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// Returns the tokens that are kept of these, and their bytes joined.
    fn kept(tokens: &[&[u8]], has_bytes: bool, tokens_shown: ShownTokens<'_>) -> (Vec<String>, Vec<u8>) {
        let entry = |token: &&[u8]| {
            let text = String::from_utf8_lossy(token);
            json!({"token": text, "logprob": -1.5, "bytes": has_bytes.then_some(token), "top_logprobs": []})
        };
        let list = json!({"content": tokens.iter().map(entry).collect::<Vec<Value>>()}).to_string();
        let raw: &RawValue = serde_json::from_str(&list).unwrap();
        let kept = shown(entries(Some(raw)), tokens_shown);
        let list: Value = serde_json::from_slice(&[b"[", &joined(&kept)[..], b"]"].concat()).unwrap();
        let bytes = list.as_array().unwrap().iter().filter_map(|entry| entry["bytes"].as_array());
        let bytes = bytes.flatten().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect();
        (list.as_array().unwrap().iter().map(|entry| entry["token"].as_str().unwrap().to_owned()).collect(), bytes)
    }

    #[test]
    fn tokens_that_the_text_lacks_are_dropped() {
        let plain = |content| ShownTokens { content, has_thought: false, keeps_thought: false };
        let thought = |content| ShownTokens { content, has_thought: true, keeps_thought: false };
        for (tokens, shown, expected) in [
            (&["a", " b", "<|im_end|>"][..], plain("a b"), &["a", " b"][..]),
            (&["a", " b", "<|im_end|>"], plain("a"), &["a"]),
            (&["a", " 4.", "\n", "x"], plain("a 4"), &["a", " 4"]),
            (&["\n\n", "a"], plain("a"), &["a"]),
            (&["\n\na"], thought("a"), &["a"]),
            (&["<think>", "b", "</think>", "\n\n", "b", "<|im_end|>"], thought("b"), &["b"]),
            (&["<think>", "b", "</", "think", ">\n", "\nb", "END"], thought("b"), &["b"]),
            (&["x</think>", "y", "</think>", "z"], thought("z"), &["z"]),
            (&["<think>", "b"], thought(""), &[]),
            (&["<think>", "\n", "b", "</think>"], plain("b"), &["b"]),
            (&["a", "", "b", ""], plain("ab"), &["a", "", "b"]),
            (&["a", "b"], ShownTokens { keeps_thought: true, ..thought("b") }, &["a", "b"]),
            (
                &["a", "</think>", "b", "."],
                ShownTokens { keeps_thought: true, ..thought("b") },
                &["a", "</think>", "b"],
            ),
            (&[], plain("a"), &[]),
        ] {
            let tokens: Vec<&[u8]> = tokens.iter().map(|token| token.as_bytes()).collect();
            for has_bytes in [true, false] {
                assert_eq!(kept(&tokens, has_bytes, shown).0, expected, "{tokens:?}");
            }
        }
    }

    #[test]
    fn characters_in_parts_are_joined_by_their_bytes() {
        let tokens: [&[u8]; 4] = [b"a\xf0\x9f", b"\x98\x80", b".", b"<|im_end|>"];
        let shown = ShownTokens { content: "a😀", has_thought: false, keeps_thought: false };
        assert_eq!(kept(&tokens, true, shown).1, "a😀".as_bytes());
        assert_eq!(kept(&tokens, false, shown).0, ["a\u{fffd}", "\u{fffd}\u{fffd}", "."], "only the end is known");
    }

    proptest! {
        #[test]
        fn the_tokens_joined_are_the_text(
            tokens in proptest::collection::vec("[a-c é\n]{0,3}|</think>|😀", 0..8),
            from in 0..8_usize,
            length in 0..20_usize,
        ) {
            let spelt = tokens.concat();
            let start: usize = tokens.iter().take(from).map(String::len).sum();
            let content: String = spelt.split_at(start).1.chars().take(length).collect();
            let tokens: Vec<&[u8]> = tokens.iter().map(|token| token.as_bytes()).collect();
            for has_thought in [true, false] {
                let shown = ShownTokens { content: &content, has_thought, keeps_thought: false };
                prop_assert_eq!(kept(&tokens, true, shown).1, content.as_bytes());
            }
        }
    }
}
