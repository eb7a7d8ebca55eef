//! JSON written straight into the buffer that is sent.

use bytes::{BufMut, BytesMut};

use crate::translate::json::first_escaped;

/// Digits of the largest number.
const MAX_DIGITS: usize = 20;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a text as a JSON string.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
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

pub(super) fn put_number(out: &mut BytesMut, number: u64) {
    let mut digits = [b'0'; MAX_DIGITS];
    let (mut rest, mut length) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(MAX_DIGITS - length..).unwrap_or_default());
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

        #[test]
        fn numbers_are_decimal(number in prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]) {
            let mut out = BytesMut::new();
            put_number(&mut out, number);
            prop_assert_eq!(out, number.to_string());
        }
    }
}
