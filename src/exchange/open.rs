//! Opens a leg: sends the request within its deadlines, and holds the answer until it proves to be one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::BodyExt;

use super::deadlines::Deadlines;
use super::leg_error::LegError;
use super::plan::Plan;
use super::reader::{Ended, OnBreak, Reader, Taken};
use super::room::Room;
use super::send::{Exchange, send, within};
use super::stream::AnswerStream;
use crate::backend::{self, Failure, RequestBody};
use crate::model::{Cause, Engine};
use crate::outcome::Trail;
use crate::translate::answer::{self, Ids, Stream, Unusable};
use crate::wire::observe::{self, Observer};

/// Limit, in bytes, of a stream held back before its first content; role chunks and comments are far smaller.
const MAX_HELD: usize = 1 << 20;
/// Limit, in bytes, of an error body; a longer one counts as empty, and its connection is not pooled.
const MAX_REFUSAL: usize = 64 << 10;
/// Time limit of reading an error body; a body that misses it counts as empty.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// An answer that may be passed on.
#[derive(Debug)]
pub struct Opened {
    /// The answer's head as the backend sent it.
    pub head: response::Parts,
    /// Its body, in OpenAI's format if the plan translates.
    pub body: OpenedBody,
}

/// The body of an opened answer.
#[derive(Debug)]
pub enum OpenedBody {
    /// Held whole.
    Whole(Bytes),
    /// To be read; held bytes come first.
    Stream(Box<AnswerStream>),
}

/// Sends the plan's request and holds its answer until it may be passed on. `stream` is a body that was not read;
/// `started` is the beginning of the leg's request.
pub async fn open(
    plan: &Plan,
    stream: Option<RequestBody>,
    started: Instant,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<Opened, LegError> {
    let deadlines = plan.deadlines(started);
    let exchange = Exchange {
        deadline: deadlines.first(),
        is_fresh: stream.is_some(),
        is_replay_safe: plan.inbound().is_replay_safe(),
        is_stream: plan.inbound().is_stream(),
    };
    let mut stream = stream;
    let request = |span| plan.request(stream.take(), span);
    let response = send(&plan.target().client, exchange, request, trail).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::BadAnswer("101 for a request that cannot switch".to_owned()).into());
    }
    if plan.passes_unheld() {
        let reader = reader_of_unheld(&response, plan);
        let (head, body) = response.into_parts();
        let stream = AnswerStream::new(BytesMut::new(), body, reader, deadlines);
        return Ok(Opened { head, body: OpenedBody::Stream(Box::new(stream)) });
    }
    let opened = Box::pin(held(response, plan, deadlines, room, trail)).await;
    let renamed = opened.map_err(|error| match plan.made_openais() {
        Some(spec) => error.rename_model(plan.target().config.model_for(&spec.model), &spec.model),
        None => error,
    });
    if renamed.is_ok() {
        trail.content_began(Instant::now());
    }
    renamed
}

