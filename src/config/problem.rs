//! What is wrong with a file: where, what, and the cure. Values that may be secrets are masked in what is shown.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One problem, with its place in the file if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Option<Place>,
    pub message: String,
    pub cure: String,
}

/// Line and column count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub width: usize,
    /// The line as it may be shown.
    pub shown: String,
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub path: PathBuf,
    pub problems: Vec<Problem>,
    /// Files that the file names: their return may cure it.
    pub watched: Vec<PathBuf>,
}

impl ConfigError {
    pub(super) fn one(path: &Path, message: impl Into<String>, cure: &str) -> Self {
        let problem = Problem { place: None, message: message.into(), cure: cure.to_owned() };
        Self { path: path.to_owned(), problems: vec![problem], watched: Vec::new() }
    }

    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "it is not there".to_owned(),
            io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
            _ => error.to_string(),
        };
        Self::one(
            path,
            format!("cannot be read: {reason}"),
            "name the file with --config or SHIFTGATE_CONFIG, and make it readable",
        )
    }

    /// One line, for `/status` and the log.
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

/// Collects problems while a file is read on.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, Problem)>,
    pub(super) watched: Vec<PathBuf>,
}

impl<'t> Problems<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), watched: Vec::new() }
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>, cure: impl Into<String>) {
        let place = place(self.text, span);
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

fn place(text: &str, span: &Range<usize>) -> Place {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = text.get(line_start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let column = text.get(line_start..start).unwrap_or_default().chars().count();
    let shown = mask(line);
    let end = span.end.clamp(start, line_start + line.len());
    let width = text.get(start..end).map_or(1, |marked| marked.chars().count());
    // A masked line may be shorter than the place pointed at.
    let length = shown.chars().count();
    let width = if shown == line { width } else { width.min(length.saturating_sub(column).max(1)) };
    Place { line: before.matches('\n').count() + 1, column: column + 1, width: width.max(1), shown }
}

/// The line with every string hidden that may be a secret: by its key's name, by its look, or by not being ended.
fn mask(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        shown.push_str(before);
        let quote = if quoted.starts_with('"') { '"' } else { '\'' };
        let body = quoted.trim_start_matches(quote);
        let (value, after, ended) = match body.find(quote) {
            Some(end) => {
                let (value, after) = body.split_at(end);
                (value, after.trim_start_matches(quote), true)
            }
            None => (body, "", false),
        };
        shown.push(quote);
        shown.push_str(&shown_value(key_before(&shown), value, ended));
        if ended {
            shown.push(quote);
        }
        rest = after;
    }
    shown.push_str(&mask_bare(rest));
    shown
}

/// Without quotes a key is not valid TOML, but that is how one is pasted by mistake.
fn mask_bare(text: &str) -> String {
    match text.find("sk-") {
        Some(at) => format!("{}****", text.get(..at).unwrap_or_default()),
        None => match text.split_once('=') {
            Some((key, value)) if is_secret_name(key) && !value.trim_start().starts_with(['{', '[']) => {
                format!("{key}= ****")
            }
            _ => text.to_owned(),
        },
    }
}

fn key_before(shown: &str) -> &str {
    let before = shown.trim_end_matches(['"', '\'']).trim_end();
    let Some(before) = before.strip_suffix('=') else { return "" };
    let key = before.trim_end();
    key.rsplit([' ', ',', '{', '\t', '.']).next().unwrap_or(key)
}

fn is_secret_name(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["key", "token", "secret", "password", "passwd", "auth", "credential"].iter().any(|word| key.contains(word))
        && !key.contains("tokens")
}

fn shown_value(key: &str, value: &str, ended: bool) -> String {
    let by_name = is_secret_name(key) && !matches!(value, "client" | "none") && !value.ends_with(".pem");
    if by_name || value.contains("sk-") || (!ended && value.len() > 16) || looks_random(value) {
        return "****".to_owned();
    }
    match (value.find("://"), value.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            let (scheme, rest) = (value.get(..scheme + 3).unwrap_or_default(), value.get(at..).unwrap_or_default());
            format!("{scheme}****{rest}")
        }
        _ => value.to_owned(),
    }
}

/// Long, and letters mixed with digits without a break: what keys look like and names do not.
fn looks_random(value: &str) -> bool {
    value.len() >= 24
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && value.bytes().filter(u8::is_ascii_digit).count() >= 4
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_shown() {
        for (line, shown) in [
            ("api_key = \"sk-live-1\" # mine", "api_key = \"****\" # mine"),
            ("api_key = \"client\"", "api_key = \"client\""),
            ("api_key = { env = \"QWEN_API_KEY\" }", "api_key = { env = \"QWEN_API_KEY\" }"),
            ("apikey = 'abc'", "apikey = '****'"),
            ("api_key = sk-live-1", "api_key = ****"),
            ("api_key = abc", "api_key = ****"),
            ("api_key = \"\"\"canary", "api_key = \"****"),
            ("url = \"https://u:p@host/v1\"", "url = \"https://****@host/v1\""),
            ("tls = { key = \"client-key.pem\" }", "tls = { key = \"client-key.pem\" }"),
            ("percent = { qwen = 120 }", "percent = { qwen = 120 }"),
            ("name = \"7f3kq9s8d7f6g5h4j3k2l1qq\"", "name = \"****\""),
        ] {
            assert_eq!(mask(line), shown);
        }
    }
}
