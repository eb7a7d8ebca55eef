//! One `[backend.X]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::{Authority, Scheme};

use crate::model::{Engine, Family, Glob, Secret};

/// A backend: its address, key, limits and options.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The X of `[backend.X]`.
    pub name: String,
    /// Server software, which selects the translation.
    pub engine: Engine,
    /// Base URL, up to and including `/v1`.
    pub url: BackendUrl,
    /// Source of the key that is sent.
    pub api_key: ApiKey,
    /// Patterns of the application's model names, each with this server's name. Empty: the name is sent unchanged.
    pub models: Vec<(Glob, String)>,
    /// Chat template of the model.
    pub family: Option<Family>,
    /// Price; without one the cost is unknown.
    pub price: Option<Price>,
    /// Timeouts of one attempt.
    pub timeout: Timeouts,
    /// Circuit breaker; `None` if it is off.
    pub breaker: Option<Breaker>,
    /// Limit on requests in flight; above it the baseline serves.
    pub max_in_flight: Option<usize>,
    /// True if streams are asked for usage that the application did not ask for, and does not see.
    pub inject_usage: bool,
    /// CA and client certificate.
    pub tls: Option<TlsFiles>,
    /// Additional request headers that are forwarded.
    pub headers: Vec<HeaderName>,
    /// Trace headers that are forwarded.
    pub propagate: Vec<HeaderName>,
    /// Prometheus pages that tell the load of this backend's servers.
    pub metrics: Vec<BackendUrl>,
    /// Number of waiting requests above which the baseline serves.
    pub max_waiting: Option<u64>,
    /// Used share of the KV cache, 0 to 1, above which the baseline serves.
    pub max_kv_usage: Option<f64>,
    /// True if its models are asked for dates at which they are switched off.
    pub watch_models: bool,
    /// HTTP proxy towards the backend.
    pub proxy: Option<Proxy>,
    /// True if HTTP/2 is spoken.
    pub h2: bool,
    /// Time for which an idle connection stays in the pool.
    pub keepalive: Duration,
    /// Tags that residency rules name.
    pub tags: Vec<String>,
    /// Header that carries the hash of a request's key, for a router in front of several replicas.
    pub affinity: Option<HeaderName>,
    /// Wording that is put beside the application's system text, or in its place.
    pub system: Option<OwnWording>,
    /// Options of the translation.
    pub translation: Translation,
}

impl Backend {
    /// Returns this server's name for the application's model; `None` if `models` is given and no pattern matches.
    pub fn model_for<'a>(&'a self, app_model: &'a str) -> Option<&'a str> {
        if self.models.is_empty() {
            return Some(app_model);
        }
        Glob::longest(&self.models, app_model).map(String::as_str)
    }
}

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port, without credentials.
    pub authority: Authority,
    /// Path without a trailing slash: `/v1`, or empty.
    pub path: String,
}

impl BackendUrl {
    /// True if connections use TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Host name or address, without brackets around an IPv6 address.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// Port, by default that of the scheme.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or_else(|| if self.is_https() { 443 } else { 80 })
    }
}

/// Shows the whole URL. It holds no secret: credentials in it are refused.
impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// `api_key`: source of the key that a backend gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// The application's own key is forwarded.
    Client,
    /// No key is sent.
    None,
    /// A key that shiftgate holds.
    Stored {
        /// Place that the key is read from.
        source: SecretSource,
        /// The key; absent if it is optional and missing, or if secrets were not read.
        value: Option<Secret>,
    },
}

/// Place that a key is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env {
        /// Name of the variable.
        name: String,
        /// True if it may be unset.
        optional: bool,
    },
    /// A file that holds only the key.
    File {
        /// Resolved path.
        path: PathBuf,
        /// True if it may be missing.
        optional: bool,
    },
}

/// `price`.
#[derive(Debug, Clone, PartialEq)]
pub enum Price {
    /// Token prices by patterns of the backend's model names; the longest match wins.
    Tokens(Vec<(Glob, TokenPrice)>),
    /// Price of the machine, divided among the tokens that it generates.
    Gpu {
        /// USD for one GPU for one hour.
        gpu_hour: f64,
        /// Number of GPUs.
        gpus: f64,
        /// Sustained speed of all GPUs together; without it the speed is read from `metrics`.
        tokens_per_second: Option<f64>,
    },
}

