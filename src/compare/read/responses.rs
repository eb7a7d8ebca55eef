//! Answers of `/v1/responses`. The texts of all messages are one text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field::{has, list, object, text};
use crate::compare::answer::{Answer, Call};
use crate::compare::sizes::Sizes;

pub(super) fn whole(body: &Value) -> Option<Answer> {
    let finish = end(body)?;
    let mut answer = Answer::default();
    if !body.get("output")?.is_array() {
        return None;
    }
    for item in list(body, "output")? {
        take(&mut answer, item)?;
    }
    answer.finish = finish.map(|finish| finish.word(&answer.calls));
    Some(answer)
}

/// Kind of a response's end.
enum Finish {
    /// It ended by itself.
    Complete,
    /// It was cut, with the reason in the words of chat completions.
    Cut(String),
}

impl Finish {
    fn word(self, calls: &[Call]) -> String {
        match self {
            Self::Cut(reason) => reason,
            Self::Complete if calls.is_empty() => "stop".to_owned(),
            Self::Complete => "tool_calls".to_owned(),
        }
    }
}

/// Returns the end of a response, the inner `None` if it does not tell; `None` if it failed or is not ready.
fn end(response: &Value) -> Option<Option<Finish>> {
    if has(response, "error") {
        return None;
    }
    match text(response, "status")? {
        None => Some(None),
        Some("completed") => Some(Some(Finish::Complete)),
        Some("incomplete") => {
            let details = object(response, "incomplete_details");
            let reason = details.and_then(|details| text(details, "reason").flatten());
            Some(
                reason.map(|reason| {
                    Finish::Cut(if reason == "max_output_tokens" { "length" } else { reason }.to_owned())
                }),
            )
        }
        Some(_) => None,
    }
}

/// Adds an item of the output to `answer`.
fn take(answer: &mut Answer, item: &Value) -> Option<()> {
    let mut uncounted = Sizes::default();
    match text(item, "type")?? {
        "message" => {
            for part in list(item, "content")? {
                match text(part, "type")?? {
                    "output_text" => {
                        uncounted.append(&mut answer.text, text(part, "text")?);
                    }
                    "refusal" => {
                        uncounted.append(&mut answer.refusal, text(part, "refusal")?);
                    }
                    _ => {}
                }
            }
        }
        "function_call" => answer.calls.push(call(item, "arguments")?),
        "custom_tool_call" => answer.calls.push(call(item, "input")?),
        _ => {}
    }
    Some(())
}

fn call(item: &Value, arguments: &str) -> Option<Call> {
    let arguments = text(item, arguments)?.unwrap_or_default().to_owned();
    Some(Call { name: text(item, "name")?.unwrap_or_default().to_owned(), arguments })
}

/// A stream as far as it was read. The last event has the whole answer; the parts count only where it lacks them.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The answer of the last event.
    last: Option<Answer>,
    /// Items by their index. Each was a part of the body at least 10 bytes long, which bounds their number.
    items: BTreeMap<u64, Answer>,
    has_begun: bool,
    sizes: Sizes,
}

impl Stream {
    /// Reads the next event; `None` if the stream is not an answer.
    pub(super) fn event(&mut self, event: &Value) -> Option<()> {
        let kind = text(event, "type")??;
        match kind {
            "error" | "response.failed" => return None,
            "response.completed" | "response.incomplete" => {
                let last = whole(object(event, "response")?)?;
                let of = last.sizes();
                self.sizes.content = self.sizes.content.max(of.content);
                self.sizes.memory += of.memory;
                self.last = Some(last);
            }
            "response.created" => self.has_begun = true,
            "response.output_text.delta" => {
                let part = text(event, "delta")?;
                let (item, sizes) = self.item(event);
                sizes.append(&mut item.text, part);
            }
            "response.refusal.delta" => {
                let part = text(event, "delta")?;
                let (item, sizes) = self.item(event);
                sizes.append(&mut item.refusal, part);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                let part = text(event, "delta")?.unwrap_or_default();
                let (item, sizes) = self.item(event);
                sizes.push(&mut item.calls.first_mut()?.arguments, part);
            }
            "response.output_item.added" | "response.output_item.done" => {
                let mut item = Answer::default();
                take(&mut item, object(event, "item")?)?;
                let before = std::mem::take(self.item(event).0);
                self.replaces(&item, &before);
                *self.item(event).0 = item;
            }
            _ => {}
        }
        Some(())
    }

    fn item(&mut self, event: &Value) -> (&mut Answer, &mut Sizes) {
        self.has_begun = true;
        let index = event.get("output_index").and_then(Value::as_u64).unwrap_or_default();
        let sizes = &mut self.sizes;
        let item = self.items.entry(index).or_insert_with(|| {
            sizes.memory += size_of::<Answer>();
            Answer::default()
        });
        (item, sizes)
    }

    /// Counts an answer that takes the place of another one.
    fn replaces(&mut self, answer: &Answer, before: &Answer) {
        let (new, old) = (answer.sizes(), before.sizes());
        self.sizes.content = (self.sizes.content + new.content).saturating_sub(old.content);
        self.sizes.memory = (self.sizes.memory + new.memory).saturating_sub(old.memory);
    }

