//! A reader of source text that knows just enough Rust to find paths: comments, strings, `use` groups, inline modules.

use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

/// A file under `src`.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Module path below the crate: `src/live/watch.rs` is `live`, `watch`; `src/live/mod.rs` is `live`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src").unwrap();
        let mut names: Vec<&str> = path.iter().map(|name| name.to_str().unwrap().trim_end_matches(".rs")).collect();
        names.pop_if(|name| *name == "mod");
        names
    }

    /// Splits the text into shipped code and the tests at its end.
    pub(crate) fn parts(&self) -> (&str, &str) {
        if self.path.ends_with("tests.rs") {
            return ("", &self.text);
        }
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text.split_at(tests)
    }

    /// Returns the paths named in `part`, absolute from the crate's root: `["live", "watch", "Timing"]`. A path that
    /// begins with none of `crate`, `super` and `self` counts as relative to this module; the caller drops it if it
    /// leads nowhere.
    pub(crate) fn paths(&self, part: &str) -> Vec<Path> {
        let module: Vec<String> = self.module().into_iter().map(str::to_owned).collect();
        Walk { tokens: tokens(&code(part)), at: 0, found: Vec::new() }.run(&module)
    }
}

/// A path as it was written, made absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub(crate) names: Vec<String>,
    /// True if it began with `crate`, `super` or `self`.
    pub(crate) is_anchored: bool,
}

struct Walk {
    tokens: Vec<String>,
    at: usize,
    found: Vec<Vec<String>>,
}

impl Walk {
    fn run(mut self, module: &[String]) -> Vec<Path> {
        let mut absolute = Vec::new();
        // The inline modules around the token, each with the number of braces open outside it.
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut open = 0;
        while self.at < self.tokens.len() {
            match self.token(0) {
                "{" => open += 1,
                "}" => {
                    open -= 1;
                    inline.pop_if(|(_, outside)| *outside == open);
                }
                "mod" if self.token(2) == "{" => inline.push((self.token(1).to_owned(), open)),
                name if is_name(name) && !self.follows_a_path() && !self.is_visibility() => {
                    let base: Vec<String> = module.iter().chain(inline.iter().map(|(name, _)| name)).cloned().collect();
                    self.path(&[]);
                    absolute.extend(self.found.drain(..).filter_map(|path| resolve(&base, &path)));
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        absolute
    }

    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn before(&self, back: usize) -> &str {
        self.at.checked_sub(back).map_or("", |at| &self.tokens[at])
    }

    /// True inside `::std`, `<T as X>::f` and `x.f`.
    fn follows_a_path(&self) -> bool {
        ["::", "."].contains(&self.before(1))
    }

    /// True in `pub(in crate::x)`, which imports nothing.
    fn is_visibility(&self) -> bool {
        self.before(1) == "in" && self.before(2) == "("
    }

    /// Reads one path, or one tree of a `use`, and stops behind it.
    fn path(&mut self, before: &[String]) {
        let mut path = before.to_vec();
        while is_name(self.token(0)) || self.token(0) == "*" {
            // `x::{self}` names `x`.
            if path.is_empty() || self.token(0) != "self" {
                path.push(self.token(0).to_owned());
            }
            self.at += 1;
            if self.token(0) != "::" {
                break;
            }
            self.at += 1;
            if self.token(0) == "{" {
                return self.group(&path);
            }
        }
        self.found.push(path);
    }

    fn group(&mut self, before: &[String]) {
        self.at += 1;
        while !["}", ""].contains(&self.token(0)) {
            if is_name(self.token(0)) || self.token(0) == "*" {
                self.path(before);
            }
            while ![",", "}", ""].contains(&self.token(0)) {
                self.at += 1;
            }
            if self.token(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }
}

/// Returns `None` for a single name, which is not an import, and for more `super`s than there are modules.
fn resolve(base: &[String], path: &[String]) -> Option<Path> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let from = match path.first()?.as_str() {
        _ if path.len() < 2 => return None,
        "crate" => &[],
        "super" => base.get(..base.len().checked_sub(supers)?)?,
        _ => base,
    };
    let is_anchored = ["crate", "super", "self"].contains(&path[0].as_str());
    let rest = &path[if is_anchored { supers.max(1) } else { 0 }..];
    Some(Path { names: [from, rest].concat(), is_anchored })
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut token = c.to_string();
        if c.is_alphanumeric() || c == '_' {
            while let Some(more) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                token.push(more);
            }
        } else if c == ':' {
            token.extend(rest.next_if_eq(&':'));
        }
        tokens.push(token);
    }
    tokens
}

/// Returns the source without comments, strings and characters.
pub(crate) fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('/', Some('/')) => {
                rest.by_ref().find(|c| *c == '\n');
                code.push('\n');
            }
            ('/', Some('*')) => skip_block(&mut rest),
            ('"', _) => skip_string(&mut rest),
            ('r', Some('"' | '#')) => skip_raw(&mut rest),
            ('\'', _) => skip_char(&mut rest),
            _ => code.push(c),
        }
    }
    code
}

fn skip_block(rest: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut last = '/';
    for c in rest.by_ref() {
        match (last, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                last = c;
                continue;
            }
        }
        if depth == 0 {
            return;
        }
        last = ' ';
    }
}

fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn skip_raw(rest: &mut Peekable<Chars<'_>>) {
    let mut fence = 0;
    while rest.next_if_eq(&'#').is_some() {
        fence += 1;
    }
    // `r#type` is a name, not a string.
    if rest.next_if_eq(&'"').is_none() {
        return;
    }
    while let Some(c) = rest.next() {
        if c == '"' {
            let mut hashes = 0;
            while hashes < fence && rest.next_if_eq(&'#').is_some() {
                hashes += 1;
            }
            if hashes == fence {
                return;
            }
        }
    }
}

/// Skips a character, or only the quote of a lifetime, which has no second one.
fn skip_char(rest: &mut Peekable<Chars<'_>>) {
    let mut ahead = rest.clone();
    let escaped = ahead.next() == Some('\\');
    if escaped {
        rest.next();
        rest.next();
        rest.find(|c| *c == '\'');
    } else if ahead.next() == Some('\'') {
        rest.next();
        rest.next();
    }
}

#[test]
fn paths_are_made_absolute() {
    for (path, text, expected) in [
        ("src/a/b.rs", "use super::c::D;", "a::c::D"),
        ("src/a/b.rs", "use super::{c, d::{self, E as F, *}, super::g};", "a::c a::d a::d::E a::d::* g"),
        ("src/a/b/mod.rs", "fn f() -> self::c::D { super::e::f::<u8>() }", "a::b::c::D a::e::f"),
        ("src/a/b.rs", "mod i { mod j { use super::super::X; } use super::Y; } use super::Z;", "a::b::X a::b::Y a::Z"),
        ("src/a/b.rs", "pub(in crate::a) fn f(x: super::T) { for y in super::all() {} }", "a::T a::all"),
        ("src/a/b.rs", "fn f() { ::crate_::x(); <T as X>::super_::y(); s.crate_::<u8>() }", ""),
        ("src/a/b.rs", "fn f() { if x { } } fn g() { crate::a::h() }", "a::h"),
        ("src/a.rs", "use super::super::x;", ""),
    ] {
        let source = Source { path: PathBuf::from(path), text: text.to_owned() };
        let anchored = source.paths(text).into_iter().filter(|path| path.is_anchored);
        let found: Vec<String> = anchored.map(|path| path.names.join("::")).collect();
        assert_eq!(found.join(" "), expected, "in {text:?}");
    }
}
