//! Reads one `[backend.X]`.

mod headers;
mod key;
mod limits;
mod price;
mod proxy;
mod system;
mod tls;
mod translation;
mod url;

use std::ops::Range;
use std::time::Duration;

use http::HeaderName;
use http::uri::{Authority, Scheme};

use super::context::Context;
use super::problem::Problems;
use super::reader::{Section, Value, Wrong, boolean, count, duration, fraction, list, string, whole, word, wrong};
use super::types::{ApiKey, Backend, BackendUrl};
use crate::model::{Engine, Family, Glob};

/// Reads a backend; its defaults depend on whether it is the baseline. A placeholder stands for each value that has a
/// problem, so that the rest of the file is checked too.
pub(super) fn read(
    name: &str,
    name_span: &Range<usize>,
    value: &Value<'_>,
    is_baseline: bool,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Backend {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        p.add(name_span, format!("{name:?} is not a valid backend name"), "use letters, digits, '-', '_' and '.'");
    }
    let mut s = Section::new(format!("[backend.{name}]"), value, p);
    s.span = name_span.clone();
    let engines = Engine::ALL.map(|engine| (engine.as_str(), engine));
    let engine =
        s.require("engine", "add engine = \"vllm\" (or openai, sglang, trtllm, tgi, dashscope, compatible)", p, |v| {
            word(v, &engines)
        });
    let parsed_url = s.require("url", "add url = \"http://127.0.0.1:8000/v1\"", p, |value| url::read(string(value)?));
    let api_key = s
        .require("api_key", "add api_key = \"client\", \"none\", { env = \"NAME\" } or { file = \"PATH\" }", p, Ok)
        .and_then(|value| key::read(value, context, p));
    let family = s.read("family", p, |v| word(v, &families()));
    let models = s.get("models").map(|value| models(value, p)).unwrap_or_default();
    let price = s.get("price").and_then(|value| price::read(value, p));
    let timeout = limits::timeouts(s.get("timeout"), is_baseline, p);
    let breaker = limits::breaker(s.get("breaker"), is_baseline, p);
    let max_in_flight = s.read("max_in_flight", p, count).or_else(|| (!is_baseline).then_some(256));
    let engine_or = engine.unwrap_or(Engine::Compatible);
    let tls = s.get("tls").and_then(|value| tls::read(value, parsed_url.as_ref(), context, p));
    let headers = s.get("headers").map(|value| list("headers", value, p, headers::extra)).unwrap_or_default();
    let propagate = match s.get("propagate") {
        Some(value) => list("propagate", value, p, headers::name),
        None if engine_or.self_hosted() => ["traceparent", "tracestate"].map(HeaderName::from_static).to_vec(),
        None => Vec::new(),
    };
    let metrics = s.get("metrics").map(|value| list("metrics", value, p, url::read)).unwrap_or_default();
    let tags = s.get("tags").map(|value| list("tags", value, p, tag)).unwrap_or_default();
    let affinity = headers::affinity(s.get("affinity"), engine, p);
    let has_key = !matches!(api_key, Some(ApiKey::Client | ApiKey::None));
    let watch_models = s.read("watch_models", p, |value| watched(value, has_key)).unwrap_or(false);
    let keepalive = Duration::from_secs(if engine_or.self_hosted() { 3 } else { 55 });
    let backend = Backend {
        name: name.to_owned(),
        engine: engine_or,
        api_key: api_key.unwrap_or(ApiKey::None),
        models,
        family,
        price,
        timeout,
        breaker,
        max_in_flight,
        inject_usage: s.read("inject_usage", p, boolean).unwrap_or(false),
        tls,
        headers,
        propagate,
        metrics,
        max_waiting: s.read("max_waiting", p, |v| whole(v, 0, 1_000_000)),
        max_kv_usage: s.read("max_kv_usage", p, fraction),
        watch_models,
        proxy: s.get("proxy").and_then(|value| proxy::read(value, parsed_url.as_ref(), context, p)),
        h2: s.read("h2", p, boolean).unwrap_or(false),
        keepalive: s.read("keepalive", p, duration).unwrap_or(keepalive),
        tags,
        affinity,
        system: s.get("system").and_then(|value| {
            let takes_wording = !(is_baseline && engine_or.facts().speaks_openai);
            system::read(value, takes_wording, context, p)
        }),
        translation: translation::read(&mut s, p),
        url: parsed_url.unwrap_or_else(|| BackendUrl {
            scheme: Scheme::HTTP,
            authority: Authority::from_static("unknown"),
            path: String::new(),
        }),
    };
    s.finish(p);
    backend
}

/// Reads one entry of `tags`.
fn tag(text: &str) -> Result<String, Wrong> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Ok(text.to_owned());
    }
    wrong(format!("is {text:?}"), "use letters, digits, '-', '_' and '.'")
}

/// Reads `watch_models`. The question goes out by itself, and an application's key is for its own requests alone.
fn watched(value: &Value<'_>, has_key: bool) -> Result<bool, Wrong> {
    match boolean(value)? {
        true if !has_key => wrong(
            "needs a key of this backend's own: an application's key is never used for it",
            "set api_key = { env = \"NAME\" } or { file = \"PATH\" }, or remove watch_models",
        ),
        is_watched => Ok(is_watched),
    }
}

/// The accepted words; qwen3.6 uses the template of qwen3.5.
fn families() -> Vec<(&'static str, Family)> {
    let mut families = Family::ALL.map(|family| (family.as_str(), family)).to_vec();
    families.push(("qwen3.6", Family::Qwen35));
    families
}

fn models(value: &Value<'_>, p: &mut Problems<'_>) -> Vec<(Glob, String)> {
    let mut models = Vec::new();
    for (pattern, _, value) in Section::new("models", value, p).entries() {
        match string(value) {
            Ok(name) => models.push((Glob::new(pattern), name.to_owned())),
            Err(wrong) => p.add(&value.span(), format!("the model for {pattern:?} {}", wrong.what), wrong.cure),
        }
    }
    models
}
