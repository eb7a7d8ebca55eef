//! Every row of the table of scores, with its reasons, and the form of a record.

use serde_json::{Value, json};
use shiftgate::api::compare::{
    Answer, Asked, AskedSchema, Call, Format, LegOutcome, LegScores, NullReason, Schemas, Scores, Side, leg, pair,
};

use super::side;

const PARIS: &str = "The capital of France is Paris, and it has been so for centuries.";

fn text(text: &str) -> Answer {
    Answer { text: Some(text.to_owned()), finish: Some("stop".to_owned()), ..Answer::default() }
}

fn calls(names: &str) -> Answer {
    let call = |name: char| Call { name: name.to_string(), arguments: "{}".to_owned() };
    Answer { calls: names.chars().map(call).collect(), finish: Some("tool_calls".to_owned()), ..Answer::default() }
}

fn asked(format: Option<Format>) -> Asked {
    Asked { format, ..Asked::default() }
}

fn scored(asked: &Asked, reference: &Side<'_>, candidate: &Side<'_>) -> Value {
    serde_json::to_value(pair(asked, reference, candidate, &mut Schemas::default())).unwrap()
}

/// Scores two answers to a request that asked for nothing.
fn answers(reference: &Answer, candidate: &Answer) -> Value {
    scored(&asked(None), &side(reference), &side(candidate))
}

fn one_leg(asked: &Asked, side: &Side<'_>) -> LegScores {
    leg(asked, side, &mut Schemas::default())
}

/// Asserts a value, or the reason of a null if `expected` is one.
#[track_caller]
fn assert_row(record: &Value, name: &str, expected: impl Into<Value>) {
    let expected = expected.into();
    let is_reason = expected.as_str().is_some_and(|word| NullReason::ALL.iter().any(|reason| reason.as_str() == word));
    if is_reason {
        assert_eq!((&record[name], &record["null"][name]), (&Value::Null, &expected), "{name} in {record}");
    } else {
        assert_eq!((&record[name], &record["null"][name]), (&expected, &Value::Null), "{name} in {record}");
    }
}

#[test]
fn texts() {
    let paris = text(PARIS);
    let chinese = text("法国的首都是巴黎，几个世纪以来一直如此。");
    let cut =
        Answer { finish: Some("length".into()), ..text(&PARIS.replace(" and it has been so for centuries.", "")) };
    let none = Answer { text: None, finish: None, ..Answer::default() };
    let long = text(&"x".repeat(32_769));
    let spaced = text(&PARIS.replace(' ', "\n "));
    for (candidate, name, expected) in [
        (&paris, "finish_equal", json!(true)),
        (&cut, "finish_equal", json!(false)),
        (&none, "finish_equal", json!("unknown")),
        (&spaced, "exact", json!(true)),
        (&cut, "exact", json!(false)),
        (&none, "exact", json!("no_text")),
        (&long, "exact", json!("over_cap")),
        (&chinese, "similarity", json!(0.0046)),
        (&none, "similarity", json!("no_text")),
        (&long, "similarity", json!("over_cap")),
        (&cut, "script_equal", json!(true)),
        (&chinese, "script_equal", json!(false)),
        (&none, "script_equal", json!("no_text")),
        (&text("Paris."), "script_equal", json!("too_short")),
        (&cut, "length_ratio", json!(0.4769)),
        (&none, "length_ratio", json!("no_text")),
        (&paris, "fence_equal", json!("no_json")),
        (&paris, "json_score", json!("no_json")),
        (&paris, "tool_names", json!("no_tools")),
        (&paris, "tools_equal", json!("no_tools")),
    ] {
        assert_row(&answers(&paris, candidate), name, expected);
    }
    assert_row(&answers(&long, &text("x")), "length_ratio", json!(0.0001));
}

