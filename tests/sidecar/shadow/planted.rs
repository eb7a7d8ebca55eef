//! Planted differences: each is in the record of its pair and in no other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use shiftgate::api::sim::{self, Difference, Differences, Form, SimConfig, Wire};

use super::*;

/// Requests of a usual run; `SHIFTGATE_PLANTED_REQUESTS` makes it longer. Each is two pairs.
const REQUESTS: usize = 1000;
/// Requests whose pairs may be under way at once. The pairs of them fit in the queue of comparisons.
const AT_ONCE: usize = 16;
/// Pairs that the reference scores again.
const RECOMPUTED: &str = "500";
const FORMS: [Form; 4] = [Form::Text, Form::Tools, Form::Json, Form::Schema];

/// A request for an answer of this form.
fn request(number: usize, form: Form) -> (String, String) {
    let stream = (number / 4).is_multiple_of(2);
    let text = match form {
        Form::Text => format!("Question {number}: what would you do?"),
        Form::Tools if number.is_multiple_of(3) => format!("Question {number}: the weather in both cities?"),
        Form::Tools => format!("Question {number}: the weather?"),
        Form::Json => format!("Question {number}: which city? As JSON."),
        Form::Schema => format!("Question {number}: which city?"),
    };
    let tool = |name: &str, field: &str| {
        let parameters =
            json!({"type": "object", "properties": {field: {"type": "string"}, "days": {"type": "integer"}}});
        json!({"type": "function", "function": {"name": name, "parameters": parameters}})
    };
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    let more = match form {
        Form::Text => json!({}),
        Form::Tools => json!({"tools": [tool("weather", "city"), tool("forecast", "place")]}),
        Form::Json => json!({"response_format": {"type": "json_object"}}),
        Form::Schema => {
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}})
        }
    };
    let mut body = json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": text}]});
    body.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    (text, body.to_string())
}

/// Words enough for a text that is not compared as a label.
fn planted(seed: u64, share: f64) -> Behaviour {
    let differences = Differences { seed, share, ..Differences::default() };
    Behaviour { tokens: (12, 24), differences, ..Behaviour::default() }
}

/// A file whose copies go to all of `receivers`, with everything written to `records`.
fn copied_to(openai: &Sim, qwen: &Sim, receivers: &[(&str, &str, &Sim)], noise: u8, records: &Path) -> String {
    let names: Vec<String> = receivers.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let backend = |(name, engine, sim): &(&str, &str, &Sim)| {
        let family = if *engine == "openai" { "" } else { "family = \"qwen3\"\n" };
        format!("[backend.{name}]\nengine = \"{engine}\"\nurl = \"{}\"\napi_key = \"none\"\n{family}", sim.url())
    };
    let backends: String = receivers.iter().filter(|(name, ..)| *name != "qwen").map(backend).collect();
    let text = shadowed(openai, qwen, 0.0, "qwen", "max_in_flight = 1000")
        .replace("to = \"qwen\"", &format!("to = [{}]", names.join(", ")))
        .replace("noise_percent = 0", &format!("noise_percent = {noise}"));
    format!("[records]\npath = \"{}\"\ncontent = true\n{text}{backends}", records.display())
}

/// Sends the requests, and waits for their pairs.
async fn send(running: &Running, requests: Vec<String>, receivers: usize) {
    let mut sent = 0;
    for some in requests.chunks(AT_ONCE) {
        let address = running.address();
        let asked = some.iter().map(|body| {
            let request = post("/v1/chat/completions", body, "");
            tokio::spawn(async move { raw(address, &request).await.status })
        });
        for status in asked.collect::<Vec<_>>() {
            assert_eq!(status.await.unwrap(), 200);
        }
        sent += some.len() * receivers;
        let ended = |status: &Value| {
            let copies = status["shadow"]["copies"].as_array().unwrap();
            let unsent = |one: &Value| sum(&one["requests"]) - one["requests"]["sent"].as_u64().unwrap();
            copies.iter().map(|one| sum(&one["pairs"]) + unsent(one)).sum::<u64>()
        };
        until_status(running, |status| ended(status) >= sent as u64).await;
    }
}

