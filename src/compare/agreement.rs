//! Agreement of two answers: one rule for each kind. The first kind that applies decides.

use super::answer::Answer;
use super::asked::Asked;
use super::chrf::chrf;
use super::document::{self, is_over_cap};
use super::json::Unparsed;
use super::json_score::{JsonScore, score};
use super::text::{is_blank, is_one_line, is_same_label, is_short, plain};
use super::tools;
use super::vocabulary::{Kind, NullReason};

/// A score, or the reason for which it is null.
pub type Score<T> = Result<T, NullReason>;

/// Returns the kind of a pair.
pub(super) fn kind(asked: &Asked, reference: &Answer, candidate: &Answer) -> Kind {
    let either = |test: fn(&Answer) -> bool| test(reference) || test(candidate);
    let is_structured = || match document::read(reference.text(), false) {
        Ok(document) => document::is_structure(&document),
        Err(Unparsed::OverCap) => true,
        Err(Unparsed::Invalid) => false,
    };
    if either(Answer::is_refusal) {
        Kind::Refusal
    } else if either(|answer| !answer.calls.is_empty()) {
        Kind::Tools
    } else if asked.is_json() || is_structured() {
        Kind::Json
    } else if either(|answer| is_blank(answer.text())) {
        Kind::Empty
    } else if is_one_line(reference.text()) && is_short(reference.text()) {
        Kind::Short
    } else {
        Kind::Text
    }
}

/// Returns the similarity of both texts, from which a verdict never follows.
pub(super) fn similarity(reference: &Answer, candidate: &Answer) -> Score<f64> {
    let (reference, candidate) = (reference.text(), candidate.text());
    if is_over_cap(reference) || is_over_cap(candidate) {
        return Err(NullReason::OverCap);
    }
    Ok(chrf(&plain(reference), &plain(candidate)))
}

/// Returns the score of two JSON answers; 0 if only the reference parses.
pub(super) fn json_score(asked: &Asked, reference: &Answer, candidate: &Answer) -> Score<f64> {
    let (reference, candidate) = (reference.text(), candidate.text());
    if is_over_cap(reference) || is_over_cap(candidate) {
        return Err(NullReason::OverCap);
    }
    let reference = match document::read(reference, asked.is_json()) {
        Ok(document) => document,
        Err(Unparsed::OverCap) => return Err(NullReason::OverCap),
        Err(Unparsed::Invalid) => return Err(NullReason::ReferenceInvalid),
    };
    match document::read(candidate, asked.is_json()).map(|candidate| score(&reference, &candidate)) {
        Ok(JsonScore::Score(score)) => Ok(score),
        Ok(JsonScore::OverCap) | Err(Unparsed::OverCap) => Err(NullReason::OverCap),
        Err(Unparsed::Invalid) => Ok(0.0),
    }
}

/// Returns the F1 of both sides' calls; 0 if only one side calls tools.
pub(super) fn calls(reference: &Answer, candidate: &Answer) -> Score<f64> {
    match (reference.calls.is_empty(), candidate.calls.is_empty()) {
        (true, true) => Err(NullReason::NoTools),
        (false, false) => tools::f1(&reference.calls, &candidate.calls),
        _ => Ok(0.0),
    }
}

/// Returns 1 if both refuse, else 0.
pub(super) fn refusals(reference: &Answer, candidate: &Answer) -> f64 {
    f64::from(reference.is_refusal() && candidate.is_refusal())
}

/// Returns 1 if neither has a text, else 0.
pub(super) fn blanks(reference: &Answer, candidate: &Answer) -> f64 {
    f64::from(is_blank(reference.text()) && is_blank(candidate.text()))
}

/// Returns 1 if both are one label, else 0.
pub(super) fn labels(reference: &Answer, candidate: &Answer) -> f64 {
    f64::from(is_same_label(reference.text(), candidate.text()))
}
