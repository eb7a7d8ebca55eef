//! Answers of real servers, and of every row of the table, made OpenAI's: `tests/data/*.jsonl` as recorded,
//! `tests/data/answers/` as the table has it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod cases;
mod recordings;
mod schema;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use serde_json::Value;
use shiftgate::api::model::Engine;
use shiftgate::api::translate::answer::{Ending, Ids, Stream};
use shiftgate::api::translate::{AnswerSpec, Kind, Owner};

const IDS: Ids = Ids { seed: 7, created: 1_795_000_000 };
/// Of a second run: what the first one gave is kept.
const OTHER_IDS: Ids = Ids { seed: 8, created: 1_796_000_000 };
const MODEL: &str = "gpt-4o";

fn wants(engine: Engine) -> AnswerSpec {
    AnswerSpec::new(engine, Owner::of("qwen"), Kind::Chat, MODEL.to_owned())
}

/// What a stream became.
struct Run {
    stream: Stream,
    text: String,
    ending: Ending,
}

fn run(wants: &AnswerSpec, ids: Ids, chunks: &[&[u8]]) -> Run {
    let mut stream = Stream::new(Arc::new(wants.clone()), ids);
    let mut out = BytesMut::new();
    for chunk in chunks {
        stream.push(chunk, Instant::now(), &mut out);
    }
    let ending = stream.end(&mut out);
    Run { stream, text: String::from_utf8_lossy(&out).into_owned(), ending }
}

/// The data of each event; `[DONE]` as a text.
fn events(text: &str) -> Vec<Value> {
    let events = text.split_terminator("\n\n").map(|event| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("{event:?}"));
        if data == "[DONE]" { Value::from(data) } else { serde_json::from_str(data).unwrap() }
    });
    events.collect()
}
