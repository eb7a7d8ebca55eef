//! The house rules that no compiler checks: which room may import which, no circles inside a room, and the shape of
//! every file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its shared steps too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod circles;
mod scanner;

use scanner::{Source, code};

/// Rooms in the order in which they may import: from earlier steps only.
const STEPS: &[&[&str]] = &[
    &["model"],
    &["config", "wire"],
    &["translate", "compare", "guard"],
    &["choose", "health", "stats"],
    &["outcome", "records"],
    &["telemetry", "report"],
    &["backend"],
    &["exchange", "live"],
    &["fleet", "rollback", "shadow"],
    &["proxy", "admin", "otlp"],
    &["app"],
    &["demo"],
    &["cli"],
];

/// Imports no other room, so that the simulators cannot share a mistake with the code under test. Only [`SIMULATES`]
/// and tests import it.
const SIMULATOR: &str = "sim";
const SIMULATES: &str = "demo";

/// Rooms that may use `ArcSwap`: `live` swaps the snapshot, the simulator its own behaviour.
const SWAP: [&str; 2] = ["live", SIMULATOR];

/// Lines of a file without its tests.
/// Re-exports what tests, benches and examples use; imports every room and is imported by none.
const FACADE: &str = "api";

const MAX_LINES: usize = 500;

/// Returns every import of this file that the order of rooms forbids.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    let (shipped, tests) = source.parts();
    let mut wrong = Vec::new();
    for (part, in_tests) in [(shipped, false), (tests, true)] {
        let anchored = source.paths(part).into_iter().filter(|path| path.is_anchored);
        let rooms: BTreeSet<String> = anchored.filter_map(|path| path.names.into_iter().next()).collect();
        for room in rooms {
            if room != module[0] && !may_import(module[0], &room, in_tests) {
                wrong.push(format!("{}: {} may not import {room}", source.path.display(), module[0]));
            }
        }
    }
    wrong
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

/// Reads every file of every room, without the roots `lib.rs` and `main.rs` and the façade.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    sources.retain(|source| !["lib", "main", FACADE].contains(&source.module()[0]));
    // Every rule would pass on an empty walk.
    assert!(sources.len() > STEPS.len(), "only {} files under src", sources.len());
    sources
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_room_imports_what_is_right_of_it() {
    let wrong: Vec<String> = sources().iter().flat_map(wrong_arrows).collect();
    assert_none(&wrong);
}

#[test]
fn every_room_of_the_library_has_its_step() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub").trim_start_matches("(crate)").trim_start().strip_prefix("mod ")
        })
        .filter_map(|rest| rest.strip_suffix(';'))
        .filter(|name| *name != FACADE)
        .collect();
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
    let wrong = wrong_arrows(&source);
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
