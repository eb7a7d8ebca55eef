//! Refusals of servers written in Python: the first of the validation errors that pydantic lists in one text.
//!
//! Three forms are known: a list of dicts as Python prints it, with or without the line `2 validation errors:` before
//! it, and pydantic's own text of a place, a message and `[type=…]` in lines.

/// Limit on the parts of a place; a place with more is not read. OpenAI's requests are nested about ten deep.
const MAX_PARTS: usize = 32;
/// Names by which pydantic tells the branches of a union apart. They look like fields, and are none.
const TYPES: [&str; 8] = ["str", "int", "float", "bool", "list", "dict", "none", "bytes"];

/// First error of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstError {
    pub(super) message: String,
    /// Field of the request, such as `tools[0].type`; `None` for a position in the JSON text.
    pub(super) param: Option<String>,
}

/// Finds the first error in a backend's message; `None` if it is not of pydantic.
pub(super) fn first_error(message: &str) -> Option<FirstError> {
    let text = message.trim_start();
    if text.starts_with("[{") {
        return first_dict(text);
    }
    let (head, rest) = text.split_once('\n')?;
    let is_count = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let (count, after) = head.split_once(" validation error")?;
    if !is_count(count) {
        return None;
    }
    if after.trim_start_matches('s').starts_with(" for ") {
        return first_lines(rest);
    }
    first_dict(rest)
}

/// Returns the field that a place in dots names.
pub(super) fn field_of(place: &str) -> Option<String> {
    field(place.split('.'))
}

/// Reads a place, and below it a message that ends in `[type=…]`.
fn first_lines(text: &str) -> Option<FirstError> {
    let (place, rest) = text.split_once('\n')?;
    let line = rest.lines().next()?.trim();
    let message = line.rsplit_once(" [type=").map_or(line, |(message, _)| message);
    Some(FirstError { message: message.to_owned(), param: field_of(place.trim()) })
}

/// Reads `loc` and `msg` of the first dict.
fn first_dict(text: &str) -> Option<FirstError> {
    let (_, mut rest) = text.split_once('{')?;
    let (mut param, mut message) = (None, None);
    while param.is_none() || message.is_none() {
        let (key, after) = quoted(rest.trim_start_matches([',', ' ']))?;
        let value = after.strip_prefix(": ")?;
        rest = match key.as_str() {
            "loc" => {
                let (parts, after) = place(value)?;
                param = Some(field(parts.iter().map(String::as_str)));
                after
            }
            "msg" => {
                let (text, after) = quoted(value)?;
                message = Some(text);
                after
            }
            _ => quoted(value)?.1,
        };
    }
    Some(FirstError { message: message?, param: param? })
}

/// Reads a place: a tuple or list of names and numbers, or one text with dots. Returns the text after it as well.
fn place(text: &str) -> Option<(Vec<String>, &str)> {
    let Some(mut rest) = text.strip_prefix(['(', '[']) else {
        let (dotted, rest) = quoted(text)?;
        return Some((dotted.split('.').map(str::to_owned).collect(), rest));
    };
    let mut parts = Vec::new();
    while parts.len() <= MAX_PARTS {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix([')', ']']) {
            return Some((parts, after));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (part, after) = match rest.split_at_checked(digits)? {
            ("", _) => quoted(rest)?,
            (number, after) => (number.to_owned(), after),
        };
        parts.push(part);
        rest = after;
    }
    None
}

/// Reads a text as Python prints it. Returns what follows it as well.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().filter(|(_, first)| matches!(first, '\'' | '"'))?;
    let mut read = String::new();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((read, text.get(at + 1..)?));
        }
        read.push(match c {
            '\\' => match chars.next()?.1 {
                'n' | 'r' | 't' => ' ',
                escaped => escaped,
            },
            c => c,
        });
    }
    None
}

