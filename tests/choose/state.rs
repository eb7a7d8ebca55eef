//! Random states: a file, what is known of its backends, and a request, each in a form that the expectation reads
//! without parsing anything.

use std::fmt::Write as _;

use rand::RngExt;
use rand::rngs::StdRng;
use shiftgate::api::choose::{Availability, Known};
use shiftgate::api::model::MissingFeatures;
use shiftgate::api::translate::{Owner, call_id, response_id};

/// Number of backends: a baseline and two candidates.
pub(crate) const BACKENDS: usize = 3;
/// `max_body` of every file, in bytes.
pub(crate) const MAX_BODY: usize = 4096;

/// One `[backend.X]`.
#[derive(Debug, Clone)]
pub(crate) struct BackendState {
    pub(crate) name: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) models: &'static [(&'static str, &'static str)],
    pub(crate) vision: bool,
    pub(crate) pins_logprobs: bool,
    pub(crate) strict: bool,
    pub(crate) responses: bool,
    pub(crate) pins_unknown: bool,
    pub(crate) max_model_len: Option<u64>,
}

/// One route; a condition that is `None` holds.
#[derive(Debug, Clone)]
pub(crate) struct RouteState {
    pub(crate) name: &'static str,
    pub(crate) workload: Option<&'static str>,
    pub(crate) model: Option<&'static str>,
    pub(crate) path: Option<&'static str>,
    /// In hundredths, by position of the backend.
    pub(crate) percent: [u16; BACKENDS],
}

/// One rollout.toml.
#[derive(Debug, Clone)]
pub(crate) struct FileState {
    pub(crate) name: String,
    pub(crate) backends: Vec<BackendState>,
    pub(crate) baseline: usize,
    /// The last one is that of `[rollout]`.
    pub(crate) routes: Vec<RouteState>,
    pub(crate) sticky: &'static [&'static str],
    pub(crate) failover: bool,
    pub(crate) allow_override: bool,
}

/// Everything about the backends that the file does not say.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveState {
    pub(crate) availability: [Availability; BACKENDS],
    pub(crate) known: [Known; BACKENDS],
    pub(crate) withdrawn: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Responses,
    /// Read, but never split.
    Embeddings,
    /// `/v1/responses/ID` and what is below it.
    Stored,
    /// Not read.
    Files,
}

/// The one thing about a request that some backends cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Plain,
    Tools,
    CustomTool,
    JsonSchema,
    JsonObject,
    SchemaAndTools,
    Choices,
    Bias,
    Logprobs,
    Image,
    Audio,
    File,
    Search,
    AudioOut,
    Unknown,
    Verbosity,
    Long,
}

/// The backend that an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Backend(usize),
    /// One of ours, of a backend that the file does not have.
    Gone,
    /// OpenAI's own.
    Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Object,
    Garbage,
    OverCap,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct AskedState {
    pub(crate) kind: Kind,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) body_kind: BodyKind,
    pub(crate) body: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) model: Option<&'static str>,
    pub(crate) feature: Feature,
    pub(crate) stream: bool,
    /// The body says that nothing is stored.
    pub(crate) stateless: bool,
    /// `previous_response_id`, or the id in the path.
    pub(crate) state: Option<Named>,
    /// The owner of a tool's call, and whether its result is the last message.
    pub(crate) call: Option<(Named, bool)>,
    pub(crate) session: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) has_text: bool,
    pub(crate) named: Option<String>,
    pub(crate) retry: Option<&'static str>,
    pub(crate) workload: Option<&'static str>,
}

fn one<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

fn percents(rng: &mut StdRng, baseline: usize) -> [u16; BACKENDS] {
    let mut percent = [0; BACKENDS];
    let mut left = 10_000_u16;
    for (at, percent) in percent.iter_mut().enumerate() {
        if at == baseline {
            continue;
        }
        let asked = match rng.random_range(0..6) {
            0 | 1 => 0,
            2 => 10_000,
            3 => rng.random_range(0..100),
            _ => rng.random_range(0..=10_000),
        };
        *percent = asked.min(left);
        left -= *percent;
    }
    percent
}

const ENGINES: [&str; 7] = ["openai", "vllm", "sglang", "tgi", "trtllm", "dashscope", "compatible"];
const MODELS: [&[(&str, &str)]; 4] =
    [&[], &[("*", "served")], &[("gpt-4o*", "served"), ("gpt-4o-mini*", "small")], &[("gpt-4o-mini", "small")]];
const STICKY: [&[&str]; 4] = [
    &[],
    &["header:x-session-id"],
    &["header:x-session-id", "user"],
    &["header:x-session-id", "user", "hash:conversation"],
];

