//! The rows of the table of answers, one or more cases each.
//!
//! A case has the `row` it is of, an `engine`, what the application `wants` where that is not the usual, an answer
//! (`whole`, or a `stream` of deltas), and what it `is` afterwards: a value for each pointer, or the deltas that leave.
//! `{call:0:1}` stands for our id of the choice's second call.

use serde::Deserialize;
use serde_json::{Value, json};
use shiftgate::api::config::ReasoningPolicy;
use shiftgate::api::model::Engine;
use shiftgate::api::translate::answer::{Ending, Notes, Unusable, refusal, whole};
use shiftgate::api::translate::{AnswerSpec, Kind, Owner, call_id};

use super::{IDS, OTHER_IDS, Run, events, run, schema, wants};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    row: String,
    engine: String,
    #[serde(default)]
    wants: Value,
    whole: Option<Value>,
    stream: Option<Vec<Value>>,
    /// A body that came with this status.
    refused: Option<(u16, Value)>,
    is: Option<Value>,
    /// The status of the error that it becomes, its code, and whether the client is to blame.
    error: Option<Failure>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    broke: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    status: u16,
    code: Option<String>,
    #[serde(default)]
    unusable: bool,
}

const FILES: [&str; 4] = [
    include_str!("../data/answers/whole.jsonl"),
    include_str!("../data/answers/streams.jsonl"),
    include_str!("../data/answers/errors.jsonl"),
    include_str!("../data/answers/responses.jsonl"),
];

impl Case {
    fn wants(&self) -> AnswerSpec {
        let engine = Engine::ALL.into_iter().find(|engine| engine.as_str() == self.engine).unwrap();
        let usual = wants(engine);
        for name in self.wants.as_object().into_iter().flat_map(|fields| fields.keys()) {
            assert!(KNOWN.contains(&name.as_str()), "{}: {name}", self.row);
        }
        let is = |name: &str| self.wants[name] == true;
        let stop = self.wants["stop"].as_array().into_iter().flatten();
        AnswerSpec {
            kind: if self.wants["kind"] == "responses" { Kind::Responses } else { Kind::Chat },
            streamed: self.stream.is_some(),
            usage_chunk: is("usage_chunk"),
            reasoning: match self.wants["reasoning"].as_str() {
                Some("reasoning_content") => ReasoningPolicy::ReasoningContent,
                Some("reasoning") => ReasoningPolicy::Reasoning,
                Some("both") => ReasoningPolicy::Both,
                _ => ReasoningPolicy::Strip,
            },
            thinking_off: is("thinking_off"),
            tools: is("tools"),
            functions: is("functions"),
            forced: is("forced"),
            one_call: is("one_call"),
            choices: self.wants["choices"].as_u64().unwrap_or(usual.choices),
            stop: stop.map(|stop| stop.as_str().unwrap().to_owned()).collect(),
            ..usual
        }
    }

    #[track_caller]
    fn check(&self) {
        if let Some((status, body)) = &self.refused {
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let said = refusal(self.wants().engine, *status, body.as_bytes());
            self.failed(&said);
        } else if let Some(answer) = &self.whole {
            self.check_whole(answer);
        } else {
            self.check_stream(self.stream.as_ref().unwrap());
        }
    }

    #[track_caller]
    fn failed(&self, said: &shiftgate::api::translate::answer::BackendError) {
        let expected = self.error.as_ref().unwrap_or_else(|| panic!("{}: {said:?}", self.row));
        assert_eq!(
            (said.status, said.error.code.as_deref(), said.unusable),
            (expected.status, expected.code.as_deref(), expected.unusable),
            "{}",
            self.row
        );
        let told = serde_json::from_slice(&said.error.to_json()).unwrap();
        schema::error(&told);
        self.check_pointers(&told);
    }

    #[track_caller]
    fn check_pointers(&self, told: &Value) {
        for (pointer, expected) in self.is.as_ref().and_then(Value::as_object).into_iter().flatten() {
            let found = told.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(found, filled(expected), "{}: {pointer}", self.row);
        }
    }

    #[track_caller]
    fn check_whole(&self, answer: &Value) {
        let wants = self.wants();
        match whole(&wants, &IDS, answer.to_string().as_bytes()) {
            Ok(made) => {
                assert!(self.error.is_none(), "{}: {}", self.row, String::from_utf8_lossy(&made.body));
                let told: Value = serde_json::from_slice(&made.body).unwrap();
                match wants.kind {
                    Kind::Chat if wants.reasoning == ReasoningPolicy::Strip => schema::chat(&told, &wants),
                    Kind::Responses => schema::response(&told, &wants),
                    Kind::Chat | Kind::Completions => {}
                }
                self.check_pointers(&told);
                self.check_notes(made.notes);
                let again = whole(&wants, &OTHER_IDS, &made.body).unwrap();
                assert_eq!(again.body, made.body, "{}: again", self.row);
            }
            Err(Unusable::Error(said)) => self.failed(&said),
            Err(Unusable::Garbled(why)) => assert_eq!(self.is, Some(Value::from(why)), "{}", self.row),
        }
    }

