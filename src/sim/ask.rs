//! What a request asks for, and the words that answer it.

use std::hash::{Hash, Hasher};

use serde_json::{Map, Value, json};
use siphasher::sip::SipHasher24;

/// A chat request, as far as the answer depends on it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    pub(super) choices: u64,
    pub(super) top_logprobs: Option<u64>,
    pub(super) stop: Vec<String>,
    pub(super) limit: Option<u64>,
    pub(super) thinking: bool,
    /// Named by the request; the answer is then a call, not text.
    pub(super) calls: Vec<Call>,
    pub(super) forced: Forced,
    pub(super) schema: Option<Value>,
    pub(super) prompt_tokens: u64,
    seed: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// How a tool call came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    No,
    Required,
    Named,
}

/// One choice of an answer.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) reasoning: Vec<String>,
    pub(super) tokens: Vec<String>,
    pub(super) finish: &'static str,
    pub(super) stop: Option<String>,
}

impl Said {
    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }

    pub(super) fn count(&self) -> u64 {
        (self.reasoning.len() + self.tokens.len()) as u64
    }
}

const WORDS: [&str; 32] = [
    "the", "city", "rain", "answer", "small", "river", "plan", "seven", "light", "road", "green", "market", "paper",
    "quiet", "window", "stone", "early", "bridge", "letter", "north", "water", "table", "open", "music", "garden",
    "slow", "number", "warm", "field", "story", "paint", "harbour",
];

impl Ask {
    pub(super) fn read(body: &Map<String, Value>, thinking_by_default: bool) -> Self {
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let options = body.get("stream_options");
        let kwargs = body.get("chat_template_kwargs");
        let user = last_user_text(body);
        let whole = Value::Object(body.clone()).to_string();
        let mut hasher = SipHasher24::new_with_keys(7, 7);
        user.hash(&mut hasher);
        body.get("seed").and_then(Value::as_i64).hash(&mut hasher);
        let (calls, forced) = calls(body, &user);
        Self {
            model: body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
            stream: flag(body.get("stream")),
            include_usage: flag(options.and_then(|options| options.get("include_usage"))),
            continuous_usage: flag(options.and_then(|options| options.get("continuous_usage_stats"))),
            choices: body.get("n").and_then(Value::as_u64).unwrap_or(1).clamp(1, 128),
            top_logprobs: flag(body.get("logprobs"))
                .then(|| body.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0).min(20)),
            stop: match body.get("stop") {
                Some(Value::String(text)) => vec![text.clone()],
                Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            },
            limit: ["max_completion_tokens", "max_tokens"].iter().find_map(|key| body.get(*key)?.as_u64()),
            thinking: kwargs
                .and_then(|kwargs| kwargs.get("enable_thinking"))
                .and_then(Value::as_bool)
                .unwrap_or(thinking_by_default),
            calls,
            forced,
            schema: schema(body),
            prompt_tokens: (whole.len() / 4) as u64 + 1,
            seed: hasher.finish(),
        }
    }

    /// The words of one choice, within the request's limit.
    pub(super) fn say(&self, choice: u64, (least, most): (u32, u32)) -> Said {
        let mut numbers = Numbers(self.seed.wrapping_add(choice).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let reasoning: Vec<String> = match self.thinking && self.calls.is_empty() {
            true => ["\n", "The", " user", " wants", " an", " answer", ".", "\n"].map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        let mut tokens: Vec<String> = if let Some(schema) = &self.schema {
            pieces(&instance(schema, 0).to_string())
        } else {
            let span = u64::from(most.saturating_sub(least)) + 1;
            let length = u64::from(least.max(2)) + numbers.next() % span;
            let mut words: Vec<String> = (1..length)
                .enumerate()
                .map(|(place, _)| {
                    let word = WORDS[(numbers.next() % WORDS.len() as u64) as usize];
                    if place == 0 { capital(word) } else { format!(" {word}") }
                })
                .collect();
            words.push(".".to_owned());
            words
        };
        if self.thinking && !reasoning.is_empty() {
            tokens.insert(0, "\n\n".to_owned());
        }
        let (mut finish, mut stop) = ("stop", None);
        if let Some((at, text)) = first_stop(&tokens.concat(), &self.stop) {
            tokens = pieces_until(&tokens, at);
            stop = Some(text);
        }
        let mut reasoning = reasoning;
        if let Some(limit) = self.limit
            && (reasoning.len() + tokens.len()) as u64 > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            reasoning.truncate(limit);
            tokens.truncate(limit.saturating_sub(reasoning.len()));
            (finish, stop) = ("length", None);
        }
        Said { reasoning, tokens, finish, stop }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Text cut into tokens of a few characters.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(|part| part.iter().collect()).collect()
}

fn first_stop(text: &str, stops: &[String]) -> Option<(usize, String)> {
    stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.clone())))
        .min_by_key(|(at, _)| *at)
}

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

