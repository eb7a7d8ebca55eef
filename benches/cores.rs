//! Time of each of shiftgate's own steps on a request's path, measured alone: `cargo bench --bench cores`.

#![expect(clippy::unwrap_used, reason = "a bench stops where it cannot go on")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use shiftgate::api::choose::{Body, FileOnly, Request, Salts, Shares, choose};
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::guard::{Ended, FileFacts, Guard, Now, OtherSide, Side, Trial, Waiting, Weight};
use shiftgate::api::model::{Engine, Family, Percent};
use shiftgate::api::translate::answer::{Ids, Stream};
use shiftgate::api::translate::{self, AnswerSpec, Kind, Owner, TranslateInput};
use shiftgate::api::wire::endpoint::Endpoint;
use shiftgate::api::wire::observe::Observer;
use shiftgate::api::wire::scan::scan;
use shiftgate::api::wire::splice;
use shiftgate::api::wire::sse::Framer;

const EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
    \"created\":1760000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
    \"finish_reason\":null}]}\n\n";

fn rollout() -> Config {
    let text = "[rollout]\nname = \"bench\"\nbaseline = \"a\"\npercent = { b = 5.0 }\n[backend.a]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"none\"\n";
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap()
}

/// Returns a chat body of about `length` bytes, in turns of 1 KiB at most, with the model's name first.
fn chat(length: usize) -> Bytes {
    let turn = format!("{{\"role\":\"user\",\"content\":\"{}\"}}", "word ".repeat(180));
    let turns = vec![turn; (length / 1024).max(1)].join(",");
    Bytes::from(format!("{{\"model\":\"gpt-4o\",\"stream\":true,\"temperature\":0.7,\"messages\":[{turns}]}}"))
}

fn decisions(criterion: &mut Criterion) {
    let config = rollout();
    let (salts, shares) = (Salts::new(&config), Arc::new(Shares::of_file(&config)));
    let body = chat(1024);
    let scanned = scan(&body).unwrap();
    let mut keyed = HeaderMap::new();
    keyed.insert("x-session-id", HeaderValue::from_static("session-00000001"));
    let mut group = criterion.benchmark_group("decide");
    for (name, headers) in [("header", keyed), ("hash:conversation", HeaderMap::new())] {
        let request = Request {
            endpoint: &Endpoint::ChatCompletions,
            path: "/v1/chat/completions",
            query: None,
            headers: &headers,
            body: Body::Scanned(&scanned),
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| choose(&config, (&salts, &shares), black_box(&request), &FileOnly, &mut || 0));
        });
    }
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("body");
    for kib in [1, 32, 256] {
        let body = chat(kib << 10);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("scan", format!("{kib} KiB")), &body, |bencher, body| {
            bencher.iter(|| scan(black_box(body)).unwrap().stream());
        });
        group.bench_with_input(BenchmarkId::new("scan and splice", format!("{kib} KiB")), &body, |bencher, body| {
            bencher.iter(|| {
                let span = scan(black_box(body)).unwrap().model_span().unwrap();
                splice::replace(body, span, "qwen-235b-a22b")
            });
        });
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    let event = Bytes::from_static(EVENT);
    let now = Instant::now();
    let mut observer = Observer::stream();
    observer.push(&event, now);
    assert!(observer.seen.first_content.is_some(), "the timed event comes after the first content");
    group.bench_function("observe", |bencher| bencher.iter(|| observer.push(black_box(&event), now)));
    let mut framer = Framer::default();
    group.bench_function("frame", |bencher| {
        bencher.iter(|| {
            let mut length = 0;
            framer.push(black_box(&event), |data| length = data.len());
            length
        });
    });
    group.finish();
}

