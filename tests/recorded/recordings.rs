//! Everything that was recorded of chat and responses, played back.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use shiftgate::api::config::ReasoningPolicy;
use shiftgate::api::model::Engine;
use shiftgate::api::translate::answer::{Ending, Unusable, refusal, whole};
use shiftgate::api::translate::{AnswerSpec, Kind};

use super::{IDS, OTHER_IDS, events, run, schema, wants};

#[derive(Deserialize)]
struct Recorded {
    name: String,
    request: Asked,
    response: Answered,
    same_as: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    /// None where the connection broke before a head.
    status: Option<u16>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    chunks: Vec<(f64, String)>,
}

struct Exchange {
    name: String,
    status: u16,
    streamed: bool,
    wants: AnswerSpec,
    body: String,
}

static EXCHANGES: LazyLock<Vec<Exchange>> = LazyLock::new(|| {
    let files = [
        (Engine::Vllm, include_str!("../data/vllm.jsonl")),
        (Engine::Sglang, include_str!("../data/sglang.jsonl")),
        (Engine::Tgi, include_str!("../data/tgi.jsonl")),
        (Engine::Trtllm, include_str!("../data/trtllm.jsonl")),
    ];
    let lines = files.iter().flat_map(|(engine, text)| text.lines().map(|line| (*engine, line)));
    lines.filter_map(|(engine, line)| exchange(engine, serde_json::from_str(line).unwrap())).collect()
});

fn exchange(engine: Engine, recorded: Recorded) -> Option<Exchange> {
    let kind = match recorded.request.path.as_str() {
        "/v1/chat/completions" => Kind::Chat,
        "/v1/responses" => Kind::Responses,
        _ => return None,
    };
    let status = recorded.response.status?;
    if recorded.request.method != "POST" || recorded.same_as.is_some() {
        return None;
    }
    let mut headers = recorded.response.headers.iter();
    let streamed = headers.any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"));
    let body: String = recorded.response.chunks.into_iter().map(|(_, text)| text).collect();
    if status == 200 && body.ends_with("characters in all)") {
        return None;
    }
    let wants = wants_of(engine, kind, streamed, recorded.request.body.as_deref().unwrap_or_default());
    Some(Exchange { name: format!("{}/{}", engine.as_str(), recorded.name), status, streamed, wants, body })
}

/// What the request of a recording asked for, as its application would have.
fn wants_of(engine: Engine, kind: Kind, streamed: bool, request: &str) -> AnswerSpec {
    let asked: Value = serde_json::from_str(request).unwrap_or_default();
    let list = |name: &str| asked[name].as_array().is_some_and(|list| !list.is_empty());
    let stop = match &asked["stop"] {
        Value::String(stop) => vec![stop.clone()],
        Value::Array(stops) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    AnswerSpec {
        kind,
        streamed,
        usage_chunk: asked["stream_options"]["include_usage"] == true,
        thinking_off: asked["chat_template_kwargs"]["enable_thinking"] == false,
        tools: list("tools") || list("functions"),
        functions: list("functions"),
        forced: asked["tool_choice"].is_object(),
        one_call: asked["parallel_tool_calls"] == false,
        stop: if engine == Engine::Tgi { stop } else { Vec::new() },
        ..wants(engine)
    }
}

fn answered(kind: Kind, streamed: bool) -> impl Iterator<Item = &'static Exchange> {
    EXCHANGES
        .iter()
        .filter(move |it| it.status == 200 && it.wants.kind == kind && it.streamed == streamed && !it.body.is_empty())
}

/// What must not be found anywhere in what an application gets.
const OF_ENGINES: [&str; 12] = [
    "qwen",
    "Qwen",
    "vllm",
    "sglang",
    "dev0-native",
    "matched_stop",
    "stop_reason",
    "token_ids",
    "weight_version",
    "transfer_params",
    "chatcmpl-tool",
    "http_status_code",
];

#[track_caller]
fn nothing_of_the_engine(text: &str, wants: &AnswerSpec, name: &str) {
    for word in OF_ENGINES {
        assert!(!text.contains(word), "{name}: {word} in {text}");
    }
    // Among the tokens that were not chosen the tags may stand.
    if wants.reasoning == ReasoningPolicy::Strip && !text.contains("\"top_logprobs\":[{") {
        for word in ["reasoning_content", "<think>", "</think>", "\"reasoning\":\"", "wants a short"] {
            assert!(!text.contains(word), "{name}: {word} in {text}");
        }
    }
}

