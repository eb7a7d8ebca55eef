//! The length of a server's context in tokens, as the server reports it.

use std::time::Duration;

use http::{StatusCode, Uri};
use serde_json::Value;

use super::exchange::Question;
use crate::backend::Target;
use crate::model::ContextLength;
use crate::outcome::{LegKind, Role, Trail};

/// Timeout of the server's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Limit, in bytes, of the server's answer; a larger one is ignored.
const MAX_ANSWER: u64 = 4 << 20;

/// The server is not reachable yet, or busy.
#[derive(Debug)]
pub(super) struct NoAnswer;

/// Asks the server; `None` if it does not report a length. A limit on prompts that it reports goes to the facts.
pub(super) async fn ask_length(target: &Target) -> Result<Option<u64>, NoAnswer> {
    let Some(question) = length_question(target) else { return Ok(None) };
    let labels = (&target.labels, &target.stats);
    let mut trail = Trail::new(LegKind::Probe, Role::Candidate, labels, "", false);
    let answer = question.ask(&target.client, &mut trail).await.map_err(|_| NoAnswer)?;
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(NoAnswer);
    }
    if let Some(longest) = max_input_tokens_in(&answer.body) {
        target.facts.set_max_input_tokens(longest);
    }
    Ok(length_in(&answer.body, |id| target.config.models.iter().any(|(_, name)| name == id)))
}

/// Returns the length that the server reports at this moment.
pub(super) async fn length(target: &Target) -> Option<u64> {
    ask_length(target).await.unwrap_or_default()
}

/// Builds the request for the context's length. TGI lists no lengths under `/v1/models`; its `/info` has one.
fn length_question(target: &Target) -> Option<Question> {
    let path = target.config.url.path.as_str();
    let uri = match target.config.engine.facts().context_length {
        ContextLength::Unasked => return None,
        ContextLength::Models => target.uri_for(&Uri::from_static("/v1/models"))?,
        ContextLength::Info => format!("{}/info", path.strip_suffix("/v1").unwrap_or(path)).parse::<Uri>().ok()?,
    };
    Some(Question::get(target, uri, ANSWER_TIMEOUT, MAX_ANSWER))
}

/// Returns TGI's limit on the tokens of a prompt.
fn max_input_tokens_in(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?.get("max_input_tokens")?.as_u64().filter(|length| *length > 0)
}

/// Returns the shortest length of the wanted models; of all models if the list has none of them.
fn length_in(body: &[u8], is_ours: impl Fn(&str) -> bool) -> Option<u64> {
    let json: Value = serde_json::from_slice(body).ok()?;
    if let Some(length) = json.get("max_total_tokens").and_then(Value::as_u64) {
        return Some(length);
    }
    let length = |model: &Value| Some((is_ours(model.get("id")?.as_str()?), model.get("max_model_len")?.as_u64()?));
    let models: Vec<(bool, u64)> = json.get("data")?.as_array()?.iter().filter_map(length).collect();
    let has_wanted = models.iter().any(|(is_wanted, _)| *is_wanted);
    models
        .iter()
        .filter(|(is_wanted, _)| *is_wanted || !has_wanted)
        .map(|(_, length)| *length)
        .filter(|length| *length > 0)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_models_asked_for() {
        let list = br#"{"data":[{"id":"a","max_model_len":4096},{"id":"b","max_model_len":32768},{"id":"lora","max_model_len":null}]}"#;
        for (ours, expected) in [(vec!["b"], 32_768), (vec!["a", "b"], 4096), (vec!["x"], 4096), (vec!["lora"], 4096)] {
            assert_eq!(length_in(list, |id| ours.contains(&id)), Some(expected), "{ours:?}");
        }
        let info = br#"{"model_id":"Qwen","max_input_tokens":32767,"max_total_tokens":32768}"#;
        assert_eq!(length_in(info, |_| false), Some(32_768));
        assert_eq!((max_input_tokens_in(info), max_input_tokens_in(list)), (Some(32_767), None));
        for nothing in
            ["", "[]", "{}", r#"{"data":[]}"#, r#"{"data":[{"id":"a"}]}"#, r#"{"data":[{"id":"a","max_model_len":0}]}"#]
        {
            assert_eq!(length_in(nothing.as_bytes(), |_| true), None, "{nothing}");
        }
    }
}
