//! Type checks of servers written in Python, and their error messages.

use serde_json::{Map, Value};

/// One problem, in pydantic's terms.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    kind: &'static str,
    /// Path to the value, in Python's notation, without the leading `'body'`.
    at: String,
    message: String,
    input: Value,
    context: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: &'static str, at: &[&dyn Place], message: impl Into<String>, input: Value) -> Self {
        let at = at.iter().map(|place| format!(", {}", place.repr())).collect();
        Self { kind, at, message: message.into(), input, context: None }
    }

    pub(super) fn context(mut self, key: &str, text: impl Into<String>) -> Self {
        self.context = Some(format!("{{'{key}': {}}}", text.into()));
        self
    }

    pub(super) fn missing(at: &[&dyn Place], input: &Value) -> Self {
        Self::new("missing", at, "Field required", input.clone())
    }

    pub(super) fn extra(at: &[&dyn Place], input: &Value) -> Self {
        Self::new("extra_forbidden", at, "Extra inputs are not permitted", input.clone())
    }

    /// A value that is not one of the allowed words.
    pub(super) fn literal(at: &[&dyn Place], allowed: &str, input: &Value) -> Self {
        Self::new("literal_error", at, format!("Input should be {allowed}"), input.clone())
            .context("expected", repr_text(allowed))
    }

    /// A body that a validator of the server itself refuses.
    pub(super) fn value_error(message: &str, body: &Map<String, Value>) -> Self {
        Self::new("value_error", &[], format!("Value error, {message}"), Value::Object(body.clone()))
            .context("error", format!("ValueError({})", repr_text(message)))
    }

    /// Returns the problem as Python prints it.
    pub(super) fn text(&self) -> String {
        let comma = if self.at.is_empty() { "," } else { "" };
        let mut text = format!(
            "{{'type': '{}', 'loc': ('body'{comma}{}), 'msg': {}, 'input': {}",
            self.kind,
            self.at,
            repr_text(&self.message),
            repr(&self.input)
        );
        if let Some(context) = &self.context {
            text.push_str(", 'ctx': ");
            text.push_str(context);
        }
        text + "}"
    }
}

/// A part of the path to a value.
pub(super) trait Place {
    /// Returns the part in Python's notation.
    fn repr(&self) -> String;
}

impl Place for &str {
    fn repr(&self) -> String {
        repr_text(self)
    }
}

impl Place for usize {
    fn repr(&self) -> String {
        self.to_string()
    }
}

/// Returns a list of problems as Python prints it: `[{…}, {…}]`.
pub(super) fn list(problems: &[Problem]) -> String {
    format!("[{}]", problems.iter().map(Problem::text).collect::<Vec<_>>().join(", "))
}

/// Returns a value in Python's notation.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => repr_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, field)| format!("{}: {}", repr_text(name), repr(field)));
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

fn repr_text(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    match (escaped.contains('\''), escaped.contains('"')) {
        (true, false) => format!("\"{escaped}\""),
        (true, true) => format!("'{}'", escaped.replace('\'', "\\'")),
        (false, _) => format!("'{escaped}'"),
    }
}

/// Type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    List,
    Map,
}

