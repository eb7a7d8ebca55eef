//! Reads `proxy`: a URL, or the proxy that the environment names for this backend.

use base64::Engine as _;

use super::super::context::{Context, Secrets};
use super::super::problem::Problems;
use super::super::reader::{Value, Wrong, string, wrong};
use super::super::types::{BackendUrl, Proxy};
use super::url;
use crate::model::Secret;

const CURE: &str = "write \"http://proxy.corp:3128\", or \"env\"";

/// Reads the proxy through which `target` is reached.
pub(super) fn read(
    value: &Value<'_>,
    target: Option<&BackendUrl>,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Option<Proxy> {
    let read = string(value).and_then(|text| match text {
        "env" => Ok(Proxy::Env(target.map(|target| from_env(target, context)).transpose()?.flatten())),
        text => parse(text).map(|(url, basic)| Proxy::Url { url, basic }),
    });
    match read {
        Ok(proxy) => Some(proxy),
        Err(wrong) => {
            p.add(&value.span(), format!("proxy {}", wrong.what), wrong.cure);
            None
        }
    }
}

/// A proxy's URL, and its credentials as the value of a Basic `proxy-authorization`.
type Parsed = (BackendUrl, Option<Secret>);

fn parse(text: &str) -> Result<Parsed, Wrong> {
    let rest = text.strip_prefix("http://").map_or_else(|| wrong("is not an http:// URL", CURE), Ok)?;
    let (basic, host) = match rest.rsplit_once('@') {
        Some((user, host)) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(user);
            (Some(Secret::new(format!("Basic {encoded}"))), host)
        }
        None => (None, rest),
    };
    let url = url::read(&format!("http://{}", host.trim_end_matches('/')))
        .map_err(|_| Wrong { what: "cannot be read as a URL".to_owned(), cure: CURE.to_owned() })?;
    Ok((url, basic))
}

/// Reads the environment's proxy for `target`. A value that cannot be read is an error: without it the backend would be
/// reached directly although a proxy was asked for.
fn from_env(target: &BackendUrl, context: &Context<'_>) -> Result<Option<Parsed>, Wrong> {
    let Some((name, text)) = variable(target, context) else { return Ok(None) };
    match parse(&text) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(_) if context.secrets == Secrets::Skip => Ok(None),
        Err(wrong) => Err(Wrong {
            what: format!("is \"env\", and the variable {name} {}", wrong.what),
            cure: format!("set {name} to a URL such as http://proxy.corp:3128, or leave proxy out"),
        }),
    }
}

/// Finds the variable that names the proxy, by curl's rules for HTTPS_PROXY, http_proxy and NO_PROXY.
fn variable(target: &BackendUrl, context: &Context<'_>) -> Option<(&'static str, String)> {
    let read = |name: &'static str| context.variable(name).map(|value| (name, value));
    let exempt = read("no_proxy").or_else(|| read("NO_PROXY")).map(|(_, value)| value).unwrap_or_default();
    let host = target.host();
    let is_exempt = exempt.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let name = entry.trim_start_matches('.');
        entry == "*" || host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    });
    match (is_exempt, target.is_https()) {
        (true, _) => None,
        (false, true) => read("https_proxy").or_else(|| read("HTTPS_PROXY")),
        // CGI sets the upper-case name from a request header, so only the lower-case one counts.
        (false, false) => read("http_proxy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_proxy_of_the_environment_is_refused() {
        let target = url::read("https://qwen.internal/v1").unwrap();
        let read = |secrets, value: &str| {
            let env = |name: &str| (name == "HTTPS_PROXY").then(|| value.to_owned());
            from_env(&target, &Context { folder: ".".into(), secrets, env: &env })
        };
        let proxy = read(Secrets::Required, "http://u:p@proxy.corp:3128/").unwrap().unwrap();
        assert_eq!((proxy.0.to_string().as_str(), proxy.1.is_some()), ("http://proxy.corp:3128", true));
        let error = read(Secrets::Required, "socks5://u:secret@proxy.corp:1080").unwrap_err();
        assert_eq!(error.what, "is \"env\", and the variable HTTPS_PROXY is not an http:// URL");
        assert!(!error.cure.contains("secret"));
        assert_eq!(read(Secrets::Skip, "socks5://proxy.corp:1080").unwrap(), None);
    }
}
