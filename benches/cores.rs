//! The parts of a request's way that are shiftgate's own, each alone: `cargo bench --bench cores`.

#![expect(clippy::unwrap_used, reason = "a bench stops where it cannot go on")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use shiftgate::config::{self, Config, Secrets};
use shiftgate::split::{Body, Known, Request, Tables, decide};
use shiftgate::wire::endpoint::Endpoint;
use shiftgate::wire::observe::Observer;
use shiftgate::wire::scan::scan;
use shiftgate::wire::splice;
use shiftgate::wire::sse::Framer;

const EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
    \"created\":1760000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
    \"finish_reason\":null}]}\n\n";

fn rollout() -> Config {
    let text = "[rollout]\nname = \"bench\"\nbaseline = \"a\"\npercent = { b = 5.0 }\n[backend.a]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"none\"\n";
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap()
}

/// A conversation of turns of 1 KiB at most, as applications send them: the model's name in front.
fn chat(length: usize) -> Bytes {
    let turn = format!("{{\"role\":\"user\",\"content\":\"{}\"}}", "word ".repeat(180));
    let turns = vec![turn; (length / 1024).max(1)].join(",");
    Bytes::from(format!("{{\"model\":\"gpt-4o\",\"stream\":true,\"temperature\":0.7,\"messages\":[{turns}]}}"))
}

fn decisions(criterion: &mut Criterion) {
    let config = rollout();
    let tables = Tables::new(&config);
    let body = chat(1024);
    let scanned = scan(&body).unwrap();
    let mut keyed = HeaderMap::new();
    keyed.insert("x-session-id", HeaderValue::from_static("session-00000001"));
    let mut group = criterion.benchmark_group("decide");
    for (name, headers) in [("header", keyed), ("hash:conversation", HeaderMap::new())] {
        let request = Request {
            endpoint: &Endpoint::ChatCompletions,
            path: "/v1/chat/completions",
            headers: &headers,
            body: Body::Scanned(&scanned),
            known: &|_| Known::default(),
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| decide(&config, &tables, black_box(&request), &mut || 0));
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
    assert!(observer.seen.first_content.is_some(), "what is timed is an event after the first content");
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

criterion_group!(cores, decisions, bodies, events);
criterion_main!(cores);
