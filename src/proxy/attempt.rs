//! One request to one backend: sent within its deadlines, once more if a kept connection turns out dead, and for a
//! candidate held back until it has shown content.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;

use super::answer::AnswerBody;
use super::asked::{Asked, Leg, Prepared};
use super::reader::{Ended, OnBreak, Reader, Taken};
use super::record::Record;
use super::respond::{self, LocalReply};
use crate::backend::{self, Failure, RequestBody, SendError, headers};
use crate::live::Snapshot;
use crate::model::{Cause, End, Engine, Fault};
use crate::translate::answer::{self, BackendError, Ids, Stream, Unusable};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::observe::{self, Observer};

/// Held back before the first content at most this much; role chunks and comments are far smaller.
const MAX_HELD: usize = 1 << 20;
/// Of what a candidate says with a status other than 2xx at most this much is read, and waited for so long.
const MAX_REFUSAL: usize = 64 << 10;
const EVENT_STREAM: &[u8] = b"text/event-stream";
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// An attempt of which the application has seen nothing.
#[derive(Debug)]
pub(super) enum LegError {
    Failed(Failure),
    /// A backend said no: with a status that is not 2xx, in a 200, or in a stream's first events.
    Rejected {
        /// The status as it came, 200 included.
        told: StatusCode,
        cause: Cause,
        retry_after: Option<HeaderValue>,
        said: Box<BackendError>,
    },
    /// The process holds as many bytes as it may.
    NoRoom,
}

impl LegError {
    /// Why another backend may be asked; `None` where the backend is not to blame.
    pub(super) const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed(failure) => failure.cause(),
            Self::Rejected { cause, .. } => Some(*cause),
            Self::NoRoom => None,
        }
    }

    /// The same for spans and metrics.
    pub(super) fn fault(&self, streamed: bool, begun: bool) -> Fault {
        match self {
            Self::Failed(failure) => failure.fault(streamed, begun),
            Self::Rejected { cause: Cause::ErrorEvent | Cause::BadAnswer, .. } => Fault::SseError,
            Self::Rejected { told, .. } => Fault::Status(told.as_u16()),
            Self::NoRoom => Fault::Shed,
        }
    }

    /// It has too much to do, and says so.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Rejected { said, .. } if said.status == StatusCode::TOO_MANY_REQUESTS.as_u16())
    }

    /// The backend blames the request. What speaks of itself only, as 429 does, is no blame.
    pub(super) fn blames_request(&self) -> bool {
        match self {
            Self::Rejected { told, said, .. } => {
                let refused = told.is_client_error() || (400..500).contains(&said.status);
                refused && !self.is_busy() && (!said.unusable || said.misconfigured)
            }
            Self::Failed(_) | Self::NoRoom => false,
        }
    }

    fn named_as_asked(mut self, leg: &Leg<'_>) -> Self {
        if let (Self::Rejected { said, .. }, Some(wants)) = (&mut self, leg.made_openais())
            && let Some(served) = leg.target.config.model_for(&wants.model).filter(|served| *served != wants.model)
        {
            said.rename_model(served, &wants.model);
        }
        self
    }

    pub(super) fn is_misconfigured(&self) -> bool {
        matches!(self, Self::Rejected { said, .. } if said.misconfigured)
    }
}

impl From<Failure> for LegError {
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
) -> Result<Response<AnswerBody>, (Box<Record>, LegError)> {
    let Some(leg) = asked.leg(snapshot, prepared, &mut record) else {
        return Ok(respond::refuse(record, &LocalReply::MalformedPath));
    };
    record.watch.waits(Instant::now());
    let sent = send(&leg, stream, &mut record).await;
    record.watch.resumes(Instant::now());
    let response = match sent {
        Ok(response) => response,
        Err(failure) => return Err((record, failure.into())),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err((record, Failure::BadAnswer("101 for a request that cannot switch".to_owned()).into()));
    }
    // OpenAI's own answers pass as they come; those of a baseline of another engine are made OpenAI's first.
    if leg.is_baseline && leg.made_openais().is_none() {
        record.release_body();
        let reader = reader_of_baseline(&response, &leg, &record);
        return Ok(relay(response, BytesMut::new(), reader, record, &leg));
    }
    Box::pin(checked(response, &leg, record)).await.map_err(|(record, missed)| (record, missed.named_as_asked(&leg)))
}

