//! Fields that control sampling, the number of choices, stop strings and log probabilities.

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

use super::answer_spec::Kind;
use super::draft::Draft;
use super::error::TranslateError;
use super::json::{self, array, quoted};
use super::ledger::Action;
use super::rewrite::Rewrite;
use super::table;
use crate::config::LogprobsPolicy;
use crate::model::{Family, Pin, Seeds};

/// Sent instead of `top_p: 0` to servers that refuse it; as good as 0.
const TINY: &str = "1e-6";
/// Temperature below which a thinking model repeats itself; its makers' preset is sent instead.
const TOO_COLD: f64 = 0.3;

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    if rewrite.answer_spec.kind != Kind::Responses {
        choices(rewrite)?;
        stop(rewrite);
        stream_options(rewrite);
        seed(rewrite);
    }
    if rewrite.answer_spec.kind == Kind::Chat {
        logprobs(rewrite)?;
    }
    temperature(rewrite);
    top_p(rewrite);
    if rewrite.backend.engine.facts().refuses_negative_top_k
        && rewrite.draft.number("top_k").is_some_and(|top_k| top_k < 0.0)
    {
        // The server crashes on it; 0 says the same.
        rewrite.draft.set("top_k", "0");
        rewrite.note("top_k", Action::Rewritten, "0");
    }
    Ok(())
}

fn choices(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let Some(n) = rewrite.draft.whole_number("n") else { return Ok(()) };
    let facts = rewrite.backend.engine.facts();
    if n > 1 && facts.one_choice {
        return Err(TranslateError::pinned(Pin::Choices, "n", "the backend gives one choice only"));
    }
    if facts.one_choice {
        rewrite.drop_field("n", "1 is all it knows");
    }
    if n > 1 && facts.greedy_is_single && rewrite.draft.number("temperature") == Some(0.0) {
        // Refused there: n must be 1 when sampling is greedy.
        rewrite.draft.set("temperature", "0.01");
        rewrite.note("temperature", Action::Rewritten, "0.01");
    }
    Ok(())
}

/// Returns the strings of `stop`; `None` if it is neither a string nor a list of strings.
fn stop_strings(text: &str) -> Option<Vec<String>> {
    if let Some(one) = json::string(text) {
        return Some(vec![one.into_owned()]);
    }
    serde_json::from_str(text).ok()
}

fn stop(rewrite: &mut Rewrite<'_>) {
    let Some(text) = rewrite.draft.get("stop") else { return };
    let Some(mut strings) = stop_strings(text) else { return };
    let before = strings.len();
    // An empty string ends the answer after its first token at some servers, and is refused by others.
    strings.retain(|string| !string.is_empty());
    let emptied = strings.len() != before;
    if strings.is_empty() {
        rewrite.drop_field("stop", "it is empty");
        return;
    }
    if rewrite.plan.thinks && rewrite.answer_spec.kind == Kind::Chat {
        rewrite.draft.remove("stop");
        rewrite.note("stop", Action::Rewritten, "enforced by shiftgate: the server would stop inside a thought");
        rewrite.answer_spec.stop = strings;
        rewrite.answer_spec.choices = rewrite.draft.whole_number("n").and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        return;
    }
    let facts = rewrite.backend.engine.facts();
    let as_list = facts.stop_as_list && text.starts_with('"');
    if emptied || as_list {
        let list: Vec<String> = strings.iter().map(|string| quoted(string)).collect();
        rewrite.draft.set("stop", array(&list));
        rewrite.note("stop", Action::Rewritten, "a list without empty strings");
    }
    if facts.keeps_stop_strings {
        rewrite.answer_spec.stop = strings;
    }
}

fn stream_options(rewrite: &mut Rewrite<'_>) {
    let asked = rewrite.draft.get("stream_options").and_then(Draft::parse);
    let wants_usage = asked.as_ref().is_some_and(|options| options.get("include_usage") == Some("true"));
    let streamed = rewrite.answer_spec.streamed;
    rewrite.answer_spec.usage_chunk = streamed && wants_usage;
    if !streamed {
        rewrite.drop_field("stream_options", "only with stream");
        return;
    }
    const USAGE: &str = "{\"include_usage\":true}";
    let only_usage = asked.is_some_and(|options| options.names().all(|(name, _)| name == "include_usage"));
    if wants_usage && only_usage {
        return;
    }
    rewrite.draft.set("stream_options", USAGE);
    rewrite.note("stream_options", Action::Rewritten, "include_usage, for the accounting");
}