/// The fields of a record by which a difference shows: kind, mode, `finish_equal`, `tools_equal`, `script_equal`, and the
/// candidate's `json_valid` and `schema_valid`.
fn signs(record: &Value) -> [Value; 7] {
    let (scores, candidate) = (&record["scores"], &record["candidate"]);
    [
        scores["kind"].clone(),
        candidate["mode"].clone(),
        scores["finish_equal"].clone(),
        scores["tools_equal"].clone(),
        scores["script_equal"].clone(),
        candidate["json_valid"].clone(),
        candidate["schema_valid"].clone(),
    ]
}

/// The signs that the answer has to have.
fn expected(form: Form, difference: Option<Difference>, has_refusals: bool) -> [Value; 7] {
    let (yes, no, null) = (json!(true), json!(false), Value::Null);
    let [kind, mode, tools, script, json_valid, schema_valid] = match form {
        Form::Text => [json!("text"), json!("text"), null.clone(), yes.clone(), null.clone(), null.clone()],
        Form::Tools => [json!("tools"), json!("tools"), yes.clone(), null.clone(), null.clone(), null.clone()],
        Form::Json => [json!("json"), json!("json"), null.clone(), yes.clone(), yes.clone(), null.clone()],
        Form::Schema => [json!("json"), json!("json"), null.clone(), yes.clone(), yes.clone(), yes.clone()],
    };
    let is_json = matches!(form, Form::Json | Form::Schema);
    let (unparsed, called) = (if is_json { no.clone() } else { null.clone() }, form == Form::Tools);
    match difference {
        None | Some(Difference::OtherWords) => [kind, mode, yes, tools, script, json_valid, schema_valid],
        Some(Difference::WrongTool) => [kind, mode, yes, no, script, json_valid, schema_valid],
        Some(Difference::Chinese) => [kind, mode, yes, tools, no, json_valid, schema_valid],
        Some(Difference::SchemaViolation) => [kind, mode, yes, tools, script, json_valid, no],
        Some(Difference::BrokenJson) => [kind, json!("text"), yes, tools, script, unparsed, null],
        Some(Difference::Truncation) => [kind, json!("cut"), no, tools, script, unparsed, null],
        Some(Difference::Refusal) if has_refusals => {
            let tools = if called { no } else { null.clone() };
            [json!("refusal"), json!("refusal"), json!(!called), tools, null.clone(), null.clone(), null]
        }
        Some(Difference::Refusal) => {
            let (tools, script) = if called { (no, null.clone()) } else { (null.clone(), yes) };
            [kind, json!("text"), json!(!called), tools, script, unparsed, null]
        }
    }
}

/// Checks a record against what was planted in its candidate.
fn check(record: &Value, form: Form, planted: Option<Difference>, has_refusals: bool) {
    let mut signs = signs(record);
    // A few letters of JSON are too short for a script.
    if record["scores"]["null"]["script_equal"] == "too_short" {
        signs[4] = Value::Bool(true);
    }
    assert_eq!(signs, expected(form, planted, has_refusals), "{form:?} {planted:?}: {record}");
    let agreement = record["scores"]["agreement"].as_f64().unwrap();
    assert_eq!(agreement < 1.0, planted.is_some(), "{form:?} {planted:?}: {record}");
    let is_hard = matches!(planted, Some(Difference::BrokenJson | Difference::SchemaViolation));
    assert!(!is_hard || agreement == 0.0, "{record}");
    let is_refused = planted == Some(Difference::Refusal) && has_refusals;
    assert_eq!(record["candidate"]["refused"], is_refused, "{record}");
    for side in ["baseline", "noise"] {
        let leg = &record[side];
        assert_eq!((&leg["outcome"], &leg["refused"]), (&"ok".into(), &false.into()), "{record}");
    }
    // The same backend, asked twice.
    assert_eq!(record["floor"]["agreement"], 1.0, "{record}");
}

