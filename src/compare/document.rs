//! Text of an answer as a JSON document, with or without a fence of Markdown around it.

use super::caps::TEXT;
use super::json::{Json, SPACE, Unparsed, parse};

/// Returns the text inside the one fence around all of it; `None` if there is no such fence.
pub(super) fn inside_fence(text: &str) -> Option<&str> {
    let body = text.trim_matches(SPACE).strip_prefix("```")?.strip_suffix("```")?;
    let (info, inside) = body.split_once('\n')?;
    let info = info.strip_suffix('\r').unwrap_or(info).trim_end_matches([' ', '\t']);
    if info.contains(|c: char| c == '`' || c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)) {
        return None;
    }
    let inside = inside.strip_suffix('\n').unwrap_or(inside);
    Some(inside.strip_suffix('\r').unwrap_or(inside))
}

/// Reads the document: strictly the text itself, or what its fence holds.
pub(super) fn read(text: &str, is_strict: bool) -> Result<Json, Unparsed> {
    if is_strict { parse(text) } else { parse(inside_fence(text).unwrap_or(text)) }
}

/// True if the document is an object or a list.
pub(super) const fn is_structure(document: &Json) -> bool {
    matches!(document, Json::Object(_) | Json::List(_))
}

/// True if `text` is longer than a text that is compared.
pub(super) fn is_over_cap(text: &str) -> bool {
    text.len() > TEXT && text.chars().nth(TEXT).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fence_around_all_of_it() {
        for (text, inside) in [
            ("```json\n{}\n```", "{}"),
            (" \n```\r\n{}\r\n``` \n", "{}"),
            ("```c++ \t\n{}```", "{}"),
            ("```\n```", ""),
            ("```\na\n```\nb\n```", "a\n```\nb"),
            ("```\na\n\r```", "a\n"),
        ] {
            assert_eq!(inside_fence(text), Some(inside), "{text:?}");
        }
        for text in
            ["", "```", "``````", "```{}```", "```json title\n{}\n```", "a\n```\n{}\n```", "```\n{}\n``` b", "``\n```"]
        {
            assert_eq!(inside_fence(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_cap_counts_characters() {
        assert!(!is_over_cap(&"é".repeat(TEXT)));
        assert!(is_over_cap(&"é".repeat(TEXT + 1)));
    }
}
