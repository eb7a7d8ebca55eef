//! One request to one backend, without a client: planned, sent, replayed once, held until content, read to its end.
//!
//! Owns: the request towards a backend, deadlines, the point of no return. Does not: choose backends, judge, know the
//! reader of the answer. Invariants: a plan owns everything it needs, so that a leg may outlive its request; an OpenAI
//! baseline gets the body's bytes unchanged.

mod collect;
mod deadlines;
mod inbound;
mod leg_error;
mod open;
mod plan;
mod reader;
mod room;
mod send;
mod stream;

pub use collect::{Capture, collect, read_to_end};
pub use deadlines::SdkTimeouts;
pub use inbound::{Inbound, InboundBody};
pub use leg_error::LegError;
pub(crate) use open::is_event_stream;
pub use open::{Opened, OpenedBody, open};
pub use plan::{Plan, PlanError};
pub use room::Room;
pub(crate) use send::{Exchange, send};
pub use stream::{AnswerStream, Next, StreamEnd};
