//! Limit on generated tokens: one field out of two, within the bounds of the model and its context.

use super::answer_spec::Kind;
use super::error::TranslateError;
use super::ledger::Action;
use super::rewrite::Rewrite;
use crate::model::Pin;

/// Characters per token. Qwen's tokenizer needs fewer tokens than this estimate.
const CHARS_PER_TOKEN: u64 = 3;

/// Returns a lower estimate of the tokens of a prompt.
pub(super) fn at_least<'t>(texts: impl Iterator<Item = &'t str>) -> u64 {
    let chars: usize = texts.map(|text| text.chars().count()).sum();
    chars as u64 / CHARS_PER_TOKEN
}

/// Returns an upper estimate by bytes. It is higher for text that is not Latin, where a token is a character or two.
pub(super) const fn at_most(bytes: u64) -> u64 {
    bytes / CHARS_PER_TOKEN
}

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let responses = rewrite.answer_spec.kind == Kind::Responses;
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
        None if rewrite.draft.has(field) => return Ok(()),
        None => None,
    };
    let mut tokens = asked.or(rewrite.backend.translation.default_max_tokens);
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
    let most = bound(rewrite)?;
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

/// Returns the largest limit that the server takes; `None` if it takes any.
fn bound(rewrite: &Rewrite<'_>) -> Result<Option<u64>, TranslateError> {
    let facts = rewrite.backend.engine.facts();
    let written = rewrite.backend.translation.max_output_tokens.or(facts.max_output_tokens);
    let Some(context) = rewrite.max_model_len.filter(|_| facts.checks_context_sum) else { return Ok(written) };
    let prompt = ["messages", "input", "tools", "instructions"];
    let texts = || prompt.iter().filter_map(|field| rewrite.draft.get(field));
    let bytes: usize = texts().map(str::len).sum();
    let mut left = context.saturating_sub(at_most(bytes as u64));
    if left == 0 {
        left = context.saturating_sub(at_least(texts()));
    }
    if left == 0 {
        return Err(TranslateError::pinned(
            Pin::Context,
            "messages",
            "the prompt is longer than the backend's context",
        ));
    }
    Ok(Some(written.map_or(left, |written| written.min(left))))
}