impl FileState {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let mut names = ["alpha", "beta", "gamma"];
        for at in 0..BACKENDS {
            names.swap(at, rng.random_range(at..BACKENDS));
        }
        let baseline = rng.random_range(0..BACKENDS);
        let backend = |(at, name): (usize, &&'static str)| BackendState {
            name,
            engine: if at == baseline && rng.random_bool(0.7) { "openai" } else { one(rng, &ENGINES) },
            models: if at == baseline && rng.random_bool(0.8) { MODELS[0] } else { one(rng, &MODELS) },
            vision: rng.random_bool(0.3),
            pins_logprobs: rng.random_bool(0.2),
            strict: rng.random_bool(0.05),
            responses: rng.random_bool(0.6),
            pins_unknown: rng.random_bool(0.2),
            max_model_len: rng.random_bool(0.2).then_some(SHORT),
        };
        let backends = names.iter().enumerate().map(backend).collect();
        let mut routes = Vec::new();
        if rng.random_bool(0.5) {
            let (percent, path) = (percents(rng, baseline), rng.random_bool(0.3).then_some("/v1/chat/*"));
            routes.push(RouteState { name: "batch", workload: Some("batch*"), model: None, path, percent });
        }
        if rng.random_bool(0.5) {
            let percent = percents(rng, baseline);
            routes.push(RouteState { name: "mini", workload: None, model: Some("gpt-4o-mini*"), path: None, percent });
        }
        let percent = percents(rng, baseline);
        routes.push(RouteState { name: "default", workload: None, model: None, path: None, percent });
        Self {
            name: format!("n{}", rng.random_range(0..1000)),
            backends,
            baseline,
            routes,
            sticky: one(rng, &STICKY),
            failover: rng.random_bool(0.75),
            allow_override: rng.random_bool(0.5),
        }
    }

    /// The file as a user writes it.
    pub(crate) fn text(&self) -> String {
        let percent = |route: &RouteState| {
            let named = self.backends.iter().zip(route.percent).enumerate().filter(|(at, _)| *at != self.baseline);
            let entry = |(_, (backend, units)): (usize, (&BackendState, u16))| {
                format!("{} = {}.{:02}", backend.name, units / 100, units % 100)
            };
            named.map(entry).collect::<Vec<_>>().join(", ")
        };
        let (last, first) = self.routes.split_last().unwrap();
        let mut text = format!(
            "[server]\nmax_body = \"{MAX_BODY}B\"\nallow_override = {}\n[failover]\nenabled = {}\n[rollout]\nname = {:?}\n\
             baseline = {:?}\npercent = {{ {} }}\nsticky = {:?}\n",
            self.allow_override,
            self.failover,
            self.name,
            self.backends[self.baseline].name,
            percent(last),
            self.sticky,
        );
        for route in first {
            let header = route.workload.map(|glob| format!("header = {{ x-workload = {glob:?} }}"));
            let model = route.model.map(|glob| format!("model = {glob:?}"));
            let path = route.path.map(|glob| format!("path = {glob:?}"));
            let rule = [header, model, path].into_iter().flatten().collect::<Vec<_>>().join(", ");
            let (name, percent) = (route.name, percent(route));
            writeln!(text, "[[route]]\nname = {name:?}\nmatch = {{ {rule} }}\npercent = {{ {percent} }}").unwrap();
        }
        for backend in &self.backends {
            text.push_str(&backend.text());
        }
        text
    }
}

impl BackendState {
    fn text(&self) -> String {
        let mut text = format!(
            "[backend.{}]\nengine = {:?}\nurl = \"http://127.0.0.1:9/v1\"\napi_key = \"none\"\nvision = {}\nresponses = {}\n\
             logprobs = {:?}\ntranslate = {:?}\n",
            self.name,
            self.engine,
            self.vision,
            self.responses,
            if self.pins_logprobs { "pin" } else { "pass" },
            if self.strict { "strict" } else { "lenient" },
        );
        if self.pins_unknown {
            text.push_str("pin_on_unknown = [\"x_new\"]\n");
        }
        if let Some(tokens) = self.max_model_len {
            writeln!(text, "max_model_len = {tokens}").unwrap();
        }
        if !self.models.is_empty() {
            let entries: Vec<String> = self.models.iter().map(|(app, own)| format!("{app:?} = {own:?}")).collect();
            writeln!(text, "models = {{ {} }}", entries.join(", ")).unwrap();
        }
        text
    }
}

