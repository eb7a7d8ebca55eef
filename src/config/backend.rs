//! One `[backend.X]`: address, key, models, price, limits, TLS, proxy, options of the translation.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use http::HeaderName;
use http::uri::Scheme;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::load::{Context, Secrets};
use super::problem::Problems;
use super::reader::{
    Section, Value, Wrong, boolean, count, duration, fraction, kind, list, not_negative, positive, string, whole, word,
    wrong,
};
use super::types::{
    ApiKey, Backend, BackendUrl, Breaker, LateSystem, LogprobsPolicy, PemFile, PemKey, Price, Proxy, ReasoningPolicy,
    SecretSource, Timeouts, TlsFiles, TokenPrice, Translation,
};
use super::url::{UrlProblem, http_url};
use crate::model::{Engine, Family, Glob, Secret};

/// A key or certificate is far smaller; anything larger is the wrong file.
const MAX_SECRET: u64 = 1 << 20;

pub(super) fn read(
    name: &str,
    name_span: &Range<usize>,
    value: &Value<'_>,
    is_baseline: bool,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Option<Backend> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        p.add(name_span, format!("{name:?} is no name for a backend"), "use letters, digits, '-', '_' and '.'");
    }
    let mut s = Section::new(format!("[backend.{name}]"), value, p);
    s.span = name_span.clone();
    let engines = Engine::ALL.map(|engine| (engine.as_str(), engine));
    let engine =
        s.require("engine", "add engine = \"vllm\" (or openai, sglang, trtllm, tgi, dashscope, compatible)", p, |v| {
            word(v, &engines)
        });
    let parsed_url = s.require("url", "add url = \"http://127.0.0.1:8000/v1\"", p, url);
    let api_key = s
        .require("api_key", "add api_key = \"client\", \"none\", { env = \"NAME\" } or { file = \"PATH\" }", p, Ok)
        .and_then(|value| api_key(value, context, p));
    let families = Family::ALL.map(|family| (family.as_str(), family));
    let mut families = families.to_vec();
    families.push(("qwen3.6", Family::Qwen35));
    let family = s.read("family", p, |v| word(v, &families));
    let models = s.get("models").map(|value| models(value, p)).unwrap_or_default();
    let price = s.get("price").and_then(|value| price(value, p));
    let timeout = timeouts(s.get("timeout"), is_baseline, p);
    let breaker = breaker(s.get("breaker"), is_baseline, p);
    let max_in_flight = s.read("max_in_flight", p, count).or_else(|| (!is_baseline).then_some(256));
    let engine_or = engine.unwrap_or(Engine::Compatible);
    let tls = s.get("tls").and_then(|value| tls(value, parsed_url.as_ref(), context, p));
    let headers = s.get("headers").map(|value| list("headers", value, p, extra_header)).unwrap_or_default();
    let propagate = match s.get("propagate") {
        Some(value) => list("propagate", value, p, header_name),
        None if engine_or.self_hosted() => ["traceparent", "tracestate"].map(HeaderName::from_static).to_vec(),
        None => Vec::new(),
    };
    let metrics = s.get("metrics").map(|value| list("metrics", value, p, url_of)).unwrap_or_default();
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
        proxy: s.get("proxy").and_then(|value| proxy(value, parsed_url.as_ref(), context, p)),
        h2: s.read("h2", p, boolean).unwrap_or(false),
        keepalive: s.read("keepalive", p, duration).unwrap_or(keepalive),
        translation: translation(&mut s, p),
        url: parsed_url.unwrap_or_else(|| BackendUrl {
            scheme: Scheme::HTTP,
            authority: http::uri::Authority::from_static("unknown"),
            path: String::new(),
        }),
    };
    s.finish(p);
    Some(backend)
}

fn url(value: &Value<'_>) -> Result<BackendUrl, Wrong> {
    url_of(string(value)?)
}

fn url_of(text: &str) -> Result<BackendUrl, Wrong> {
    http_url(text).or_else(|problem| {
        let cure = match problem {
            UrlProblem::User => "leave them out: keys belong into api_key",
            UrlProblem::Query => "leave out what follows the path",
            _ => "write a URL such as \"http://127.0.0.1:8000/v1\"",
        };
        wrong(problem.to_string(), cure)
    })
}

