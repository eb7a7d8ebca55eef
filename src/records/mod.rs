//! Lines of the records: the types that are written, and the file that they are appended to.
//!
//! Owns: the schema of the lines, the queue of lines, the thread that writes them, the file with its lock and its
//! rotation. Does not: decide which pairs exist, or compare answers. Invariant: a line is written whole or counted as
//! lost, at most one process writes to a file, and no caller ever waits for a disk.

mod counts;
mod file;
mod queue;
mod rotation;
mod text;
mod writer;

pub use counts::{BackendCounts, BackendTotals, CountsLine, RouteTotals, Source, Totals, counts};
pub use text::{Cut, Ms, Rfc3339, Rounded, Score, Usd};
pub use writer::Writer;
