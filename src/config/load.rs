//! From the file to a [`Config`]: the text, the sections in order, the hash over all that was read.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use toml::de::DeTable;

use super::backend;
use super::problem::{ConfigError, Problems};
use super::reader::{Section, Value, unknown_cure};
use super::sections;
use super::types::{ApiKey, Config, SecretSource};
use crate::model::BackendId;

/// Whether what the file names outside itself has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    Required,
    /// Environment variables and files may be missing: for checks away from the machine that runs it.
    Skip,
}

/// What reading a section may look at beside the text.
pub(super) struct Context<'e> {
    pub(super) folder: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) env: &'e dyn Fn(&str) -> Option<String>,
}

impl Context<'_> {
    /// Relative paths count from the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// An empty variable counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// Reads and validates the file.
pub fn load(path: &Path, secrets: Secrets, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    parse(path, &text, secrets, env)
}

/// Validates text that was read from `path`.
pub fn parse(
    path: &Path,
    text: &[u8],
    secrets: Secrets,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let unsaved = "save it again; if an editor was still writing, this cures itself";
    let Ok(readable) = std::str::from_utf8(text) else {
        return Err(ConfigError::one(path, "is not UTF-8 text", unsaved));
    };
    if readable.contains('\0') {
        return Err(ConfigError::one(path, "has zero bytes in it: it was not written to its end", unsaved));
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
    Ok(config)
}

fn read(path: &Path, document: &DeTable<'_>, context: &Context<'_>, problems: &mut Problems<'_>) -> Option<Config> {
    let mut root = Section::root(document);
    let mut section = |name: &'static str, shown: &str, problems: &mut Problems<'_>| {
        root.get(name).map_or_else(Section::absent, |value| Section::new(shown, value, problems))
    };
    let server = sections::server(section("server", "[server]", problems), context, problems);
    let limits = sections::limits(section("limits", "[limits]", problems), problems);
    let failover = sections::failover(section("failover", "[failover]", problems), problems);
    let backends_section = section("backend", "backend", problems);
    let rollout = root.get("rollout");
    let routes = root.get("route");
    let shadow = root.get("shadow");
    let records = root.get("records");
    let telemetry = root.get("telemetry");
    let names: Vec<String> = backends_section.entries().iter().map(|(name, ..)| (*name).to_owned()).collect();
    if names.is_empty() {
        problems.add(&(0..0), "the file has no backend", "add a [backend.NAME] section for each server");
    }
    let Some(rollout) = rollout else {
        problems.add(&(0..0), "the file has no [rollout]", "add [rollout] with name, baseline and percent");
        root.finish(problems);
        return None;
    };
    let rollout = sections::rollout(Section::new("[rollout]", rollout, problems), &names, problems);
    let baseline = rollout.baseline;
    let backends: Vec<_> = backends_section
        .entries()
        .into_iter()
        .enumerate()
        .filter_map(|(index, (name, span, value))| {
            backend::read(name, &span, value, Some(BackendId::new(index)) == baseline, context, problems)
        })
        .collect();
    let routes = sections::routes(routes, &rollout, &names, problems);
    let shadow = shadow.map(|value| sections::shadow(value, &names, baseline, problems));
    let records = records.map(|value| sections::records(value, context, problems));
    let telemetry = telemetry.map(|value| sections::telemetry(value, problems)).unwrap_or_default();
    root.finish(problems);
    Some(Config {
        path: path.to_owned(),
        server,
        limits,
        name: rollout.name.clone(),
        baseline: baseline?,
        sticky: rollout.sticky,
        routes,
        backends,
        failover,
        shadow: match shadow {
            Some(shadow) => Some(shadow?),
            None => None,
        },
        records: match records {
            Some(records) => Some(records?),
            None => None,
        },
        telemetry,
        hash: String::new(),
        watched: Vec::new(),
    })
}

/// Finds a backend by its name, or says which name is nearest.
pub(super) fn backend_index(
    name: &str,
    value: &Value<'_>,
    names: &[String],
    what: &str,
    problems: &mut Problems<'_>,
) -> Option<BackendId> {
    let found = names.iter().position(|known| known == name).map(BackendId::new);
    if found.is_none() && !names.is_empty() {
        let cure = unknown_cure(name, names.iter().map(String::as_str));
        problems.add(&value.span(), format!("{what} names {name:?}, and no [backend.{name}] is there"), cure);
    }
    found
}

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
    }
    let digest = context.finish();
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
