//! Reads an opened answer to its end into bounded memory.

use bytes::Bytes;
use http::StatusCode;

use super::leg_error::LegError;
use super::open::{Opened, OpenedBody};
use super::room::Room;
use super::stream::{AnswerStream, Next};
use crate::backend::Failure;
use crate::outcome::{Ending, Trail};

/// An answer read to its end.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's body, in OpenAI's format if the plan translates.
    pub body: Bytes,
    /// The way it ended.
    pub ending: Ending,
}

/// Reads an opened answer to its end, up to `max` bytes. Its facts are then in the trail.
pub async fn collect(opened: Opened, max: u64, room: &mut Room, trail: &mut Trail) -> Result<Capture, LegError> {
    let status = opened.head.status;
    let mut stream = match opened.body {
        OpenedBody::Whole(body) => return Ok(Capture { status, body, ending: Ending::Complete }),
        OpenedBody::Stream(stream) => stream,
    };
    let read = read(&mut stream, max, room, trail).await;
    let is_whole = matches!(&read, Ok((_, Ending::Complete)));
    (trail.facts, trail.notes) = stream.take_facts(is_whole);
    let (body, ending) = read?;
    Ok(Capture { status, body, ending })
}

async fn read(
    stream: &mut AnswerStream,
    max: u64,
    room: &mut Room,
    trail: &mut Trail,
) -> Result<(Bytes, Ending), LegError> {
    let mut body = stream.take_held();
    loop {
        let next = trail.waited_time.wait(std::future::poll_fn(|cx| stream.poll_next(cx))).await;
        let (bytes, ending) = match next {
            Next::Bytes(bytes) => (bytes, None),
            Next::End(end) => (end.rest, Some(end.ending)),
        };
        if (body.len() + bytes.len()) as u64 > max {
            return Err(Failure::TooLarge(max).into());
        }
        if !room.hold(bytes.len() as u64) {
            return Err(LegError::NoRoom);
        }
        body.extend_from_slice(&bytes);
        if let Some(ending) = ending {
            return Ok((body.freeze(), ending));
        }
    }
}
