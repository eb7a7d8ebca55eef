//! `response_format`: text, any JSON object, or JSON of a schema, in each server's own grammar.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::draft::Draft;
use super::error::TranslateError;
use super::json::{self, array, joined, quoted};
use super::ledger::Action;
use super::rewrite::Rewrite;
use super::schema;
use crate::model::{Family, JsonObjectFormat, JsonSchemaFormat, Pin};

/// Levels of nesting in the regular expression for any JSON object, which TGI's grammars by schema cannot express.
/// Each level makes it four times as long; deeper objects are not generated.
const ANY_OBJECT_DEPTH: usize = 3;
/// Detail of the flag on that format.
const LEVELS: &str = "objects and lists of at most 3 levels";
/// Format of any JSON object, as TGI takes it.
static ANY_OBJECT: LazyLock<String> =
    LazyLock::new(|| format!("{{\"type\":\"regex\",\"value\":{}}}", quoted(&any_object())));
const JSON_OBJECT: &str = "{\"type\":\"json_object\"}";
const JSON_HINT: &str = "Reply in JSON.";

/// Format that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Unset,
    Text,
    JsonObject,
    JsonSchema,
    Other,
}

pub(super) fn of(draft: &Draft<'_>) -> Format {
    let Some(format) = draft.get("response_format") else { return Format::Unset };
    kind(format)
}

pub(super) fn kind(format: &str) -> Format {
    match Draft::parse(format).as_ref().and_then(|format| format.string("type")).as_deref() {
        Some("text") => Format::Text,
        Some("json_object") => Format::JsonObject,
        Some("json_schema") => Format::JsonSchema,
        _ => Format::Other,
    }
}

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    match of(&rewrite.draft) {
        Format::Unset => Ok(()),
        Format::Text => {
            rewrite.drop_field("response_format", "text is what comes anyway");
            Ok(())
        }
        Format::JsonObject => {
            json_object(rewrite);
            Ok(())
        }
        Format::JsonSchema => json_schema(rewrite),
        Format::Other => {
            Err(TranslateError::pinned(Pin::Format, "response_format", "the backend does not know this format"))
        }
    }
}

fn json_object(rewrite: &mut Rewrite<'_>) {
    match rewrite.backend.engine.facts().json_object {
        JsonObjectFormat::Regex => {
            rewrite.draft.set("response_format", ANY_OBJECT.as_str());
            rewrite.note("response_format", Action::Rewritten, "a regular expression of an object");
            rewrite.note("response_format", Action::Flagged, LEVELS);
        }
        spelling @ (JsonObjectFormat::OpenAi | JsonObjectFormat::NeedsWord) => {
            let text = rewrite.draft.get("response_format").map(str::to_owned);
            if text.and_then(|text| Draft::parse(&text).map(|all| all.names().count())) != Some(1) {
                rewrite.draft.set("response_format", JSON_OBJECT);
                rewrite.note("response_format", Action::Rewritten, "only what a format has");
            }
            if spelling == JsonObjectFormat::NeedsWord {
                say_json(rewrite);
            }
        }
    }
    let bounded = rewrite.draft.has("max_tokens")
        || rewrite.draft.has("max_completion_tokens")
        || rewrite.backend.translation.default_max_tokens.is_some();
    if !bounded {
        rewrite.note("response_format", Action::Flagged, "without max_tokens it can end in endless white space");
    }
}

/// Adds the word "JSON", which DashScope requires in the messages, and turns thinking off.
fn say_json(rewrite: &mut Rewrite<'_>) {
    rewrite.plan.enable = Some(false);
    rewrite.plan.thinks = false;
    let messages = rewrite.draft.get("messages").unwrap_or_default();
    let has_word = messages.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"));
    if !has_word {
        add_to_system(rewrite, JSON_HINT);
        rewrite.note("messages", Action::Rewritten, "\"Reply in JSON.\" added");
    }
}

/// Appends to the first system message, or inserts one.
fn add_to_system(rewrite: &mut Rewrite<'_>, text: &str) {
    let Some(messages) = rewrite.draft.get("messages").map(str::to_owned) else { return };
    let Some(items) = json::items(&messages) else { return };
    let mut all: Vec<Cow<'_, str>> = items.into_iter().map(Cow::Borrowed).collect();
    let first = all
        .first()
        .and_then(|first| Draft::parse(first))
        .filter(|first| first.get("role") == Some("\"system\""))
        .filter(|first| first.get("content").is_some_and(|content| content.starts_with('"')));
    match first {
        Some(mut system) => {
            let both = [system.get("content").unwrap_or_default(), &quoted(text)];
            let content = joined(both.into_iter(), "\\n\\n");
            system.set("content", content);
            let json = system.to_json();
            all.splice(..1, [Cow::Owned(json)]);
        }
        None => all.insert(0, Cow::Owned(format!("{{\"role\":\"system\",\"content\":{}}}", quoted(text)))),
    }
    let json = array(&all);
    rewrite.draft.set("messages", json);
}

