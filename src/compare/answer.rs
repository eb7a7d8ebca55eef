//! An answer as it is compared.

use serde::Serialize;

use super::sizes::Sizes;

/// First choice of an answer, in OpenAI's shape. Thoughts are not part of it.
///
/// It is serialized as in the content of a record, and is at most as long as the bytes it was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Text as it came.
    pub text: Option<String>,
    /// Text of a formal refusal.
    pub refusal: Option<String>,
    /// Finish reason, in the words of chat completions.
    pub finish: Option<String>,
    /// Tool calls, in the order of the answer; legacy function calls and custom tools too.
    pub calls: Vec<Call>,
}

/// A tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Name of the tool.
    pub name: String,
    /// Arguments as they were written, mostly JSON.
    pub arguments: String,
}

impl Answer {
    /// True if the answer refuses formally: it has a refusal's text, or a filter ended it.
    pub fn is_refusal(&self) -> bool {
        self.refusal.as_deref().is_some_and(|text| !text.is_empty()) || self.finish.as_deref() == Some("content_filter")
    }

    /// Sizes of its texts and calls.
    pub(super) fn sizes(&self) -> Sizes {
        let calls = self.calls.iter().flat_map(|call| [&call.name, &call.arguments]);
        let texts = [&self.text, &self.refusal].into_iter().flatten().chain(calls);
        let (content, memory) =
            texts.fold((0, 0), |(len, capacity), text| (len + text.len(), capacity + text.capacity()));
        Sizes { content, memory: memory + size_of::<Self>() + self.calls.capacity() * size_of::<Call>() }
    }

    /// Returns the text, empty if there is none.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}
