//! What a request asks for, and the words that answer it.

use std::hash::{Hash, Hasher};

use serde_json::{Map, Value};
use siphasher::sip::SipHasher24;

use super::config::{Behaviour, Fault, SimConfig, Template, Wire};
use super::{prompt, schema};

/// A request, as far as the answer depends on it.
#[derive(Debug)]
pub(super) struct Ask {
    wire: Wire,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    pub(super) choices: u64,
    pub(super) top_logprobs: Option<u64>,
    stop: Vec<String>,
    pub(super) limit: Option<u64>,
    pub(super) thinking: bool,
    /// Named by the request; the answer is then a call, not text.
    pub(super) calls: Vec<Call>,
    pub(super) forced: Forced,
    /// The older `functions` were offered, not `tools`.
    pub(super) legacy: bool,
    /// Of the newest call in the history.
    pub(super) last_call_id: Option<String>,
    /// TGI first asks the model whether it wants a tool.
    pub(super) asked_twice: bool,
    formed: Option<String>,
    /// The limit ends the answer inside a call, so nothing of it shows.
    cut: bool,
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

    /// The thought, if there was one.
    pub(super) fn thought(&self) -> Option<String> {
        (!self.reasoning.is_empty()).then(|| self.reasoning.concat())
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
const THOUGHT: [&str; 8] = ["\n", "The", " user", " wants", " an", " answer", ".", "\n"];
/// Above this TGI rounds the limit up to the next multiple.
const TGI_STEP: u64 = 1024;

impl Ask {
    pub(super) fn read(body: &Map<String, Value>, config: &SimConfig) -> Self {
        let wire = config.wire;
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let options = body.get("stream_options");
        let usage = options.and_then(|options| options.get("include_usage"));
        // TensorRT-LLM takes usage for wanted wherever there are options.
        let usage_default = wire == Wire::Trtllm && options.is_some_and(Value::is_object);
        let user = prompt::last_user_text(body);
        let mut hasher = SipHasher24::new_with_keys(7, 7);
        user.hash(&mut hasher);
        body.get("seed").and_then(Value::as_i64).hash(&mut hasher);
        let (calls, forced) = calls(body, wire, &user);
        let limit = ["max_completion_tokens", "max_tokens", "max_output_tokens"]
            .iter()
            .find_map(|key| whole_number(body.get(*key)?))
            .map(|limit| if wire == Wire::Tgi && limit > TGI_STEP { limit.next_multiple_of(TGI_STEP) } else { limit });
        let length: usize = calls.iter().map(|call| pieces(&call.arguments).len() + 12).sum();
        let cut = wire == Wire::Sglang && limit.is_some_and(|limit| limit < length as u64);
        let calls = if cut { Vec::new() } else { calls };
        let chooses = body.get("tool_choice").filter(|choice| !choice.is_null());
        Self {
            wire,
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
            thinking: prompt::thinks(body, config)
                || (wire == Wire::Tgi && config.template == Template::Qwen25 && user.starts_with("Think.")),
            asked_twice: wire == Wire::Tgi
                && body.get("tools").is_some_and(Value::is_array)
                && calls.is_empty()
                && chooses.is_none_or(|choice| choice == "auto"),
            last_call_id: last_call_id(body),
            calls,
            forced,
            legacy: body.contains_key("functions"),
            formed: if cut { Some(String::new()) } else { schema::formed(body, config) },
            cut,
            prompt_tokens: (Value::Object(body.clone()).to_string().len() / 4) as u64 + 1,
            seed: hasher.finish(),
        }
    }

    /// Tokens of the calls; there is no other text beside a thought.
    pub(super) fn call_tokens(&self) -> u64 {
        self.calls.iter().map(|call| pieces(&call.arguments).len() as u64 + 4).sum()
    }

    /// All tokens of an answer, and those of its thoughts.
    pub(super) fn spent(&self, said: &[Said]) -> (u64, u64) {
        let reasoning = said.iter().map(|one| one.reasoning.len() as u64).sum();
        match self.calls.is_empty() {
            true => (said.iter().map(Said::count).sum(), reasoning),
            false => (self.call_tokens() + reasoning, reasoning),
        }
    }

    /// The words of one choice, within the request's limit.
    pub(super) fn say(&self, choice: u64, behaviour: &Behaviour) -> Said {
        let forced_thought = behaviour.fault == Fault::ThinkInContent;
        let mut reasoning: Vec<String> = match self.thinking || forced_thought {
            true => THOUGHT.map(str::to_owned).to_vec(),
            false => Vec::new(),
        };
        let mut tokens = self.words(choice, behaviour);
        if self.thinking && !reasoning.is_empty() && self.calls.is_empty() {
            tokens.insert(0, "\n\n".to_owned());
        }
        if forced_thought || (self.wire == Wire::Tgi && self.thinking) {
            let thought = std::mem::take(&mut reasoning);
            let space = if self.thinking { None } else { Some("\n\n") };
            let around = ["<think>"].into_iter().map(str::to_owned).chain(thought);
            let around = around.chain(["</think>"].into_iter().chain(space).map(str::to_owned));
            tokens = around.chain(tokens).collect();
        }
        let (mut finish, mut stop) = (if self.cut { "length" } else { "stop" }, None);
        if let Some((in_thought, at, text)) = self.first_stop(&reasoning, &tokens) {
            let kept = if self.wire == Wire::Tgi { at + text.len() } else { at };
            if in_thought {
                reasoning = pieces_until(&reasoning, kept);
                tokens.clear();
            } else {
                tokens = pieces_until(&tokens, kept);
            }
            if self.wire == Wire::Tgi {
                finish = "stop_sequence";
            }
            stop = Some(text);
        }
        if let Some(limit) = self.limit
            && (reasoning.len() + tokens.len()) as u64 > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
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
        Said { reasoning, tokens, finish, stop }
    }

    fn words(&self, choice: u64, behaviour: &Behaviour) -> Vec<String> {
        if let Some(text) = &self.formed {
            return pieces(text);
        }
        let (least, most) = behaviour.tokens;
        let mut numbers = Numbers(self.seed.wrapping_add(choice).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
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
    }

    /// Where the text first stops: within the thought or not, at which byte of it, and by which string. Only OpenAI
    /// does not look into the thought; SGLang and TGI find an empty one at once.
    fn first_stop(&self, reasoning: &[String], tokens: &[String]) -> Option<(bool, usize, String)> {
        let found = |text: &str| {
            let stops = self.stop.iter().filter(|stop| !stop.is_empty() || self.wire == Wire::Sglang);
            stops.filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop.clone()))).min_by_key(|(at, _)| *at)
        };
        if self.stop.iter().any(String::is_empty) && self.wire == Wire::Tgi {
            let first = tokens.first().map_or(0, String::len);
            return Some((false, first, String::new()));
        }
        if self.wire != Wire::OpenAi
            && !reasoning.is_empty()
            && let Some((at, text)) = found(&reasoning.concat())
        {
            return Some((true, at, text));
        }
        found(&tokens.concat()).map(|(at, text)| (false, at, text))
    }

