//! Refusals of Python servers, as the application sees them. The bodies are recorded ones.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::*;

const VLLM: &str = r#"{"error":{"message":"2 validation errors:\n  {'type': 'literal_error', 'loc': 'body.tools.0.type', 'msg': \"Input should be 'function'\", 'input': 'custom', 'ctx': {'expected': \"'function'\"}}\n  {'type': 'missing', 'loc': 'body.tools.0.function', 'msg': 'Field required', 'input': '<dict of 2 items>'}","type":"Bad Request","param":"body.tools.0.type","code":400}}"#;
const SGLANG: &str = r#"{"object":"error","message":"1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages', 0, 'function-after[validate_thinking_parts_role(), ChatCompletionMessageGenericParam]', 'role'), 'msg': 'Field required', 'input': {'content': 'x'}}\n\n  File \"SITE/sglang/srt/entrypoints/http_server.py\", line 1870, in openai_v1_chat_completions\n    POST /v1/chat/completions [{'type': 'missing'}]","type":"Bad Request","param":null,"code":400}"#;
const TRTLLM: &str = r#"{"error":"[{'type': 'extra_forbidden', 'loc': ('body', 'foo'), 'msg': 'Extra inputs are not permitted', 'input': 1}]"}"#;
/// A position in the JSON text is no field.
const JSON: &str = r#"{"error":{"message":"1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.10', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}","type":"Bad Request","param":"body.10","code":400}}"#;

#[tokio::test]
async fn the_first_validation_error_reaches_the_application() {
    let (running, script) = before_script(100.0).await;
    let cases = [
        (VLLM, "Input should be 'function'", json!("tools[0].type")),
        (SGLANG, "Field required", json!("messages[0].role")),
        (TRTLLM, "Extra inputs are not permitted", json!("foo")),
        (JSON, "JSON decode error", Value::Null),
    ];
    let bodies = cases.each_ref().map(|(body, ..)| *body);
    let serving = tokio::spawn(async move {
        for body in bodies {
            let (mut stream, _) = script.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for (body, message, param) in cases {
        let answer = ask(&running, &chat("x", false), "").await;
        let error = &answer.json()["error"];
        let expected = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
        assert_eq!((answer.status, error), (400, &expected), "{body}");
    }
    serving.await.unwrap();
}
