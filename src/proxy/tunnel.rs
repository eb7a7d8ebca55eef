//! WebSocket upgrades (`/v1/realtime`): after the baseline's 101, bytes pass both ways unread.
//!
//! Invariant: no byte of the application is passed on before the baseline has agreed to switch protocols.

use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Proxy;
use super::answer::AnswerBody;
use super::record::Record;
use super::respond::{self, LocalReply};
use crate::backend::{Failure, RequestBody, Target, headers};
use crate::model::End;
use crate::wire::endpoint::Endpoint;

/// What a backend says instead of 101 is read up to this much.
const MAX_REFUSAL: usize = 1 << 20;

/// Whether this request wants another protocol on its connection.
pub(super) fn wanted(endpoint: &Endpoint, head: &request::Parts) -> bool {
    matches!(endpoint, Endpoint::Realtime)
        && head.headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) async fn open(
    proxy: Arc<Proxy>,
    target: Arc<Target>,
    mut head: request::Parts,
    mut record: Box<Record>,
) -> Response<AnswerBody> {
    let app_side = head.extensions.remove::<OnUpgrade>();
    let Some(uri) = target.uri_for(&head.uri) else {
        return respond::refuse(record, &LocalReply::MalformedPath);
    };
    let mut upstream = Request::new(RequestBody::Whole(None));
    *upstream.method_mut() = head.method.clone();
    *upstream.uri_mut() = uri;
    record.sends(false);
    let trace = record.journey.own_trace(&target);
    *upstream.headers_mut() = headers::for_backend(&head.headers, &target, true, false, trace);
    ask_for_upgrade(upstream.headers_mut(), &head.headers);
    record.watch.waits(Instant::now());
    let answer = target.client.send_upgrade(upstream).await;
    record.watch.resumes(Instant::now());
    if let Ok(answer) = &answer {
        record.journey.answered(answer.status().as_u16(), false);
    }
    let failed = LocalReply::Failed;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            record.blame();
            record.journey.failed(failure.fault(false, false), Instant::now());
            return respond::refuse(record, &failed(failure));
        }
    };
    let (Some(app_side), StatusCode::SWITCHING_PROTOCOLS) = (app_side, answer.status()) else {
        return refused_by_backend(answer, record, failed).await;
    };
    let backend_side = hyper::upgrade::on(&mut answer);
    let (mut parts, _) = answer.into_parts();
    let upgrade = parts.headers.get(UPGRADE).cloned();
    headers::strip_hop_by_hop(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, upgrade.unwrap_or_else(|| HeaderValue::from_static("websocket")));
    record.answered(parts.status, Instant::now());
    respond::mark(&mut parts.headers, &record);
    let life = Arc::clone(&proxy.life);
    life.tasks.spawn(async move {
        let passing = async {
            let (app, backend) = tokio::try_join!(app_side, backend_side)?;
            let (mut app, mut backend) = (TokioIo::new(app), TokioIo::new(backend));
            // A reset is how many WebSocket peers leave: it ends the tunnel like a close.
            drop(tokio::io::copy_bidirectional(&mut app, &mut backend).await);
            Ok::<_, hyper::Error>(())
        };
        tokio::select! {
            done = passing => record.finish(if done.is_ok() { End::Complete } else { End::ClientGone }),
            () = proxy.life.cut.cancelled() => record.finish(End::Drained),
        }
    });
    Response::from_parts(parts, AnswerBody::empty())
}

/// A 4xx or a plain 200 goes to the application as it is, and there is no tunnel.
async fn refused_by_backend(
    answer: Response<hyper::body::Incoming>,
    mut record: Box<Record>,
    failed: impl Fn(Failure) -> LocalReply,
) -> Response<AnswerBody> {
    let (mut parts, body) = answer.into_parts();
    let body = match http_body_util::Limited::new(body, MAX_REFUSAL).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            record.blame();
            return respond::refuse(record, &failed(Failure::BadAnswer(error.to_string())));
        }
    };
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        record.blame();
        return respond::refuse(record, &failed(Failure::BadAnswer("101 for a request that cannot switch".to_owned())));
    }
    headers::strip_hop_by_hop(&mut parts.headers);
    record.answered(parts.status, Instant::now());
    respond::mark(&mut parts.headers, &record);
    Response::from_parts(parts, AnswerBody::whole(body, record, End::Complete))
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
