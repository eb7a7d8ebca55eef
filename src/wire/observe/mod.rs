//! Reads what an answer tells about itself.

mod event;
mod observer;
mod whole;

pub use observer::Observer;
pub(crate) use observer::end_of_error;
pub(crate) use whole::{told_by, wrong_with};
