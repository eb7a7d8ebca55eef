//! rollout.toml as people write it: the types that `rollout.schema.json` is generated from. The binary reads the file
//! by hand, to report every problem with its place; `agreement.rs` holds these types to that reader.
//!
//! A doc comment is the text that an editor shows.

#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// shiftgate's file. It is read again whenever it is saved.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "rollout.toml of shiftgate")]
pub(crate) struct Rollout {
    server: Option<Server>,
    limits: Option<Limits>,
    rollout: Split,
    /// Rules that give some requests their own percents; the first one that matches applies.
    route: Option<Vec<Route>>,
    /// Rules on where requests may go; nothing overrides them.
    residency: Option<Vec<Residency>>,
    /// One table for each server: `[backend.NAME]`.
    #[schemars(extend("minProperties" = 1, "propertyNames" = { "pattern": "^[A-Za-z0-9_.-]+$" }))]
    backend: BTreeMap<String, Backend>,
    failover: Option<Failover>,
    shadow: Option<Shadow>,
    records: Option<Records>,
    guard: Option<Guard>,
    telemetry: Option<Telemetry>,
}

/// A time with its unit: "500ms", "20s", "10m", "1h".
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Time(
    #[schemars(regex(pattern = r"^\s*\+?(?=[0-9.]*[1-9])([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*(ms|s|m|h)$"))]
    String,
);

/// A size with its unit: "64KiB", "32MiB".
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Size(#[schemars(regex(pattern = r"^\s*\+?(?=[0-9]*[1-9])[0-9]+\s*(B|KiB|MiB|GiB|kB|KB|MB|GB)$"))] String);

/// Text that is not empty.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Text(#[schemars(length(min = 1))] String);

/// A number from 0 to 100 with at most two decimals.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Percent(#[schemars(range(min = 0, max = 100))] f64);

/// A number from 0 to 1.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Share(#[schemars(range(min = 0, max = 1))] f64);

/// A number from 1 to 1,000,000.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Count(#[schemars(extend("type" = "integer", "minimum" = 1, "maximum" = 1_000_000))] i64);

/// A number of tokens.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Tokens(#[schemars(extend("type" = "integer", "minimum" = 1, "maximum" = 100_000_000))] i64);

/// A number above 0.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Positive(#[schemars(extend("exclusiveMinimum" = 0))] f64);

/// A number from 0 up, in USD.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Money(#[schemars(range(min = 0))] f64);

/// A URL without user name, query and fragment.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Url(
    #[schemars(regex(
        pattern = r"^[hH][tT][tT][pP][sS]?://(\[[0-9a-fA-F:.]+\]|[^/?#@:\[\]\s]+)(:[0-9]{1,5})?(/[^?#\s]*)?$"
    ))]
    String,
);

/// The name of a header.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Header(#[schemars(regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))] String);

/// A word of letters, digits, '-', '_' and '.'.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Tag(#[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+$"))] String);

/// Settings of the process.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Server {
    /// Address for applications, or "unix:PATH". A change needs a restart.
    #[schemars(
        regex(pattern = r"^(unix:.+|(\[[0-9a-fA-F:.%]+\]|[0-9.]+|localhost):[0-9]{1,5})$"),
        extend("default" = "127.0.0.1:8080")
    )]
    listen: Option<String>,
    /// Address of /healthz, /readyz, /status and /metrics. A change needs a restart.
    #[schemars(
        regex(pattern = r"^(\[[0-9a-fA-F:.%]+\]|[0-9.]+|localhost):[0-9]{1,5}$"),
        extend("default" = "127.0.0.1:9900")
    )]
    admin: Option<String>,
    /// A larger request body is not read and streams to the baseline.
    #[schemars(extend("default" = "32MiB"))]
    max_body: Option<Size>,
    /// After SIGTERM, time for running answers to finish.
    #[schemars(extend("default" = "20s"))]
    drain: Option<Time>,
    /// Number of worker threads. A change needs a restart.
    #[schemars(extend("type" = "integer", "minimum" = 1, "maximum" = 256, "default" = 2))]
    threads: Option<i64>,
    /// Log one line per request.
    #[schemars(extend("default" = true))]
    request_log: Option<bool>,
    /// A request may name its backend in the header x-shiftgate-backend.
    #[schemars(extend("default" = false))]
    allow_override: Option<bool>,
    /// File with what survives a restart: withdrawals by the guard, and the history. Without it they are in memory only.
    state: Option<Text>,
}