fn json_schema(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let text = rewrite.draft.get("response_format").unwrap_or_default().to_owned();
    let Some(mut wrapper) = Draft::parse(&text) else { return Ok(()) };
    let named = wrapper.get("json_schema").map(str::to_owned);
    let Some(mut inner) = named.as_deref().and_then(Draft::parse) else {
        return Err(TranslateError::invalid("response_format.json_schema", "response_format needs a json_schema"));
    };
    if inner.string("name").is_none() {
        return Err(TranslateError::invalid("response_format.json_schema.name", "json_schema needs a name"));
    }
    let Some(schema) = inner.get("schema").filter(|schema| *schema != "null").map(str::to_owned) else {
        return Err(TranslateError::invalid("response_format.json_schema.schema", "json_schema needs a schema"));
    };
    if Draft::parse(&schema).is_some_and(|schema| schema.names().next().is_none()) {
        rewrite.drop_field("response_format", "an empty schema asks for nothing");
        return Ok(());
    }
    wrapper.retain(|name, _| ["type", "json_schema"].contains(&name));
    inner.retain(|name, _| ["name", "description", "schema", "strict"].contains(&name));
    match rewrite.backend.engine.facts().json_schema {
        JsonSchemaFormat::Unsure => {
            return Err(TranslateError::pinned(Pin::Format, "response_format", "not every server follows a schema"));
        }
        JsonSchemaFormat::BooleanStrict => {
            if inner.get("strict").is_some_and(|strict| !["true", "false", "null"].contains(&strict)) {
                inner.set("strict", "true");
            }
        }
        JsonSchemaFormat::Bare => {
            rewrite.draft.set("response_format", format!("{{\"type\":\"json_schema\",\"json_schema\":{schema}}}"));
            rewrite.note("response_format", Action::Rewritten, "the schema without its wrapper");
            return Ok(());
        }
        JsonSchemaFormat::Grammar => return tgi_schema(rewrite, &inner, &schema),
        JsonSchemaFormat::Instruction if rewrite.backend.family != Some(Family::Qwen38) => {
            schema_as_instruction(rewrite, &schema);
            return Ok(());
        }
        JsonSchemaFormat::OpenAi | JsonSchemaFormat::Instruction => {}
    }
    if inner.is_changed() {
        wrapper.set("json_schema", inner.to_json());
    }
    if wrapper.is_changed() {
        let json = wrapper.to_json();
        rewrite.draft.set("response_format", json);
        rewrite.note("response_format", Action::Rewritten, "only what a format has");
    }
    Ok(())
}

fn tgi_schema(rewrite: &mut Rewrite<'_>, inner: &Draft<'_>, schema: &str) -> Result<(), TranslateError> {
    let rewritten = schema::for_tgi(schema, false)
        .map_err(|why| TranslateError::pinned(Pin::Format, "response_format.json_schema.schema", why))?;
    let name = inner.get("name").unwrap_or("\"answer\"");
    let schema = rewritten.as_deref().unwrap_or(schema);
    let value = format!("{{\"name\":{name},\"schema\":{schema}}}");
    rewrite.draft.set("response_format", format!("{{\"type\":\"json_schema\",\"value\":{value}}}"));
    rewrite.note("response_format", Action::Rewritten, "this server's own grammar");
    Ok(())
}

fn schema_as_instruction(rewrite: &mut Rewrite<'_>, schema: &str) {
    rewrite.draft.set("response_format", JSON_OBJECT);
    add_to_system(rewrite, &format!("Reply in JSON that follows this schema: {schema}"));
    rewrite.plan.enable = Some(false);
    rewrite.plan.thinks = false;
    rewrite.note("messages", Action::Rewritten, "the schema added");
    rewrite.note("response_format", Action::Flagged, "json_object, and the schema as an instruction");
}

/// Returns a regular expression for JSON objects of [`ANY_OBJECT_DEPTH`] levels.
fn any_object() -> String {
    const WS: &str = "[ \\n\\t]{0,4}";
    const STRING: &str = "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4})*\"";
    const NUMBER: &str = "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?";
    let scalar = format!("({STRING}|{NUMBER}|true|false|null)");
    let mut value = scalar.clone();
    let mut object = String::new();
    for _ in 0..ANY_OBJECT_DEPTH {
        let pair = format!("{STRING}{WS}:{WS}{value}");
        object = format!("\\{{{WS}({pair}({WS},{WS}{pair})*)?{WS}\\}}");
        let list = format!("\\[{WS}({value}({WS},{WS}{value})*)?{WS}\\]");
        value = format!("({scalar}|{list}|{object})");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn any_object_has_three_levels() {
        let pattern = Regex::new(&format!("^(?:{})$", any_object())).unwrap();
        for (json, is_written) in [
            ("{}", true),
            (r#"{"a": -1.5e3, "b": [true, null, "\u00e9\n"]}"#, true),
            (r#"{"items": [{"name": "a", "price": 1}, {"name": "b", "price": 2}]}"#, true),
            (r#"{"a": {"b": {"c": null}, "d": [1]}}"#, true),
            (r#"{"a": [[1, 2], []]}"#, true),
            (r#"{"a": {"b": {"c": {}}}}"#, false),
            (r#"{"a": [{"b": [1]}]}"#, false),
            ("[1]", false),
            (r#"{"a": 1,}"#, false),
            (r#"{"a": 01}"#, false),
        ] {
            assert_eq!(pattern.is_match(json), is_written, "{json}");
        }
    }
}
