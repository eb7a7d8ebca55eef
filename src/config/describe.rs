//! Describes a valid file in plain words.

mod shadow;

use std::fmt::Write as _;

use super::types::{
    ApiKey, Backend, Config, KeySource, Listen, OwnWording, Price, Proxy, ReasoningPolicy, RequestMatch, Residency,
    Route, SecretSource, WordingMode,
};
use crate::model::{BackendId, Engine};

/// Returns the text that `check` prints.
pub fn describe(config: &Config) -> String {
    let mut text = String::new();
    match write_all(&mut text, config) {
        Ok(()) => text,
        // Writing into a String cannot fail.
        Err(std::fmt::Error) => text,
    }
}

fn write_all(text: &mut String, config: &Config) -> std::fmt::Result {
    let listen = match &config.server.listen {
        Listen::Tcp(address) => format!("http://{address}/v1"),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    };
    writeln!(text, "{}: valid, hash {}", config.path.display(), config.hash)?;
    writeln!(text, "applications connect to {listen}; status and metrics are at http://{}", config.server.admin)?;
    writeln!(text, "\nshares of requests (salt {:?}):", config.name)?;
    for route in &config.routes {
        writeln!(text, "  {}: {}", matched(route), shares(config, route))?;
    }
    let chain: Vec<String> = config.sticky.iter().map(KeySource::describe).collect();
    match chain.as_slice() {
        [] => writeln!(text, "  each request is assigned independently (sticky is empty)")?,
        chain => writeln!(
            text,
            "  requests with the same key get the same backend; the key is the first present of: {}",
            chain.join(", ")
        )?,
    }
    if !config.residency.is_empty() {
        writeln!(text, "\nresidency, checked for every backend that a request could go to:")?;
        for rule in &config.residency {
            writeln!(text, "  {}: {}", rule.name, residency(config, rule))?;
        }
    }
    writeln!(text, "\nbackends:")?;
    for (id, backend) in config.backends_with_ids() {
        let role = if id == config.baseline { "baseline" } else { "candidate" };
        writeln!(text, "  {} ({role}, {}) at {}", backend.name, backend.engine.as_str(), backend.url)?;
        writeln!(text, "    key: {}", key(&backend.api_key))?;
        writeln!(text, "    models: {}", models(backend))?;
        writeln!(text, "    price: {}", price(backend))?;
        if !backend.tags.is_empty() {
            writeln!(text, "    tags: {}", backend.tags.join(", "))?;
        }
        if let Some(name) = &backend.affinity {
            writeln!(text, "    affinity: {name} carries a hash of the request's key")?;
        }
        if !backend.engine.facts().speaks_openai {
            writeln!(text, "    translation: {}", translation(backend))?;
            writeln!(text, "    load: {}", load(backend))?;
        }
        if backend.watch_models {
            writeln!(text, "    deadlines: its list of models is asked once a day for models that end")?;
        }
        if let Some(wording) = &backend.system {
            writeln!(text, "    system text: {}", own_wording(wording))?;
        }
        if let Some(Proxy::Url { url, .. } | Proxy::Env(Some((url, _)))) = &backend.proxy {
            writeln!(text, "    through the proxy {url}")?;
        }
    }
    if let Some(early) = config.failover.early_head.filter(|_| config.failover.enabled) {
        let seconds = early.as_secs_f64();
        writeln!(text, "\nearly head: a candidate's stream without content for {seconds} s gets its status and pings")?;
    }
    shadow::write(text, config)?;
    let otlp = config.telemetry.otlp.as_deref();
    let Some(otlp) = otlp else {
        return writeln!(text, "traces: not exported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set");
    };
    let telemetry = &config.telemetry;
    writeln!(
        text,
        "traces: exported to {otlp}: {} % of those that begin here, and up to {} per second of errors, failovers, aborts and requests slower than {} s",
        telemetry.sample * 100.0,
        telemetry.keep.per_second,
        telemetry.keep.slower_than.as_secs_f64()
    )
}

fn matched(route: &Route) -> String {
    let rule = &route.matcher;
    let mut parts = Vec::new();
    parts.extend(rule.path.as_ref().map(|glob| format!("path {}", glob.as_str())));
    parts.extend(rule.model.as_ref().map(|glob| format!("model {}", glob.as_str())));
    parts.extend(rule.header.iter().map(|(name, glob)| format!("{name}: {}", glob.as_str())));
    parts.extend(rule.field.iter().map(|(path, glob)| format!("field {} {}", path.join("."), glob.as_str())));
    match (route.name.as_str(), parts.is_empty()) {
        ("default", _) => "default (everything else)".to_owned(),
        (name, true) => format!("{name} (everything)"),
        (name, false) => format!("{name} ({})", parts.join(", ")),
    }
}

/// Describes a residency rule as a sentence.
fn residency(config: &Config, rule: &Residency) -> String {
    let allowed: Vec<&str> = config
        .backends
        .iter()
        .filter(|backend| rule.allows(&backend.tags))
        .map(|backend| backend.name.as_str())
        .collect();
    format!(
        "{} go only to backends tagged {}: {}.",
        conditions(&rule.matcher),
        rule.allow.join(" or "),
        allowed.join(", ")
    )
}

fn conditions(rule: &RequestMatch) -> String {
    if rule.is_everything() {
        return "all requests".to_owned();
    }
    let mut parts = Vec::new();
    parts.extend(rule.path.as_ref().map(|glob| format!("path is {}", glob.as_str())));
    parts.extend(rule.model.as_ref().map(|glob| format!("model is {}", glob.as_str())));
    parts.extend(rule.header.iter().map(|(name, glob)| format!("header {name} is {}", glob.as_str())));
    parts.extend(rule.field.iter().map(|(path, glob)| format!("field {} is {}", path.join("."), glob.as_str())));
    format!("requests whose {}", parts.join(" and "))
}

