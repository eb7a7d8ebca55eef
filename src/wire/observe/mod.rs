//! Reads what an answer tells about itself.

mod event;
mod observer;
mod whole;

pub use observer::{Observer, end_of_error};
pub use whole::{told_by, wrong_with};
