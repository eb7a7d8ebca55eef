//! Comparison of two answers: against the vectors, against the reference, and under odd input.
//!
//! `tests/data/agreement.json` has the vectors, `tests/data/agreement_ref.py` is the reference that made them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its shared steps too")]

mod generate;
mod reading;
mod reference;
mod scores;
mod vectors;

use serde::{Deserialize, Serialize};
use shiftgate::api::compare::{Answer, Asked, AskedSchema, Call, Format, LegOutcome, Schemas, Scores, Side, leg, pair};

/// Request of a vector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    format: Option<String>,
}

/// One side of a vector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    text: Option<String>,
    refusal: Option<String>,
    finish: Option<String>,
    calls: Vec<GivenCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    over_cap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_valid: Option<bool>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenCall {
    name: String,
    arguments: String,
}

impl Request {
    fn asked(&self, schema: AskedSchema) -> Asked {
        let format = self.format.as_ref().map(|format| match format.as_str() {
            "json_object" => Format::JsonObject,
            other => {
                assert_eq!(other, "json_schema");
                Format::JsonSchema
            }
        });
        Asked { format, schema, ..Asked::default() }
    }
}

impl Given {
    fn answer(&self) -> Answer {
        let call = |call: &GivenCall| Call { name: call.name.clone(), arguments: call.arguments.clone() };
        Answer {
            text: self.text.clone(),
            refusal: self.refusal.clone(),
            finish: self.finish.clone(),
            calls: self.calls.iter().map(call).collect(),
        }
    }

    fn outcome(&self) -> LegOutcome {
        let word = self.outcome.as_deref().unwrap_or("ok");
        LegOutcome::ALL.iter().copied().find(|outcome| outcome.as_str() == word).unwrap()
    }
}

/// Returns a side of which only the answer is known.
fn side(answer: &Answer) -> Side<'_> {
    Side {
        outcome: LegOutcome::Ok,
        is_over_cap: false,
        answer: Some(answer),
        is_stream: false,
        is_slow_client: false,
        ttft_ms: None,
        total_ms: None,
        output_tokens: None,
        cost_usd: None,
    }
}

/// Scores and modes of a pair.
#[derive(Debug)]
struct Compared {
    scores: Scores,
    modes: [Option<&'static str>; 2],
    schema_valid: [Option<bool>; 2],
}

fn compare(request: &Request, schema: AskedSchema, reference: &Given, candidate: &Given) -> Compared {
    let mut schemas = Schemas::default();
    let asked = request.asked(schema);
    let answers = [reference.answer(), candidate.answer()];
    let of = |given: &Given, answer| Side { outcome: given.outcome(), is_over_cap: given.over_cap, ..side(answer) };
    let sides = [of(reference, &answers[0]), of(candidate, &answers[1])];
    let legs = sides.map(|side| leg(&asked, &side, &mut schemas));
    Compared {
        scores: pair(&asked, &sides[0], &sides[1], &mut schemas),
        modes: [&legs[0], &legs[1]].map(|leg| leg.mode.ok().map(|mode| mode.as_str())),
        schema_valid: legs.map(|leg| leg.schema_valid.ok()),
    }
}
