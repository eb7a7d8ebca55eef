//! Ids that name their backend: any replica finds the backend of the next turn, and nothing is stored.
//!
//! A tool call's id is `call_q_` and 22 characters of base64url: 4 bytes for the backend's name, 12 for the call.
//! A response's is `resp_q_`, 8 hex digits for the backend's name, `_`, and the backend's own id.

use std::hash::Hasher;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

const CALL: &str = "call_q_";
const RESPONSE: &str = "resp_q_";
const OWNER_BYTES: usize = 4;

/// Tag by which ids name a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u32);

impl Owner {
    /// Returns the tag of the backend with this name: 32 bits of its hash.
    pub fn of(backend: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(b"owner");
        hasher.write(backend.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash is one too")]
        let tag = hasher.finish() as u32;
        Self(tag)
    }
}

/// Returns the id of a tool call by `owner`, unique for `seed` (of the answer), the choice and the place in it.
pub fn call_id(owner: Owner, seed: u128, choice: u64, place: u64) -> String {
    let mut hasher = SipHasher128::new_with_keys(0, 0);
    hasher.write(&seed.to_le_bytes());
    hasher.write(&choice.to_le_bytes());
    hasher.write(&place.to_le_bytes());
    let call = hasher.finish128().as_bytes();
    let bytes: Vec<u8> = owner.0.to_be_bytes().into_iter().chain(call).take(16).collect();
    format!("{CALL}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the backend that made this call; `None` if the id was not made by [`call_id`].
pub fn owner_of_call(id: &str) -> Option<Owner> {
    let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix(CALL)?).ok().filter(|bytes| bytes.len() == 16)?;
    let tag = bytes.get(..OWNER_BYTES)?.try_into().ok()?;
    Some(Owner(u32::from_be_bytes(tag)))
}

/// Returns the id under which the application knows a response of `owner`.
pub fn response_id(owner: Owner, own: &str) -> String {
    format!("{RESPONSE}{:08x}_{own}", owner.0)
}

/// Returns the backend of this response and the backend's own id; `None` if the id was not made by [`response_id`].
pub fn owner_of_response(id: &str) -> Option<(Owner, &str)> {
    let (tag, own) = id.strip_prefix(RESPONSE)?.split_once('_')?;
    let tag = Some(tag).filter(|tag| tag.len() == 8)?;
    Some((Owner(u32::from_str_radix(tag, 16).ok()?), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_owner_and_fits_openai() {
        let owner = Owner::of("qwen-235b");
        let id = call_id(owner, 7, 0, 1);
        assert!(id.len() <= 40 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{id}");
        assert_eq!(owner_of_call(&id), Some(owner));
        assert_ne!(id, call_id(owner, 7, 1, 0));
        assert_ne!(owner, Owner::of("qwen-72b"));
        let id = response_id(owner, "resp_0a_b");
        assert_eq!(owner_of_response(&id), Some((owner, "resp_0a_b")));
        for foreign in ["", "call_abc", "call_q_", "call_q_!!", "call_q_AAAA", "resp_68aa", "resp_q_1_2"] {
            assert_eq!((owner_of_call(foreign), owner_of_response(foreign)), (None, None), "{foreign}");
        }
    }
}
