//! Follows where requests on an HTTP/1.1 connection begin and end, beside hyper, whose parser drops a `content-length`
//! that comes with `transfer-encoding`, and a target's fragment; both have to be refused.
//!
//! Owns: finding heads (RFC 9112 §6 and §7). Refuses: parsing for others. Invariant: at most 128 bytes are kept, and
//! bytes that cannot be followed are a fault: a request that was not seen is not trusted.

/// Bytes kept of a line that comes in pieces; the rest is cut. `content-length` and its value are far shorter.
const MAX_LINE: usize = 128;
/// Limit on the digits of a chunk's size; more is a fault. A u64 holds 16.
const MAX_DIGITS: u8 = 16;
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A fault of a request that its parsed head does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `content-length` and `transfer-encoding` in one head: two servers may read different bodies.
    TwoLengths,
    /// The target contains `#`.
    Fragment,
    /// The begin of this request is not certain.
    Unclear,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    /// The begin of a line from earlier pieces, cut at [`MAX_LINE`].
    kept: Vec<u8>,
    head: Head,
    heads: u64,
    fault: Option<(u64, Fault)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Head,
    Body(u64),
    ChunkSize {
        size: u64,
        digits: u8,
        extension: bool,
    },
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    /// HTTP/2, a tunnel, or lost.
    Opaque,
}

#[derive(Debug, Default)]
struct Head {
    fragment: bool,
    length: Option<u64>,
    chunked: bool,
    /// True if the line is longer than the kept part.
    cut: bool,
}

impl Framing {
    /// Returns the first fault with the number of its request, counted from 1.
    pub const fn fault(&self) -> Option<(u64, Fault)> {
        self.fault
    }

    /// Number of complete heads.
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// True if a head has begun and not ended.
    pub fn in_head(&self) -> bool {
        self.state == State::Head || (self.state == State::Between && !self.kept.is_empty())
    }

    /// Stops following: the connection has another protocol from here on.
    pub fn stop(&mut self) {
        self.state = State::Opaque;
        self.kept = Vec::new();
    }

    /// Takes the next bytes, in pieces of any size.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Opaque => return,
                State::Between | State::Head | State::Trailers => self.line(bytes),
                State::Body(left) => self.skip(left, bytes),
                State::ChunkData(left) => self.chunk_data(left, bytes),
                State::ChunkSize { size, digits, extension } => self.chunk_size((size, digits, extension), bytes),
                State::ChunkEnd => self.chunk_end(bytes),
            };
        }
    }

    fn line<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            return &[];
        };
        let (line, rest) = bytes.split_at(at);
        if self.kept.is_empty() {
            self.note_fragment(line);
            self.end_line(line);
        } else {
            self.keep(line);
            let whole = std::mem::take(&mut self.kept);
            self.end_line(&whole);
            if self.state != State::Opaque {
                self.kept = whole;
                self.kept.clear();
            }
        }
        self.head.cut = false;
        rest.get(1..).unwrap_or_default()
    }

    fn keep(&mut self, part: &[u8]) {
        self.note_fragment(part);
        let room = MAX_LINE.saturating_sub(self.kept.len());
        self.head.cut |= part.len() > room;
        self.kept.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn note_fragment(&mut self, part: &[u8]) {
        if self.state == State::Between && memchr::memchr(b'#', part).is_some() {
            self.head.fragment = true;
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (self.state, line.is_empty()) {
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            (State::Between, true) => {}
            (State::Between, false) if self.heads == 0 && line == PREFACE => self.stop(),
            (State::Between, false) => {
                self.head = Head { fragment: self.head.fragment, ..Head::default() };
                self.state = State::Head;
            }
            (State::Head, true) => self.end_head(),
            (State::Head, false) => self.field(line),
            (_, true) => self.state = State::Between,
            (_, false) => {}
        }
    }

    fn field(&mut self, line: &[u8]) {
        // Nearly every field that does not frame a body is passed over here.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value.trim_ascii()).ok().filter(|_| !self.head.cut);
            let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            match number.and_then(|text| text.parse().ok()) {
                Some(length) if self.head.length.is_none_or(|known| known == length) => {
                    self.head.length = Some(length);
                }
                _ => self.lose(),
            }
        }
    }

    fn end_head(&mut self) {
        self.heads += 1;
        let head = std::mem::take(&mut self.head);
        if head.chunked && head.length.is_some() {
            self.blame(self.heads, Fault::TwoLengths);
        } else if head.fragment {
            self.blame(self.heads, Fault::Fragment);
        }
        self.state = match (head.chunked, head.length) {
            (true, _) => State::ChunkSize { size: 0, digits: 0, extension: false },
            (false, None | Some(0)) => State::Between,
            (false, Some(length)) => State::Body(length),
        };
    }

    fn skip<'b>(&mut self, left: u64, bytes: &'b [u8]) -> &'b [u8] {
        let (left, rest) = consume(left, bytes);
        self.state = if left == 0 { State::Between } else { State::Body(left) };
        rest
    }

    fn chunk_data<'b>(&mut self, left: u64, bytes: &'b [u8]) -> &'b [u8] {
        let (left, rest) = consume(left, bytes);
        self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
        rest
    }

    fn chunk_size<'b>(&mut self, (size, digits, extension): (u64, u8, bool), bytes: &'b [u8]) -> &'b [u8] {
        let [first, rest @ ..] = bytes else { return bytes };
        let digit = char::from(*first).to_digit(16).filter(|_| !extension);
        self.state = match (first, digit) {
            (_, Some(digit)) if digits < MAX_DIGITS => {
                State::ChunkSize { size: (size << 4) | u64::from(digit), digits: digits + 1, extension }
            }
            (b'\n', _) if digits > 0 && size == 0 => State::Trailers,
            (b'\n', _) if digits > 0 => State::ChunkData(size),
            (b'\r' | b';' | b' ' | b'\t', _) if digits > 0 => State::ChunkSize { size, digits, extension: true },
            (_, None) if extension => State::ChunkSize { size, digits, extension },
            _ => {
                self.lose();
                State::Opaque
            }
        };
        rest
    }

    fn chunk_end<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        match bytes {
            [b'\r', rest @ ..] => rest,
            [b'\n', rest @ ..] => {
                self.state = State::ChunkSize { size: 0, digits: 0, extension: false };
                rest
            }
            _ => {
                self.lose();
                &[]
            }
        }
    }

    fn lose(&mut self) {
        self.blame(self.heads + 1, Fault::Unclear);
        self.stop();
    }

    fn blame(&mut self, head: u64, fault: Fault) {
        self.fault.get_or_insert((head, fault));
    }
}