fn seed(rewrite: &mut Rewrite<'_>) {
    let Some(seed) = rewrite.draft.whole_number("seed") else { return };
    match rewrite.backend.engine.facts().seeds {
        Seeds::NotNegative if seed < 0 => rewrite.drop_field("seed", "negative"),
        Seeds::Below2To31 => {
            let within = seed.rem_euclid(1 << 31);
            if within != seed {
                rewrite.draft.set("seed", within.to_string());
                rewrite.note("seed", Action::Rewritten, "modulo 2^31");
            }
        }
        Seeds::Any | Seeds::NotNegative => {}
    }
}

fn logprobs(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    if rewrite.draft.get("logprobs") != Some("true") {
        if rewrite.draft.get("logprobs") == Some("false") || !rewrite.draft.has("logprobs") {
            // Refused beside `logprobs: false` by some, and it says nothing then.
            rewrite.drop_field("top_logprobs", "only with logprobs");
        }
        return Ok(());
    }
    let facts = rewrite.backend.engine.facts();
    if !facts.has_logprobs || rewrite.backend.translation.logprobs == LogprobsPolicy::Pin {
        return Err(TranslateError::pinned(
            Pin::Logprobs,
            "logprobs",
            "the backend's token probabilities are not OpenAI's",
        ));
    }
    rewrite.note("logprobs", Action::Flagged, "tokens are those of another tokenizer");
    if let Some(most) = facts.top_logprobs_max
        && rewrite.draft.whole_number("top_logprobs").is_some_and(|top| top > most)
    {
        rewrite.draft.set("top_logprobs", most.to_string());
        rewrite.note("top_logprobs", Action::Rewritten, most.to_string());
    }
    Ok(())
}

fn temperature(rewrite: &mut Rewrite<'_>) {
    let Some(temperature) = rewrite.draft.number("temperature") else { return };
    let facts = rewrite.backend.engine.facts();
    if rewrite.plan.thinks && temperature < TOO_COLD && facts.presets_thinking {
        preset(rewrite);
        return;
    }
    if facts.temperature_below_2 && temperature >= 2.0 {
        rewrite.draft.set("temperature", "1.99");
        rewrite.note("temperature", Action::Rewritten, "1.99");
    }
}

/// Sets the sampling that Qwen's makers recommend for thinking, which loops under greedy decoding.
fn preset(rewrite: &mut Rewrite<'_>) {
    let warm = match rewrite.backend.family {
        Some(Family::Qwen35 | Family::Qwen38) => "1.0",
        _ => "0.6",
    };
    rewrite.draft.set("temperature", warm);
    rewrite.draft.set("top_p", "0.95");
    rewrite.note("top_p", Action::Rewritten, "0.95");
    if table::takes_top_k(rewrite.backend.engine) {
        rewrite.draft.set("top_k", "20");
        rewrite.note("top_k", Action::Rewritten, "20");
    }
    rewrite.note("temperature", Action::Flagged, format!("thinking needs {warm}: greedy decoding loops"));
}

fn top_p(rewrite: &mut Rewrite<'_>) {
    let Some(top_p) = rewrite.draft.number("top_p") else { return };
    let facts = rewrite.backend.engine.facts();
    if facts.refuses_full_top_p && top_p >= 1.0 {
        rewrite.drop_field("top_p", "1 is refused there, and means nothing");
    } else if facts.refuses_zero_top_p && top_p == 0.0 {
        rewrite.draft.set("top_p", TINY);
        rewrite.note("top_p", Action::Rewritten, TINY);
    }
}

/// True if a token is forced or forbidden outright: token ids are those of OpenAI's tokenizer.
pub(super) fn forces_a_token(bias: &str) -> bool {
    struct Forces;
    impl<'de> Visitor<'de> for Forces {
        type Value = bool;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("weights by token")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut forces = false;
            while let Some((_, weight)) = map.next_entry::<IgnoredAny, f64>()? {
                forces |= weight.abs() >= 100.0;
            }
            Ok(forces)
        }
    }
    serde_json::Deserializer::from_str(bias).deserialize_map(Forces).unwrap_or(false)
}
