//! Every way in which a candidate can fail, 200 times each: each ends as specified and leaves nothing behind.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::sidecar::{Answer, Sidecar, ask, chat, many};

const REQUESTS: usize = 200;
const AT_ONCE: usize = 8;

/// Answer that the application has to see.
#[derive(Clone, Copy)]
enum Ends {
    /// The baseline's answer, with this cause of the failover.
    FailsOver(&'static str),
    /// The candidate's own answer.
    Served,
    /// The beginning of the candidate's stream, then one error event.
    Broken { end: &'static str },
}

enum Candidate {
    Sim(Behaviour),
    /// Answers each connection with these bytes and closes it.
    Says(Vec<u8>),
    At(String),
    BlackHole,
}

struct Case {
    name: &'static str,
    candidate: Candidate,
    streams: &'static [bool],
    ends: Ends,
}

const BOTH: &[bool] = &[false, true];
const WHOLE: &[bool] = &[false];
const STREAMED: &[bool] = &[true];

fn faulty(fault: Fault) -> Candidate {
    Candidate::Sim(Behaviour { fault, ..Behaviour::default() })
}

fn answers(status: u16) -> Candidate {
    Candidate::Sim(Behaviour { status: Some((status, Some(0))), ..Behaviour::default() })
}

fn says(head: &str, body: &str) -> Candidate {
    Candidate::Says(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n{body}").into_bytes())
}

fn cases(dead: SocketAddr, plain: SocketAddr) -> Vec<Case> {
    let case = |name, candidate, streams, ends| Case { name, candidate, streams, ends };
    let moved = Ends::FailsOver;
    let good = "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}";
    vec![
        case("connection refused", Candidate::At(format!("http://{dead}/v1")), BOTH, moved("connect")),
        // The label is too long for DNS, so that the lookup fails without a network.
        case(
            "name that is nobody's",
            Candidate::At(format!("http://{}.invalid:1/v1", "x".repeat(64))),
            BOTH,
            moved("connect"),
        ),
        case("black hole", Candidate::BlackHole, WHOLE, moved("timeout")),
        case(
            "no TLS behind https",
            Candidate::At(format!("https://localhost:{}/v1", plain.port())),
            BOTH,
            moved("tls"),
        ),
        case("reset before the head", faulty(Fault::ResetBeforeHead), BOTH, moved("reset")),
        case("reset in the head", faulty(Fault::CutAfterBytes(20)), BOTH, moved("reset")),
        case("reset in the body", faulty(Fault::CutAfterBytes(500)), WHOLE, moved("reset")),
        case(
            "reset in the stream",
            faulty(Fault::CutAfterBytes(1800)),
            STREAMED,
            Ends::Broken { end: "upstream_error" },
        ),
        case("body shorter than said", faulty(Fault::WrongLength), WHOLE, moved("reset")),
        case("one byte at a time", faulty(Fault::OneByteAtATime), BOTH, Ends::Served),
        case("200, then an error event", faulty(Fault::ErrorEventFirst), STREAMED, moved("error_event")),
        case(
            "error event in the stream",
            faulty(Fault::ErrorEventAfter(6)),
            STREAMED,
            Ends::Broken { end: "upstream_error" },
        ),
        case("garbage", faulty(Fault::Garbage), BOTH, moved("bad_answer")),
        case("a page of HTML", faulty(Fault::Html), BOTH, moved("bad_answer")),
        case("no answer", faulty(Fault::HangBeforeHead), BOTH, moved("timeout")),
        case("a head and nothing more", faulty(Fault::HangAfter(1)), STREAMED, moved("timeout")),
        case("a stream that stalls", faulty(Fault::HangAfter(6)), STREAMED, Ends::Broken { end: "timeout" }),
        case("closed after each answer", faulty(Fault::CloseAfterAnswer), BOTH, Ends::Served),
        case("two lengths", says("content-length: 14\r\ncontent-length: 15\r\n", good), WHOLE, moved("bad_answer")),
        case("a length that is none", says("content-length: 0x0e\r\n", good), WHOLE, moved("bad_answer")),
        case("a head of 100 KB", says(&format!("x-a: {}\r\n", "x".repeat(100_000)), good), WHOLE, moved("bad_answer")),
        case("500 head fields", says(&"x-a: 1\r\n".repeat(500), good), WHOLE, moved("bad_answer")),
        case(
            "a chunk that is none",
            says("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
            WHOLE,
            moved("bad_answer"),
        ),
        case("a chunked body cut", says("transfer-encoding: chunked\r\n", "ff\r\n{\"choices\""), WHOLE, moved("reset")),
        case(
            "five 1xx first",
            Candidate::Says(
                [
                    "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(5).as_str(),
                    &format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        good.len()
                    ),
                    good,
                ]
                .concat()
                .into_bytes(),
            ),
            WHOLE,
            Ends::Served,
        ),
        case("429", answers(429), BOTH, moved("status")),
        case("500", answers(500), BOTH, moved("status")),
        case("503", answers(503), BOTH, moved("status")),
        case("400", answers(400), BOTH, moved("status")),
        case("401", answers(401), BOTH, moved("status")),
        case("404", answers(404), BOTH, moved("status")),
        case("302", answers(302), BOTH, moved("status")),
    ]
}

pub(crate) fn text(openai: &Sim, candidate: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\n[failover]\nretry_budget = 1.0\n\
         [rollout]\nname = \"evidence\"\nbaseline = \"openai\"\npercent = {{ qwen = 100.0 }}\n[backend.openai]\n\
         engine = \"openai\"\nurl = \"{}\"\napi_key = \"client\"\n[backend.qwen]\nengine = \"vllm\"\nurl = \"{candidate}\"\n\
         api_key = \"none\"\nfamily = \"qwen3\"\nbreaker = {{ enabled = false }}\n{more}\n",
        openai.url()
    )
}

const DEADLINES: &str = "timeout = { connect = \"2s\", ttft = \"80ms\", idle = \"80ms\", total = \"5s\" }";
/// Shorter timeouts, for the cases that wait for one. An unstreamed answer is bounded by `total` alone.
const TOTAL: &str = "timeout = { connect = \"50ms\", ttft = \"80ms\", idle = \"80ms\", total = \"100ms\" }";

/// Starts the candidate; returns its URL, and a guard that keeps it running.
async fn start(candidate: Candidate) -> anyhow::Result<(String, Box<dyn std::any::Any>)> {
    match candidate {
        Candidate::At(url) => Ok((url, Box::new(()))),
        Candidate::Sim(behaviour) => {
            let sim = sim::start(SimConfig { record: false, ..SimConfig::new(Wire::Vllm) }, behaviour).await?;
            Ok((sim.url(), Box::new(sim)))
        }
        Candidate::Says(bytes) => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}/v1", listener.local_addr()?);
            let task = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let bytes = bytes.clone();
                    tokio::spawn(async move { drop(say(stream, &bytes).await) });
                }
            });
            Ok((url, Box::new(Aborting(task))))
        }
        Candidate::BlackHole => {
            let (address, kept) = black_hole().await?;
            Ok((format!("http://{address}/v1"), kept))
        }
    }
}

