//! The parameters of a generation, read from a request, and the words that answer it.

use std::hash::{Hash, Hasher};

use serde_json::{Map, Value};
use siphasher::sip::SipHasher24;

use super::calls::{Call, ToolChoice, calls, make_wrong, pieces, unwanted_calls};
use super::config::{Behaviour, Fault, SimConfig};
use super::differences::{Difference, Differences, Form, Planted};
use super::quirks::{EmptyStop, Quirks};
use super::{prompt, schema, words};

/// A request, as far as the answer depends on it.
#[derive(Debug)]
pub(super) struct GenerationParams {
    quirks: &'static Quirks,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    pub(super) choices: u64,
    pub(super) top_logprobs: Option<u64>,
    stop: Vec<String>,
    pub(super) limit: Option<u64>,
    pub(super) thinking: bool,
    /// Calls of tools; an answer with calls has no text.
    pub(super) calls: Vec<Call>,
    pub(super) tool_choice: ToolChoice,
    /// True if the request offers `functions`, the older spelling of `tools`.
    pub(super) legacy: bool,
    /// Id of the newest call in the history.
    pub(super) last_call_id: Option<String>,
    /// True if a hidden first run decided against a tool.
    pub(super) has_hidden_run: bool,
    /// Text of the answer, if its form is prescribed.
    formed: Option<String>,
    /// True if the limit ends the answer inside a call, so that nothing of the call shows.
    cut: bool,
    /// The difference of this answer.
    planted: Option<Planted>,
    pub(super) prompt_tokens: u64,
    seed: u64,
}

/// The generated tokens of one choice.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) reasoning: Vec<String>,
    pub(super) tokens: Vec<String>,
    /// All tokens as the model generated them: also the tags of a thought, a stop string and the end.
    pub(super) generated: Vec<String>,
    /// Finish reason.
    pub(super) finish: &'static str,
    /// Stop string that ended it.
    pub(super) stop: Option<String>,
    /// True if the text is a refusal, for engines that have a field for it.
    pub(super) is_refusal: bool,
}

impl Output {
    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }

    /// Returns the thought, if there was one.
    pub(super) fn thought(&self) -> Option<String> {
        (!self.reasoning.is_empty()).then(|| self.reasoning.concat())
    }

    /// Number of tokens, those of the thought included.
    pub(super) fn count(&self) -> u64 {
        (self.reasoning.len() + self.tokens.len()) as u64
    }
}

/// Text of a refusal.
const REFUSAL: &str = "I'm sorry, but I can't help with that.";
const THOUGHT: [&str; 8] = ["\n", "The", " user", " wants", " an", " answer", ".", "\n"];

