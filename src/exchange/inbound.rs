//! A client's request, owned and immutable.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, request};

use super::deadlines::SdkTimeouts;
use crate::choose::{Body, Request};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{Scan, Scanned};

/// A request. Its legs share it and may outlive the client that sent it.
#[derive(Debug)]
pub struct Inbound {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    endpoint: Endpoint,
    body: InboundBody,
    sdk_timeouts: SdkTimeouts,
}

/// Body of a request, as far as it was read.
#[derive(Debug)]
pub enum InboundBody {
    /// A JSON object.
    Scanned(Scanned),
    /// Read whole, and not a JSON object; also the body of any method but POST.
    Plain(Bytes),
    /// Streams through unread.
    Unread {
        /// True if the request is known to have no body.
        is_empty: bool,
    },
}

impl InboundBody {
    /// Scans a body that was read whole.
    pub fn of(method: &Method, bytes: Bytes) -> Self {
        if *method != Method::POST {
            return Self::Plain(bytes);
        }
        match Scanned::new(bytes) {
            Ok(scanned) => Self::Scanned(scanned),
            Err((bytes, _)) => Self::Plain(bytes),
        }
    }
}

impl Inbound {
    /// Builds a request from its head.
    pub fn new(head: request::Parts, endpoint: Endpoint, body: InboundBody) -> Self {
        let sdk_timeouts = SdkTimeouts::of(&head.headers);
        Self { method: head.method, uri: head.uri, headers: head.headers, endpoint, body, sdk_timeouts }
    }

    /// Returns the same request with another body, for a copy of it. A copy has no key for repeating a request and no id of
    /// the application's.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        let mut headers = self.headers.clone();
        for name in ["idempotency-key", "x-request-id", "x-client-request-id"] {
            headers.remove(name);
        }
        let body = InboundBody::of(&self.method, body);
        let (method, uri) = (self.method.clone(), self.uri.clone());
        Self { method, uri, headers, endpoint: self.endpoint, body, sdk_timeouts: SdkTimeouts::default() }
    }

    /// The method, unchanged.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The target, unchanged.
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The headers, unchanged.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The endpoint of its path.
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The body, if it was read.
    pub fn body(&self) -> Option<&Bytes> {
        match &self.body {
            InboundBody::Scanned(scanned) => Some(scanned.body()),
            InboundBody::Plain(bytes) => Some(bytes),
            InboundBody::Unread { .. } => None,
        }
    }

    /// The scan of the body, if it is a JSON object.
    pub fn scan(&self) -> Option<&Scan<'_>> {
        match &self.body {
            InboundBody::Scanned(scanned) => Some(scanned.scan()),
            InboundBody::Plain(_) | InboundBody::Unread { .. } => None,
        }
    }

    /// True if the answer is to be a stream.
    pub fn is_stream(&self) -> bool {
        self.scan().is_some_and(Scan::stream)
    }

    /// True if sending the request twice may cost money but does no harm.
    pub fn is_replay_safe(&self) -> bool {
        self.body().is_some()
            && (self.endpoint.replay_safe_by_path()
                || self.scan().is_some_and(|scan| self.endpoint.replay_safe_by_body(scan)))
    }

    /// The timeouts of the SDK that sent the request.
    pub const fn sdk_timeouts(&self) -> SdkTimeouts {
        self.sdk_timeouts
    }

    /// The part of the request that a choice depends on.
    pub fn to_choose(&self) -> Request<'_> {
        let body = match &self.body {
            InboundBody::Scanned(scanned) => Body::Scanned(scanned.scan()),
            InboundBody::Plain(bytes) if bytes.is_empty() => Body::Empty,
            InboundBody::Plain(_) => Body::Unparsable,
            InboundBody::Unread { is_empty: true } => Body::Empty,
            InboundBody::Unread { is_empty: false } if self.endpoint.is_read() => Body::OverCap,
            InboundBody::Unread { is_empty: false } => Body::NotRead,
        };
        let (path, query) = (self.uri.path(), self.uri.query());
        Request { endpoint: &self.endpoint, path, query, headers: &self.headers, body }
    }
}