/// Returns an address that does not answer: its accept queue is full, so that the kernel drops further SYNs.
pub(crate) async fn black_hole() -> anyhow::Result<(SocketAddr, Box<dyn std::any::Any>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let filling = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok((address, Box::new((listener, filling))))
}

struct Aborting(tokio::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// True if the body is as long as the head's `content-length`.
fn is_whole(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

async fn say(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let mut got = Vec::new();
    while !is_whole(&got) {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => got.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    stream.write_all(bytes).await?;
    stream.shutdown().await
}

fn check(answer: &Answer, stream: bool, ends: Ends) -> anyhow::Result<()> {
    ensure!(answer.status == 200 && answer.whole, "status {}, whole {}", answer.status, answer.whole);
    let (backend, reason) = (answer.header("x-shiftgate-backend"), answer.header("x-shiftgate-reason"));
    let wanted = match ends {
        Ends::FailsOver(cause) => {
            let cooling = cause == "status" && reason == "cooldown";
            ensure!(backend == "openai" && (reason == format!("failover:{cause}") || cooling), "{backend}, {reason}");
            stream
        }
        Ends::Served => {
            ensure!(backend == "qwen" && reason == "split", "{backend}, {reason}");
            stream
        }
        Ends::Broken { .. } => {
            ensure!(
                backend == "qwen" && answer.has("\"content\"") | answer.has("\"reasoning\""),
                "{backend}: no content"
            );
            ensure!(answer.has("\"error\":{"), "no error event");
            false
        }
    };
    ensure!(answer.has("[DONE]") == wanted, "[DONE] is {}", !wanted);
    Ok(())
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let openai = sim::start(SimConfig { record: false, ..SimConfig::new(Wire::OpenAi) }, Behaviour::default()).await?;
    let dead = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let sidecar = Sidecar::start(&text(&openai, "http://127.0.0.1:1/v1", ""))?;
    let (descriptors, memory) = (sidecar.descriptors()?, sidecar.memory("VmRSS:")?);
    println!(
        "| fault | requests | as specified | errors, failovers of the candidate | end |\n|---|---:|---:|---:|---|"
    );
    for case in cases(dead, openai.address()) {
        let Case { name, candidate, streams, ends } = case;
        let (url, kept) = start(candidate).await?;
        let more =
            if streams.contains(&true) && !matches!(ends, Ends::FailsOver("timeout")) { DEADLINES } else { TOTAL };
        sidecar.save(&text(&openai, &url, more)).await?;
        let before = counts(&sidecar).await?;
        let listen = sidecar.listen;
        let one = async move |number: usize| {
            let stream = streams.get(number % streams.len()).copied().unwrap_or_default();
            check(&ask(listen, &chat(stream, number)).await?, stream, ends)
        };
        many(REQUESTS, AT_ONCE, one).await.with_context(|| name.to_owned())?;
        sidecar.settled().await.with_context(|| name.to_owned())?;
        let after = counts(&sidecar).await?;
        let counted: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let (errors, failovers, ended) = verdict(name, ends, &counted)?;
        println!("| {name} | {REQUESTS} | {REQUESTS} | {errors}, {failovers} | {ended} |");
        drop(kept);
    }
    // The pools close idle connections, after which the descriptors are back to the start's number.
    let began = std::time::Instant::now();
    while sidecar.descriptors()? > descriptors + 4 {
        ensure!(
            began.elapsed() < Duration::from_secs(90),
            "{} descriptors, {descriptors} at the start",
            sidecar.descriptors()?
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "\nresident MiB at the start {memory:.1}, at the end {:.1}; descriptors {descriptors}, {}",
        sidecar.memory("VmRSS:")?,
        sidecar.descriptors()?
    );
    Ok(())
}

const ENDS: [&str; 3] = ["complete", "upstream_error", "timeout"];

/// Reads the candidate's errors and failovers, then the requests by end, in the order of [`ENDS`].
async fn counts(sidecar: &Sidecar) -> anyhow::Result<Vec<u64>> {
    let metrics = sidecar.metrics().await?;
    let of = |name: String| metrics.get(&name).copied().unwrap_or_default() as u64;
    let candidate = ["errors", "failovers"].map(|what| format!("shiftgate_{what}_total{{backend=\"qwen\"}}"));
    let ended = ENDS.map(|end| format!("shiftgate_requests_ended_total{{end=\"{end}\"}}"));
    Ok(candidate.into_iter().chain(ended).map(of).collect())
}

fn verdict(name: &str, ends: Ends, counted: &[u64]) -> anyhow::Result<(u64, u64, &'static str)> {
    let [errors, failovers, ended @ ..] = counted else { bail!("the counts are missing") };
    let all = REQUESTS as u64;
    let (wanted, failed, moved) = match ends {
        Ends::FailsOver(_) => ("complete", true, true),
        Ends::Served => ("complete", false, false),
        Ends::Broken { end } => (end, true, false),
    };
    for (end, count) in ENDS.iter().zip(ended) {
        ensure!(*count == if *end == wanted { all } else { 0 }, "{name}: {count} ended as {end}");
    }
    // A candidate that cools down after a 429 is skipped, so that fewer requests reach it.
    let expected = if name == "429" {
        *failovers
    } else if moved {
        all
    } else {
        0
    };
    ensure!(
        *failovers == expected && *errors == if failed { expected.max(if moved { 0 } else { all }) } else { 0 },
        "{name}: {errors} errors, {failovers} failovers"
    );
    Ok((*errors, *failovers, wanted))
}
