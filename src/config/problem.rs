//! Problems of a file: place, message and cure. Values that may be secrets are masked in the lines that are shown.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mask::mask;

/// One problem of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Place in the file; `None` if the problem concerns the whole file.
    pub place: Option<Place>,
    /// Description, without place and cure.
    pub message: String,
    /// Instruction that corrects it.
    pub cure: String,
}

/// Place of a problem in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Number of the line, from 1.
    pub line: usize,
    /// Number of the first character in its line, from 1.
    pub column: usize,
    /// Number of marked characters, at least 1.
    pub width: usize,
    /// The line with secrets masked.
    pub shown: String,
}

/// All problems of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's path, as the user gave it.
    pub path: PathBuf,
    /// The problems in the file's order.
    pub problems: Vec<Problem>,
    /// Resolved paths of the files that the file names: a change of one may correct a problem.
    pub watched: Vec<PathBuf>,
}

impl ConfigError {
    /// Makes an error of one problem without a place.
    pub(super) fn one(path: &Path, message: impl Into<String>, cure: &str) -> Self {
        let problem = Problem { place: None, message: message.into(), cure: cure.to_owned() };
        Self { path: path.to_owned(), problems: vec![problem], watched: Vec::new() }
    }

    /// Makes the error for a file that cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "it does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
            _ => error.to_string(),
        };
        Self::one(
            path,
            format!("cannot be read: {reason}"),
            "name the file with --config or SHIFTGATE_CONFIG, and make it readable",
        )
    }

    /// Returns one line for `/status` and the log: the first problem, and the number of further ones.
    pub fn summary(&self) -> String {
        let path = self.path.display();
        let Some(first) = self.problems.first() else { return format!("{path}: cannot be used") };
        let more = match self.problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        match &first.place {
            Some(place) => format!("{path}:{}:{}: {}{more}", place.line, place.column, first.message),
            None => format!("{path}: {}{more}", first.message),
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.place {
                None => write!(f, "{path}: {}\n  {}", problem.message, problem.cure)?,
                Some(place) => {
                    let number = place.line.to_string();
                    let margin = " ".repeat(number.len());
                    writeln!(f, "{path}:{}:{}: {}", place.line, place.column, problem.message)?;
                    writeln!(f, "  {number} | {}", place.shown)?;
                    let lead = " ".repeat(place.column.saturating_sub(1));
                    write!(f, "  {margin} | {lead}{} {}", "^".repeat(place.width.max(1)), problem.cure)?;
                }
            }
        }
        Ok(())
    }
}

/// Collects problems while the rest of the file is read.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    /// Problems, each with its offset in the text.
    found: Vec<(usize, Problem)>,
    /// Text that no line shows.
    hidden: Option<&'t str>,
    /// Resolved paths of the files that the file names.
    pub(super) watched: Vec<PathBuf>,
}

impl<'t> Problems<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), hidden: None, watched: Vec::new() }
    }

    /// Hides what is written at `span` in every line that is shown from here on.
    pub(super) fn hide(&mut self, span: &Range<usize>) {
        self.hidden = self.text.get(span.clone()).filter(|text| !text.is_empty());
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>, cure: impl Into<String>) {
        let place = place(self.text, span, self.hidden);
        self.found.push((span.start, Problem { place: Some(place), message: message.into(), cure: cure.into() }));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_error(mut self, path: &Path) -> ConfigError {
        self.found.sort_by_key(|(at, _)| *at);
        let problems = self.found.into_iter().map(|(_, problem)| problem).collect();
        ConfigError { path: path.to_owned(), problems, watched: self.watched }
    }
}

fn place(text: &str, span: &Range<usize>, hidden: Option<&str>) -> Place {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(line_start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let column = text.get(line_start..start).unwrap_or_default().chars().count();
    let shown = match hidden.filter(|hidden| line.contains(hidden)) {
        Some(hidden) => mask(&line.replace(hidden, "\"****\"")),
        None => mask(line),
    };
    let end = span.end.clamp(start, line_start + line.len());
    let width = text.get(start..end).map_or(1, |marked| marked.chars().count());
    // A masked line may be shorter than the original.
    let length = shown.chars().count();
    let width = if shown == line { width } else { width.min(length.saturating_sub(column).max(1)) };
    Place { line: before.matches('\n').count() + 1, column: column + 1, width: width.max(1), shown }
}
