//! Reads `[server]`, `[limits]` and `[failover]`: settings of the whole process.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::time::Duration;

use super::super::context::Context;
use super::super::problem::Problems;
use super::super::reader::{Section, Value, Wrong, boolean, count, duration, fraction, size, string, whole, wrong};
use super::super::types::{Failover, Limits, Listen, Server};

/// Default of `admin`.
pub(crate) const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9900));
/// Least `early_head`: below it pings would cost more than they help.
const LEAST_EARLY_HEAD: Duration = Duration::from_millis(100);

/// Reads `[server]`.
pub(crate) fn server(mut s: Section<'_, '_>, context: &Context<'_>, p: &mut Problems<'_>) -> Server {
    let listen = s.read("listen", p, |value| {
        let text = string(value)?;
        match text.strip_prefix("unix:") {
            Some("") => wrong("has no path after unix:", "write \"unix:/run/shiftgate.sock\""),
            Some(path) => Ok(Listen::Unix(context.resolve(path))),
            None => address(text).map(Listen::Tcp),
        }
    });
    let server = Server {
        listen: listen.unwrap_or_else(|| Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))),
        admin: s.read("admin", p, |value| address(string(value)?)).unwrap_or(ADMIN),
        max_body: s.read("max_body", p, size).unwrap_or(32 << 20),
        drain: s.read("drain", p, duration).unwrap_or(Duration::from_secs(20)),
        threads: s
            .read("threads", p, |value| whole(value, 1, 256))
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(2),
        request_log: s.read("request_log", p, boolean).unwrap_or(true),
        allow_override: s.read("allow_override", p, boolean).unwrap_or(false),
        state: s.read("state", p, |value| string(value).map(|path| context.resolve(path))),
    };
    s.finish(p);
    server
}

/// Reads an address and a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let cure = "write an address and a port, such as \"127.0.0.1:8080\"";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // Only this machine's own name is resolved: another one would make reading the file depend on the network.
    match text.split_once(':') {
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => text
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.find(SocketAddr::is_ipv4))
            .map_or_else(|| wrong(format!("is {text:?}"), cure), Ok),
        _ => wrong(format!("is {text:?}"), cure),
    }
}

/// Reads `[limits]`.
pub(crate) fn limits(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Limits {
    let limits = Limits {
        in_flight: s.read("in_flight", p, count).unwrap_or(1024),
        connections: s.read("connections", p, count).unwrap_or(10_000),
        body_bytes: s.read("body_bytes", p, size).unwrap_or(256 << 20),
        head: s
            .read("head", p, |value| match size(value)? {
                head @ 1024..=1_048_576 => Ok(head),
                _ => wrong("is out of range", "write a size from 1KiB to 1MiB"),
            })
            .and_then(|head| usize::try_from(head).ok())
            .unwrap_or(64 << 10),
    };
    s.finish(p);
    limits
}

/// Reads `[failover]`.
pub(crate) fn failover(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Failover {
    let failover = Failover {
        enabled: s.read("enabled", p, boolean).unwrap_or(true),
        retry_budget: s.read("retry_budget", p, fraction).unwrap_or(1.0),
        early_head: s.read("early_head", p, early_head).flatten(),
    };
    s.finish(p);
    failover
}

fn early_head(value: &Value<'_>) -> Result<Option<Duration>, Wrong> {
    if value.get_ref().as_str() == Some("off") {
        return Ok(None);
    }
    match duration(value) {
        Ok(wait) if wait >= LEAST_EARLY_HEAD => Ok(Some(wait)),
        Ok(_) => wrong("is below 100ms", "write \"off\", or a time from \"100ms\", such as \"15s\""),
        Err(Wrong { what, .. }) => wrong(what, "write \"off\", or a time from \"100ms\", such as \"15s\""),
    }
}
