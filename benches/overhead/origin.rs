//! Minimal blocking server: one thread per connection, so that no runtime of its own is measured. It answers an
//! unstreamed request with [`ANSWER`], a streamed one with `max_tokens` events, `seed` milliseconds apart. Both are
//! fields of OpenAI's own, so no proxy has a reason to change them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use memchr::memmem;

pub(crate) const ANSWER: &[u8] = b"{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\
    \"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello.\"},\
    \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":180,\"completion_tokens\":2,\"total_tokens\":182}}";
pub(crate) const EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
    \"created\":1760000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
    \"finish_reason\":null}]}\n\n";
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// Number of chunks in one write of an unpaced stream: about 64 KiB.
const AT_ONCE: usize = 350;

/// Number of paced chunks written so far on all connections.
pub(crate) static PACED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // An error ends only this connection; the client fails if it misses an answer.
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", ANSWER.len());
    let answer = [head.as_bytes(), ANSWER].concat();
    let mut got = Vec::new();
    let mut buffer = [0; 16_384];
    while let read @ 1.. = stream.read(&mut buffer)? {
        got.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let Some(end) = memmem::find(&got, b"\r\n\r\n") else { continue };
        let (head, body) = got.split_at(end + 4);
        if content_length(head).is_none_or(|length| body.len() < length) {
            continue;
        }
        if memmem::find(body, b"\"stream\":true").is_some() {
            let chunks = number(body, b"\"max_tokens\":").unwrap_or(0);
            let pace = number(body, b"\"seed\":").unwrap_or(0);
            stream_answer(&mut stream, chunks, Duration::from_millis(pace as u64))?;
        } else {
            stream.write_all(&answer)?;
        }
        got.clear();
    }
    Ok(())
}

pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    number(head, b"content-length: ").or_else(|| number(head, b"Content-Length: "))
}

/// Returns the number that follows `name`.
fn number(text: &[u8], name: &[u8]) -> Option<usize> {
    let rest = text.get(memmem::find(text, name)? + name.len()..)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn stream_answer(stream: &mut TcpStream, chunks: usize, pace: Duration) -> std::io::Result<()> {
    let one = chunk(EVENT);
    let begun = Instant::now();
    stream.write_all(STREAM_HEAD)?;
    if pace.is_zero() {
        let block = one.repeat(AT_ONCE);
        for _ in 0..chunks / AT_ONCE {
            stream.write_all(&block)?;
        }
        stream.write_all(&one.repeat(chunks % AT_ONCE))?;
    } else {
        for number in 1..=chunks {
            std::thread::sleep((begun + pace * number as u32).saturating_duration_since(Instant::now()));
            stream.write_all(&one)?;
            PACED.fetch_add(1, Relaxed);
        }
    }
    stream.write_all(&[chunk(DONE).as_slice(), b"0\r\n\r\n"].concat())
}
