//! The answers of `/v1/responses`: one skeleton and one sequence of events, in the dialect of an engine.

use serde_json::{Map, Value, json};

use super::calls::{Call, pieces};
use super::params::{GenerationParams, Output};
use super::stamp::Stamp;
use super::step::Step;

/// Differences between the engines that serve `/v1/responses`.
pub(super) struct Dialect {
    /// Hex digits of an id.
    pub(super) id_digits: usize,
    /// Hex digits of the id of a call.
    pub(super) call_digits: usize,
    /// True if a thought in a whole answer has a status.
    pub(super) thought_has_status: bool,
    /// `content` of a thought that begins.
    pub(super) open_thought: fn() -> Value,
    /// `phase` of a text: of the last one, and of another.
    pub(super) phases: Option<[Option<&'static str>; 2]>,
    /// `logprobs` of a text.
    pub(super) logprobs: fn() -> Value,
    /// `logprobs` of a text that begins.
    pub(super) open_logprobs: fn() -> Value,
    /// True if a refusal has a content part of its own; otherwise it is a text.
    pub(super) has_refusals: bool,
    /// True if a stream shows the space between a thought and a call as a text.
    pub(super) shows_space: bool,
    /// True if the last event of a call's arguments names the function.
    pub(super) names_call: bool,
    /// True if an answer that was cut ends with `response.incomplete`.
    pub(super) has_incomplete_event: bool,
    /// Returns the details of input and output tokens; takes the tokens of the thought.
    pub(super) usage_details: fn(u64) -> (Value, Value),
    /// Returns the fields that not every engine has; takes the error.
    pub(super) settings: fn(&RequestFields<'_>, Value) -> Value,
    /// Returns a tool as the answer repeats it.
    pub(super) tool: fn(&Value) -> Value,
}

/// Fields of the request, which the answer repeats.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestFields<'a>(pub(super) &'a Map<String, Value>);

impl RequestFields<'_> {
    /// Returns a field, or null.
    pub(super) fn field(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Returns a field, or `default` if it is absent or null.
    pub(super) fn or(&self, name: &str, default: Value) -> Value {
        self.0.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default)
    }
}

/// Returns the token details of an engine that has no others.
pub(super) fn plain_usage_details(reasoning: u64) -> (Value, Value) {
    (json!({"cached_tokens": 0}), json!({"reasoning_tokens": reasoning}))
}

/// Returns the settings that vLLM and TensorRT-LLM have in common.
pub(super) fn common_settings(fields: &RequestFields<'_>) -> Value {
    let has_tools = fields.field("tools").as_array().is_some_and(|tools| !tools.is_empty());
    let choice = if has_tools { "auto" } else { "none" };
    json!({"background": false, "max_tool_calls": null, "metadata": null, "prompt": null, "reasoning": null,
        "service_tier": "auto", "temperature": fields.or("temperature", json!(1.0)), "text": fields.field("text"),
        "tool_choice": fields.or("tool_choice", json!(choice)), "top_logprobs": null, "top_p": 1.0})
}

/// Returns a tool with `strict`, which is true by default.
pub(super) fn plain_tool(tool: &Value) -> Value {
    json!({"type": tool["type"], "name": tool["name"], "description": tool["description"],
        "parameters": tool["parameters"], "strict": tool.get("strict").cloned().unwrap_or(json!(true))})
}

/// One answer under construction.
pub(super) struct Responses<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) body: &'a Map<String, Value>,
    pub(super) params: &'a GenerationParams,
    pub(super) output: &'a Output,
    pub(super) stamp: Stamp,
}

/// An entry of `output`.
#[derive(Debug)]
enum Item<'a> {
    Thought(Vec<String>),
    Text { tokens: Vec<String>, last: bool },
    Call(&'a Call),
}

