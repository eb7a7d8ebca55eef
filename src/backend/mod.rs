//! Connections to backends: how they are opened, kept, bounded in time, and what goes in their heads.
//!
//! Owns: TCP, TLS, proxies, pools, deadlines, header rules. Refuses: deciding who answers.
//! Invariant: only configured authorities are dialled, and a key goes to its own backend alone.

mod answer;
mod connect;
mod error;
mod facts;
pub(crate) mod headers;
mod io;
mod kept;
mod pool;
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
pub use pool::{Answer, Client, SendError};
pub use request_body::{BodyError, Passing, RequestBody};
pub(crate) use target::is_asked_alike;
pub use target::{Auth, PrepareError, Target};
pub use tls::TlsError;
