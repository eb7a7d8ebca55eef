//! Shadows of every request towards receivers that fail in every way: what the application and the served backend
//! notice, and how much memory they take. And the budget, by the receiver's own count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::{black_hole, text};
use crate::sidecar::{Sidecar, ask, chat_of, many};

const REQUESTS: usize = 1500;
const AT_ONCE: usize = 16;
/// Every so many requests one has a large body.
const LARGE_EACH: usize = 5;
const LARGE: usize = 500 << 10;
const LONG_ANSWER: usize = 50 << 20;
const MIB: f64 = 1_048_576.0;

/// A receiver of copies. Its guard keeps it running.
struct Receiver {
    name: &'static str,
    url: String,
    _guard: Box<dyn std::any::Any>,
}

/// An event of a streamed answer that never ends.
const EVENT: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n";

/// Reads one request to the end of its body; `None` if the client left. True if it asks for a stream.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<bool>> {
    let (mut got, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        if let Some(end) = memchr::memmem::find(&got, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(got.get(..end).unwrap_or_default()).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if got.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(Some(memchr::memmem::find(&got, b"\"stream\":true").is_some()));
            }
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        got.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

/// Starts a server that answers every request with a body of this many bytes, written in pieces with a pause after each:
/// events if a stream is asked for, else spaces.
async fn server(name: &'static str, bytes: usize, (piece, pause): (usize, Duration)) -> anyhow::Result<Receiver> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some(is_stream) = read(&mut stream).await? {
                    let kind = if is_stream { "text/event-stream" } else { "application/json" };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {bytes}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await?;
                    let text = if is_stream { EVENT.repeat(piece / EVENT.len() + 2) } else { " ".repeat(piece) };
                    for number in 0..bytes / piece {
                        let from = if is_stream { number * piece % EVENT.len() } else { 0 };
                        stream.write_all(text.as_bytes().get(from..from + piece).unwrap_or_default()).await?;
                        if !pause.is_zero() {
                            tokio::time::sleep(pause).await;
                        }
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    Ok(Receiver { name, url, _guard: Box::new(task) })
}

async fn simulated(name: &'static str, behaviour: Behaviour) -> anyhow::Result<Receiver> {
    let sim = sim::start(SimConfig { record: false, ..SimConfig::new(Wire::Vllm) }, behaviour).await?;
    Ok(Receiver { name, url: sim.url(), _guard: Box::new(sim) })
}

async fn receivers() -> anyhow::Result<Vec<Receiver>> {
    let fault = |fault| Behaviour { fault, ..Behaviour::default() };
    let status = |code| Behaviour { status: Some((code, None)), ..Behaviour::default() };
    let (address, kept) = black_hole().await?;
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    Ok(vec![
        simulated("well", Behaviour::default()).await?,
        simulated("hung", fault(Fault::HangBeforeHead)).await?,
        simulated("slow", Behaviour { ttft: Duration::from_secs(2), ..Behaviour::default() }).await?,
        simulated("500", status(500)).await?,
        simulated("429", status(429)).await?,
        simulated("reset", fault(Fault::ResetBeforeHead)).await?,
        server("1 B/s", LONG_ANSWER, (1, Duration::from_secs(1))).await?,
        server("50 MB", LONG_ANSWER, (64 << 10, Duration::ZERO)).await?,
        Receiver { name: "down", url: format!("http://{closed}/v1"), _guard: Box::new(()) },
        Receiver { name: "no SYN-ACK", url: format!("http://{address}/v1"), _guard: kept },
    ])
}

fn file(openai: &Sim, url: &str, shadow: &str) -> String {
    let more = "breaker = { enabled = true }\nmax_in_flight = 8";
    text(openai, url, "").replace("qwen = 100.0", "qwen = 0.0").replace("breaker = { enabled = false }", more) + shadow
}

/// The numbers of `/status` that do not depend on time, without those of shadows.
fn numbers(mut status: Value) -> Value {
    for name in ["shadow", "uptime_s", "loaded_at", "hash", "listen", "admin"] {
        status.as_object_mut().map(|status| status.remove(name));
    }
    for backend in status["backends"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for name in ["ttft_ms", "total_ms", "connections", "url"] {
            backend.remove(name);
        }
    }
    status
}

/// Sends all requests; returns the numbers of `/status`, the peak of resident memory in MiB, and the sidecar.
async fn run(text: &str) -> anyhow::Result<(Value, f64, Sidecar)> {
    let sidecar = Sidecar::start(text)?;
    let (listen, large) = (sidecar.listen, "x".repeat(LARGE));
    let large = Arc::new(large);
    let one = async move |number: usize| {
        let prompt = if number.is_multiple_of(LARGE_EACH) { large.as_str() } else { "x" };
        let answer = ask(listen, &chat_of(prompt, number.is_multiple_of(2), number)).await?;
        ensure!(answer.status == 200 && answer.whole, "{}", answer.status);
        ensure!(answer.header("x-shiftgate-backend") == "openai", "{:?}", answer.header("x-shiftgate-backend"));
        Ok(())
    };
    many(REQUESTS, AT_ONCE, one).await?;
    sidecar.settled().await?;
    let status = sidecar.status().await?;
    let peak = sidecar.memory("VmHWM")?;
    Ok((numbers(status), peak, sidecar))
}

/// Requests of the copies by result, and pairs by result, as text.
async fn counted(sidecar: &Sidecar) -> anyhow::Result<String> {
    let status = sidecar.status().await?;
    let copies = &status["shadow"]["copies"][0];
    let told = |counts: &Value| {
        let counts = counts.as_object().into_iter().flatten();
        let counts = counts.filter(|(_, count)| **count != 0).map(|(name, count)| format!("{name} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    };
    Ok(format!("{} | {}", told(&copies["requests"]), told(&copies["pairs"])))
}

pub(crate) async fn run_all() -> anyhow::Result<()> {
    let openai = sim::start(SimConfig { record: false, ..SimConfig::new(Wire::OpenAi) }, Behaviour::default()).await?;
    println!(
        "| receiver | max_bytes | peak RSS MiB, beside no shadow | limit | copies | pairs so far |\n|---|---|---|---|---|---|"
    );
    for max_bytes in [64_u32, 4] {
        for receiver in receivers().await? {
            let (expected, plain, _) = run(&file(&openai, &receiver.url, "")).await?;
            let shadow = format!(
                "[shadow]\npercent = 100\nto = \"qwen\"\nnoise_percent = 0\nmax_in_flight = 32\nmax_bytes = \"{max_bytes}MiB\"\n"
            );
            let (got, peak, sidecar) = run(&file(&openai, &receiver.url, &shadow)).await?;
            ensure!(got == expected, "{}: /status differs: {got} instead of {expected}", receiver.name);
            let limit = plain + f64::from(max_bytes) * 1.25 + 16.0;
            println!(
                "| {} | {max_bytes} MiB | {peak:.1}, {plain:.1} | {limit:.1} | {} |",
                receiver.name,
                counted(&sidecar).await?
            );
            ensure!(peak <= limit, "{}: {peak:.1} MiB, more than {limit:.1}", receiver.name);
        }
    }
    println!("0 of {} requests failed; bodies up to {:.1} MiB", REQUESTS * 20, LARGE as f64 / MIB);
    Ok(())
}

/// Counts the copies of a minute at 1 USD an hour, for a price of 1 USD and of 1 cent a request.
pub(crate) async fn budget() -> anyhow::Result<()> {
    let (dear, cheap) = tokio::join!(minute(1000.0), minute(10.0));
    let (dear, cheap) = (dear?, cheap?);
    println!("1 USD an hour, 60 s: {dear} copies at 1 USD, {cheap} at 1 cent");
    ensure!((dear, cheap) == (1, 3), "1 and 3 were expected");
    Ok(())
}

/// Sends requests for a minute whose copies are charged 1,000 tokens, at this price in USD for a million tokens.
async fn minute(price: f64) -> anyhow::Result<u64> {
    const TOKENS: u32 = 1000;
    let openai = sim::start(SimConfig { record: false, ..SimConfig::new(Wire::OpenAi) }, Behaviour::default()).await?;
    // Its answers have as many tokens as they are charged for.
    let exact = Behaviour { tokens: (TOKENS, TOKENS), ..Behaviour::default() };
    let qwen = sim::start(SimConfig::new(Wire::Vllm), exact).await?;
    let shadow = "[shadow]\npercent = 100\nto = \"qwen\"\nnoise_percent = 0\nbudget_usd_per_hour = 1.0\n";
    let text = file(&openai, &qwen.url(), shadow)
        .replace("max_in_flight = 8", &format!("max_in_flight = 8\nprice = {{ input = 0, output = {price} }}"));
    let sidecar = Sidecar::start(&text)?;
    let body = format!(
        "{{\"model\":\"gpt-4o\",\"max_tokens\":{TOKENS},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let answer = ask(sidecar.listen, request.as_bytes()).await.context("a served request")?;
        ensure!(answer.status == 200, "{}", answer.status);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is asked for its context length too.
    Ok(qwen.received().iter().filter(|request| request.method == "POST").count() as u64)
}
