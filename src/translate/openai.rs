//! Requests for a candidate that speaks OpenAI's API: fields that its model refuses and fields of Qwen are removed.

use std::borrow::Cow;

use super::answer_spec::Kind;
use super::draft::Draft;
use super::ids;
use super::json::{self, array, quoted};
use super::ledger::{Action, shown};
use super::rewrite::Rewrite;
use super::table::REFUSED_PREFIX;
use super::thinking::is_reasoning_model;
use super::wording;

/// Limit, in bytes, on call ids at OpenAI. Other engines make longer ids, which are replaced by hashes.
const MAX_CALL_ID: usize = 40;
const QWEN_ONLY: [&str; 7] = [
    "top_k",
    "min_p",
    "repetition_penalty",
    "chat_template_kwargs",
    "thinking_token_budget",
    "thinking_budget",
    "enable_thinking",
];
/// Fields that reasoning models refuse.
const REFUSED_BY_REASONING: [&str; 5] = ["top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"];
/// Keys of a message that OpenAI does not know.
const NOT_OPENAIS: [&str; 2] = ["reasoning", "reasoning_content"];

/// Rewrites a request; `model` is the backend's name for the model.
pub(super) fn all(rewrite: &mut Rewrite<'_>, model: &str) {
    for name in QWEN_ONLY {
        rewrite.drop_field(name, "OpenAI has nothing like it");
    }
    let (draft, ledger) = (&mut rewrite.draft, &mut rewrite.ledger);
    draft.retain(|name, _| {
        let guided = name.starts_with(REFUSED_PREFIX);
        if guided {
            ledger.note(shown(name), Action::Dropped, "OpenAI has nothing like it");
        }
        !guided
    });
    if rewrite.answer_spec.kind == Kind::Chat {
        if is_reasoning_model(model) {
            for_reasoning(rewrite, model);
        } else if model.starts_with("gpt-4") || model.starts_with("gpt-3") {
            rewrite.drop_field("reasoning_effort", "this model does not think");
        }
        messages(rewrite);
        wording::openais_messages(rewrite);
    } else if rewrite.answer_spec.kind == Kind::Responses {
        wording::openais_input(rewrite);
    }
    usage(rewrite);
}

fn for_reasoning(rewrite: &mut Rewrite<'_>, model: &str) {
    if let Some(older) = rewrite.draft.remove("max_tokens") {
        if !rewrite.draft.has("max_completion_tokens") {
            rewrite.draft.set("max_completion_tokens", older);
        }
        rewrite.note("max_tokens", Action::Renamed, "max_completion_tokens");
    }
    if rewrite.draft.number("temperature").is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
        rewrite.drop_field("temperature", "this model takes 1 only");
    }
    for name in REFUSED_BY_REASONING {
        rewrite.drop_field(name, "this model refuses it");
    }
    if model.starts_with("o3") || model.starts_with("o4-mini") {
        rewrite.drop_field("stop", "this model refuses it");
    }
}

fn messages(rewrite: &mut Rewrite<'_>) {
    let Some(messages) = rewrite.draft.borrowed("messages") else { return };
    let Some(items) = json::items(messages) else { return };
    let mut rewritten: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    let mut changed = false;
    for item in items {
        let Some(mut draft) = Draft::parse(item) else { return };
        for name in NOT_OPENAIS {
            if draft.remove(name).is_some() {
                rewrite.note(format!("messages[].{name}"), Action::Dropped, "OpenAI does not know it");
            }
        }
        short_ids(rewrite, &mut draft);
        changed |= draft.is_changed();
        rewritten.push(if draft.is_changed() { Cow::Owned(draft.to_json()) } else { Cow::Borrowed(item) });
    }
    if changed {
        rewrite.draft.set("messages", array(&rewritten));
    }
}

/// Replaces long call ids, the same id by the same hash in the call and in its result.
fn short_ids(rewrite: &mut Rewrite<'_>, message: &mut Draft<'_>) {
    let owner = rewrite.answer_spec.owner;
    let short = |id: &str| {
        (id.len() > MAX_CALL_ID).then(|| {
            let seed =
                id.bytes().fold(0_u128, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3).wrapping_add(byte.into()));
            ids::call_id(owner, seed, 0, id.len() as u64)
        })
    };
    let mut any = false;
    if let Some(id) = message.string("tool_call_id").and_then(|id| short(&id)) {
        message.set("tool_call_id", quoted(&id));
        any = true;
    }
    if let Some(calls) = message.get("tool_calls").map(str::to_owned)
        && let Some(calls) = json::items(&calls)
    {
        let each = calls.iter().map(|call| {
            let mut draft = Draft::parse(call)?;
            let id = draft.string("id").and_then(|id| short(&id))?;
            draft.set("id", quoted(&id));
            Some(draft.to_json())
        });
        let each: Vec<Option<String>> = each.collect();
        if each.iter().any(Option::is_some) {
            let all: Vec<Cow<'_, str>> = each
                .into_iter()
                .zip(&calls)
                .map(|(new, old)| new.map_or_else(|| Cow::Borrowed(*old), Cow::Owned))
                .collect();
            let json = array(&all);
            message.set("tool_calls", json);
            any = true;
        }
    }
    if any {
        rewrite.note("messages[].tool_calls", Action::Rewritten, "ids shortened to OpenAI's 40 characters");
    }
}

/// Makes a stream report its usage, so that it can be priced.
pub(super) fn usage(rewrite: &mut Rewrite<'_>) {
    let asked = rewrite.draft.get("stream_options").and_then(Draft::parse);
    let has_usage = asked.as_ref().is_some_and(|options| options.get("include_usage") == Some("true"));
    rewrite.answer_spec.usage_chunk = has_usage;
    let applies =
        rewrite.answer_spec.streamed && rewrite.answer_spec.kind != Kind::Responses && rewrite.backend.inject_usage;
    if !applies || has_usage {
        return;
    }
    let mut options = asked.unwrap_or_else(Draft::empty);
    options.set("include_usage", "true");
    let options = options.to_json();
    rewrite.draft.set("stream_options", options);
    rewrite.note("stream_options", Action::Rewritten, "include_usage, for the accounting");
}
