//! Reads URLs of servers.

use http::Uri;
use http::uri::Scheme;

use super::types::BackendUrl;

/// Reason why a URL is refused. It never repeats the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlProblem {
    /// Not a URL.
    #[error("cannot be read as a URL")]
    Unreadable,
    /// Another scheme, or none.
    #[error("is not an http or https URL")]
    Scheme,
    /// Credentials in the URL.
    #[error("has a user name or password in it")]
    User,
    /// A missing host or a port out of range.
    #[error("has no usable host and port")]
    Host,
    /// Anything after the path.
    #[error("has a query or fragment")]
    Query,
}

/// Reads an http or https URL that has neither credentials nor a query.
pub(crate) fn http_url(text: &str) -> Result<BackendUrl, UrlProblem> {
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