/// Name and type of a top-level field, and true if null is allowed.
pub(super) type Field = (&'static str, Kind, bool);

/// Returns the problems with the types of the present fields, in the order of `fields`.
pub(super) fn types(body: &Map<String, Value>, fields: &[Field]) -> Vec<Problem> {
    fields
        .iter()
        .filter_map(|(name, kind, nullable)| {
            let value = body.get(*name).filter(|value| !(*nullable && value.is_null()))?;
            let (problem, message) = wrong(*kind, value)?;
            Some(Problem::new(problem, &[name], message, value.clone()))
        })
        .collect()
}

/// Returns pydantic's problem with a value. Pydantic is lenient: `"4"` is a number to it, 4.0 an integer.
fn wrong(kind: Kind, value: &Value) -> Option<(&'static str, &'static str)> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(_)) | (Kind::Text, Value::String(_)) => None,
        (Kind::List, Value::Array(_)) | (Kind::Map, Value::Object(_)) | (Kind::Float, Value::Number(_)) => None,
        (Kind::Bool, Value::String(word)) => {
            let known = ["true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"];
            (!known.contains(&word.to_lowercase().as_str()))
                .then_some(("bool_parsing", "Input should be a valid boolean, unable to interpret input"))
        }
        (Kind::Bool, _) => Some(("bool_type", "Input should be a valid boolean")),
        (Kind::Int, Value::Number(number)) => number
            .as_f64()
            .filter(|number| number.fract() != 0.0)
            .map(|_| ("int_from_float", "Input should be a valid integer, got a number with a fractional part")),
        (Kind::Int, Value::String(text)) => text
            .trim()
            .parse::<i64>()
            .err()
            .map(|_| ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")),
        (Kind::Int, _) => Some(("int_type", "Input should be a valid integer")),
        (Kind::Float, Value::String(text)) => text
            .trim()
            .parse::<f64>()
            .err()
            .map(|_| ("float_parsing", "Input should be a valid number, unable to parse string as a number")),
        (Kind::Float, _) => Some(("float_type", "Input should be a valid number")),
        (Kind::Text, _) => Some(("string_type", "Input should be a valid string")),
        (Kind::List, _) => Some(("list_type", "Input should be a valid list")),
        (Kind::Map, _) => Some(("dict_type", "Input should be a valid dictionary")),
    }
}

/// Returns the problem of a body that is not JSON; `why` is the reason in the server's words.
pub(super) fn invalid_json(body: &[u8], why: &str) -> Problem {
    let problem = Problem::new("json_invalid", &[&body.len()], "JSON decode error", Value::Object(Map::new()));
    problem.context("error", repr_text(why))
}

/// Returns the problem of an absent body.
pub(super) fn no_body() -> Problem {
    Problem::missing(&[], &Value::Null)
}

/// Returns the fields that are missing in the tools of a request and, with `strict`, those that are unknown.
pub(super) fn tools(body: &Map<String, Value>, strict: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let tools = body.get("tools").and_then(Value::as_array);
    for (at, tool) in tools.into_iter().flatten().enumerate() {
        if strict && tool.get("type").is_some_and(|kind| kind != "function") {
            problems.push(Problem::literal(&[&"tools", &at, &"type"], "'function'", &tool["type"]));
        }
        match tool.get("function") {
            None => problems.push(Problem::missing(&[&"tools", &at, &"function"], tool)),
            Some(function) if function.get("name").is_none() => {
                // SGLang adds the order of the keys to a tool, and its message shows it.
                let mut shown = function.clone();
                if let (false, Some(fields)) = (strict, shown.as_object_mut()) {
                    let keys = fields.keys().cloned().map(Value::String).collect();
                    fields.insert("key_order".to_owned(), Value::Array(keys));
                }
                problems.push(Problem::missing(&[&"tools", &at, &"function", &"name"], &shown));
            }
            Some(_) => {}
        }
        if strict {
            let extra = |fields: &Value, known: &[&str], place: Option<&str>| -> Vec<Problem> {
                let unknown =
                    fields.as_object().into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()));
                let problem = |(key, value): (&String, &Value)| match place {
                    Some(place) => Problem::extra(&[&"tools", &at, &place, &key.as_str()], value),
                    None => Problem::extra(&[&"tools", &at, &key.as_str()], value),
                };
                unknown.map(problem).collect()
            };
            problems.extend(extra(tool, &["type", "function"], None));
            let inner = tool.get("function").unwrap_or(&Value::Null);
            problems.extend(extra(inner, &["name", "description", "parameters", "strict"], Some("function")));
        }
    }
    problems
}

/// Returns the problems of a `stop` that is neither a text nor a list; `list_first` is their order.
pub(super) fn stop(body: &Map<String, Value>, list_first: bool) -> Vec<Problem> {
    let Some(stop) = body.get("stop").filter(|stop| !stop.is_null() && !stop.is_string() && !stop.is_array()) else {
        return Vec::new();
    };
    let list = Problem::new("list_type", &[&"stop", &"list[str]"], "Input should be a valid list", stop.clone());
    let text = Problem::new("string_type", &[&"stop", &"str"], "Input should be a valid string", stop.clone());
    if list_first { vec![list, text] } else { vec![text, list] }
}
