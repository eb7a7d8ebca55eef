//! The reading of a line: its JSON, as tolerant as the schema asks for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::error::Category;

use super::line::{BackendCounts, Counts, Leg, Line, Pair, Scores, Skip};
use super::vocabulary::{FlipName, LegOutcome, Mode, PairKind};
use crate::records::Cut;

/// Version of the schema that is read.
const VERSION: f64 = 1.0;

/// Reads one line without its end.
pub(super) fn read(line: &[u8]) -> Line<'_> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Line::Blank;
    }
    // A list of fields would be read as well.
    if line.first() != Some(&b'{') {
        return Line::Skipped(Skip::Foreign);
    }
    match serde_json::from_slice::<Wire<'_>>(line) {
        Ok(wire) if wire.v.is_some_and(|v| v > VERSION) => Line::Skipped(Skip::Newer),
        Ok(wire) => wire.into_line().unwrap_or(Line::Skipped(Skip::Foreign)),
        Err(error) if error.classify() == Category::Data => Line::Skipped(odd(line)),
        Err(_) => Line::Skipped(Skip::Torn),
    }
}

/// Returns the reason for skipping a line that does not have the fields of this version.
fn odd(line: &[u8]) -> Skip {
    match serde_json::from_slice::<Version>(line) {
        Ok(version) if version.v.is_some_and(|v| v > VERSION) => Skip::Newer,
        Ok(_) => Skip::Foreign,
        Err(error) if error.classify() == Category::Data => Skip::Foreign,
        Err(_) => Skip::Torn,
    }
}

#[derive(Deserialize)]
struct Version {
    v: Option<f64>,
}

/// A string that is borrowed from the line where it has no escapes.
#[derive(Debug, Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Entries of an object, in its order.
#[derive(Debug)]
struct Entries<'a, V>(Vec<(Cow<'a, str>, V)>);

impl<V> Default for Entries<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Fields of both kinds of lines. Unknown ones are ignored, and missing ones are null.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Wire<'a> {
    v: Option<f64>,
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    at: Option<Text<'a>>,
    #[serde(borrow)]
    instance: Option<Text<'a>>,
    #[serde(borrow)]
    epoch: Option<Text<'a>>,
    #[serde(borrow)]
    route: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    percent: Option<f64>,
    #[serde(borrow)]
    served_by: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
    #[serde(borrow)]
    request: Option<WireRequest<'a>>,
    #[serde(borrow)]
    baseline: Option<WireLeg<'a>>,
    #[serde(borrow)]
    candidate: Option<WireLeg<'a>>,
    #[serde(borrow)]
    scores: Option<WireScores<'a>>,
    #[serde(borrow)]
    floor: Option<WireScores<'a>>,
    #[serde(borrow)]
    backends: Option<Entries<'a, WireBackend<'a>>>,
    #[serde(borrow)]
    shadow: Option<Entries<'a, Entries<'a, f64>>>,
}

#[derive(Default, Deserialize)]
struct WireRequest<'a> {
    #[serde(borrow)]
    format: Option<Text<'a>>,
    temperature: Option<f64>,
}

#[derive(Deserialize)]
struct WireLeg<'a> {
    #[serde(borrow)]
    backend: Option<Text<'a>>,
    #[serde(borrow)]
    outcome: Option<Text<'a>>,
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(borrow)]
    finish: Option<Text<'a>>,
    refused: Option<bool>,
    json_valid: Option<bool>,
    schema_valid: Option<bool>,
    ttft_ms: Option<f64>,
    total_ms: Option<f64>,
    input_tokens: Option<f64>,
    cached_input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    cost_usd: Option<f64>,
}

#[derive(Deserialize)]
struct WireScores<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    agreement: Option<f64>,
    finish_equal: Option<bool>,
    exact: Option<bool>,
    tool_names: Option<f64>,
    tools_equal: Option<bool>,
    script_equal: Option<bool>,
    fence_equal: Option<bool>,
    length_ratio: Option<f64>,
    #[serde(borrow)]
    null: Option<WireNulls<'a>>,
}

