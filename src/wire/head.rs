//! Checks a request's head for errors that hyper accepts: those that make two servers read two different requests, and
//! requests that are meant for a forward proxy.
//!
//! Owns: refusals that need only the head. Refuses: paths (`endpoint`), sizes, configuration.

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version};

use super::framing::Fault;

/// Reason why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// Status of the response.
    pub status: StatusCode,
    /// Description and cure, for the sender.
    pub what: &'static str,
    /// `code` of the error body.
    pub code: &'static str,
    /// True if the connection has to close, since the begin of its next request is not certain.
    pub closes: bool,
}

const fn bad(what: &'static str, code: &'static str) -> Wrong {
    Wrong { status: StatusCode::BAD_REQUEST, what, code, closes: false }
}

const fn bad_framing(what: &'static str) -> Wrong {
    Wrong { status: StatusCode::BAD_REQUEST, what, code: "invalid_framing", closes: true }
}

/// Fields that address, authorise, frame or trace the request; a sender cannot make them hop-by-hop.
const PROTECTED: [HeaderName; 4] = [HOST, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE];
const PROTECTED_NAMES: [&str; 3] = ["traceparent", "tracestate", "cookie"];

/// Checks a head; `fault` is one that the parsed head does not show.
pub fn check(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    fault: Option<Fault>,
) -> Result<(), Wrong> {
    match fault {
        None => {}
        Some(Fault::TwoLengths) => {
            return Err(bad_framing("content-length and transfer-encoding came together: send one of them"));
        }
        Some(Fault::Fragment) => {
            let what = "the request's target has a fragment (#): leave it out";
            return Err(Wrong { closes: true, ..bad(what, "invalid_target") });
        }
        Some(Fault::Unclear) => return Err(bad_framing("where the request begins is not certain: connect anew")),
    }
    transfer_encoding(headers)?;
    host(uri, version, headers)?;
    let of_server = *method == Method::OPTIONS && uri.path() == "*";
    if !of_server && !uri.path().starts_with('/') {
        return Err(bad("the request's target does not begin with /", "invalid_target"));
    }
    connection(headers)?;
    let unmet = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().any(unmet) {
        let status = StatusCode::EXPECTATION_FAILED;
        let what = "the only expectation that is met is 100-continue";
        return Err(Wrong { status, what, code: "expectation_failed", closes: false });
    }
    Ok(())
}

/// True if the method is one that an API uses. Methods are case-sensitive: `get` is unknown.
pub fn is_known(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS
    )
}

fn transfer_encoding(headers: &HeaderMap) -> Result<(), Wrong> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(bad_framing("transfer-encoding is there twice: send it once")),
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), None) => Err(Wrong {
            status: StatusCode::NOT_IMPLEMENTED,
            what: "of transfer encodings only chunked is understood",
            code: "invalid_framing",
            closes: true,
        }),
    }
}

/// Checks for exactly one valid Host (RFC 9112 §3.2) and for targets that name another server.
fn host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), Wrong> {
    let mut lines = headers.get_all(HOST).iter();
    let given = match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => return Err(bad("Host is there twice: send it once", "invalid_host")),
        (None, _) if version == Version::HTTP_11 => return Err(bad("Host is missing", "invalid_host")),
        (given, _) => given,
    };
    let named = match given {
        None => None,
        Some(value) if is_host(value.as_bytes()) => Some(value.as_bytes()),
        Some(_) => return Err(bad("Host is no name or address with an optional port", "invalid_host")),
    };
    // Absolute form, as a forward proxy gets it; in HTTP/2 every target has an authority.
    match (uri.authority(), named) {
        (Some(asked), Some(named)) if !asked.as_str().as_bytes().eq_ignore_ascii_case(named) => Err(elsewhere()),
        (Some(_), None) if version <= Version::HTTP_11 => Err(elsewhere()),
        (Some(_), _) if version <= Version::HTTP_11 && uri.scheme_str() != Some("http") => Err(elsewhere()),
        _ => Ok(()),
    }
}

/// True if all characters may occur in a name or address with a port (RFC 3986 §3.2.2).
fn is_host(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    !value.is_empty() && value.iter().all(is_allowed)
}

const fn elsewhere() -> Wrong {
    Wrong {
        status: StatusCode::MISDIRECTED_REQUEST,
        what: "the target names another server: shiftgate is no forward proxy; set base_url, not HTTP_PROXY",
        code: "misdirected_request",
        closes: false,
    }
}

fn connection(headers: &HeaderMap) -> Result<(), Wrong> {
    let names = |protected: &str| {
        headers.get_all(CONNECTION).iter().any(|line| {
            line.as_bytes().split(|byte| *byte == b',').any(|name| {
                let name = name.trim_ascii();
                name.eq_ignore_ascii_case(protected.as_bytes())
            })
        })
    };
    if headers.contains_key(CONNECTION) && PROTECTED.iter().map(HeaderName::as_str).chain(PROTECTED_NAMES).any(names) {
        return Err(bad("Connection names a field that belongs to the request itself", "invalid_connection"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(target: &str, head: &[(&'static str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in head {
            headers.append(*name, http::HeaderValue::from_str(value).unwrap());
        }
        let checked = check(&Method::POST, &target.parse().unwrap(), Version::HTTP_11, &headers, None);
        checked.map_or_else(|wrong| wrong.status.as_u16(), |()| 200)
    }

    #[test]
    fn heads_and_their_answers() {
        let path = "/v1/models";
        for (target, head, status) in [
            (path, [("host", "h")].as_slice(), 200),
            (path, &[("host", "[::1]:8080")], 200),
            (path, &[], 400),
            (path, &[("host", "a"), ("host", "a")], 400),
            (path, &[("host", "a b")], 400),
            (path, &[("host", "")], 400),
            (path, &[("host", "user@h")], 400),
            (path, &[("host", "h"), ("transfer-encoding", "Chunked")], 200),
            (path, &[("host", "h"), ("transfer-encoding", "gzip, chunked")], 501),
            (path, &[("host", "h"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 400),
            ("http://h/v1/models", &[("host", "h")], 200),
            ("http://169.254.169.254/v1/models", &[("host", "h")], 421),
            ("https://h/v1/models", &[("host", "h")], 421),
            ("h", &[("host", "h")], 421),
            ("*", &[("host", "h")], 400),
            (path, &[("host", "h"), ("expect", "100-Continue")], 200),
            (path, &[("host", "h"), ("expect", "x")], 417),
            (path, &[("host", "h"), ("connection", "close, x-mine")], 200),
            (path, &[("host", "h"), ("connection", "close"), ("connection", "x, Authorization")], 400),
            (path, &[("host", "h"), ("connection", "traceparent")], 400),
        ] {
            assert_eq!(status_of(target, head), status, "{target} {head:?}");
        }
    }
}
