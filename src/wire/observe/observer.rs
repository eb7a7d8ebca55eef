//! Collects the facts of one answer from its bytes, while they pass.
//!
//! Owns: reading answers. Refuses: changing or delaying them. Invariant: memory is bounded, and no input fails the answer.

use std::time::Instant;

use bytes::Bytes;

use super::event::read_event;
use super::whole;
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::sse::{self, Framer};

/// Limit, in bytes, on an unstreamed answer that is read; a larger one passes and its usage stays unknown.
const MAX_WHOLE: usize = 1 << 20;

/// Reads one answer.
#[derive(Debug)]
pub struct Observer {
    /// Facts so far; those of an unstreamed answer are complete after [`Observer::finish`].
    pub seen: AnswerFacts,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream(Framer),
    Whole { chunks: Vec<Bytes>, length: usize, is_brief: bool },
    Off,
}

impl Observer {
    /// Makes an observer of a stream.
    pub fn stream() -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Stream(Framer::default()) }
    }

    /// Makes an observer of an unstreamed answer.
    pub fn whole() -> Self {
        Self::of_whole(false)
    }

    /// Makes an observer of an unstreamed answer that reads only usage and model.
    pub fn brief() -> Self {
        Self::of_whole(true)
    }

    fn of_whole(is_brief: bool) -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Whole { chunks: Vec::new(), length: 0, is_brief } }
    }

    /// Makes an observer that reads nothing.
    pub fn off() -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Off }
    }

    /// Takes the next bytes, which came at `now`.
    pub fn push(&mut self, chunk: &Bytes, now: Instant) {
        match &mut self.kind {
            Kind::Stream(framer) => {
                let seen = &mut self.seen;
                framer.push(chunk, |data| read_event(seen, data, now));
            }
            Kind::Whole { chunks, length, .. } => {
                *length += chunk.len();
                if *length > MAX_WHOLE {
                    self.kind = Kind::Off;
                } else {
                    chunks.push(chunk.clone());
                }
            }
            Kind::Off => {}
        }
    }

    /// True if the answer is a stream.
    pub const fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// True if content, usage or an error was seen.
    pub fn has_seen(&self) -> bool {
        self.seen.first_content.is_some() || self.seen.usage.is_some() || self.seen.error_event
    }

    /// Ends the answer; an unstreamed one is read at this point.
    pub fn finish(&mut self) {
        if let Kind::Whole { chunks, is_brief, .. } = std::mem::replace(&mut self.kind, Kind::Off) {
            match chunks.as_slice() {
                [] => {}
                [one] => whole::read(&mut self.seen, one, is_brief),
                many => whole::read(&mut self.seen, &many.concat(), is_brief),
            }
        }
    }
}

/// Returns the end of the first event in `events` that is an error.
pub(crate) fn end_of_error(events: &[u8], now: Instant) -> Option<usize> {
    let mut observer = Observer::stream();
    let mut start = 0;
    for end in sse::event_ends(events) {
        observer.push(&Bytes::copy_from_slice(events.get(start..end)?), now);
        if observer.seen.error_event {
            return Some(end);
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::answer_facts::{AnswerIds, Usage};
    use crate::wire::usage::of_answer;

    fn watch(stream: &str) -> AnswerFacts {
        let mut observer = Observer::stream();
        observer.push(&Bytes::from(stream.to_owned()), Instant::now());
        observer.finish();
        observer.seen
    }

    #[test]
    fn first_content_is_no_role_chunk() {
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
        assert!(watch(role).first_content.is_none());
        for delta in [
            r#"{"content":"x"}"#,
            r#"{"reasoning":"x"}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"reasoning_content":"é\u0041"}"#,
        ] {
            let stream = format!("{role}data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
            assert!(watch(&stream).first_content.is_some(), "{delta}");
        }
        assert!(watch("data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n").first_content.is_some());
    }

    #[test]
    fn usage_and_errors_are_seen_after_content_too() {
        let seen = watch(concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,",
            "\"prompt_tokens_details\":{\"cached_tokens\":2,\"cache_write_tokens\":4}}}\n\ndata: [DONE]\n\n"
        ));
        assert_eq!(
            seen.usage,
            Some(Usage { input: 7, cached_input: Some(2), cache_written: Some(4), output: 3, reasoning: None })
        );
        assert!(!seen.error_event);
        let seen =
            watch("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"m\"}}\n\n");
        assert!(seen.error_event);
    }

    #[test]
    fn counts_that_are_none_are_not_known_and_cost_nothing_else() {
        for usage in [
            "{}",
            "{\"total_tokens\":3}",
            "{\"prompt_tokens\":\"x\"}",
            "[1]",
            "{\"prompt_tokens\":18446744073709551615}",
        ] {
            let seen =
                watch(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{usage}}}\n\n"));
            assert!(seen.first_content.is_some() && seen.usage.is_none(), "{usage}");
            assert_eq!(of_answer(format!("{{\"usage\":{usage}}}").as_bytes()), None, "{usage}");
        }
    }

    #[test]
    fn a_whole_answer_in_pieces() {
        let mut observer = Observer::whole();
        for part in ["{\"usage\":{\"prompt_tokens\":1,", "\"completion_tokens\":2,\"prompt_tokens_details\":null}}"] {
            observer.push(&Bytes::from_static(part.as_bytes()), Instant::now());
        }
        observer.finish();
        assert_eq!(observer.seen.usage, Some(Usage { input: 1, output: 2, ..Usage::default() }));
        assert_eq!(of_answer(b"<html>"), None);
    }

    #[test]
    fn names_and_reasons_are_those_of_the_backend() {
        let mut observer = Observer::whole();
        observer.push(
            &Bytes::from_static(
                br#"{"id":"c-1","model": "m","choices":[{"message":{"content":"a \"model\": \"x\""},"finish_reason":"stop"},{"finish_reason":"length"}]}"#,
            ),
            Instant::now(),
        );
        observer.finish();
        let told = AnswerIds {
            id: Some("c-1".to_owned()),
            model: Some("m".to_owned()),
            reasons: vec!["stop".to_owned(), "length".to_owned()],
        };
        assert_eq!(observer.seen.told, told);
        let seen = watch(concat!(
            "data: {\"id\":\"c-1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            "data: {\"id\":\"c-1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n",
            "data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        ));
        assert_eq!(seen.told, AnswerIds { reasons: vec!["stop".to_owned()], ..told });
        assert_eq!(seen.pace.unwrap().gaps(), 2);
        let long = format!("data: {{\"model\":\"{}\",\"choices\":[]}}\n\n", "é".repeat(500));
        assert_eq!(watch(&long).told.model.unwrap().chars().count(), 128);
        let seen = watch(concat!(
            "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"status\":\"in_progress\"}}\n\n",
            "data: {\"type\":\"response.incomplete\",\"response\":{\"id\":\"resp_1\",\"status\":\"incomplete\"}}\n\n",
        ));
        assert_eq!((seen.told.id.as_deref(), seen.told.reasons), (Some("resp_1"), vec!["incomplete".to_owned()]));
    }
}
