//! What every simulated server has to know: how it refuses, answers whole and in a stream, and what else it serves.

use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Said};
use super::body::Step;
use super::config::{SimConfig, Wire};
use super::{compatible, dashscope, openai, sglang, tgi, trtllm, vllm};

/// A request's body, and what else a refusal may depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) body: &'a Map<String, Value>,
    pub(super) config: &'a SimConfig,
    pub(super) path: &'a str,
    /// Bytes of the body.
    pub(super) size: usize,
}

impl Asked<'_> {
    /// A field that is there and not null.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.field(name)?.as_f64()
    }

    pub(super) fn list(&self, name: &str) -> Option<&Vec<Value>> {
        self.field(name)?.as_array()
    }

    /// Tokens of the prompt; nobody counts them here, so the bytes are taken for it.
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.size as u64 / 8 + 1
    }
}

/// What differs between two answers to the same request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) created: u64,
}

impl Stamp {
    /// Hex digits that no other part of any answer has.
    pub(super) fn hex(self, part: usize, digits: usize) -> String {
        let spread = (self.number.wrapping_add(1) ^ ((part as u64) << 48)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let whole = format!("{spread:016x}{:016x}{:016x}", spread.rotate_left(23), self.number);
        whole.chars().take(digits).collect()
    }

    pub(super) fn uuid(self) -> String {
        let [first, second, third, last] =
            [(0, 8), (1, 4), (2, 3), (3, 12)].map(|(part, digits)| self.hex(part, digits));
        format!("{first}-{second}-4{third}-8{third}-{last}")
    }
}

/// The body of a refusal.
#[derive(Debug, Clone)]
pub(super) enum Words {
    Json(Value),
    Text(String),
    Nothing,
}

/// A refused request, in the words of the server that is simulated.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) words: Words,
    /// How a streamed request is told, where that is done in a stream of status 200.
    pub(super) event: Option<Value>,
}

impl Refusal {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, words: Words::Json(body), event: None }
    }

    pub(super) fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, words: Words::Text(text.into()), event: None }
    }

    pub(super) fn silent(status: u16) -> Self {
        Self { status, words: Words::Nothing, event: None }
    }

    pub(super) fn told_in_a_stream(mut self, event: Value) -> Self {
        self.event = Some(event);
        self
    }
}

/// What a whole answer says, for headers that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) status: u16,
    pub(super) streamed: bool,
    pub(super) tokens: u64,
}

pub(super) trait Engine: Sync {
    /// Why a chat request is refused.
    fn refuse(&self, asked: &Asked<'_>) -> Option<Refusal>;

    /// Why a request of `/v1/responses` is refused; 404 where there is no such thing.
    fn refuse_response(&self, asked: &Asked<'_>) -> Option<Refusal>;

    /// Why a request of `/v1/completions` is refused.
    fn refuse_completion(&self, _asked: &Asked<'_>) -> Option<Refusal> {
        None
    }

    /// Why the answer that was made cannot be given.
    fn refuse_answer(&self, _ask: &Ask) -> Option<Refusal> {
        None
    }

    fn whole(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Value;

    /// The events of a streamed answer, in order.
    fn stream(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step>;

    fn completion(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Value {
        json!({"id": format!("cmpl-{}", stamp.hex(0, 24)), "object": "text_completion", "created": stamp.created,
            "model": ask.model, "choices": [{"text": said.text(), "index": 0, "logprobs": null,
            "finish_reason": said.finish}], "usage": {"prompt_tokens": ask.prompt_tokens,
            "completion_tokens": said.count(), "total_tokens": ask.prompt_tokens + said.count()}})
    }

    fn completion_stream(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Vec<Step> {
        let id = format!("cmpl-{}", stamp.hex(0, 24));
        let event = |text: &str, finish: Value| {
            json!({"id": id, "object": "text_completion", "created": stamp.created, "model": ask.model,
                "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]})
        };
        let mut steps: Vec<Step> =
            said.tokens.iter().map(|token| Step::event(&event(token, Value::Null), true)).collect();
        steps.push(Step::event(&event("", json!(said.finish)), false));
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal;

    /// The body is no JSON object.
    fn broken(&self, body: &[u8], path: &str) -> Refusal;

    /// The content type is not JSON; `None` where nobody looks.
    fn foreign(&self, _path: &str) -> Option<Refusal> {
        None
    }

    /// How a stream tells of an error that came late.
    fn broken_off(&self) -> Vec<Step> {
        match self.by_status(500).words {
            Words::Json(body) => vec![Step::event(&body, false)],
            Words::Text(_) | Words::Nothing => Vec::new(),
        }
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value;

    /// Why there is no model of this name.
    fn no_model(&self, _name: &str) -> Refusal {
        self.by_status(404)
    }

    fn headers(&self, headers: &mut HeaderMap, sent: Sent, stamp: Stamp);

    fn event_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
}

pub(super) fn of(wire: Wire) -> &'static dyn Engine {
    match wire {
        Wire::OpenAi => &openai::OpenAi,
        Wire::Vllm => &vllm::Vllm,
        Wire::Sglang => &sglang::Sglang,
        Wire::Trtllm => &trtllm::Trtllm,
        Wire::Tgi => &tgi::Tgi,
        Wire::DashScope => &dashscope::DashScope,
        Wire::Compatible => &compatible::Compatible,
    }
}

/// What uvicorn adds.
pub(super) fn uvicorn(headers: &mut HeaderMap) {
    headers.insert("server", HeaderValue::from_static("uvicorn"));
    headers.insert("vary", HeaderValue::from_static("Origin"));
}

/// What FastAPI says of a path or method that it does not know.
pub(super) fn detail(status: u16) -> Refusal {
    let text = if status == 404 { "Not Found" } else { "Method Not Allowed" };
    Refusal::json(status, json!({"detail": text}))
}

/// What FastAPI's servers say without a key.
pub(super) fn unauthorized() -> Refusal {
    Refusal::json(401, json!({"error": "Unauthorized"}))
}