fn last_user_text(body: &Map<String, Value>) -> String {
    let messages = body.get("messages").or_else(|| body.get("input"));
    let turn = match messages {
        Some(Value::String(text)) => return text.clone(),
        Some(Value::Array(turns)) => {
            turns.iter().rev().find(|turn| turn.get("role").is_some_and(|role| role == "user"))
        }
        _ => None,
    };
    match turn.and_then(|turn| turn.get("content")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => body.get("prompt").map(Value::to_string).unwrap_or_default(),
    }
}

fn calls(body: &Map<String, Value>, user: &str) -> (Vec<Call>, Forced) {
    let functions: Vec<&Value> = body
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("function"))
        .collect();
    let name = |function: &Value| function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let call = |function: &&Value| Call {
        name: name(function),
        arguments: function.get("parameters").map_or_else(|| "{}".to_owned(), |schema| instance(schema, 0).to_string()),
    };
    let user = user.to_lowercase();
    match body.get("tool_choice") {
        _ if functions.is_empty() => (Vec::new(), Forced::No),
        Some(Value::String(choice)) if choice == "none" => (Vec::new(), Forced::No),
        Some(Value::String(choice)) if choice == "required" => {
            (functions.first().map(call).into_iter().collect(), Forced::Required)
        }
        Some(Value::Object(choice)) => {
            let wanted = choice.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
            let found = functions.iter().find(|function| Some(name(function).as_str()) == wanted);
            (found.map(call).into_iter().collect(), Forced::Named)
        }
        _ => {
            let answered = body
                .get("messages")
                .and_then(Value::as_array)
                .and_then(|turns| turns.last())
                .is_some_and(|turn| turn.get("role").is_some_and(|role| role == "tool"));
            let wants = !answered && (user.contains("tool") || user.contains("weather"));
            let count = if user.contains("both") || user.contains("two") { 2 } else { 1 };
            let calls = if wants { functions.iter().cycle().take(count).map(call).collect() } else { Vec::new() };
            (calls, Forced::No)
        }
    }
}

fn schema(body: &Map<String, Value>) -> Option<Value> {
    let format = body.get("response_format")?;
    match format.get("type")?.as_str()? {
        "json_object" => Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        "json_schema" => format.get("json_schema")?.get("schema").cloned(),
        _ => None,
    }
}

/// The simplest value that a schema of the usual kind allows.
fn instance(schema: &Value, depth: u8) -> Value {
    if depth > 8 {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema.get("anyOf").and_then(Value::as_array).and_then(|schemas| schemas.first()) {
        return instance(first, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!("Paris"),
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let item = schema.get("items").map(|items| instance(items, depth + 1));
            Value::Array(item.into_iter().collect())
        }
        _ => {
            let fields = schema.get("properties").and_then(Value::as_object);
            let filled = fields.into_iter().flatten().map(|(name, field)| (name.clone(), instance(field, depth + 1)));
            Value::Object(filled.collect())
        }
    }
}
