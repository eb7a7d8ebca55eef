//! The answers of `/v1/responses`: one skeleton and one sequence of events, in four dialects.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Call, Said, pieces};
use super::body::Step;
use super::config::Wire;
use super::engine::Stamp;

/// One answer on its way: who says it, to what, and what it is.
pub(super) struct Responses<'a> {
    pub(super) wire: Wire,
    pub(super) body: &'a Map<String, Value>,
    pub(super) ask: &'a Ask,
    pub(super) said: &'a Said,
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
            // What is told at once has no status of its own there.
            if self.wire == Wire::Vllm && matches!(item, Item::Thought(_)) {
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
        let ended = self.wire == Wire::OpenAi && self.status() == "incomplete";
        let kind = if ended { "response.incomplete" } else { "response.completed" };
        events.push(json!({"type": kind, "response": response}), false);
        events.steps
    }

    /// How SGLang tells a stream that its input is too long.
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
        let thinks = !self.said.reasoning.is_empty();
        if thinks {
            items.push(Item::Thought(self.said.reasoning.clone()));
        }
        if self.ask.calls.is_empty() {
            if !self.said.tokens.is_empty() {
                items.push(Item::Text { tokens: self.said.tokens.clone(), last: true });
            }
            return items;
        }
        // The space between thought and call shows in SGLang's streams.
        if self.wire == Wire::Sglang && streamed && thinks {
            items.push(Item::Text { tokens: vec!["\n\n".to_owned()], last: false });
        }
        items.extend(self.ask.calls.iter().map(Item::Call));
        items
    }

    fn status(&self) -> &'static str {
        if self.said.finish == "length" && self.ask.calls.is_empty() { "incomplete" } else { "completed" }
    }

    fn id(&self, prefix: &str, at: usize) -> String {
        let digits = match self.wire {
            Wire::OpenAi => 48,
            Wire::Vllm => 16,
            _ if prefix == "fc" => 8,
            _ => 32,
        };
        format!("{prefix}_{}", self.stamp.hex(at, digits))
    }

    fn item(&self, item: &Item<'_>, at: usize, done: bool) -> Value {
        let status = if done { "completed" } else { "in_progress" };
        match item {
            Item::Thought(tokens) => {
                let content = match (done, self.wire) {
                    (true, _) => json!([{"text": tokens.concat(), "type": "reasoning_text"}]),
                    (false, Wire::Sglang) => json!([]),
                    (false, _) => Value::Null,
                };
                let include = self.body.get("include").and_then(Value::as_array);
                let sealed =
                    done && include.is_some_and(|all| all.iter().any(|one| one == "reasoning.encrypted_content"));
                // It is the thought, only packed.
                let sealed = sealed.then(|| format!("sglang-reasoning-v1.{}", self.stamp.hex(at, 24)));
                json!({"id": self.id("rs", at + 1), "summary": [], "type": "reasoning", "content": content,
                    "encrypted_content": sealed, "status": status})
            }
            Item::Text { tokens, last } => {
                let content = if done { json!([self.part(&tokens.concat())]) } else { json!([]) };
                let mut value = json!({"id": self.id("msg", at + 1), "content": content, "role": "assistant",
                    "status": status, "type": "message"});
                match self.wire {
                    Wire::Vllm => value["phase"] = Value::Null,
                    Wire::Sglang => value["phase"] = json!(if *last { "final_answer" } else { "commentary" }),
                    _ => {}
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

    fn part(&self, text: &str) -> Value {
        let logprobs = if self.wire == Wire::OpenAi { json!([]) } else { Value::Null };
        json!({"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs})
    }

    fn parts(&self, events: &mut Events, item: &Item<'_>, at: usize, tokens: &[String]) {
        let thought = matches!(item, Item::Thought(_));
        let (id, family) =
            if thought { (self.id("rs", at + 1), "reasoning_text") } else { (self.id("msg", at + 1), "output_text") };
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
        let part = |text: &str, added: bool| match (thought, self.wire) {
            (true, _) => json!({"text": text, "type": "reasoning_text"}),
            (false, Wire::Vllm) if added => {
                json!({"annotations": [], "text": text, "type": "output_text", "logprobs": []})
            }
            (false, _) => self.part(text),
        };
        let text = tokens.concat();
        events.push(event("response.content_part.added", json!({"part": part("", true)})), false);
        for token in tokens {
            events.push(event(&format!("response.{family}.delta"), json!({"delta": token})), true);
        }
        events.push(event(&format!("response.{family}.done"), json!({"text": text})), false);
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
        if self.wire == Wire::Sglang {
            done["name"] = json!(call.name);
        }
        events.push(done, false);
    }

    fn usage(&self) -> Value {
        let (output, reasoning) = self.ask.spent(std::slice::from_ref(self.said));
        let input = self.ask.prompt_tokens;
        let (mut inputs, mut outputs) = (json!({"cached_tokens": 0}), json!({"reasoning_tokens": reasoning}));
        match self.wire {
            Wire::Sglang | Wire::OpenAi => inputs["cache_write_tokens"] = json!(0),
            Wire::Vllm => {
                inputs = json!({"cached_tokens": 0, "cache_write_tokens": 0, "input_tokens_per_turn": [],
                    "cached_tokens_per_turn": []});
                outputs = json!({"reasoning_tokens": reasoning, "tool_output_tokens": 0,
                    "output_tokens_per_turn": [], "tool_output_tokens_per_turn": []});
            }
            _ => {}
        }
        json!({"input_tokens": input, "input_tokens_details": inputs, "output_tokens": output,
            "output_tokens_details": outputs, "total_tokens": input + output})
    }

    /// What every dialect has.
    fn response(&self, status: &str, output: Value, usage: Value, error: Value) -> Value {
        let field = |name: &str| self.body.get(name).cloned().unwrap_or_default();
        let given = |name: &str| self.body.get(name).filter(|value| !value.is_null()).cloned();
        let model = if self.ask.model.is_empty() { "default" } else { &self.ask.model };
        let cut = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
        let chosen = |default: &str| given("tool_choice").unwrap_or_else(|| json!(default));
        let mut value = json!({"id": self.id("resp", 0), "object": "response", "created_at": self.stamp.created,
            "model": model, "output": output, "status": status, "usage": usage, "incomplete_details": cut,
            "instructions": field("instructions"), "max_output_tokens": field("max_output_tokens"),
            "parallel_tool_calls": given("parallel_tool_calls").unwrap_or(json!(true)),
            "previous_response_id": null, "tools": self.tools(), "truncation": "disabled", "user": null});
        let temperature = given("temperature");
        let more = match self.wire {
            Wire::OpenAi => json!({"background": false, "error": error, "max_tool_calls": null, "metadata": {},
                "prompt_cache_key": null, "reasoning": {"effort": null, "summary": null}, "safety_identifier": null,
                "service_tier": "default", "store": given("store").unwrap_or(json!(true)),
                "temperature": temperature.unwrap_or_else(|| json!(1.0)),
                "text": {"format": self.format(), "verbosity": "medium"}, "tool_choice": chosen("auto"),
                "top_logprobs": 0, "top_p": 1.0}),
            Wire::Sglang => json!({"error": error, "metadata": {}, "reasoning": {"effort": null, "summary": null},
                "store": given("store").unwrap_or(json!(true)),
                "temperature": temperature, "text": field("text"),
                "tool_choice": chosen("auto"), "top_p": field("top_p")}),
            _ => {
                let default =
                    if field("tools").as_array().is_some_and(|tools| !tools.is_empty()) { "auto" } else { "none" };
                json!({"background": false, "max_tool_calls": null, "metadata": null, "prompt": null,
                    "reasoning": null, "service_tier": "auto", "temperature": temperature.unwrap_or_else(|| json!(1.0)),
                    "text": field("text"), "tool_choice": chosen(default), "top_logprobs": null, "top_p": 1.0})
            }
        };
        let vllm = match self.wire {
            Wire::Vllm => json!({"presence_penalty": 0.0, "frequency_penalty": 0.0, "kv_transfer_params": null,
                "ec_transfer_params": null, "input_messages": null, "output_messages": null}),
            _ => json!({}),
        };
        for (name, field) in [more, vllm].iter().filter_map(Value::as_object).flatten() {
            value[name.as_str()] = field.clone();
        }
        value
    }

    fn format(&self) -> Value {
        let format = self.body.get("text").and_then(|text| text.get("format"));
        format.cloned().unwrap_or_else(|| json!({"type": "text"}))
    }

    fn tools(&self) -> Value {
        let tools = self.body.get("tools").and_then(Value::as_array);
        let each = tools.into_iter().flatten().map(|tool| match self.wire {
            Wire::Sglang => json!({"type": tool["type"], "name": tool["name"], "description": tool["description"],
                "parameters": tool["parameters"], "strict": tool.get("strict").cloned().unwrap_or(json!(false)),
                "tools": null, "defer_loading": null, "format": null}),
            _ => json!({"type": tool["type"], "name": tool["name"], "description": tool["description"],
                "parameters": tool["parameters"], "strict": tool.get("strict").cloned().unwrap_or(json!(true))}),
        });
        Value::Array(each.collect())
    }
}

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
