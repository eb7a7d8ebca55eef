//! Writes errors in OpenAI's shape, as its SDKs read them: `{"error":{"message","type","param","code"}}`.

use bytes::Bytes;
use serde::Serialize;

/// Limit, in characters, on a backend's message; the rest is cut.
const MAX_MESSAGE: usize = 2000;

/// One error of OpenAI's API.
#[derive(Debug, Clone, Serialize)]
pub struct ApiError {
    /// Text for the developer.
    pub message: String,
    /// Class of the error, by which SDKs tell errors apart.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Field of the request that is at fault.
    pub param: Option<String>,
    /// Exact error within its class.
    pub code: Option<Box<str>>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ApiError,
}

impl ApiError {
    /// Creates an `invalid_request_error`.
    pub fn invalid_request(message: impl Into<String>, code: Option<&'static str>) -> Self {
        Self { message: message.into(), kind: "invalid_request_error", param: None, code: code.map(Into::into) }
    }

    /// Creates a `server_error`.
    pub fn server(message: impl Into<String>, code: &'static str) -> Self {
        Self { message: message.into(), kind: "server_error", param: None, code: Some(code.into()) }
    }

    /// Converts an error response of any engine; keeps its message, if one is found.
    pub fn of_backend(status: u16, body: &[u8]) -> Self {
        let message = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|said| message_in(&said));
        let message = message.unwrap_or_else(|| format!("the backend answered {status}"));
        match status {
            429 => Self { message, kind: "rate_limit_error", param: None, code: Some("rate_limit_exceeded".into()) },
            400..=499 => Self::invalid_request(message, None),
            _ => Self::server(message, "upstream_error"),
        }
    }

    /// Writes the body of a response.
    pub fn to_json(&self) -> Bytes {
        // Strings and nulls always serialise; an empty body would still be a valid response.
        serde_json::to_vec(&Envelope { error: self }).map(Bytes::from).unwrap_or_default()
    }

    /// Writes the event that ends a broken stream. No `[DONE]` follows it.
    pub fn to_event(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.to_json());
        event.extend_from_slice(b"\n\n");
        Bytes::from(event)
    }
}

/// Finds the message: `error.message`, `message`, `error` or `detail`, in this order.
fn message_in(said: &serde_json::Value) -> Option<String> {
    let error = said.get("error");
    let found = error.and_then(|error| error.get("message")).or_else(|| said.get("message")).or(error);
    let text = found.or_else(|| said.get("detail"))?.as_str()?;
    Some(text.chars().take(MAX_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engines_message_is_found() {
        for body in [
            r#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#,
            r#"{"object":"error","message":"m","code":400}"#,
            r#"{"error":"m","error_type":"validation"}"#,
            r#"{"detail":"m"}"#,
        ] {
            let error = ApiError::of_backend(400, body.as_bytes());
            assert_eq!((error.message.as_str(), error.kind), ("m", "invalid_request_error"), "{body}");
        }
        for body in ["", "<html>", r#"{"detail":[{"loc":1}]}"#] {
            assert_eq!(ApiError::of_backend(503, body.as_bytes()).message, "the backend answered 503", "{body}");
        }
    }

    #[test]
    fn shape_is_that_of_openai() {
        let error = ApiError::invalid_request("no such path", Some("unknown_url"));
        assert_eq!(
            error.to_json(),
            r#"{"error":{"message":"no such path","type":"invalid_request_error","param":null,"code":"unknown_url"}}"#
        );
        let event = ApiError::server("broke off", "upstream_error").to_event();
        assert!(event.starts_with(b"data: {\"error\":{") && event.ends_with(b"}}\n\n"));
    }
}
