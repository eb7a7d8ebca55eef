//! Lines of a stream of bytes.

use std::io::{self, BufRead};

use memchr::memchr;

/// Limit, in bytes, on a line without its end. A longer one is skipped unread: a record with the contents of both answers
/// stays far below it.
pub const MAX_LINE: usize = 4 << 20;

/// Calls `take` with each line, without its end; with `None` for one that is longer than [`MAX_LINE`].
pub fn each_line(mut input: impl BufRead, mut take: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let mut begun = Vec::new();
    let mut is_too_long = false;
    loop {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let at_end = bytes.is_empty();
        let end = memchr(b'\n', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        is_too_long |= begun.len() + part.len() > MAX_LINE;
        let used = part.len() + usize::from(end.is_some());
        if end.is_none() && !at_end {
            if is_too_long {
                begun.clear();
            } else {
                begun.extend_from_slice(part);
            }
            input.consume(used);
            continue;
        }
        if is_too_long {
            take(None);
        } else if begun.is_empty() {
            take(Some(part));
        } else {
            begun.extend_from_slice(part);
            take(Some(&begun));
        }
        if at_end {
            return Ok(());
        }
        input.consume(used);
        is_too_long = false;
        begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lengths(bytes: &[u8], buffer: usize) -> Vec<Option<usize>> {
        let mut lengths = Vec::new();
        each_line(BufReader::with_capacity(buffer, bytes), |line| lengths.push(line.map(<[u8]>::len))).unwrap();
        lengths
    }

    #[test]
    fn lines_end_at_line_feeds_and_at_the_end() {
        for buffer in [1, 2, 3, 100] {
            let mut lines = Vec::new();
            each_line(BufReader::with_capacity(buffer, &b"ab\n\nc"[..]), |line| lines.push(line.unwrap().to_vec()))
                .unwrap();
            assert_eq!(lines, [&b"ab"[..], b"", b"c"]);
        }
        assert_eq!(lengths(b"", 8), [Some(0)]);
    }

    #[test]
    fn a_line_of_4_mib_is_read_and_a_longer_one_is_not() {
        let mut bytes = vec![b'x'; MAX_LINE];
        bytes.push(b'\n');
        bytes.extend(vec![b'x'; MAX_LINE * 3 + 1]);
        bytes.extend(b"\nabc\n");
        bytes.extend(vec![b'x'; MAX_LINE + 1]);
        assert_eq!(lengths(&bytes, 1 << 16), [Some(MAX_LINE), None, Some(3), None]);
    }
}
