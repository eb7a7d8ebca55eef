//! Allow-list: the treatment of each field of a request, by engine.
//!
//! A field without a row is dropped. `P` passes the field, `D` drops it, `W` leaves it to the module named beside it,
//! `X` refuses the request, and a pin sends the request to the baseline.

use std::sync::LazyLock;

use super::field_id::FieldId;
use crate::model::{Engine, Pin};

/// Treatment of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Pass,
    Drop,
    /// A module decides.
    Work,
    Pin(Pin),
    Refuse,
}

/// Rows of one API, and where each field has its row.
#[derive(Debug)]
pub(super) struct Table {
    rows: &'static [FieldRow],
    /// Number of the row, counted from 1; 0 where the field has none.
    places: [u8; FieldId::COUNT],
}

/// Treatment of one field, by engine.
#[derive(Debug)]
pub(super) struct FieldRow {
    pub(super) name: &'static str,
    /// Dropping the field can change the answer, so `translate = "strict"` pins the request instead.
    pub(super) matters: bool,
    /// In the order of [`Engine::ALL`], without OpenAI.
    rules: [Rule; 6],
}

const P: Rule = Rule::Pass;
const D: Rule = Rule::Drop;
const W: Rule = Rule::Work;
const X: Rule = Rule::Refuse;
const AUDIO: Rule = Rule::Pin(Pin::Audio);
const HOSTED: Rule = Rule::Pin(Pin::Hosted);

/// Prefix of fields by which servers once constrained answers. They ignore such fields today, so these are refused.
pub(super) const REFUSED_PREFIX: &str = "guided_";

const fn row(name: &'static str, rules: [Rule; 6]) -> FieldRow {
    FieldRow { name, matters: false, rules }
}

const fn matters(name: &'static str, rules: [Rule; 6]) -> FieldRow {
    FieldRow { name, matters: true, rules }
}

/// Fields of `/v1/chat/completions`.
#[rustfmt::skip]
pub(super) static CHAT: LazyLock<Table> = LazyLock::new(|| Table::new(const { &[
    //                               vllm sglang trtllm tgi dashscope compatible
    row("model",                     [W, W, W, W, W, W]), // request
    row("messages",                  [W, W, W, W, W, W]), // messages
    row("stream",                    [P, P, P, P, P, P]),
    row("stream_options",            [W, W, W, W, W, W]), // sampling
    row("max_tokens",                [W, W, W, W, W, W]), // tokens
    row("max_completion_tokens",     [W, W, W, W, W, W]), // tokens
    row("temperature",               [W, W, W, W, W, W]), // sampling
    row("top_p",                     [W, W, W, W, W, W]), // sampling
    matters("presence_penalty",      [P, P, P, D, P, D]),
    matters("frequency_penalty",     [P, P, P, P, P, D]),
    row("n",                         [W, W, W, W, W, W]), // sampling
    row("stop",                      [W, W, W, W, W, W]), // sampling
    matters("seed",                  [P, P, P, W, W, D]), // sampling
    row("logprobs",                  [W, W, W, W, W, W]), // sampling
    row("top_logprobs",              [W, W, W, W, W, W]), // sampling
    matters("logit_bias",            [D, D, D, D, D, D]),
    row("response_format",           [W, W, W, W, W, W]), // format
    row("tools",                     [W, W, W, W, W, W]), // tools
    row("tool_choice",               [W, W, W, W, W, W]), // tools
    row("parallel_tool_calls",       [W, W, W, W, W, W]), // tools
    row("functions",                 [W, W, W, W, W, W]), // tools
    row("function_call",             [W, W, W, W, W, W]), // tools
    matters("reasoning_effort",      [W, W, W, D, W, D]), // thinking
    matters("verbosity",             [D, D, D, D, D, D]),
    row("store",                     [D, D, D, D, D, D]),
    row("metadata",                  [D, D, D, D, D, D]),
    row("service_tier",              [D, D, D, D, D, D]),
    row("user",                      [D, D, D, D, D, D]),
    row("safety_identifier",         [D, D, D, D, D, D]),
    row("prompt_cache_key",          [D, D, D, D, D, D]),
    row("prompt_cache_options",      [D, D, D, D, D, D]),
    row("prompt_cache_retention",    [D, D, D, D, D, D]),
    row("prediction",                [D, D, D, D, D, D]),
    row("modalities",                [W, W, W, W, W, W]), // features
    row("audio",                     [AUDIO, AUDIO, AUDIO, AUDIO, AUDIO, AUDIO]),
    row("web_search_options",        [HOSTED, HOSTED, HOSTED, HOSTED, HOSTED, HOSTED]),
    row("moderation",                [HOSTED, HOSTED, HOSTED, HOSTED, HOSTED, HOSTED]),
    // What applications that know Qwen send.
    row("top_k",                     [P, P, W, D, P, D]), // sampling
    row("min_p",                     [P, P, P, D, D, D]),
    row("repetition_penalty",        [P, P, P, D, P, D]),
    row("chat_template_kwargs",      [W, W, W, D, W, D]), // thinking
    row("enable_thinking",           [W, W, W, D, W, D]), // thinking
    row("thinking_token_budget",     [P, D, P, D, D, D]),
    row("thinking_budget",           [D, D, D, D, W, D]), // thinking
    row("guided_json",               [X, X, X, X, X, X]),
    row("guided_regex",              [X, X, X, X, X, X]),
    row("guided_choice",             [X, X, X, X, X, X]),
    row("guided_grammar",            [X, X, X, X, X, X]),
    row("guided_decoding_backend",   [X, X, X, X, X, X]),
    row("guided_whitespace_pattern", [X, X, X, X, X, X]),
] }));

