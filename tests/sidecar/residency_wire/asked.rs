//! Requests over every endpoint, and the rules that hold for them by `placement.md` and not by the code.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use shiftgate::api::translate::{Owner, response_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::backend::{ANY, Backend};
use crate::support::*;

/// Limit of a body that is read, in bytes.
pub(super) const MAX_BODY: usize = 4096;

/// The baseline and two candidates, with their tags. The last one speaks OpenAI's API.
pub(super) const NAMES: [&str; 3] = ["openai", "qwen", "local"];
pub(super) const TAGS: [&[&str]; 3] = [&["us"], &["eu"], &["private"]];

/// Condition of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// `x-region` begins with "eu".
    Region,
    /// `metadata.class` begins with "secret".
    Class,
    /// The path is below `/v1/audio`.
    Audio,
}

/// Rules of the odd and of the even generations: conditions and allowed tags.
pub(super) const RULES: [&[(When, &[&str])]; 2] = [
    &[(When::Region, &["eu", "private"]), (When::Class, &["private"])],
    &[(When::Region, &["eu"]), (When::Class, &["private", "us"]), (When::Audio, &["us", "private"])],
];

pub(super) fn rules(generation: u64) -> &'static [(When, &'static [&'static str])] {
    RULES[usize::from(generation.is_multiple_of(2))]
}

/// A body, as far as a rule on a field depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// JSON that is read; its `metadata.class` is filled in.
    Json,
    /// Not read, or not JSON.
    Opaque,
    /// The endpoint is a WebSocket.
    Socket,
}

/// An endpoint: method, path, the fields of its body, and whether its answer may come from another backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind(&'static str, &'static str, Body, &'static str, pub(super) bool);

pub(super) const MESSAGES: &str = "\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
pub(super) const STREAMED: &str =
    "\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
/// Stands for the id of a response that the backend of a random name keeps.
const OWNED: &str = "OWNED";

const KINDS: [Kind; 25] = [
    Kind("POST", "/v1/chat/completions", Body::Json, MESSAGES, true),
    Kind("POST", "/v1/chat/completions", Body::Json, MESSAGES, true),
    Kind("POST", "/v1/chat/completions", Body::Json, STREAMED, true),
    Kind("POST", "/v1/chat/completions", Body::Json, STREAMED, true),
    Kind("POST", "/v1/chat/completions", Body::Opaque, "TOO LONG", false),
    Kind("POST", "/v1/chat/completions", Body::Opaque, "not JSON", false),
    Kind("POST", "/v1/completions", Body::Json, "\"model\":\"gpt-4o\",\"prompt\":\"hi\"", true),
    Kind("POST", "/v1/embeddings", Body::Json, "\"model\":\"gpt-4o\",\"input\":\"hi\"", true),
    Kind("POST", "/v1/moderations", Body::Json, "\"model\":\"gpt-4o\",\"input\":\"hi\"", true),
    Kind("POST", "/v1/responses", Body::Json, "\"model\":\"gpt-4o\",\"input\":\"hi\",\"store\":false", false),
    Kind("POST", "/v1/responses", Body::Json, "\"model\":\"gpt-4o\",\"input\":\"hi\"", false),
    Kind(
        "POST",
        "/v1/responses",
        Body::Json,
        "\"model\":\"gpt-4o\",\"input\":\"hi\",\"previous_response_id\":\"OWNED\"",
        false,
    ),
    Kind(
        "POST",
        "/v1/responses",
        Body::Json,
        "\"model\":\"gpt-4o\",\"input\":\"hi\",\"previous_response_id\":\"resp_1\"",
        false,
    ),
    Kind("GET", "/v1/responses/OWNED", Body::None, "", false),
    Kind("DELETE", "/v1/responses/OWNED", Body::None, "", false),
    Kind("GET", "/v1/responses/resp_1", Body::None, "", false),
    Kind("POST", "/v1/files", Body::Opaque, "a file", false),
    Kind("GET", "/v1/files/file-1", Body::None, "", true),
    Kind("POST", "/v1/audio/transcriptions", Body::Opaque, "some audio", false),
    Kind("POST", "/v1/images/generations", Body::Opaque, "{\"model\":\"gpt-image-1\",\"prompt\":\"x\"}", false),
    Kind("POST", "/v1/never/heard/of", Body::Opaque, "{\"metadata\":{\"class\":\"public\"}}", false),
    Kind("GET", "/v1/never/heard/of", Body::None, "", true),
    Kind("GET", "/v1/models", Body::None, "", true),
    Kind("GET", "/v1/models/gpt-4o", Body::None, "", true),
    Kind("GET", "/v1/realtime?model=gpt-4o", Body::Socket, "", false),
];

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) kind: Kind,
    region: Option<&'static str>,
    class: Option<&'static str>,
    /// Names a backend and its failure.
    pub(super) fault: Option<String>,
    pub(super) named: Option<&'static str>,
    pub(super) session: Option<u32>,
    owner: &'static str,
}