/// Answers that are none, by design of the recording.
fn is_failure(name: &str) -> bool {
    name.contains("abort")
        || name.contains("busy")
        || (name.contains("fault_") && !name.contains("sick"))
        || name.contains("killed")
}

#[test]
fn whole_answers_of_chat() {
    let mut seen = 0;
    for it in answered(Kind::Chat, false) {
        seen += 1;
        match whole(&it.wants, &IDS, it.body.as_bytes()) {
            Ok(answer) => {
                assert!(!is_failure(&it.name), "{}", it.name);
                let text = String::from_utf8(answer.body.clone()).unwrap();
                schema::chat(&serde_json::from_str(&text).unwrap(), &it.wants);
                nothing_of_the_engine(&text, &it.wants, &it.name);
                assert!(answer.seen.usage.is_some() && answer.seen.told.model.is_some(), "{}", it.name);
                let again = whole(&it.wants, &OTHER_IDS, &answer.body).unwrap();
                assert_eq!(String::from_utf8(again.body).unwrap(), text, "{}", it.name);
            }
            Err(Unusable::Error(said)) => {
                assert!(is_failure(&it.name), "{}: {said:?}", it.name);
                schema::error(&serde_json::from_slice(&said.error.to_json()).unwrap());
            }
            Err(Unusable::Garbled(why)) => panic!("{}: {why}", it.name),
        }
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn streams_of_chat() {
    let mut seen = 0;
    for it in answered(Kind::Chat, true) {
        seen += 1;
        let first = run(&it.wants, IDS, &[it.body.as_bytes()]);
        nothing_of_the_engine(&first.text, &it.wants, &it.name);
        match first.ending {
            Ending::Complete => {
                assert!(!is_failure(&it.name), "{}", it.name);
                schema::chat_stream(&events(&first.text), &it.wants);
                let again = run(&it.wants, OTHER_IDS, &[first.text.as_bytes()]);
                assert_eq!(again.text, first.text, "{}", it.name);
            }
            Ending::Failed => {
                let events = events(&first.text);
                assert!(!first.text.contains("[DONE]"), "{}", it.name);
                assert_eq!(first.stream.has_shown(), !first.text.is_empty(), "{}: {}", it.name, first.text);
                if first.stream.has_shown() {
                    schema::error(events.last().unwrap());
                }
            }
            Ending::Broke => assert!(it.name.contains("killed_mid"), "{}: {}", it.name, first.text),
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn responses_whole_and_streamed() {
    let mut seen = 0;
    for it in answered(Kind::Responses, false) {
        seen += 1;
        let answer = whole(&it.wants, &IDS, it.body.as_bytes()).unwrap();
        let text = String::from_utf8(answer.body.clone()).unwrap();
        schema::response(&serde_json::from_str(&text).unwrap(), &it.wants);
        nothing_of_the_engine(&text, &it.wants, &it.name);
        assert_eq!(whole(&it.wants, &OTHER_IDS, &answer.body).unwrap().body, answer.body, "{}", it.name);
    }
    for it in answered(Kind::Responses, true) {
        seen += 1;
        let first = run(&it.wants, IDS, &[it.body.as_bytes()]);
        nothing_of_the_engine(&first.text, &it.wants, &it.name);
        if it.name.contains("too_long") {
            assert_eq!(first.ending, Ending::Failed);
            assert!(first.stream.error().unwrap().context && !first.stream.has_shown(), "{}", it.name);
            continue;
        }
        assert_eq!(first.ending, Ending::Complete, "{}", it.name);
        schema::response_stream(&first.text, &events(&first.text), &it.wants);
        assert!(first.stream.has_shown() && first.stream.seen().usage.is_some(), "{}", it.name);
        let again = run(&it.wants, OTHER_IDS, &[first.text.as_bytes()]);
        assert_eq!(again.text, first.text, "{}", it.name);
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn refusals_become_openais() {
    let mut seen = 0;
    for it in EXCHANGES.iter().filter(|it| it.status >= 400) {
        seen += 1;
        let said = refusal(it.wants.engine, it.status, it.body.as_bytes());
        schema::error(&serde_json::from_slice(&said.error.to_json()).unwrap());
        let is_own_id = said.error.param.as_deref() == Some("response_id");
        let hidden = [401, 403, 404, 405, 422, 424].contains(&said.status);
        assert!(!hidden || is_own_id, "{}: {}", it.name, said.status);
        let is_context = ["err_context", "too_long", "max_tokens_huge", "max_tokens_ctx"];
        assert_eq!(
            said.context,
            is_context.iter().any(|part| it.name.contains(part)) || it.name.ends_with("vllm/err_max_tokens"),
            "{}: {}",
            it.name,
            said.error.message
        );
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn under_every_policy_an_answer_stays_as_it_is_once_made() {
    use ReasoningPolicy::{Both, Reasoning, ReasoningContent};
    for policy in [ReasoningContent, Reasoning, Both] {
        for it in EXCHANGES.iter().filter(|it| it.status == 200 && !is_failure(&it.name)) {
            let wants = AnswerSpec { reasoning: policy, ..it.wants.clone() };
            if it.streamed {
                let first = run(&wants, IDS, &[it.body.as_bytes()]);
                if first.ending == Ending::Complete {
                    assert_eq!(run(&wants, OTHER_IDS, &[first.text.as_bytes()]).text, first.text, "{}", it.name);
                }
            } else if let Ok(first) = whole(&wants, &IDS, it.body.as_bytes()) {
                let again = whole(&wants, &OTHER_IDS, &first.body).unwrap();
                assert_eq!(again.body, first.body, "{}", it.name);
            }
        }
    }
}

#[test]
fn every_recorded_stream_byte_by_byte() {
    for it in EXCHANGES.iter().filter(|it| it.streamed) {
        let whole = run(&it.wants, IDS, &[it.body.as_bytes()]);
        for size in [1, 3, 64] {
            let chunks: Vec<&[u8]> = it.body.as_bytes().chunks(size).collect();
            let pieces = run(&it.wants, IDS, &chunks);
            assert_eq!(pieces.text, whole.text, "{} by {size}", it.name);
            assert_eq!(pieces.ending, whole.ending, "{} by {size}", it.name);
        }
    }
}

fn streams() -> Vec<&'static Exchange> {
    EXCHANGES.iter().filter(|it| it.streamed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_chunking_gives_the_same_bytes(
        pick in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let it = *pick.get(&streams());
        let body = it.body.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&it.wants, IDS, &chunks).text, run(&it.wants, IDS, &[body]).text);
    }

    #[test]
    fn no_mutation_makes_it_panic(
        pick in any::<prop::sample::Index>(),
        policy in 0..4_usize,
        edits in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..24_usize, prop::sample::select(PIECES.to_vec())), 1..6),
    ) {
        let it = pick.get(&EXCHANGES);
        let mut body = it.body.clone().into_bytes();
        for (at, length, piece) in edits {
            let start = at.index(body.len() + 1);
            let end = (start + length).min(body.len());
            body.splice(start..end, piece.bytes());
        }
        use ReasoningPolicy::{Both, Reasoning, ReasoningContent, Strip};
        let policy = [Strip, ReasoningContent, Reasoning, Both][policy];
        everything(&AnswerSpec { reasoning: policy, ..it.wants.clone() }, it.status, &body);
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300), engine in 0..7_usize) {
        let chat = wants(Engine::ALL[engine]);
        everything(&AnswerSpec { kind: Kind::Responses, ..chat.clone() }, 500, &body);
        everything(&chat, 400, &body);
    }
}

/// What a mutation puts in: pieces that mean something where they land.
const PIECES: [&str; 14] =
    ["", "\"", "{", "}", "null", "[]", "0", "-1", "\n\n", "<think>", "</think>", "\\ud83d", "\"index\":9e9", "\u{e9}"];

/// Whatever the bytes are, all that is asked of them is no panic, and that a stream's text is UTF-8.
fn everything(wants: &AnswerSpec, status: u16, body: &[u8]) {
    drop(whole(wants, &IDS, body));
    drop(refusal(wants.engine, status, body));
    let run = run(wants, IDS, &body.chunks(7).collect::<Vec<_>>());
    if run.ending == Ending::Complete && wants.kind == Kind::Chat && wants.engine != Engine::OpenAi {
        assert!(run.text.ends_with("data: [DONE]\n\n"));
    }
}
