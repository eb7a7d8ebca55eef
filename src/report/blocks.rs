//! Headings, sentences and tables: the form of a page before it is text or Markdown.

use super::shape_row::Means;

/// A part of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading of the first or second level.
    Heading(u8, String),
    /// A sentence.
    Words(String),
    /// A table; every row has as many cells as the head.
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

/// The page as it grows.
pub(super) struct Page(pub(super) Vec<Block>);

impl Page {
    pub(super) fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.0.push(Block::Heading(level, text.into()));
    }

    pub(super) fn words(&mut self, text: impl Into<String>) {
        self.0.push(Block::Words(text.into()));
    }

    /// Adds a table and its sentence, unless it has no rows.
    pub(super) fn table(&mut self, about: impl Into<String>, head: &[&'static str], rows: Vec<Vec<String>>) {
        if !rows.is_empty() {
            self.words(about);
            self.0.push(Block::Table(head.to_vec(), rows));
        }
    }
}

/// Returns the sign for nothing.
pub(super) fn none() -> String {
    "-".to_owned()
}

/// Returns a number with the decimals that it has.
pub(super) fn number(number: Option<f64>) -> String {
    number.map_or_else(none, |number| number.to_string())
}

/// Returns a number of things: "1 pair", "2 pairs".
pub(super) fn several(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Returns a number with four decimals.
pub(super) fn decimals(number: f64) -> String {
    format!("{number:.4}")
}

/// Returns a mean with its interval, each written by `write`.
pub(super) fn interval(means: Option<Means>, write: fn(f64) -> String) -> String {
    means.map_or_else(none, |of| format!("{} ({} to {})", write(of.mean), write(of.low), write(of.high)))
}

/// Returns a share in percent with two decimals.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
