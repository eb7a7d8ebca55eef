//! Why an answer ended, in OpenAI's words.

use super::notes::{Note, Notes};
use crate::translate::answer_spec::AnswerSpec;

/// What a server's reason to finish means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishReason {
    Reason(&'static str),
    /// Not an end but a failure.
    Failed,
}

/// `None` where the server gave no reason (TGI's streams of `/v1/completions` say `""`).
pub(super) fn finish(
    reason: Option<&str>,
    has_calls: bool,
    spec: &AnswerSpec,
    notes: &mut Notes,
) -> Option<FinishReason> {
    let reason = match reason? {
        // The word is what DashScope's own API says in the middle of an answer.
        "" | "null" => return None,
        "abort" | "error" => return Some(FinishReason::Failed),
        "length" => "length",
        "content_filter" => "content_filter",
        "stop" | "tool_calls" | "function_call" => ended(has_calls, spec),
        _ => {
            notes.add(Note::FinishMapped);
            ended(has_calls, spec)
        }
    };
    Some(FinishReason::Reason(reason))
}

/// The reason of an answer that came to its own end: a tool forced by name is no decision to call it.
pub(super) const fn ended(has_calls: bool, spec: &AnswerSpec) -> &'static str {
    match (has_calls && !spec.forced, spec.functions) {
        (false, _) => "stop",
        (true, true) => "function_call",
        (true, false) => "tool_calls",
    }
}
