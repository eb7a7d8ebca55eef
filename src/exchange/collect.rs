//! Reads an opened answer to its end.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::leg_error::LegError;
use super::open::{Opened, OpenedBody};
use super::room::Room;
use super::stream::Next;
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

/// Reads an opened answer to its end into memory, up to `max` bytes. Its facts are then in the trail.
pub async fn collect(opened: Opened, max: u64, room: &mut Room, trail: &mut Trail) -> Result<Capture, LegError> {
    let status = opened.head.status;
    if let OpenedBody::Whole(body) = opened.body {
        return Ok(Capture { status, body, ending: Ending::Complete });
    }
    let (mut body, mut is_held) = (BytesMut::new(), true);
    let take = |bytes: &[u8]| {
        if (body.len() + bytes.len()) as u64 > max {
            return Err(Failure::TooLarge(max).into());
        }
        // The first bytes were held before the answer was opened, in the same room.
        if !std::mem::take(&mut is_held) && !room.hold(bytes.len() as u64) {
            return Err(LegError::NoRoom);
        }
        body.extend_from_slice(bytes);
        Ok(())
    };
    let ending = read_to_end(opened, take, trail).await?;
    Ok(Capture { status, body: body.freeze(), ending })
}

/// Reads an opened answer to its end, and returns the way it ended. `take` gets its bytes, in OpenAI's format if the
/// plan translates; its error ends the reading. The answer's facts are then in the trail.
pub async fn read_to_end(
    opened: Opened,
    mut take: impl FnMut(&[u8]) -> Result<(), LegError>,
    trail: &mut Trail,
) -> Result<Ending, LegError> {
    let mut stream = match opened.body {
        OpenedBody::Whole(body) => return take(&body).map(|()| Ending::Complete),
        OpenedBody::Stream(stream) => stream,
    };
    let mut bytes = stream.take_held().freeze();
    let mut ending = None;
    let read = loop {
        if let Err(error) = take(&bytes) {
            break Err(error);
        }
        if let Some(ending) = ending {
            break Ok(ending);
        }
        let next = trail.waited_time.wait(std::future::poll_fn(|cx| stream.poll_next(cx))).await;
        (bytes, ending) = match next {
            Next::Bytes(bytes) => (bytes, None),
            Next::End(end) => (end.rest, Some(end.ending)),
        };
    };
    (trail.facts, trail.notes) = stream.take_facts(matches!(read, Ok(Ending::Complete)));
    read
}