/// Fields of a stateless `/v1/responses`. TGI does not have it.
#[rustfmt::skip]
pub(super) static RESPONSES: LazyLock<Table> = LazyLock::new(|| Table::new(const { &[
    //                               vllm sglang trtllm tgi dashscope compatible
    row("model",                     [W, W, W, W, W, W]), // request
    row("input",                     [W, W, W, W, W, W]), // responses
    row("instructions",              [W, W, W, W, W, W]), // responses
    row("stream",                    [P, P, P, P, P, P]),
    row("stream_options",            [D, D, D, D, D, D]),
    row("store",                     [P, P, P, P, P, P]),
    row("previous_response_id",      [W, W, W, W, W, W]), // responses
    row("background",                [D, D, D, D, D, D]),
    row("include",                   [D, D, D, D, D, D]),
    row("max_output_tokens",         [W, W, W, W, W, W]), // tokens
    matters("max_tool_calls",        [D, D, D, D, D, D]),
    row("temperature",               [W, W, W, W, W, W]), // sampling
    row("top_p",                     [W, W, W, W, W, W]), // sampling
    row("top_logprobs",              [P, D, D, D, D, D]),
    row("text",                      [W, W, W, W, W, W]), // responses
    row("tools",                     [W, W, W, W, W, W]), // responses
    row("tool_choice",               [W, W, W, W, W, W]), // responses
    row("parallel_tool_calls",       [W, W, W, W, W, W]), // responses
    matters("reasoning",             [W, W, W, D, W, D]), // thinking
    row("truncation",                [P, P, P, P, P, P]),
    row("metadata",                  [D, D, D, D, D, D]),
    row("service_tier",              [D, D, D, D, D, D]),
    row("user",                      [D, D, D, D, D, D]),
    row("safety_identifier",         [D, D, D, D, D, D]),
    row("prompt_cache_key",          [D, D, D, D, D, D]),
    row("prompt_cache_options",      [D, D, D, D, D, D]),
    row("prompt_cache_retention",    [D, D, D, D, D, D]),
    row("moderation",                [HOSTED, HOSTED, HOSTED, HOSTED, HOSTED, HOSTED]),
    row("chat_template_kwargs",      [W, W, W, D, D, D]), // thinking
    row("top_k",                     [P, P, W, D, P, D]), // sampling
    row("min_p",                     [P, P, P, D, D, D]),
    row("repetition_penalty",        [P, P, P, D, P, D]),
] }));

/// Fields of `/v1/completions`, which has no chat template.
#[rustfmt::skip]
pub(super) static COMPLETIONS: LazyLock<Table> = LazyLock::new(|| Table::new(const { &[
    //                               vllm sglang trtllm tgi dashscope compatible
    row("model",                     [W, W, W, W, W, W]), // request
    row("prompt",                    [P, P, P, P, P, P]),
    row("stream",                    [P, P, P, P, P, P]),
    row("stream_options",            [W, W, W, W, W, W]), // sampling
    row("max_tokens",                [W, W, W, W, W, W]), // tokens
    row("temperature",               [W, W, W, W, W, W]), // sampling
    row("top_p",                     [W, W, W, W, W, W]), // sampling
    matters("presence_penalty",      [P, P, P, D, P, D]),
    matters("frequency_penalty",     [P, P, P, P, P, D]),
    row("n",                         [W, W, W, W, W, W]), // sampling
    row("stop",                      [W, W, W, W, W, W]), // sampling
    matters("seed",                  [P, P, P, W, W, D]), // sampling
    matters("logit_bias",            [D, D, D, D, D, D]),
    matters("logprobs",              [P, P, P, D, D, D]),
    matters("echo",                  [P, P, P, D, D, D]),
    matters("suffix",                [P, P, D, P, D, D]),
    matters("best_of",               [P, P, P, D, D, D]),
    row("user",                      [D, D, D, D, D, D]),
    row("top_k",                     [P, P, W, D, P, D]), // sampling
    row("min_p",                     [P, P, P, D, D, D]),
    row("repetition_penalty",        [P, P, P, D, P, D]),
] }));

impl FieldRow {
    pub(super) const fn rule(&self, engine: Engine) -> Rule {
        let [vllm, sglang, trtllm, tgi, dashscope, compatible] = self.rules;
        match engine {
            Engine::Vllm => vllm,
            Engine::Sglang => sglang,
            Engine::Trtllm => trtllm,
            Engine::Tgi => tgi,
            Engine::DashScope => dashscope,
            Engine::Compatible => compatible,
            Engine::OpenAi => Rule::Pass,
        }
    }
}

impl Table {
    fn new(rows: &'static [FieldRow]) -> Self {
        let mut places = [0; FieldId::COUNT];
        for (row, number) in rows.iter().zip(1..) {
            if let Some(place) = places.get_mut(FieldId::named(row.name).index()) {
                *place = number;
            }
        }
        Self { rows, places }
    }

    pub(super) const fn rows(&self) -> &'static [FieldRow] {
        self.rows
    }

    /// Returns the row of the field with this name.
    pub(super) fn find(&self, name: &str) -> Option<&'static FieldRow> {
        let id = FieldId::named(name);
        let number = self.places.get(id.index()).filter(|_| id != FieldId::OTHER)?;
        self.rows.get(usize::from(*number).checked_sub(1)?)
    }
}

/// True if this engine is sent `top_k`.
pub(super) fn takes_top_k(engine: Engine) -> bool {
    CHAT.find("top_k").is_some_and(|row| row.rule(engine) != Rule::Drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_one_row() {
        for table in [&CHAT, &RESPONSES, &COMPLETIONS] {
            let mut names: Vec<_> = table.rows.iter().map(|row| row.name).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all);
            assert!(table.rows.iter().all(|row| table.find(row.name).is_some_and(|found| found.name == row.name)));
        }
    }
}
