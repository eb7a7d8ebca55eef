//! Scores of a pair as a value.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::agreement::Score;
use super::row::{Row, Value, nulls};
use super::vocabulary::{Kind, NullReason};

/// Scores of a pair. Each is a value or null with a reason, never 0 for unknown.
///
/// They are serialized as `scores` of a record: flat, with the reasons under `null`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Rule by which the agreement was measured; `None` where it was not.
    pub kind: Option<Kind>,
    /// Agreement under that rule, 0 to 1.
    pub agreement: Score<f64>,
    /// True if both ended for the same reason.
    pub finish_equal: Score<bool>,
    /// True if both texts are equal after NFKC, white space folded.
    pub exact: Score<bool>,
    /// chrF of both texts, 0 to 1.
    pub similarity: Score<f64>,
    /// F1 of the leaves of two JSON documents, 0 to 1.
    pub json_score: Score<f64>,
    /// F1 of the names of the called tools, 0 to 1.
    pub tool_names: Score<f64>,
    /// True if both made the same calls.
    pub tools_equal: Score<bool>,
    /// True if most letters of both texts are of one script.
    pub script_equal: Score<bool>,
    /// True if both JSON documents are in a fence, or both are bare.
    pub fence_equal: Score<bool>,
    /// Characters of the text, candidate over reference.
    pub length_ratio: Score<f64>,
    /// Time to the first content, candidate over reference.
    pub ttft_ratio: Score<f64>,
    /// Time to the end, candidate over reference.
    pub total_ratio: Score<f64>,
    /// Time for each character after the first content, candidate over reference.
    pub gap_ratio: Score<f64>,
    /// Output tokens, candidate over reference.
    pub tokens_ratio: Score<f64>,
    /// Cost, candidate over reference.
    pub cost_ratio: Score<f64>,
}

impl Scores {
    /// Makes the scores of a pair that has none, all for one reason.
    pub const fn void(reason: NullReason) -> Self {
        Self {
            kind: None,
            agreement: Err(reason),
            finish_equal: Err(reason),
            exact: Err(reason),
            similarity: Err(reason),
            json_score: Err(reason),
            tool_names: Err(reason),
            tools_equal: Err(reason),
            script_equal: Err(reason),
            fence_equal: Err(reason),
            length_ratio: Err(reason),
            ttft_ratio: Err(reason),
            total_ratio: Err(reason),
            gap_ratio: Err(reason),
            tokens_ratio: Err(reason),
            cost_ratio: Err(reason),
        }
    }

    /// Returns the name and the value, a `Number`, `Ratio` or `Truth`, of each score that is not null.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.rows().into_iter().filter_map(|(name, value)| Some((name, value.ok()?.rounded())))
    }

    fn rows(&self) -> [Row; 15] {
        [
            ("agreement", self.agreement.map(Value::Number)),
            ("finish_equal", self.finish_equal.map(Value::Truth)),
            ("exact", self.exact.map(Value::Truth)),
            ("similarity", self.similarity.map(Value::Number)),
            ("json_score", self.json_score.map(Value::Number)),
            ("tool_names", self.tool_names.map(Value::Number)),
            ("tools_equal", self.tools_equal.map(Value::Truth)),
            ("script_equal", self.script_equal.map(Value::Truth)),
            ("fence_equal", self.fence_equal.map(Value::Truth)),
            ("length_ratio", self.length_ratio.map(Value::Ratio)),
            ("ttft_ratio", self.ttft_ratio.map(Value::Ratio)),
            ("total_ratio", self.total_ratio.map(Value::Ratio)),
            ("gap_ratio", self.gap_ratio.map(Value::Ratio)),
            ("tokens_ratio", self.tokens_ratio.map(Value::Ratio)),
            ("cost_ratio", self.cost_ratio.map(Value::Ratio)),
        ]
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.rows();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        for (name, value) in &rows {
            map.serialize_entry(name, &value.ok())?;
        }
        map.serialize_entry("null", &nulls(&rows))?;
        map.end()
    }
}
