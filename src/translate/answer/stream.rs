//! Rewriting of streamed answers of any API.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::backend_error::{BackendError, failed};
use super::chat::Chat;
use super::completions::Completions;
use super::ids::Ids;
use super::notes::Notes;
use super::pass::PassThrough;
use super::progress::Progress;
use super::responses::Responses;
use crate::translate::answer_spec::{AnswerSpec, Kind};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::sse::Framer;

/// Comment that the proxy sends while a thought is held back; SDKs skip it.
pub(crate) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// End of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The application has the whole answer.
    Complete,
    /// An error ended it: [`Stream::error`].
    Failed,
    /// The stream broke off.
    Broke,
}

/// Rewriter of a stream. Each event leaves in the call that completed it.
pub struct Stream {
    framer: Framer,
    rewriter: Rewriter,
    progress: Progress,
}

enum Rewriter {
    Chat(Box<Chat>),
    Responses(Box<Responses>),
    Completions(Box<Completions>),
    Pass(Box<PassThrough>),
}

impl fmt::Debug for Stream {
    /// Formats the progress, and nothing of the answer's text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl Stream {
    /// Makes a rewriter. OpenAI's own answers pass as they are, but for usage that the application did not ask for.
    pub fn new(spec: Arc<AnswerSpec>, ids: Ids) -> Self {
        let rewriter = match (spec.engine.facts().speaks_openai, spec.kind) {
            (true, _) => Rewriter::Pass(Box::new(PassThrough::new(!spec.usage_chunk && spec.kind != Kind::Responses))),
            (false, Kind::Completions) => Rewriter::Completions(Box::new(Completions::new(spec, ids))),
            (false, Kind::Chat) => Rewriter::Chat(Box::new(Chat::new(spec, ids))),
            (false, Kind::Responses) => Rewriter::Responses(Box::new(Responses::new(spec, ids))),
        };
        Self { framer: Framer::default(), rewriter, progress: Progress::default() }
    }

    /// Rewrites the events that `chunk` completes and appends the result to `out`.
    pub fn push(&mut self, chunk: &[u8], now: Instant, out: &mut BytesMut) {
        let Self { framer, rewriter, progress } = self;
        match rewriter {
            Rewriter::Pass(pass) => return pass.push(chunk, now, progress, out),
            Rewriter::Chat(_) | Rewriter::Responses(_) | Rewriter::Completions(_) if progress.ended => return,
            Rewriter::Chat(chat) => framer.push(chunk, |data| {
                if !progress.ended {
                    let was_finished = progress.seen.finished();
                    chat.event(data, now, progress, out);
                    progress.paced(was_finished, now);
                }
            }),
            Rewriter::Completions(completions) => framer.push(chunk, |data| {
                if !progress.ended {
                    let was_finished = progress.seen.finished();
                    completions.event(data, now, progress, out);
                    progress.paced(was_finished, now);
                }
            }),
            Rewriter::Responses(responses) => framer.push(chunk, |data| {
                if !progress.ended {
                    let was_finished = progress.seen.finished();
                    responses.event(data, now, progress, out);
                    progress.paced(was_finished, now);
                }
            }),
        }
        if framer.oversized > 0 && !progress.ended {
            progress.fail(failed("the backend sent an event that is too long"), out);
        }
    }

    /// Ends the stream when its HTTP body has ended.
    pub fn end(&mut self, out: &mut BytesMut) -> Ending {
        let progress = &mut self.progress;
        match &mut self.rewriter {
            Rewriter::Pass(pass) => pass.end(out),
            Rewriter::Chat(chat) if chat.is_over() => chat.complete(progress, out),
            Rewriter::Completions(completions) if completions.has_finished() => completions.complete(progress, out),
            Rewriter::Chat(_) | Rewriter::Responses(_) | Rewriter::Completions(_) => {}
        }
        if progress.error.is_some() {
            Ending::Failed
        } else if progress.seen.finished() && (progress.ended || matches!(self.rewriter, Rewriter::Pass(_))) {
            Ending::Complete
        } else {
            Ending::Broke
        }
    }

    /// True if nothing more will be shown, though the server may go on: every choice met a stop string.
    pub fn is_over(&self) -> bool {
        match &self.rewriter {
            Rewriter::Chat(chat) => chat.is_over(),
            // Their servers enforce the stop strings and end by themselves.
            Rewriter::Completions(_) | Rewriter::Responses(_) | Rewriter::Pass(_) => self.progress.ended,
        }
    }

    /// True if thoughts may be held back for long, so that keep-alive comments are needed.
    pub const fn holds_back(&self) -> bool {
        !matches!(self.rewriter, Rewriter::Pass(_))
    }

    /// Returns the facts that the events showed so far.
    pub const fn seen(&self) -> &AnswerFacts {
        &self.progress.seen
    }