/// Limits of the whole process; above one of them requests get 503.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Limits {
    /// Requests at once.
    #[schemars(extend("default" = 1024))]
    in_flight: Option<Count>,
    /// Connections from applications.
    #[schemars(extend("default" = 10_000))]
    connections: Option<Count>,
    /// Request bodies and answers in memory at once.
    #[schemars(extend("default" = "256MiB"))]
    body_bytes: Option<Size>,
    /// Head of one request, from 1KiB to 1MiB; a larger one gets 431.
    #[schemars(extend("default" = "64KiB"))]
    head: Option<Size>,
}

/// `[rollout]`: the baseline and the percents of candidates.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Split {
    /// Salt of the assignment: a new name assigns every request anew.
    name: Text,
    /// Name of the backend that serves all requests that are not shifted.
    baseline: Text,
    /// Percent of each candidate: edit this. The baseline serves the rest.
    percent: BTreeMap<String, Percent>,
    /// Keys that keep requests together; the first one that a request has. An empty list: each request is drawn.
    sticky: Option<Vec<Sticky>>,
}

/// "header:NAME", a field of the body such as "metadata.session_id", or "hash:conversation".
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Sticky(
    #[schemars(regex(pattern = r"^(header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|hash:conversation|[^:.]+(\.[^:.]+)*)$"))] String,
);

/// A route.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Route {
    /// Its own name, shown in /status; part of the assignment's salt.
    #[schemars(extend("not" = { "const": "default" }))]
    name: Text,
    /// Which requests it matches; without it, all.
    r#match: Option<Match>,
    /// Percent of each candidate on this route.
    percent: BTreeMap<String, Percent>,
    /// false: its requests are never copied; a number: their own percent of copies.
    shadow: Option<RouteShadow>,
    /// This route's own `overdue` of the guard, where answers are known to take long; from 100ms.
    overdue: Option<Time>,
}

/// Whether requests of a route are copied.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum RouteShadow {
    Whether(bool),
    Percent(Percent),
}

/// A condition on requests: each given part has to match. `*` stands for anything.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Match {
    /// Path of the request.
    path: Option<Text>,
    /// Model that the application asks for.
    model: Option<Text>,
    /// Values of headers.
    #[schemars(extend("propertyNames" = { "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }))]
    header: Option<BTreeMap<String, Text>>,
    /// Values of fields of the body, by their path in quotes: "metadata.region".
    #[schemars(extend("propertyNames" = { "pattern": "^[^.]+(\\.[^.]+)*$" }))]
    field: Option<BTreeMap<String, Text>>,
}

/// A residency rule.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Residency {
    /// Its own name, shown in errors and metrics.
    name: Text,
    /// Which requests it concerns; without it, all.
    r#match: Option<Match>,
    /// Tags: a backend with one of them may see these requests.
    #[schemars(length(min = 1))]
    allow: Vec<Text>,
}

