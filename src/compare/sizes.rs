//! Sizes of answers that are being read.

/// Sizes of an answer in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Content that was read.
    pub content: usize,
    /// Memory that holds it.
    pub memory: usize,
}

impl Sizes {
    /// Appends a part to a text.
    pub(super) fn push(&mut self, text: &mut String, part: &str) {
        let before = text.capacity();
        text.push_str(part);
        self.content += part.len();
        self.memory += text.capacity() - before;
    }

    /// Appends a part to a text that may not have begun.
    pub(super) fn append(&mut self, text: &mut Option<String>, part: Option<&str>) {
        if let Some(part) = part {
            self.push(text.get_or_insert_default(), part);
        }
    }
}
