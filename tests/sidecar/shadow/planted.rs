//! Planted differences: each is in the record of its pair and in no other, and the report counts it.

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
/// Share of the candidates' answers that differ: enough of each difference for a verdict.
const SHARE: f64 = 0.8;
/// Time to the first token of the baseline; the slow candidate's is 30 % longer.
const TTFT: Duration = Duration::from_millis(50);
const SLOW: f64 = 1.3;
/// Seeds of the differences in the candidates' answers. With them each difference occurs at least [`LEAST`] times.
const SEEDS: [u64; 2] = [7, 4];
/// Number of differences of 1,000 pairs from which on the verdict names them in every order of the keys, which are random.
const LEAST: u64 = 40;
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
    let text = shadowed(openai, qwen, 0.0, "qwen", "max_in_flight = 1000\nbudget_usd_per_hour = 100000.0")
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
        Some(Difference::Empty) => [json!("empty"), json!("empty"), yes, tools, null.clone(), null.clone(), null],
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

/// Counts of what a report calls the signs of answers.
#[derive(Default)]
struct Planted(BTreeMap<&'static str, u64>);

impl Planted {
    fn add(&mut self, difference: Option<Difference>, form: Form, has_refusals: bool) {
        let [_, mode, _, tools, script, json_valid, schema_valid] = expected(form, difference, has_refusals);
        let no = Value::Bool(false);
        for (name, is_planted) in [
            ("failed", false),
            ("refused", mode == "refusal"),
            ("empty", mode == "empty"),
            ("cut", mode == "cut"),
            ("json_broken", json_valid == no),
            ("schema_broken", schema_valid == no),
            ("script", script == no),
            ("agreement:tools", tools == no),
        ] {
            *self.0.entry(name).or_default() += u64::from(is_planted);
        }
    }

    /// Checks a row of a report against what was planted in it.
    fn check(&self, row: &Value) {
        let checks = row["checks"].as_array().unwrap().iter();
        let mut found: BTreeMap<&str, u64> =
            checks.clone().map(|of| (of["check"].as_str().unwrap(), of["candidate_only"].as_u64().unwrap())).collect();
        found.insert("agreement:tools", row["flips"]["tools"]["count"].as_u64().unwrap());
        assert_eq!(found, self.0, "{row:#}");
        assert!(checks.clone().all(|of| of["both"] == 0 && of["baseline_only"] == 0), "{row:#}");
        let why: Vec<&str> = row["why"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        for (name, count) in &self.0 {
            assert!(*count == 0 || *count >= LEAST, "{name} occurs {count} times: take other seeds");
            assert_eq!(why.contains(name), *count > 0, "{name} in {why:?} of {row:#}");
        }
        let kinds = row["kinds"].as_array().unwrap().iter();
        for kind in kinds {
            // The baseline itself refuses nothing and leaves nothing empty.
            let is_candidates = ["empty", "refusal"].map(|name| json!(name)).contains(&kind["kind"]);
            assert_eq!(kind["floor"]["agreement"], if is_candidates { Value::Null } else { json!(1.0) }, "{kind}");
            assert!(kind["agreement"].as_f64().unwrap() < 1.0, "{kind}");
        }
    }
}

/// Reads the report of the built binary on records: of `pairs` pairs, in a row for each candidate.
fn check_report(records: &Path, pairs: usize, planted: &BTreeMap<&str, Planted>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
    let run = command.current_dir(records.parent().unwrap()).args(["report", "--json"]).arg(records).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&report["lines"]["pairs"], report["rows"].as_array().unwrap().len()), (&json!(pairs), planted.len()));
    for row in report["rows"].as_array().unwrap() {
        planted[row["candidate"].as_str().unwrap()].check(row);
        let notes: Vec<&Value> = row["notes"].as_array().unwrap().iter().map(|note| &note["note"]).collect();
        let is_qwen = row["candidate"] == "qwen";
        assert_eq!(notes.contains(&&json!("dearer")), is_qwen, "{notes:?} of {row:#}");
        // On a busy machine every copy is slower, and the wait for a core hides by how much.
        let is_busy = row["ttft_ms"]["baseline"]["p50"].as_f64().unwrap() > 2.0 * TTFT.as_secs_f64() * 1e3;
        assert!(notes.contains(&&json!("slower")) || !is_qwen || is_busy, "{notes:?} of {row:#}");
    }
    for route in report["routes"].as_array().unwrap() {
        assert_eq!(route["verdict"], "not_ready");
        assert!(route["says"].as_str().unwrap().starts_with("not ready because "), "{route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_planted_difference_is_in_its_record_and_in_no_other() {
    let requests = std::env::var("SHIFTGATE_PLANTED_REQUESTS").map_or(REQUESTS, |count| count.parse().unwrap());
    let (openai, qwen) = pair(Behaviour { ttft: TTFT.mul_f64(SLOW), ..planted(SEEDS[0], SHARE) }).await;
    openai.set(Behaviour { ttft: TTFT, ..planted(0, 0.0) });
    let same_pace = Behaviour { ttft: TTFT, ..planted(SEEDS[1], SHARE) };
    let gpt = sim::start(SimConfig::new(Wire::OpenAi), same_pace).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let receivers = [("qwen", "vllm", &qwen), ("gpt", "openai", &gpt)];
    let file = copied_to(&openai, &qwen, &receivers, 100, &path);
    let price = |of: f64| format!("price = {{ input = {of:?}, output = {:?} }}\n", 4.0 * of);
    let file = file
        .replacen("api_key = \"client\"\n", &format!("api_key = \"client\"\n{}", price(1.0)), 1)
        .replacen("family = \"qwen3\"\n", &format!("family = \"qwen3\"\n{}", price(2.0)), 1)
        .replacen("[backend.gpt]\n", &format!("[backend.gpt]\n{}", price(1.0)), 1);
    let running = launch(&file, false).await;
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
    let mut by_candidate: BTreeMap<&str, Planted> = BTreeMap::new();
    for record in &records {
        let messages = &record["content"]["request"]["messages"];
        let text = messages[0]["content"].as_str().unwrap();
        let has_refusals = record["candidate"]["engine"] == "openai";
        let differences = planted(SEEDS[usize::from(has_refusals)], SHARE).differences;
        let difference = differences.planted(text, forms[text]);
        check(record, forms[text], difference, has_refusals);
        let candidate = record["candidate"]["backend"].as_str().unwrap();
        by_candidate.entry(candidate).or_default().add(difference, forms[text], has_refusals);
        *counts.entry(format!("{difference:?}")).or_default() += 1;
    }
    assert_eq!(counts.len(), Difference::ALL.len() + 1, "{counts:?}");
    recompute(&path);
    check_report(&path, records.len(), &by_candidate);
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
