//! One request to one backend: sent within its deadlines, once more if a kept connection turns out dead, and for a
//! candidate held back until it has shown content.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;

use super::answer::{AnswerBody, OnBreak};
use super::asked::{Asked, Leg, Prepared};
use super::record::Record;
use super::respond::{self, Refused};
use crate::backend::{self, Failure, RequestBody, SendError, headers};
use crate::live::Snapshot;
use crate::model::{Cause, End};
use crate::wire::observe::{self, Observer};

/// Held back before the first content at most this much; role chunks and comments are far smaller.
const MAX_HELD: usize = 1 << 20;
/// Of what a candidate says with a status other than 2xx at most this much is read, and waited for so long.
const MAX_REFUSAL: usize = 64 << 10;
const EVENT_STREAM: &[u8] = b"text/event-stream";
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// An attempt of which the application has seen nothing.
#[derive(Debug)]
pub(super) enum Missed {
    Failed(Failure),
    /// A candidate's answer that is not 2xx.
    Status {
        status: StatusCode,
        retry_after: Option<HeaderValue>,
        body: Bytes,
    },
    /// The process holds as many bytes as it may.
    NoRoom,
}

impl Missed {
    /// Why another backend may be asked; `None` where the backend is not to blame.
    pub(super) const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed(failure) => failure.cause(),
            Self::Status { .. } => Some(Cause::Status),
            Self::NoRoom => None,
        }
    }

    /// A status by which a server blames the request. 429 is none: it speaks of the server.
    pub(super) fn blames_request(&self) -> bool {
        matches!(self, Self::Status { status, .. }
            if status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS)
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Sends, and makes of what comes back the application's answer. `stream` is a body that was not read.
pub(super) async fn run(
    asked: &Asked<'_>,
    snapshot: &Snapshot,
    prepared: Prepared,
    stream: Option<RequestBody>,
    mut record: Box<Record>,
) -> Result<Response<AnswerBody>, (Box<Record>, Missed)> {
    let Some(leg) = asked.leg(snapshot, prepared, &mut record) else {
        return Ok(respond::refuse(record, &Refused::MalformedPath));
    };
    let sent_at = Instant::now();
    let sent = send(&leg, stream, &mut record).await;
    record.watch.waited(sent_at, Instant::now());
    let response = match sent {
        Ok(response) => response,
        Err(failure) => return Err((record, failure.into())),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err((record, Failure::BadAnswer("101 for a request that cannot switch".to_owned()).into()));
    }
    if leg.is_baseline {
        record.release_body();
        let observer = observer_for(&response, leg.observed);
        return Ok(relay(response, VecDeque::new(), observer, record, &leg, OnBreak::Cut));
    }
    Box::pin(of_candidate(response, &leg, record)).await
}

/// A candidate's answer is held until it has shown that it is one.
async fn of_candidate(
    response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    mut record: Box<Record>,
) -> Result<Response<AnswerBody>, (Box<Record>, Missed)> {
    if !response.status().is_success() {
        let missed = read_refusal(response).await;
        return Err((record, missed));
    }
    let max = record.snapshot.config.server.max_body;
    let waiting = Instant::now();
    let held = if leg.streamed {
        hold_stream(response, leg, &mut record).await
    } else {
        hold_whole(response, leg, max, &mut record).await
    };
    record.watch.waited(waiting, Instant::now());
    let held = match held {
        Ok(held) => held,
        Err(missed) => return Err((record, missed)),
    };
    record.begun(Instant::now());
    record.release_body();
    match held {
        Held::Stream { response, held, observer } => {
            Ok(relay(response, held, observer, record, leg, OnBreak::ErrorEvent))
        }
        Held::Whole { response, bytes, observer } => {
            record.seen = observer.seen;
            let (mut parts, ()) = response.into_parts();
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            finish_head(&mut parts.headers, &mut record, parts.status);
            parts.version = http::Version::HTTP_11;
            Ok(Response::from_parts(parts, AnswerBody::whole(bytes, record, End::Complete)))
        }
    }
}

/// Read to its end it leaves a connection that can be used again; a body that does not come is done without.
async fn read_refusal(response: Response<backend::AnswerBody>) -> Missed {
    let (parts, body) = response.into_parts();
    let reading = http_body_util::Limited::new(body, MAX_REFUSAL).collect();
    let body = match tokio::time::timeout(REFUSAL_TIME, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    Missed::Status { status: parts.status, retry_after: parts.headers.get(RETRY_AFTER).cloned(), body }
}

async fn send(
    leg: &Leg<'_>,
    stream: Option<RequestBody>,
    record: &mut Record,
) -> Result<Response<backend::AnswerBody>, Failure> {
    let deadline = leg.deadlines.head;
    record.count_attempt();
    // A body that passes unread cannot be sent again: it does not gamble on a kept connection.
    let fresh = stream.is_some();
    let sending = std::pin::pin!(leg.target.client.send(leg.request(stream), fresh));
    let first = within(deadline, sending).await?;
    let SendError { failure, stale } = match first {
        Ok(answer) => return Ok(answer.response),
        Err(error) => error,
    };
    if !stale || !leg.replay_safe {
        return Err(failure);
    }
    leg.target.stats.replays.add(1);
    record.count_attempt();
    let again = Box::pin(leg.target.client.send(leg.request(None), true));
    within(deadline, again).await?.map(|answer| answer.response).map_err(|error| error.failure)
}

/// `work` stays where it is pinned: what is large is not moved for the sake of a deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T> + Unpin) -> Result<T, Failure> {
    match deadline {
        None => Ok(work.await),
        Some(at) => {
            let begun = Instant::now();
            tokio::time::timeout_at(at.into(), work)
                .await
                .map_err(|_| Failure::Timeout(at.saturating_duration_since(begun)))
        }
    }
}

enum Held {
    Stream { response: Response<backend::AnswerBody>, held: VecDeque<Bytes>, observer: Observer },
    Whole { response: Response<()>, bytes: Bytes, observer: Observer },
}

/// Nothing of a candidate's stream leaves before its first content.
async fn hold_stream(
    mut response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    record: &mut Record,
) -> Result<Held, Missed> {
    if !is_event_stream(response.headers()) {
        return Err(Failure::BadAnswer("a stream was asked for and something else came".to_owned()).into());
    }
    let mut observer = Observer::stream();
    let mut held = VecDeque::new();
    let mut length = 0;
    while observer.seen.first_content.is_none() {
        if length > MAX_HELD {
            return Err(Failure::TooLarge(MAX_HELD as u64).into());
        }
        let Some(frame) = within(leg.deadlines.first, response.body_mut().frame()).await? else {
            // A completion may be empty, but it says why it ended.
            if observer.seen.has_reason {
                break;
            }
            return Err(Failure::BadAnswer("the stream ended before it had begun".to_owned()).into());
        };
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if !record.hold_answer(data.len() as u64) {
            return Err(Missed::NoRoom);
        }
        observer.push(&data, Instant::now());
        length += data.len();
        held.push_back(data);
        if observer.seen.error_event {
            return Err(Failure::ErrorEvent.into());
        }
    }
    Ok(Held::Stream { response, held, observer })
}

/// A candidate's unstreamed answer is read whole, so that a cut one never reaches the application.
async fn hold_whole(
    response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    max: u64,
    record: &mut Record,
) -> Result<Held, Missed> {
    let (parts, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(frame) = within(leg.deadlines.next_byte(Instant::now()), body.frame()).await? {
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if !record.hold_answer(data.len() as u64) {
            return Err(Missed::NoRoom);
        }
        if let Some(first) = only.take() {
            read.extend_from_slice(&first);
        }
        if read.is_empty() {
            only = Some(data);
        } else {
            read.extend_from_slice(&data);
        }
        if read.len().max(only.as_ref().map_or(0, Bytes::len)) as u64 > max {
            return Err(Failure::TooLarge(max).into());
        }
    }
    let bytes = only.unwrap_or_else(|| read.freeze());
    if let Some(wrong) = observe::wrong_with(&bytes) {
        return Err(Failure::BadAnswer(wrong.to_owned()).into());
    }
    let mut observer = Observer::whole();
    observer.push(&bytes, Instant::now());
    observer.finish();
    Ok(Held::Whole { response: Response::from_parts(parts, ()), bytes, observer })
}

fn relay(
    response: Response<backend::AnswerBody>,
    held: VecDeque<Bytes>,
    observer: Observer,
    mut record: Box<Record>,
    leg: &Leg<'_>,
    on_break: OnBreak,
) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    // A length beside chunks does not count (RFC 9112 §6.3), and a stream that may end with our event has none.
    if on_break == OnBreak::ErrorEvent || parts.headers.contains_key(TRANSFER_ENCODING) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    finish_head(&mut parts.headers, &mut record, parts.status);
    parts.version = http::Version::HTTP_11;
    let body = AnswerBody::relay(held, body, observer, record, leg.deadlines, on_break);
    Response::from_parts(parts, body)
}

fn finish_head(head: &mut HeaderMap, record: &mut Record, status: StatusCode) {
    headers::strip_hop_by_hop(head);
    record.answered(status, Instant::now());
    respond::mark(head, record);
}

fn observer_for(response: &Response<backend::AnswerBody>, observed: bool) -> Observer {
    if !observed || !response.status().is_success() {
        Observer::off()
    } else if is_event_stream(response.headers()) {
        Observer::stream()
    } else {
        Observer::whole()
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().trim_ascii_start().get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
