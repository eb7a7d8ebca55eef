//! OpenAI's own stream, passed byte for byte without the usage that the application did not ask for.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::backend_error;
use super::progress::Progress;
use crate::model::Engine;
use crate::wire::observe::Observer;
use crate::wire::sse::{MAX_EVENT, ends_event};

pub(super) struct PassThrough {
    observer: Observer,
    strips: bool,
    /// Event begun in an earlier chunk.
    begun: Vec<u8>,
    /// The event is longer than those that are changed, and passes as it comes.
    is_long: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl PassThrough {
    pub(super) fn new(strips: bool) -> Self {
        Self { observer: Observer::stream(), strips, begun: Vec::new(), is_long: false }
    }

    pub(super) fn push(&mut self, chunk: &[u8], now: Instant, progress: &mut Progress, out: &mut BytesMut) {
        let had_error = progress.seen.error_event;
        std::mem::swap(&mut self.observer.seen, &mut progress.seen);
        self.observer.push(&Bytes::copy_from_slice(chunk), now);
        std::mem::swap(&mut self.observer.seen, &mut progress.seen);
        learn(chunk, had_error, progress);
        if !self.strips {
            out.put_slice(chunk);
            return;
        }
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(line);
            if ends_event(&self.begun) {
                if self.is_long {
                    out.put_slice(&self.begun);
                } else {
                    put_stripped(out, &self.begun);
                }
                self.begun.clear();
                self.is_long = false;
            } else if self.begun.len() > MAX_EVENT || self.is_long {
                self.is_long = true;
                // Its last bytes may be the first half of the blank line that ends it.
                let kept = self.begun.split_off(self.begun.len().saturating_sub(3));
                out.put_slice(&self.begun);
                self.begun = kept;
            }
        }
    }

    pub(super) fn end(&mut self, out: &mut BytesMut) {
        out.put_slice(&std::mem::take(&mut self.begun));
    }
}

fn learn(chunk: &[u8], had_error: bool, progress: &mut Progress) {
    progress.shown |= progress.seen.first_content.is_some();
    if progress.seen.error_event && !had_error {
        let mut lines = chunk.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        let data = lines.find(|data| memchr::memmem::find(data, b"\"error\"").is_some());
        progress.note_error(backend_error::of_event(Engine::OpenAi, data.unwrap_or_default()));
    }
}

fn put_stripped(out: &mut BytesMut, event: &[u8]) {
    let data = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| !data.contains(&b'\n'));
    let chunk = data.and_then(|data| Some((data, serde_json::from_slice::<Chunk<'_>>(data).ok()?)));
    let Some((data, chunk)) = chunk else {
        out.put_slice(event);
        return;
    };
    let is_empty = chunk.choices.as_ref().is_some_and(Vec::is_empty);
    match without_usage(data) {
        Some(_) if is_empty && chunk.usage.is_some() => {}
        Some((before, after)) => {
            let lead = event.len() - event.strip_prefix(b"data:").map_or(0, |rest| rest.trim_ascii_start().len());
            out.put_slice(event.get(..lead).unwrap_or_default());
            out.put_slice(before);
            out.put_slice(after);
            out.put_slice(event.get(lead + data.len()..).unwrap_or_default());
        }
        None => out.put_slice(event),
    }
}

/// Returns the object before and after its own field `usage` and the comma of that field.
fn without_usage(object: &[u8]) -> Option<(&[u8], &[u8])> {
    let (start, end) = usage_span(object)?;
    let before = object.get(..start)?;
    let after = object.get(end..)?;
    if let Some(before) = before.trim_ascii_end().strip_suffix(b",") {
        return Some((before, after));
    }
    Some((before, after.trim_ascii_start().strip_prefix(b",").unwrap_or(after)))
}

/// Returns the span of the field at the top level; texts may contain its name.
fn usage_span(object: &[u8]) -> Option<(usize, usize)> {
    let (mut depth, mut at) = (0_u32, 0);
    let mut field: Option<usize> = None;
    while let Some(byte) = object.get(at) {
        match byte {
            b'"' => {
                let end = end_of_text(object, at)?;
                let is_name = object.get(end..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"));
                if depth == 1 && is_name && object.get(at..end) == Some(b"\"usage\"") {
                    field = Some(at);
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some((field?, at)),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => {
                if let Some(start) = field {
                    return Some((start, at));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn end_of_text(object: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match object.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(strips: bool, chunks: &[&[u8]]) -> (String, Progress) {
        let mut pass = PassThrough::new(strips);
        let (mut out, mut progress) = (BytesMut::new(), Progress::default());
        for chunk in chunks {
            pass.push(chunk, Instant::now(), &mut progress, &mut out);
        }
        pass.end(&mut out);
        (String::from_utf8(out.to_vec()).unwrap(), progress)
    }

    const STREAM: &str = concat!(
        "data: {\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":1, {\"}}],\"usage\":null}\n\n",
        ": comment\n\n",
        "data: {\"usage\":null,\"choices\":[{\"delta\":{\"usage\":7}}]}\n\n",
        "data:  {\"id\":\"a\", \"usage\": {\"prompt_tokens\":7,\"completion_tokens\":3} , \"choices\":[]}\n\n",
        "data: {\"id\":\"a\",\"choices\":[]}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn only_usage_is_taken_out_however_the_stream_is_cut() {
        let expected = concat!(
            "data: {\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":1, {\"}}]}\n\n",
            ": comment\n\n",
            "data: {\"choices\":[{\"delta\":{\"usage\":7}}]}\n\n",
            "data: {\"id\":\"a\",\"choices\":[]}\n\n",
            "data: [DONE]\n\n",
        );
        let (whole, progress) = pass(true, &[STREAM.as_bytes()]);
        assert_eq!(whole, expected);
        assert_eq!(progress.seen.usage.unwrap().output, 3);
        assert!(progress.shown && progress.seen.done);
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(pass(true, &bytes).0, expected);
        assert_eq!(pass(false, &bytes).0, STREAM);
    }

    #[test]
    fn a_long_event_and_a_torn_one_pass() {
        let long = format!("data: {{\"usage\":null,\"x\":\"{}\"}}\n\ndata: to", "x".repeat(MAX_EVENT));
        let bytes: Vec<&[u8]> = long.as_bytes().chunks(7001).collect();
        assert_eq!(pass(true, &bytes).0, long);
    }
}
