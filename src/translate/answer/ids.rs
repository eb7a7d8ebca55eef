//! Ids and times of an answer whose server gave none.

/// Longer ids of a backend are not passed on.
pub(super) const MAX_ID: usize = 128;

/// What one answer is named after where its server gave no name.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    /// Different for every answer.
    pub seed: u128,
    /// Now, in seconds since 1970.
    pub created: i64,
}

impl Ids {
    /// The id of an answer of chat: the server's own as far as it can be told apart by it.
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
