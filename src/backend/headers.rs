//! Header fields that cross the proxy, in both directions.
//!
//! Invariant: the application's credentials go only to a backend whose `api_key` is `"client"`.

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, Entry, HOST, HeaderName,
    HeaderValue, USER_AGENT,
};

use super::target::{Auth, Target};

use crate::model::header::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};

/// True for fields meant for the next hop only (RFC 9110 §7.6.1, and names left over from HTTP/1.0).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "http2-settings"
    )
}

/// Removes hop-by-hop fields: the standard names, and names listed in any `Connection` line.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_named(headers);
    remove_where(headers, is_hop_by_hop);
}

fn strip_named(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // Connection options, not field names.
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        // A sender cannot make the proxy drop fields that address or authorize the request.
        if name != HOST && name != AUTHORIZATION && name != CONTENT_LENGTH && name != CONTENT_TYPE {
            headers.remove(name);
        }
    }
}

/// Removes all fields whose name is `unwanted`; the order of the others stays.
fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Trace context for a backend whose `propagate` lists it; replaces the application's.
#[derive(Debug)]
pub(crate) struct OwnTrace {
    /// Header value that names the attempt's span as the parent.
    pub traceparent: HeaderValue,
    /// True if the trace begins here: the application's `tracestate` then belongs to another trace and is removed.
    pub begins_here: bool,
}

/// Headers that shiftgate adds to a request.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Trace context; without it the application's passes unchanged.
    pub trace: Option<OwnTrace>,
    /// Value of the backend's affinity header.
    pub affinity: Option<HeaderValue>,
}

/// Headers of applications that name a conversation: only the baseline sees them.
const NAMES_CONVERSATION: [&str; 2] = ["session_id", "x-session-affinity"];

/// Builds the head that `target` gets for a request whose head was `app`.
pub(crate) fn for_backend(app: &HeaderMap, target: &Target, is_baseline: bool, observed: bool, own: Own) -> HeaderMap {
    let mut headers = match &target.auth {
        Auth::Client => from_client(app, target, is_baseline),
        Auth::None => chosen(app, target),
        Auth::Bearer(value) => {
            let mut headers = chosen(app, target);
            headers.insert(AUTHORIZATION, value.clone());
            headers
        }
    };
    headers.insert(HOST, target.host.clone());
    if !is_baseline {
        for name in NAMES_CONVERSATION {
            headers.remove(name);
        }
    }
    // The application's value is never sent under this name, also if there is no hash: it may name a person.
    if let Some(name) = &target.config.affinity {
        match own.affinity {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    if let Some(trace) = own.trace {
        headers.insert(TRACEPARENT, trace.traceparent);
        if trace.begins_here {
            headers.remove(TRACESTATE);
        }
    }
    if observed {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if target.config.engine.facts().takes_request_id
        && let Ok(id) = HeaderValue::try_from(format!("{:032x}", rand::random::<u128>()))
    {
        headers.insert(X_REQUEST_ID, id);
    }
    headers
}

/// Copies every end-to-end field of the application.
fn from_client(app: &HeaderMap, target: &Target, is_baseline: bool) -> HeaderMap {
    let mut headers = app.clone();
    strip_named(&mut headers);
    remove_where(&mut headers, |name| {
        let text = name.as_str();
        match text {
            // The caller sets Host; the length is that of the body sent.
            "host" | "content-length" | "expect" | "forwarded" | "x-real-ip" | "via" => true,
            "traceparent" | "tracestate" | "baggage" => !target.config.propagate.contains(name),
            "cookie" => !is_baseline,
            _ => {
                text.starts_with("x-shiftgate-")
                    || text.starts_with("x-forwarded-")
                    || (!is_baseline && text.starts_with("openai-"))
                    || is_hop_by_hop(name)
            }
        }
    });
    join_cookies(&mut headers);
    headers
}

/// Joins cookie lines: HTTP/2 may split a cookie, other versions allow one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let all: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, whole);
        }
    }
}

/// Copies only the fields that a backend with its own key may see.
fn chosen(app: &HeaderMap, target: &Target) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    let config = &target.config;
    for name in [CONTENT_TYPE, ACCEPT, USER_AGENT].iter().chain(&config.propagate).chain(&config.headers) {
        if let Entry::Vacant(entry) = headers.entry(name) {
            let mut values = app.get_all(name).iter();
            if let Some(first) = values.next() {
                let mut entry = entry.insert_entry(first.clone());
                for value in values {
                    entry.append(value.clone());
                }
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_line_is_honoured_but_never_against_the_request_itself() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("close, x-first"));
        headers.append(CONNECTION, HeaderValue::from_static("X-Second , authorization, host"));
        for (name, value) in [("x-first", "1"), ("x-second", "2"), ("x-third", "3"), ("authorization", "k")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        headers.insert(HOST, HeaderValue::from_static("h"));
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host", "x-third"]);
    }
}
