//! Reads `[guard]` and the `overdue` of a route.

use std::ops::Range;
use std::time::Duration;

use http::Uri;
use toml::de::DeTable;

use super::super::context::{Context, Secrets, read_secret_file};
use super::super::problem::Problems;
use super::super::reader::{Section, Value, Wrong, duration, kind, number, string, whole, word, wrong};
use super::super::types::{Guard, GuardAction, GuardErrors, Notify, NotifyFormat, SecretSource};
use crate::model::Secret;

/// Least `overdue`: below it every answer of a large model would count as a failure.
const LEAST_OVERDUE: Duration = Duration::from_millis(100);

/// Reads the section.
pub(crate) fn read(value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Guard {
    let mut s = Section::new("[guard]", value, p);
    let default = Guard::default();
    let errors = s.get("errors").map_or(default.errors, |value| errors(value, default.errors, p));
    let guard = Guard {
        errors,
        alpha: s.read("alpha", p, |value| chance(value, "0.01")).unwrap_or(default.alpha),
        action: s
            .read("action", p, |value| {
                word(value, &[("rollback", GuardAction::Rollback), ("alert", GuardAction::Alert)])
            })
            .unwrap_or(default.action),
        resume: s.read("resume", p, |value| whole(value, 0, u64::from(u32::MAX))).unwrap_or(default.resume),
        notify: s.get("notify").and_then(|value| notify(value, context, p)),
    };
    s.finish(p);
    guard
}

fn errors(value: &Value<'_>, default: GuardErrors, p: &mut Problems<'_>) -> GuardErrors {
    let mut s = Section::new("errors", value, p);
    let errors = GuardErrors {
        max_ratio: s
            .read("max_ratio", p, |value| match number(value)? {
                n if (1.0..=100.0).contains(&n) => Ok(n),
                n => wrong(format!("is {n}"), "write a number from 1 to 100, such as 1.5"),
            })
            .unwrap_or(default.max_ratio),
        floor: s.read("floor", p, |value| chance(value, "0.005")).unwrap_or(default.floor),
        overdue: s.read("overdue", p, overdue).unwrap_or(default.overdue),
    };
    s.finish(p);
    errors
}

/// Reads a number above 0 and up to 0.5.
fn chance(value: &Value<'_>, example: &str) -> Result<f64, Wrong> {
    match number(value)? {
        n if n > 0.0 && n <= 0.5 => Ok(n),
        n => wrong(format!("is {n}"), format!("write a number above 0 and up to 0.5, such as {example}")),
    }
}

/// Reads an `overdue`, of `[guard]` or of a route.
pub(super) fn overdue(value: &Value<'_>) -> Result<Duration, Wrong> {
    match duration(value)? {
        age if age >= LEAST_OVERDUE => Ok(age),
        _ => wrong("is below 100ms", "write a time from \"100ms\", such as \"30s\""),
    }
}

fn notify(value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<Notify> {
    if !value.get_ref().is_table() {
        p.add(&value.span(), format!("notify is {}", kind(value)), "write { url = \"https://…\", format = \"json\" }");
        return None;
    }
    let mut s = Section::new("notify", value, p);
    let url = s.require("url", "add url = \"https://…\", { env = \"NAME\" } or { file = \"PATH\" }", p, Ok);
    let format = s
        .read("format", p, |value| word(value, &[("json", NotifyFormat::Json), ("slack", NotifyFormat::Slack)]))
        .unwrap_or(NotifyFormat::Json);
    s.finish(p);
    let (source, url) = url.and_then(|value| webhook(value, context, p))?;
    Some(Notify { source, url, format })
}

/// Reads the URL from where it is kept. No message repeats it: it may contain a token.
fn webhook(
    value: &Value<'_>,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Option<(Option<SecretSource>, Option<Secret>)> {
    let (source, found) = if value.get_ref().is_table() {
        let mut s = Section::new("url", value, p);
        let (env, file) = (s.read("env", p, string), s.read("file", p, string));
        s.finish(p);
        match (env, file) {
            (Some(name), None) => {
                let found = context
                    .variable(name)
                    .ok_or_else(|| format!("the environment variable {} is not set", place(name)));
                (Some(SecretSource::Env { name: name.to_owned(), optional: false }), found)
            }
            (None, Some(path)) => {
                let path = context.resolve(path);
                p.watched.push(path.clone());
                let found =
                    read_secret_file(&path).map(|text| String::from_utf8_lossy(&text).trim().to_owned()).map_err(
                        |error| format!("the file {} cannot be read: {error}", place(&path.display().to_string())),
                    );
                (Some(SecretSource::File { path, optional: false }), found)
            }
            _ => {
                let cure = "write { env = \"NAME\" } or { file = \"PATH\" }";
                p.add(&value.span(), "url needs exactly one of env and file", cure);
                return None;
            }
        }
    } else {
        match string(value) {
            Ok(text) => (None, Ok(text.to_owned())),
            Err(wrong) => {
                p.add(
                    &value.span(),
                    format!("url {}", wrong.what),
                    "write a URL, { env = \"NAME\" } or { file = \"PATH\" }",
                );
                return None;
            }
        }
    };
    let url = match found {
        Ok(text) if is_url(&text) => Some(Secret::new(text)),
        Ok(_) => {
            p.add(&value.span(), "url is not an http or https URL without credentials", "write \"https://HOST/PATH\"");
            None
        }
        Err(message) => {
            if context.secrets == Secrets::Required {
                p.add(&value.span(), message, "provide it, or leave notify out");
            }
            None
        }
    };
    Some((source, url))
}

/// Returns the name of a place for a message; a URL that was written there by mistake is hidden.
fn place(name: &str) -> &str {
    if name.contains("://") { "****" } else { name }
}

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.as_str().contains('@')
        && !authority.host().is_empty()
        // `http` has no port for `:99999`, as if it were a URL without one.
        && (authority.port_u16().is_some() || authority.as_str() == authority.host())
        && !text.contains('#')
}

/// Returns the place of a URL that is written in the file itself, so that no problem on its line shows it.
pub(crate) fn literal_url(document: &DeTable<'_>) -> Option<Range<usize>> {
    let notify = document.get("guard")?.get_ref().as_table()?.get("notify")?;
    let url = notify.get_ref().as_table().and_then(|notify| notify.get("url")).unwrap_or(notify);
    url.get_ref().is_str().then(|| url.span())
}
