//! Cuts text from outside to a length.

/// Returns the first `most` characters.
pub(crate) fn prefix(text: &str, most: usize) -> String {
    // A text never has fewer bytes than characters, so most texts return here.
    if text.len() <= most {
        return text.to_owned();
    }
    text.char_indices().nth(most).and_then(|(end, _)| text.get(..end)).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::prefix;

    proptest! {
        #[test]
        fn it_is_the_first_characters(text in ".{0,40}", most in 0_usize..40) {
            prop_assert_eq!(prefix(&text, most), text.chars().take(most).collect::<String>());
        }
    }
}
