//! URLs that something is sent to.

use http::Uri;
use http::uri::Scheme;

use super::types::BackendUrl;

/// What is wrong with one. Never repeats the text: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    #[error("cannot be read as a URL")]
    Unreadable,
    #[error("is no http or https URL")]
    Scheme,
    #[error("has a user name or password in it")]
    User,
    #[error("has no usable host and port")]
    Host,
    #[error("has a query or fragment")]
    Query,
}

/// Scheme, host and port, and the path without a slash at its end.
pub fn http_url(text: &str) -> Result<BackendUrl, UrlProblem> {
    let uri = text.parse::<Uri>().map_err(|_| UrlProblem::Unreadable)?;
    let (scheme, authority) = match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => (scheme, authority),
        _ => return Err(UrlProblem::Scheme),
    };
    if authority.as_str().contains('@') {
        return Err(UrlProblem::User);
    }
    if authority.host().is_empty() || authority.port().is_some_and(|port| port.as_str().parse::<u16>().is_err()) {
        return Err(UrlProblem::Host);
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(UrlProblem::Query);
    }
    Ok(BackendUrl {
        scheme: scheme.clone(),
        authority: authority.clone(),
        path: uri.path().trim_end_matches('/').to_owned(),
    })
}
