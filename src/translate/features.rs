//! Features that a request needs and a backend lacks, found without translating the request. They are found before the
//! draw, so that a share is a share of the requests that could go to either backend.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde_json::value::RawValue;

use super::draft::Draft;
use super::error::Pinned;
use super::format::{self, Format};
use super::input::TranslateInput;
use super::json;
use super::table::{self, Rule, Table};
use super::tools::{self, ToolChoice};
use super::{messages, parts, responses, sampling, schema};
use crate::config::LogprobsPolicy;
use crate::model::{FormatBesideTools, JsonSchemaFormat, MissingFeatures, Pin};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// Name that each part, call and item of a conversation has.
static TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"type\""));
/// Values of that name in chats of text and function calls.
const PLAIN_KINDS: [&str; 3] = ["\"text\"", "\"function\"", "\"refusal\""];

/// Returns the pin if `input.backend` cannot serve the request, as far as the request shows it before translation.
pub(crate) fn pin(input: &TranslateInput<'_>) -> Option<Pinned> {
    if input.backend.model_for(input.scan.model().map(AsRef::as_ref).unwrap_or_default()).is_none() {
        return found(Pin::Model, "model", "the backend's `models` does not name this model");
    }
    if input.backend.engine.facts().speaks_openai {
        return None;
    }
    match input.endpoint {
        Endpoint::ChatCompletions => by_table(input, &table::CHAT)
            .or_else(|| numbers(input))
            .or_else(|| chat_tools(input))
            .or_else(|| response_format(input))
            .or_else(|| conversation(input, "messages")),
        Endpoint::Responses => by_table(input, &table::RESPONSES)
            .or_else(|| hosted_tools(input))
            .or_else(|| text_format(input))
            .or_else(|| included(input))
            .or_else(|| conversation(input, "input")),
        _ => None,
    }
}

/// Returns the features of this request that a probe may have found missing.
pub(crate) fn needs(scan: &Scan<'_>, endpoint: Endpoint) -> MissingFeatures {
    let mut needs = MissingFeatures::NONE;
    if endpoint == Endpoint::Responses {
        needs = needs | MissingFeatures::RESPONSES;
    }
    let field = |name| scan.get(name).map(RawValue::get);
    let chosen = field("tool_choice").filter(|choice| *choice != "null").or_else(|| field("function_call"));
    let calls_nothing = chosen.is_some_and(|choice| tools::choice(choice) == ToolChoice::None);
    if (scan.has("tools") || scan.has("functions")) && !calls_nothing {
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

fn by_table(input: &TranslateInput<'_>, table: &Table) -> Option<Pinned> {
    for row in table.rows() {
        if let Rule::Pin(pin) = row.rule(input.backend.engine)
            && input.scan.has(row.name)
        {
            return found(pin, row.name, "only OpenAI has this");
        }
    }
    let unknown = |listed: &&String| input.scan.has(listed) && table.find(listed).is_none();
    let listed = input.backend.translation.pin_on_unknown.iter().find(unknown)?;
    found(Pin::UnknownField, listed.clone(), "it is listed in pin_on_unknown")
}

fn numbers(input: &TranslateInput<'_>) -> Option<Pinned> {
    let facts = input.backend.engine.facts();
    let text = |field| input.scan.get(field).map(RawValue::get);
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

/// Returns the type of each tool; an empty list if a tool is not an object, or its type is not a string.
fn types(tools: Option<&RawValue>) -> Vec<Cow<'_, str>> {
    let tools = tools.and_then(|tools| json::items(tools.get())).unwrap_or_default();
    tools.into_iter().map(type_of).collect::<Option<_>>().unwrap_or_default()
}

/// Returns the type of an object, which is empty if it has none; `None` if the type is not text.
fn type_of(object: &str) -> Option<Cow<'_, str>> {
    let fields = json::fields(object)?;
    match fields.iter().rfind(|(name, _)| name == "type") {
        None | Some((_, "null")) => Some(Cow::Borrowed("")),
        Some((_, kind)) => json::string(kind),
    }
}

fn chat_tools(input: &TranslateInput<'_>) -> Option<Pinned> {
    let kinds = types(input.scan.get("tools"));
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
        Format::JsonSchema => {
            let wrapper = Draft::parse(format.get())?;
            let named = Draft::parse(wrapper.get("json_schema")?)?;
            refused_schema(input, named.get("schema")?, "response_format.json_schema.schema")
        }
        _ => None,
    }
}