impl LiveState {
    pub(crate) fn random(rng: &mut StdRng, file: &FileState) -> Self {
        let mut state = Self::default();
        for at in 0..BACKENDS {
            state.availability[at] = match rng.random_range(0..9) {
                0 => Availability::Overload,
                1 => Availability::Cooldown,
                2 => Availability::Breaker,
                _ => Availability::Free,
            };
            let is_probed = rng.random_bool(0.3);
            let missing = if is_probed && rng.random_bool(0.5) { rng.random_range(0..32) } else { 0 };
            let max_model_len = rng.random_bool(0.2).then(|| one(rng, &[SHORT, 1_000_000]));
            state.known[at] = Known {
                max_model_len,
                max_input_tokens: None,
                missing: MissingFeatures::from_bits(missing),
                is_probed,
            };
            if at != file.baseline && rng.random_bool(0.2) {
                state.withdrawn.push(at);
            }
        }
        state
    }
}

const FEATURES: [Feature; 17] = [
    Feature::Plain,
    Feature::Tools,
    Feature::CustomTool,
    Feature::JsonSchema,
    Feature::JsonObject,
    Feature::SchemaAndTools,
    Feature::Choices,
    Feature::Bias,
    Feature::Logprobs,
    Feature::Image,
    Feature::Audio,
    Feature::File,
    Feature::Search,
    Feature::AudioOut,
    Feature::Unknown,
    Feature::Verbosity,
    Feature::Long,
];
/// Context, in tokens, that only a long prompt passes: it has 4,400 bytes, the others a few hundred.
pub(crate) const SHORT: u64 = 1000;
/// Features whose treatment under `translate = "strict"` does not depend on the engine.
const CLEAR: [Feature; 7] = [
    Feature::Plain,
    Feature::CustomTool,
    Feature::Image,
    Feature::File,
    Feature::Search,
    Feature::Verbosity,
    Feature::Long,
];
/// Features that a request of `/v1/responses` can have here.
const OF_RESPONSES: [Feature; 5] = [Feature::Plain, Feature::Tools, Feature::Image, Feature::File, Feature::Search];

const FUNCTION: &str = r#"{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}"#;

impl AskedState {
    pub(crate) fn random(rng: &mut StdRng, file: &FileState) -> Self {
        let kind = match rng.random_range(0..20) {
            0..=12 => Kind::Chat,
            13..=16 => Kind::Responses,
            17 => Kind::Stored,
            18 => Kind::Embeddings,
            _ => Kind::Files,
        };
        let is_strict = file.backends.iter().any(|backend| backend.strict);
        let mut features: Vec<Feature> = if is_strict { CLEAR.to_vec() } else { FEATURES.to_vec() };
        if kind == Kind::Responses {
            features.retain(|feature| OF_RESPONSES.contains(feature));
        }
        let is_plain = matches!(kind, Kind::Stored | Kind::Files | Kind::Embeddings) || rng.random_bool(0.5);
        let named = |rng: &mut StdRng| match rng.random_range(0..6) {
            0 => Named::Gone,
            1 => Named::Foreign,
            _ => Named::Backend(rng.random_range(0..BACKENDS)),
        };
        let is_split = matches!(kind, Kind::Chat | Kind::Responses);
        let mut asked = Self {
            kind,
            method: match kind {
                Kind::Stored => one(rng, &[0, 1, 2]).into_method(),
                _ => http::Method::POST,
            },
            path: String::new(),
            body_kind: BodyKind::Object,
            body: String::new(),
            headers: Vec::new(),
            model: if rng.random_bool(0.05) { None } else { Some(one(rng, &["gpt-4o", "gpt-4o-mini", "o3"])) },
            feature: if is_plain { Feature::Plain } else { one(rng, &features) },
            stream: rng.random_bool(0.4),
            stateless: kind != Kind::Responses || rng.random_bool(0.8),
            state: (kind == Kind::Stored || (kind == Kind::Responses && rng.random_bool(0.3))).then(|| named(rng)),
            call: (is_split && !is_strict && rng.random_bool(0.25)).then(|| (named(rng), rng.random_bool(0.8))),
            session: rng.random_bool(0.5).then(|| format!("s{}", rng.random_range(0..10_000))),
            user: rng.random_bool(0.4).then(|| format!("u{}", rng.random_range(0..10_000))),
            has_text: rng.random_bool(0.9),
            named: match rng.random_range(0..20) {
                0 => Some("nobody".to_owned()),
                1..=3 => Some(file.backends[rng.random_range(0..BACKENDS)].name.to_owned()),
                _ => None,
            },
            retry: one(rng, &[None, None, None, None, None, None, None, Some("0"), Some("1"), Some("3")]),
            workload: one(rng, &[None, None, Some("batch-7"), Some("live")]),
        };
        asked.write_path(file, rng.random());
        asked.write_body(file, rng);
        asked.write_headers();
        asked
    }