    /// A call as a server without a tool parser leaves it in the text.
    pub(super) fn calls_as_text(&mut self) {
        let text = |call: &Call| {
            format!("<tool_call>\n{{\"name\": \"{}\", \"arguments\": {}}}\n</tool_call>", call.name, call.arguments)
        };
        if !self.calls.is_empty() {
            self.formed = Some(self.calls.iter().map(text).collect::<Vec<_>>().join("\n"));
            self.calls.clear();
        }
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

/// A number as the lenient servers read it: `4`, `4.0` and `"4"` are the same to them.
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

/// The functions that a request offers, in whichever spelling this server knows.
fn functions(body: &Map<String, Value>, wire: Wire) -> Vec<&Value> {
    let list = |name: &str| body.get(name).and_then(Value::as_array).into_iter().flatten();
    let tools = list("tools").filter_map(|tool| match tool.get("function") {
        Some(function) => Some(function),
        None => (tool.get("type").is_some_and(|kind| kind == "function") && tool.get("name").is_some()).then_some(tool),
    });
    match wire {
        Wire::OpenAi => tools.chain(list("functions")).collect(),
        _ => tools.collect(),
    }
}

fn calls(body: &Map<String, Value>, wire: Wire, user: &str) -> (Vec<Call>, Forced) {
    let functions = functions(body, wire);
    let name = |function: &Value| function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let choice = body.get("tool_choice").or_else(|| body.get("function_call").filter(|_| wire == Wire::OpenAi));
    let forced = match choice {
        _ if functions.is_empty() => return (Vec::new(), Forced::No),
        Some(Value::String(choice)) if choice == "none" => return (Vec::new(), Forced::No),
        Some(Value::String(choice)) if choice == "required" => Forced::Required,
        Some(Value::Object(_)) => Forced::Named,
        _ => Forced::No,
    };
    let call = |function: &&Value| {
        let strict = function.get("strict").is_some_and(|strict| strict == true);
        // Without strict, SGLang holds a forced call to JSON of some kind only.
        let loose = wire == Wire::Sglang && forced != Forced::No && !strict;
        let arguments = if loose { r#""\": {""#.to_owned() } else { schema::arguments(function) };
        Call { name: name(function), arguments }
    };
    let user = user.to_lowercase();
    let wants_two = user.contains("both") || user.contains("two") || user.contains("and the time");
    let allowed = match body.get("parallel_tool_calls").and_then(Value::as_bool) {
        _ if wire == Wire::Tgi => 1,
        Some(parallel) if !matches!(wire, Wire::Sglang | Wire::Trtllm) => {
            if parallel {
                2
            } else {
                1
            }
        }
        None if wire == Wire::DashScope => 1,
        _ => 2,
    };
    let count = allowed.min(if wants_two { 2 } else { 1 });
    let calls = match (forced, choice) {
        (Forced::Required, _) if wire == Wire::Sglang => functions.iter().take(2).map(call).collect(),
        (Forced::Required, _) => functions.iter().take(count.min(functions.len())).map(call).collect(),
        (Forced::Named, Some(choice)) => {
            let wanted = choice.get("function").unwrap_or(choice).get("name").and_then(Value::as_str);
            let found = functions.iter().find(|function| Some(name(function).as_str()) == wanted);
            found.map(call).into_iter().collect()
        }
        _ => {
            let turns = prompt::turns(body);
            let answered = turns.last().is_some_and(|turn| ["tool", "function"].contains(&turn.role));
            let wants = !answered && (user.contains("tool") || user.contains("weather"));
            if wants { functions.iter().cycle().take(count).map(call).collect() } else { Vec::new() }
        }
    };
    (calls, forced)
}
