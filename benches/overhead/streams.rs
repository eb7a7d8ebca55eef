//! CPU of streams: one as fast as it goes, and many slow ones at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use memchr::memmem;

use crate::load;
use crate::origin::{ANSWER, DONE, EVENT, PACED};
use crate::proxies::Process;

/// Returns a key that shiftgate leaves on its baseline, where a stream passes unchanged.
pub(crate) fn baseline_key(shiftgate: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(shiftgate)?;
    let body = load::body("");
    let mut buffer = [0; 8192];
    for number in 0..100 {
        let key = format!("stream-{number}");
        stream.write_all(format!("{}{body}", load::head(&key, body.len())).as_bytes())?;
        let mut filled = 0;
        while !buffer.get(..filled).unwrap_or_default().ends_with(ANSWER) {
            filled += stream.read(buffer.get_mut(filled..).context("an answer too long")?)?;
        }
        if memmem::find(buffer.get(..filled).unwrap_or_default(), b"x-shiftgate-backend: a\r\n").is_some() {
            return Ok(key);
        }
    }
    bail!("no key of 100 stays with the baseline")
}

/// Reads one stream to its end.
fn read(address: SocketAddr, key: &str, chunks: usize, pace: Duration) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let body = load::body(&format!("\"stream\":true,\"max_tokens\":{chunks},\"seed\":{},", pace.as_millis()));
    stream.write_all(format!("{}{body}", load::head(key, body.len())).as_bytes())?;
    let mut buffer = vec![0; 256 << 10];
    let end = [DONE, b"\r\n0\r\n\r\n"].concat();
    // Number of bytes that are kept from the reads before, to find an end that spans two reads.
    let mut kept = 0;
    let mut total = 0;
    loop {
        let read = stream.read(buffer.get_mut(kept..).unwrap_or_default())?;
        ensure!(read > 0, "a stream ended before its end, after {total} bytes");
        let got = kept + read;
        if total == 0 {
            let start = String::from_utf8_lossy(buffer.get(..got.min(512)).unwrap_or_default());
            ensure!(start.starts_with("HTTP/1.1 200 "), "no 200: {start}");
        }
        total += read;
        if buffer.get(..got).unwrap_or_default().ends_with(&end) {
            break;
        }
        kept = got.min(end.len());
        buffer.copy_within(got - kept..got, 0);
    }
    ensure!(total > chunks * EVENT.len(), "a stream of {total} bytes: too short for {chunks} events");
    Ok(())
}

/// Returns the CPU of one fast stream, in milliseconds per 1,000 chunks.
pub(crate) fn fast(address: SocketAddr, process: &Process, key: &str, chunks: usize) -> anyhow::Result<f64> {
    read(address, key, 1_000, Duration::ZERO)?;
    let before = process.cpu_ns()?;
    read(address, key, chunks, Duration::ZERO)?;
    Ok((process.cpu_ns()? - before) as f64 / 1e3 / chunks as f64)
}

/// Returns the CPU of 50 streams with a chunk every 20 ms, in milliseconds per 1,000 chunks, without starts and ends.
pub(crate) fn slow(address: SocketAddr, process: &Process, key: &str, window: Duration) -> anyhow::Result<f64> {
    const STREAMS: u32 = 50;
    const PACE: Duration = Duration::from_millis(20);
    const MARGIN: Duration = Duration::from_millis(200);
    let chunks = ((window + MARGIN * 2).as_millis() / PACE.as_millis()) as usize;
    let mut readers = Vec::new();
    for _ in 0..STREAMS {
        let key = key.to_owned();
        readers.push(std::thread::spawn(move || read(address, &key, chunks, PACE)));
        // Chunks that arrive together would leave together, so the streams are spread evenly over the pace.
        std::thread::sleep(PACE / STREAMS);
    }
    std::thread::sleep(MARGIN / 2);
    let before = (process.cpu_ns()?, PACED.load(Relaxed));
    std::thread::sleep(window);
    let after = (process.cpu_ns()?, PACED.load(Relaxed));
    for reader in readers {
        let Ok(read) = reader.join() else { bail!("a reader's thread panicked") };
        read?;
    }
    Ok((after.0 - before.0) as f64 / 1e3 / (after.1 - before.1) as f64)
}
