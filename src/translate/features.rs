//! What a request asks for that a backend cannot do, told without translating it: before the draw, so that shares are
//! shares of what could go either way.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde::Deserialize;

use super::draft::Draft;
use super::error::Pinned;
use super::format::{self, Format};
use super::input::TranslateInput;
use super::table::{self, Rule};
use super::tools::{self, ToolChoice};
use super::{messages, parts, responses, sampling, tokens};
use crate::config::LogprobsPolicy;
use crate::model::{FormatBesideTools, JsonSchemaFormat, MissingFeatures, Pin};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{self, Scan};

/// Above this share of its context a backend is not asked: the estimate is one.
const CONTEXT_SHARE: f64 = 0.9;
/// Every part, call and item of a conversation says its kind.
static TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"type\""));
/// What stands behind it in a chat that is text, with or without calls of functions.
const PLAIN_KINDS: [&str; 3] = ["\"text\"", "\"function\"", "\"refusal\""];

/// Why `input.backend` cannot serve the request, as far as that shows without translating.
pub fn pin(input: &TranslateInput<'_>) -> Option<Pinned> {
    if input.backend.model_for(input.scan.model().map(AsRef::as_ref).unwrap_or_default()).is_none() {
        return found(Pin::Model, "model", "the backend's `models` does not name this model");
    }
    if input.backend.engine.facts().speaks_openai {
        return None;
    }
    let seen = match input.endpoint {
        Endpoint::ChatCompletions => by_table(input, table::CHAT)
            .or_else(|| numbers(input))
            .or_else(|| chat_tools(input))
            .or_else(|| response_format(input))
            .or_else(|| conversation(input, "messages")),
        Endpoint::Responses => by_table(input, table::RESPONSES)
            .or_else(|| hosted_tools(input))
            .or_else(|| text_format(input))
            .or_else(|| included(input))
            .or_else(|| conversation(input, "input")),
        _ => return None,
    };
    seen.or_else(|| context(input))
}

/// What a probe may have found not to work.
pub fn needs(scan: &Scan<'_>, endpoint: Endpoint) -> MissingFeatures {
    let mut needs = MissingFeatures::NONE;
    if endpoint == Endpoint::Responses {
        needs = needs | MissingFeatures::RESPONSES;
    }
    if scan.has("tools") || scan.has("functions") {
        needs = needs | if scan.stream() { MissingFeatures::TOOLS_STREAMED } else { MissingFeatures::TOOLS };
    }
    match scan.get("response_format").map_or(Format::Unset, |format| format::kind(format.get())) {
        Format::JsonSchema => needs | MissingFeatures::JSON_SCHEMA,
        Format::JsonObject => needs | MissingFeatures::JSON_OBJECT,
        _ => needs,
    }
}

fn found(pin: Pin, field: impl Into<Cow<'static, str>>, why: &'static str) -> Option<Pinned> {
    Some(Pinned { pin, field: field.into(), why })
}

fn by_table(input: &TranslateInput<'_>, table: &'static [table::FieldRow]) -> Option<Pinned> {
    for row in table {
        if let Rule::Pin(pin) = row.rule(input.backend.engine)
            && input.scan.has(row.name)
        {
            return found(pin, row.name, "only OpenAI has this");
        }
    }
    let unknown = |listed: &&String| input.scan.has(listed) && table::find(table, listed).is_none();
    let listed = input.backend.translation.pin_on_unknown.iter().find(unknown)?;
    found(Pin::UnknownField, listed.clone(), "it is listed in pin_on_unknown")
}

fn numbers(input: &TranslateInput<'_>) -> Option<Pinned> {
    let facts = input.backend.engine.facts();
    let text = |field| input.scan.get(field).map(serde_json::value::RawValue::get);
    let is_many = |n: &str| n.parse::<f64>().is_ok_and(|n| n > 1.0);
    if facts.one_choice && text("n").is_some_and(is_many) {
        return found(Pin::Choices, "n", "the backend gives one choice only");
    }
    if text("logit_bias").is_some_and(sampling::forces_a_token) {
        return found(Pin::LogitBias, "logit_bias", "its ids are those of OpenAI's tokenizer");
    }
    let pins_logprobs = !facts.has_logprobs || input.backend.translation.logprobs == LogprobsPolicy::Pin;
    if pins_logprobs && text("logprobs") == Some("true") {
        return found(Pin::Logprobs, "logprobs", "the backend's token probabilities are not OpenAI's");
    }
    let modalities: Vec<String> =
        text("modalities").and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    if modalities.iter().any(|one| one != "text") {
        return found(Pin::Audio, "modalities", "the backend answers in text only");
    }
    None
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

fn kinds(list: Option<&serde_json::value::RawValue>) -> Vec<String> {
    let kinds: Vec<Typed<'_>> = list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    kinds.into_iter().map(|one| one.kind.unwrap_or_default().into_owned()).collect()
}

fn chat_tools(input: &TranslateInput<'_>) -> Option<Pinned> {
    let kinds = kinds(input.scan.get("tools"));
    if let Some(at) = kinds.iter().position(|kind| kind != "function") {
        return found(Pin::Tools, format!("tools[{at}]"), "the backend knows functions only");
    }
    let choice = input.scan.get("tool_choice").filter(|choice| choice.get() != "null" && !kinds.is_empty());
    let choice = tools::choice(choice?.get());
    if choice == ToolChoice::Other {
        return found(Pin::Tools, "tool_choice", "the backend does not know this choice");
    }
    let forces =
        matches!(choice, ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. });
    let format = input.scan.get("response_format").map_or(Format::Unset, |format| format::kind(format.get()));
    let formatted = matches!(format, Format::JsonObject | Format::JsonSchema);
    let unless_forced = input.backend.engine.facts().format_beside_tools == FormatBesideTools::UnlessForced;
    if unless_forced && forces && formatted {
        return found(Pin::Format, "response_format", "the backend refuses it beside these tools");
    }
    None
}

