//! Ids of a request's trace (W3C Trace Context, level 1: `traceparent` and `tracestate`).

use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const SAMPLED: u8 = 1;
/// Limit of a trace state, in bytes; entries beyond it are left out. W3C Trace Context asks for at least this.
const MAX_STATE: usize = 512;
/// Limit of entries in a trace state, as in W3C Trace Context; later ones are left out.
const MAX_ENTRIES: usize = 32;

/// Id of a trace: 32 lower-case hex digits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId {
    text: [u8; 32],
    number: u128,
}

/// Id of a span within its trace; not zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

/// Trace that a request belongs to: from its `traceparent`, or a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Id of the trace.
    pub trace: TraceId,
    /// The application's span; `None` if the trace begins here.
    pub parent: Option<SpanId>,
    flags: u8,
}

impl TraceId {
    /// Makes an id of 16 random bytes.
    pub fn new(random: u128) -> Self {
        let mut text = [b'0'; 32];
        let number = random.max(1);
        let mut rest = number;
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest & 15) as usize];
            rest >>= 4;
        }
        Self { text, number }
    }

    fn of_hex(text: &str) -> Option<Self> {
        let id: [u8; 32] = text.as_bytes().try_into().ok()?;
        let number = if is_lower_hex(text) { u128::from_str_radix(text, 16).ok()? } else { 0 };
        (number != 0).then_some(Self { text: id, number })
    }

    /// The id as hex digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The id as a number.
    pub const fn as_u128(&self) -> u128 {
        self.number
    }
}

impl SpanId {
    /// Makes an id of 8 random bytes.
    pub fn new(random: u64) -> Self {
        Self(random.max(1))
    }

    fn of_hex(text: &str) -> Option<Self> {
        let id = (text.len() == 16 && is_lower_hex(text)).then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then_some(Self(id))
    }

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl TraceContext {
    /// Begins a trace that is not sampled yet.
    pub fn begin(random: u128) -> Self {
        Self { trace: TraceId::new(random), parent: None, flags: 0 }
    }

    /// Parses a `traceparent`; `None` if it is not valid. A version above 00 may have more parts, which are ignored.
    pub fn of_traceparent(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let version = parts.next().filter(|version| version.len() == 2 && is_lower_hex(version))?;
        let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let ends_well = if version == "00" { parts.next().is_none() } else { version != "ff" };
        if !ends_well || flags.len() != 2 || !is_lower_hex(flags) {
            return None;
        }
        Some(Self {
            trace: TraceId::of_hex(trace)?,
            parent: Some(SpanId::of_hex(parent)?),
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    /// True if the caller, or the sampler here, decided to export the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Sets the sampled flag.
    pub const fn set_sampled(&mut self, sampled: bool) {
        self.flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
    }

    /// Returns the `traceparent` for the next server, as the child of `span`.
    pub fn traceparent(&self, span: SpanId) -> String {
        format!("00-{}-{span}-{:02x}", self.trace.as_str(), self.flags & SAMPLED)
    }
}

/// Joins the `tracestate` headers of one request to a trace state. Returns an empty text if there is none, or if it is
/// not valid, since the rest of it may then belong to another vendor.
pub(crate) fn trace_state<'a>(headers: impl Iterator<Item = &'a [u8]>) -> String {
    let mut state = String::new();
    let mut entries = 0;
    for header in headers {
        let Ok(header) = std::str::from_utf8(header) else { return String::new() };
        for entry in header.split(',').map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty()) {
            let is_valid = entry.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                && entry.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty());
            if !is_valid {
                return String::new();
            }
            entries += 1;
            let comma = usize::from(!state.is_empty());
            if entries <= MAX_ENTRIES && state.len() + comma + entry.len() <= MAX_STATE {
                state.extend([",", entry].into_iter().skip(1 - comma));
            }
        }
    }
    state
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_valid_traceparent_is_followed_and_nothing_else() {
        let of = TraceContext::of_traceparent;
        let known = of(&format!("00-{ID}-b7ad6b7169203331-01")).unwrap();
        assert_eq!((known.trace.as_str(), known.is_sampled()), (ID, true));
        assert_eq!(known.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert!(!of(&format!("00-{ID}-b7ad6b7169203331-02")).unwrap().is_sampled());
        assert!(of(&format!("cc-{ID}-b7ad6b7169203331-03-what-comes-later")).unwrap().is_sampled());
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            "00".to_owned(),
            "00-xyz-b7ad6b7169203331-01".to_owned(),
            format!("ff-{ID}-b7ad6b7169203331-01"),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{ID}-b7ad6b716920333-01"),
            format!("00-{ID}-b7ad6b7169203331"),
            format!("00-{ID}-b7ad6b7169203331-1"),
            format!("00-{ID}-b7ad6b7169203331-01-x"),
            format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_state_is_joined_bounded_and_valid() {
        let of = |headers: &[&str]| trace_state(headers.iter().map(|header| header.as_bytes()));
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["a=1, b=2 ,,", "", "c@d=x=y z"]), "a=1,b=2,c@d=x=y z");
        for bad in ["a", "=1", "a=", "a=1,b", "a=\u{e9}", "a=\u{1}"] {
            assert_eq!(of(&["x=1", bad]), "", "{bad:?}");
        }
        let long = format!("l={}", "x".repeat(500));
        assert_eq!(of(&["a=1", &long, "b=2", "c=345"]), format!("a=1,{long},b=2"));
        let many = (0..40).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&[&many]).split(',').count(), MAX_ENTRIES);
    }

    #[test]
    fn ids_are_text_of_fixed_width_and_never_zero() {
        assert_eq!(TraceId::new(0xabc).as_str(), format!("{:032x}", 0xabc));
        assert_eq!(TraceId::new(u128::MAX - 1).as_u128(), u128::MAX - 1);
        assert_ne!(TraceId::new(0).as_str(), "0".repeat(32));
        let mut begun = TraceContext::begin(7);
        let span = SpanId::new(0);
        assert_eq!(begun.traceparent(span), format!("00-{:032x}-0000000000000001-00", 7));
        begun.set_sampled(true);
        assert_eq!(TraceContext::of_traceparent(&begun.traceparent(span)).unwrap().parent, Some(span));
    }
}
