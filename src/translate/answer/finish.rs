//! Reasons for the end of an answer, in OpenAI's terms.

use super::notes::{Note, Notes};
use crate::translate::answer_spec::AnswerSpec;

/// Meaning of a server's finish reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinishReason {
    Reason(&'static str),
    /// The backend failed.
    Failed,
}

/// Returns the finish reason; `None` if the server gave none (TGI's streams of `/v1/completions` send `""`).
pub(super) fn finish(
    reason: Option<&str>,
    has_calls: bool,
    spec: &AnswerSpec,
    notes: &mut Notes,
) -> Option<FinishReason> {
    let reason = match reason? {
        // DashScope's own API sends the word "null" in the middle of an answer.
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

/// Returns the reason of an answer that ended by itself. A tool forced by name is not the model's decision to call it.
pub(super) const fn ended(has_calls: bool, spec: &AnswerSpec) -> &'static str {
    match (has_calls && !spec.forced, spec.functions) {
        (false, _) => "stop",
        (true, true) => "function_call",
        (true, false) => "tool_calls",
    }
}
