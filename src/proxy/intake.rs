//! Reading the application's body: whole and shared up to `max_body`, else passed on unread.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::record::Record;
use super::respond::LocalReply;
use crate::backend::{RequestBody, is_malformed};

/// A request's body as it is at hand.
#[derive(Debug)]
pub(super) enum Intake {
    Whole(Bytes),
    /// Above `max_body`, or of an endpoint that is not read: it streams.
    Stream(RequestBody),
}

/// Reads up to `max` bytes; between two pieces the application has `patience`. Waiting is not ours: the caller's
/// stopwatch leaves it out.
pub(super) async fn read(
    mut body: Incoming,
    max: u64,
    patience: Duration,
    record: &mut Record,
) -> Result<Intake, LocalReply> {
    let hint = body.size_hint();
    if hint.lower() > max {
        return Ok(Intake::Stream(RequestBody::passing(None, body, patience)));
    }
    // What is announced is reserved before it is asked for: a body that has no room is refused before `100 Continue`.
    let announced = hint.exact();
    if !record.hold(announced.unwrap_or(0)) {
        return Err(LocalReply::Overload("limits.body_bytes"));
    }
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(patience, body.frame()).await.map_err(|_| LocalReply::SlowBody)? {
        let frame = frame.map_err(|error| match is_malformed(&error) {
            true => LocalReply::ClientBody(error.to_string()),
            false => LocalReply::ClientLeft,
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if announced.is_none() && !record.hold(data.len() as u64) {
            return Err(LocalReply::Overload("limits.body_bytes"));
        }
        match first {
            None => first = Some(data),
            Some(ref first) => {
                if more.is_empty() {
                    more.reserve(announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0));
                    more.extend_from_slice(first);
                }
                more.extend_from_slice(&data);
            }
        }
        let length = if more.is_empty() { first.as_ref().map_or(0, Bytes::len) } else { more.len() };
        if length as u64 > max {
            let read = if more.is_empty() { first } else { Some(more.freeze()) };
            return Ok(Intake::Stream(RequestBody::passing(read, body, patience)));
        }
    }
    Ok(Intake::Whole(if more.is_empty() { first.unwrap_or_default() } else { more.freeze() }))
}
