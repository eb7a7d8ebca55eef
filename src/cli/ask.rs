//! One question to the admin port of a running sidecar.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::shared::{Exit, complain};

/// Timeout for the connection and for each read; the admin port answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Limit, in bytes, on the response; the rest is cut. A status with hundreds of backends is far smaller, and a history is
/// at most as large as a state file.
const MAX_ANSWER: u64 = 16 << 20;

/// Resolves the address that was given with `--admin`, or prints what is wrong with it.
pub(super) fn address(text: &str) -> Result<SocketAddr, Exit> {
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| {
        complain(&format!("--admin {text} is not an address and port such as 127.0.0.1:9900"));
        Exit::Refused
    })
}

/// Asks for the document at `target`; the error says why there is none.
pub(super) fn ask(address: SocketAddr, target: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(text)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(text)?;
    let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| "its answer is not HTTP".to_owned())?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(format!("it answered {}", head.lines().next().unwrap_or_default()))
    }
}
