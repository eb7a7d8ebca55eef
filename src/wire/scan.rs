//! Reads the top level of a request's body: its field names, and their values as they are written.
//!
//! Owns: the fields of a body. Refuses: building a tree. Invariant: the whole body is checked to be one JSON object, and a
//! field that is acted on occurs once.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// Fields that decide something. One that occurs twice is refused, since servers differ in which they read.
const ACTED_ON: [&str; 9] =
    ["model", "stream", "store", "messages", "input", "previous_response_id", "conversation", "background", "tools"];
/// Limit on the fields of one object; an object with more is refused. OpenAI's largest request has about forty.
const MAX_FIELDS: usize = 256;

/// The body is not one JSON object, or two servers could read it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not one JSON object with each field once")]
pub struct Unparsable;

/// The top level of a body.
#[derive(Debug)]
pub struct Scan<'a> {
    body: &'a [u8],
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    model: Option<Cow<'a, str>>,
}

self_cell::self_cell!(
    /// A body and the scan that borrows it, moved together.
    struct Joined {
        owner: Bytes,
        #[covariant]
        dependent: Scan,
    }

    impl {Debug}
);

/// A request's body together with its scan: owned, so that it can outlive the request it came with.
#[derive(Debug)]
pub struct Scanned(Joined);

impl Scanned {
    /// Scans `body` once and keeps both; returns the body with the error when it cannot be scanned.
    pub fn new(body: Bytes) -> Result<Self, (Bytes, Unparsable)> {
        Joined::try_new_or_recover(body, |body| scan(body)).map(Self)
    }

    /// The body as it was given, shared without a copy when cloned.
    pub fn body(&self) -> &Bytes {
        self.0.borrow_owner()
    }

    /// The scan made by [`Scanned::new`].
    pub fn scan(&self) -> &Scan<'_> {
        self.0.borrow_dependent()
    }
}

/// Scans the top level of `body`.
pub fn scan(body: &[u8]) -> Result<Scan<'_>, Unparsable> {
    // UTF-8 is checked once here, not for each value.
    let json = std::str::from_utf8(body).map_err(|_| Unparsable)?;
    let mut reader = serde_json::Deserializer::from_str(json);
    let fields = reader.deserialize_map(Fields).map_err(|_| Unparsable)?;
    reader.end().map_err(|_| Unparsable)?;
    let mut seen = [false; ACTED_ON.len()];
    for (name, _) in &fields {
        if let Some(seen) = ACTED_ON.iter().position(|known| known == name).and_then(|at| seen.get_mut(at))
            && std::mem::replace(seen, true)
        {
            return Err(Unparsable);
        }
    }
    let mut scan = Scan { body, fields, model: None };
    scan.model = scan.get("model").and_then(text).filter(|model| !model.is_empty());
    Ok(scan)
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            if fields.len() == MAX_FIELDS {
                return Err(de::Error::custom("too many fields"));
            }
            fields.push((name, map.next_value()?));
        }
        Ok(fields)
    }
}

/// Text that is borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Returns the fields of the JSON object that `json` begins with, in its order; `None` if it does not begin with one.
pub(crate) fn object(json: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    serde_json::Deserializer::from_str(json).deserialize_map(Fields).ok()
}

/// Returns the items of a JSON array; `None` if the text is not one.
pub(crate) fn list(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

/// Decodes a JSON string; `None` if the text is not one.
pub(crate) fn string(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(json).ok().map(|name| name.0)
}

impl<'a> Scan<'a> {
    /// Returns all fields in the body's order.
    pub fn fields(&self) -> &[(Cow<'a, str>, &'a RawValue)] {
        &self.fields
    }

    /// Returns the value of a field; the last one if it occurs twice, as in most parsers.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().rfind(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// Returns the model's name; `None` if it is missing, empty or not a string.
    pub fn model(&self) -> Option<&Cow<'a, str>> {
        self.model.as_ref()
    }

    /// Returns the range of the model's value in the body, quotes included.
    pub fn model_span(&self) -> Option<Range<usize>> {
        let value = self.get("model")?.get().as_bytes();
        let start = (value.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let end = start.checked_add(value.len())?;
        (end <= self.body.len()).then_some(start..end)
    }

    /// True if the request asks for a stream.
    pub fn stream(&self) -> bool {
        self.is_true("stream")
    }

    /// True if the field is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }

    /// True if the field is `false`.
    pub fn is_false(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "false")
    }

    /// True if the field is present and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() != "null")
    }

    /// True if `fits` accepts a value at the path. It gets every value of a repeated name, and `None` for one that is
    /// not a scalar.
    pub fn any_value(&self, path: &[String], mut fits: impl FnMut(Option<&str>) -> bool) -> bool {
        any_value(&self.fields, path, &mut fits)
    }

    /// Returns the scalar at a path such as `metadata.session_id`: strings decoded, numbers and booleans as written; `None`
    /// for an empty string, `null`, an object or an array.
    pub fn field(&self, path: &[String]) -> Option<Cow<'a, str>> {
        let (first, rest) = path.split_first()?;
        let mut value = self.get(first)?;
        for name in rest {
            let mut reader = serde_json::Deserializer::from_str(value.get());
            let fields = reader.deserialize_map(Fields).ok()?;
            value = fields.into_iter().find(|(field, _)| field == name)?.1;
        }
        match value.get().as_bytes().first()? {
            b'"' => text(value).filter(|text| !text.is_empty()),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(value.get())),
        }
    }
}

