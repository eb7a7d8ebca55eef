//! rollout.toml: from its text to a validated [`Config`], or to every problem at once.
//!
//! Owns: the file's grammar, its defaults, its error messages. Refuses: sockets, clocks, the running process.
//! Invariant: a `Config` exists only when everything in it is usable; nothing in it is optional that must be there.

mod backend;
mod describe;
mod edit;
mod load;
mod problem;
mod reader;
mod sections;
mod types;
mod url;

pub use describe::{describe, warnings};
pub use edit::{ShiftError, Shifted, shift};
pub use load::{Secrets, load, parse};
pub use problem::{ConfigError, Problem};
pub use types::*;
pub use url::{UrlProblem, http_url};