/// A server that can answer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend(
    "if" = { "properties": { "watch_models": { "const": true } }, "required": ["watch_models"] },
    "then" = { "properties": { "api_key": { "type": "object" } } }
))]
struct Backend {
    engine: Engine,
    /// Its base URL; the path after /v1 is joined to it.
    url: Url,
    api_key: ApiKey,
    /// The application's model name = this server's; `*` stands for anything, the longest match wins.
    models: Option<BTreeMap<String, Text>>,
    family: Option<Family>,
    price: Option<Price>,
    timeout: Option<Timeout>,
    breaker: Option<Breaker>,
    /// Requests at once; further ones of a candidate are served by the baseline.
    max_in_flight: Option<Count>,
    /// Streams ask for usage, so that they can be priced; the application does not see it.
    #[schemars(extend("default" = false))]
    inject_usage: Option<bool>,
    tls: Option<Tls>,
    /// Headers of the application that this backend gets beside the usual ones.
    headers: Option<Vec<Header>>,
    /// Trace headers that it gets.
    propagate: Option<Vec<Header>>,
    /// Header with a hash of the request's key, for a router in front of several replicas; "" turns it off.
    #[schemars(regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$"))]
    affinity: Option<String>,
    /// Words that residency rules name.
    tags: Option<Vec<Tag>>,
    /// Its metrics pages: the engine's, and that of NVIDIA's DCGM exporter.
    metrics: Option<Vec<Url>>,
    /// Above this number of waiting requests the baseline serves; needs metrics.
    #[schemars(extend("type" = "integer", "minimum" = 0, "maximum" = 1_000_000))]
    max_waiting: Option<i64>,
    /// Above this share of its KV cache the baseline serves; needs metrics.
    max_kv_usage: Option<Share>,
    /// "http://proxy.corp:3128", or "env" for HTTPS_PROXY and NO_PROXY.
    #[schemars(regex(pattern = r"^(env|http://[^?#\s]+)$"))]
    proxy: Option<String>,
    /// HTTP/2 to this backend.
    #[schemars(extend("default" = false))]
    h2: Option<bool>,
    /// Time that an idle connection is kept.
    keepalive: Option<Time>,
    system: Option<System>,
    /// The model accepts images; otherwise the baseline serves them.
    #[schemars(extend("default" = false))]
    vision: Option<bool>,
    reasoning: Option<Thoughts>,
    logprobs: Option<Logprobs>,
    late_system: Option<LateSystem>,
    translate: Option<Translate>,
    /// Fields that pin a request if this engine does not know them.
    pin_on_unknown: Option<Vec<Text>>,
    /// The server has /v1/responses itself.
    #[schemars(extend("default" = false))]
    responses: Option<bool>,
    /// Test features at start; the baseline serves requests that need a missing one.
    #[schemars(extend("default" = false))]
    probe: Option<bool>,
    /// Ask its list of models once a day for models that end; needs a key of its own.
    #[schemars(extend("default" = false))]
    watch_models: Option<bool>,
    /// Factor on max_tokens of requests that think.
    #[schemars(extend("default" = 1.0))]
    thinking_budget_factor: Option<Positive>,
    /// max_tokens of a request that has none.
    default_max_tokens: Option<Tokens>,
    /// Upper limit on max_tokens.
    max_output_tokens: Option<Tokens>,
    /// Context length of the model.
    max_model_len: Option<Tokens>,
}

/// The server software.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Engine {
    Openai,
    Vllm,
    Sglang,
    Trtllm,
    Tgi,
    Dashscope,
    Compatible,
}

/// The key for this backend: "client" is what the application sent. Never a literal.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum ApiKey {
    Word(KeyWord),
    Env(EnvKey),
    File(FileKey),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum KeyWord {
    Client,
    None,
}

/// A key in an environment variable.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct EnvKey {
    /// Name of the variable.
    env: Text,
    /// It may be missing.
    #[schemars(extend("default" = false))]
    optional: Option<bool>,
}

/// A key in a file, which is watched.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FileKey {
    /// Path, from the folder of this file.
    file: Text,
    /// It may be missing.
    #[schemars(extend("default" = false))]
    optional: Option<bool>,
}

/// The chat template: decides how thinking is switched.
#[derive(JsonSchema)]
enum Family {
    #[schemars(rename = "qwen2.5")]
    Qwen25,
    #[schemars(rename = "qwen3")]
    Qwen3,
    #[schemars(rename = "qwen3.5")]
    Qwen35,
    #[schemars(rename = "qwen3.6")]
    Qwen36,
    #[schemars(rename = "qwen3.8")]
    Qwen38,
    #[schemars(rename = "instruct-2507")]
    Instruct2507,
    #[schemars(rename = "thinking")]
    Thinking,
}

/// USD per million tokens, the same by model, or per hour of GPUs.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Price {
    Gpu(GpuPrice),
    All(TokenPrice),
    #[schemars(extend("minProperties" = 1))]
    ByModel(BTreeMap<String, TokenPrice>),
}

