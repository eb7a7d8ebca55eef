//! WebSocket upgrades (`/v1/realtime`): after the backend's 101, bytes pass in both directions unread.
//!
//! Invariant: the application's bytes are passed on only after the backend has switched protocols.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, response};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::answer::AnswerBody;
use super::progress::Progress;
use super::respond::{self, LocalReply};
use super::shared::Proxy;
use crate::backend::{Failure, headers};
use crate::exchange::{LegError, Plan};
use crate::model::End;
use crate::outcome::{Ending, Role};
use crate::wire::endpoint::Endpoint;

/// Limit, in bytes, of an answer other than 101; a larger one is a failure.
const MAX_REFUSAL: usize = 1 << 20;

/// True if the request asks for a WebSocket on an endpoint that has one.
pub(super) fn is_wanted(endpoint: &Endpoint, headers: &HeaderMap) -> bool {
    matches!(endpoint, Endpoint::Realtime)
        && headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Sends the upgrade and, once the backend agrees, joins both connections.
pub(super) async fn open(
    proxy: Arc<Proxy>,
    plan: Plan,
    app_side: Option<OnUpgrade>,
    mut progress: Box<Progress>,
) -> Response<AnswerBody> {
    let answer = match send(&plan, &mut progress).await {
        Ok(answer) => answer,
        Err(failure) => return fail(progress, failure),
    };
    let (Some(app_side), StatusCode::SWITCHING_PROTOCOLS) = (app_side, answer.status()) else {
        return refused_by_backend(answer, &plan, progress).await;
    };
    let mut answer = answer;
    let backend_side = hyper::upgrade::on(&mut answer);
    let (mut head, _) = answer.into_parts();
    let upgrade = head.headers.get(UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, upgrade.unwrap_or_else(|| HeaderValue::from_static("websocket")));
    leave(&mut head, &mut progress);
    let shutdown = Arc::clone(&proxy.shutdown);
    shutdown.tasks.spawn(async move {
        let passing = async {
            let (app, backend) = tokio::try_join!(app_side, backend_side)?;
            let (mut app, mut backend) = (TokioIo::new(app), TokioIo::new(backend));
            // Many WebSocket peers end with a reset: it ends the tunnel like a close.
            drop(tokio::io::copy_bidirectional(&mut app, &mut backend).await);
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            done = passing => progress.finish_leg(if done.is_ok() { Ending::Complete } else { Ending::ClientGone }),
            () = proxy.shutdown.cut.cancelled() => progress.finish(End::Drained),
        }
    });
    Response::from_parts(head, AnswerBody::empty())
}

async fn send(plan: &Plan, progress: &mut Progress) -> Result<Response<hyper::body::Incoming>, Failure> {
    let Some(trail) = progress.leg_mut() else { return Err(Failure::ClientLeft) };
    let mut upstream = plan.request(None, trail.sends(false));
    ask_for_upgrade(upstream.headers_mut(), plan.inbound().headers());
    let answer = trail.waited_time.wait(plan.target().client.send_upgrade(upstream, &trail.conn)).await?;
    trail.head_came(answer.status().as_u16());
    Ok(answer)
}

fn fail(mut progress: Box<Progress>, error: impl Into<LegError>) -> Response<AnswerBody> {
    let error = error.into();
    let is_told = LocalReply::tells(&error);
    progress.missed(&error, is_told);
    respond::reply(progress, &LocalReply::of(error))
}

fn leave(head: &mut response::Parts, progress: &mut Progress) {
    progress.pass_on();
    progress.head_leaves(head.status);
    respond::mark(&mut head.headers, progress);
}

/// Passes an answer on unchanged, without a tunnel. A candidate's error is judged and told as that of any other request:
/// its status is its own affair, and no other backend is asked.
async fn refused_by_backend(
    answer: Response<hyper::body::Incoming>,
    plan: &Plan,
    mut progress: Box<Progress>,
) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    let body = match http_body_util::Limited::new(body, MAX_REFUSAL).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return fail(progress, Failure::BadAnswer(error.to_string())),
    };
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return fail(progress, Failure::BadAnswer("101 for a request that cannot switch".to_owned()));
    }
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    if is_error && plan.role() == Role::Candidate {
        return fail(progress, LegError::of_refusal(plan.target().config.engine, &head, &body));
    }
    headers::strip_hop_by_hop(&mut head.headers);
    leave(&mut head, &mut progress);
    Response::from_parts(head, AnswerBody::whole_leg(body, progress))
}

fn ask_for_upgrade(headers: &mut HeaderMap, app: &HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for name in ["sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions"] {
        if let Some(value) = app.get(name) {
            headers.insert(name, value.clone());
        }
    }
}