impl Asked {
    pub(super) fn random(number: u64, rng: &mut StdRng, is_calm: bool) -> Self {
        let one = |rng: &mut StdRng, of: &[&'static str]| *of.choose(rng).unwrap();
        let named = one(rng, &["", "", "", "", "openai", "qwen", "local"]);
        let at = one(rng, &[ANY, ANY, "openai", "qwen", "local"]);
        let fault = one(rng, &["", "", "", "", "=500", "=reset", "=hang", "=429"]);
        Self {
            number,
            kind: *KINDS.choose(rng).unwrap(),
            region: *[None, None, Some("us-east"), Some("eu"), Some("EU-west")].choose(rng).unwrap(),
            class: *[None, None, Some("public"), Some("secret-3")].choose(rng).unwrap(),
            fault: Some(format!("{at}{fault}")).filter(|_| !is_calm && !fault.is_empty()),
            named: Some(named).filter(|name| !name.is_empty()),
            session: rng.random_bool(0.8).then(|| rng.random_range(0..1000)),
            owner: one(rng, &NAMES[1..]),
        }
    }

    /// The rules that match, by `placement.md` and not by the code.
    fn matches(&self, when: When) -> bool {
        let Kind(_, path, body, ..) = self.kind;
        let is_outside = path.starts_with("/v1/models");
        !is_outside
            && match when {
                When::Region => self.region.is_some_and(|region| region.to_ascii_lowercase().starts_with("eu")),
                When::Class => match body {
                    Body::None => false,
                    Body::Json => self.class.is_some_and(|class| class.starts_with("secret")),
                    Body::Opaque | Body::Socket => true,
                },
                When::Audio => path.starts_with("/v1/audio"),
            }
    }

    /// The backends that may see it under the rules of a generation; `None` if no rule matches.
    pub(super) fn may_see(&self, generation: u64) -> Option<Vec<&'static str>> {
        let matching: Vec<_> =
            rules(generation).iter().filter(|(when, _)| self.matches(*when)).map(|(_, allow)| *allow).collect();
        let sees = |tags: &[&str]| matching.iter().all(|allow| allow.iter().any(|tag| tags.contains(tag)));
        let names = NAMES.iter().zip(TAGS).filter(|(_, tags)| sees(tags)).map(|(name, _)| *name);
        (!matching.is_empty()).then(|| names.collect())
    }

    /// True if the backend may see it under the rules of one of the generations.
    pub(super) fn is_for(&self, name: &str, generations: &RangeInclusive<u64>) -> bool {
        generations.clone().any(|at| self.may_see(at).is_none_or(|eligible| eligible.contains(&name)))
    }

    fn bytes(&self) -> Vec<u8> {
        let Kind(method, path, body, fields, _) = self.kind;
        let id = response_id(Owner::of(self.owner), "resp_1");
        let (path, fields) = (path.replace(OWNED, &id), fields.replace(OWNED, &id));
        let text = match (body, self.class) {
            (Body::Json, Some(class)) => format!("{{\"metadata\":{{\"class\":\"{class}\"}},{fields}}}"),
            (Body::Json, None) => format!("{{{fields}}}"),
            _ if fields == "TOO LONG" => format!("{{\"pad\":\"{}\",{MESSAGES}}}", "x".repeat(MAX_BODY)),
            _ => fields,
        };
        let mut more = format!("x-number: {}\r\n", self.number);
        let socket = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let framing =
            format!("connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", text.len());
        more += if body == Body::Socket { socket } else { &framing };
        let named =
            [("x-region", self.region), ("x-fault", self.fault.as_deref()), ("x-shiftgate-backend", self.named)];
        for (name, value) in named {
            more += &value.map(|value| format!("{name}: {value}\r\n")).unwrap_or_default();
        }
        more += &self.session.map(|session| format!("x-session-id: s{session}\r\n")).unwrap_or_default();
        format!("{method} {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer k\r\n{more}\r\n{text}").into_bytes()
    }

    /// Sends it and reads the answer; a hanging one is left once a backend has it: `None`.
    pub(super) async fn send(&self, address: SocketAddr, backends: &[Backend]) -> Option<Answer> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A refusal may come before a large body is written.
        drop(stream.write_all(&self.bytes()).await);
        let mut got = Vec::new();
        let hangs = |name: &str| self.fault.as_ref().is_some_and(|fault| *fault == format!("{name}=hang"));
        let hung = async {
            let mut seen = JoinSet::new();
            for backend in backends.iter().filter(|backend| hangs(ANY) || hangs(backend.shared.name)) {
                let (number, mut watched) = (self.number, backend.shared.seen.subscribe());
                seen.spawn(async move { watched.wait_for(|seen| seen.contains(&number)).await.is_ok() });
            }
            if seen.join_next().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let read = async {
            loop {
                let is_tunnel = got.starts_with(b"HTTP/1.1 101 ") && got.ends_with(b"\r\n\r\n");
                if is_tunnel || !matches!(stream.read_buf(&mut got).await, Ok(1..)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = read => Some(parse(&got)),
            () = hung => None,
            () = tokio::time::sleep(PATIENCE) => panic!("the answer hangs: {self:?}"),
        }
    }
}
