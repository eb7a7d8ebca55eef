//! Limit on generated tokens: one field out of two, within the bounds of the model and its context.

use serde_json::value::RawValue;

use super::answer_spec::Kind;
use super::error::TranslateError;
use super::input::TranslateInput;
use super::ledger::Action;
use super::prompt_size::PromptSize;
use super::rewrite::Rewrite;
use crate::model::Pin;

/// Tokens that must be left for an answer; with fewer, the request is pinned.
const MIN_ROOM: u64 = 16;
/// Value of a limit, in tokens, that is too large for a 64-bit integer.
const UNCOUNTABLE: u64 = u64::MAX;

/// True if the request may have to be pinned for the length of its prompt, without taking the request apart.
pub(super) fn may_be_too_long(input: &TranslateInput<'_>) -> bool {
    let limits = input.limits();
    if limits.are_unknown() {
        return false;
    }
    let wording = input.backend.system.as_ref().and_then(|wording| wording.text.as_ref());
    let wording = wording.map_or(0, |text| text.len() as u64);
    let size = PromptSize::at_most(wording, |field| input.scan.get(field).map(RawValue::get));
    !limits.hold(size.tokens(), MIN_ROOM)
}

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let kind = rewrite.answer_spec.kind;
    let responses = kind == Kind::Responses;
    let field = if responses { "max_output_tokens" } else { "max_tokens" };
    if !responses && let Some(newer) = rewrite.draft.remove("max_completion_tokens") {
        rewrite.drop_field("max_tokens", "max_completion_tokens is what counts");
        rewrite.note("max_completion_tokens", Action::Renamed, "max_tokens");
        rewrite.draft.set("max_tokens", newer);
    }
    let asked = match rewrite.draft.whole_number(field) {
        Some(number) => match u64::try_from(number) {
            Ok(number) => Some(number),
            // The server's own words about a negative number are as good as ours.
            Err(_) => return Ok(()),
        },
        None if rewrite.draft.number(field).is_some_and(|number| number >= 9e15) => Some(UNCOUNTABLE),
        None if rewrite.draft.has(field) => return Ok(()),
        None => None,
    };
    // OpenAI ends a completion without a limit after 16 tokens, so the default is for chats.
    let default = rewrite.backend.translation.default_max_tokens.filter(|_| kind != Kind::Completions);
    let mut tokens = asked.or(default);
    let factor = rewrite.backend.translation.thinking_budget_factor;
    if rewrite.plan.thinks && factor > 1.0 && asked.is_some() {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of tokens times a small factor, saturating"
        )]
        let more = |tokens: u64| (tokens as f64 * factor).ceil() as u64;
        tokens = tokens.map(more);
    }
    let most = bound(rewrite, tokens)?;
    let clamped = match (tokens, most) {
        (Some(tokens), Some(most)) => Some(tokens.min(most)),
        (tokens, _) => tokens,
    };
    if let Some(value) = clamped
        && asked != Some(value)
    {
        rewrite.draft.set(field, value.to_string());
        rewrite.note(field, Action::Rewritten, value.to_string());
    }
    if let (Some(step), Some(tokens)) = (rewrite.backend.engine.facts().rounds_tokens_to, clamped)
        && tokens > step
        && tokens % step != 0
    {
        rewrite.note(field, Action::Flagged, format!("rounded up to the next {step} there"));
    }
    Ok(())
}

/// Returns the largest limit that the server takes beside this prompt; `None` if it takes the one that is `wanted`.
fn bound(rewrite: &Rewrite<'_>, wanted: Option<u64>) -> Result<Option<u64>, TranslateError> {
    let facts = rewrite.backend.engine.facts();
    let written = rewrite.backend.translation.max_output_tokens.or(facts.max_output_tokens);
    let room = room(rewrite, wanted)?;
    Ok(written.into_iter().chain(room).min())
}

/// Returns the tokens that the context has left beside the prompt; `None` if it has more than is `wanted`.
fn room(rewrite: &Rewrite<'_>, wanted: Option<u64>) -> Result<Option<u64>, TranslateError> {
    let limits = rewrite.limits;
    if limits.are_unknown() {
        return Ok(None);
    }
    let wanted = wanted.unwrap_or(0).max(MIN_ROOM);
    if limits.hold(PromptSize::at_most(0, |field| rewrite.draft.get(field)).tokens(), wanted) {
        return Ok(None);
    }
    let kind = rewrite.answer_spec.kind;
    let prompt = PromptSize::of(&rewrite.draft, kind).tokens();
    if limits.hold(prompt, MIN_ROOM) {
        return Ok(limits.max_model_len.map(|context| context - prompt));
    }
    match kind {
        // Its endpoint is pinned as a rule, and the server's own count decides where it is not.
        Kind::Completions => Ok(limits.max_model_len),
        Kind::Chat => Err(too_long("messages")),
        Kind::Responses => Err(too_long("input")),
    }
}

fn too_long(field: &'static str) -> TranslateError {
    TranslateError::pinned(Pin::Context, field, "the prompt is longer than the backend's context")
}
