//! The id under which a request's trace is known (W3C Trace Context: 32 lower-case hex digits, not all zero).

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// Of 16 random bytes.
    pub fn new(random: u128) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; 32];
        let mut rest = random.max(1);
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest & 15) as usize];
            rest >>= 4;
        }
        Self(text)
    }

    /// That of a valid `traceparent`.
    pub fn of_traceparent(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let (version, id) = (parts.next()?.as_bytes(), parts.next()?.as_bytes());
        let lower_hex = |text: &[u8]| text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let valid = version.len() == 2
            && version != b"ff"
            && lower_hex(version)
            && lower_hex(id)
            && id.iter().any(|byte| *byte != b'0');
        valid.then_some(id)?.try_into().ok().map(Self)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_traceparent_is_followed_and_nothing_else() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let of = |value: &str| TraceId::of_traceparent(value).map(|id| id.as_str().to_owned());
        assert_eq!(of(&format!("00-{id}-b7ad6b7169203331-01")).as_deref(), Some(id));
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            "00-xyz-b7ad6b7169203331-01",
            &format!("ff-{id}-b7ad6b7169203331-01"),
            &format!("00-{zeros}-1-1"),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(TraceId::new(0xabc).as_str(), format!("{:032x}", 0xabc));
        assert_eq!(TraceId::new(u128::MAX - 1).as_str(), format!("{:032x}", u128::MAX - 1));
        assert_ne!(TraceId::new(0).as_str(), zeros);
    }
}
