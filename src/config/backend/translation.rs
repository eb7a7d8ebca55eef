//! Reads the options of the translation, which stand directly in the backend's section.

use super::super::problem::Problems;
use super::super::reader::{Section, Value, boolean, list, positive, whole, word};
use super::super::types::{LateSystem, LogprobsPolicy, ReasoningPolicy, Translation};

const REASONING: [(&str, ReasoningPolicy); 4] = [
    ("strip", ReasoningPolicy::Strip),
    ("reasoning_content", ReasoningPolicy::ReasoningContent),
    ("reasoning", ReasoningPolicy::Reasoning),
    ("both", ReasoningPolicy::Both),
];
const LOGPROBS: [(&str, LogprobsPolicy); 2] = [("pass", LogprobsPolicy::Pass), ("pin", LogprobsPolicy::Pin)];
const LATE_SYSTEM: [(&str, LateSystem); 2] = [("merge", LateSystem::Merge), ("as_user", LateSystem::AsUser)];
const STRICT: [(&str, bool); 2] = [("lenient", false), ("strict", true)];

/// Reads the options from the section `s` of a backend.
pub(super) fn read(s: &mut Section<'_, '_>, p: &mut Problems<'_>) -> Translation {
    let tokens = |v: &Value<'_>| whole(v, 1, 100_000_000);
    Translation {
        vision: s.read("vision", p, boolean).unwrap_or(false),
        reasoning: s.read("reasoning", p, |v| word(v, &REASONING)).unwrap_or(ReasoningPolicy::Strip),
        logprobs: s.read("logprobs", p, |v| word(v, &LOGPROBS)).unwrap_or(LogprobsPolicy::Pass),
        late_system: s.read("late_system", p, |v| word(v, &LATE_SYSTEM)).unwrap_or(LateSystem::Merge),
        strict: s.read("translate", p, |v| word(v, &STRICT)).unwrap_or(false),
        pin_on_unknown: s
            .get("pin_on_unknown")
            .map(|value| list("pin_on_unknown", value, p, |text| Ok(text.to_owned())))
            .unwrap_or_default(),
        responses: s.read("responses", p, boolean).unwrap_or(false),
        probe: s.read("probe", p, boolean).unwrap_or(false),
        thinking_budget_factor: s.read("thinking_budget_factor", p, positive).unwrap_or(1.0),
        default_max_tokens: s.read("default_max_tokens", p, tokens),
        max_output_tokens: s.read("max_output_tokens", p, tokens),
        max_model_len: s.read("max_model_len", p, tokens),
    }
}