impl Responses<'_> {
    pub(super) fn whole(&self) -> Value {
        let items = self.items(false);
        let output = items.iter().enumerate().map(|(at, item)| {
            let mut value = self.item(item, at, true);
            if !self.dialect.thought_has_status && matches!(item, Item::Thought(_)) {
                value["status"] = Value::Null;
            }
            value
        });
        self.response(self.status(), Value::Array(output.collect()), self.usage(), Value::Null)
    }

    pub(super) fn stream(&self) -> Vec<Step> {
        let mut events = Events { steps: Vec::new(), number: 0 };
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", json!([]), Value::Null, Value::Null);
            events.push(json!({"type": kind, "response": response}), false);
        }
        let items = self.items(true);
        for (at, item) in items.iter().enumerate() {
            let added = json!({"type": "response.output_item.added", "output_index": at,
                "item": self.item(item, at, false)});
            events.push(added, false);
            match item {
                Item::Thought(tokens) => self.parts(&mut events, item, at, tokens),
                Item::Text { tokens, .. } => self.parts(&mut events, item, at, tokens),
                Item::Call(call) => self.arguments(&mut events, call, at),
            }
            let done =
                json!({"type": "response.output_item.done", "output_index": at, "item": self.item(item, at, true)});
            events.push(done, false);
        }
        let output = items.iter().enumerate().map(|(at, item)| self.item(item, at, true)).collect();
        let response = self.response(self.status(), Value::Array(output), self.usage(), Value::Null);
        let is_cut = self.dialect.has_incomplete_event && self.status() == "incomplete";
        let kind = if is_cut { "response.incomplete" } else { "response.completed" };
        events.push(json!({"type": kind, "response": response}), false);
        events.steps
    }

    /// Returns the events of a stream that fails at once.
    pub(super) fn failed(&self, error: &Value) -> Vec<Step> {
        let mut events = Events { steps: Vec::new(), number: 0 };
        for (kind, status, error) in [
            ("response.created", "in_progress", Value::Null),
            ("response.in_progress", "in_progress", Value::Null),
            ("response.failed", "failed", error.clone()),
        ] {
            let response = self.response(status, json!([]), Value::Null, error);
            events.push(json!({"type": kind, "response": response}), false);
        }
        events.steps
    }

    fn items(&self, streamed: bool) -> Vec<Item<'_>> {
        let mut items = Vec::new();
        let thinks = !self.output.reasoning.is_empty();
        if thinks {
            items.push(Item::Thought(self.output.reasoning.clone()));
        }
        if self.params.calls.is_empty() {
            if !self.output.tokens.is_empty() {
                items.push(Item::Text { tokens: self.output.tokens.clone(), last: true });
            }
            return items;
        }
        if self.dialect.shows_space && streamed && thinks {
            items.push(Item::Text { tokens: vec!["\n\n".to_owned()], last: false });
        }
        items.extend(self.params.calls.iter().map(Item::Call));
        items
    }

    fn status(&self) -> &'static str {
        if self.output.finish == "length" && self.params.calls.is_empty() { "incomplete" } else { "completed" }
    }

    fn id(&self, prefix: &str, at: usize) -> String {
        let digits = if prefix == "fc" { self.dialect.call_digits } else { self.dialect.id_digits };
        format!("{prefix}_{}", self.stamp.hex(at, digits))
    }

    fn item(&self, item: &Item<'_>, at: usize, done: bool) -> Value {
        let status = if done { "completed" } else { "in_progress" };
        match item {
            Item::Thought(tokens) => {
                let content = match done {
                    true => json!([{"text": tokens.concat(), "type": "reasoning_text"}]),
                    false => (self.dialect.open_thought)(),
                };
                let include = self.body.get("include").and_then(Value::as_array);
                let sealed =
                    done && include.is_some_and(|all| all.iter().any(|one| one == "reasoning.encrypted_content"));
                // A real server packs the thought into it.
                let sealed = sealed.then(|| format!("sglang-reasoning-v1.{}", self.stamp.hex(at, 24)));
                json!({"id": self.id("rs", at + 1), "summary": [], "type": "reasoning", "content": content,
                    "encrypted_content": sealed, "status": status})
            }
            Item::Text { tokens, last } => {
                let content = if done { json!([self.part(&tokens.concat())]) } else { json!([]) };
                let mut value = json!({"id": self.id("msg", at + 1), "content": content, "role": "assistant",
                    "status": status, "type": "message"});
                if let Some([of_last, of_other]) = self.dialect.phases {
                    value["phase"] = json!(if *last { of_last } else { of_other });
                }
                value
            }
            Item::Call(call) => {
                let arguments = if done { call.arguments.as_str() } else { "" };
                json!({"arguments": arguments, "call_id": format!("call_{}", self.stamp.hex(at + 1, 24)),
                    "name": call.name, "type": "function_call", "id": self.id("fc", at + 1), "status": status})
            }
        }
    }

    fn is_refusal(&self) -> bool {
        self.dialect.has_refusals && self.output.is_refusal
    }

    fn part(&self, text: &str) -> Value {
        if self.is_refusal() { refusal_part(text) } else { text_part(text, (self.dialect.logprobs)()) }
    }

    fn parts(&self, events: &mut Events, item: &Item<'_>, at: usize, tokens: &[String]) {
        let thought = matches!(item, Item::Thought(_));
        let refused = !thought && self.is_refusal();
        let (id, family) = match (thought, refused) {
            (true, _) => (self.id("rs", at + 1), "reasoning_text"),
            (false, true) => (self.id("msg", at + 1), "refusal"),
            (false, false) => (self.id("msg", at + 1), "output_text"),
        };
        let event = |kind: &str, mut more: Value| {
            more["type"] = json!(kind);
            more["content_index"] = json!(0);
            more["item_id"] = json!(id);
            more["output_index"] = json!(at);
            if !thought && kind.starts_with("response.output_text") {
                more["logprobs"] = json!([]);
            }
            more
        };
        let part = |text: &str, added: bool| match (thought, added) {
            (true, _) => json!({"text": text, "type": "reasoning_text"}),
            (false, true) if refused => refusal_part(text),
            (false, true) => text_part(text, (self.dialect.open_logprobs)()),
            (false, false) => self.part(text),
        };
        let text = tokens.concat();
        events.push(event("response.content_part.added", json!({"part": part("", true)})), false);
        for token in tokens {
            events.push(event(&format!("response.{family}.delta"), json!({"delta": token})), true);
        }
        let whole = if refused { json!({"refusal": text}) } else { json!({"text": text}) };
        events.push(event(&format!("response.{family}.done"), whole), false);
        events.push(event("response.content_part.done", json!({"part": part(&text, false)})), false);
    }

    fn arguments(&self, events: &mut Events, call: &Call, at: usize) {
        let id = self.id("fc", at + 1);
        for part in pieces(&call.arguments) {
            let kind = "response.function_call_arguments.delta";
            events.push(json!({"type": kind, "delta": part, "item_id": id, "output_index": at}), true);
        }
        let kind = "response.function_call_arguments.done";
        let mut done = json!({"type": kind, "arguments": call.arguments, "item_id": id, "output_index": at});
        if self.dialect.names_call {
            done["name"] = json!(call.name);
        }
        events.push(done, false);
    }

    fn usage(&self) -> Value {
        let (output, reasoning) = self.params.spent(std::slice::from_ref(self.output));
        let input = self.params.prompt_tokens;
        let (inputs, outputs) = (self.dialect.usage_details)(reasoning);
        json!({"input_tokens": input, "input_tokens_details": inputs, "output_tokens": output,
            "output_tokens_details": outputs, "total_tokens": input + output})
    }

    /// Returns the skeleton, then the settings of the dialect.
    fn response(&self, status: &str, output: Value, usage: Value, error: Value) -> Value {
        let fields = RequestFields(self.body);
        let model = if self.params.model.is_empty() { "default" } else { &self.params.model };
        let cut = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
        let mut value = json!({"id": self.id("resp", 0), "object": "response", "created_at": self.stamp.created,
            "model": model, "output": output, "status": status, "usage": usage, "incomplete_details": cut,
            "instructions": fields.field("instructions"), "max_output_tokens": fields.field("max_output_tokens"),
            "parallel_tool_calls": fields.or("parallel_tool_calls", json!(true)),
            "previous_response_id": null, "tools": self.tools(), "truncation": "disabled", "user": null});
        for (name, field) in (self.dialect.settings)(&fields, error).as_object().into_iter().flatten() {
            value[name.as_str()] = field.clone();
        }
        value
    }

    fn tools(&self) -> Value {
        let tools = self.body.get("tools").and_then(Value::as_array);
        Value::Array(tools.into_iter().flatten().map(self.dialect.tool).collect())
    }
}

fn text_part(text: &str, logprobs: Value) -> Value {
    json!({"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs})
}

fn refusal_part(text: &str) -> Value {
    json!({"refusal": text, "type": "refusal"})
}

/// Events of one stream, numbered.
struct Events {
    steps: Vec<Step>,
    number: u64,
}

impl Events {
    fn push(&mut self, mut event: Value, is_token: bool) {
        event["sequence_number"] = json!(self.number);
        self.number += 1;
        self.steps.push(Step::named(&event, is_token));
    }
}
