//! Recognises the endpoint of OpenAI's API that a request is for, and knows what may be done with it.
//!
//! Paths are matched undecoded; one that could be decoded to another path is refused.

use http::Method;

use super::scan::Scan;

/// An endpoint. Other paths under `/v1` pass through to the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/moderations`.
    Moderations,
    /// `POST /v1/responses`.
    Responses,
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/realtime`, which becomes a WebSocket.
    Realtime,
    /// Another path under `/v1` with GET or HEAD, which can be repeated; with its template.
    Read(&'static str),
    /// Another request under `/v1`; with its template.
    Other(&'static str),
    /// A path that two servers may read differently: dot segments, empty segments, encoded slashes.
    Malformed,
    /// A path that is not under `/v1`.
    NotOurs,
}

/// Kind of model call, by the values of `gen_ai.operation.name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A chat, also through `/v1/responses`.
    Chat,
    /// A completion of a prompt.
    TextCompletion,
    /// Embeddings of texts.
    Embeddings,
}

impl Operation {
    /// Value of `gen_ai.operation.name`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }
}

impl Endpoint {
    /// Recognises the endpoint; never fails.
    pub fn of(method: &Method, path: &str) -> Self {
        let posted = *method == Method::POST;
        match path {
            "/v1/chat/completions" if posted => return Self::ChatCompletions,
            "/v1/completions" if posted => return Self::Completions,
            "/v1/embeddings" if posted => return Self::Embeddings,
            "/v1/moderations" if posted => return Self::Moderations,
            "/v1/responses" if posted => return Self::Responses,
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/v1") else {
            return if path.starts_with('/') && !is_malformed(path) { Self::NotOurs } else { Self::Malformed };
        };
        if is_malformed(path) {
            return Self::Malformed;
        }
        if !rest.starts_with('/') {
            return Self::NotOurs;
        }
        match rest {
            "/models" if *method == Method::GET => Self::Models,
            "/realtime" if *method == Method::GET => Self::Realtime,
            _ if matches!(*method, Method::GET | Method::HEAD) => Self::Read(template(rest)),
            _ => Self::Other(template(rest)),
        }
    }

    /// Path for logs and metrics, with `*` in place of ids.
    pub const fn template(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Moderations => "/v1/moderations",
            Self::Responses => "/v1/responses",
            Self::Models => "/v1/models",
            Self::Realtime => "/v1/realtime",
            Self::Read(template) | Self::Other(template) => template,
            Self::Malformed => "malformed",
            Self::NotOurs => "other",
        }
    }

    /// Kind of model call; `None` if no model is called.
    pub const fn operation(self) -> Option<Operation> {
        match self {
            Self::ChatCompletions | Self::Responses => Some(Operation::Chat),
            Self::Completions => Some(Operation::TextCompletion),
            Self::Embeddings => Some(Operation::Embeddings),
            _ => None,
        }
    }

    /// True if the split may choose a backend.
    pub const fn split_candidate(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Responses)
    }

    /// True if answers are generated text, in one of OpenAI's three formats.
    pub const fn is_generation(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions | Self::Responses)
    }

    /// True if the body is read, up to `max_body`, before it is sent.
    pub const fn is_read(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::Moderations | Self::Responses
        )
    }

    /// True if the request may be sent twice, whatever its body.
    pub const fn replay_safe_by_path(self) -> bool {
        matches!(
            self,
            Self::ChatCompletions
                | Self::Completions
                | Self::Embeddings
                | Self::Moderations
                | Self::Models
                | Self::Read(_)
        )
    }

    /// True if the request may be sent twice because its body stores nothing.
    pub fn replay_safe_by_body(self, body: &Scan<'_>) -> bool {
        self == Self::Responses && body.is_false("store") && !body.is_true("background")
    }
}

fn is_malformed(path: &str) -> bool {
    let encoded = |a: u8, b: u8| path.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1] == a && (w[2] | 0x20) == b);
    path.contains("//")
        || path.bytes().any(|byte| byte == b'\\' || byte < 0x20 || byte == 0x7f)
        || encoded(b'2', b'f')
        || encoded(b'2', b'e')
        || encoded(b'5', b'c')
        || path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Paths whose next segment is an id, each with its template.
const FAMILIES: [(&str, &str); 12] = [
    ("/chat/completions", "/v1/chat/completions/*"),
    ("/responses", "/v1/responses/*"),
    ("/models", "/v1/models/*"),
    ("/files", "/v1/files/*"),
    ("/uploads", "/v1/uploads/*"),
    ("/batches", "/v1/batches/*"),
    ("/audio", "/v1/audio/*"),
    ("/images", "/v1/images/*"),
    ("/vector_stores", "/v1/vector_stores/*"),
    ("/fine_tuning", "/v1/fine_tuning/*"),
    ("/assistants", "/v1/assistants/*"),
    ("/threads", "/v1/threads/*"),
];

fn template(rest: &str) -> &'static str {
    FAMILIES
        .iter()
        .find(|(family, _)| rest.strip_prefix(family).is_some_and(|tail| tail.is_empty() || tail.starts_with('/')))
        .map_or("/v1/*", |(_, template)| template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        for (method, path, expected) in [
            (Method::POST, "/v1/chat/completions", Endpoint::ChatCompletions),
            (Method::GET, "/v1/chat/completions", Endpoint::Read("/v1/chat/completions/*")),
            (Method::POST, "/v1/chat/completions/", Endpoint::Other("/v1/chat/completions/*")),
            (Method::POST, "/v1/Chat/completions", Endpoint::Other("/v1/*")),
            (Method::DELETE, "/v1/files/file-1", Endpoint::Other("/v1/files/*")),
            (Method::GET, "/v1/realtime", Endpoint::Realtime),
            (Method::POST, "/v1/new/thing", Endpoint::Other("/v1/*")),
            (Method::GET, "/v1", Endpoint::NotOurs),
            (Method::GET, "/v10/models", Endpoint::NotOurs),
            (Method::GET, "/metrics", Endpoint::NotOurs),
            (Method::GET, "/v1/../metrics", Endpoint::Malformed),
            (Method::GET, "/v1/./models", Endpoint::Malformed),
            (Method::GET, "/v1//models", Endpoint::Malformed),
            (Method::GET, "/v1/%2e%2E/metrics", Endpoint::Malformed),
            (Method::GET, "/v1/a%2Fb", Endpoint::Malformed),
            (Method::GET, "/v1/a\\b", Endpoint::Malformed),
        ] {
            assert_eq!(Endpoint::of(&method, path), expected, "{method} {path}");
        }
    }
}
