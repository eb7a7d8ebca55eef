//! Reads answers from their bytes.

mod chat;
mod field;
mod responses;

use serde_json::Value;

use super::answer::Answer;
use crate::wire::endpoint::Endpoint;
use crate::wire::sse::Framer;

impl Answer {
    /// Reads the body of a successful answer of chat completions or responses, after translation; `None` if it is not
    /// one. A stream may lack its end.
    pub fn read(endpoint: Endpoint, is_stream: bool, body: &[u8]) -> Option<Self> {
        let value = || serde_json::from_slice(body).ok();
        match (endpoint, is_stream) {
            (Endpoint::ChatCompletions, false) => chat::whole(&value()?),
            (Endpoint::Responses, false) => responses::whole(&value()?),
            (Endpoint::ChatCompletions, true) => {
                let mut stream = chat::Stream::default();
                each_event(body, |event| stream.event(event))?;
                stream.answer()
            }
            (Endpoint::Responses, true) => {
                let mut stream = responses::Stream::default();
                each_event(body, |event| stream.event(event))?;
                stream.answer()
            }
            _ => None,
        }
    }
}

/// Calls `take` with each event; `None` as soon as an event is not JSON or `take` refuses it.
fn each_event(body: &[u8], mut take: impl FnMut(&Value) -> Option<()>) -> Option<()> {
    let mut result = Some(());
    let mut framer = Framer::default();
    framer.push(body, |data| {
        if result.is_some() && data.trim_ascii() != b"[DONE]" {
            result = serde_json::from_slice(data).ok().and_then(|event| take(&event));
        }
    });
    result.filter(|()| framer.oversized == 0)
}