fn response_format(input: &TranslateInput<'_>) -> Option<Pinned> {
    let format = input.scan.get("response_format").filter(|format| format.get() != "null")?;
    match format::kind(format.get()) {
        Format::Other => found(Pin::Format, "response_format", "the backend does not know this format"),
        Format::JsonSchema if input.backend.engine.facts().json_schema == JsonSchemaFormat::Unsure => {
            found(Pin::Format, "response_format", "not every server follows a schema")
        }
        _ => None,
    }
}

fn hosted_tools(input: &TranslateInput<'_>) -> Option<Pinned> {
    let of_tool = kinds(input.scan.get("tools")).iter().enumerate().find_map(|(at, kind)| {
        let (pin, why) = responses::tool_pin(kind)?;
        found(pin, format!("tools[{at}]"), why)
    });
    let choice = input.scan.get("tool_choice").and_then(|choice| Draft::parse(choice.get()));
    let of_choice = || {
        let kind = choice?.string("type").unwrap_or_default().into_owned();
        if responses::knows_choice(&kind) {
            return None;
        }
        found(Pin::Tools, "tool_choice", "the backend does not know this choice")
    };
    of_tool.or_else(of_choice)
}

fn text_format(input: &TranslateInput<'_>) -> Option<Pinned> {
    let text = Draft::parse(input.scan.get("text")?.get())?;
    let format = text.get("format").filter(|format| *format != "null")?;
    let formatted = matches!(format::kind(format), Format::JsonObject | Format::JsonSchema);
    if formatted && !input.backend.engine.facts().formats_responses {
        return found(Pin::Format, "text.format", "the backend follows no schema here");
    }
    None
}

fn included(input: &TranslateInput<'_>) -> Option<Pinned> {
    let include = input.scan.get("include")?.get();
    memmem::find(include.as_bytes(), b"encrypted_content")?;
    found(Pin::Stateful, "include", "what is encrypted only its maker can read")
}

/// Told without taking the messages apart: whatever says its kind is text or a function.
fn is_plain(messages: &str) -> bool {
    TYPE.find_iter(messages.as_bytes()).all(|at| {
        let after = messages.get(at + TYPE.needle().len()..).unwrap_or_default().trim_start();
        let value = after.strip_prefix(':').unwrap_or(after).trim_start();
        PLAIN_KINDS.iter().any(|kind| value.starts_with(kind))
    })
}

/// Parts that are more than text, and items that only their maker knows.
fn conversation(input: &TranslateInput<'_>, field: &'static str) -> Option<Pinned> {
    let text = input.scan.get(field)?.get();
    let is_chat = input.endpoint != Endpoint::Responses;
    if is_chat && is_plain(text) {
        return None;
    }
    let items = scan::list(text)?;
    items.iter().enumerate().find_map(|(at, item)| {
        let item = Draft::parse(item.get())?;
        let encrypted = item.get("encrypted_content").is_some_and(|content| content != "null");
        let kind = item.string("type").unwrap_or_default();
        if encrypted || kind == "item_reference" {
            return found(Pin::Stateful, format!("{field}[{at}]"), "only its maker knows it");
        }
        if !is_chat && !responses::knows(&kind) {
            return found(Pin::Hosted, format!("{field}[{at}]"), "only OpenAI knows this kind of item");
        }
        let calls = item.get("tool_calls").and_then(scan::list).unwrap_or_default();
        if let Some(call) = calls.iter().position(|call| messages::is_custom(call.get())) {
            let field = format!("{field}[{at}].tool_calls[{call}]");
            return found(Pin::Tools, field, "the backend knows functions only");
        }
        let role = item.string("role").unwrap_or_default();
        let in_system = matches!(role.as_ref(), "system" | "developer");
        ["content", "output"].iter().filter(|of| !is_chat || **of == "content").find_map(|of| {
            kinds_of_parts(&item, of).iter().enumerate().find_map(|(part, kind)| {
                let (pin, why) = parts::pin(kind, in_system, input.backend)?;
                found(pin, format!("{field}[{at}].{of}[{part}]"), why)
            })
        })
    })
}

fn kinds_of_parts(message: &Draft<'_>, of: &str) -> Vec<String> {
    let Some(parts) = message.get(of).and_then(scan::list) else { return Vec::new() };
    let kind = |part: &&serde_json::value::RawValue| {
        Some(Draft::parse(part.get())?.string("type").unwrap_or_default().into_owned())
    };
    parts.iter().map(|part| kind(part).unwrap_or_else(|| "text".to_owned())).collect()
}

fn context(input: &TranslateInput<'_>) -> Option<Pinned> {
    let context = input.backend.translation.max_model_len.or(input.max_model_len)?;
    let text = |field| input.scan.get(field).map_or("", serde_json::value::RawValue::get);
    let field = if input.endpoint == Endpoint::Responses { "input" } else { "messages" };
    // The bytes of an image are no tokens.
    let has_images = input.backend.translation.vision
        && ["image_url", "input_image"]
            .iter()
            .any(|word| memmem::find(text(field).as_bytes(), word.as_bytes()).is_some());
    if has_images {
        return None;
    }
    let prompt = [field, "tools", "functions", "instructions"];
    #[expect(clippy::cast_precision_loss, reason = "tokens of a bounded body")]
    let over = tokens::at_least(prompt.iter().map(|field| text(field))) as f64 > CONTEXT_SHARE * context as f64;
    if over { found(Pin::Context, field, "the prompt is longer than the backend's context") } else { None }
}