    fn write_path(&mut self, file: &FileState, seed: u32) {
        self.path = match self.kind {
            Kind::Chat => "/v1/chat/completions".to_owned(),
            Kind::Responses => "/v1/responses".to_owned(),
            Kind::Embeddings => "/v1/embeddings".to_owned(),
            Kind::Files => "/v1/files".to_owned(),
            Kind::Stored => {
                let rest = if self.method == http::Method::POST { "/cancel" } else { "" };
                format!("/v1/responses/{}{rest}", state_id(file, self.state.unwrap(), seed))
            }
        };
    }

    fn write_headers(&mut self) {
        let mut headers = Vec::new();
        headers.extend(self.session.clone().map(|session| ("x-session-id", session)));
        headers.extend(self.named.clone().map(|name| ("x-shiftgate-backend", name)));
        headers.extend(self.retry.map(|count| ("x-stainless-retry-count", count.to_owned())));
        headers.extend(self.workload.map(|workload| ("x-workload", workload.to_owned())));
        self.headers = headers;
    }

    fn write_body(&mut self, file: &FileState, rng: &mut StdRng) {
        if self.method != http::Method::POST {
            return;
        }
        if matches!(self.kind, Kind::Chat | Kind::Responses) {
            self.body_kind = match rng.random_range(0..25) {
                0 => BodyKind::Garbage,
                1 => BodyKind::OverCap,
                _ => BodyKind::Object,
            };
        }
        if self.body_kind == BodyKind::Garbage {
            self.body = one(rng, &["", "[]", "{\"model\":\"gpt-4o\"", "{\"model\":\"a\",\"model\":\"b\"}"]).to_owned();
            return;
        }
        let mut fields: Vec<String> = Vec::new();
        fields.extend(self.model.map(|model| format!("\"model\":{model:?}")));
        fields.extend(self.user.as_ref().map(|user| format!("\"user\":{user:?}")));
        fields.extend(self.stream.then(|| "\"stream\":true".to_owned()));
        let seed = u128::from(rng.random::<u64>());
        match self.kind {
            Kind::Chat => self.write_chat(file, seed, &mut fields),
            Kind::Responses => self.write_responses(file, seed, &mut fields, rng),
            Kind::Embeddings => fields.push("\"input\":\"x\"".to_owned()),
            Kind::Stored | Kind::Files => {}
        }
        if self.body_kind == BodyKind::OverCap {
            fields.push(format!("\"pad\":\"{}\"", "x".repeat(MAX_BODY)));
        }
        self.body = format!("{{{}}}", fields.join(","));
    }

