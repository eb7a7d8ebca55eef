//! Sends one of the probe's requests as a leg without a client, and returns the server's own answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request};

use crate::backend::{Failure, Target};
use crate::exchange::{Capture, Inbound, InboundBody, LegError, Plan, PlanError, Room, collect, open};
use crate::fleet::exchange::{Answer, OURS};
use crate::outcome::{Ending, LegKind, Role};
use crate::stats::Gauge;
use crate::wire::endpoint::Endpoint;

/// Timeout of one answer; a request for a few tokens takes far less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Limit, in bytes, of one answer; a larger one is a failure.
const MAX_ANSWER: u64 = 4 << 20;

/// Builds a request as an application sends it.
pub(super) fn inbound(method: Method, path: &'static str, body: Bytes) -> Arc<Inbound> {
    let endpoint = Endpoint::of(&method, path);
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method;
    head.uri = http::Uri::from_static(path);
    head.headers.insert(USER_AGENT, OURS);
    head.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if !body.is_empty() {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let body = InboundBody::of(&head.method, body);
    Arc::new(Inbound::new(head, endpoint, body))
}

/// Plans a GET of the backend's own API.
pub(super) fn get(target: &Arc<Target>, path: &'static str) -> Result<Plan, PlanError> {
    Plan::verbatim(&inbound(Method::GET, path, Bytes::new()), target, Role::Candidate)
}

/// Sends the plan's request, and returns the answer without translation.
pub(super) async fn call(plan: Plan) -> Result<Answer, Failure> {
    let mut plan = plan.raw();
    let mut room = Room::of(&Gauge::default(), MAX_ANSWER);
    let mut trail = plan.trail(LegKind::Probe);
    let read = async {
        let opened = open(&plan, None, Instant::now(), &mut room, &mut trail).await?;
        collect(opened, MAX_ANSWER, &mut room, &mut trail).await
    };
    let read = tokio::time::timeout(ANSWER_TIMEOUT, read).await.map_err(|_| Failure::Timeout(ANSWER_TIMEOUT))?;
    match read {
        Ok(Capture { ending: Ending::TimedOut, .. }) => Err(Failure::Timeout(ANSWER_TIMEOUT)),
        Ok(Capture { ending: Ending::Complete, status, body }) => Ok(Answer { status, body }),
        Ok(_) => Err(Failure::Reset("the answer broke off".to_owned())),
        Err(LegError::Failed(failure)) => Err(failure),
        Err(LegError::Rejected { .. } | LegError::NoRoom) => Err(Failure::TooLarge(MAX_ANSWER)),
    }
}