    #[track_caller]
    fn check_stream(&self, deltas: &[Value]) {
        let wants = self.wants();
        let text: String = deltas.iter().map(|delta| event(delta, wants.kind)).collect();
        let made = run(&wants, IDS, &[text.as_bytes()]);
        let found = events(&made.text);
        let ending = match (&self.error, self.broke) {
            (None, false) => Ending::Complete,
            (None, true) => Ending::Broke,
            (Some(_), _) => Ending::Failed,
        };
        assert_eq!(made.ending, ending, "{}: {}", self.row, made.text);
        if let Some(said) = made.stream.error() {
            let expected = self.error.as_ref().unwrap();
            assert_eq!((said.status, said.error.code.as_deref()), (expected.status, expected.code.as_deref()));
        }
        self.check_events(&found, &wants);
        self.check_notes(made.stream.notes());
        self.check_again(&made, &wants);
    }

    #[track_caller]
    fn check_events(&self, found: &[Value], wants: &AnswerSpec) {
        if wants.kind == Kind::Chat {
            let expected: Vec<Value> = self.is.as_ref().and_then(Value::as_array).unwrap().iter().map(filled).collect();
            let short: Vec<Value> = found.iter().map(shortened).collect();
            assert_eq!(short, expected, "{}", self.row);
        } else {
            self.check_pointers(&Value::from(found.to_vec()));
        }
        let is_whole = self.error.is_none() && !self.broke && wants.reasoning == ReasoningPolicy::Strip;
        if is_whole && wants.kind == Kind::Chat {
            schema::chat_stream(found, wants);
        }
    }

    #[track_caller]
    fn check_again(&self, made: &Run, wants: &AnswerSpec) {
        if made.ending == Ending::Complete {
            assert_eq!(run(wants, OTHER_IDS, &[made.text.as_bytes()]).text, made.text, "{}: again", self.row);
        }
    }

    #[track_caller]
    fn check_notes(&self, notes: Notes) {
        let found: Vec<&str> = notes.iter().map(|note| note.as_str()).collect();
        assert_eq!(found, self.notes, "{}", self.row);
    }
}

const KNOWN: [&str; 10] =
    ["kind", "usage_chunk", "reasoning", "thinking_off", "tools", "functions", "forced", "one_call", "stop", "choices"];

/// An event as a server writes it; what has no choices of its own is a delta.
fn event(told: &Value, kind: Kind) -> String {
    if let Some(raw) = told.as_str() {
        return if raw.starts_with(':') { format!("{raw}\n\n") } else { format!("data: {raw}\n\n") };
    }
    if kind == Kind::Responses || told.get("choices").is_some() || told.get("error").is_some() {
        return format!("data: {told}\n\n");
    }
    let chunk = json!({
        "id": "own", "object": "chat.completion.chunk", "created": 1_795_373_323, "model": "qwen",
        "choices": [{
            "index": told.get("index").cloned().unwrap_or_else(|| json!(0)),
            "delta": told["delta"], "logprobs": told["logprobs"], "finish_reason": told["finish"],
        }],
    });
    format!("data: {chunk}\n\n")
}

/// What of an event a case is about.
fn shortened(event: &Value) -> Value {
    let Some(choice) = event.pointer("/choices/0") else {
        return match event.get("choices") {
            Some(_) => json!({"usage": event["usage"]}),
            None => event.clone(),
        };
    };
    let mut short = json!({"delta": choice["delta"]});
    if choice["index"] != 0 {
        short["index"] = choice["index"].clone();
    }
    for (name, field) in [("finish", "finish_reason"), ("logprobs", "logprobs")] {
        if !choice[field].is_null() {
            short[name] = choice[field].clone();
        }
    }
    short
}

fn filled(expected: &Value) -> Value {
    let mut text = expected.to_string();
    for (choice, place) in [(0, 0), (0, 1), (1, 0)] {
        let id = call_id(Owner::of("qwen"), IDS.seed, choice, place);
        text = text.replace(&format!("{{call:{choice}:{place}}}"), &id);
    }
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_row() {
    let lines: Vec<&str> = FILES.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty()).collect();
    let read =
        |line: &&str| -> Case { serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}")) };
    let cases: Vec<Case> = lines.iter().map(read).collect();
    // All of them are tried: one wrong rule shows by which rows it touches.
    let wrong = cases.iter().filter(|case| std::panic::catch_unwind(|| case.check()).is_err());
    let wrong: Vec<&str> = wrong.map(|case| case.row.as_str()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases.len() > 150, "{}", cases.len());
}