/// An answer that is held until it has shown that it is one.
async fn checked(
    response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    mut record: Box<Record>,
) -> Result<Response<AnswerBody>, (Box<Record>, LegError)> {
    if !response.status().is_success() {
        record.watch.waits(Instant::now());
        let missed = read_refusal(response, leg.target.config.engine).await;
        record.watch.resumes(Instant::now());
        return Err((record, missed));
    }
    let max = record.snapshot.config.server.max_body;
    record.watch.waits(Instant::now());
    let held = if leg.streamed {
        hold_stream(response, leg, &mut record).await
    } else {
        hold_whole(response, leg, max, &mut record).await
    };
    record.watch.resumes(Instant::now());
    let held = match held {
        Ok(held) => held,
        Err(missed) => return Err((record, missed)),
    };
    record.begun(Instant::now());
    record.release_body();
    match held {
        Held::Stream { response, held, reader } => Ok(relay(response, held, *reader, record, leg)),
        Held::Whole { response, bytes, seen } => {
            record.seen = seen;
            let (mut parts, ()) = response.into_parts();
            finish_head(&mut parts.headers, &mut record, parts.status, leg);
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            parts.version = http::Version::HTTP_11;
            Ok(Response::from_parts(parts, AnswerBody::whole(bytes, record, End::Complete)))
        }
    }
}

