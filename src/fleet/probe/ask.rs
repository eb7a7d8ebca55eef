//! The probe's requests, as an application writes them and as the backend gets them.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::call::inbound;
use super::feature::Feature;
use crate::backend::Target;
use crate::config::{Backend, WordingMode};
use crate::exchange::{Plan, PlanError};
use crate::model::Family;
use crate::outcome::Role;
use crate::translate::{Action, Ledger, TranslateError};

/// Longest context, in tokens, that is tested with a prompt above it; prompts for longer contexts are too large.
const LONGEST_CONTEXT: u64 = 262_144;
/// Words sent per token of the context: tokenizers never make one token of two of them.
const TOO_MANY: u64 = 2;

/// One request to a backend.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) plan: Plan,
    /// True if the translation changed the fields under test.
    pub(super) is_translated: bool,
}

/// The backend under test, and the names of its model.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) target: &'a Arc<Target>,
    pub(super) role: Role,
    /// Model name that an application uses.
    pub(super) model: String,
    /// Model name that the server uses.
    pub(super) served: String,
    /// Longest context in tokens, if known.
    pub(super) context: Option<u64>,
}

/// Returns the model to test: one named in the file, else the server's first.
pub(super) fn model_of(backend: &Backend, served: &[String]) -> (String, String) {
    let app_name = |pattern: &str| {
        let name = pattern.replace('*', "");
        if name.is_empty() { "gpt-4o-mini".to_owned() } else { name }
    };
    let mapped = backend.models.iter().find(|(_, name)| served.contains(name)).or_else(|| backend.models.first());
    if let Some((pattern, name)) = mapped {
        let app = app_name(pattern.as_str());
        // Another pattern may match the name better.
        let name = backend.model_for(&app).unwrap_or(name).to_owned();
        return (app, name);
    }
    let small = served.iter().find(|name| *name == "gpt-4o-mini").or_else(|| served.first());
    let name = small.cloned().unwrap_or_else(|| "gpt-4o-mini".to_owned());
    (name.clone(), name)
}

