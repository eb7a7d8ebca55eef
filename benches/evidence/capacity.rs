//! Many and large requests: with raised limits memory stays bounded and nothing is lost; at the default limits the
//! excess is refused and other requests are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sidecar::{Answer, HANG_TIMEOUT, Sidecar, ask, chat, chat_of};

async fn baseline(behaviour: Behaviour) -> anyhow::Result<Sim> {
    Ok(sim::start(SimConfig { record: false, ..SimConfig::new(Wire::OpenAi) }, behaviour).await?)
}

fn start(openai: &Sim, limits: &str) -> anyhow::Result<Sidecar> {
    let text = crate::faults::text(openai, "http://127.0.0.1:1/v1", "").replace("100.0", "0.0");
    Sidecar::start(&text.replace("[failover]", &format!("[limits]\n{limits}\n[failover]")))
}

async fn all<T: Send + 'static>(tasks: &mut JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(done) = tasks.join_next().await {
        results.push(done??);
    }
    Ok(results)
}

pub(crate) async fn run() -> anyhow::Result<()> {
    println!("| load | outcome | resident MiB before | peak |\n|---|---|---:|---:|");
    bodies().await?;
    upload().await?;
    streams(4000, "in_flight = 5000", 4000).await?;
    streams(1500, "", 1024).await?;
    idle(8000, "", 8000).await?;
    idle(10_100, "", 10_000).await?;
    slow_readers().await
}

fn row(load: &str, outcome: &str, before: f64, sidecar: &Sidecar) -> anyhow::Result<()> {
    println!("| {load} | {outcome} | {before:.1} | {:.1} |", sidecar.memory("VmHWM:")?);
    Ok(())
}

async fn bodies() -> anyhow::Result<()> {
    const AT_ONCE: usize = 8;
    let openai = baseline(Behaviour::default()).await?;
    let sidecar = start(&openai, "")?;
    let before = sidecar.memory("VmRSS:")?;
    let request = Arc::new(chat_of(&"word ".repeat(4 << 20), false, 1));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (listen, request) = (sidecar.listen, Arc::clone(&request));
        tasks.spawn(async move {
            for _ in 0..3 {
                let answer = ask(listen, &request).await?;
                ensure!(answer.status == 200 && answer.whole, "{}", answer.status);
            }
            Ok(())
        });
    }
    all(&mut tasks).await?;
    sidecar.settled().await?;
    row(&format!("24 bodies of 20 MiB, {AT_ONCE} at once"), "all answered", before, &sidecar)
}

