//! OpenAI's wire format as bytes: endpoints, request bodies, answers, errors, HTTP framing.
//!
//! Owns: the wire format. Refuses: sockets, clocks, configuration. Invariant: no input makes it panic.

pub(crate) mod answer_facts;
pub(crate) mod endpoint;
pub(crate) mod error_body;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod observe;
pub(crate) mod pace;
pub(crate) mod scan;
pub mod splice;
pub(crate) mod sse;
pub(crate) mod usage;
