//! Random pairs: the vectors, changed a little, and answers made of odd pieces.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{Given, GivenCall, Request};

/// Characters that some rule treats in its own way, all of them older than Unicode 14, which the reference may have.
const ODD: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\x0b",
    "\x1c",
    "\x1f",
    "\u{85}",
    "\u{a0}",
    "\u{2003}",
    "\u{2028}",
    "\u{3000}",
    "\u{200b}",
    "\u{feff}",
    "*",
    "_",
    "`",
    "```",
    "```json\n",
    "\n```",
    "#",
    "~",
    ".",
    "!",
    "。",
    "！",
    "\"",
    "'",
    "“",
    "”",
    "‘",
    "’",
    "«",
    "»",
    "「",
    "」",
    "+",
    "-",
    "0",
    "1",
    "4.0",
    "1e3",
    "１２",
    "ß",
    "ﬁ",
    "İ",
    "ı",
    "ς",
    "Σ",
    "ﬃ",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{345}",
    "\u{fdfa}",
    "가",
    "\u{1100}\u{1161}",
    "漢",
    "字",
    "あ",
    "ｶﾞ",
    "😀",
    "\u{1f468}\u{200d}\u{1f469}",
    "\0",
    "\u{7f}",
    "ᾳ",
    "Ǆ",
    "ŉ",
    "\u{1e9e}",
    "Ꭰ",
    "ꭰ",
    "①",
    "½",
    "²",
    "ﷺ",
    "null",
    "true",
    "NaN",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\\u0041",
    "\\ud83d\\ude00",
    "\\ud800",
    "{}",
    "[]",
    "yes",
    "No",
    "Yes",
    "the ",
    "capital ",
    "of ",
    "France ",
];

/// Values that are JSON, or nearly.
const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "1e0",
    "10E-1",
    "0.1",
    "1e400",
    "-1e400",
    "1e-400",
    "01",
    "1.",
    ".5",
    "-",
    "+1",
    "NaN",
    "Infinity",
    "-Infinity",
    "9007199254740993",
    "9007199254740992",
    "123456789012345678901234567890",
    "0.30000000000000004",
    "0.3",
    "2.2250738585072011e-308",
    "179769313486231580793728971405301e276",
    "\"\"",
    "\"x\"",
    "\"x  y\"",
    "\" x y\"",
    "\"１\"",
    "\"1\"",
    "\"\\u00e9\"",
    "\"é\"",
    "\"e\\u0301\"",
    "\"\\ud83d\\ude00\"",
    "\"😀\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83dx\"",
    "\"\\ud800\\u0041\"",
    "\"\\x\"",
    "\"\t\"",
    "\"\\u12\"",
    "\"\\u00zz\"",
    "\"\\/\\b\\f\\n\\r\\t\"",
    "'x'",
    "{}",
    "[]",
    "\"a long string of more than thirty-two characters\"",
    "\"a long string of more than thirty two characters.\"",
    "\"thirty-two characters, not more.\"",
    "\"thirty-two characters, not more!\"",
];

const NAMES: &[&str] = &["a", "b", "c", "0", "1", "", "é", "\\u0061", "e\\u0301", "\\ud800", "\\n"];
const SPACES: &[&str] = &["", "", "", " ", "\n", "\t\r\n", "\u{a0}", "\x0c"];

/// Maker of random pairs.
pub(super) struct Generator {
    rng: StdRng,
    /// Answers of the vectors.
    known: Vec<Given>,
}

