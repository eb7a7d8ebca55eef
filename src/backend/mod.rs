//! Connections to backends: opening, pooling, deadlines, and the headers that are sent.
//!
//! Owns: TCP, TLS, proxies, pools, deadlines, header rules. Does not: choose a backend.
//! Invariant: shiftgate connects to configured authorities only, and sends a key to its own backend only.

mod answer;
mod connect;
mod error;
mod facts;
pub(crate) mod headers;
mod io;
mod kept;
mod model_ends;
mod pool;
mod quota;
mod request_body;
mod resolve;
mod target;
pub(crate) mod tls;

pub use answer::AnswerBody;
pub use connect::Connector;
pub use error::Failure;
pub(crate) use error::is_malformed;
pub use facts::Facts;
pub use io::Stream;
pub(crate) use model_ends::day_of;
pub use model_ends::{ModelEnd, ModelEnds};
pub use pool::{Client, SendError};
pub use quota::Quota;
pub use request_body::{BodyError, Passing, RequestBody};
pub(crate) use target::is_asked_alike;
pub use target::{Auth, PrepareError, Target};
pub use tls::TlsError;