fn api_key(value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<ApiKey> {
    let cure = "write \"client\", \"none\", { env = \"NAME\" } or { file = \"PATH\" }";
    match value.get_ref().as_str() {
        Some("client") => return Some(ApiKey::Client),
        Some("none") => return Some(ApiKey::None),
        Some(_) => {
            p.add(&value.span(), "api_key holds a key itself: keys are never written into this file", cure);
            return None;
        }
        None => {}
    }
    if !value.get_ref().is_table() {
        p.add(&value.span(), format!("api_key is {}", kind(value)), cure);
        return None;
    }
    let mut s = Section::new("api_key", value, p);
    let optional = s.read("optional", p, boolean).unwrap_or(false);
    let env = s.read("env", p, string);
    let file = s.read("file", p, string);
    s.finish(p);
    let (source, found) = match (env, file) {
        (Some(name), None) => {
            let found = context.variable(name).ok_or_else(|| format!("the environment variable {name} is not set"));
            (SecretSource::Env { name: name.to_owned(), optional }, found)
        }
        (None, Some(path)) => {
            let path = context.resolve(path);
            let found = read_bounded(&path)
                .map(|text| String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("the file {} cannot be read: {error}", path.display()));
            p.watched.push(path.clone());
            (SecretSource::File { path, optional }, found)
        }
        _ => {
            p.add(&value.span(), "api_key names neither or both of env and file", cure);
            return None;
        }
    };
    let needed = context.secrets == Secrets::Required && !optional;
    match found {
        Ok(key) if key.is_empty() || http::HeaderValue::from_str(&key).is_err() || !key.is_ascii() => {
            if needed || !key.is_empty() {
                let what = "the key is empty or has characters that no header may hold";
                p.add(&value.span(), what, "store the bare key: one line, no quotes");
            }
            Some(ApiKey::Stored { source, value: None })
        }
        Ok(key) => Some(ApiKey::Stored { source, value: Some(Secret::new(key)) }),
        Err(message) => {
            if needed {
                p.add(&value.span(), message, "provide it, or add optional = true");
            }
            Some(ApiKey::Stored { source, value: None })
        }
    }
}

fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_SECRET {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read(path)
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

fn price(value: &Value<'_>, p: &mut Problems<'_>) -> Option<Price> {
    let entries = value.get_ref().as_table()?;
    if entries.contains_key("gpu_hour") || entries.contains_key("gpus") {
        let mut s = Section::new("price", value, p);
        let gpu_hour = s.require("gpu_hour", "add gpu_hour: USD for one GPU and hour", p, not_negative);
        let gpus = s.require("gpus", "add gpus: how many serve this backend", p, positive);
        let tokens_per_second = s.read("tokens_per_second", p, positive);
        s.finish(p);
        return Some(Price::Gpu { gpu_hour: gpu_hour?, gpus: gpus?, tokens_per_second });
    }
    let is_single = entries.values().any(|value| !value.get_ref().is_table());
    if is_single {
        return token_price("price", value, p).map(|price| Price::Tokens(vec![(Glob::new("*"), price)]));
    }
    let table = Section::new("price", value, p)
        .entries()
        .into_iter()
        .filter_map(|(model, _, value)| Some((Glob::new(model), token_price(&format!("price of {model}"), value, p)?)))
        .collect();
    Some(Price::Tokens(table))
}

fn token_price(name: &str, value: &Value<'_>, p: &mut Problems<'_>) -> Option<TokenPrice> {
    let mut s = Section::new(name, value, p);
    let input = s.require("input", "add input: USD per million prompt tokens", p, not_negative);
    let output = s.require("output", "add output: USD per million generated tokens", p, not_negative);
    let cached_input = s.read("cached_input", p, not_negative);
    s.finish(p);
    Some(TokenPrice { input: input?, cached_input, output: output? })
}

fn timeouts(value: Option<&Value<'_>>, is_baseline: bool, p: &mut Problems<'_>) -> Timeouts {
    let mut s = value.map_or_else(Section::absent, |value| Section::new("timeout", value, p));
    let default = |seconds| (!is_baseline).then(|| Duration::from_secs(seconds));
    let timeouts = Timeouts {
        connect: s.read("connect", p, duration).unwrap_or(Duration::from_secs(2)),
        ttft: s.read("ttft", p, duration).or_else(|| default(60)),
        idle: s.read("idle", p, duration).or_else(|| default(60)),
        total: s.read("total", p, duration).or_else(|| default(600)),
    };
    s.finish(p);
    timeouts
}

fn breaker(value: Option<&Value<'_>>, is_baseline: bool, p: &mut Problems<'_>) -> Option<Breaker> {
    let written = value.is_some();
    let mut s = value.map_or_else(Section::absent, |value| Section::new("breaker", value, p));
    let enabled = s.read("enabled", p, boolean).unwrap_or(written || !is_baseline);
    let counted = |v: &Value<'_>| whole(v, 1, 1_000_000).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let breaker = Breaker {
        failures: s.read("failures", p, counted).unwrap_or(5),
        ratio: s.read("ratio", p, fraction).unwrap_or(0.2),
        min: s.read("min", p, counted).unwrap_or(20),
        window: s.read("window", p, duration).unwrap_or(Duration::from_secs(30)),
        open: s.read("open", p, duration).unwrap_or(Duration::from_secs(10)),
    };
    s.finish(p);
    enabled.then_some(breaker)
}

fn tls(value: &Value<'_>, url: Option<&BackendUrl>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<TlsFiles> {
    if url.is_some_and(|url| !url.is_https()) {
        p.add(&value.span(), "tls is given for a url that is not https", "write an https url, or leave tls out");
    }
    let mut s = Section::new("tls", value, p);
    let ca = s.get("ca").and_then(|value| pem("ca", value, context, p));
    let cert = s.get("cert").map(|value| pem("cert", value, context, p));
    let key = s.get("key").map(|value| pem("key", value, context, p));
    s.finish(p);
    let client = match (cert, key) {
        (Some(Some(cert)), Some(Some(key))) => {
            let pem = Secret::new(String::from_utf8_lossy(&key.pem));
            Some((cert, PemKey { path: key.path, pem }))
        }
        (Some(_), None) | (None, Some(_)) => {
            p.add(&value.span(), "tls has one of cert and key", "give both, or neither");
            None
        }
        _ => None,
    };
    Some(TlsFiles { ca, client })
}

fn pem(name: &str, value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<PemFile> {
    let path: PathBuf = match string(value) {
        Ok(path) => context.resolve(path),
        Err(wrong) => {
            p.add(&value.span(), format!("tls.{name} {}", wrong.what), wrong.cure);
            return None;
        }
    };
    p.watched.push(path.clone());
    let pem = match read_bounded(&path) {
        Ok(pem) => pem,
        Err(_) if context.secrets == Secrets::Skip => return None,
        Err(error) => {
            let message = format!("tls.{name}: the file {} cannot be read: {error}", path.display());
            p.add(&value.span(), message, "put the PEM file there, or correct the path");
            return None;
        }
    };
    let valid = match name {
        "key" => PrivateKeyDer::from_pem_slice(&pem).is_ok(),
        _ => matches!(CertificateDer::pem_slice_iter(&pem).next(), Some(Ok(_))),
    };
    if !valid {
        let what = if name == "key" { "private key" } else { "certificate" };
        p.add(&value.span(), format!("tls.{name}: no {what} in {}", path.display()), "give a file in PEM form");
        return None;
    }
    Some(PemFile { path, pem })
}

fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    text.parse().or_else(|_| wrong(format!("is {text:?}, and that is no header's name"), "write it as HTTP has it"))
}

fn extra_header(text: &str) -> Result<HeaderName, Wrong> {
    const NEVER: [&str; 16] = [
        "authorization",
        "x-api-key",
        "api-key",
        "openai-organization",
        "openai-project",
        "cookie",
        "host",
        "content-length",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
    ];
    let name = header_name(text)?;
    if NEVER.contains(&name.as_str()) || name.as_str().starts_with("x-shiftgate-") {
        return wrong(format!("is {text:?}, which never goes along"), "leave it out: keys belong into api_key");
    }
    Ok(name)
}

fn proxy(value: &Value<'_>, target: Option<&BackendUrl>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<Proxy> {
    let text = match string(value) {
        Ok(text) => text,
        Err(wrong) => {
            p.add(&value.span(), format!("proxy {}", wrong.what), wrong.cure);
            return None;
        }
    };
    if text == "env" {
        let found = target.and_then(|target| proxy_of_environment(target, context));
        return Some(Proxy::Env(found.and_then(|text| proxy_url(&text).ok())));
    }
    match proxy_url(text) {
        Ok((url, basic)) => Some(Proxy::Url { url, basic }),
        Err(wrong) => {
            p.add(&value.span(), format!("proxy {}", wrong.what), wrong.cure);
            None
        }
    }
}

fn proxy_url(text: &str) -> Result<(BackendUrl, Option<Secret>), Wrong> {
    let cure = "write \"http://proxy.corp:3128\", or \"env\"";
    let rest = text.strip_prefix("http://").map_or_else(|| wrong("is no http:// URL", cure), Ok)?;
    let (basic, host) = match rest.rsplit_once('@') {
        Some((user, host)) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(user);
            (Some(Secret::new(format!("Basic {encoded}"))), host)
        }
        None => (None, rest),
    };
    let url = url_of(&format!("http://{}", host.trim_end_matches('/')))
        .map_err(|_| Wrong { what: "cannot be read as a URL".to_owned(), cure: cure.to_owned() })?;
    Ok((url, basic))
}

