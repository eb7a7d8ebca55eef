//! Sends a request once, and once more if a reused connection died before a byte of an answer.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};

use super::deadlines::Due;
use crate::backend::{AnswerBody, Client, Failure, RequestBody, SendError};
use crate::model::SpanId;
use crate::outcome::Trail;

/// Options of one exchange with a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// Deadline of the answer's head.
    pub deadline: Option<Due>,
    /// True for a new connection: a body that cannot be sent again must not meet a stale one.
    pub is_fresh: bool,
    /// True if the request may be sent again after a stale connection.
    pub is_replay_safe: bool,
    /// True if the answer is to be a stream.
    pub is_stream: bool,
}

/// Sends a request and waits for the answer's head. `request` builds it for the attempt's span.
pub(crate) async fn send(
    client: &Arc<Client>,
    exchange: Exchange,
    mut request: impl FnMut(SpanId) -> Request<RequestBody>,
    trail: &mut Trail,
) -> Result<Response<AnswerBody>, Failure> {
    let span = trail.sends(false);
    let sent = {
        let sending = std::pin::pin!(client.send(request(span), exchange.is_fresh, &trail.conn));
        trail.waited_time.wait(within(exchange.deadline, sending)).await?
    };
    let SendError { failure, stale } = match sent {
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
    // Rare and large: boxed, so that it does not enlarge every request's future.
    let sent = {
        let again = Box::pin(client.send(request(span), true, &trail.conn));
        trail.waited_time.wait(within(exchange.deadline, again)).await?
    };
    sent.map(|answer| came(answer, trail)).map_err(|error| error.failure)
}

fn came(response: Response<AnswerBody>, trail: &mut Trail) -> Response<AnswerBody> {
    trail.head_came(response.status().as_u16());
    response
}

/// Awaits `work` until the deadline. `work` is pinned by the caller, so that a large future is not moved.
pub(super) async fn within<T>(deadline: Option<Due>, work: impl Future<Output = T> + Unpin) -> Result<T, Failure> {
    match deadline {
        None => Ok(work.await),
        Some(Due { at, is_clients }) => {
            let begun = Instant::now();
            let timed = tokio::time::timeout_at(at.into(), work).await;
            timed.map_err(|_| match is_clients {
                true => Failure::ClientDeadline,
                false => Failure::Timeout(at.saturating_duration_since(begun)),
            })
        }
    }
}
