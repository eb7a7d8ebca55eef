//! The report for a terminal.

use super::blocks::{Block, Page};
use super::page::{self, page};
use super::shape::Report;

/// Columns of a line of words. Tables are as wide as their cells.
const WIDTH: usize = 100;

/// Returns the report as text. Names that applications write are in it: control characters are escaped.
pub fn text(report: &Report) -> String {
    shown(page(report))
}

/// Returns the verdicts and warnings as text, in the same words.
pub fn verdicts(report: &Report) -> String {
    let mut page = Page(Vec::new());
    page::verdicts(report, &mut page);
    shown(page.0)
}

fn shown(blocks: Vec<Block>) -> String {
    let mut text = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, words) => {
                let words = visible(&words);
                let rule = if level == 1 { "=" } else { "-" }.repeat(words.chars().count());
                if !text.ends_with("\n\n") {
                    text.push('\n');
                }
                text.push_str(&format!("{words}\n{rule}\n"));
            }
            Block::Words(words) => wrap(&visible(&words), &mut text),
            Block::Table(head, rows) => {
                table(&head, &rows, &mut text);
                text.push('\n');
            }
        }
    }
    text.trim_start().to_owned()
}

/// Escapes what would move the cursor, hide text or turn its direction.
pub(crate) fn visible(text: &str) -> String {
    let is_hidden = |character: char| {
        let turns = matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        character.is_control() || turns || matches!(character, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns words on lines that fit a terminal, escaped.
pub(crate) fn wrapped(words: &str) -> String {
    let mut text = String::new();
    wrap(&visible(words), &mut text);
    text
}

fn wrap(words: &str, text: &mut String) {
    let mut column = 0;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

fn table(head: &[&str], rows: &[Vec<String>], text: &mut String) {
    let shown: Vec<Vec<String>> = std::iter::once(head.iter().map(|cell| (*cell).to_owned()).collect())
        .chain(rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()))
        .collect();
    let width = |column: usize| {
        let cells = shown.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &shown {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(visible("a\u{1b}[2Jb\n\u{202e}c\u{9b}\u{61c}ü模"), "a\\u{1b}[2Jb\\n\\u{202e}c\\u{9b}\\u{61c}ü模");
    }

    #[test]
    fn words_are_wrapped_and_columns_aligned() {
        let mut text = String::new();
        wrap(&"word ".repeat(30), &mut text);
        assert!(text.lines().all(|line| line.len() <= WIDTH) && text.lines().count() == 2);
        let mut text = String::new();
        table(&["a", "b"], &[vec!["long\t".to_owned(), "1".to_owned()]], &mut text);
        assert_eq!(text, "  a       b\n  long\\t  1\n");
    }
}
