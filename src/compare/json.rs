//! JSON as a value, and its strict reader.
//!
//! Not `serde_json`: there a number can be off by its last bit, a half surrogate pair fails even where a later duplicate
//! key replaces it, and the nesting is not known.

use super::caps::{NESTING, UNPARSABLE_NESTING};
use super::text::Text;

/// JSON's own white space.
pub(super) const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A value. It nests at most [`NESTING`] deep.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(Text),
    List(Vec<Self>),
    /// Members in the order of their names, each name once.
    Object(Vec<(String, Self)>),
    /// Text with half of a surrogate pair, or an object with such a name.
    HalfPair,
}

/// Reason for which a text is not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unparsed {
    Invalid,
    /// It parses, but nests too deep.
    OverCap,
}

/// Reads `text`, with JSON's white space around it.
pub(super) fn parse(text: &str) -> Result<Json, Unparsed> {
    let mut reader = Reader { rest: text, depth: 0, deepest: 0 };
    let value = reader.value().filter(|value| !has_half_pair(value)).ok_or(Unparsed::Invalid)?;
    reader.skip_space();
    if !reader.rest.is_empty() {
        return Err(Unparsed::Invalid);
    }
    if reader.deepest > NESTING { Err(Unparsed::OverCap) } else { Ok(value) }
}

fn has_half_pair(value: &Json) -> bool {
    match value {
        Json::HalfPair => true,
        Json::List(items) => items.iter().any(has_half_pair),
        Json::Object(members) => members.iter().any(|(_, member)| has_half_pair(member)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

/// Reader of one text. `None` from its methods means that the text is invalid.
struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    deepest: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(SPACE);
    }

    fn eat(&mut self, expected: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn value(&mut self) -> Option<Json> {
        self.skip_space();
        match self.rest.bytes().next()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::list),
            b'"' => self.string().map(|text| text.map_or(Json::HalfPair, |text| Json::Text(Text::new(text)))),
            b'n' => self.eat("null").map(|()| Json::Null),
            b't' => self.eat("true").map(|()| Json::Bool(true)),
            b'f' => self.eat("false").map(|()| Json::Bool(false)),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        if self.depth >= UNPARSABLE_NESTING {
            return None;
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Option<Json> {
        self.eat("[")?;
        self.skip_space();
        let mut items = Vec::new();
        if self.eat("]").is_some() {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.eat("]").is_some() {
                return Some(Json::List(items));
            }
            self.eat(",")?;
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.eat("{")?;
        self.skip_space();
        let mut members = Vec::new();
        if self.eat("}").is_some() {
            return Some(Json::Object(members));
        }
        let mut has_half_name = false;
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.eat(":")?;
            let value = self.value()?;
            match name {
                Some(name) => members.push((name, value)),
                None => has_half_name = true,
            }
            self.skip_space();
            if self.eat("}").is_some() {
                return Some(if has_half_name { Json::HalfPair } else { Json::Object(last_of_each(members)) });
            }
            self.eat(",")?;
        }
    }

    /// Reads a string; the inner `None` stands for one with half of a surrogate pair.
    fn string(&mut self) -> Option<Option<String>> {
        self.eat("\"")?;
        let mut text = String::new();
        let mut is_half = false;
        loop {
            let end = self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            let (plain, rest) = self.rest.split_at(end);
            text.push_str(plain);
            self.rest = rest;
            if self.eat("\"").is_some() {
                return Some((!is_half).then_some(text));
            }
            self.eat("\\")?;
            match self.escape()? {
                Some(c) => text.push(c),
                None => is_half = true,
            }
        }
    }

    /// Reads an escape after its backslash; the inner `None` stands for half of a surrogate pair.
    fn escape(&mut self) -> Option<Option<char>> {
        let mut rest = self.rest.chars();
        let c = match rest.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                self.rest = rest.as_str();
                return self.unit_pair();
            }
            _ => return None,
        };
        self.rest = rest.as_str();
        Some(Some(c))
    }

    /// Reads the digits of `\u`, and of the escape behind it if the two are a surrogate pair.
    fn unit_pair(&mut self) -> Option<Option<char>> {
        let first = self.unit()?;
        if let 0xd800..0xdc00 = first
            && let Some(behind) = self.rest.strip_prefix("\\u")
        {
            let mut ahead = Self { rest: behind, depth: 0, deepest: 0 };
            if let Some(second @ 0xdc00..0xe000) = ahead.unit() {
                self.rest = ahead.rest;
                return Some(char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)));
            }
        }
        Some(char::from_u32(first))
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = rest;
        u32::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<Json> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = usize::from(bytes.first() == Some(&b'-'));
        end += match bytes.get(end)? {
            b'0' => 1,
            b'1'..=b'9' => digits(end),
            _ => return None,
        };
        if bytes.get(end) == Some(&b'.') {
            end += 1 + Some(digits(end + 1)).filter(|digits| *digits > 0)?;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end += 1 + sign + Some(digits(end + 1 + sign)).filter(|digits| *digits > 0)?;
        }
        let (number, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        number.parse().ok().filter(|number: &f64| number.is_finite()).map(Json::Number)
    }
}

/// Sorts members by name; of those with one name the last stays.
fn last_of_each(mut members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    members.reverse();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members.dedup_by(|(later, _), (kept, _)| later == kept);
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_texts() {
        let text = |text: &str| Json::Text(Text::new(text.to_owned()));
        for (json, expected) in [
            (" \t\r\n1e2 ", Json::Number(100.0)),
            ("-0", Json::Number(-0.0)),
            ("9007199254740993", Json::Number(9_007_199_254_740_992.0)),
            ("0.30000000000000004", Json::Number(0.1 + 0.2)),
            (r#""\ud83d\ude00\u00e9\/\n""#, text("😀é/\n")),
            ("\"\u{7f}\u{a0}\"", text("\u{7f}\u{a0}")),
            (
                r#"{"b":1,"a":2,"b":null}"#,
                Json::Object(vec![("a".into(), Json::Number(2.0)), ("b".into(), Json::Null)]),
            ),
            (r#"[true , false,[]]"#, Json::List(vec![Json::Bool(true), Json::Bool(false), Json::List(vec![])])),
            // A later duplicate replaces the half pair.
            (r#"{"a":"\ud800","a":1}"#, Json::Object(vec![("a".into(), Json::Number(1.0))])),
        ] {
            assert_eq!(parse(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn invalid_texts() {
        for json in [
            "",
            " ",
            "nul",
            "NaN",
            "-Infinity",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "-",
            "+1",
            "1e400",
            "1 2",
            "{",
            "[1,]",
            "{,}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\n\"",
            "\u{a0}1",
            "'a'",
            "\u{feff}1",
            "[1 2]",
            r#""\ud800""#,
            r#""\ude00\ud83d""#,
            r#"{"\ud800":1}"#,
            r#"["\ud800x"]"#,
            r#""\ud83d\u0041""#,
        ] {
            assert_eq!(parse(json), Err(Unparsed::Invalid), "{json:?}");
        }
    }

    #[test]
    fn nesting() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(64)).is_ok());
        assert_eq!(parse(&nested(65)), Err(Unparsed::OverCap));
        assert_eq!(parse(&nested(127)), Err(Unparsed::OverCap));
        assert_eq!(parse(&nested(128)), Err(Unparsed::Invalid));
        assert_eq!(parse(&"[".repeat(200_000)), Err(Unparsed::Invalid));
        assert_eq!(parse(&format!("{}1", nested(65))), Err(Unparsed::Invalid));
    }
}
