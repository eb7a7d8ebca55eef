//! live

pub mod watch;
