//! Progress on a terminal: bytes of all files, or lines where their size is not known.

use std::io::{self, IsTerminal, Read};

use indicatif::{ProgressBar, ProgressStyle};

/// Style of files.
const BYTES: &str = "{bar:30} {bytes} of {total_bytes}, {eta} left";
/// Style of streams: their size is not known.
const LINES: &str = "{spinner} {human_pos} lines in {elapsed}";
/// Number of lines after which a spinner moves: drawing costs more than reading.
const LINES_PER_STEP: u64 = 1_000;

/// Progress of reading; nothing is drawn where stderr is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    counts: Counts,
    lines: u64,
}

/// Unit of the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    Bytes,
    Lines,
}

impl Progress {
    /// Begins the progress of so many bytes; of lines, if their size is not known.
    pub(super) fn begin(size: Option<u64>) -> Self {
        let counts = if size.is_some() { Counts::Bytes } else { Counts::Lines };
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), counts, lines: 0 };
        }
        let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let style = if counts == Counts::Bytes { BYTES } else { LINES };
        // The styles are constants; one that could not be read would leave indicatif's own.
        let bar =
            ProgressStyle::with_template(style).map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
        Self { bar, counts, lines: 0 }
    }

    /// Counts what is read from a file.
    pub(super) fn of<R: Read>(&self, file: R) -> impl Read + use<R> {
        let bar = if self.counts == Counts::Bytes { self.bar.clone() } else { ProgressBar::hidden() };
        bar.wrap_read(file)
    }

    /// Counts a line.
    pub(super) fn line(&mut self) {
        self.lines += 1;
        if self.counts == Counts::Lines && self.lines.is_multiple_of(LINES_PER_STEP) {
            self.bar.set_position(self.lines);
        }
    }

    /// Removes the progress, so that the report stands alone.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_valid() {
        assert!([BYTES, LINES].iter().all(|style| ProgressStyle::with_template(style).is_ok()));
    }
}