/// Joins the parts of a place to a field of the request. The body itself and the branches of unions are left out.
fn field<'p>(parts: impl Iterator<Item = &'p str>) -> Option<String> {
    let mut parts = parts.peekable();
    // `header` and `query` are not in the body.
    if parts.next_if(|first| *first == "body").is_none() && parts.peek().is_some_and(|first| is_elsewhere(first)) {
        return None;
    }
    let mut field = String::new();
    for part in parts {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            if field.is_empty() {
                return None;
            }
            field.extend(["[", part, "]"]);
        } else if is_name(part) {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(part);
        }
    }
    (!field.is_empty()).then_some(field)
}

fn is_elsewhere(part: &str) -> bool {
    matches!(part, "header" | "query" | "path" | "cookie")
}

/// True for names of fields, which are lower case in OpenAI's API; names of Python's classes are not.
fn is_name(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && part.bytes().all(plain) && !TYPES.contains(&part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<(String, Option<String>)> {
        first_error(text).map(|error| (error.message, error.param))
    }

    #[test]
    fn the_first_error_of_each_form() {
        for (text, message, param) in [
            (
                "2 validation errors:\n  {'type': 'literal_error', 'loc': 'body.tools.0.type', 'msg': \"Input should be 'function'\", 'input': 'custom'}\n  {'type': 'missing', 'loc': 'body.x', 'msg': 'no'}",
                "Input should be 'function'",
                Some("tools[0].type"),
            ),
            (
                "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.10', 'msg': 'JSON decode error', 'input': '<dict of 0 items>'}",
                "JSON decode error",
                None,
            ),
            (
                "2 validation errors:\n  {'type': 'list_type', 'loc': ('body', 'stop', 'list[str]'), 'msg': 'Input should be a valid list', 'input': 3}",
                "Input should be a valid list",
                Some("stop"),
            ),
            (
                "2 validation errors:\n  {'type': 'value_error', 'loc': ('body', 'messages', 0, 'function-after[validate_thinking_parts_role(), ChatCompletionMessageGenericParam]', 'role'), 'msg': \"Value error, 'role' must be one of 'system', 'root' (case-insensitive).\", 'input'",
                "Value error, 'role' must be one of 'system', 'root' (case-insensitive).",
                Some("messages[0].role"),
            ),
            (
                "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'reasoning_effort', \"literal['none','low']\"), 'msg': 'It\\'s \"a\\\\b\"', 'input': 'x'}",
                "It's \"a\\b\"",
                Some("reasoning_effort"),
            ),
            (
                "1 validation error:\n  {'loc': ['header', 'content-type'], 'msg': \"Only 'application/json' is allowed\", 'type': 'value_error'} [{'loc'",
                "Only 'application/json' is allowed",
                None,
            ),
            ("[{'type': 'missing', 'loc': ('body',), 'msg': 'Field required', 'input': None}]", "Field required", None),
            (
                "[{'type': 'missing', 'loc': ('body', 'tools', 0, 'function', 'name'), 'msg': 'Field required', 'input': {'parameters': {}}}]",
                "Field required",
                Some("tools[0].function.name"),
            ),
            (
                "1 validation error for ChatCompletionRequest\nmessages.0.content.str\n  Input should be a valid string [type=string_type, input_value=1, input_type=int]\n    For further information visit",
                "Input should be a valid string",
                Some("messages[0].content"),
            ),
        ] {
            assert_eq!(first(text), Some((message.to_owned(), param.map(str::to_owned))), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "no",
            "1 validation error:",
            "1 validation error:\n  {'type'}",
            "a validation error:\n  {'loc': 'a', 'msg': 'b'}",
            "[{'type': 'extra_forbidden'}]",
            "[{'type': 'x', 'loc': ('body', 'a'), 'msg': 'torn",
            "[{\"a\": 1}]",
            "1 validation error:\n  {'type': 'x', 'loc': ('body', -1), 'msg': 'm'}",
            "1 validation error for X\nplace",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
        let deep = format!("[{{'loc': ('body'{}), 'msg': 'm'}}]", ", 'a'".repeat(100));
        assert_eq!(first(&deep), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[({})\\],:'\"\\\\ 1aé.\n]{0,40}", head in 0..3_usize) {
            let head = ["", "1 validation error:\n{'loc': ", "[{'msg': "][head];
            drop(first_error(&format!("{head}{text}")));
        }
    }
}