    fn write_chat(&self, file: &FileState, seed: u128, fields: &mut Vec<String>) {
        let part = |part: &str| format!("[{{\"type\":\"text\",\"text\":\"hi\"}},{part}]");
        let content = match self.feature {
            Feature::Image => part(r#"{"type":"image_url","image_url":{"url":"https://h/i.png"}}"#),
            Feature::Audio => part(r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#),
            Feature::File => part(r#"{"type":"file","file":{"file_id":"file-1"}}"#),
            Feature::Long => format!("\"{}\"", "many words ".repeat(400)),
            _ => "\"hi\"".to_owned(),
        };
        let mut messages = vec![r#"{"role":"system","content":"be brief"}"#.to_owned()];
        if self.has_text || self.has_part() {
            messages.push(format!("{{\"role\":\"user\",\"content\":{content}}}"));
        }
        if let Some((owner, is_last)) = self.call {
            let id = tool_id(file, owner, seed);
            let function = r#"{"name":"f","arguments":"{}"}"#;
            messages.push(format!(
                "{{\"role\":\"assistant\",\"tool_calls\":[{{\"id\":{id:?},\"type\":\"function\",\"function\":{function}}}]}}"
            ));
            messages.push(format!("{{\"role\":\"tool\",\"tool_call_id\":{id:?},\"content\":\"42\"}}"));
            if !is_last {
                messages.push(r#"{"role":"user","content":"and?"}"#.to_owned());
            }
        }
        fields.push(format!("\"messages\":[{}]", messages.join(",")));
        let tools = format!("\"tools\":[{{\"type\":\"function\",\"function\":{FUNCTION}}}]");
        let schema = r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#;
        let schema = format!(
            "\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"s\",\"schema\":{schema}}}}}"
        );
        match self.feature {
            Feature::Tools => fields.push(tools),
            Feature::CustomTool => fields.push(r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#.to_owned()),
            Feature::JsonSchema => fields.push(schema),
            Feature::JsonObject => fields.push(r#""response_format":{"type":"json_object"}"#.to_owned()),
            Feature::SchemaAndTools => fields.extend([tools, schema]),
            Feature::Choices => fields.push("\"n\":2".to_owned()),
            Feature::Bias => fields.push("\"logit_bias\":{\"1\":100}".to_owned()),
            Feature::Logprobs => fields.push("\"logprobs\":true".to_owned()),
            Feature::Search => fields.push("\"web_search_options\":{}".to_owned()),
            Feature::AudioOut => fields.push(r#""audio":{"voice":"v","format":"wav"}"#.to_owned()),
            Feature::Unknown => fields.push("\"x_new\":1".to_owned()),
            Feature::Verbosity => fields.push("\"verbosity\":\"low\"".to_owned()),
            Feature::Plain | Feature::Image | Feature::Audio | Feature::File | Feature::Long => {}
        }
    }

    fn write_responses(&self, file: &FileState, seed: u128, fields: &mut Vec<String>, rng: &mut StdRng) {
        let part = match self.feature {
            Feature::Image => r#"{"type":"input_image","image_url":"https://h/i.png"}"#,
            Feature::File => r#"{"type":"input_file","file_id":"file-1"}"#,
            _ => r#"{"type":"input_text","text":"hi"}"#,
        };
        let mut items = Vec::new();
        if self.has_text || self.has_part() {
            items.push(format!("{{\"type\":\"message\",\"role\":\"user\",\"content\":[{part}]}}"));
        }
        if let Some((owner, is_last)) = self.call {
            let id = tool_id(file, owner, seed);
            items.push(format!(
                "{{\"type\":\"function_call\",\"call_id\":{id:?},\"name\":\"f\",\"arguments\":\"{{}}\"}}"
            ));
            items.push(format!("{{\"type\":\"function_call_output\",\"call_id\":{id:?},\"output\":\"42\"}}"));
            if !is_last {
                items.push(r#"{"type":"message","role":"user","content":"and?"}"#.to_owned());
            }
        }
        fields.push(format!("\"input\":[{}]", items.join(",")));
        match self.feature {
            Feature::Tools => {
                fields.push(format!("\"tools\":[{{\"type\":\"function\",{}]", FUNCTION.trim_start_matches('{')))
            }
            Feature::Search => fields.push(r#""tools":[{"type":"web_search"}]"#.to_owned()),
            _ => {}
        }
        if let Some(named) = self.state {
            fields.push(format!("\"previous_response_id\":{:?}", state_id(file, named, rng.random())));
        }
        if self.stateless {
            fields.push("\"store\":false".to_owned());
        } else {
            fields.push(
                one(rng, &["\"store\":true", "\"store\":null", "\"background\":true", "\"metadata\":null"]).to_owned(),
            );
        }
    }

    /// True if the message of the user is there for its parts.
    fn has_part(&self) -> bool {
        matches!(self.feature, Feature::Image | Feature::Audio | Feature::File | Feature::Long)
    }

    /// True if the body begins a conversation that can be a key.
    pub(crate) fn has_opening(&self) -> bool {
        let later = self.call.is_some_and(|(_, is_last)| !is_last);
        let of_parts = self.kind == Kind::Responses && matches!(self.feature, Feature::Image | Feature::File);
        match self.kind {
            Kind::Chat => self.has_text || self.has_part() || later,
            Kind::Responses if of_parts => false,
            Kind::Responses => self.has_text || later,
            Kind::Embeddings => true,
            Kind::Stored | Kind::Files => false,
        }
    }
}

trait IntoMethod {
    fn into_method(self) -> http::Method;
}

impl IntoMethod for usize {
    fn into_method(self) -> http::Method {
        [http::Method::GET, http::Method::DELETE, http::Method::POST][self].clone()
    }
}

fn owner(file: &FileState, named: Named) -> Option<Owner> {
    match named {
        Named::Backend(at) => Some(Owner::of(file.backends[at].name)),
        Named::Gone => Some(Owner::of("gone")),
        Named::Foreign => None,
    }
}

fn state_id(file: &FileState, named: Named, seed: u32) -> String {
    let own = format!("resp_{seed:x}");
    owner(file, named).map_or_else(|| own.clone(), |owner| response_id(owner, &own))
}

fn tool_id(file: &FileState, named: Named, seed: u128) -> String {
    owner(file, named).map_or_else(|| format!("call_{seed:x}"), |owner| call_id(owner, seed, 0, 0))
}
