//! Fuzzes every parser of untrusted input with mutated bytes.
//!
//! `cargo test` does a short run. For a long one: `SHIFTGATE_FUZZ_RUNS=1000000 cargo test --release --test fuzz`.
//! A failing input is printed; a file with it under `seeds/TARGET/` is tried first in every run.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod mutate;
mod targets;

use std::path::Path;

use mutate::Mutator;

/// Number of runs for each target: `SHIFTGATE_FUZZ_RUNS`, else `short`.
fn runs(short: u64) -> u64 {
    std::env::var("SHIFTGATE_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(short)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn fuzz(target: &str, short: u64, words: &[&str], mut check: impl FnMut(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has seeds");
    let mut attempt = |input: &[u8], run: &str| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(input)));
        if caught.is_err() {
            panic!("{target}, {run}: b\"{}\"", input.escape_ascii());
        }
    };
    for (number, seed) in seeds.iter().enumerate() {
        attempt(seed, &format!("seed {number}"));
    }
    for run in 0..runs(short) {
        let input = Mutator::new(run).mutate(&seeds, words);
        attempt(&input, &format!("run {run}"));
    }
}

#[test]
fn head_and_framing() {
    let words = [
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
        "host: h\r\n",
        "\r\n",
        "\n",
        ": ",
        "#",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "GET / HTTP/1.1\r\n",
        "POST /v1/files HTTP/1.1\r\n",
        "connection: close, host\r\n",
        ";ext=",
        "HTTP/1.0",
        "expect: 100-continue\r\n",
        " ",
        "\0",
        "\t",
        "upgrade: h2c\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    fuzz("head", 4_000, &words, |input| runtime.block_on(targets::head(input)));
}

#[test]
fn scan_and_splice() {
    let words =
        ["\"model\"", "\"gpt-4o\"", ":", ",", "{", "}", "[", "]", "\\u00e9", "\\", "null", "1e400", "true", "\""];
    fuzz("body", 8_000, &words, targets::body);
}

#[test]
fn keys() {
    let words = [
        "\"user\":",
        "\"metadata\":{\"session_id\":",
        "\"messages\":[",
        "\"role\":\"system\"",
        "\"role\":\"user\"",
        "\"content\":",
        "\"prompt_cache_key\":",
        "\"tools\":[",
        "{\"type\":\"text\",\"text\":\"x\"}",
        "}",
        "]",
        "\"",
        ",",
    ];
    fuzz("key", 8_000, &words, targets::key);
}

#[test]
fn event_streams() {
    let words = [
        "data: ",
        "data:",
        "\n\n",
        "\r\n\r\n",
        "\r\r",
        "\r",
        ": ",
        "event: x\n",
        "[DONE]",
        "{\"error\":",
        "\"usage\":",
        "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}",
        "\u{feff}",
        "\"finish_reason\":\"stop\"",
    ];
    fuzz("stream", 8_000, &words, targets::stream);
}

#[test]
fn configuration() {
    let words = [
        "[backend.x]\n",
        "engine = \"vllm\"\n",
        "url = \"http://h/v1\"\n",
        "percent = { x = 5.0 }\n",
        "\"",
        "'''",
        "= {",
        "}",
        "[[route]]\n",
        "5.005",
        "-1",
        "1e999",
        "\"client\"",
        "{ env = \"X\" }",
        "\n",
        "#",
        "inf",
        "\u{0}",
        "\"10m\"",
    ];
    fuzz("config", 600, &words, targets::configuration);
}