    /// True if the application has received something to show: a text, a call, a refusal, or a thought.
    pub const fn has_shown(&self) -> bool {
        self.progress.shown
    }

    /// Returns the error that ended the stream. It was sent only if something had been shown before.
    pub const fn error(&self) -> Option<&BackendError> {
        self.progress.error.as_ref()
    }

    /// Returns the backend's name for the model.
    pub fn model(&self) -> Option<&str> {
        self.progress.seen.told.model.as_deref()
    }

    /// Returns the notes made so far.
    pub const fn notes(&self) -> Notes {
        self.progress.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Engine;
    use crate::translate::ids::Owner;

    fn stream(engine: Engine) -> Stream {
        Stream::new(Arc::new(spec(engine)), Ids { seed: 7, created: 1_795_000_000 })
    }

    fn spec(engine: Engine) -> AnswerSpec {
        AnswerSpec {
            streamed: true,
            stop: vec!["END".to_owned()],
            ..AnswerSpec::new(engine, Owner::of("qwen"), Kind::Chat, "gpt-4o".to_owned())
        }
    }

    fn delta(delta: &str) -> Vec<u8> {
        format!("data: {{\"model\":\"qwen\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n").into_bytes()
    }

    #[test]
    fn a_thought_is_generated_but_not_shown() {
        let (mut stream, mut out) = (stream(Engine::Vllm), BytesMut::new());
        stream.push(&delta(r#"{"role":"assistant","content":""}"#), Instant::now(), &mut out);
        assert!(stream.seen().first_content.is_none() && !stream.has_shown());
        out.clear();
        stream.push(&delta(r#"{"reasoning":"x"}"#), Instant::now(), &mut out);
        assert!(stream.seen().first_content.is_some() && !stream.has_shown() && out.is_empty());
        stream.push(&delta(r#"{"content":"x"}"#), Instant::now(), &mut out);
        assert!(stream.has_shown() && stream.model() == Some("qwen"));
    }

    #[test]
    fn a_stream_is_over_when_its_text_was_cut() {
        let (mut stream, mut out) = (stream(Engine::Vllm), BytesMut::new());
        stream.push(&delta(r#"{"content":"a EN"}"#), Instant::now(), &mut out);
        assert!(!stream.is_over());
        stream.push(&delta(r#"{"content":"D b"}"#), Instant::now(), &mut out);
        assert!(stream.is_over());
        assert_eq!(stream.end(&mut out), Ending::Complete);
        assert!(out.ends_with(b"\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"));
    }

    #[test]
    fn a_prompt_that_is_done_does_not_end_the_others() {
        let spec = AnswerSpec { kind: Kind::Completions, stop: Vec::new(), ..spec(Engine::Vllm) };
        let mut stream = Stream::new(Arc::new(spec), Ids { seed: 7, created: 1_795_000_000 });
        let mut out = BytesMut::new();
        let first = b"data: {\"choices\":[{\"index\":0,\"text\":\"a<|im_end|>\",\"finish_reason\":\"stop\"}]}\n\n";
        stream.push(first, Instant::now(), &mut out);
        assert!(!stream.is_over(), "more may come, and the server ends by itself");
    }

    #[test]
    fn what_breaks_off_says_so_and_shows_nothing_of_itself() {
        let (mut stream, mut out) = (stream(Engine::Sglang), BytesMut::new());
        stream.push(&delta(r#"{"content":"a"}"#), Instant::now(), &mut out);
        assert_eq!(stream.end(&mut out), Ending::Broke);
        assert!(!format!("{stream:?}").contains("\"a\""));
    }

    #[test]
    fn an_event_that_is_too_long_ends_the_answer() {
        let (mut stream, mut out) = (stream(Engine::Vllm), BytesMut::new());
        let long = delta(&format!("{{\"content\":\"{}\"}}", "x".repeat(crate::wire::sse::MAX_EVENT)));
        long.chunks(10_000).for_each(|chunk| stream.push(chunk, Instant::now(), &mut out));
        assert!(stream.error().is_some() && out.is_empty());
        assert_eq!(stream.end(&mut out), Ending::Failed);
    }

    #[test]
    fn an_error_of_openais_passes_and_is_told() {
        let (mut stream, mut out) = (stream(Engine::OpenAi), BytesMut::new());
        let text =
            [&delta(r#"{"content":"a"}"#)[..], b"data: {\"error\":{\"message\":\"no\",\"code\":\"x\"}}\n\n"].concat();
        stream.push(&text, Instant::now(), &mut out);
        assert_eq!(out, text);
        assert_eq!(stream.error().map(|error| error.error.message.as_str()), Some("no"));
        assert_eq!(stream.end(&mut out), Ending::Failed);
    }
}
