//! JSON as it is written here: straight into the buffer that leaves.

use bytes::{BufMut, BytesMut};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A text in quotes.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.put_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        put_escaped(out, *byte);
        rest = after;
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

fn put_escaped(out: &mut BytesMut, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |four: u8| HEX.get(usize::from(four & 15)).copied().unwrap_or(b'0');
            out.put_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            return;
        }
    };
    out.put_slice(&[b'\\', short]);
}

pub(super) fn put_text_or_null(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.put_slice(b"null"),
    }
}

pub(super) fn put_number(out: &mut BytesMut, number: impl std::fmt::Display) {
    use std::fmt::Write as _;
    // Writing into memory that grows does not fail.
    write!(out, "{number}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_read_back_as_they_were(text in any::<String>()) {
            let mut out = BytesMut::new();
            put_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