impl Generator {
    pub(super) fn new(seed: u64, known: Vec<Given>) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), known }
    }

    pub(super) fn request(&mut self) -> Request {
        let format = [None, None, Some("json_object"), Some("json_schema")];
        Request { format: self.of(&format).map(str::to_owned) }
    }

    /// Returns an answer, or a changed copy of `like`.
    pub(super) fn answer(&mut self, like: Option<&Given>) -> Given {
        let mut given = match (like, self.rng.random_range(0..10)) {
            (Some(like), 0..8) => like.clone(),
            (_, 8) => self.known.choose(&mut self.rng).unwrap().clone(),
            _ => self.made(),
        };
        given.schema_valid = None;
        if like.is_some() {
            if let Some(text) = given.text.as_mut() {
                *text = self.changed(text);
            }
            for call in &mut given.calls {
                call.arguments = self.changed(&call.arguments);
            }
            if given.calls.len() > 1 && self.is_one_of(3) {
                given.calls.swap(0, 1);
            }
            if self.is_one_of(12) {
                given.calls.pop();
            }
        }
        if self.is_one_of(60) {
            given.outcome = Some("timeout".to_owned());
        }
        given.over_cap = self.is_one_of(60);
        given
    }

    fn made(&mut self) -> Given {
        let mut given = Given { finish: Some("stop".to_owned()), ..Given::default() };
        match self.rng.random_range(0..10) {
            0..3 => given.text = Some(self.text(40)),
            3 => given.text = Some(self.text(4)),
            4..8 => given.text = Some(self.document()),
            8 => {
                let count = self.rng.random_range(1..6);
                given.calls = (0..count).map(|_| self.call()).collect();
            }
            _ => {
                given.text = self.of(&[None, Some("")]).map(str::to_owned);
                given.refusal = self.of(&[None, Some(""), Some("no")]).map(str::to_owned);
                given.finish = self.of(&[None, Some("length"), Some("content_filter")]).map(str::to_owned);
            }
        }
        given
    }

    fn call(&mut self) -> GivenCall {
        let arguments = if self.is_one_of(5) { self.text(3) } else { self.json(2) };
        GivenCall { name: self.of(&["f", "g"]).to_owned(), arguments }
    }

    fn text(&mut self, pieces: usize) -> String {
        let count = self.rng.random_range(0..=pieces);
        (0..count).map(|_| self.of(ODD)).collect()
    }

    /// Returns JSON, perhaps in a fence, perhaps with something around it.
    fn document(&mut self) -> String {
        let json = match self.rng.random_range(0..40) {
            0 => {
                let depth = self.rng.random_range(60..135);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth))
            }
            1 => format!("[{}0]", "0,".repeat(self.rng.random_range(9_990..10_010))),
            _ => self.json(3),
        };
        match self.rng.random_range(0..8) {
            0 => format!(
                "```{}\n{json}\n```",
                self.of(&["", "json", "json ", "json\t\r", "js on", "c++", "`", "\u{a0}"])
            ),
            1 => format!("```\n{json}{}```", self.of(&["\n", "\r\n", "\r", "", "\n\r"])),
            2 => format!("{}{json}{}", self.of(SPACES), self.of(SPACES)),
            3 => format!("{json}{}", self.of(ODD)),
            _ => json,
        }
    }

    fn json(&mut self, depth: usize) -> String {
        let space = self.of(SPACES);
        let count = self.rng.random_range(0..5);
        match if depth == 0 { 9 } else { self.rng.random_range(0..10) } {
            0..4 => {
                let members: Vec<String> =
                    (0..count).map(|_| format!("\"{}\":{space}{}", self.of(NAMES), self.json(depth - 1))).collect();
                format!("{{{}}}", members.join(","))
            }
            4..7 => {
                let items: Vec<String> = (0..count).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", items.join(&format!("{space},")))
            }
            _ if self.is_one_of(3) => "\"a long string of more than thirty-two characters\"".to_owned(),
            _ => self.of(SCALARS).to_owned(),
        }
    }

    /// Changes a few characters, or nothing.
    fn changed(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..self.rng.random_range(0..4) {
            let at = self.rng.random_range(0..=characters.len());
            match self.rng.random_range(0..4) {
                0 => drop(characters.splice(at..at, self.of(ODD).chars())),
                1 if at < characters.len() => drop(characters.remove(at)),
                2 => {
                    let end = (at + self.rng.random_range(0..20)).min(characters.len());
                    characters.extend_from_within(at..end);
                }
                3 if at + 1 < characters.len() => characters.swap(at, at + 1),
                _ => {}
            }
        }
        characters.into_iter().collect()
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        *list.choose(&mut self.rng).unwrap()
    }

    fn is_one_of(&mut self, count: u32) -> bool {
        self.rng.random_range(0..count) == 0
    }
}
