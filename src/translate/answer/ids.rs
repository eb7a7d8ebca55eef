//! Ids and times of answers whose server sent none.

/// Limit, in bytes, on a backend's ids; a longer one is replaced.
pub(super) const MAX_ID: usize = 128;

/// Source of the ids and times that a server left out of one answer.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    /// Different for every answer.
    pub seed: u128,
    /// Time of the answer, in seconds since 1970.
    pub created: i64,
}

impl Ids {
    /// Returns the id of a chat answer, made from the server's own if that is a plain id.
    pub(super) fn chat(&self, own: Option<&str>) -> String {
        match own.filter(|own| is_plain_id(own)) {
            Some(own) if own.starts_with("chatcmpl-") => own.to_owned(),
            Some(own) => format!("chatcmpl-{own}"),
            None => format!("chatcmpl-{:032x}", self.seed),
        }
    }
}

pub(super) fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain)
}