/// Finds keywords that the engine's grammar refuses.
fn refused_schema(input: &TranslateInput<'_>, schema: &str, field: &'static str) -> Option<Pinned> {
    if !schema::has_refused_keyword(schema, input.backend.engine.facts()) {
        return None;
    }
    found(Pin::Format, field, "the backend's grammar refuses a keyword of this schema")
}

fn hosted_tools(input: &TranslateInput<'_>) -> Option<Pinned> {
    let of_tool = types(input.scan.get("tools")).iter().enumerate().find_map(|(at, kind)| {
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
    let format = Draft::parse(format)?;
    refused_schema(input, format.get("schema").filter(|_| formatted)?, "text.format.schema")
}

fn included(input: &TranslateInput<'_>) -> Option<Pinned> {
    let include = input.scan.get("include")?.get();
    memmem::find(include.as_bytes(), b"encrypted_content")?;
    found(Pin::Stateful, "include", "what is encrypted only its maker can read")
}

/// True if every `"type"` in the messages is text or a function, without taking the messages apart.
fn is_plain(messages: &str) -> bool {
    TYPE.find_iter(messages.as_bytes()).all(|at| {
        let after = messages.get(at + TYPE.needle().len()..).unwrap_or_default().trim_start();
        let value = after.strip_prefix(':').unwrap_or(after).trim_start();
        PLAIN_KINDS.iter().any(|kind| value.starts_with(kind))
    })
}

/// Finds parts that the backend does not take, and items that only OpenAI knows.
fn conversation(input: &TranslateInput<'_>, field: &'static str) -> Option<Pinned> {
    let text = input.scan.get(field)?.get();
    let is_chat = input.endpoint != Endpoint::Responses;
    if is_chat && is_plain(text) {
        return None;
    }
    let items = json::items(text)?;
    items.iter().enumerate().find_map(|(at, item)| {
        let item = Draft::parse(item)?;
        let encrypted = item.get("encrypted_content").is_some_and(|content| content != "null");
        let kind = item.string("type").unwrap_or_default();
        if encrypted || kind == "item_reference" {
            return found(Pin::Stateful, format!("{field}[{at}]"), "only its maker knows it");
        }
        if !is_chat && !responses::knows(&kind) {
            return found(Pin::Hosted, format!("{field}[{at}]"), "only OpenAI knows this kind of item");
        }
        let calls = item.get("tool_calls").and_then(json::items).unwrap_or_default();
        if let Some(call) = calls.iter().position(|call| messages::is_custom(call)) {
            let field = format!("{field}[{at}].tool_calls[{call}]");
            return found(Pin::Tools, field, "the backend knows functions only");
        }
        let role = item.string("role").unwrap_or_default();
        let in_system = matches!(role.as_ref(), "system" | "developer");
        ["content", "output"].iter().filter(|of| !is_chat || **of == "content").find_map(|of| {
            types_of_parts(&item, of).iter().enumerate().find_map(|(part, kind)| {
                let (pin, why) = parts::pin(kind, in_system, input.backend)?;
                found(pin, format!("{field}[{at}].{of}[{part}]"), why)
            })
        })
    })
}

/// Returns the types of a message's parts; a part that is not an object counts as text.
fn types_of_parts<'m>(message: &'m Draft<'_>, of: &str) -> Vec<Cow<'m, str>> {
    let parts = message.get(of).and_then(json::items).unwrap_or_default();
    let kind = |part: &'m str| if part.starts_with('{') { type_of(part).unwrap_or_default() } else { "text".into() };
    parts.into_iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::scan;
    use bytes::Bytes;

    #[test]
    fn tools_that_may_not_be_called_are_not_needed() {
        for (fields, expected) in [
            (r#""tools":[]"#, MissingFeatures::TOOLS),
            (r#""tools":[],"stream":true"#, MissingFeatures::TOOLS_STREAMED),
            (r#""tools":[],"tool_choice":"none""#, MissingFeatures::NONE),
            (r#""functions":[],"function_call":"none""#, MissingFeatures::NONE),
            (r#""functions":[],"function_call":"none","tool_choice":"auto""#, MissingFeatures::TOOLS),
            (r#""functions":[],"function_call":"none","tool_choice":null"#, MissingFeatures::NONE),
        ] {
            let body = Bytes::from(format!("{{{fields}}}"));
            assert_eq!(needs(&scan(&body).unwrap(), Endpoint::ChatCompletions), expected, "{fields}");
        }
    }
}