    pub(super) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Returns the answer; `None` if no event began one.
    pub(super) fn answer(&self) -> Option<Answer> {
        let (mut parts, mut uncounted) = (Answer::default(), Sizes::default());
        for item in self.items.values() {
            uncounted.append(&mut parts.text, item.text.as_deref());
            uncounted.append(&mut parts.refusal, item.refusal.as_deref());
            parts.calls.extend_from_slice(&item.calls);
        }
        match &self.last {
            Some(last) if last.text.is_some() || last.refusal.is_some() || !last.calls.is_empty() => Some(last.clone()),
            Some(Answer { finish, .. }) => {
                let has_ended = finish.as_deref() == Some("stop");
                let finish = if has_ended { Some(Finish::Complete.word(&parts.calls)) } else { finish.clone() };
                Some(Answer { finish, ..parts })
            }
            None => self.has_begun.then_some(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(name: &str, arguments: &str) -> Call {
        Call { name: name.to_owned(), arguments: arguments.to_owned() }
    }

    fn streamed(events: &[Value]) -> Option<Answer> {
        let mut stream = Stream::default();
        events.iter().try_for_each(|event| stream.event(event).ok_or(())).ok()?;
        stream.answer()
    }

    fn output() -> Value {
        json!([
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "a thought"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "name": "g", "input": "x"},
            {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
        ])
    }

    fn expected(finish: Option<&str>) -> Answer {
        let calls = vec![call("f", "{}"), call("g", "x")];
        let finish = finish.map(str::to_owned);
        Answer { text: Some("Hello".into()), refusal: Some("no".into()), finish, calls }
    }

    #[test]
    fn a_whole_answer() {
        for (end, finish) in [
            (json!({"status": "completed"}), Some("tool_calls")),
            (json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}), Some("length")),
            (
                json!({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}),
                Some("content_filter"),
            ),
            (json!({"status": "incomplete", "incomplete_details": null}), None),
            (json!({"error": null}), None),
        ] {
            let mut body = end.clone();
            body["output"] = output();
            assert_eq!(whole(&body), Some(expected(finish)), "{end}");
        }
        let text = json!({"status": "completed", "output": [{"type": "message", "content": []}]});
        assert_eq!(whole(&text), Some(Answer { finish: Some("stop".into()), ..Answer::default() }));
    }

    #[test]
    fn what_is_not_an_answer() {
        for body in [
            json!(null),
            json!({"status": "completed"}),
            json!({"status": "completed", "output": null}),
            json!({"status": "failed", "output": []}),
            json!({"status": "in_progress", "output": []}),
            json!({"error": {"message": "m"}, "output": []}),
            json!({"output": [1]}),
            json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": 1}]}]}),
            json!({"output": [{"type": "function_call", "name": "f", "arguments": {}}]}),
        ] {
            assert_eq!(whole(&body), None, "{body}");
            assert_eq!(streamed(&[json!({"type": "response.completed", "response": body})]), None, "{body}");
        }
        assert_eq!(streamed(&[]), None);
        assert_eq!(streamed(&[json!({"type": "response.created"}), json!({"type": "response.failed"})]), None);
        assert_eq!(streamed(&[json!({"type": "response.created"}), json!({"type": "error", "message": "m"})]), None);
    }

    fn parts() -> Vec<Value> {
        let event = |kind: &str, index: u64, name: &str, value: Value| json!({"type": format!("response.{kind}"), "output_index": index, name: value});
        vec![
            json!({"type": "response.created", "response": {"status": "in_progress", "output": []}}),
            event("output_item.added", 0, "item", json!({"type": "reasoning"})),
            event("reasoning_text.delta", 0, "delta", json!("a thought")),
            event("output_item.added", 1, "item", json!({"type": "message", "content": []})),
            event("output_text.delta", 1, "delta", json!("Hel")),
            event("output_text.delta", 1, "delta", json!("lo")),
            event("output_item.added", 2, "item", json!({"type": "function_call", "name": "f", "arguments": ""})),
            event("function_call_arguments.delta", 2, "delta", json!("{")),
            event("function_call_arguments.delta", 2, "delta", json!("}")),
            event("output_item.added", 3, "item", json!({"type": "custom_tool_call", "name": "g", "input": ""})),
            event("custom_tool_call_input.delta", 3, "delta", json!("x")),
            event("output_item.added", 4, "item", json!({"type": "message", "content": []})),
            event("refusal.delta", 4, "delta", json!("no")),
        ]
    }

    #[test]
    fn a_stream_is_its_last_event() {
        let mut events = parts();
        events.push(json!({"type": "response.completed", "response": {"status": "completed", "output": output()}}));
        assert_eq!(streamed(&events), Some(expected(Some("tool_calls"))));
        assert_eq!(streamed(&events[events.len() - 1..]), Some(expected(Some("tool_calls"))));
    }

    #[test]
    fn a_stream_is_its_parts_where_the_last_event_has_none() {
        let mut events = parts();
        assert_eq!(streamed(&events), Some(expected(None)));
        events.push(json!({"type": "response.completed", "response": {"status": "completed", "output": []}}));
        assert_eq!(streamed(&events), Some(expected(Some("tool_calls"))));
        let details =
            json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []});
        events.push(json!({"type": "response.incomplete", "response": details}));
        assert_eq!(streamed(&events), Some(expected(Some("length"))));
    }
}