/// The price of GPUs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GpuPrice {
    /// USD for one GPU for one hour.
    gpu_hour: Money,
    /// Number of GPUs that serve this backend.
    gpus: Positive,
    /// Sustained speed of these GPUs; left out, it is read from `metrics`.
    tokens_per_second: Option<Positive>,
}

/// USD per million tokens.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TokenPrice {
    /// Prompt tokens.
    input: Money,
    /// Generated tokens.
    output: Money,
    /// Prompt tokens that were cached.
    cached_input: Option<Money>,
}

/// Deadlines of a request. The baseline has only `connect` unless they are written.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Timeout {
    /// To the open connection.
    #[schemars(extend("default" = "2s"))]
    connect: Option<Time>,
    /// To the first token of a stream.
    ttft: Option<Time>,
    /// Between bytes.
    idle: Option<Time>,
    /// To the last byte.
    total: Option<Time>,
}

/// When a failing candidate is left alone.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Breaker {
    enabled: Option<bool>,
    /// Failures in a row that open it.
    #[schemars(extend("default" = 5))]
    failures: Option<Count>,
    /// Share of failures in the window that opens it.
    #[schemars(extend("default" = 0.2))]
    ratio: Option<Share>,
    /// Requests in the window below which the share does not count.
    #[schemars(extend("default" = 20))]
    min: Option<Count>,
    /// Length of the window.
    #[schemars(extend("default" = "30s"))]
    window: Option<Time>,
    /// Time that it stays open.
    #[schemars(extend("default" = "10s"))]
    open: Option<Time>,
}

/// PEM files of TLS; the system's roots otherwise.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("dependencies" = { "cert": ["key"], "key": ["cert"] }))]
struct Tls {
    /// Certificates to trust.
    ca: Option<Text>,
    /// The client's certificate.
    cert: Option<Text>,
    /// The client's key.
    key: Option<Text>,
}

/// This backend's own wording, from a file of at most 64 KiB: exactly one of the three.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
struct System {
    /// File whose text follows the application's system text.
    append: Option<Text>,
    /// File whose text precedes the application's system text.
    prepend: Option<Text>,
    /// File whose text replaces the application's system text.
    replace: Option<Text>,
}

/// The model's thoughts: strip them, or pass them on.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Thoughts {
    Strip,
    ReasoningContent,
    Reasoning,
    Both,
}

/// Requests for logprobs.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Logprobs {
    Pass,
    Pin,
}

/// System messages that are not the first message.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum LateSystem {
    Merge,
    AsUser,
}

/// "strict": the baseline serves requests that this server would answer differently.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Translate {
    Lenient,
    Strict,
}

/// The baseline answers what a candidate fails before its first content.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Failover {
    #[schemars(extend("default" = true))]
    enabled: Option<bool>,
    /// Failovers, as a share of the requests of the last 10 s.
    #[schemars(extend("default" = 1.0))]
    retry_budget: Option<Share>,
    /// A candidate's stream without content for so long gets its status and pings; from 100ms.
    #[schemars(extend("default" = "off"))]
    early_head: Option<EarlyHead>,
}

/// "off", or a time.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum EarlyHead {
    Never(NoHead),
    After(Time),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum NoHead {
    Off,
}

/// Copies of requests, whose answers are compared and never served.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Shadow {
    /// Share of requests that are copied.
    #[schemars(extend("default" = 10.0))]
    percent: Option<Percent>,
    /// Names of the backends that get the copies; needed with several candidates.
    to: Option<Receivers>,
    /// Copies at once.
    #[schemars(extend("default" = 32))]
    max_in_flight: Option<Count>,
    /// Copies and their answers in memory.
    #[schemars(extend("default" = "64MiB"))]
    max_bytes: Option<Size>,
    /// Limit on the cost of copies.
    #[schemars(extend("default" = 5.0))]
    budget_usd_per_hour: Option<Money>,
    /// Share of copied requests that the baseline answers twice.
    #[schemars(extend("default" = 20.0))]
    noise_percent: Option<Percent>,
    /// Deadline of one copy.
    #[schemars(extend("default" = "120s"))]
    timeout: Option<Time>,
}

