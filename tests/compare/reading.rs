//! Answers read from bytes.

use proptest::prelude::*;
use shiftgate::api::compare::{Answer, Asked, Call};
use shiftgate::api::wire::endpoint::Endpoint;

const CHAT: &str = r#"{"choices":[{"index":0,"finish_reason":"tool_calls","message":{"content":"é","reasoning":"hm","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}}],"usage":{}}"#;

const CHAT_STREAM: &str = ": keep-alive\r\n\r\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\"}}]}\r\n\r\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\u{e9}\"}}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}}]}\n\n\
    data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{}}\n\n\
    data: [DONE]\n\n";

const RESPONSE: &str = r#"{"status":"completed","error":null,"output":[{"type":"reasoning","summary":[]},{"type":"message","content":[{"type":"output_text","text":"é"}]},{"type":"function_call","name":"f","arguments":"{}"}]}"#;

const RESPONSES_STREAM: &str = "event: response.created\n\
    data: {\"type\":\"response.created\",\"response\":{}}\n\n\
    event: response.output_text.delta\n\
    data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"\u{e9}\"}\n\n\
    data: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"name\":\"f\"}}\n\n\
    data: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"{}\"}\n\n\
    data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n";

const BODIES: [(Endpoint, bool, &str); 4] = [
    (Endpoint::ChatCompletions, false, CHAT),
    (Endpoint::ChatCompletions, true, CHAT_STREAM),
    (Endpoint::Responses, false, RESPONSE),
    (Endpoint::Responses, true, RESPONSES_STREAM),
];

#[test]
fn the_same_answer_in_four_forms() {
    let expected = Answer {
        text: Some("é".into()),
        refusal: None,
        finish: Some("tool_calls".into()),
        calls: vec![Call { name: "f".into(), arguments: "{}".into() }],
    };
    for (endpoint, is_stream, body) in BODIES {
        assert_eq!(Answer::read(endpoint, is_stream, body.as_bytes()).as_ref(), Some(&expected), "{body}");
        assert_eq!(Answer::read(endpoint, !is_stream, body.as_bytes()), None, "{body}");
        assert_eq!(Answer::read(Endpoint::Completions, is_stream, body.as_bytes()), None, "{body}");
    }
    let record = r#"{"text":"é","refusal":null,"finish":"tool_calls","calls":[{"name":"f","arguments":"{}"}]}"#;
    assert_eq!(serde_json::to_string(&expected).unwrap(), record);
}

#[test]
fn what_is_not_an_answer() {
    let error = "data: {\"error\":{\"message\":\"m\"}}\n\n";
    for (endpoint, is_stream, body) in BODIES {
        for body in ["", "x", "{}", "[]", "null", "data: x\n\n", "data: {}\n\n", "data: [DONE]\n\n", error, "\u{feff}"]
        {
            assert_eq!(Answer::read(endpoint, is_stream, body.as_bytes()), None, "{endpoint:?} {is_stream} {body:?}");
        }
        let bytes = [body.as_bytes(), error.as_bytes()].concat();
        assert_eq!(Answer::read(endpoint, is_stream, &bytes), None, "an error at the end");
        let bytes = body.replace('é', "\u{0}").into_bytes();
        let broken: Vec<u8> = bytes.into_iter().map(|byte| if byte == 0 { 0xff } else { byte }).collect();
        assert_eq!(Answer::read(endpoint, is_stream, &broken), None, "not UTF-8");
    }
}

/// A body of which some bytes are changed, removed or repeated.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..6);
    (0..BODIES.len(), edits).prop_map(|(body, edits)| {
        let mut bytes = BODIES[body].2.as_bytes().to_vec();
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len().max(1));
            match edit {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    })
}

/// Reads bytes in every way.
fn read_all(bytes: &[u8]) {
    for (endpoint, is_stream, _) in BODIES {
        let answer = Answer::read(endpoint, is_stream, bytes);
        let length = answer.map_or(0, |answer| answer.text().len() + answer.calls.len());
        assert!(length <= bytes.len());
        Asked::read(endpoint, bytes);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn no_change_of_an_answer_makes_the_reader_panic(bytes in mutated()) {
        read_all(&bytes);
    }
}
