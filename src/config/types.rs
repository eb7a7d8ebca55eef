//! What rollout.toml means once it is known to be good. `design.md` words, units made into types.

use std::net::SocketAddr;
use std::ops::Index;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::{Authority, Scheme};

use crate::model::{BackendId, Engine, Family, Glob, Percent, RouteId, Secret};

/// One validated reading of rollout.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it was read from, as the user named it.
    pub path: PathBuf,
    pub server: Server,
    pub limits: Limits,
    /// `[rollout]`'s name: the salt of the assignment.
    pub name: String,
    /// The backend that serves what is not shifted.
    pub baseline: BackendId,
    pub sticky: Vec<KeySource>,
    /// In the file's order; the last one is always `default`, made of `[rollout]`, and matches everything.
    pub routes: Vec<Route>,
    /// In the file's order.
    pub backends: Vec<Backend>,
    pub failover: Failover,
    pub shadow: Option<Shadow>,
    pub records: Option<Records>,
    pub telemetry: Telemetry,
    /// First 16 hex digits of the SHA-256 over the file, the secrets and the TLS files it names.
    pub hash: String,
    /// Files named by the file (secrets, certificates), resolved: watched like the file itself.
    pub watched: Vec<PathBuf>,
}

/// `[server]`. What needs a restart: `listen`, `admin`, `threads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub listen: Listen,
    pub admin: SocketAddr,
    pub max_body: u64,
    pub drain: Duration,
    pub threads: usize,
    pub request_log: bool,
    pub allow_override: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// `[limits]`: of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub in_flight: usize,
    pub connections: usize,
    pub body_bytes: u64,
    pub head: usize,
}

/// Where a key may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    Header(HeaderName),
    /// A field of the body, by its path: `metadata.session_id`.
    Field(Vec<String>),
    /// A hash over system text, first user text and tool names.
    Conversation,
}

impl KeySource {
    /// As it is written in the file.
    pub fn describe(&self) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::Field(path) => path.join("."),
            Self::Conversation => "hash:conversation".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: String,
    pub matcher: RouteMatch,
    /// Every candidate of the file (each backend but the baseline), by name;
    /// one that the table does not name is there at 0.
    pub percent: Vec<(BackendId, Percent)>,
}

/// All that is given must match; nothing given matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    pub path: Option<Glob>,
    pub model: Option<Glob>,
    pub header: Vec<(HeaderName, Glob)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    pub name: String,
    pub engine: Engine,
    pub url: BackendUrl,
    pub api_key: ApiKey,
    /// App's model → this server's. Empty: the app's name goes as it is.
    pub models: Vec<(Glob, String)>,
    pub family: Option<Family>,
    pub price: Option<Price>,
    pub timeout: Timeouts,
    pub breaker: Option<Breaker>,
    pub max_in_flight: Option<usize>,
    pub inject_usage: bool,
    pub tls: Option<TlsFiles>,
    pub headers: Vec<HeaderName>,
    pub propagate: Vec<HeaderName>,
    pub metrics: Vec<BackendUrl>,
    pub max_waiting: Option<u64>,
    pub max_kv_usage: Option<f64>,
    pub proxy: Option<Proxy>,
    pub h2: bool,
    /// How long an idle connection is kept for the next request.
    pub keepalive: Duration,
    pub translation: Translation,
}

/// `url`, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    pub scheme: Scheme,
    pub authority: Authority,
    /// Without the slash at its end: `/v1`, or empty.
    pub path: String,
}

impl BackendUrl {
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Without brackets around an IPv6 address.
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or_else(|| if self.is_https() { 443 } else { 80 })
    }
}