#[derive(Deserialize)]
struct WireNulls<'a> {
    #[serde(borrow)]
    agreement: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct WireBackend<'a> {
    chosen: Option<f64>,
    attempted: Option<f64>,
    served: Option<f64>,
    failed: Option<f64>,
    usd: Option<f64>,
    priced: Option<f64>,
    #[serde(borrow)]
    ends: Option<Entries<'a, Text<'a>>>,
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Entries<'a, V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a, V>(std::marker::PhantomData<(&'a str, V)>);
        impl<'de: 'a, 'a, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<'a, V> {
            type Value = Entries<'a, V>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'a>, V>()? {
                    entries.push((cut(name), value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

impl<'a> Wire<'a> {
    /// Returns the pair or the counts; `None` of anything else.
    fn into_line(self) -> Option<Line<'a>> {
        if self.v != Some(VERSION) {
            return None;
        }
        match self.kind.as_ref()?.0.as_ref() {
            "pair" => Some(Line::Pair(Box::new(self.into_pair()?))),
            "counts" => Some(Line::Counts(self.into_counts()?)),
            _ => None,
        }
    }

    fn into_pair(self) -> Option<Pair<'a>> {
        let request = self.request.unwrap_or_default();
        let format = request.format.as_ref().map(|format| format.0.as_ref());
        Some(Pair {
            id: text(self.id)?,
            at: instant(&self.at?.0)?,
            instance: text(self.instance)?,
            epoch: text(self.epoch)?,
            route: text(self.route)?,
            model: text(self.model)?,
            percent: self.percent,
            is_served_by_candidate: match self.served_by?.0.as_ref() {
                "baseline" => false,
                "candidate" => true,
                _ => return None,
            },
            key: text(self.key),
            trace_id: text(self.trace_id).unwrap_or_default(),
            is_greedy: request.temperature == Some(0.0),
            is_json: matches!(format, Some("json_object" | "json_schema")),
            baseline: self.baseline?.into_leg()?,
            candidate: self.candidate?.into_leg()?,
            scores: self.scores?.into_scores(),
            floor: self.floor.map(WireScores::into_scores),
        })
    }

    fn into_counts(self) -> Option<Counts<'a>> {
        let copies = |copies: Entries<'a, f64>| copies.0.into_iter().map(|(name, n)| (name, count(Some(n)))).collect();
        let shadow = self.shadow.unwrap_or_default().0.into_iter();
        let backends = self.backends.unwrap_or_default().0.into_iter();
        Some(Counts {
            at: instant(&self.at?.0)?,
            instance: text(self.instance)?,
            route: text(self.route)?,
            backends: backends.map(|(name, counts)| (name, counts.into_counts())).collect(),
            shadow: shadow.map(|(name, outcomes)| (name, copies(outcomes))).collect(),
        })
    }
}

impl<'a> WireLeg<'a> {
    fn into_leg(self) -> Option<Leg<'a>> {
        let cached = whole(self.cached_input_tokens, 1.0).zip(whole(self.input_tokens, 1.0));
        Some(Leg {
            backend: text(self.backend)?,
            outcome: LegOutcome::named(&self.outcome?.0)?,
            mode: self.mode.and_then(|mode| Mode::named(&mode.0)),
            finish: text(self.finish),
            is_refused: self.refused == Some(true),
            json_valid: self.json_valid,
            schema_valid: self.schema_valid,
            ttft: whole(self.ttft_ms, 1e3),
            total: whole(self.total_ms, 1e3),
            input_tokens: whole(self.input_tokens, 1.0),
            output_tokens: whole(self.output_tokens, 1.0),
            is_warm: cached.filter(|(_, all)| *all > 0).map(|(cached, all)| cached * 2 >= all),
            cost: whole(self.cost_usd, 1e9),
        })
    }
}

impl<'a> WireScores<'a> {
    fn into_scores(self) -> Scores<'a> {
        let differs = |equal: Option<bool>| equal.map(|is_equal| !is_equal);
        let of = |flip: FlipName| match flip {
            FlipName::Finish => differs(self.finish_equal),
            FlipName::Exact => differs(self.exact),
            FlipName::ToolNames => self.tool_names.map(|score| score < 1.0),
            FlipName::Tools => differs(self.tools_equal),
            FlipName::Script => differs(self.script_equal),
            FlipName::Fence => differs(self.fence_equal),
        };
        let mut flips = [None; FlipName::ALL.len()];
        for (slot, flip) in flips.iter_mut().zip(FlipName::ALL) {
            *slot = of(*flip);
        }
        let kind = self.kind.and_then(|kind| PairKind::named(&kind.0));
        let agreement = self.agreement.filter(|score| (0.0..=1.0).contains(score) && kind.is_some());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
        let agreement = agreement.map(|score| (score * 1e4).round() as u32);
        let reason = self.null.and_then(|null| text(null.agreement));
        Scores {
            kind,
            agreement,
            reason: reason.unwrap_or(Cow::Borrowed("unknown")),
            flips,
            length_ratio: self.length_ratio.filter(|ratio| *ratio > 0.0),
        }
    }
}

