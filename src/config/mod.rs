//! Reads rollout.toml: from its text to a validated [`Config`], or to a list of every problem in it.
//!
//! Owns: the file's grammar, its defaults, its error messages, its edits by commands. Refuses: sockets, clocks, the running process.
//! Invariant: a `Config` exists only if every value in it can be used.

mod admin;
mod backend;
mod context;
mod copies;
mod describe;
mod edit;
mod load;
mod mask;
mod problem;
mod reader;
mod sections;
mod types;
mod url;
mod warnings;

pub(crate) use admin::AdminPort;
pub use context::Secrets;
pub use describe::describe;
pub use edit::{EditError, Resumed, Shifted, Writer, WrittenBy, resume, shift, undo, written_by};
pub use load::{load, parse};
pub use problem::{ConfigError, Place, Problem};
pub use types::*;
#[cfg(feature = "otlp")]
pub(crate) use url::http_url;
pub use warnings::warnings;
