//! Reads answers from their bytes.

mod chat;
mod field;
mod responses;

use serde_json::Value;

use super::answer::Answer;
use super::sizes::Sizes;
use crate::wire::endpoint::Endpoint;
use crate::wire::sse::Framer;

impl Answer {
    /// Reads the body of a successful answer of chat completions or responses, after translation; `None` if it is not
    /// one. A stream may lack its end.
    pub fn read(endpoint: Endpoint, is_stream: bool, body: &[u8]) -> Option<Self> {
        let mut reading = Reading::new(endpoint, is_stream);
        reading.push(body);
        reading.answer()
    }
}

/// An answer that is read piece by piece. Of a stream it keeps the content and not the events around it, which are 50
/// times as long.
#[derive(Debug)]
pub struct Reading {
    form: Form,
    framer: Framer,
    is_answer: bool,
}

#[derive(Debug)]
enum Form {
    Whole(Endpoint, Vec<u8>),
    Chat(chat::Stream),
    Responses(responses::Stream),
}

impl Reading {
    /// An answer of which nothing was read.
    pub fn new(endpoint: Endpoint, is_stream: bool) -> Self {
        let form = match (endpoint, is_stream) {
            (Endpoint::ChatCompletions, true) => Form::Chat(chat::Stream::default()),
            (Endpoint::Responses, true) => Form::Responses(responses::Stream::default()),
            _ => Form::Whole(endpoint, Vec::new()),
        };
        Self { form, framer: Framer::default(), is_answer: true }
    }

    /// Reads the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_answer {
            return;
        }
        let is_answer = &mut self.is_answer;
        let mut each = |take: &mut dyn FnMut(&Value) -> Option<()>| {
            self.framer.push(bytes, |data| {
                if *is_answer && data.trim_ascii() != b"[DONE]" {
                    *is_answer = serde_json::from_slice(data).ok().and_then(|event| take(&event)).is_some();
                }
            });
        };
        match &mut self.form {
            Form::Whole(_, body) => body.extend_from_slice(bytes),
            Form::Chat(stream) => each(&mut |event| stream.event(event)),
            Form::Responses(stream) => each(&mut |event| stream.event(event)),
        }
        self.is_answer &= self.framer.oversized == 0;
    }

    /// Sizes of what was read, with the event that is not complete.
    pub fn sizes(&self) -> Sizes {
        let Sizes { content, memory } = match &self.form {
            Form::Whole(_, body) => Sizes { content: body.len(), memory: body.capacity() },
            Form::Chat(stream) => stream.sizes(),
            Form::Responses(stream) => stream.sizes(),
        };
        let event = self.framer.held();
        Sizes { content: content + event, memory: memory + event }
    }

    /// Returns the answer as far as it was read; `None` if it is not one.
    pub fn answer(&self) -> Option<Answer> {
        match &self.form {
            _ if !self.is_answer => None,
            Form::Whole(Endpoint::ChatCompletions, body) => chat::whole(&serde_json::from_slice(body).ok()?),
            Form::Whole(Endpoint::Responses, body) => responses::whole(&serde_json::from_slice(body).ok()?),
            Form::Whole(..) => None,
            Form::Chat(stream) => stream.answer(),
            Form::Responses(stream) => stream.answer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Streams of both endpoints, one with an event that is no JSON.
    fn streams() -> [(Endpoint, String); 3] {
        let chat = |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\r\n\r\n");
        let calls = r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}"#;
        let part = |delta| {
            format!(
                "event: x\ndata: {{\"type\":\"response.output_text.delta\",\"output_index\":1,\"delta\":\"{delta}\"}}\n\n"
            )
        };
        [
            (Endpoint::ChatCompletions, chat(r#"{"content":"Hel"}"#) + &chat(r#"{"content":"lö"}"#) + &chat(calls)),
            (Endpoint::Responses, part("Hel") + &part("lö")),
            (Endpoint::ChatCompletions, chat(r#"{"content":"a"}"#) + "data: oops\n\n"),
        ]
    }

    proptest! {
        #[test]
        fn an_answer_does_not_depend_on_how_it_is_cut(sizes in proptest::collection::vec(1usize..9, 1..60)) {
            for (endpoint, stream) in streams() {
                let mut reading = Reading::new(endpoint, true);
                let mut rest = stream.as_bytes();
                for size in sizes.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*size));
                    reading.push(now);
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                let whole = Answer::read(endpoint, true, stream.as_bytes());
                prop_assert_eq!(whole.is_some(), !stream.contains("oops"));
                prop_assert_eq!(reading.answer(), whole);
            }
        }
    }

    #[test]
    fn what_is_held_is_counted() {
        for (endpoint, stream) in streams() {
            let mut reading = Reading::new(endpoint, true);
            reading.push(stream.as_bytes());
            if let Some(answer) = reading.answer() {
                let content = answer.text().len() + answer.calls.iter().map(|call| call.arguments.len()).sum::<usize>();
                let Sizes { content: counted, memory } = reading.sizes();
                assert!(
                    counted == content + answer.calls.len() && (content..content + 400).contains(&memory),
                    "{memory}"
                );
            }
        }
    }
}
