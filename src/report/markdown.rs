//! The report for a pull request.

use super::blocks::Block;
use super::page::page;
use super::shape::Report;
use super::text::visible;

/// Returns the report as GitHub's Markdown. Names that applications write are in it, so that everything is escaped.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for block in page(report) {
        match block {
            Block::Heading(level, words) => {
                let marks = "#".repeat(usize::from(level) + 1);
                text.push_str(&format!("{marks} {}\n\n", escaped(&words)));
            }
            Block::Words(words) => text.push_str(&format!("{}\n\n", escaped(&words))),
            Block::Table(head, rows) => {
                text.push_str(&row(head.iter().map(|cell| escaped(cell))));
                text.push_str(&row(head.iter().map(|_| "---".to_owned())));
                for cells in rows {
                    text.push_str(&row(cells.iter().map(|cell| escaped(cell))));
                }
                text.push('\n');
            }
        }
    }
    text.trim_end().to_owned()
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// Escapes everything that has a meaning in Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // A mention would notify a person whom an application names.
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '!' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_cell() {
        assert_eq!(
            escaped("a|b\n<img src=x> [l](http://x) @me `c`"),
            "a\\|b\\\\n&lt;img src=x&gt; \\[l\\](http://x) &#64;me \\`c\\`"
        );
    }
}