fn consume(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    match usize::try_from(left).ok().and_then(|left| bytes.get(left..)) {
        Some(rest) => (0, rest),
        None => (left - bytes.len() as u64, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn follow(pieces: &[&[u8]]) -> (u64, Option<(u64, Fault)>, bool) {
        let mut framing = Framing::default();
        for piece in pieces {
            framing.push(piece);
            assert!(framing.kept.len() <= MAX_LINE);
        }
        (framing.heads(), framing.fault(), framing.in_head())
    }

    #[test]
    fn requests_one_after_the_other() {
        let stream = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\r\nGET /b HTTP/1.1\nhost: h\n\n\
                      POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4;x=\"1\"\r\nwiki\r\n0\r\nt: 1\r\n\r\nGET /d HT";
        assert_eq!(follow(&[stream.as_bytes()]), (3, None, true));
    }

    #[test]
    fn faults_name_their_request() {
        for (stream, fault) in [
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", (1, Fault::TwoLengths)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nCONTENT-LENGTH: 0\r\n\r\n", (1, Fault::TwoLengths)),
            ("GET /a HTTP/1.1\r\n\r\nGET /b#c HTTP/1.1\r\n\r\n", (2, Fault::Fragment)),
            ("POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", (1, Fault::Unclear)),
            ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", (1, Fault::Unclear)),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n", (2, Fault::Unclear)),
        ] {
            assert_eq!(follow(&[stream.as_bytes()]).1, Some(fault), "{stream:?}");
        }
        let zeros = format!("POST / HTTP/1.1\r\ncontent-length: {}1\r\n\r\n", "0".repeat(200));
        let bytes = zeros.as_bytes();
        assert_eq!(follow(&[bytes]).1, None, "a long number that is one");
        assert_eq!(follow(&[&bytes[..60], &bytes[60..]]).1, Some((1, Fault::Unclear)), "of which not all is kept");
    }

    #[test]
    fn http2_is_left_alone() {
        assert_eq!(follow(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n#\0\0"]), (0, None, false));
    }

    proptest! {
        #[test]
        fn any_pieces_show_the_same(
            parts in proptest::collection::vec(prop_oneof![
                Just("GET /a HTTP/1.1\r\n".to_owned()), Just("POST /b#c HTTP/1.1\n".to_owned()),
                Just("content-length: 5\r\n".to_owned()), Just("Transfer-Encoding: chunked\r\n".to_owned()),
                Just("\r\n".to_owned()), Just("\n".to_owned()), Just("hello".to_owned()),
                Just("5\r\nhello\r\n".to_owned()), Just("0\r\n\r\n".to_owned()), "[a-z0-9:# \r\n]{0,12}",
            ], 0..16),
            cuts in proptest::collection::vec(0usize..300, 0..12),
        ) {
            let stream = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(follow(&pieces), follow(&[&stream]));
        }
    }
}
