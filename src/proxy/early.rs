//! The early head: status and pings for a stream whose candidate is silent, for applications and load balancers that
//! would hang up. Failover stays possible; only the status is spent.
//!
//! Invariant: after the pings the bytes are those of one answer from its first byte, or one error event.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame};
use serde::Deserialize;
use tokio::time::Sleep;

use super::answer::{AnswerBody, Broken};
use super::progress::Progress;
use super::respond;
use crate::exchange::{Plan, is_event_stream};
use crate::stats::BackendStats;
use crate::wire::endpoint::Endpoint;

/// Comment that keeps the client waiting; event stream parsers drop it.
const PING: &[u8] = b": ping\n\n";
/// Limit, in bytes, of an error body that is turned into an event; a longer one gets a message of ours.
const MAX_ERROR: usize = 64 << 10;
/// Message for an answer that is not an error of OpenAI's API.
const NOT_A_STREAM: &str = "upstream: invalid answer: a stream was asked for and something else came";

/// The rest of a request's journey.
pub(super) type Rest = Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;

/// An early head that may be sent.
pub(super) struct EarlyHead {
    /// Time without content after which it is sent, and as long between two pings.
    wait: Duration,
    head: HeaderMap,
    is_responses: bool,
    /// Set when it is sent.
    is_sent: Arc<AtomicBool>,
    /// Counters of the backend that is asked first.
    stats: Arc<BackendStats>,
}

impl EarlyHead {
    pub(super) fn new(wait: Duration, plan: &Plan, progress: &Progress) -> Self {
        let mut head = HeaderMap::with_capacity(4);
        head.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        respond::mark_early(&mut head, progress);
        Self {
            wait,
            head,
            is_responses: plan.inbound().endpoint() == Endpoint::Responses,
            is_sent: Arc::clone(progress.early()),
            stats: Arc::clone(&plan.target().stats),
        }
    }

    /// Awaits the answer; after `wait` without one, returns the early head with a body that waits for it.
    pub(super) async fn before(self, mut rest: Rest) -> Response<AnswerBody> {
        if let Ok(response) = tokio::time::timeout(self.wait, &mut rest).await {
            return response;
        }
        self.is_sent.store(true, Relaxed);
        self.stats.early_heads.add(1);
        let body = EarlyBody::new(rest, self.wait, self.is_responses);
        let mut response = Response::new(AnswerBody::of(Box::pin(body)));
        *response.headers_mut() = self.head;
        response
    }
}

/// Body behind an early head.
struct EarlyBody {
    state: State,
    /// Time between two pings.
    every: Duration,
    sleep: Pin<Box<Sleep>>,
    is_responses: bool,
}

enum State {
    /// No backend has content; the flag is false until the first ping is sent.
    Waits(Rest, bool),
    Streams(AnswerBody),
    /// An answer that is not a stream, with the part of it that was read.
    Fails(AnswerBody, BytesMut),
    Done,
}

impl EarlyBody {
    fn new(rest: Rest, every: Duration, is_responses: bool) -> Self {
        Self { state: State::Waits(rest, false), every, sleep: Box::pin(tokio::time::sleep(every)), is_responses }
    }
}

impl Body for EarlyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Waits(_, is_pinged @ false) => {
                    *is_pinged = true;
                    return ping();
                }
                State::Waits(rest, true) => match rest.as_mut().poll(cx) {
                    Poll::Ready(response) => this.state = State::of(response),
                    Poll::Pending => {
                        ready!(this.sleep.as_mut().poll(cx));
                        this.sleep.as_mut().reset((Instant::now() + this.every).into());
                        // The timer has to be polled again to be armed.
                        cx.waker().wake_by_ref();
                        return ping();
                    }
                },
                State::Streams(body) => return Pin::new(body).poll_frame(cx),
                State::Fails(body, kept) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref().filter(|data| kept.len() + data.len() <= MAX_ERROR) {
                            kept.extend_from_slice(data);
                        }
                    }
                    None | Some(Err(_)) => {
                        let event = error_event(kept, this.is_responses);
                        this.state = State::Done;
                        return Poll::Ready(Some(Ok(Frame::data(event))));
                    }
                },
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

fn ping() -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PING)))))
}

impl State {
    fn of(response: Response<AnswerBody>) -> Self {
        if response.status() == StatusCode::OK && is_event_stream(response.headers()) {
            Self::Streams(response.into_body())
        } else {
            Self::Fails(response.into_body(), BytesMut::new())
        }
    }
}

#[derive(Deserialize)]
struct Refused {
    error: serde_json::Map<String, serde_json::Value>,
}

/// Writes the event for an answer that is not a stream, with the error's own values. No `[DONE]` follows.
fn error_event(body: &[u8], is_responses: bool) -> Bytes {
    let said = serde_json::from_slice::<Refused>(body).ok().map(|refused| refused.error);
    let error = said.filter(|error| error.get("message").is_some_and(serde_json::Value::is_string));
    let value = |name: &str| error.as_ref().and_then(|error| error.get(name)).cloned().unwrap_or_default();
    let or = |name: &str, ours: &str| if error.is_some() { value(name) } else { ours.into() };
    let (message, code) = (or("message", NOT_A_STREAM), or("code", "upstream_error"));
    if is_responses {
        let event = serde_json::json!({
            "type": "error", "code": code, "message": message, "param": value("param"), "sequence_number": 0,
        });
        return format!("event: error\ndata: {event}\n\n").into();
    }
    let error = serde_json::json!({
        "message": message, "type": or("type", "server_error"), "param": value("param"), "code": code,
    });
    format!("data: {}\n\n", serde_json::json!({ "error": error })).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_event_of_its_own_values() {
        let body =
            br#"{"error":{"message":"slow down","type":"tokens","param":null,"code":"rate_limit_exceeded","x":1}}"#;
        assert_eq!(
            error_event(body, false),
            "data: {\"error\":{\"message\":\"slow down\",\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}\n\n"
        );
        let event = error_event(body, true);
        assert!(event.starts_with(b"event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\""));
        for body in [&b""[..], b"<html>", b"{\"error\":\"text\"}", b"{\"id\":\"c\"}"] {
            let event = String::from_utf8(error_event(body, false).to_vec()).unwrap();
            assert!(event.contains("\"type\":\"server_error\"") && event.contains("upstream_error"), "{event}");
        }
    }
}
