//! Top-level fields of requests by number, so that steps can be counted without comparing strings.

/// Known names, the shortest first.
const NAMES: [&str; 65] = [
    "n",
    "echo",
    "seed",
    "stop",
    "text",
    "user",
    "audio",
    "input",
    "min_p",
    "model",
    "store",
    "tools",
    "top_k",
    "top_p",
    "prompt",
    "stream",
    "suffix",
    "system",
    "best_of",
    "include",
    "logprobs",
    "messages",
    "metadata",
    "functions",
    "reasoning",
    "verbosity",
    "background",
    "logit_bias",
    "max_tokens",
    "modalities",
    "moderation",
    "prediction",
    "truncation",
    "guided_json",
    "temperature",
    "tool_choice",
    "guided_regex",
    "instructions",
    "service_tier",
    "top_logprobs",
    "function_call",
    "guided_choice",
    "guided_grammar",
    "max_tool_calls",
    "stream_options",
    "enable_thinking",
    "response_format",
    "thinking_budget",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "frequency_penalty",
    "max_output_tokens",
    "safety_identifier",
    "repetition_penalty",
    "web_search_options",
    "parallel_tool_calls",
    "chat_template_kwargs",
    "previous_response_id",
    "prompt_cache_options",
    "max_completion_tokens",
    "thinking_token_budget",
    "prompt_cache_retention",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
];
/// Bytes of the longest name.
const LONGEST: usize = 25;
/// Place of the first name that is at least this long.
const STARTS: [u8; LONGEST + 2] = starts();
/// Name of all fields that the application thought of.
const OTHER: &str = "other";

#[expect(clippy::cast_possible_truncation, reason = "a place in a list of 65")]
const fn starts() -> [u8; LONGEST + 2] {
    let mut starts = [NAMES.len() as u8; LONGEST + 2];
    let mut place = NAMES.len();
    while place > 0 {
        place -= 1;
        let mut length = 0;
        while length <= NAMES[place].len() {
            starts[length] = place as u8;
            length += 1;
        }
    }
    starts
}

/// A top-level field: one of the translation's tables, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldId(u8);

impl FieldId {
    /// Number of ids, [`FieldId::OTHER`] included.
    pub const COUNT: usize = NAMES.len() + 1;
    /// Fields that stand in no table.
    pub const OTHER: Self = Self(NAMES.len() as u8);

    /// Returns the id of a field by its name.
    pub(super) fn named(name: &str) -> Self {
        let ends = (STARTS.get(name.len()), STARTS.get(name.len() + 1));
        let (Some(start), Some(end)) = ends else { return Self::OTHER };
        (*start..*end).map(Self).find(|id| id.name() == name).unwrap_or(Self::OTHER)
    }

    /// Returns the id of the field that a path such as `messages[].role` is in.
    pub(super) fn of(path: &str) -> Self {
        let end = path.bytes().position(|byte| matches!(byte, b'[' | b'.')).unwrap_or(path.len());
        Self::named(path.get(..end).unwrap_or_default())
    }

    /// Returns the place of the id in a list of [`FieldId::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the field's name; `other` for [`FieldId::OTHER`].
    pub fn name(self) -> &'static str {
        NAMES.get(self.index()).copied().unwrap_or(OTHER)
    }

    /// Returns all ids, by their index.
    #[expect(clippy::cast_possible_truncation, reason = "COUNT is 66")]
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }
}

/// A set of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FieldSet(u128);

impl FieldSet {
    pub(super) const fn add(&mut self, field: FieldId) {
        self.0 |= 1 << field.0;
    }

    pub(super) const fn has(self, field: FieldId) -> bool {
        self.0 & (1 << field.0) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_by_its_top() {
        assert!(NAMES.is_sorted_by_key(|name| name.len()));
        for (path, name) in
            [("messages[].role", "messages"), ("text.verbosity", "text"), ("x.y", "other"), ("", "other")]
        {
            assert_eq!(FieldId::of(path).name(), name);
        }
        assert!(FieldId::all().all(|field| field == FieldId::OTHER || FieldId::named(field.name()) == field));
        assert_eq!(FieldId::named("text.verbosity"), FieldId::OTHER);
    }
}
