//! Top-level fields of requests by number, so that steps can be counted without comparing strings.

/// Known names, in the order of their bytes.
const NAMES: [&str; 64] = [
    "audio",
    "background",
    "best_of",
    "chat_template_kwargs",
    "echo",
    "enable_thinking",
    "frequency_penalty",
    "function_call",
    "functions",
    "guided_choice",
    "guided_decoding_backend",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "guided_whitespace_pattern",
    "include",
    "input",
    "instructions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "messages",
    "metadata",
    "min_p",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "text",
    "thinking_budget",
    "thinking_token_budget",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "verbosity",
    "web_search_options",
];
/// Name of all fields that the application thought of.
const OTHER: &str = "other";

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
        #[expect(clippy::cast_possible_truncation, reason = "a place in a list of 64")]
        NAMES.binary_search(&name).map_or(Self::OTHER, |place| Self(place as u8))
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
    #[expect(clippy::cast_possible_truncation, reason = "COUNT is 65")]
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
        assert!(NAMES.is_sorted());
        for (path, name) in
            [("messages[].role", "messages"), ("text.verbosity", "text"), ("x.y", "other"), ("", "other")]
        {
            assert_eq!(FieldId::of(path).name(), name);
        }
        assert!(FieldId::all().all(|field| field == FieldId::OTHER || FieldId::named(field.name()) == field));
        assert_eq!(FieldId::named("text.verbosity"), FieldId::OTHER);
    }
}
