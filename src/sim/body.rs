//! The bodies of simulated answers: whole, or event by event at the pace of tokens. Counts answers and aborts.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::config::{Behaviour, Fault, TracedRequest};
use super::state::SharedState;
use super::step::Step;

/// Guard of one answer: when dropped, counts it as answered, or as an abort if it was not sent to its end.
#[derive(Debug)]
pub(super) struct AnswerGuard {
    shared: Arc<SharedState>,
    /// Notified at the end, to close the connection.
    pub(super) close: Option<Arc<Notify>>,
    /// Trace of a sampled caller, and the time of the call.
    traceparent: Option<(String, SystemTime)>,
    is_done: bool,
}

impl AnswerGuard {
    pub(super) fn begin(shared: &Arc<SharedState>) -> Self {
        shared.in_flight.send_modify(|count| *count += 1);
        Self { shared: Arc::clone(shared), close: None, traceparent: None, is_done: false }
    }

    /// Remembers a sampled caller. Sampling is parent-based, as in real servers.
    pub(super) fn called_by(&mut self, traceparent: Option<&HeaderValue>) {
        let text = traceparent.filter(|_| self.shared.config.collector.is_some()).and_then(|value| value.to_str().ok());
        let sampled = text.filter(|text| text.ends_with("-01"));
        self.traceparent = sampled.map(|text| (text.to_owned(), SystemTime::now()));
    }

    /// Marks the answer as sent to its end.
    pub(super) fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.shared.in_flight.send_modify(|count| *count -= 1);
        if let (Some((traceparent, began)), Some(collector)) = (self.traceparent.take(), &self.shared.config.collector)
        {
            collector.0(TracedRequest {
                traceparent,
                began_at: began,
                ended_at: SystemTime::now(),
                is_complete: self.is_done,
            });
        }
        if self.is_done {
            self.shared.count_answered();
            if let Some(close) = &self.close {
                close.notify_one();
            }
        } else {
            self.shared.count_abort();
        }
    }
}

/// The body of a simulated answer: whole, or event by event at the pace of tokens.
#[derive(Debug)]
pub(super) struct SimBody {
    steps: std::vec::IntoIter<Step>,
    /// Token that a never-ending stream repeats.
    again: Option<Step>,
    /// Number of events sent.
    sent: usize,
    hang_after: Option<usize>,
    /// Time before the next token.
    next_wait: Duration,
    /// Time between two tokens.
    token: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes of a whole answer, for its content-length.
    pub(super) length: Option<u64>,
    guard: AnswerGuard,
}

impl SimBody {
    pub(super) fn whole(bytes: Bytes, mut guard: AnswerGuard) -> Self {
        let length = Some(bytes.len() as u64);
        let steps = if bytes.is_empty() { Vec::new() } else { vec![Step { bytes, is_token: false }] };
        if steps.is_empty() {
            guard.done();
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
            guard,
        }
    }

    pub(super) fn stream(steps: Vec<Step>, behaviour: &Behaviour, number: u64, guard: AnswerGuard) -> Self {
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
            guard,
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
                // A never-ending stream repeats its tokens instead of sending its last events.
                if this.again.is_some() && !step.is_token && this.sent > 1 {
                    this.steps = Vec::new().into_iter();
                }
                if this.steps.as_slice().is_empty() && this.again.is_none() {
                    this.guard.done();
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
