//! One request to a backend off the request path, with limits of time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::backend::{Auth, Client, Failure, RequestBody, Target};
use crate::exchange::{self, Exchange};
use crate::outcome::Trail;

/// User agent of shiftgate's own requests.
pub(super) const OURS: HeaderValue = HeaderValue::from_static(concat!("shiftgate/", env!("CARGO_PKG_VERSION")));

/// A request, with limits of time and size for its answer.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: HeaderValue,
    pub(super) key: Option<HeaderValue>,
    pub(super) body: Bytes,
    pub(super) deadline: Duration,
    pub(super) max_answer: u64,
}

/// An answer read whole.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Question {
    /// A GET with the backend's own key; its answer may take `deadline` and have `max_answer` bytes.
    pub(super) fn get(target: &Target, uri: Uri, deadline: Duration, max_answer: u64) -> Self {
        let (host, key) = (target.host.clone(), key_of(target));
        Self { method: Method::GET, uri, host, key, body: Bytes::new(), deadline, max_answer }
    }

    /// Sends the request, and reads the answer to its end.
    pub(super) async fn ask(&self, client: &Arc<Client>, trail: &mut Trail) -> Result<Answer, Failure> {
        let answer = tokio::time::timeout(self.deadline, self.exchange(client, trail)).await;
        answer.map_err(|_| Failure::Timeout(self.deadline))?
    }

    async fn exchange(&self, client: &Arc<Client>, trail: &mut Trail) -> Result<Answer, Failure> {
        let exchange = Exchange { deadline: None, is_fresh: false, is_replay_safe: true, is_stream: false };
        let response = exchange::send(client, exchange, |_| self.request(), trail).await?;
        let status = response.status();
        let body =
            http_body_util::Limited::new(response.into_body(), usize::try_from(self.max_answer).unwrap_or(usize::MAX));
        match body.collect().await {
            Ok(body) => Ok(Answer { status, body: body.to_bytes() }),
            Err(error) => Err(match error.downcast_ref::<hyper::Error>() {
                Some(error) => Failure::of_exchange(error),
                None => Failure::TooLarge(self.max_answer),
            }),
        }
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::whole(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, OURS);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        request
    }
}

/// Returns the backend's configured key. An application's key is never used off its request.
pub(super) fn key_of(target: &Target) -> Option<HeaderValue> {
    match &target.auth {
        Auth::Bearer(value) => Some(value.clone()),
        Auth::Client | Auth::None => None,
    }
}