/// As a person writes it. A user name or password is refused in the file, so nothing in it is secret.
impl std::fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// What the app sent.
    Client,
    None,
    /// `value` is absent when it is optional and not there, or when secrets were not asked for.
    Stored {
        source: SecretSource,
        value: Option<Secret>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    Env { name: String, optional: bool },
    File { path: PathBuf, optional: bool },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Price {
    /// USD per million tokens by the backend's model name, longest match wins.
    Tokens(Vec<(Glob, TokenPrice)>),
    /// A machine's price and what it sustains; without `tokens_per_second` it is read from `metrics`.
    Gpu { gpu_hour: f64, gpus: f64, tokens_per_second: Option<f64> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenPrice {
    pub input: f64,
    pub cached_input: Option<f64>,
    pub output: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub ttft: Option<Duration>,
    pub idle: Option<Duration>,
    pub total: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    pub failures: u32,
    pub ratio: f64,
    pub min: u32,
    pub window: Duration,
    pub open: Duration,
}

/// The PEM files of `tls`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: Option<PemFile>,
    /// Certificate chain and key.
    pub client: Option<(PemFile, PemKey)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    pub path: PathBuf,
    pub pem: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemKey {
    pub path: PathBuf,
    pub pem: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// CONNECT through this http:// proxy; credentials of its URL, if any, ready as a Basic header value.
    Url { url: BackendUrl, basic: Option<Secret> },
    /// HTTPS_PROXY and NO_PROXY, resolved for this backend: `None` when they name none for it.
    Env(Option<(BackendUrl, Option<Secret>)>),
}

/// Options of the translation table.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    pub vision: bool,
    pub reasoning: ReasoningPolicy,
    pub logprobs: LogprobsPolicy,
    pub late_system: LateSystem,
    pub strict: bool,
    pub pin_on_unknown: Vec<String>,
    pub responses: bool,
    pub probe: bool,
    pub thinking_budget_factor: f64,
    pub default_max_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub max_model_len: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningPolicy {
    Strip,
    ReasoningContent,
    Reasoning,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogprobsPolicy {
    Pass,
    Pin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateSystem {
    Merge,
    AsUser,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failover {
    pub enabled: bool,
    pub retry_budget: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    pub percent: Percent,
    pub to: ShadowTo,
    pub max_in_flight: usize,
    pub max_bytes: u64,
    pub budget_usd_per_hour: f64,
    pub noise_percent: Percent,
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowTo {
    /// Index into `Config::backends`.
    Candidate(BackendId),
    Baseline,
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    pub path: PathBuf,
    pub content: bool,
    pub max_size: u64,
    pub keep: u32,
}

/// Without the section nothing is exported, unless the environment says where to.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    pub otlp: Option<String>,
    pub service_name: String,
    pub sample: f64,
    pub keep: Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub slower_than: Duration,
    pub per_second: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        let keep = Keep { slower_than: Duration::from_secs(30), per_second: 10 };
        Self { otlp: None, service_name: "shiftgate".to_owned(), sample: 1.0, keep }
    }
}

impl Config {
    /// The backend of this name.
    pub fn backend(&self, name: &str) -> Option<BackendId> {
        self.backends.iter().position(|backend| backend.name == name).map(BackendId::new)
    }

    /// Every backend with its id, in the file's order.
    pub fn backends_with_ids(&self) -> impl Iterator<Item = (BackendId, &Backend)> + Clone {
        self.backends.iter().enumerate().map(|(position, backend)| (BackendId::new(position), backend))
    }

    /// Every route with its id, in the file's order; `default` is the last.
    pub fn routes_with_ids(&self) -> impl Iterator<Item = (RouteId, &Route)> + Clone {
        self.routes.iter().enumerate().map(|(position, route)| (RouteId::new(position), route))
    }
}

/// Panics for an id of another reading that had more backends.
impl Index<BackendId> for Config {
    type Output = Backend;

    fn index(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }
}

/// Panics for an id of another reading that had more routes.
impl Index<RouteId> for Config {
    type Output = Route;

    fn index(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }
}

impl Backend {
    /// What this server calls the app's model; `None` when `models` is given and nothing in it matches.
    pub fn model_for<'a>(&'a self, app_model: &'a str) -> Option<&'a str> {
        if self.models.is_empty() {
            return Some(app_model);
        }
        Glob::longest(&self.models, app_model).map(String::as_str)
    }
}
