//! Changes rollout.toml in place: the commands `shift`, `shift --undo` and `resume`.
//!
//! Invariant: the file is replaced as a whole by a valid one, or not touched. Beside it stand two notes, each replaced
//! as a whole: `.NAME.undo`, with the text before the last `shift`, and `.NAME.wrote`, with the hash of the last text
//! that a command wrote, so that a running process can tell a command's text from an editor's.

mod change;
mod error;
mod note;
mod resume;
mod shift;
mod shifted;
mod undo;

pub use error::EditError;
pub use note::{Writer, WrittenBy, written_by};
pub use resume::{Resumed, resume};
pub use shift::shift;
pub use shifted::Shifted;
pub use undo::undo;