impl<'a> WireBackend<'a> {
    fn into_counts(self) -> BackendCounts<'a> {
        let ends = self.ends.unwrap_or_default().0.into_iter();
        BackendCounts {
            chosen: count(self.chosen),
            attempted: count(self.attempted),
            served: count(self.served),
            failed: count(self.failed),
            priced: count(self.priced),
            cost: whole(self.usd, 1e9).unwrap_or(0),
            ends: ends.map(|(model, date)| (model, cut(date.0))).collect(),
        }
    }
}

fn text(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|text| cut(text.0))
}

/// Cuts a string as the writer of records does, so that no file makes a report long.
fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(Cut(text).as_str()),
        Cow::Owned(text) => Cow::Owned(Cut(&text).as_str().to_owned()),
    }
}

/// Returns milliseconds since 1970.
fn instant(text: &str) -> Option<i64> {
    text.parse().ok().map(jiff::Timestamp::as_millisecond)
}

/// Returns a number in parts of one; `None` of one that is negative or beyond 2^53 parts, which no real one is.
fn whole(number: Option<f64>, parts: f64) -> Option<u64> {
    let scaled = (number? * parts).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..9e15).contains(&scaled).then_some(scaled as u64)
}

fn count(number: Option<f64>) -> u64 {
    whole(number, 1.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(line: &str) -> Option<Skip> {
        match read(line.as_bytes()) {
            Line::Skipped(skip) => Some(skip),
            Line::Blank | Line::Pair(_) | Line::Counts(_) => None,
        }
    }

    #[test]
    fn lines_are_skipped_by_reason() {
        for (line, expected) in [
            (r#"{"v":1,"kind":"pair""#, Skip::Torn),
            (r#"{"v":2,"kind":"pair""#, Skip::Torn),
            (r#"{"v":1,"kind":"counts","at":"2026"#, Skip::Torn),
            (r#"{"v":1}{"v":1}"#, Skip::Torn),
            (r#"{"v":2}"#, Skip::Newer),
            (r#"{"v":1.5,"kind":7,"at":{}}"#, Skip::Newer),
            (r#"{"kind":[],"v":3}"#, Skip::Newer),
            ("[]", Skip::Foreign),
            ("[2]", Skip::Foreign),
            ("[2", Skip::Foreign),
            ("\u{feff}{}", Skip::Foreign),
            ("7", Skip::Foreign),
            ("hello", Skip::Foreign),
            ("\"v\":1}", Skip::Foreign),
            ("{}", Skip::Foreign),
            (r#"{"v":0,"kind":"pair"}"#, Skip::Foreign),
            (r#"{"v":"2"}"#, Skip::Foreign),
            (r#"{"v":1,"kind":"note"}"#, Skip::Foreign),
            (r#"{"v":1,"kind":"pair"}"#, Skip::Foreign),
            (r#"{"v":1,"kind":"counts","at":"soon","instance":"a","route":"r"}"#, Skip::Foreign),
            (r#"{"v":1,"kind":"counts","at":7}"#, Skip::Foreign),
        ] {
            assert_eq!(skip(line), Some(expected), "{line}");
        }
        assert!(matches!(read(b" \t\r"), Line::Blank));
        let counts = r#"{"v":1,"kind":"counts","at":"2026-11-20T08:00:01.120Z","instance":"a","route":"r","new":[1]}"#;
        assert!(matches!(read(format!("  {counts}\r").as_bytes()), Line::Counts(_)));
        assert_eq!(skip("{\"v\":1,\"k\":\"\u{fffd}").map(|_| ()), Some(()));
        assert!(matches!(read(b"{\"v\":1,\"k\":\"\xff\"}"), Line::Skipped(Skip::Torn | Skip::Foreign)));
    }

    #[test]
    fn numbers_outside_of_their_range_are_not_known() {
        assert_eq!(whole(Some(1.234_5), 1e3), Some(1235));
        for number in [-1.0, 1e300, f64::NAN] {
            assert_eq!(whole(Some(number), 1e3), None);
        }
    }
}