/// Scores records again by the reference, where there is a Python for it.
#[expect(clippy::print_stderr, reason = "a test that cannot check everything says so")]
fn recompute(records: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/records.py");
    let run = Command::new("python3").arg("-B").arg(script).arg(records).args([RECOMPUTED, "16"]).output();
    match run {
        Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr)),
        Err(error) => eprintln!("python3 is not there ({error}): the records are not scored again"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_difference_is_in_its_record_and_in_no_other() {
    let requests = std::env::var("SHIFTGATE_PLANTED_REQUESTS").map_or(REQUESTS, |count| count.parse().unwrap());
    let (openai, qwen) = pair(planted(1, 0.5)).await;
    openai.set(planted(0, 0.0));
    let gpt = sim::start(SimConfig::new(Wire::OpenAi), planted(2, 0.5)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let receivers = [("qwen", "vllm", &qwen), ("gpt", "openai", &gpt)];
    let running = launch(&copied_to(&openai, &qwen, &receivers, 100, &path), false).await;
    let asked: Vec<(Form, (String, String))> = FORMS
        .into_iter()
        .cycle()
        .enumerate()
        .take(requests)
        .map(|(number, form)| (form, request(number, form)))
        .collect();
    send(&running, asked.iter().map(|(_, (_, body))| body.clone()).collect(), receivers.len()).await;
    let forms: BTreeMap<&str, Form> = asked.iter().map(|(form, (text, _))| (text.as_str(), *form)).collect();
    let records = until_records(&path, 2 * requests).await;
    assert_eq!(records.len(), 2 * requests);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in &records {
        let messages = &record["content"]["request"]["messages"];
        let text = messages[0]["content"].as_str().unwrap();
        let has_refusals = record["candidate"]["engine"] == "openai";
        let differences = planted(if has_refusals { 2 } else { 1 }, 0.5).differences;
        let difference = differences.planted(text, forms[text]);
        check(record, forms[text], difference, has_refusals);
        *counts.entry(format!("{difference:?}")).or_default() += 1;
    }
    assert_eq!(counts.len(), Difference::ALL.len() + 1, "{counts:?}");
    recompute(&path);
}

#[tokio::test]
async fn every_engine_agrees_where_nothing_is_planted() {
    let (openai, qwen) = pair(planted(0, 0.0)).await;
    openai.set(planted(0, 0.0));
    let mut sims = Vec::new();
    for wire in Wire::ALL {
        sims.push((wire.as_str(), Arc::new(sim::start(SimConfig::new(wire), planted(0, 0.0)).await.unwrap())));
    }
    let names: Vec<String> = sims.iter().map(|(name, _)| format!("as-{name}")).collect();
    let receivers: Vec<(&str, &str, &Sim)> =
        names.iter().zip(&sims).map(|(name, (engine, sim))| (name.as_str(), *engine, sim.as_ref())).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let running = launch(&copied_to(&openai, &qwen, &receivers, 0, &path), false).await;
    let asked: Vec<String> = (0..8).map(|number| request(number, FORMS[number % 4]).1).collect();
    send(&running, asked, receivers.len()).await;
    let status = running.status().await;
    let copies = status["shadow"]["copies"].as_array().unwrap();
    let compared: u64 = copies.iter().map(|one| one["pairs"]["compared"].as_u64().unwrap()).sum();
    // The common server takes no schema.
    assert_eq!(compared, 8 * receivers.len() as u64 - 2, "{:#}", status["shadow"]);
    for record in until_records(&path, compared as usize).await {
        assert_eq!(record["scores"]["agreement"], 1.0, "{record}");
        assert_eq!(record["baseline"]["mode"], record["candidate"]["mode"], "{record}");
    }
}