/// Uploads more than `max_body` to an endpoint whose bodies are not read: the bytes pass without being buffered.
async fn upload() -> anyhow::Result<()> {
    const SIZE: usize = 400 << 20;
    let sink = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = sink.local_addr()?;
    let taking = tokio::spawn(async move {
        let (mut stream, _) = sink.accept().await?;
        let (mut buffer, mut total) = (vec![0; 64 << 10], 0);
        while total < SIZE {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => total += read,
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await?;
        anyhow::Ok(total)
    });
    let openai = baseline(Behaviour::default()).await?;
    let text =
        crate::faults::text(&openai, "http://127.0.0.1:1/v1", "").replace(&openai.url(), &format!("http://{at}/v1"));
    let sidecar = Sidecar::start(&text)?;
    let before = sidecar.memory("VmRSS:")?;
    let mut request =
        format!("POST /v1/files HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {SIZE}\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + SIZE, b'x');
    let answer = ask(sidecar.listen, &request).await?;
    ensure!(answer.status == 200 && taking.await?? >= SIZE, "{}", answer.status);
    row("an upload of 400 MiB", "passed whole", before, &sidecar)
}

async fn streams(count: usize, limits: &str, fit: usize) -> anyhow::Result<()> {
    let openai = baseline(Behaviour { tokens: (24, 24), tokens_per_second: 4.0, ..Behaviour::default() }).await?;
    let sidecar = start(&openai, limits)?;
    let before = sidecar.memory("VmRSS:")?;
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let listen = sidecar.listen;
        tasks.spawn(async move {
            // Connects within about a second: the limit on running streams is tested, not the listener's backlog.
            tokio::time::sleep(Duration::from_micros(250) * u32::try_from(number)?).await;
            ask(listen, &chat(true, number)).await
        });
    }
    let answers: Vec<Answer> = all(&mut tasks).await?;
    let (mut served, mut refused) = (0, 0);
    for answer in &answers {
        match answer.status {
            200 if answer.whole && answer.has("[DONE]") => served += 1,
            503 if answer.header("retry-after") == "1" && answer.has("overloaded") => refused += 1,
            status => anyhow::bail!("status {status}, whole {}", answer.whole),
        }
    }
    ensure!(
        served + refused == count && served >= fit && (fit < count || refused == 0),
        "{served} served, {refused} refused"
    );
    sidecar.settled().await?;
    let limits = if limits.is_empty() { "default limits" } else { limits };
    row(
        &format!("{count} streams at once, {limits}"),
        &format!("{served} served to the end, {refused} refused with 503"),
        before,
        &sidecar,
    )
}

async fn idle(count: usize, limits: &str, fit: usize) -> anyhow::Result<()> {
    let openai = baseline(Behaviour::default()).await?;
    let sidecar = start(&openai, limits)?;
    let before = sidecar.memory("VmRSS:")?;
    let mut kept = Vec::new();
    for _ in 0..count {
        kept.push(TcpStream::connect(sidecar.listen).await?);
    }
    let mut refused = 0;
    if fit < count {
        for stream in kept.drain(fit..) {
            let mut stream = stream;
            let mut said = Vec::new();
            tokio::time::timeout(HANG_TIMEOUT, stream.read_to_end(&mut said))
                .await
                .context("the connection is not refused")??;
            ensure!(said.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&said));
            refused += 1;
        }
        kept.truncate(fit - 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Idle connections still serve.
    for stream in kept.iter_mut().step_by(100) {
        stream.write_all(&chat(false, 1)).await?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await?;
        ensure!(got.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&got));
    }
    let answer = ask(sidecar.listen, &chat(false, 1)).await?;
    ensure!(answer.status == 200, "another is served: {}", answer.status);
    let outcome = format!("{} kept, every hundredth and a new one served, {refused} refused with 503", kept.len());
    row(&format!("{count} idle connections"), &outcome, before, &sidecar)
}

async fn slow_readers() -> anyhow::Result<()> {
    const READERS: usize = 100;
    let openai = baseline(Behaviour { fault: Fault::NeverEnding, ..Behaviour::default() }).await?;
    let sidecar = start(&openai, "")?;
    let before = sidecar.memory("VmRSS:")?;
    let mut kept = Vec::new();
    let written = Arc::new(AtomicU64::new(0));
    for number in 0..READERS {
        let mut stream = TcpStream::connect(sidecar.listen).await?;
        stream.write_all(&chat(true, number)).await?;
        let written = Arc::clone(&written);
        kept.push(tokio::spawn(async move {
            // Reads 10 bytes a second of a stream that never ends.
            let mut byte = [0; 1];
            while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {
                written.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (early, held) = (sidecar.memory("VmRSS:")?, sidecar.metrics().await?["shiftgate_requests_in_flight"]);
    openai.set(Behaviour::default());
    for number in 0..200 {
        let answer = ask(sidecar.listen, &chat(number % 2 == 0, number)).await?;
        ensure!(answer.status == 200 && answer.whole, "{}", answer.status);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let late = sidecar.memory("VmRSS:")?;
    ensure!((held - READERS as f64).abs() < 0.5, "{held} in flight");
    for task in kept {
        task.abort();
    }
    sidecar.settled().await?;
    let outcome = format!("others served; {early:.1} MiB after 8 s, {late:.1} after 12 s");
    row(&format!("{READERS} clients that read 10 B/s of a stream without end"), &outcome, before, &sidecar)
}
