//! Sending: once, and once more where a kept connection had died before a byte of an answer.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};

use crate::backend::{AnswerBody, Client, Failure, RequestBody, SendError};
use crate::model::SpanId;
use crate::outcome::Trail;

/// The way of one exchange with a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// When waiting for the answer's head ends.
    pub deadline: Option<Instant>,
    /// Opens a connection of its own: a body that cannot be sent again does not gamble on a kept one.
    pub is_fresh: bool,
    /// The request may be sent again where nobody can have acted on it.
    pub is_replay_safe: bool,
    /// A stream was asked for.
    pub is_stream: bool,
}

/// Sends a request and waits for the answer's head. `request` makes it, for the attempt's span.
pub(crate) async fn send(
    client: &Arc<Client>,
    exchange: Exchange,
    mut request: impl FnMut(SpanId) -> Request<RequestBody>,
    trail: &mut Trail,
) -> Result<Response<AnswerBody>, Failure> {
    let span = trail.sends(false);
    let sending = std::pin::pin!(client.send(request(span), exchange.is_fresh));
    let SendError { failure, stale } = match trail.own_time.wait(within(exchange.deadline, sending)).await? {
        Ok(answer) => return Ok(came(answer, trail)),
        Err(error) => error,
    };
    if stale {
        trail.died_on_reused(failure.fault(exchange.is_stream, false));
    }
    if !stale || !exchange.is_replay_safe {
        return Err(failure);
    }
    let span = trail.sends(true);
    // Rare, and large: on the heap it does not burden every request's future.
    let again = Box::pin(client.send(request(span), true));
    let sent = trail.own_time.wait(within(exchange.deadline, again)).await?;
    sent.map(|answer| came(answer, trail)).map_err(|error| error.failure)
}

fn came(answer: crate::backend::Answer, trail: &mut Trail) -> Response<AnswerBody> {
    trail.head_came(answer.response.status().as_u16(), answer.reused);
    answer.response
}

/// Awaits `work` until the deadline. `work` stays where it is pinned: a large future is not moved for it.
pub(super) async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T> + Unpin) -> Result<T, Failure> {
    match deadline {
        None => Ok(work.await),
        Some(at) => {
            let begun = Instant::now();
            let timed = tokio::time::timeout_at(at.into(), work).await;
            timed.map_err(|_| Failure::Timeout(at.saturating_duration_since(begun)))
        }
    }
}