/// Read to its end it leaves a connection that can be used again; a body that does not come is done without.
async fn read_refusal(response: Response<backend::AnswerBody>, engine: Engine) -> LegError {
    let (parts, body) = response.into_parts();
    let reading = http_body_util::Limited::new(body, MAX_REFUSAL).collect();
    let body = match tokio::time::timeout(REFUSAL_TIME, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    LegError::Rejected {
        told: parts.status,
        cause: Cause::Status,
        retry_after: parts.headers.get(RETRY_AFTER).cloned(),
        said: Box::new(answer::refusal(engine, parts.status.as_u16(), &body)),
    }
}

/// The backend's own error in an answer that came with 200.
fn said_in(cause: Cause, said: BackendError) -> LegError {
    LegError::Rejected { told: StatusCode::OK, cause, retry_after: None, said: Box::new(said) }
}

async fn send(
    leg: &Leg<'_>,
    stream: Option<RequestBody>,
    record: &mut Record,
) -> Result<Response<backend::AnswerBody>, Failure> {
    let deadline = leg.deadlines.head;
    record.sends(false);
    // A body that passes unread cannot be sent again: it does not gamble on a kept connection.
    let fresh = stream.is_some();
    let sending =
        std::pin::pin!(leg.target.client.send(leg.request(stream, record.journey.own_trace(leg.target)), fresh));
    let first = within(deadline, sending).await?;
    let SendError { failure, stale } = match first {
        Ok(answer) => return Ok(came(answer, record)),
        Err(error) => error,
    };
    if stale {
        record.journey.was_reused();
    }
    if !stale || !leg.replay_safe {
        return Err(failure);
    }
    record.journey.failed(failure.fault(leg.streamed, false), Instant::now());
    leg.target.stats.replays.add(1);
    record.sends(true);
    let again = Box::pin(leg.target.client.send(leg.request(None, record.journey.own_trace(leg.target)), true));
    within(deadline, again).await?.map(|answer| came(answer, record)).map_err(|error| error.failure)
}

fn came(answer: backend::Answer, record: &mut Record) -> Response<backend::AnswerBody> {
    record.journey.answered(answer.response.status().as_u16(), answer.reused);
    answer.response
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
    Stream { response: Response<backend::AnswerBody>, held: BytesMut, reader: Box<Reader> },
    Whole { response: Response<()>, bytes: Bytes, seen: AnswerFacts },
}

/// Nothing of a stream leaves before its first content.
async fn hold_stream(
    mut response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    record: &mut Record,
) -> Result<Held, LegError> {
    if !is_event_stream(response.headers()) {
        return Err(Failure::BadAnswer("a stream was asked for and something else came".to_owned()).into());
    }
    let mut reader = reader_of_stream(leg, record, OnBreak::ErrorEvent);
    let mut held = BytesMut::new();
    let mut length = 0;
    while !reader.has_shown() && !reader.is_over() {
        if length > MAX_HELD {
            return Err(Failure::TooLarge(MAX_HELD as u64).into());
        }
        // Thoughts that the application does not get to see are generated all the same: the server is at work.
        let deadline = if reader.seen().first_content.is_some() {
            leg.deadlines.next_byte(Instant::now())
        } else {
            leg.deadlines.first
        };
        let Some(frame) = within(deadline, response.body_mut().frame()).await? else {
            // A completion may be empty, but it says why it ended.
            if !reader.seen().has_reason {
                return Err(Failure::BadAnswer("the stream ended before it had begun".to_owned()).into());
            }
            match reader.end() {
                Ended::Whole(rest) => held.extend_from_slice(&rest),
                Ended::Failed(_) | Ended::Broke => return Err(error_event(&reader)),
            }
            break;
        };
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let (came, kept) = (data.len(), held.len());
        match reader.take(data, Instant::now()) {
            Taken::Nothing => {}
            Taken::Bytes(events) | Taken::Over(events) => held.extend_from_slice(&events),
            Taken::Failed(_) => return Err(error_event(&reader)),
        }
        if !record.hold_answer((held.len() - kept) as u64) {
            return Err(LegError::NoRoom);
        }
        // A thought may be long, and nothing of it is kept; before it begins a server has little to say.
        length += if reader.seen().first_content.is_some() { held.len() - kept } else { came };
    }
    Ok(Held::Stream { response, held, reader: Box::new(reader) })
}

fn error_event(reader: &Reader) -> LegError {
    match reader.error() {
        // It said that it was done, and had said nothing.
        Some(said) if reader.was_done() => said_in(Cause::BadAnswer, said.clone()),
        Some(said) => said_in(Cause::ErrorEvent, said.clone()),
        None => Failure::ErrorEvent.into(),
    }
}

/// A candidate's unstreamed answer is read whole, so that a cut one never reaches the application.
async fn hold_whole(
    response: Response<backend::AnswerBody>,
    leg: &Leg<'_>,
    max: u64,
    record: &mut Record,
) -> Result<Held, LegError> {
    let (parts, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(frame) = within(leg.deadlines.next_byte(Instant::now()), body.frame()).await? {
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if !record.hold_answer(data.len() as u64) {
            return Err(LegError::NoRoom);
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
    let response = Response::from_parts(parts, ());
    let Some(wants) = leg.made_openais() else {
        if let Some(wrong) = observe::wrong_with(&bytes) {
            return Err(Failure::BadAnswer(wrong.to_owned()).into());
        }
        let mut observer = Observer::whole();
        observer.push(&bytes, Instant::now());
        observer.finish();
        return Ok(Held::Whole { response, bytes, seen: observer.seen });
    };
    match answer::whole(wants, &ids(record), &bytes) {
        Ok(whole) => {
            record.notice(whole.seen.told.model.as_deref(), whole.notes);
            Ok(Held::Whole { response, bytes: Bytes::from(whole.body), seen: whole.seen })
        }
        Err(Unusable::Error(said)) => Err(said_in(Cause::BadAnswer, said)),
        Err(Unusable::Garbled(wrong)) => Err(Failure::BadAnswer(wrong.to_owned()).into()),
    }
}

fn relay(
    response: Response<backend::AnswerBody>,
    held: BytesMut,
    reader: Reader,
    mut record: Box<Record>,
    leg: &Leg<'_>,
) -> Response<AnswerBody> {
    let (mut parts, body) = response.into_parts();
    // A length beside chunks does not count (RFC 9112 §6.3), and what may end otherwise than it came has none.
    let ends_by_itself = reader.on_break == OnBreak::ErrorEvent || reader.is_rewriting();
    if ends_by_itself || parts.headers.contains_key(TRANSFER_ENCODING) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    record.noticed(reader.stream());
    finish_head(&mut parts.headers, &mut record, parts.status, leg);
    parts.version = http::Version::HTTP_11;
    let body = AnswerBody::relay(held, body, reader, record, leg.deadlines);
    Response::from_parts(parts, body)
}

fn finish_head(head: &mut HeaderMap, record: &mut Record, status: StatusCode, leg: &Leg<'_>) {
    headers::strip_hop_by_hop(head);
    record.answered(status, Instant::now());
    if leg.made_openais().is_some() {
        respond::as_openai(head, record, leg.streamed);
    }
    respond::mark(head, record);
}

/// What an answer's ids are made of where its server made none.
fn ids(record: &Record) -> Ids {
    Ids { seed: rand::random(), created: record.created() }
}

fn reader_of_stream(leg: &Leg<'_>, record: &Record, on_break: OnBreak) -> Reader {
    match &leg.wants {
        Some(wants) => {
            // TGI knows the stop strings and ends by itself; who asked for usage waits for it.
            let cuts = wants.engine != Engine::Tgi && !wants.usage_chunk;
            Reader::rewriting(Stream::new(Arc::clone(wants), ids(record)), on_break, cuts)
        }
        None => Reader::passing(Observer::stream(), on_break),
    }
}

fn reader_of_baseline(response: &Response<backend::AnswerBody>, leg: &Leg<'_>, record: &Record) -> Reader {
    if !leg.observed || !response.status().is_success() {
        Reader::passing(Observer::off(), OnBreak::Cut)
    } else if is_event_stream(response.headers()) {
        reader_of_stream(leg, record, OnBreak::Cut)
    } else if record.journey.is_traced_here {
        Reader::passing(Observer::whole(), OnBreak::Cut)
    } else {
        Reader::passing(Observer::brief(), OnBreak::Cut)
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().trim_ascii_start().get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
