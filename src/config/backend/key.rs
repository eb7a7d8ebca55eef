//! Reads `api_key`.

use super::super::context::{Context, Secrets, read_secret_file};
use super::super::problem::Problems;
use super::super::reader::{Section, Value, boolean, kind, string};
use super::super::types::{ApiKey, SecretSource};
use crate::model::Secret;

const CURE: &str = "write \"client\", \"none\", { env = \"NAME\" } or { file = \"PATH\" }";

/// Reads the key's source, and the key itself from there.
pub(super) fn read(value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<ApiKey> {
    match value.get_ref().as_str() {
        Some("client") => return Some(ApiKey::Client),
        Some("none") => return Some(ApiKey::None),
        Some(_) => {
            p.add(&value.span(), "api_key contains a key: keys are never written into this file", CURE);
            return None;
        }
        None => {}
    }
    if !value.get_ref().is_table() {
        p.add(&value.span(), format!("api_key is {}", kind(value)), CURE);
        return None;
    }
    let mut s = Section::new("api_key", value, p);
    let optional = s.read("optional", p, boolean).unwrap_or(false);
    let env = s.read("env", p, string);
    let file = s.read("file", p, string);
    s.finish(p);
    let (source, found) = match (env, file) {
        (Some(name), None) => from_env(name, optional, context),
        (None, Some(path)) => from_file(path, optional, context, p),
        _ => {
            p.add(&value.span(), "api_key needs exactly one of env and file", CURE);
            return None;
        }
    };
    let needed = context.secrets == Secrets::Required && !optional;
    let key = match found {
        Ok(key) if is_usable(&key) => Some(Secret::new(key)),
        Ok(key) => {
            if needed || !key.is_empty() {
                let what = "the key is empty or contains characters that a header cannot carry";
                p.add(&value.span(), what, "store the bare key: one line, no quotes");
            }
            None
        }
        Err(message) => {
            if needed {
                p.add(&value.span(), message, "provide it, or add optional = true");
            }
            None
        }
    };
    Some(ApiKey::Stored { source, value: key })
}

/// A key, or the message that says why there is none.
type Found = Result<String, String>;

fn from_env(name: &str, optional: bool, context: &Context<'_>) -> (SecretSource, Found) {
    let found = context.variable(name).ok_or_else(|| format!("the environment variable {name} is not set"));
    (SecretSource::Env { name: name.to_owned(), optional }, found)
}

fn from_file(path: &str, optional: bool, context: &Context<'_>, p: &mut Problems<'_>) -> (SecretSource, Found) {
    let path = context.resolve(path);
    let found = read_secret_file(&path)
        .map(|text| String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|error| format!("the file {} cannot be read: {error}", path.display()));
    p.watched.push(path.clone());
    (SecretSource::File { path, optional }, found)
}

fn is_usable(key: &str) -> bool {
    !key.is_empty() && key.is_ascii() && http::HeaderValue::from_str(key).is_ok()
}
