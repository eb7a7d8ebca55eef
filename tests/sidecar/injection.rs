//! Configured values cannot inject header lines or JSON fields.

use std::process::{Command, Stdio};

use crate::support::*;
use shiftgate::api::sim::Behaviour;

#[tokio::test]
async fn configured_values_inject_no_header_and_no_field() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let good = file(&openai, &qwen, 100.0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let key = folder.path().join("key");
    std::fs::write(&key, "key\r\nx-evil: 1").unwrap();
    let secret = secret_file().display().to_string();
    for (what, evil) in [
        ("a key", good.replace(&secret, &key.display().to_string())),
        (
            "a name",
            good.replace("[backend.qwen]", "[backend.\"qwen\\r\\nx-evil: 1\"]")
                .replace("{ qwen =", "{ \"qwen\\r\\nx-evil: 1\" ="),
        ),
        ("a url", good.replace(&qwen.url(), "http://h\\r\\nx-evil: 1/v1")),
        ("a path", good.replace(&qwen.url(), &format!("{}/\\r\\nx-evil: 1", qwen.url()))),
        ("a header", good.replacen("models", "headers = [\"x\\r\\nx-evil\"]\nmodels", 1)),
    ] {
        std::fs::write(&path, &evil).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
        let output = command.arg("--config").arg(&path).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !said.is_empty(), "{what} is refused: {said}");
        assert!(!said.contains("\r\n") && said.lines().count() < 8, "{what}: {said:?}");
    }
    let running = launch(&good.replace("\"qwen-served\"", "'a\",\"x\":\"b\\'"), false).await;
    ask(&running, &chat("x", false), "").await;
    let body: serde_json::Value = serde_json::from_slice(&qwen.received()[0].body).unwrap();
    assert_eq!((&body["model"], body.get("x")), (&serde_json::json!("a\",\"x\":\"b\\"), None));
}