/// Returns a chat body of about `length` bytes as an application sends it after some turns, with tools and a
/// developer message.
fn conversation(length: usize) -> Bytes {
    let mut messages = vec![serde_json::json!({"role": "developer", "content": "You are a helpful assistant."})];
    let text = "The quick brown fox jumps over the lazy dog, again and again.\n".repeat(6);
    while messages.len() * (text.len() + 40) < length {
        messages.push(serde_json::json!({"role": "user", "content": text}));
        messages.push(serde_json::json!({"role": "assistant", "content": text, "refusal": null, "annotations": []}));
    }
    messages.push(serde_json::json!({"role": "user", "content": [{"type": "text", "text": "And now?"}]}));
    let tool = serde_json::json!({"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}}});
    let body = serde_json::json!({"model": "gpt-4o", "messages": messages, "tools": [tool], "stream": true,
        "max_completion_tokens": 400, "temperature": 0.2, "store": true, "user": "u-1"});
    Bytes::from(body.to_string())
}

/// Measures the translation of a request, without its scan. For an OpenAI baseline nothing is translated.
fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let config = rollout();
    for kib in [1, 32, 256] {
        let body = conversation(kib << 10);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let scanned = scan(&body).unwrap();
        for (place, engine) in [(0, Engine::OpenAi), (1, Engine::Vllm), (1, Engine::Tgi)] {
            let mut backend = config.backends[place].clone();
            backend.engine = engine;
            backend.family = Some(Family::Qwen3);
            let ask = TranslateInput {
                body: &body,
                scan: &scanned,
                endpoint: Endpoint::ChatCompletions,
                backend: &backend,
                is_baseline: place == 0,
                max_model_len: Some(1 << 20),
                max_input_tokens: None,
            };
            let name = format!("translate for {}", engine.as_str());
            group.bench_function(BenchmarkId::new(name, format!("{kib} KiB")), |bencher| {
                bencher.iter(|| match black_box(&ask).passes_untouched() {
                    true => body.len(),
                    false => translate::request(black_box(&ask)).unwrap().body.len(),
                });
            });
        }
    }
    group.finish();
}

/// Events in the form that each engine sends in the middle of an answer.
const TRANSLATED: [(&str, Engine, &str); 5] = [
    (
        "responses text",
        Engine::Vllm,
        r#"{"content_index":0,"delta":" word","item_id":"msg_9ddcaf88ce4d1e48","logprobs":[],"output_index":1,"sequence_number":17,"type":"response.output_text.delta"}"#,
    ),
    (
        "vllm text",
        Engine::Vllm,
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795373323,"model":"qwen-235b-a22b","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
    ),
    (
        "vllm reasoning",
        Engine::Vllm,
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795373323,"model":"qwen-235b-a22b","choices":[{"index":0,"delta":{"reasoning":" word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#,
    ),
    (
        "tgi text",
        Engine::Tgi,
        r#"{"object":"chat.completion.chunk","id":"","created":1795375856,"model":"Qwen/Qwen3-235B-A22B","system_fingerprint":"3.3.6-dev0-native","choices":[{"index":0,"delta":{"role":"assistant","content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    ),
    (
        "sglang call",
        Engine::Sglang,
        r#"{"id":"091fe478","object":"chat.completion.chunk","created":1795376061,"model":"qwen","choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":null,"tool_calls":[{"id":"call_1","index":0,"type":"function","function":{"name":"f","arguments":"{\"city\": \""}}]},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}"#,
    ),
];

fn translations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    let now = Instant::now();
    for (name, engine, data) in TRANSLATED {
        let event = format!("data: {data}\n\n");
        let kind = if name.starts_with("responses") { Kind::Responses } else { Kind::Chat };
        let mut stream =
            Stream::new(Arc::new(AnswerSpec { kind, ..answer_spec(engine) }), Ids { seed: 7, created: 1_795_000_000 });
        let mut out = BytesMut::with_capacity(64 << 10);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                stream.push(black_box(event.as_bytes()), now, &mut out);
                out.len()
            });
        });
        assert!(stream.error().is_none() && stream.seen().first_content.is_some(), "{name} is translated");
    }
    group.finish();
}

fn answer_spec(engine: Engine) -> AnswerSpec {
    AnswerSpec {
        streamed: true,
        tools: true,
        stop: vec!["END".to_owned()],
        ..AnswerSpec::new(engine, Owner::of("qwen"), Kind::Chat, "gpt-4o".to_owned())
    }
}

/// Measures a trial's part in the guard: its wait, its end, the tests. Promised: at most 0.5 µs.
fn trials(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("guard");
    let text = "[rollout]\nname = \"bench\"\nbaseline = \"a\"\npercent = { b = 5.0 }\n[backend.a]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"none\"\n[guard]\n";
    let config = config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap();
    let facts = FileFacts::of(&config, config.backend("b").unwrap()).unwrap();
    let now = Now { at: Instant::now(), time: jiff::Timestamp::UNIX_EPOCH };
    let percent = |hundredths| Percent::from_hundredths(hundredths).unwrap();
    let weight = Weight::of(percent(500), percent(9_500));
    let failed = Ended::Failed(OtherSide::Answered);
    // Failures without a key: each counts, where a filter full of a bench's keys would pass all over.
    for (name, side, ended, has_key) in [
        ("good trial of the candidate", Side::Candidate, Ended::Answered, true),
        ("good trial of the baseline", Side::Baseline, Ended::Answered, true),
        ("counted failure of the baseline", Side::Baseline, failed, false),
    ] {
        let mut guard = Guard::new(facts.clone(), 0, now);
        let mut waiting = Waiting::default();
        // Others wait beside it, and keys differ.
        for _ in 0..100 {
            assert!(waiting.watch(now.at, facts.errors.overdue, true, ()).is_ok());
        }
        let mut key = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let trial = Trial { side, weight, key: has_key.then_some(key), epoch: guard.drawn().unwrap() };
                let ticket = waiting.watch(now.at, facts.errors.overdue, true, ()).unwrap();
                waiting.take(black_box(ticket));
                guard.trial(black_box(&trial), ended, now).len()
            });
        });
    }
    group.finish();
}

criterion_group!(cores, decisions, bodies, events, requests, trials, translations);
criterion_main!(cores);
