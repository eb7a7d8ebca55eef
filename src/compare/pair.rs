//! Scores of a pair.

use super::agreement::{self, Score};
use super::answer::Answer;
use super::asked::Asked;
use super::document;
use super::json::Unparsed;
use super::leg::schema_valid;
use super::schemas::Schemas;
use super::scores::Scores;
use super::script;
use super::side::Side;
use super::text::{fold, is_blank};
use super::tools;
use super::vocabulary::{Kind, NullReason};

/// Scores the candidate's answer against the reference, which is the baseline's, whoever served.
pub fn pair(asked: &Asked, reference: &Side<'_>, candidate: &Side<'_>, schemas: &mut Schemas) -> Scores {
    match (reference.scored(), candidate.scored()) {
        (Ok(r), Ok(c)) => {
            let mut scores = answers(asked, r, c, schemas);
            measure(&mut scores, reference, candidate);
            scores
        }
        (Err(NullReason::Outcome), _) | (_, Err(NullReason::Outcome)) => Scores::void(NullReason::Outcome),
        (Err(reason), _) | (_, Err(reason)) => Scores::void(reason),
    }
}

/// Scores the contents of two answers.
fn answers(asked: &Asked, reference: &Answer, candidate: &Answer, schemas: &mut Schemas) -> Scores {
    let kind = agreement::kind(asked, reference, candidate);
    let is_json = kind == Kind::Json;
    let has_texts = !is_blank(reference.text()) && !is_blank(candidate.text());
    let similarity = if has_texts { agreement::similarity(reference, candidate) } else { Err(NullReason::NoText) };
    let json_score = if is_json { agreement::json_score(asked, reference, candidate) } else { Err(NullReason::NoJson) };
    let calls = agreement::calls(reference, candidate);
    let agreement = match kind {
        Kind::Refusal => Ok(agreement::refusals(reference, candidate)),
        Kind::Tools => calls,
        Kind::Json if breaks_schema(asked, reference, candidate, schemas) => Ok(0.0),
        Kind::Json => json_score,
        Kind::Empty => Ok(agreement::blanks(reference, candidate)),
        Kind::Short => Ok(agreement::labels(reference, candidate)),
        Kind::Text => similarity,
    };
    let texts = if has_texts { Ok((reference.text(), candidate.text())) } else { Err(NullReason::NoText) };
    Scores {
        kind: Some(kind),
        agreement,
        finish_equal: finish_equal(reference, candidate),
        // Both are null for the same reasons.
        exact: similarity.map(|_| fold(reference.text()) == fold(candidate.text())),
        similarity,
        json_score,
        tool_names: calls_of(reference, candidate).map(|()| tools::names_f1(&reference.calls, &candidate.calls)),
        tools_equal: calls.map(|score| score >= 1.0),
        script_equal: texts.and_then(|(reference, candidate)| script::is_equal(reference, candidate)),
        fence_equal: if is_json { fence_equal(reference, candidate) } else { Err(NullReason::NoJson) },
        length_ratio: texts
            .map(|(reference, candidate)| candidate.chars().count() as f64 / reference.chars().count() as f64),
        ..Scores::void(NullReason::Unknown)
    }
}

/// Adds the ratios of times, tokens and costs.
fn measure(scores: &mut Scores, reference: &Side<'_>, candidate: &Side<'_>) {
    scores.ttft_ratio = ratio(reference.ttft(), candidate.ttft());
    scores.total_ratio = ratio(reference.total(), candidate.total());
    scores.gap_ratio = ratio(reference.gap(), candidate.gap());
    let tokens = |side: &Side<'_>| side.output_tokens.filter(|tokens| *tokens > 0).map(|tokens| tokens as f64);
    let tokens = |side: &Side<'_>| tokens(side).ok_or(NullReason::NoUsage);
    scores.tokens_ratio = ratio(tokens(reference), tokens(candidate));
    let cost = |side: &Side<'_>| side.cost_usd.filter(|cost| *cost > 0.0).ok_or(NullReason::NoPrice);
    scores.cost_ratio = ratio(cost(reference), cost(candidate));
}

/// Returns candidate over reference; null where that is not a number above 0.
fn ratio(reference: Score<f64>, candidate: Score<f64>) -> Score<f64> {
    let ratio = candidate? / reference?;
    if ratio.is_finite() && ratio > 0.0 { Ok(ratio) } else { Err(NullReason::Unknown) }
}

/// True if the reference keeps the schema that was asked for and the candidate does not.
fn breaks_schema(asked: &Asked, reference: &Answer, candidate: &Answer, schemas: &mut Schemas) -> bool {
    schema_valid(asked, reference, schemas) == Ok(true) && schema_valid(asked, candidate, schemas) == Ok(false)
}

fn finish_equal(reference: &Answer, candidate: &Answer) -> Score<bool> {
    match (&reference.finish, &candidate.finish) {
        (Some(reference), Some(candidate)) => Ok(reference == candidate),
        _ => Err(NullReason::Unknown),
    }
}

fn calls_of(reference: &Answer, candidate: &Answer) -> Score<()> {
    let has_calls = !reference.calls.is_empty() || !candidate.calls.is_empty();
    if has_calls { Ok(()) } else { Err(NullReason::NoTools) }
}

/// True if both texts are JSON in a fence, or both bare JSON.
fn fence_equal(reference: &Answer, candidate: &Answer) -> Score<bool> {
    let is_fenced = |answer: &Answer| match document::read(answer.text(), false) {
        Ok(_) => Ok(document::inside_fence(answer.text()).is_some()),
        Err(Unparsed::OverCap) => Err(NullReason::OverCap),
        Err(Unparsed::Invalid) => Err(NullReason::NoJson),
    };
    Ok(is_fenced(reference)? == is_fenced(candidate)?)
}