fn shares(config: &Config, route: &Route) -> String {
    let name = |id: BackendId| config[id].name.as_str();
    let mut rest = 10_000_u16;
    let mut parts = Vec::new();
    for (backend, percent) in &route.percent {
        rest = rest.saturating_sub(percent.hundredths());
        if percent.hundredths() > 0 {
            parts.push(format!("{} {percent} %", name(*backend)));
        }
    }
    parts.push(format!("{} {}.{:02} %", name(config.baseline), rest / 100, rest % 100));
    parts.join(", ")
}

fn key(key: &ApiKey) -> String {
    let (source, found) = match key {
        ApiKey::Client => return "the one that the application sends".to_owned(),
        ApiKey::None => return "none".to_owned(),
        ApiKey::Stored { source, value } => (source, value.is_some()),
    };
    let (named, optional) = match source {
        SecretSource::Env { name, optional } => (format!("environment variable {name}"), *optional),
        SecretSource::File { path, optional } => (format!("file {}", path.display()), *optional),
    };
    let state = match (found, optional) {
        (true, _) => "found",
        (false, true) => "missing, but optional: requests are sent without a key",
        (false, false) => "not read",
    };
    format!("{named}, {state}")
}

fn models(backend: &Backend) -> String {
    if backend.models.is_empty() {
        let tgi = "\"tgi\" is sent, since this server takes any other name for that of an adapter";
        return if backend.engine.facts().own_model_name.is_some() {
            tgi
        } else {
            "the application's name is sent unchanged"
        }
        .to_owned();
    }
    let pairs: Vec<String> =
        backend.models.iter().map(|(pattern, name)| format!("{} → {name}", pattern.as_str())).collect();
    pairs.join(", ")
}

fn price(backend: &Backend) -> String {
    match &backend.price {
        None => "not given: the cost is unknown".to_owned(),
        Some(Price::Tokens(table)) => {
            let rows: Vec<String> = table
                .iter()
                .map(|(model, price)| {
                    format!(
                        "{} {} input, {} output (USD per million tokens)",
                        model.as_str(),
                        price.input,
                        price.output
                    )
                })
                .collect();
            let streams = match (backend.engine.facts().speaks_openai, backend.inject_usage) {
                (true, false) => "; streams without usage are not priced (inject_usage is off)",
                _ => "",
            };
            format!("{}{streams}", rows.join("; "))
        }
        Some(Price::Gpu { gpu_hour, gpus, tokens_per_second: Some(speed) }) => {
            format!("{gpus} GPUs at {gpu_hour} USD per hour, {speed} tokens per second")
        }
        Some(Price::Gpu { gpu_hour, gpus, tokens_per_second: None }) => {
            let why = match (backend.metrics.is_empty(), backend.engine) {
                (true, _) => "not priced: neither tokens_per_second nor metrics is given",
                (false, Engine::Tgi) => {
                    "not priced: TGI's metrics do not tell its speed, so tokens_per_second is needed"
                }
                (false, _) => "the speed is read from metrics",
            };
            format!("{gpus} GPUs at {gpu_hour} USD per hour; {why}")
        }
    }
}

/// Describes the options of the translation that differ from the defaults or matter most.
fn translation(backend: &Backend) -> String {
    let options = &backend.translation;
    let mut parts = vec![match backend.family {
        Some(family) => format!("chat template {}", family.as_str()),
        None => "chat template not given: thinking stays as the server has it".to_owned(),
    }];
    parts.push(match options.reasoning {
        ReasoningPolicy::Strip => "thoughts are removed".to_owned(),
        ReasoningPolicy::ReasoningContent => "thoughts are passed on as reasoning_content".to_owned(),
        ReasoningPolicy::Reasoning => "thoughts are passed on as reasoning".to_owned(),
        ReasoningPolicy::Both => "thoughts are passed on as reasoning and reasoning_content".to_owned(),
    });
    parts.push(
        if options.vision { "requests with images are sent" } else { "requests with images stay with the baseline" }
            .to_owned(),
    );
    if options.strict {
        parts.push("requests that it would answer differently stay with the baseline".to_owned());
    }
    if let Some(length) = options.max_model_len {
        parts.push(format!("context of {length} tokens"));
    }
    if options.probe {
        parts.push("probed at start".to_owned());
    }
    parts.join("; ")
}

fn own_wording(wording: &OwnWording) -> String {
    let path = wording.path.display();
    let size = match &wording.text {
        Some(text) => format!("{} bytes", text.len()),
        None => "not read".to_owned(),
    };
    match wording.mode {
        WordingMode::Append => format!("the text of {path} ({size}) is added after the application's"),
        WordingMode::Prepend => format!("the text of {path} ({size}) is added before the application's"),
        WordingMode::Replace => format!("the text of {path} ({size}) replaces the application's"),
    }
}

fn load(backend: &Backend) -> String {
    if backend.metrics.is_empty() {
        return "not read: metrics is not given".to_owned();
    }
    let mut limits = Vec::new();
    limits.extend(backend.max_waiting.map(|waiting| format!("{waiting} requests waiting")));
    limits.extend(backend.max_kv_usage.map(|usage| format!("a KV cache filled to {usage}")));
    let read = format!("read from {} URLs", backend.metrics.len());
    match limits.as_slice() {
        [] => read,
        limits => format!("{read}; the baseline serves above {}", limits.join(" or ")),
    }
}
