//! The house rules that no compiler checks: which room may import which, and what every file owes its reader.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its shared steps too")]

use std::collections::BTreeSet;
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Left may not import right; rooms of one step may not import each other.
const STEPS: &[&[&str]] = &[
    &["model"],
    &["config", "wire"],
    &["translate"],
    &["choose", "health"],
    &["telemetry"],
    &["backend"],
    &["live", "fleet"],
    &["proxy", "admin", "otlp"],
    &["app"],
    &["demo"],
    &["cli"],
];

/// Imports nothing, so that what it simulates owes nothing to the code under test. Imported by [`SIMULATES`] and tests.
const SIMULATOR: &str = "sim";
const SIMULATES: &str = "demo";

/// Rooms that may hold the cell in which the snapshot is swapped (the simulator swaps its own behaviour).
const SWAP: [&str; 2] = ["live", SIMULATOR];

const MAX_LINES: usize = 500;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/live/watch.rs` → `live`, `watch`; the last one is gone for `mod.rs`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src").unwrap();
        let mut names: Vec<&str> = path.iter().map(|name| name.to_str().unwrap().trim_end_matches(".rs")).collect();
        names.pop_if(|name| *name == "mod");
        names
    }

    /// What ships, and the tests at the end of the file.
    fn parts(&self) -> (&str, &str) {
        if self.path.ends_with("tests.rs") {
            return ("", &self.text);
        }
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text.split_at(tests)
    }

    /// Every arrow of this file that points the wrong way.
    fn wrong_arrows(&self) -> Vec<String> {
        let module = self.module();
        let (shipped, tests) = self.parts();
        let mut wrong = Vec::new();
        for (part, in_tests) in [(shipped, false), (tests, true)] {
            for room in rooms_named(&code(part), module.len()) {
                if room != module[0] && !may_import(module[0], &room, in_tests) {
                    wrong.push(format!("{}: {} may not import {room}", self.path.display(), module[0]));
                }
            }
        }
        wrong
    }
}

fn step(room: &str) -> Option<usize> {
    STEPS.iter().position(|step| step.contains(&room))
}

fn may_import(from: &str, to: &str, in_tests: bool) -> bool {
    if to == SIMULATOR {
        return in_tests || from == SIMULATES;
    }
    matches!((step(from), step(to)), (Some(from), Some(to)) if to < from)
}

/// The first names of all paths from the crate's root: after `crate::`, in a group after it, or after as many `super::`
/// as lead there from a module this deep.
fn rooms_named(code: &str, depth: usize) -> BTreeSet<String> {
    let compact: String =
        code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::").replace(":: ", "::");
    let mut found = BTreeSet::new();
    for path in compact.split("crate::").skip(1) {
        found.extend(first_names(path));
    }
    let all: BTreeSet<&str> = STEPS.iter().copied().flatten().copied().chain([SIMULATOR]).collect();
    for path in compact.split(&"super::".repeat(depth)).skip(1) {
        // Within an inline module the same path leads less far, so only a room's own name tells.
        let names = first_names(path.trim_start_matches("super::"));
        found.extend(names.into_iter().filter(|name| all.contains(name.as_str())));
    }
    found
}

/// `a::b` → a; `{a::{b, c}, d}` → a, d; `*` → `*`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        let name: String = path.chars().take_while(|c| c.is_alphanumeric() || "_*".contains(*c)).collect();
        return vec![name];
    };
    let mut names = Vec::new();
    let mut open = 0;
    let mut name = String::new();
    for c in group.chars() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => break,
            '}' => open -= 1,
            ',' if open == 0 => names.push(std::mem::take(&mut name)),
            _ if open == 0 => name.push(c),
            _ => {}
        }
    }
    names.push(name);
    let first = |name: &String| name.trim().split([':', ' ']).next().unwrap_or_default().to_owned();
    names.iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// The source without comments and without what stands in quotes.
fn code(source: &str) -> String {
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

/// A character, or the mark of a lifetime, which has no second quote.
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

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
        }
    }
}

/// Every file of every room; not the two roots, `lib.rs` and `main.rs`.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    sources.retain(|source| !["lib", "main"].contains(&source.module()[0]));
    // A walk that finds nothing would let every rule pass.
    assert!(sources.len() > STEPS.len(), "only {} files under src", sources.len());
    sources
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_room_imports_what_is_right_of_it() {
    let wrong: Vec<String> = sources().iter().flat_map(Source::wrong_arrows).collect();
    assert_none(&wrong);
}

#[test]
fn every_room_of_the_library_has_its_step() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let ranked: BTreeSet<&str> = STEPS.iter().copied().flatten().copied().chain([SIMULATOR]).collect();
    assert_eq!(declared, ranked);
}

#[test]
fn every_module_says_what_it_owns() {
    let silent = sources().iter().filter(|source| !source.text.starts_with("//! ")).map(describe).collect::<Vec<_>>();
    assert_none(&silent);
}

#[test]
fn no_file_is_too_long_to_read() {
    let lines = |source: &Source| source.parts().0.lines().count();
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| lines(source) > MAX_LINES)
        .map(|source| format!("{}: {} lines without its tests", source.path.display(), lines(source)))
        .collect();
    assert_none(&long);
}

#[test]
fn only_the_live_room_swaps_the_snapshot() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !SWAP.contains(&source.module()[0]))
        .filter(|source| ["ArcSwap", "arc_swap"].iter().any(|word| code(&source.text).contains(word)))
        .map(describe)
        .collect();
    assert_none(&wrong);
}

fn describe(source: &Source) -> String {
    source.path.display().to_string()
}

#[track_caller]
fn assert_wrong(path: &str, text: &str, expected: &[&str]) {
    let source = Source { path: PathBuf::from(path), text: text.to_owned() };
    let wrong = source.wrong_arrows();
    let rooms: Vec<&str> = wrong.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(rooms, expected, "in {text:?}");
}

#[test]
fn the_scanner_sees_a_wrong_arrow() {
    assert_wrong("src/wire/sse.rs", "use crate::backend::Client;", &["backend"]);
    assert_wrong(
        "src/wire/sse.rs",
        "use crate::{\n    model::Pin,\n    config::{A, B}, live,\n};",
        &["config", "live"],
    );
    assert_wrong("src/wire/mod.rs", "fn f() { crate::proxy::serve(); }", &["proxy"]);
    assert_wrong("src/wire/mod.rs", "pub(in crate::wire) fn f() -> super :: proxy::Body {}", &["proxy"]);
    assert_wrong("src/wire/sse.rs", "use super::super::admin;", &["admin"]);
    assert_wrong("src/app.rs", "use crate::*;", &["*"]);
    assert_wrong("src/app.rs", "use crate::nowhere::X;", &["nowhere"]);
    assert_wrong("src/proxy/mod.rs", "use crate::admin::X;", &["admin"]);
    assert_wrong("src/sim/mod.rs", "use crate::model::Engine;", &["model"]);
    assert_wrong("src/app.rs", "use crate::sim::Server;", &["sim"]);
    let after_quotes = r####"const Q: char = '"'; const S: &str = "\""; const R: &str = r#"""#; use crate::cli::X;"####;
    assert_wrong("src/app.rs", after_quotes, &["cli"]);
    assert_wrong("src/app.rs", "fn f<'a>(x: &'a str) -> X<'a> { '\\'' } /* /* */ */ use crate::cli::X;", &["cli"]);
}

#[test]
fn the_scanner_lets_a_right_arrow_pass() {
    assert_wrong("src/choose/mod.rs", "use crate::{config::Config, model, wire::{self, Body}};", &[]);
    assert_wrong("src/choose/keys.rs", "use super::pins; use crate::choose::hash;", &[]);
    assert_wrong("src/demo/mod.rs", "use crate::sim::Server;", &[]);
    assert_wrong("src/live/watch.rs", "use super::super::model::Pin;", &[]);
    assert_wrong("src/model/mod.rs", "//! See [`crate::proxy`].\nconst X: &str = \"crate::proxy\";", &[]);
    let in_tests = "#[cfg(test)]\nmod tests {\n    use crate::sim::Server;\n}";
    assert_wrong("src/backend/mod.rs", in_tests, &[]);
    assert_wrong("src/backend/tests.rs", "use crate::sim::Server;", &[]);
}
