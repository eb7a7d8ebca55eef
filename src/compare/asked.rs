//! Facts of a request that a comparison and a record need.

use serde::Serialize;
use serde_json::value::RawValue;

use super::caps::SCHEMA;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{self, Scan};

/// Request of a pair, as far as it matters. It is serialized as a part of a record's `request`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Asked {
    /// Number of messages, or of items of `input`.
    pub messages: Option<u64>,
    /// Number of tools and legacy functions.
    pub tools: u64,
    /// Format that the text is asked in.
    pub format: Option<Format>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Limit on output tokens.
    pub max_tokens: Option<u64>,
    /// Schema that the text is asked to keep.
    #[serde(skip)]
    pub schema: AskedSchema,
}

/// Format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that keeps a schema.
    JsonSchema,
}

/// Schema of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AskedSchema {
    /// No schema was asked for.
    #[default]
    None,
    /// Text of the schema, at most 64 KiB.
    Text(Box<str>),
    /// The schema is longer than 64 KiB.
    OverCap,
}

impl Asked {
    /// Reads a request as the application sent it. Fields that cannot be read count as missing.
    pub fn read(endpoint: Endpoint, body: &[u8]) -> Self {
        let Ok(body) = scan::scan(body) else { return Self::default() };
        let (messages, format, schema) = match endpoint {
            Endpoint::ChatCompletions => {
                let format = body.get("response_format");
                (body.get("messages"), format, format.and_then(|format| member(format, "json_schema")))
            }
            Endpoint::Responses => {
                let format = body.get("text").and_then(|text| member(text, "format"));
                (body.get("input"), format, format)
            }
            _ => return Self::default(),
        };
        let format_name = format.and_then(|format| member(format, "type"));
        let format = format_name.and_then(|name| Format::named(&scan::string(name.get())?));
        let schema = schema.filter(|_| format == Some(Format::JsonSchema)).and_then(|schema| member(schema, "schema"));
        let limits = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
        Self {
            messages: messages.and_then(items),
            tools: ["tools", "functions"].into_iter().filter_map(|name| items(body.get(name)?)).sum(),
            format,
            temperature: number(&body, "temperature"),
            max_tokens: limits.into_iter().find_map(|name| number(&body, name)),
            schema: schema.map_or(AskedSchema::None, AskedSchema::of),
        }
    }

    /// True if the text has to be JSON.
    pub const fn is_json(&self) -> bool {
        matches!(self.format, Some(Format::JsonObject | Format::JsonSchema))
    }
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json_object" => Some(Self::JsonObject),
            "json_schema" => Some(Self::JsonSchema),
            _ => None,
        }
    }
}

impl AskedSchema {
    fn of(schema: &RawValue) -> Self {
        match schema.get() {
            "null" => Self::None,
            text if text.len() > SCHEMA => Self::OverCap,
            text => Self::Text(text.into()),
        }
    }
}

/// Returns a member of an object; of a name that occurs twice the last, as in most parsers.
fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    scan::object(object.get())?.into_iter().rfind(|(member, _)| member == name).map(|(_, value)| value)
}

/// Returns the number of items of a list; a text counts as one.
fn items(value: &RawValue) -> Option<u64> {
    if value.get().starts_with('"') { Some(1) } else { scan::list(value.get()).map(|list| list.len() as u64) }
}

fn number<T: for<'de> serde::Deserialize<'de>>(body: &Scan<'_>, name: &str) -> Option<T> {
    serde_json::from_str(body.get(name)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chat() {
        let body = json!({
            "messages": [{}, {}], "tools": [{}], "functions": [{}], "temperature": 0.5, "max_tokens": 7, "max_completion_tokens": null,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        });
        let asked = Asked::read(Endpoint::ChatCompletions, body.to_string().as_bytes());
        let schema = AskedSchema::Text(r#"{"type":"object"}"#.into());
        let (temperature, max_tokens, format) = (Some(0.5), Some(7), Some(Format::JsonSchema));
        assert_eq!(asked, Asked { messages: Some(2), tools: 2, format, temperature, max_tokens, schema });
        let record = r#"{"messages":2,"tools":2,"format":"json_schema","temperature":0.5,"max_tokens":7}"#;
        assert_eq!(serde_json::to_string(&asked).unwrap(), record);
    }

    #[test]
    fn a_response() {
        let format = json!({"type": "json_schema", "name": "n", "schema": {"a": "x".repeat(SCHEMA)}});
        let body = json!({"input": "hello", "text": {"format": format}, "max_output_tokens": 9});
        let asked = Asked::read(Endpoint::Responses, body.to_string().as_bytes());
        assert_eq!((asked.messages, asked.max_tokens, asked.schema), (Some(1), Some(9), AskedSchema::OverCap));
        let body = json!({"input": [{}, {}, {}], "text": {"format": {"type": "json_object", "schema": {}}}});
        let asked = Asked::read(Endpoint::Responses, body.to_string().as_bytes());
        assert_eq!((asked.messages, asked.is_json(), asked.schema), (Some(3), true, AskedSchema::None));
    }

    #[test]
    fn fields_that_cannot_be_read_count_as_missing() {
        for body in
            ["", "[]", r#"{"messages":1,"tools":{},"temperature":"a","max_tokens":-1,"response_format":"json"}"#]
        {
            assert_eq!(Asked::read(Endpoint::ChatCompletions, body.as_bytes()), Asked::default(), "{body}");
        }
    }
}