/// HTTPS_PROXY and NO_PROXY as curl reads them.
fn proxy_of_environment(target: &BackendUrl, context: &Context<'_>) -> Option<String> {
    let either = |upper: &str, lower: &str| context.variable(lower).or_else(|| context.variable(upper));
    let exempt = either("NO_PROXY", "no_proxy").unwrap_or_default();
    let host = target.host();
    let is_exempt = exempt.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let name = entry.trim_start_matches('.');
        entry == "*" || host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    });
    match (is_exempt, target.is_https()) {
        (true, _) => None,
        (false, true) => either("HTTPS_PROXY", "https_proxy"),
        // The upper-case name is set by CGI from a request's header: only the lower-case one counts.
        (false, false) => context.variable("http_proxy"),
    }
}

fn translation(s: &mut Section<'_, '_>, p: &mut Problems<'_>) -> Translation {
    let tokens = |v: &Value<'_>| whole(v, 1, 100_000_000);
    Translation {
        vision: s.read("vision", p, boolean).unwrap_or(false),
        reasoning: s
            .read("reasoning", p, |v| {
                word(
                    v,
                    &[
                        ("strip", ReasoningPolicy::Strip),
                        ("reasoning_content", ReasoningPolicy::ReasoningContent),
                        ("reasoning", ReasoningPolicy::Reasoning),
                        ("both", ReasoningPolicy::Both),
                    ],
                )
            })
            .unwrap_or(ReasoningPolicy::Strip),
        logprobs: s
            .read("logprobs", p, |v| word(v, &[("pass", LogprobsPolicy::Pass), ("pin", LogprobsPolicy::Pin)]))
            .unwrap_or(LogprobsPolicy::Pass),
        late_system: s
            .read("late_system", p, |v| word(v, &[("merge", LateSystem::Merge), ("as_user", LateSystem::AsUser)]))
            .unwrap_or(LateSystem::Merge),
        strict: s.read("translate", p, |v| word(v, &[("lenient", false), ("strict", true)])).unwrap_or(false),
        pin_on_unknown: s
            .get("pin_on_unknown")
            .map(|value| list("pin_on_unknown", value, p, |text| Ok(text.to_owned())))
            .unwrap_or_default(),
        responses: s.read("responses", p, boolean).unwrap_or(false),
        probe: s.read("probe", p, boolean).unwrap_or(false),
        thinking_budget_factor: s.read("thinking_budget_factor", p, positive).unwrap_or(1.0),
        default_max_tokens: s.read("default_max_tokens", p, tokens),
        max_output_tokens: s.read("max_output_tokens", p, tokens),
        max_model_len: s.read("max_model_len", p, tokens),
    }
}