async fn held(
    response: Response<backend::AnswerBody>,
    plan: &Plan,
    deadlines: Deadlines,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<Opened, LegError> {
    if !response.status().is_success() {
        return Err(read_refusal(response, plan.target().config.engine, trail).await);
    }
    if !plan.inbound().is_stream() {
        return hold_whole(response, plan, deadlines, room, trail).await;
    }
    if !is_event_stream(response.headers()) {
        return Err(Failure::BadAnswer("a stream was asked for and something else came".to_owned()).into());
    }
    let (head, mut body) = response.into_parts();
    let mut reader = reader_of_stream(plan, OnBreak::ErrorEvent);
    match hold_stream(&mut body, &mut reader, deadlines, room, trail).await {
        Ok(held) => {
            let stream = AnswerStream::new(held, body, reader, deadlines);
            Ok(Opened { head, body: OpenedBody::Stream(Box::new(stream)) })
        }
        Err(error) => {
            // Tokens that were generated count, though the application does not get them.
            (trail.facts, trail.notes) = reader.take_facts(false);
            Err(error)
        }
    }
}

/// Reads the error body, so that the connection can be pooled; a body that is too long, broken or late counts as empty.
async fn read_refusal(response: Response<backend::AnswerBody>, engine: Engine, trail: &mut Trail) -> LegError {
    let (head, body) = response.into_parts();
    let reading = http_body_util::Limited::new(body, MAX_REFUSAL).collect();
    let body = match trail.waited_time.wait(tokio::time::timeout(REFUSAL_TIMEOUT, reading)).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    LegError::of_refusal(engine, &head, &body)
}

/// Reads a stream up to its first content; nothing is passed on before.
async fn hold_stream(
    body: &mut backend::AnswerBody,
    reader: &mut Reader,
    deadlines: Deadlines,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<BytesMut, LegError> {
    let mut held = BytesMut::new();
    let mut length = 0;
    while !reader.has_shown() && !reader.is_over() {
        if length > MAX_HELD {
            return Err(Failure::TooLarge(MAX_HELD as u64).into());
        }
        // Stripped reasoning was generated too: the server is working, so the idle deadline applies.
        let has_begun = reader.seen().first_content.is_some();
        let deadline = if has_begun { deadlines.next_held_byte(Instant::now()) } else { deadlines.first() };
        let Some(frame) = trail.waited_time.wait(within(deadline, body.frame())).await? else {
            // A completion may be empty, but it has a finish reason.
            if !reader.seen().has_reason {
                return Err(Failure::BadAnswer("the stream ended before it had begun".to_owned()).into());
            }
            match reader.end() {
                Ended::Whole(rest) => held.extend_from_slice(&rest),
                Ended::Failed(_) | Ended::Broke => return Err(error_event(reader)),
            }
            break;
        };
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let (came, kept) = (data.len(), held.len());
        match reader.take(data, Instant::now()) {
            Taken::Nothing => {}
            Taken::Bytes(events) | Taken::Over(events) => held.extend_from_slice(&events),
            Taken::Failed(_) => return Err(error_event(reader)),
        }
        if !room.hold((held.len() - kept) as u64) {
            return Err(LegError::NoRoom);
        }
        // Long reasoning is not held; before it begins a server sends little.
        length += if reader.seen().first_content.is_some() { held.len() - kept } else { came };
    }
    Ok(held)
}

fn error_event(reader: &Reader) -> LegError {
    match reader.error() {
        // The stream was marked done without content.
        Some(error) if reader.was_done() => LegError::in_answer(Cause::BadAnswer, error.clone()),
        Some(error) => LegError::in_answer(Cause::ErrorEvent, error.clone()),
        None => Failure::ErrorEvent.into(),
    }
}

/// Reads an unstreamed answer whole, so that a truncated one never reaches the application.
async fn hold_whole(
    response: Response<backend::AnswerBody>,
    plan: &Plan,
    deadlines: Deadlines,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<Opened, LegError> {
    let (head, mut body) = response.into_parts();
    let bytes = read_whole(&mut body, plan.max_whole(), deadlines, room, trail).await?;
    let Some(spec) = plan.made_openais() else {
        if let Some(wrong) = observe::wrong_with(&bytes) {
            return Err(Failure::BadAnswer(wrong.to_owned()).into());
        }
        let mut observer = Observer::whole();
        observer.push(&bytes, Instant::now());
        observer.finish();
        trail.facts = observer.seen;
        return Ok(Opened { head, body: OpenedBody::Whole(bytes) });
    };
    match answer::whole(spec, &ids(), &bytes) {
        Ok(whole) => {
            (trail.facts, trail.notes) = (whole.seen, whole.notes);
            Ok(Opened { head, body: OpenedBody::Whole(Bytes::from(whole.body)) })
        }
        Err(Unusable::Error(error)) => Err(LegError::in_answer(Cause::BadAnswer, error)),
        Err(Unusable::Garbled(wrong)) => Err(Failure::BadAnswer(wrong.to_owned()).into()),
    }
}

async fn read_whole(
    body: &mut backend::AnswerBody,
    max: u64,
    deadlines: Deadlines,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<Bytes, LegError> {
    let mut read = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(frame) =
        trail.waited_time.wait(within(deadlines.next_held_byte(Instant::now()), body.frame())).await?
    {
        let frame = frame.map_err(|error| Failure::of_exchange(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if !room.hold(data.len() as u64) {
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
    Ok(only.unwrap_or_else(|| read.freeze()))
}

/// Returns a seed for the ids of an answer whose server sent none.
fn ids() -> Ids {
    Ids { seed: rand::random(), created: jiff::Timestamp::now().as_second() }
}

fn reader_of_stream(plan: &Plan, on_break: OnBreak) -> Reader {
    match plan.answer() {
        Some(spec) => {
            // A server that knows the stop strings stops by itself; an application that asked for usage waits for the
            // end.
            let cuts = !spec.engine.facts().keeps_stop_strings && !spec.usage_chunk;
            Reader::rewriting(Stream::new(Arc::clone(spec), ids()), on_break, cuts)
        }
        None => Reader::passing(Observer::stream(), on_break),
    }
}

fn reader_of_unheld(response: &Response<backend::AnswerBody>, plan: &Plan) -> Reader {
    if !plan.is_observed() || !response.status().is_success() {
        Reader::passing(Observer::off(), OnBreak::Cut)
    } else if is_event_stream(response.headers()) {
        reader_of_stream(plan, OnBreak::Cut)
    } else if plan.reads_ids() {
        Reader::passing(Observer::whole(), OnBreak::Cut)
    } else {
        Reader::passing(Observer::brief(), OnBreak::Cut)
    }
}

/// True if the body is a stream of events.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().trim_ascii_start().get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}
