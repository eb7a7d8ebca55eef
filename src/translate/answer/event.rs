//! Events of a chat stream as they are sent: everything around the delta is made once per stream.

use bytes::{BufMut, BytesMut};

use super::calls::CallPart;
use super::ids::Ids;
use super::json::{put_number, put_text, put_text_or_null};
use super::read::Answer;
use super::usage::TokenCounts;
use crate::config::ReasoningPolicy;
use crate::translate::answer_spec::AnswerSpec;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// Additions of one event to a choice.
#[derive(Default)]
pub(super) struct Delta<'a> {
    pub(super) content: Option<&'a str>,
    pub(super) thought: Option<&'a str>,
    pub(super) refusal: Option<&'a str>,
    pub(super) call: Option<&'a CallPart>,
    /// JSON entries joined by commas.
    pub(super) logprobs: &'a [u8],
    pub(super) finish: Option<&'a str>,
}

#[derive(Debug)]
pub(super) struct ChunkWriter {
    /// Chunk up to the choices.
    head: Vec<u8>,
    /// Chunk after the choices.
    tail: &'static [u8],
    functions: bool,
    policy: ReasoningPolicy,
}

impl ChunkWriter {
    pub(super) fn new(first: &Answer<'_>, spec: &AnswerSpec, ids: &Ids) -> Self {
        let mut head = BytesMut::with_capacity(256);
        head.put_slice(b"data: {\"id\":");
        put_text(&mut head, &ids.chat(first.id.as_ref().map(|id| id.0.as_ref())));
        head.put_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        put_number(&mut head, first.created().unwrap_or(ids.created).unsigned_abs());
        head.put_slice(b",\"model\":");
        put_text(&mut head, &spec.model);
        head.put_slice(b",\"service_tier\":null,\"system_fingerprint\":null,\"choices\":[");
        // With usage asked for, OpenAI sends null in all chunks but the last.
        let tail: &[u8] = if spec.usage_chunk { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        Self { head: head.to_vec(), tail, functions: spec.functions, policy: spec.reasoning }
    }

    /// Appends an event about the choice `index`; the `first` one has the role.
    pub(super) fn put(&self, out: &mut BytesMut, index: u64, first: bool, delta: &Delta<'_>) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"index\":");
        put_number(out, index);
        out.put_slice(b",\"delta\":{");
        let from = out.len();
        if first {
            out.put_slice(b"\"role\":\"assistant\",\"content\":");
            put_text_or_null(out, delta.content.or_else(|| delta.call.is_none().then_some("")));
            out.put_slice(b",\"refusal\":");
            put_text_or_null(out, delta.refusal);
        } else {
            if let Some(content) = delta.content {
                out.put_slice(b"\"content\":");
                put_text(out, content);
            }
            if let Some(refusal) = delta.refusal {
                separate(out, from);
                out.put_slice(b"\"refusal\":");
                put_text(out, refusal);
            }
        }
        if let Some(thought) = delta.thought {
            for name in reasoning_fields(self.policy) {
                separate(out, from);
                put_text(out, name);
                out.put_u8(b':');
                put_text(out, thought);
            }
        }
        if let Some(call) = delta.call {
            separate(out, from);
            call.put(out, self.functions);
        }
        out.put_slice(b"},\"logprobs\":");
        put_logprobs(out, delta.logprobs);
        out.put_slice(b",\"finish_reason\":");
        put_text_or_null(out, delta.finish);
        out.put_u8(b'}');
        out.put_slice(self.tail);
    }

    /// Appends the chunk without choices that carries the usage, where it was asked for.
    pub(super) fn put_usage(&self, out: &mut BytesMut, counts: TokenCounts) {
        out.put_slice(&self.head);
        out.put_slice(b"],\"usage\":");
        counts.put_chat(out);
        out.put_slice(b"}\n\n");
    }
}

pub(super) fn put_done(out: &mut BytesMut) {
    out.put_slice(DONE);
}

/// Returns the fields in which the application receives thoughts.
pub(super) const fn reasoning_fields(policy: ReasoningPolicy) -> &'static [&'static str] {
    match policy {
        ReasoningPolicy::Strip => &[],
        ReasoningPolicy::ReasoningContent => &["reasoning_content"],
        ReasoningPolicy::Reasoning => &["reasoning"],
        ReasoningPolicy::Both => &["reasoning_content", "reasoning"],
    }
}

pub(super) fn put_logprobs(out: &mut BytesMut, entries: &[u8]) {
    if entries.is_empty() {
        out.put_slice(b"null");
    } else {
        out.put_slice(b"{\"content\":[");
        out.put_slice(entries);
        out.put_slice(b"],\"refusal\":null}");
    }
}

fn separate(out: &mut BytesMut, from: usize) {
    if out.len() > from {
        out.put_u8(b',');
    }
}
