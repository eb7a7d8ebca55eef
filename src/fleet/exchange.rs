//! One question to a backend, off the request path: bounded in time and in bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::backend::{Auth, Client, Failure, RequestBody, Target};

const OURS: HeaderValue = HeaderValue::from_static(concat!("shiftgate/", env!("CARGO_PKG_VERSION")));

/// A model that is asked for a few tokens has begun long before.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of an answer to one of our own questions.
const MAX_ANSWER: u64 = 4 << 20;

/// What is asked, and how long and how large the answer may be.
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

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Question {
    /// To the backend's own API; `path` is from `/v1` on.
    pub(super) fn of_target(target: &Target, method: Method, path: &'static str, body: Bytes) -> Option<Self> {
        let uri = target.uri_for(&Uri::from_static(path))?;
        let key = key_of(target);
        let (host, deadline, max_answer) = (target.host.clone(), PATIENCE, MAX_ANSWER);
        Some(Self { method, uri, host, key, body, deadline, max_answer })
    }

    pub(super) async fn ask(&self, client: &Arc<Client>) -> Result<Answer, Failure> {
        let asked = tokio::time::timeout(self.deadline, self.exchange(client)).await;
        asked.map_err(|_| Failure::Timeout(self.deadline))?
    }

    async fn exchange(&self, client: &Arc<Client>) -> Result<Answer, Failure> {
        let response = match client.send(self.request(), false).await {
            Ok(answer) => answer.response,
            // A kept connection that had died: nobody has seen the question.
            Err(error) if error.stale => {
                client.send(self.request(), true).await.map_err(|error| error.failure)?.response
            }
            Err(error) => return Err(error.failure),
        };
        let status = response.status();
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            if (read.len() + data.len()) as u64 > self.max_answer {
                return Err(Failure::TooLarge(self.max_answer));
            }
            read.extend_from_slice(data);
        }
        Ok(Answer { status, body: read.freeze() })
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

/// The backend's own key; the application's is not ours to use.
pub(super) fn key_of(target: &Target) -> Option<HeaderValue> {
    match &target.auth {
        Auth::Bearer(value) => Some(value.clone()),
        Auth::Client | Auth::None => None,
    }
}