/// True if `fits` accepts a value at `path`; every field of a repeated name counts, since parsers differ in the one they
/// take. `fits` gets strings decoded, numbers and booleans as written, and `None` for other values; `null` is no value.
fn any_value<'a>(
    fields: &[(Cow<'a, str>, &'a RawValue)],
    path: &[String],
    fits: &mut dyn FnMut(Option<&str>) -> bool,
) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    fields.iter().filter(|(name, _)| name == first).any(|(_, value)| match (rest, value.get().as_bytes().first()) {
        ([], Some(b'"')) => fits(text(value).as_deref()),
        ([], Some(b'{' | b'[') | None) => fits(None),
        ([], Some(b'n')) => false,
        ([], Some(_)) => fits(Some(value.get())),
        // An object that cannot be read here, such as one with too many fields, may be read by a server.
        (rest, Some(b'{')) => match object(value.get()) {
            Some(fields) => any_value(&fields, rest, fits),
            None => fits(None),
        },
        (_, _) => false,
    })
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Name<'_>>(value.get()).ok().map(|name| name.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_spans_and_paths() {
        let body =
            br#"{ "mod\u0065l" : "gpt\u002d4o", "stream":true, "metadata":{"session_id":"s1","n":7}, "user":"" }"#;
        let scan = scan(body).unwrap();
        assert_eq!(scan.model().unwrap(), "gpt-4o");
        assert_eq!(&body[scan.model_span().unwrap()], br#""gpt\u002d4o""#);
        assert!(scan.stream());
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(scan.field(&path("metadata.session_id")).unwrap(), "s1");
        assert_eq!(scan.field(&path("metadata.n")).unwrap(), "7");
        for absent in ["user", "metadata", "metadata.x", "stream.x", "nothing"] {
            assert!(scan.field(&path(absent)).is_none(), "{absent}");
        }
    }

    #[test]
    fn every_value_of_a_repeated_name_is_seen() {
        let body = br#"{"m":{"r":"us","r":"eu"},"m":{"r":["eu"]},"n":null,"b":true,"e":"","\u0065e":7}"#;
        let scan = scan(body).unwrap();
        let seen = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            let mut seen = Vec::new();
            scan.any_value(&path, |value| {
                seen.push(value.map(str::to_owned));
                false
            });
            seen
        };
        assert_eq!(seen("m.r"), [Some("us".to_owned()), Some("eu".to_owned()), None]);
        assert_eq!(seen("b"), [Some("true".to_owned())]);
        assert_eq!(seen("e"), [Some(String::new())]);
        assert_eq!(seen("ee"), [Some("7".to_owned())]);
        assert_eq!(seen("m"), [None, None]);
        for none in ["n", "x", "b.c", "n.x"] {
            assert_eq!(seen(none), [], "{none}");
        }
        // An object that cannot be read may hold the value.
        let many: String = (0..300).map(|at| format!(",\"k{at}\":1")).collect();
        for rest in [r#","\ud800":1"#, many.as_str()] {
            let body = format!("{{\"m\":{{\"r\":\"eu\"{rest}}}}}");
            let path = ["m", "r"].map(str::to_owned);
            assert!(super::scan(body.as_bytes()).unwrap().any_value(&path, |value| value.is_none()), "{body}");
        }
    }

    #[test]
    fn what_is_not_one_plain_object_is_refused() {
        for body in [
            &b""[..],
            b"[]",
            b"null",
            b"{\"model\":\"a\"} x",
            b"{\"model\":\"a\",\"model\":\"b\"}",
            b"{\"model\":\"a\",\"mod\\u0065l\":\"b\"}",
            b"{\"model\":\"\xff\"}",
            b"\xef\xbb\xbf{\"model\":\"a\"}",
            b"{\"model\":\"a\"",
        ] {
            assert!(scan(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        let deep = format!("{{\"model\":\"a\",\"x\":{}1{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        // Either answer is fine; what matters is that there is one.
        assert!(scan(deep.as_bytes()).is_ok() || scan(deep.as_bytes()).is_err());
        assert!(scan(b"{\"model\":7}").unwrap().model().is_none());
        let twice = scan(b"{\"model\":\"a\",\"n\":1,\"n\":2}").unwrap();
        assert_eq!(twice.get("n").unwrap().get(), "2");
    }

    #[test]
    fn a_scanned_body_moves_between_threads_with_its_scan() {
        let body = Bytes::from_static(b"{\"model\":\"a\\u0062\",\"stream\":true}");
        let scanned = Scanned::new(body.clone()).unwrap();
        let moved = std::thread::spawn(move || scanned).join().unwrap();
        let shared = std::sync::Arc::new(moved);
        assert_eq!(shared.scan().model().unwrap(), "ab");
        assert!(shared.scan().stream());
        assert_eq!(&shared.body()[shared.scan().model_span().unwrap()], br#""a\u0062""#);
        assert_eq!(shared.body().as_ptr(), body.as_ptr(), "the bytes are not copied");
        fn is_shareable<T: Send + Sync>(_: &T) {}
        is_shareable(&shared);
        let (body, _) = Scanned::new(Bytes::from_static(b"[]")).unwrap_err();
        assert_eq!(body, "[]");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(scan) = scan(&body) {
                drop((scan.model(), scan.model_span(), scan.field(&["a".to_owned(), "b".to_owned()])));
            }
        }
    }
}
