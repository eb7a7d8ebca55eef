//! The bodies of simulated answers: whole, or event by event at the pace of tokens; and who saw them to their end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::{Behaviour, Fault, Shared, Traced};

/// One event of a stream; a token is waited for.
#[derive(Debug, Clone)]
pub(super) struct Step {
    bytes: Bytes,
    is_token: bool,
}

impl Step {
    pub(super) fn event(value: &Value, is_token: bool) -> Self {
        Self { bytes: Bytes::from(format!("data: {value}\n\n")), is_token }
    }

    /// An event with a name, as `/v1/responses` has them.
    pub(super) fn named(value: &Value, is_token: bool) -> Self {
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        Self { bytes: Bytes::from(format!("event: {name}\ndata: {value}\n\n")), is_token }
    }

    /// What keeps a connection alive.
    pub(super) fn comment() -> Self {
        Self { bytes: Bytes::from_static(b":\n\n"), is_token: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.bytes.as_ref() == b"data: [DONE]\n\n"
    }

    /// It says why an answer ended.
    pub(super) fn finishes(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        let value = text.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
        value.is_some_and(|value| value.pointer("/choices/0/finish_reason").is_some_and(|finish| !finish.is_null()))
    }

    pub(super) fn done() -> Self {
        Self { bytes: Bytes::from_static(b"data: [DONE]\n\n"), is_token: false }
    }
}

/// Counts an abort unless the answer is sent to its end.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    pub(super) close: Option<Arc<Notify>>,
    /// Of a caller that is traced, and when it called.
    traceparent: Option<(String, SystemTime)>,
    done: bool,
}

impl Watch {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        shared.in_flight.send_modify(|count| *count += 1);
        Self { shared: Arc::clone(shared), close: None, traceparent: None, done: false }
    }

    /// Parent-based, as servers sample: a caller that is not sampled is not told.
    pub(super) fn called_by(&mut self, traceparent: Option<&HeaderValue>) {
        let text = traceparent.filter(|_| self.shared.config.collector.is_some()).and_then(|value| value.to_str().ok());
        let sampled = text.filter(|text| text.ends_with("-01"));
        self.traceparent = sampled.map(|text| (text.to_owned(), SystemTime::now()));
    }

    pub(super) fn done(&mut self) {
        self.done = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.in_flight.send_modify(|count| *count -= 1);
        if let (Some((traceparent, began)), Some(collector)) = (self.traceparent.take(), &self.shared.config.collector)
        {
            collector.0(Traced { traceparent, began, ended: SystemTime::now(), complete: self.done });
        }
        if self.done {
            self.shared.answered.fetch_add(1, Ordering::Relaxed);
            if let Some(close) = &self.close {
                close.notify_one();
            }
        } else {
            self.shared.aborts.send_modify(|aborts| {
                aborts.count += 1;
                aborts.last = Some(Instant::now());
            });
        }
    }
}

/// The body of a simulated answer: whole, or event by event at the pace of tokens.
#[derive(Debug)]
pub(super) struct SimBody {
    steps: std::vec::IntoIter<Step>,
    again: Option<Step>,
    sent: usize,
    hang_after: Option<usize>,
    next_wait: Duration,
    token: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Of a whole answer, for its content-length.
    pub(super) length: Option<u64>,
    watch: Watch,
}

impl SimBody {
    pub(super) fn whole(bytes: Bytes, mut watch: Watch) -> Self {
        let length = Some(bytes.len() as u64);
        let steps = if bytes.is_empty() { Vec::new() } else { vec![Step { bytes, is_token: false }] };
        if steps.is_empty() {
            watch.done();
        }
        Self {
            steps: steps.into_iter(),
            again: None,
            sent: 0,
            hang_after: None,
            next_wait: Duration::ZERO,
            token: Duration::ZERO,
            sleep: None,
            length,
            watch,
        }
    }

    pub(super) fn stream(steps: Vec<Step>, behaviour: &Behaviour, number: u64, watch: Watch) -> Self {
        let again = match behaviour.fault {
            Fault::NeverEnding => steps.iter().find(|step| step.is_token).cloned(),
            _ => None,
        };
        let hang_after = match behaviour.fault {
            Fault::HangAfter(count) => Some(count),
            _ => None,
        };
        Self {
            steps: steps.into_iter(),
            again,
            sent: 0,
            hang_after,
            next_wait: behaviour.jittered(behaviour.ttft, number),
            token: behaviour.token(number),
            sleep: None,
            length: None,
            watch,
        }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.hang_after.is_some_and(|count| this.sent >= count) {
            return Poll::Pending;
        }
        let is_token = this.steps.as_slice().first().map_or_else(|| this.again.is_some(), |step| step.is_token);
        if is_token && !this.next_wait.is_zero() {
            let wait = this.next_wait;
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.sleep = None;
        }
        if is_token {
            this.next_wait = this.token;
        }
        this.sent += 1;
        match this.steps.next() {
            Some(step) => {
                // A never-ending stream repeats its tokens before its last events could come.
                if this.again.is_some() && !step.is_token && this.sent > 1 {
                    this.steps = Vec::new().into_iter();
                }
                if this.steps.as_slice().is_empty() && this.again.is_none() {
                    this.watch.done();
                }
                Poll::Ready(Some(Ok(Frame::data(step.bytes))))
            }
            None => match &this.again {
                Some(step) => Poll::Ready(Some(Ok(Frame::data(step.bytes.clone())))),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.as_slice().is_empty() && self.again.is_none() && self.hang_after.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