impl GenerationParams {
    pub(super) fn read(body: &Map<String, Value>, config: &SimConfig, quirks: &'static Quirks) -> Self {
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let options = body.get("stream_options");
        let usage = options.and_then(|options| options.get("include_usage"));
        let usage_default = quirks.usage_by_default && options.is_some_and(Value::is_object);
        let user = prompt::last_user_text(body);
        let mut hasher = SipHasher24::new_with_keys(7, 7);
        user.hash(&mut hasher);
        body.get("seed").and_then(Value::as_i64).hash(&mut hasher);
        let (calls, tool_choice) = calls(body, quirks, &user);
        let limit = limit(body, quirks);
        let length: usize = calls.iter().map(|call| pieces(&call.arguments).len() + 12).sum();
        let cut = quirks.hides_cut_calls && limit.is_some_and(|limit| limit < length as u64);
        let calls = if cut { Vec::new() } else { calls };
        let choice = body.get("tool_choice").filter(|choice| !choice.is_null());
        let unwanted = unwanted_calls(body, quirks, &user);
        let formed = if unwanted.is_empty() { schema::formed(body, quirks.format) } else { Some(as_text(&unwanted)) };
        Self {
            quirks,
            model: body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
            stream: flag(body.get("stream")),
            include_usage: usage.and_then(Value::as_bool).unwrap_or(usage_default),
            continuous_usage: flag(options.and_then(|options| options.get("continuous_usage_stats"))),
            choices: body.get("n").and_then(Value::as_u64).unwrap_or(1).clamp(1, 129),
            top_logprobs: flag(body.get("logprobs"))
                .then(|| body.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0).min(21)),
            stop: match body.get("stop") {
                Some(Value::String(text)) => vec![text.clone()],
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            },
            limit,
            thinking: prompt::thinks(body, config.template, quirks.thinking),
            has_hidden_run: quirks.has_hidden_run
                && body.get("tools").is_some_and(Value::is_array)
                && calls.is_empty()
                && choice.is_none_or(|choice| choice == "auto"),
            last_call_id: last_call_id(body),
            calls,
            tool_choice,
            legacy: body.contains_key("functions"),
            formed: if cut { Some(String::new()) } else { formed },
            cut,
            planted: None,
            prompt_tokens: (Value::Object(body.clone()).to_string().len() / 4) as u64 + 1,
            seed: hasher.finish(),
        }
    }

    /// Number of tokens of the calls.
    pub(super) fn call_tokens(&self) -> u64 {
        self.calls.iter().map(|call| pieces(&call.arguments).len() as u64 + 4).sum()
    }

    /// Number of tokens of an answer, and of its thoughts among them.
    pub(super) fn spent(&self, outputs: &[Output]) -> (u64, u64) {
        let reasoning = outputs.iter().map(|one| one.reasoning.len() as u64).sum();
        match self.calls.is_empty() {
            true => (outputs.iter().map(Output::count).sum(), reasoning),
            false => (self.call_tokens() + reasoning, reasoning),
        }
    }

    /// Generates one choice, within the request's limit.
    pub(super) fn generate(&self, choice: u64, behaviour: &Behaviour) -> Output {
        let forced_thought = behaviour.fault == Fault::ThinkInContent;
        let mut reasoning: Vec<String> = match self.thinking || forced_thought {
            true => THOUGHT.map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        let mut tokens = self.words(choice, behaviour);
        if self.thinking && !reasoning.is_empty() && self.calls.is_empty() {
            tokens.insert(0, "\n\n".to_owned());
        }
        if forced_thought || (self.quirks.thinks_in_content && self.thinking) {
            let thought = std::mem::take(&mut reasoning);
            let space = if self.thinking { None } else { Some("\n\n") };
            let around = ["<think>"].into_iter().map(str::to_owned).chain(thought);
            let around = around.chain(["</think>"].into_iter().chain(space).map(str::to_owned));
            tokens = around.chain(tokens).collect();
        }
        let mut generated = generated(&reasoning, &tokens);
        let (mut finish, mut stop) = (if self.cut { "length" } else { "stop" }, None);
        if let Some((in_thought, at, text)) = self.first_stop(&reasoning, &tokens) {
            let kept = if self.quirks.keeps_stop { at + text.len() } else { at };
            let before = if reasoning.is_empty() { 0 } else { reasoning.len() + 2 };
            generated.truncate(match in_thought {
                true => 1 + pieces_until(&reasoning, at + text.len()).len(),
                false => before + pieces_until(&tokens, at + text.len()).len(),
            });
            if in_thought {
                reasoning = pieces_until(&reasoning, kept);
                tokens.clear();
            } else {
                tokens = pieces_until(&tokens, kept);
            }
            if self.quirks.keeps_stop {
                finish = "stop_sequence";
            }
            stop = Some(text);
        }
        let half = self.has(Difference::Truncation).then(|| (reasoning.len() + tokens.len() / 2) as u64);
        if let Some(limit) = self.limit.into_iter().chain(half).min()
            && (reasoning.len() + tokens.len()) as u64 > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            generated.truncate(limit);
            reasoning.truncate(limit);
            tokens.truncate(limit.saturating_sub(reasoning.len()));
            (finish, stop) = ("length", None);
        }
        match behaviour.fault {
            Fault::AnswerAsReasoning => reasoning.append(&mut tokens),
            Fault::Abort => {
                tokens.truncate(tokens.len() / 2);
                (finish, stop) = ("abort", None);
            }
            _ => {}
        }
        Output { reasoning, tokens, generated, finish, stop, is_refusal: self.has(Difference::Refusal) }
    }

    fn words(&self, choice: u64, behaviour: &Behaviour) -> Vec<String> {
        if let Some(text) = &self.formed {
            return pieces(text);
        }
        let seed = self.seed.wrapping_add(choice).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut tokens = words::text(seed, behaviour.tokens);
        match self.planted {
            Some(Planted { difference: Difference::OtherWords, draw }) => words::paraphrase(&mut tokens, draw),
            Some(Planted { difference: Difference::Chinese, .. }) => words::chinese(&mut tokens),
            _ => {}
        }
        tokens
    }

    /// Returns whether the first stop string found is in the thought, its first byte there, and the string.
    fn first_stop(&self, reasoning: &[String], tokens: &[String]) -> Option<(bool, usize, String)> {
        let empty = self.quirks.empty_stop;
        let found = |text: &str| {
            let stops = self.stop.iter().filter(|stop| !stop.is_empty() || empty == EmptyStop::AtOnce);
            stops.filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.clone()))).min_by_key(|(at, _)| *at)
        };
        if self.stop.iter().any(String::is_empty) && empty == EmptyStop::AfterFirstToken {
            let first = tokens.first().map_or(0, String::len);
            return Some((false, first, String::new()));
        }
        if self.quirks.stops_in_thought
            && !reasoning.is_empty()
            && let Some((at, text)) = found(&reasoning.concat())
        {
            return Some((true, at, text));
        }
        found(&tokens.concat()).map(|(at, text)| (false, at, text))
    }

    /// Returns the form of the answer; `None` for a text that is prescribed and is not JSON.
    fn form(&self, body: &Map<String, Value>) -> Option<Form> {
        let Some(text) = self.formed.as_deref().filter(|_| self.calls.is_empty()) else {
            return Some(if self.calls.is_empty() { Form::Text } else { Form::Tools });
        };
        let value: Value = serde_json::from_str(text).ok()?;
        let has_required = schema::without_required(body, self.quirks.format, &value).is_some();
        let is_json = value.is_object() || value.is_array();
        is_json.then_some(if has_required { Form::Schema } else { Form::Json })
    }

    /// Plants the difference that is drawn for this answer.
    pub(super) fn plant(&mut self, differences: &Differences, body: &Map<String, Value>, number: u64) {
        let user = prompt::last_user_text(body);
        self.planted = self.form(body).and_then(|form| differences.drawn(&user, form, number));
        let Some(Planted { difference, draw }) = self.planted else { return };
        match difference {
            Difference::WrongTool => make_wrong(&mut self.calls, body, self.quirks, draw),
            Difference::Refusal => {
                self.calls.clear();
                self.formed = Some(REFUSAL.to_owned());
            }
            Difference::BrokenJson => {
                let half = |text: String| text.chars().take(text.chars().count() / 2).collect();
                self.formed = self.formed.take().map(half);
            }
            Difference::SchemaViolation => {
                let value = self.formed.as_deref().and_then(|text| serde_json::from_str(text).ok());
                let value = value.and_then(|value| schema::without_required(body, self.quirks.format, &value));
                self.formed = value.map(|value| value.to_string());
            }
            Difference::Empty => self.formed = Some(String::new()),
            Difference::OtherWords | Difference::Truncation | Difference::Chinese => {}
        }
    }

    fn has(&self, difference: Difference) -> bool {
        self.planted.is_some_and(|planted| planted.difference == difference)
    }

    /// Turns the calls into text, as a server without a tool parser leaves them.
    pub(super) fn write_calls_as_text(&mut self) {
        if !self.calls.is_empty() {
            self.formed = Some(as_text(&self.calls));
            self.calls.clear();
        }
    }
}

