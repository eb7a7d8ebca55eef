//! The interface of a simulated engine: how it refuses, how it answers whole and in a stream, and what else it serves.

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::config::{Load, SimConfig};
use super::metrics::{Measurements, MetricsPage};
use super::params::{GenerationParams, Output};
use super::prompt;
use super::quirks::Quirks;
use super::responses::Dialect;
use super::stamp::Stamp;
use super::step::Step;

/// A request whose body is a JSON object, as far as a refusal depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiRequest<'a> {
    pub(super) body: &'a Map<String, Value>,
    pub(super) config: &'a SimConfig,
    pub(super) path: &'a str,
    /// Length of the body, in bytes.
    pub(super) size: usize,
}

impl ApiRequest<'_> {
    /// Returns a field that is present and not null.
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

    /// Returns the tokens of the prompt, as the chat template writes it.
    pub(super) fn prompt_tokens(&self) -> u64 {
        prompt::tokens(self.body)
    }
}

/// The body of a refusal.
#[derive(Debug, Clone)]
pub(super) enum RefusalBody {
    Json(Value),
    Text(String),
    Empty,
}

/// An error answer in the form of the simulated engine.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: RefusalBody,
    /// Event that reports it to a streamed request, for engines that then answer with status 200.
    pub(super) event: Option<Value>,
}

impl Refusal {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, body: RefusalBody::Json(body), event: None }
    }

    pub(super) fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, body: RefusalBody::Text(text.into()), event: None }
    }

    /// A refusal without a body.
    pub(super) fn empty(status: u16) -> Self {
        Self { status, body: RefusalBody::Empty, event: None }
    }

    /// Adds the event that reports it to a streamed request.
    pub(super) fn in_stream(mut self, event: Value) -> Self {
        self.event = Some(event);
        self
    }
}

/// Facts about an answer that its headers show.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerSummary {
    pub(super) status: u16,
    pub(super) is_stream: bool,
    pub(super) tokens: u64,
}

/// An answer that is not sent yet.
#[derive(Debug)]
pub(super) enum Reply {
    /// A JSON body, and the number of tokens generated for it.
    Whole(Value, u64),
    Stream(Vec<Step>),
    /// A refusal, and its `retry-after` in seconds.
    Refused(Refusal, Option<u32>),
    /// A page in Prometheus' format.
    Page(String),
    /// Status 200 without a body.
    Empty,
}

/// A simulated engine.
pub(super) trait Simulator: Sync {
    /// Returns the differences that the shared code has to know.
    fn quirks(&self) -> &'static Quirks;

    /// Returns the refusal of a chat request.
    fn refuse(&self, request: &ApiRequest<'_>) -> Option<Refusal>;

    /// Returns the refusal of a request of `/v1/responses`: 404 unless the engine serves that path.
    fn refuse_response(&self, _request: &ApiRequest<'_>) -> Option<Refusal> {
        Some(self.by_status(404))
    }

    /// Returns the dialect of `/v1/responses`, if the engine serves that path.
    fn responses(&self) -> Option<&'static Dialect> {
        None
    }

    /// Returns the refusal of a request of `/v1/completions`.
    fn refuse_completion(&self, _asked: &ApiRequest<'_>) -> Option<Refusal> {
        None
    }

    /// Returns the refusal of a request whose generation failed.
    fn refuse_answer(&self, _params: &GenerationParams) -> Option<Refusal> {
        None
    }

    /// Returns a whole chat answer.
    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value;

    /// Returns the events of a streamed chat answer.
    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step>;

    /// Returns a whole answer of `/v1/completions`.
    fn completion(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Value {
        json!({"id": format!("cmpl-{}", stamp.hex(0, 24)), "object": "text_completion", "created": stamp.created,
            "model": params.model, "choices": [{"text": output.text(), "index": 0, "logprobs": null,
            "finish_reason": output.finish}], "usage": {"prompt_tokens": params.prompt_tokens,
            "completion_tokens": output.count(), "total_tokens": params.prompt_tokens + output.count()}})
    }

    /// Returns the events of a streamed answer of `/v1/completions`.
    fn completion_stream(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<Step> {
        let id = format!("cmpl-{}", stamp.hex(0, 24));
        let event = |text: &str, finish: Value| {
            json!({"id": id, "object": "text_completion", "created": stamp.created, "model": params.model,
                "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]})
        };
        let mut steps: Vec<Step> =
            output.tokens.iter().map(|token| Step::event(&event(token, Value::Null), true)).collect();
        steps.push(Step::event(&event("", json!(output.finish)), false));
        steps.push(Step::done());
        steps
    }

    /// Returns the usual refusal with this status.
    fn by_status(&self, status: u16) -> Refusal;

    /// Returns the refusal of a body that is not a JSON object.
    fn refuse_body(&self, body: &[u8], path: &str) -> Refusal;

    /// Returns the refusal of a content type other than JSON; `None` if the engine ignores the content type.
    fn refuse_content_type(&self, _path: &str) -> Option<Refusal> {
        None
    }

    /// Returns the events that report an error in the middle of a stream.
    fn late_error(&self) -> Vec<Step> {
        match self.by_status(500).body {
            RefusalBody::Json(body) => vec![Step::event(&body, false)],
            RefusalBody::Text(_) | RefusalBody::Empty => Vec::new(),
        }
    }

    /// Returns the list of models.
    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value;

    /// Returns the refusal of `/v1/models/NAME` for a name that is not served.
    fn unknown_model(&self, _name: &str) -> Refusal {
        self.by_status(404)
    }

    /// Returns the answer to a GET that needs no key: health, version, load.
    fn open_page(&self, _path: &str, _config: &SimConfig, _load: Load) -> Option<Reply> {
        None
    }

    /// Returns the answer to a path that this engine serves beside the common ones.
    fn other_path(&self, _method: &Method, _path: &str, _body: &Map<String, Value>) -> Option<Reply> {
        None
    }

    /// Writes the metrics page, at [`Quirks::metrics_path`].
    fn write_metrics(&self, _page: &mut MetricsPage, _measured: &Measurements<'_>) {}

    /// Adds the headers of this engine.
    fn headers(&self, headers: &mut HeaderMap, sent: AnswerSummary, stamp: Stamp);

    /// Returns the content type of a stream.
    fn event_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
}

/// Adds the headers of uvicorn.
pub(super) fn uvicorn_headers(headers: &mut HeaderMap) {
    headers.insert("server", HeaderValue::from_static("uvicorn"));
    headers.insert("vary", HeaderValue::from_static("Origin"));
}

/// Returns FastAPI's refusal of an unknown path (404) or method (405).
pub(super) fn fastapi_refusal(status: u16) -> Refusal {
    let text = if status == 404 { "Not Found" } else { "Method Not Allowed" };
    Refusal::json(status, json!({"detail": text}))
}

/// Returns the refusal of FastAPI servers without the right key.
pub(super) fn unauthorized() -> Refusal {
    Refusal::json(401, json!({"error": "Unauthorized"}))
}
