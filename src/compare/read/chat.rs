//! Answers of chat completions. Only the choice with index 0 counts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field::{has, list, object, text};
use crate::compare::answer::{Answer, Call};
use crate::compare::sizes::Sizes;

pub(super) fn whole(body: &Value) -> Option<Answer> {
    if has(body, "error") {
        return None;
    }
    let choice = list(body, "choices")?.iter().find(|choice| is_first(choice))?;
    let message = object(choice, "message")?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut calls = Vec::new();
    if has(message, "function_call") {
        calls.push(function(object(message, "function_call")?)?);
    }
    for call in list(message, "tool_calls")? {
        calls.push(match object(call, "custom") {
            Some(custom) => named(custom, "input")?,
            None => function(object(call, "function")?)?,
        });
    }
    Some(Answer {
        text: owned(text(message, "content")?),
        refusal: owned(text(message, "refusal")?),
        finish: owned(text(choice, "finish_reason")?),
        calls,
    })
}

fn is_first(choice: &Value) -> bool {
    choice.get("index").and_then(Value::as_u64).unwrap_or_default() == 0
}

fn function(function: &Value) -> Option<Call> {
    named(function, "arguments")
}

fn named(call: &Value, arguments: &str) -> Option<Call> {
    let arguments = text(call, arguments)?.unwrap_or_default().to_owned();
    Some(Call { name: text(call, "name")?.unwrap_or_default().to_owned(), arguments })
}

/// A stream as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Stream {
    answer: Answer,
    /// Legacy function call.
    function: Option<Call>,
    /// Tool calls by their index. Each was a part of the body at least 10 bytes long, which bounds their number.
    calls: BTreeMap<u64, Call>,
    has_begun: bool,
    sizes: Sizes,
}

impl Stream {
    /// Reads the next event; `None` if the stream is not an answer.
    pub(super) fn event(&mut self, event: &Value) -> Option<()> {
        if has(event, "error") || !event.is_object() {
            return None;
        }
        for choice in list(event, "choices")?.iter().filter(|choice| is_first(choice)) {
            self.has_begun = true;
            if let Some(finish) = text(choice, "finish_reason")? {
                self.answer.finish = Some(finish.to_owned());
            }
            if has(choice, "delta") {
                self.delta(object(choice, "delta")?)?;
            }
        }
        Some(())
    }

    fn delta(&mut self, delta: &Value) -> Option<()> {
        let sizes = &mut self.sizes;
        sizes.append(&mut self.answer.text, text(delta, "content")?);
        sizes.append(&mut self.answer.refusal, text(delta, "refusal")?);
        if has(delta, "function_call") {
            add(self.function.get_or_insert_default(), &function(object(delta, "function_call")?)?, sizes);
        }
        for (place, part) in (0..).zip(list(delta, "tool_calls")?) {
            let index = part.get("index").and_then(Value::as_u64).unwrap_or(place);
            let call = self.calls.entry(index).or_insert_with(|| {
                sizes.memory += size_of::<Call>();
                Call::default()
            });
            if let Some(custom) = object(part, "custom") {
                add(call, &named(custom, "input")?, sizes);
            } else if has(part, "function") {
                add(call, &function(object(part, "function")?)?, sizes);
            }
        }
        Some(())
    }

    pub(super) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Returns the answer; `None` if no event had the first choice.
    pub(super) fn answer(&self) -> Option<Answer> {
        let calls = || self.function.iter().chain(self.calls.values()).cloned().collect();
        self.has_begun.then(|| Answer { calls: calls(), ..self.answer.clone() })
    }
}

/// Adds a part to a call. The name comes whole; some servers repeat it.
fn add(call: &mut Call, part: &Call, sizes: &mut Sizes) {
    if call.name.is_empty() {
        sizes.push(&mut call.name, &part.name);
    }
    sizes.push(&mut call.arguments, &part.arguments);
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

    #[test]
    fn a_whole_answer() {
        let body = json!({"choices": [
            {"index": 1, "message": {"content": "other"}},
            {"index": 0, "finish_reason": "tool_calls", "message": {
                "content": null, "reasoning_content": "a thought", "refusal": "no", "function_call": {"name": "old", "arguments": "1"},
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}, {"type": "custom", "custom": {"name": "g", "input": "x"}}],
            }},
        ]});
        let calls = vec![call("old", "1"), call("f", "{}"), call("g", "x")];
        let expected = Answer { text: None, refusal: Some("no".into()), finish: Some("tool_calls".into()), calls };
        assert_eq!(whole(&body), Some(expected));
    }

    #[test]
    fn what_is_not_an_answer() {
        for body in [
            json!(null),
            json!([]),
            json!({}),
            json!({"choices": []}),
            json!({"choices": [{"index": 1, "message": {"content": "x"}}]}),
            json!({"choices": [{"index": 0, "message": 1}]}),
            json!({"choices": [{"message": {"content": 1}}]}),
            json!({"choices": [{"message": {"content": "x", "tool_calls": [{"function": "f"}]}}]}),
            json!({"choices": [{"message": {"content": "x", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}}]}),
            json!({"error": {"message": "m"}, "choices": [{"message": {"content": "x"}}]}),
        ] {
            assert_eq!(whole(&body), None, "{body}");
            let event = body.to_string().replace("message", "delta");
            assert_eq!(streamed(&[serde_json::from_str(&event).unwrap()]), None, "{event}");
        }
    }

    #[test]
    fn a_stream() {
        let chunk = |delta: Value| json!({"choices": [{"index": 0, "delta": delta}]});
        let events = [
            chunk(json!({"role": "assistant", "content": "", "reasoning_content": "a thought"})),
            chunk(json!({"content": "Hel"})),
            json!({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}]}),
            chunk(json!({"content": "lo", "refusal": "n"})),
            chunk(json!({"refusal": "o", "tool_calls": [{"index": 1, "function": {"name": "g", "arguments": "{"}}]})),
            chunk(
                json!({"tool_calls": [{"index": 0, "function": {"name": "f"}}, {"index": 1, "function": {"name": "g", "arguments": "}"}}]}),
            ),
            chunk(
                json!({"tool_calls": [{"index": 2, "type": "custom", "custom": {"name": "h", "input": "x"}}], "function_call": {"name": "old", "arguments": "1"}}),
            ),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": {}}),
        ];
        let calls = vec![call("old", "1"), call("f", ""), call("g", "{}"), call("h", "x")];
        let expected =
            Answer { text: Some("Hello".into()), refusal: Some("no".into()), finish: Some("stop".into()), calls };
        assert_eq!(streamed(&events), Some(expected));
    }

    #[test]
    fn a_stream_without_its_end_has_no_finish() {
        let answer = streamed(&[json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]})]);
        assert_eq!(answer, Some(Answer { text: Some("a".into()), ..Answer::default() }));
    }
}
