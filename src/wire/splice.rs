//! Replaces one value of a body and nothing else.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Returns `body` with `span` replaced by `value` as a JSON string; every other byte is unchanged.
pub fn replace(body: &Bytes, span: Range<usize>, value: &str) -> Bytes {
    let (Some(before), Some(after)) = (body.get(..span.start), body.get(span.end..)) else { return body.clone() };
    let Ok(quoted) = serde_json::to_string(value) else { return body.clone() };
    if body.get(span) == Some(quoted.as_bytes()) {
        return body.clone();
    }
    let mut spliced = BytesMut::with_capacity(before.len() + quoted.len() + after.len());
    spliced.extend_from_slice(before);
    spliced.extend_from_slice(quoted.as_bytes());
    spliced.extend_from_slice(after);
    spliced.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::scan;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_other_byte_stays(
            before in "( |\n|\"a\": ?(1e2|\"\\\\u00e9\"|\\[1, 2\\]), ){0,1}",
            old in "[a-z\\-]{1,12}",
            new in "\\PC{1,20}",
            after in "(, ?\"b\":( )?\\{\"model\":\"x\"\\}| )?",
        ) {
            let body = Bytes::from(format!("{{{before}\"model\" : \"{old}\"{after}}}\n"));
            let span = scan(&body).unwrap().model_span().unwrap();
            let spliced = replace(&body, span.clone(), &new);
            let read = scan(&spliced).unwrap();
            prop_assert_eq!(read.model().unwrap(), new.as_str());
            let now = read.model_span().unwrap();
            prop_assert_eq!(&spliced[..now.start], &body[..span.start]);
            prop_assert_eq!(&spliced[now.end..], &body[span.end..]);
            prop_assert_eq!(replace(&body, span, &old), body);
        }
    }
}
