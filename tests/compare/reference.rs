//! Random pairs against the reference, and what holds for all pairs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use shiftgate::api::compare::{AskedSchema, Kind};

use super::generate::Generator;
use super::{Compared, Given, Request, compare};

/// Answers of the vectors; without the two of 40,000 characters, which slow the reference down.
fn known() -> Vec<Given> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../data/agreement.json")).unwrap();
    let sides = vectors.into_iter().flat_map(|vector| [vector["ref"].clone(), vector["cand"].clone()]);
    let given = sides.map(|side| serde_json::from_value::<Given>(side).unwrap());
    given.filter(|given| given.text.as_ref().is_none_or(|text| text.len() < 10_000)).collect()
}

fn pairs(seed: u64, count: usize) -> impl Iterator<Item = (Request, Given, Given)> {
    let mut generator = Generator::new(seed, known());
    (0..count).map(move |_| {
        let reference = generator.answer(None);
        let candidate = generator.answer(Some(&reference));
        (generator.request(), reference, candidate)
    })
}

fn compared(request: &Request, reference: &Given, candidate: &Given) -> Compared {
    compare(request, AskedSchema::None, reference, candidate)
}

/// Runs by hand: `cargo test --test compare -- --ignored`. `SHIFTGATE_PAIRS` is the number of pairs.
#[test]
#[ignore = "needs Python and takes minutes"]
fn random_pairs_score_as_the_reference_does() {
    let count = std::env::var("SHIFTGATE_PAIRS").map_or(5_000, |count| count.parse().unwrap());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/agreement.py");
    let mut python = Command::new("python3").arg(script).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = python.stdin.take().unwrap();
    for (request, reference, candidate) in pairs(1, count) {
        let Compared { scores, modes, .. } = compared(&request, &reference, &candidate);
        let line = json!({
            "request": request, "ref": reference, "cand": candidate, "kind": scores.kind, "modes": modes,
            "agreement": scores.agreement.ok(), "null": scores.agreement.err(),
        });
        if writeln!(lines, "{line}").is_err() {
            break;
        }
    }
    drop(lines);
    assert!(python.wait().unwrap().success());
}

#[test]
fn every_pair_has_a_value_in_its_range_or_a_reason() {
    for (request, reference, candidate) in pairs(2, 1_000) {
        let scores = compared(&request, &reference, &candidate).scores;
        for (name, score) in [
            ("agreement", scores.agreement),
            ("similarity", scores.similarity),
            ("json_score", scores.json_score),
            ("tool_names", scores.tool_names),
        ] {
            assert!(
                score.is_err() || (0.0..=1.0).contains(&score.unwrap()),
                "{name} {score:?} {reference:?} {candidate:?}"
            );
        }
        let record = serde_json::to_value(&scores).unwrap();
        for (name, value) in record.as_object().unwrap().iter().filter(|(name, _)| *name != "null" && *name != "kind") {
            assert_eq!(value.is_null(), record["null"].get(name).is_some(), "{name} {record}");
        }
    }
}

#[test]
fn an_answer_agrees_with_itself() {
    for (request, reference, _) in pairs(3, 1_000) {
        let scores = compared(&request, &reference, &reference).scores;
        assert!(scores.agreement.is_err() || scores.agreement == Ok(1.0), "{scores:?} {reference:?}");
        assert!(scores.exact.unwrap_or(true) && scores.finish_equal.unwrap_or(true), "{scores:?}");
        assert!(scores.tools_equal.unwrap_or(true) && scores.script_equal.unwrap_or(true), "{scores:?}");
    }
}

#[test]
fn agreement_is_symmetric_within_a_kind() {
    for (request, reference, candidate) in pairs(4, 1_000) {
        let there = compared(&request, &reference, &candidate).scores;
        let back = compared(&request, &candidate, &reference).scores;
        if let (Some(kind), Ok(x), Ok(y)) = (there.kind, there.agreement, back.agreement)
            && back.kind == Some(kind)
        {
            // A short reference is compared as a label, whatever the candidate is.
            let tolerance = if kind == Kind::Short { 0.0 } else { 1e-12 };
            assert!((x - y).abs() <= tolerance, "{x} {y} {reference:?} {candidate:?}");
        }
    }
}