/// Prices in USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenPrice {
    /// Prompt tokens.
    pub input: f64,
    /// Prompt tokens that came from a cache; without it they cost as much as others.
    pub cached_input: Option<f64>,
    /// Generated tokens.
    pub output: f64,
}

/// `timeout`: limits on one attempt; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time from sending the request to the first content of the answer.
    pub ttft: Option<Duration>,
    /// Time between two pieces of the answer.
    pub idle: Option<Duration>,
    /// Time for the whole attempt.
    pub total: Option<Duration>,
}

/// `breaker`: conditions under which a candidate gets no requests for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Number of failures in a row that opens it.
    pub failures: u32,
    /// Failed share of the attempts in the window, 0 to 1, that opens it.
    pub ratio: f64,
    /// Number of attempts in the window below which `ratio` does not apply.
    pub min: u32,
    /// Length of the window.
    pub window: Duration,
    /// Time for which it stays open before one request tries the candidate again.
    pub open: Duration,
}

/// The PEM files of `tls`, with their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that are trusted instead of the system's.
    pub ca: Option<PemFile>,
    /// Client certificate chain and its key.
    pub client: Option<(PemFile, PemKey)>,
}

/// Certificates in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Resolved path.
    pub path: PathBuf,
    /// Content of the file.
    pub pem: Vec<u8>,
}

/// A private key in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemKey {
    /// Resolved path.
    pub path: PathBuf,
    /// Content of the file.
    pub pem: Secret,
}

/// `proxy`: the HTTP proxy through which a backend is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// A proxy that the file names.
    Url {
        /// Address of the proxy, without credentials.
        url: BackendUrl,
        /// Value of a Basic `proxy-authorization` header, made of the URL's credentials.
        basic: Option<Secret>,
    },
    /// The proxy of HTTPS_PROXY and NO_PROXY, in the same parts; `None` if they name none for this backend.
    Env(Option<(BackendUrl, Option<Secret>)>),
}

/// `system`: a backend's own wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnWording {
    /// Place of the wording.
    pub mode: WordingMode,
    /// Resolved path of the file.
    pub path: PathBuf,
    /// The file's text without white space at its ends; absent if it is missing and secrets were not read.
    pub text: Option<String>,
}

/// Place of a backend's own wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordingMode {
    /// After the application's system text.
    Append,
    /// Before the application's system text.
    Prepend,
    /// In place of the application's system text.
    Replace,
}

impl WordingMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Append, Self::Prepend, Self::Replace];

    /// Returns the key in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Prepend => "prepend",
            Self::Replace => "replace",
        }
    }
}

/// Options of the translation.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// True if the model sees images; otherwise requests with images are pinned.
    pub vision: bool,
    /// Treatment of the model's thoughts.
    pub reasoning: ReasoningPolicy,
    /// Treatment of requests for logprobs.
    pub logprobs: LogprobsPolicy,
    /// Treatment of system messages that are not the first message.
    pub late_system: LateSystem,
    /// True if a request is pinned when its translation would change the answer.
    pub strict: bool,
    /// Names of fields that pin a request if this engine does not know them.
    pub pin_on_unknown: Vec<String>,
    /// True if the server has `/v1/responses` itself.
    pub responses: bool,
    /// True if features are probed at start, and requests that need a missing one are pinned.
    pub probe: bool,
    /// Factor, above 1, on the requested `max_tokens` of requests that think.
    pub thinking_budget_factor: f64,
    /// `max_tokens` of a request that has none.
    pub default_max_tokens: Option<u64>,
    /// Upper limit on the requested `max_tokens`.
    pub max_output_tokens: Option<u64>,
    /// Context length of the model, in tokens.
    pub max_model_len: Option<u64>,
}

/// Treatment of a model's thoughts in its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningPolicy {
    /// Removes them.
    Strip,
    /// Passes them on as `reasoning_content`.
    ReasoningContent,
    /// Passes them on as `reasoning`.
    Reasoning,
    /// Passes them on under both names.
    Both,
}

/// Treatment of requests for logprobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogprobsPolicy {
    /// Passes them to the candidate.
    Pass,
    /// Pins the request to the baseline.
    Pin,
}

/// Treatment of system messages that are not the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateSystem {
    /// Appends them to the first system message.
    Merge,
    /// Sends them as user messages.
    AsUser,
}
