//! Scores of one leg by itself.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::agreement::Score;
use super::answer::Answer;
use super::asked::{Asked, AskedSchema};
use super::document::{self, is_over_cap};
use super::hint::opens_like_refusal;
use super::json::Unparsed;
use super::row::{Row, Value, nulls};
use super::schemas::Schemas;
use super::side::Side;
use super::text::is_blank;
use super::vocabulary::{Mode, NullReason};

/// Scores of one leg.
///
/// They are serialized as fields of a leg in a record, without the hint.
#[derive(Debug, Clone, PartialEq)]
pub struct LegScores {
    /// Form of the answer.
    pub mode: Score<Mode>,
    /// True if the answer refuses formally.
    pub refused: Score<bool>,
    /// True if the text opens like a refusal. It is counted and never scored.
    pub hint: Score<bool>,
    /// True if the text parses as JSON: strictly where JSON was asked for, else without its fence.
    pub json_valid: Score<bool>,
    /// True if the JSON keeps the schema.
    pub schema_valid: Score<bool>,
    /// Number of characters of the text.
    pub chars: Score<u64>,
    /// Number of tool calls.
    pub calls: Score<u64>,
    /// Time, in milliseconds, from the first content to the end, for each character.
    pub gap_ms: Score<f64>,
}

impl LegScores {
    fn rows(&self) -> [Row; 7] {
        [
            ("mode", self.mode.map(|mode| Value::Word(mode.as_str()))),
            ("gap_ms", self.gap_ms.map(Value::Milliseconds)),
            ("chars", self.chars.map(Value::Count)),
            ("calls", self.calls.map(Value::Count)),
            ("refused", self.refused.map(Value::Truth)),
            ("json_valid", self.json_valid.map(Value::Truth)),
            ("schema_valid", self.schema_valid.map(Value::Truth)),
        ]
    }
}

impl Serialize for LegScores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.rows();
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &rows {
            map.serialize_entry(name, &value.ok())?;
        }
        map.serialize_entry("null", &nulls(&rows))?;
        map.end()
    }
}

/// Scores one leg.
pub fn leg(asked: &Asked, side: &Side<'_>, schemas: &mut Schemas) -> LegScores {
    let answer = side.scored();
    LegScores {
        mode: answer.map(|answer| mode(asked, answer)),
        refused: answer.map(Answer::is_refusal),
        hint: answer.map(|answer| opens_like_refusal(answer.text())),
        json_valid: answer.and_then(|answer| json_valid(asked, answer)),
        schema_valid: answer.and_then(|answer| schema_valid(asked, answer, schemas)),
        chars: answer.map(|answer| answer.text().chars().count() as u64),
        calls: answer.map(|answer| answer.calls.len() as u64),
        gap_ms: side.gap(),
    }
}

/// Returns the form of an answer: the first that holds.
fn mode(asked: &Asked, answer: &Answer) -> Mode {
    if answer.is_refusal() {
        Mode::Refusal
    } else if answer.finish.as_deref() == Some("length") {
        Mode::Cut
    } else if !answer.calls.is_empty() {
        Mode::Tools
    } else if is_blank(answer.text()) {
        Mode::Empty
    } else if document::read(answer.text(), asked.is_json()).is_ok_and(|read| document::is_structure(&read)) {
        Mode::Json
    } else {
        Mode::Text
    }
}

/// True if the answer is its text: it neither refuses nor calls tools.
fn is_text(answer: &Answer) -> bool {
    !answer.is_refusal() && answer.calls.is_empty()
}

fn json_valid(asked: &Asked, answer: &Answer) -> Score<bool> {
    if !is_text(answer) {
        return Err(NullReason::NoJson);
    }
    let is_valid = match document::read(answer.text(), asked.is_json()) {
        Ok(read) if asked.is_json() || document::is_structure(&read) => true,
        Err(Unparsed::OverCap) => return Err(NullReason::OverCap),
        Err(Unparsed::Invalid) if asked.is_json() => false,
        Ok(_) | Err(Unparsed::Invalid) => return Err(NullReason::NoJson),
    };
    if is_over_cap(answer.text()) { Err(NullReason::OverCap) } else { Ok(is_valid) }
}

/// True if the answer keeps the schema that was asked for.
pub(super) fn schema_valid(asked: &Asked, answer: &Answer, schemas: &mut Schemas) -> Score<bool> {
    let schema = match &asked.schema {
        AskedSchema::None => return Err(NullReason::NoSchema),
        AskedSchema::OverCap => return Err(NullReason::OverCap),
        AskedSchema::Text(schema) => schema,
    };
    if !is_text(answer) {
        return Err(NullReason::NoJson);
    }
    if is_over_cap(answer.text()) {
        return Err(NullReason::OverCap);
    }
    match document::read(answer.text(), true) {
        Ok(document) => schemas.is_valid(schema, &document),
        Err(Unparsed::OverCap) => Err(NullReason::OverCap),
        Err(Unparsed::Invalid) => Err(NullReason::NoJson),
    }
}