/// A backend, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Receivers {
    One(Text),
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    Several(Vec<Text>),
}

/// The file with one line for each pair of answers.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Records {
    /// Path, from the folder of this file.
    #[schemars(extend("default" = "shiftgate-records.jsonl"))]
    path: Option<Text>,
    /// Prompts and answers are written too.
    #[schemars(extend("default" = false))]
    content: Option<bool>,
    /// Size at which a new file is begun.
    #[schemars(extend("default" = "100MiB"))]
    max_size: Option<Size>,
    /// Number of finished files that are kept.
    #[schemars(extend("type" = "integer", "minimum" = 0, "maximum" = 1000, "default" = 5))]
    keep: Option<i64>,
}

/// Withdraws a candidate that fails, and never raises one. Without this section no candidate is withdrawn.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Guard {
    errors: Option<GuardErrors>,
    /// Chance to withdraw a candidate that keeps either limit of `errors`.
    #[schemars(extend("default" = 0.01))]
    alpha: Option<Chance>,
    action: Option<GuardAction>,
    /// Another number lifts every withdrawal; `shiftgate resume` writes it.
    #[schemars(extend("type" = "integer", "minimum" = 0, "maximum" = 4_294_967_295_u32, "default" = 0))]
    resume: Option<i64>,
    notify: Option<Notify>,
}

/// A number above 0 and up to 0.5.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Chance(#[schemars(extend("exclusiveMinimum" = 0, "maximum" = 0.5))] f64);

/// A candidate is withdrawn if it is above both limits.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct GuardErrors {
    /// Limit of the candidate's failure rate over the baseline's.
    #[schemars(range(min = 1, max = 100), extend("default" = 1.5))]
    max_ratio: Option<f64>,
    /// Failure rate below which a candidate is never withdrawn.
    #[schemars(extend("default" = 0.005))]
    floor: Option<Chance>,
    /// Age at which a request without a generated token is a failure, from 100ms; ten times that if it is not streamed.
    #[schemars(extend("default" = "30s"))]
    overdue: Option<Time>,
}

/// Action when the evidence suffices.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "rollback"))]
enum GuardAction {
    Rollback,
    Alert,
}

/// A POST when a candidate is held, rolled back, released or lifted.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Notify {
    /// URL of the receiver; a secret.
    url: NotifyUrl,
    format: Option<NotifyFormat>,
}

/// A URL, or where it is.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum NotifyUrl {
    Url(
        #[schemars(regex(pattern = r"^[hH][tT][tT][pP][sS]?://[^/?#@\s]+(/[^#\s]*|\?[^#\s]*)?$"))]
        String,
    ),
    Env(NotifyEnv),
    File(NotifyFile),
}

/// A URL in an environment variable.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NotifyEnv {
    /// Name of the variable.
    env: Text,
}

/// A URL in a file, which is watched.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NotifyFile {
    /// Path, from the folder of this file.
    file: Text,
}

/// Form of a message; "slack": one text.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase", extend("default" = "json"))]
enum NotifyFormat {
    Json,
    Slack,
}

/// Export of traces over OTLP.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Telemetry {
    /// The collector: gRPC; HTTP if the port is 4318 or the URL has a path. A change needs a restart.
    #[schemars(extend("default" = "http://127.0.0.1:4317"))]
    otlp: Option<Url>,
    /// A change needs a restart.
    #[schemars(extend("default" = "shiftgate"))]
    service_name: Option<Text>,
    /// Share of the traces that begin here.
    #[schemars(extend("default" = 1.0))]
    sample: Option<Share>,
    keep: Option<Keep>,
}

/// Traces that are exported although they were not sampled: errors, failovers, aborts, slow ones.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Keep {
    #[schemars(extend("default" = "30s"))]
    slower_than: Option<Time>,
    #[schemars(extend("type" = "integer", "minimum" = 0, "maximum" = 10_000, "default" = 10))]
    per_second: Option<i64>,
}
