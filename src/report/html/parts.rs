//! Parts of the page as its template reads them. Every text is made safe to show here; the template escapes HTML.

use super::chart::Chart;
use crate::report::blocks::Block;
use crate::report::shape_row::Matrix;
use crate::report::text::visible;

/// Limit, in characters, on a word. Applications write names of any length; of a longer word the begin is shown.
const WORD: usize = 120;

/// Length, in bytes, above which a word in a cell may be broken between any two characters.
const LONG: usize = 24;

/// Part of a section.
pub(super) enum Item {
    Heading(String),
    Words(String),
    Table(Table),
    Figure(Box<Figure>),
}

/// A table; the first cell of each row is its name.
pub(super) struct Table {
    /// Class of the element.
    pub(super) class: &'static str,
    /// Sentence over it.
    pub(super) about: String,
    pub(super) head: Vec<Cell>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// Cell of a table.
pub(super) struct Cell {
    /// Class of the element.
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// Charts or a matrix, with what they are, of how many, and what they are not.
pub(super) struct Figure {
    /// Name for `data-chart`.
    pub(super) chart: &'static str,
    /// Position of the row in the report.
    pub(super) row: usize,
    pub(super) title: &'static str,
    pub(super) about: String,
    pub(super) legend: Vec<Legend>,
    pub(super) panels: Vec<Chart>,
    pub(super) tables: Vec<Table>,
}

/// Entry of a legend: the class of the line, and whether it is drawn as a mark.
pub(super) struct Legend {
    pub(super) class: &'static str,
    pub(super) is_mark: bool,
    pub(super) text: String,
}

/// Makes a text safe to show: control characters are escaped, and words that no page can hold are cut.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<String> = visible(text).split(' ').map(cut).collect();
    words.join(" ")
}

fn cut(word: &str) -> String {
    match word.char_indices().nth(WORD) {
        Some((end, _)) => format!("{}…", word.get(..end).unwrap_or_default()),
        None => word.to_owned(),
    }
}

impl Cell {
    /// Makes a cell; numbers are aligned to the right.
    pub(super) fn of(text: &str) -> Self {
        let mut characters = text.chars().peekable();
        characters.next_if_eq(&'-');
        let is_number = characters.peek().is_some_and(char::is_ascii_digit)
            && text.trim_end_matches(" %").chars().all(|one| one.is_ascii_digit() || ".-e".contains(one));
        let class = match text {
            "worse" => "worse",
            _ if is_number => "number",
            _ if text.contains(" to ") && text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                "range"
            }
            _ if text.split(' ').any(|word| word.len() > LONG) => "long",
            _ => "",
        };
        Self { class, text: shown(text) }
    }
}

impl Table {
    /// Makes a table of texts.
    pub(super) fn of(about: String, head: &[&str], rows: &[Vec<String>]) -> Self {
        let mut rows: Vec<Vec<Cell>> = rows.iter().map(|row| row.iter().map(|cell| Cell::of(cell)).collect()).collect();
        let mut head: Vec<Cell> = head.iter().map(|name| Cell::of(name)).collect();
        for (position, cell) in head.iter_mut().enumerate() {
            let is_number = |row: &Vec<Cell>| row.get(position).is_some_and(|cell| cell.class == "number");
            if rows.iter().any(is_number) {
                cell.class = "number";
                for none in rows.iter_mut().filter_map(|row| row.get_mut(position)).filter(|cell| cell.text == "-") {
                    none.class = "number";
                }
            }
        }
        Self { class: "", about, head, rows }
    }

    /// Makes a matrix: what the baseline did down, what the candidate did across; `None` of nothing.
    pub(super) fn matrix(matrix: &Matrix) -> Option<Self> {
        let mut names: Vec<&String> = matrix.keys().chain(matrix.values().flat_map(|to| to.keys())).collect();
        names.sort_unstable_by_key(|name| (name.as_str() != "ok", name.as_str()));
        names.dedup();
        let across: Vec<&String> =
            names.iter().copied().filter(|to| matrix.values().any(|row| row.contains_key(*to))).collect();
        let down = names.iter().filter_map(|from| Some((*from, matrix.get(*from)?)));
        let rows: Vec<Vec<Cell>> = down
            .map(|(from, to)| {
                let count = |name: &&String| match to.get(*name) {
                    Some(n) if *name == from => Cell { class: "same", text: n.to_string() },
                    Some(n) => Cell { class: "differs", text: n.to_string() },
                    None => Cell { class: "nothing", text: "0".to_owned() },
                };
                std::iter::once(Cell::of(from)).chain(across.iter().map(count)).collect()
            })
            .collect();
        let head = std::iter::once("baseline ↓ candidate →").chain(across.iter().map(|name| name.as_str()));
        let head = head.map(|name| Cell { class: "", text: shown(name) }).collect();
        (!rows.is_empty()).then(|| Self { class: "matrix", about: String::new(), head, rows })
    }
}

/// Makes items of blocks. The sentence before a table belongs to it.
pub(super) fn items(blocks: Vec<Block>) -> Vec<Item> {
    let mut items = Vec::new();
    for block in blocks {
        match block {
            Block::Heading(_, text) => items.push(Item::Heading(shown(&text))),
            Block::Words(text) => items.push(Item::Words(shown(&text))),
            Block::Table(head, rows) => {
                let about = match items.pop() {
                    Some(Item::Words(about)) => about,
                    other => {
                        items.extend(other);
                        String::new()
                    }
                };
                items.push(Item::Table(Table::of(about, &head, &rows)));
            }
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_and_what_turns_text_is_escaped() {
        assert_eq!(shown("a \u{202e}b"), "a \\u{202e}b");
        let long = shown(&format!("model {} ends", "x".repeat(10_240)));
        assert_eq!(long, format!("model {}… ends", "x".repeat(120)));
        assert_eq!(shown(&"x".repeat(120)), "x".repeat(120));
    }

    #[test]
    fn numbers_stand_right() {
        let classes = ["12", "-0.5", "97.60 %", "-0.1 to 0.2", "-", "5xx", "", "stop"].map(|text| Cell::of(text).class);
        assert_eq!(classes, ["number", "number", "number", "range", "", "", "", ""]);
    }
}
