//! OpenAI's wire format as bytes: endpoints, request bodies, answers, errors, HTTP framing.
//!
//! Owns: the wire format. Refuses: sockets, clocks, configuration. Invariant: no input makes it panic.

pub mod answer_facts;
pub mod endpoint;
pub mod error_body;
pub mod framing;
pub mod head;
pub mod observe;
pub mod pace;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod usage;
