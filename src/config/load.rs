//! Reads the file into a [`Config`]: its text, its sections in order, and the hash over everything that was read.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use toml::de::DeTable;

use super::backend;
use super::context::{Context, Secrets};
use super::problem::{ConfigError, Problems};
use super::reader::Section;
use super::sections::{guard, records, residency, rollout, route, server, shadow, telemetry};
use super::types::{ApiKey, Config, Notify, SecretSource};
use crate::model::BackendId;

/// Reads and validates the file at `path`; `env` looks up environment variables.
pub fn load(path: &Path, secrets: Secrets, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    parse(path, &text, secrets, env)
}

/// Validates text that was read from `path`; the error lists every problem.
pub fn parse(
    path: &Path,
    text: &[u8],
    secrets: Secrets,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let unsaved = "save it again; if an editor was still writing, the next save corrects it";
    let Ok(readable) = std::str::from_utf8(text) else {
        return Err(ConfigError::one(path, "is not UTF-8 text", unsaved));
    };
    if readable.contains('\0') {
        return Err(ConfigError::one(path, "contains zero bytes: it was not written to its end", unsaved));
    }
    let body = readable.strip_prefix('\u{feff}').unwrap_or(readable);
    let is_blank = body.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if is_blank {
        return Err(ConfigError::one(path, "is empty", unsaved));
    }
    let mut problems = Problems::new(body);
    let document = match DeTable::parse(body) {
        Ok(document) => document,
        Err(error) => {
            let message = error.message().lines().next().unwrap_or("is not TOML").to_owned();
            problems.add(&error.span().unwrap_or(0..0), message, "write valid TOML here");
            return Err(problems.into_error(path));
        }
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let context = Context { folder, secrets, env };
    let config = read(path, document.get_ref(), &context, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_error(path));
    }
    let Some(mut config) = config else {
        return Err(ConfigError::one(path, "cannot be used", "compare it with the shipped rollout.toml"));
    };
    config.watched = problems.watched;
    config.hash = hash(text, &config);
    config.text_hash = text_hash(text);
    Ok(config)
}

fn read(path: &Path, document: &DeTable<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<Config> {
    if let Some(span) = guard::literal_url(document) {
        p.hide(&span);
    }
    let mut root = Section::root(document);
    let mut section = |name: &'static str, shown: &str, p: &mut Problems<'_>| {
        root.get(name).map_or_else(Section::absent, |value| Section::new(shown, value, p))
    };
    let server = server::server(section("server", "[server]", p), context, p);
    let limits = server::limits(section("limits", "[limits]", p), p);
    let failover = server::failover(section("failover", "[failover]", p), p);
    let backends = section("backend", "backend", p);
    let [rollout, routes, rules, shadow, records, guard, telemetry] =
        ["rollout", "route", "residency", "shadow", "records", "guard", "telemetry"].map(|name| root.get(name));
    root.finish(p);
    let names: Vec<String> = backends.entries().iter().map(|(name, ..)| (*name).to_owned()).collect();
    if names.is_empty() {
        p.add(&(0..0), "the file has no backend", "add a [backend.NAME] section for each server");
    }
    let Some(rollout) = rollout else {
        p.add(&(0..0), "the file has no [rollout]", "add [rollout] with name, baseline and percent");
        return None;
    };
    let rollout = rollout::read(Section::new("[rollout]", rollout, p), &names, p);
    let baseline = rollout.baseline;
    let backends = backends.entries().into_iter().enumerate().map(|(index, (name, span, value))| {
        backend::read(name, &span, value, Some(BackendId::new(index)) == baseline, context, p)
    });
    let backends: Vec<_> = backends.collect();
    let residency = residency::read(rules, &backends, p);
    let routes = route::read(routes, &rollout, &names, p);
    let shadow = shadow.and_then(|value| shadow::read(value, &names, baseline, p));
    let records = records.map(|value| records::read(value, path, context, p));
    let guard = guard.map(|value| guard::read(value, context, p));
    let written = document.get("server").and_then(|value| value.get_ref().get("state"));
    if let (Some(state), Some(value)) = (&server.state, written) {
        records::is_its_own("server.state", state, &value.span(), (path, context), p);
        if records.as_ref().is_some_and(|records| records.path == *state) {
            p.add(&value.span(), "server.state is the file of [records]", "name a file of its own");
        }
    }
    let telemetry = telemetry.map(|value| telemetry::read(value, p)).unwrap_or_default();
    Some(Config {
        path: path.to_owned(),
        server,
        limits,
        name: rollout.name,
        baseline: baseline?,
        sticky: rollout.sticky,
        routes,
        residency,
        backends,
        failover,
        shadow,
        records,
        guard,
        telemetry,
        hash: String::new(),
        text_hash: String::new(),
        watched: Vec::new(),
    })
}

/// Hashes a text of the file: SHA-256, in hex.
pub(super) fn text_hash(text: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, text).as_ref())
}

/// Hashes the file together with the secrets, certificates and wordings that were read from files.
fn hash(text: &[u8], config: &Config) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    part(text);
    for backend in &config.backends {
        if let ApiKey::Stored { source: SecretSource::File { .. }, value: Some(key) } = &backend.api_key {
            part(key.expose().as_bytes());
        }
        if let Some(tls) = &backend.tls {
            if let Some(ca) = &tls.ca {
                part(&ca.pem);
            }
            if let Some((chain, key)) = &tls.client {
                part(&chain.pem);
                part(key.pem.expose().as_bytes());
            }
        }
        if let Some(text) = backend.system.as_ref().and_then(|wording| wording.text.as_ref()) {
            part(text.as_bytes());
        }
    }
    let notify = config.guard.as_ref().and_then(|guard| guard.notify.as_ref());
    if let Some(Notify { source: Some(SecretSource::File { .. }), url: Some(url), .. }) = notify {
        part(url.expose().as_bytes());
    }
    hex(context.finish().as_ref().get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
