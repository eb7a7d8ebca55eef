//! Splits a stream of bytes into server-sent events (WHATWG HTML, "event stream interpretation").
//!
//! Owns: finding the data of each event. Refuses: I/O, JSON. Invariant: the events do not depend on how the stream is
//! cut into chunks; the bytes kept between two chunks never exceed [`MAX_EVENT`].

/// Limit, in bytes, on one event; a longer one is skipped.
pub(crate) const MAX_EVENT: usize = 1 << 20;

/// True if `bytes` end with the blank line that ends an event.
pub(crate) fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\r\r")
}

/// Returns the end of the last complete event, if it is after the first `known` bytes; otherwise 0.
pub(crate) fn last_event_end(bytes: &[u8], known: usize) -> usize {
    (known + 1..=bytes.len()).rev().find(|end| bytes.get(..*end).is_some_and(ends_event)).unwrap_or(0)
}

/// Returns the end of each complete event.
pub(crate) fn event_ends(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (1..=bytes.len()).filter(|end| bytes.get(..*end).is_some_and(ends_event))
}

/// Parser of one stream, fed chunk by chunk.
#[derive(Debug, Default)]
pub struct Framer {
    /// Begin of a line from earlier chunks.
    line: Vec<u8>,
    /// `data` lines of the event so far, joined by a line feed.
    data: Vec<u8>,
    has_data: bool,
    /// True if the last chunk ended with CR: an LF at the start of the next one belongs to it.
    after_cr: bool,
    begun: bool,
    skipping: bool,
    /// Number of events skipped because of their size.
    pub oversized: u64,
}

impl Framer {
    /// Calls `event` with the data of every event that this chunk completes.
    pub fn push(&mut self, mut chunk: &[u8], mut event: impl FnMut(&[u8])) {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            if let [b'\n', rest @ ..] = chunk {
                chunk = rest;
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) {
            let (line, rest) = chunk.split_at(end);
            if self.line.is_empty() && !self.skipping {
                self.end_line(line, &mut event);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.line);
                self.end_line(&whole, &mut event);
                self.line = whole;
                self.line.clear();
            }
            chunk = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.keep(chunk);
    }

    /// Number of bytes that it keeps of an event that is not complete.
    pub const fn held(&self) -> usize {
        self.line.len() + self.data.len()
    }

    fn keep(&mut self, part: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + part.len() > MAX_EVENT {
            self.skip();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn skip(&mut self) {
        self.oversized += 1;
        self.skipping = true;
        self.line = Vec::new();
        self.data = Vec::new();
        self.has_data = false;
    }

    fn end_line(&mut self, line: &[u8], event: &mut impl FnMut(&[u8])) {
        let line = if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            if self.has_data && !self.skipping {
                event(&self.data);
            }
            self.data.clear();
            self.has_data = false;
            self.skipping = false;
            return;
        }
        if self.skipping {
            return;
        }
        let Some(value) = line.strip_prefix(b"data") else { return };
        let value = match value {
            [] => value,
            [b':', b' ', value @ ..] | [b':', value @ ..] => value,
            _ => return,
        };
        if self.data.len() + value.len() > MAX_EVENT {
            self.skip();
            return;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            framer.push(chunk, |data| seen.push(String::from_utf8_lossy(data).into_owned()));
        }
        seen
    }

    #[test]
    fn line_ends_comments_bom_and_many_data_lines() {
        let stream: &[u8] = b"\xef\xbb\xbfdata: a\n\n: keep-alive\n\ndata:b\r\n\r\nevent: x\rdata: c\rdata: d\r\rid: 7\n\ndata\n\ndatax: no\n\n";
        assert_eq!(events(&[stream]), ["a", "b", "c\nd", ""]);
    }

    #[test]
    fn the_end_of_the_last_whole_event() {
        for (text, end) in [
            ("data: a\n\ndata: b", 9),
            ("data: a\r\n\r\nda", 11),
            ("data: a\r\rx", 9),
            ("data: a\n", 0),
            ("data: a\n\n", 9),
            ("", 0),
        ] {
            assert_eq!(last_event_end(text.as_bytes(), 0), end, "{text:?}");
        }
    }

    #[test]
    fn an_event_over_the_bound_is_passed_over_and_the_next_is_seen() {
        let long = vec![b'x'; MAX_EVENT];
        let mut framer = Framer::default();
        let mut seen = Vec::new();
        for chunk in [b"data: ".as_slice(), &long, &long, b"\n\ndata: next\n\n"] {
            framer.push(chunk, |data| seen.push(data.to_vec()));
        }
        assert_eq!(seen, [b"next"]);
        assert_eq!(framer.oversized, 1);
        assert!(framer.line.capacity() + framer.data.capacity() < 2 * MAX_EVENT);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            lines in proptest::collection::vec("(data: ?|: |event: |)[a-zé\"{}]{0,6}(\n|\r|\r\n|\n\n|\r\n\r\n)", 0..20),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let stream = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&chunks), events(&[&stream]));
        }
    }
}