#[test]
fn documents() {
    let fenced = text("```json\n{\"a\":1}\n```");
    let nested = text(&format!("{}{}", "[".repeat(65), "]".repeat(65)));
    let none = Answer::default();
    for (format, reference, candidate, json_score, fence_equal) in [
        (None, text(r#"{"a":1,"b":2}"#), text(r#"{"a":1}"#), json!(0.6667), json!(true)),
        (None, text(r#"{"a":1}"#), fenced.clone(), json!(1.0), json!(false)),
        (Some(Format::JsonObject), text(r#"{"a":1}"#), fenced.clone(), json!(0.0), json!(false)),
        (Some(Format::JsonObject), fenced.clone(), fenced, json!("reference_invalid"), json!(true)),
        (Some(Format::JsonObject), text("{"), text("{}"), json!("reference_invalid"), json!("no_json")),
        (None, text("{}"), text(PARIS), json!(0.0), json!("no_json")),
        (None, text("{}"), nested.clone(), json!("over_cap"), json!("over_cap")),
        (None, nested, text("{}"), json!("over_cap"), json!("over_cap")),
        (None, text(PARIS), text("{}"), json!("no_json"), json!("no_json")),
        (Some(Format::Text), text("{}"), text("{}"), json!(1.0), json!(true)),
        (Some(Format::JsonObject), none.clone(), none, json!("reference_invalid"), json!("no_json")),
    ] {
        let record = scored(&asked(format), &side(&reference), &side(&candidate));
        assert_row(&record, "json_score", json_score);
        assert_row(&record, "fence_equal", fence_equal);
    }
}

#[test]
fn tools() {
    let many = calls(&"f".repeat(17));
    let other = Answer { calls: vec![Call { name: "f".into(), arguments: "{\"a\":1}".into() }], ..Answer::default() };
    for (reference, candidate, tool_names, tools_equal) in [
        (calls("fg"), calls("gf"), json!(1.0), json!(true)),
        (calls("f"), other, json!(1.0), json!(false)),
        (calls("ff"), calls("fg"), json!(0.5), json!(false)),
        (calls("f"), text(PARIS), json!(0.0), json!(false)),
        (text(PARIS), many.clone(), json!(0.0), json!(false)),
        (many.clone(), many, json!(1.0), json!("over_cap")),
    ] {
        let record = answers(&reference, &candidate);
        assert_row(&record, "tool_names", tool_names);
        assert_row(&record, "tools_equal", tools_equal);
    }
}

#[test]
fn times_tokens_and_costs() {
    let (reference, candidate) = (text(&"a".repeat(50)), text(&"b".repeat(100)));
    let measured = |answer, ttft, total| Side {
        is_stream: true,
        ttft_ms: Some(ttft),
        total_ms: Some(total),
        output_tokens: Some(10),
        cost_usd: Some(0.5),
        ..side(answer)
    };
    let (r, c) = (measured(&reference, 100.0, 300.0), measured(&candidate, 50.0, 450.0));
    let with = |change: fn(&mut Side<'_>)| {
        let mut changed = c;
        change(&mut changed);
        scored(&asked(None), &r, &changed)
    };
    for (record, name, expected) in [
        (with(|_| {}), "ttft_ratio", json!(0.5)),
        (with(|_| {}), "total_ratio", json!(1.5)),
        (with(|_| {}), "gap_ratio", json!(1.0)),
        (with(|c| c.output_tokens = Some(15)), "tokens_ratio", json!(1.5)),
        (with(|c| c.cost_usd = Some(0.05)), "cost_ratio", json!(0.1)),
        (with(|c| c.is_stream = false), "ttft_ratio", json!("unstreamed")),
        (with(|c| c.is_stream = false), "gap_ratio", json!("unstreamed")),
        (with(|c| c.is_stream = false), "total_ratio", json!(1.5)),
        (with(|c| c.is_slow_client = true), "ttft_ratio", json!(0.5)),
        (with(|c| c.is_slow_client = true), "total_ratio", json!("slow_client")),
        (with(|c| c.is_slow_client = true), "gap_ratio", json!("slow_client")),
        (with(|c| c.ttft_ms = None), "ttft_ratio", json!("unknown")),
        (with(|c| c.total_ms = None), "total_ratio", json!("unknown")),
        (with(|c| c.ttft_ms = Some(0.0)), "ttft_ratio", json!("unknown")),
        (with(|c| c.output_tokens = None), "tokens_ratio", json!("no_usage")),
        (with(|c| c.cost_usd = None), "cost_ratio", json!("no_price")),
        (with(|c| c.outcome = LegOutcome::Reset), "cost_ratio", json!("outcome")),
    ] {
        assert_row(&record, name, expected);
    }
    let empty = Answer::default();
    let record = scored(&asked(None), &r, &Side { answer: Some(&empty), ..c });
    assert_row(&record, "gap_ratio", json!("no_text"));
}

#[test]
fn a_leg_that_is_not_ok_or_over_its_cap_has_no_score() {
    let answer = text(PARIS);
    for outcome in LegOutcome::ALL.iter().copied().filter(|outcome| *outcome != LegOutcome::Ok) {
        let failed = Side { outcome, ..side(&answer) };
        let expected = Scores::void(NullReason::Outcome);
        assert_eq!(pair(&asked(None), &failed, &side(&answer), &mut Schemas::default()), expected);
        assert_eq!(pair(&asked(None), &side(&answer), &failed, &mut Schemas::default()), expected);
        assert_eq!(one_leg(&asked(None), &failed).mode, Err(NullReason::Outcome));
    }
    let over = Side { is_over_cap: true, answer: None, ..side(&answer) };
    let failed = Side { outcome: LegOutcome::Timeout, ..side(&answer) };
    for (reference, candidate, reason) in [
        (over, side(&answer), NullReason::OverCap),
        (side(&answer), over, NullReason::OverCap),
        (over, failed, NullReason::Outcome),
        (failed, over, NullReason::Outcome),
    ] {
        let scores = pair(&asked(None), &reference, &candidate, &mut Schemas::default());
        assert_eq!(scores, Scores::void(reason));
    }
    assert_eq!(one_leg(&asked(None), &over).mode, Err(NullReason::OverCap));
}

#[test]
fn modes() {
    let json_object = asked(Some(Format::JsonObject));
    let refusal = Answer { refusal: Some("no".into()), finish: Some("length".into()), ..text("x") };
    for (asked, answer, expected) in [
        (&asked(None), refusal, "refusal"),
        (&asked(None), Answer { finish: Some("content_filter".into()), ..text("x") }, "refusal"),
        (&asked(None), Answer { finish: Some("length".into()), ..calls("f") }, "cut"),
        (&asked(None), calls("f"), "tools"),
        (&asked(None), text(" \n"), "empty"),
        (&asked(None), text("```\n[]\n```"), "json"),
        (&json_object, text("```\n[]\n```"), "text"),
        (&json_object, text("{}"), "json"),
        (&json_object, text("1"), "text"),
        (&json_object, text("{"), "text"),
    ] {
        assert_eq!(one_leg(asked, &side(&answer)).mode.unwrap().as_str(), expected, "{answer:?}");
    }
}

#[test]
fn json_and_schema_of_a_leg() {
    let json_object = asked(Some(Format::JsonObject));
    let schema = |schema: &str| Asked { schema: AskedSchema::Text(schema.into()), ..asked(Some(Format::JsonSchema)) };
    let integer = schema(r#"{"properties":{"a":{"type":"integer"}}}"#);
    let over_cap = Asked { schema: AskedSchema::OverCap, ..asked(Some(Format::JsonSchema)) };
    let unusable = schema(r#"{"type":"thing"}"#);
    let long = format!("\"{}\"", "x".repeat(32_767));
    for (asked, answer, json_valid, schema_valid) in [
        (&asked(None), text(PARIS), json!("no_json"), json!("no_schema")),
        (&asked(None), text("12"), json!("no_json"), json!("no_schema")),
        (&asked(None), text("```\n{}\n```"), json!(true), json!("no_schema")),
        (&json_object, text("```\n{}\n```"), json!(false), json!("no_schema")),
        (&json_object, text("12"), json!(true), json!("no_schema")),
        (&json_object, text(""), json!(false), json!("no_schema")),
        (&json_object, calls("f"), json!("no_json"), json!("no_schema")),
        (&integer, text(r#"{"a":1.0}"#), json!(true), json!(true)),
        (&integer, text(r#"{"a":1.5}"#), json!(true), json!(false)),
        (&integer, text(r#"{"a":1"#), json!(false), json!("no_json")),
        (&integer, text(&long), json!("over_cap"), json!("over_cap")),
        (&over_cap, text("{}"), json!(true), json!("over_cap")),
        (&unusable, text("{}"), json!(true), json!("schema_unusable")),
    ] {
        let record = serde_json::to_value(one_leg(asked, &side(&answer))).unwrap();
        assert_row(&record, "json_valid", json_valid);
        assert_row(&record, "schema_valid", schema_valid);
    }
}

#[test]
fn a_record_has_every_score_in_order() {
    let (reference, candidate) = (text("{\"a\":1}"), text("{\"a\":2}"));
    let scores = pair(&asked(None), &side(&reference), &side(&candidate), &mut Schemas::default());
    let expected = concat!(
        r#"{"kind":"json","agreement":0.0,"finish_equal":true,"exact":false,"similarity":0.4929,"json_score":0.0,"#,
        r#""tool_names":null,"tools_equal":null,"script_equal":null,"fence_equal":true,"length_ratio":1.0,"#,
        r#""ttft_ratio":null,"total_ratio":null,"gap_ratio":null,"tokens_ratio":null,"cost_ratio":null,"null":{"#,
        r#""cost_ratio":"no_price","gap_ratio":"unstreamed","script_equal":"too_short","tokens_ratio":"no_usage","#,
        r#""tool_names":"no_tools","tools_equal":"no_tools","total_ratio":"unknown","ttft_ratio":"unstreamed"}}"#
    );
    assert_eq!(serde_json::to_string(&scores).unwrap(), expected);
    let names: Vec<&str> = scores.named().map(|(name, _)| name).collect();
    let not_null = ["agreement", "finish_equal", "exact", "similarity", "json_score", "fence_equal", "length_ratio"];
    assert_eq!(names, not_null);

    let answer = text("I’m sorry, but I can't.");
    let timed = Side { is_stream: true, ttft_ms: Some(10.0), total_ms: Some(20.0), ..side(&answer) };
    let leg = one_leg(&asked(None), &timed);
    assert_eq!((leg.hint, leg.refused), (Ok(true), Ok(false)));
    let expected = concat!(
        r#"{"mode":"text","gap_ms":0.435,"chars":23,"calls":0,"refused":false,"json_valid":null,"schema_valid":null,"#,
        r#""null":{"json_valid":"no_json","schema_valid":"no_schema"}}"#
    );
    assert_eq!(serde_json::to_string(&leg).unwrap(), expected);
}
