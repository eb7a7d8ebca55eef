//! Errors in OpenAI's shape, as its SDKs read them: `{"error":{"message","type","param","code"}}`.

use bytes::Bytes;
use serde::Serialize;

/// One error as an OpenAI client knows it.
#[derive(Debug, Clone, Serialize)]
pub struct ApiError {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ApiError,
}

impl ApiError {
    pub fn invalid_request(message: impl Into<String>, code: Option<&'static str>) -> Self {
        Self { message: message.into(), kind: "invalid_request_error", param: None, code }
    }

    pub fn server(message: impl Into<String>, code: &'static str) -> Self {
        Self { message: message.into(), kind: "server_error", param: None, code: Some(code) }
    }

    /// The body of an answer.
    pub fn to_json(&self) -> Bytes {
        // Strings and nulls always serialise; an empty body is still a valid answer should that ever change.
        serde_json::to_vec(&Envelope { error: self }).map(Bytes::from).unwrap_or_default()
    }

    /// The event that ends a stream which cannot go on. No `[DONE]` follows it.
    pub fn to_event(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.to_json());
        event.extend_from_slice(b"\n\n");
        Bytes::from(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