/// Returns calls as the model writes them.
fn as_text(calls: &[Call]) -> String {
    let text = |call: &Call| {
        format!("<tool_call>\n{{\"name\": \"{}\", \"arguments\": {}}}\n</tool_call>", call.name, call.arguments)
    };
    calls.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Returns the tokens of a thought in its tags, of a text, and of the end.
fn generated(reasoning: &[String], tokens: &[String]) -> Vec<String> {
    let (open, close) = if reasoning.is_empty() { (None, None) } else { (Some("<think>"), Some("</think>")) };
    let tag = |tag: Option<&str>| tag.map(str::to_owned);
    let thought = tag(open).into_iter().chain(reasoning.iter().cloned()).chain(tag(close));
    thought.chain(tokens.iter().cloned()).chain(tag(Some("<|im_end|>"))).collect()
}

/// Returns the tokens of the first `bytes` bytes.
fn pieces_until(tokens: &[String], bytes: usize) -> Vec<String> {
    let mut left = bytes;
    let mut kept = Vec::new();
    for token in tokens {
        if left == 0 {
            break;
        }
        let part = token.get(..left.min(token.len())).unwrap_or(token);
        left -= part.len().min(left);
        kept.push(part.to_owned());
    }
    kept
}

fn limit(body: &Map<String, Value>, quirks: &Quirks) -> Option<u64> {
    let keys = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    let limit = keys.iter().find_map(|key| whole_number(body.get(*key)?))?;
    Some(quirks.limit_step.filter(|step| limit > *step).map_or(limit, |step| limit.next_multiple_of(step)))
}

/// Reads a number as the lenient servers do: `4`, `4.0` and `"4"` are the same.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64)),
    }
}

fn last_call_id(body: &Map<String, Value>) -> Option<String> {
    let messages = body.get("messages")?.as_array()?;
    let calls = messages.iter().rev().find_map(|message| message.get("tool_calls")?.as_array()?.last());
    Some(calls?.get("id")?.as_str()?.to_owned())
}