impl Asker<'_> {
    /// Builds the requests for a feature; all have to succeed. `Err` is the reason for not sending any.
    pub(super) fn requests(&self, feature: Feature) -> Result<Vec<Sent>, &'static str> {
        match feature {
            Feature::Models => Ok(Vec::new()),
            Feature::ErrorShape => {
                let mut body = self.chat(&[("user", "Hello.")], 4);
                body["temperature"] = json!("hot");
                Ok(vec![self.raw(body)?])
            }
            Feature::Context => self.too_long().map(|body| self.raw(body)).into_iter().collect(),
            Feature::Responses if !self.target.config.engine.facts().has_responses => {
                Err("the server has no such path")
            }
            Feature::Responses => {
                let body = json!({"model": self.model, "input": "Say hello.", "store": false, "max_output_tokens": 64});
                Ok(vec![self.translated(feature, &body)?])
            }
            Feature::Thinking if self.is_hybrid() => {
                let question = [("user", "What is two and two?")];
                let off = self.chat(&question, 64);
                let mut on = self.chat(&question, 512);
                on["reasoning_effort"] = json!("low");
                Ok(vec![self.translated(feature, &off)?, self.translated(feature, &on)?])
            }
            _ => Ok(vec![self.translated(feature, &self.body(feature))?]),
        }
    }

    fn body(&self, feature: Feature) -> Value {
        let question = [("user", "What is two and two?")];
        match feature {
            Feature::Developer => self.chat(&[("developer", "Answer in one word."), question[0]], 32),
            Feature::LateSystem => {
                let turns = [("system", "Be brief."), ("user", "Hello."), ("assistant", "Hello.")];
                self.chat(&[turns.as_slice(), &[("system", "Answer in one word."), question[0]]].concat(), 32)
            }
            Feature::Tools | Feature::ToolsStreamed => {
                let mut body = self.chat(&[("user", "What is the weather in Paris? Call the tool get_weather.")], 128);
                body["tools"] = json!([{"type": "function", "function": {
                    "name": "get_weather", "description": "The weather in a city just now.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
                }}]);
                if feature == Feature::ToolsStreamed {
                    body["stream"] = json!(true);
                }
                body
            }
            Feature::JsonObject => {
                let mut body =
                    self.chat(&[("user", "Give the capital of France as a JSON object, in the field city.")], 64);
                body["response_format"] = json!({"type": "json_object"});
                body
            }
            Feature::JsonSchema => {
                let mut body = self.chat(&[("user", "Give the capital of France as JSON.")], 64);
                // A code that models do not produce unprompted.
                body["response_format"] = json!({"type": "json_schema", "json_schema": {
                    "name": "capital", "strict": true, "schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}, "code": {"type": "string", "enum": [CODE]}},
                        "required": ["city", "code"], "additionalProperties": false
                    }
                }});
                body
            }
            Feature::Usage => {
                let mut body = self.chat(&question, 8);
                body["stream"] = json!(true);
                body["stream_options"] = json!({"include_usage": true});
                body
            }
            Feature::Models | Feature::Thinking | Feature::ErrorShape | Feature::Context | Feature::Responses => {
                self.chat(&question, 32)
            }
        }
    }

    fn chat(&self, turns: &[(&str, &str)], tokens: u32) -> Value {
        let messages: Vec<Value> =
            turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        let mut body = json!({"model": self.model, "messages": messages, "max_completion_tokens": tokens});
        if !self.target.config.engine.facts().speaks_openai {
            body["temperature"] = json!(0);
        }
        if self.is_hybrid() {
            body["reasoning_effort"] = json!("none");
        }
        body
    }

    /// True if the backend's own wording replaces every system and developer message.
    pub(super) fn replaces_system(&self) -> bool {
        self.target.config.system.as_ref().is_some_and(|wording| wording.mode == WordingMode::Replace)
    }

    /// True if its model reasons only on request.
    fn is_hybrid(&self) -> bool {
        matches!(self.target.config.family, Some(Family::Qwen3 | Family::Qwen35 | Family::Qwen38))
    }

    fn too_long(&self) -> Option<Value> {
        let words = self.context.filter(|length| *length <= LONGEST_CONTEXT)? * TOO_MANY;
        let text = "word ".repeat(usize::try_from(words).ok()?);
        Some(self.chat(&[("user", &text)], 1))
    }

    /// Builds a request that bypasses the translation: only the model's and the limit's names are the server's.
    fn raw(&self, mut body: Value) -> Result<Sent, &'static str> {
        body["model"] = json!(self.served);
        if let Some(fields) = body.as_object_mut() {
            fields.remove("reasoning_effort");
            if !self.target.config.engine.facts().speaks_openai
                && let Some(tokens) = fields.remove("max_completion_tokens")
            {
                fields.insert("max_tokens".to_owned(), tokens);
            }
        }
        let inbound = inbound(Method::POST, CHAT, Bytes::from(body.to_string()));
        let plan = Plan::verbatim(&inbound, self.target, self.role).map_err(|_| UNASKABLE)?;
        Ok(Sent { plan, is_translated: false })
    }

    /// Builds a request as an application's, through the translation.
    fn translated(&self, feature: Feature, body: &Value) -> Result<Sent, &'static str> {
        let path = if feature == Feature::Responses { RESPONSES } else { CHAT };
        let inbound = inbound(Method::POST, path, Bytes::from(body.to_string()));
        let plan = Plan::new(&inbound, self.target, self.role).map_err(|error| match error {
            PlanError::Untranslatable(TranslateError::Pinned(pinned)) => pinned.why,
            PlanError::Untranslatable(TranslateError::Invalid(_)) | PlanError::MalformedPath => UNASKABLE,
        })?;
        let mut steps = plan.ledger().into_iter().flat_map(Ledger::steps);
        let is_translated = !feature.field().is_empty()
            && steps.any(|step| {
                matches!(step.action, Action::Renamed | Action::Rewritten | Action::Flagged)
                    && step.field.starts_with(feature.field())
            });
        Ok(Sent { plan, is_translated })
    }
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const UNASKABLE: &str = "it cannot be asked";

/// Value that the schema requires; models do not produce it unprompted.
pub(super) const CODE: &str = "QX-17";
