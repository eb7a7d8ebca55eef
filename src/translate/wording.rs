//! A backend's own wording: `system` of its section, put beside the application's system text or in its place.

use std::borrow::Cow;

use super::draft::Draft;
use super::json::{self, array, joined, quoted};
use super::ledger::Action;
use super::rewrite::Rewrite;
use crate::config::{Backend, WordingMode};

/// Text of a system message between two texts, as in a JSON string: one blank line.
const BLANK_LINE: &str = "\\n\\n";
/// Empty text, as JSON.
const EMPTY: &str = "\"\"";

/// The wording that a request gets.
pub(super) struct Wording {
    mode: WordingMode,
    /// The text, as JSON.
    text: String,
}

impl Wording {
    /// Returns the backend's wording; `None` if it has none, or if its file was not read.
    pub(super) fn of(backend: &Backend) -> Option<Self> {
        let wording = backend.system.as_ref()?;
        Some(Self { mode: wording.mode, text: quoted(wording.text.as_ref()?) })
    }

    /// True if the application's system text is left out.
    pub(super) fn replaces(&self) -> bool {
        self.mode == WordingMode::Replace
    }

    /// Returns the wording joined with the application's system text; both are JSON.
    pub(super) fn joined_with(&self, system: &str) -> String {
        let (text, system) = (self.text.as_str(), Some(system).filter(|system| *system != EMPTY));
        match (self.mode, system) {
            (WordingMode::Append, Some(system)) => joined([system, text].into_iter(), BLANK_LINE),
            (WordingMode::Prepend, Some(system)) => joined([text, system].into_iter(), BLANK_LINE),
            (WordingMode::Replace, _) | (_, None) => text.to_owned(),
        }
    }

    /// Returns a system message with the wording added; `None` if its content is not one text.
    fn joined_into(&self, message: &str) -> Option<String> {
        let mut draft = Draft::parse(message)?;
        let both = self.joined_with(draft.get("content").filter(|content| content.starts_with('"'))?);
        draft.set("content", both);
        Some(draft.to_json())
    }

    /// Returns the wording as the text of a system message of its own, as JSON.
    pub(super) fn alone(&self) -> &str {
        &self.text
    }
}

/// True if the backend's wording takes the place of the application's system text.
pub(super) fn replaces(backend: &Backend) -> bool {
    backend.system.as_ref().is_some_and(|wording| wording.mode == WordingMode::Replace && wording.text.is_some())
}

/// Notes that `field` holds the wording.
pub(super) fn note(rewrite: &mut Rewrite<'_>, field: &str) {
    let Some(wording) = &rewrite.backend.system else { return };
    let file = wording.path.file_name().unwrap_or_default().to_string_lossy();
    let detail = format!("{} {file}", wording.mode.as_str());
    rewrite.ledger.note("system", Action::Rewritten, detail);
    rewrite.ledger.cover(field);
}

/// Adds the wording to `instructions` of `/v1/responses`. A value that is not text is left for the server to refuse.
pub(super) fn instructions(rewrite: &mut Rewrite<'_>) {
    let Some(wording) = Wording::of(rewrite.backend) else { return };
    let before = rewrite.draft.get("instructions").filter(|before| *before != "null").unwrap_or(EMPTY);
    if !before.starts_with('"') && !wording.replaces() {
        return;
    }
    let both = wording.joined_with(before);
    rewrite.draft.set("instructions", both);
    note(rewrite, "instructions");
}

/// Adds the wording to a chat for a candidate that speaks OpenAI's API, whose system messages are not merged.
pub(super) fn openais_messages(rewrite: &mut Rewrite<'_>) {
    let Some(wording) = Wording::of(rewrite.backend) else { return };
    let Some(text) = rewrite.draft.get("messages").map(str::to_owned) else { return };
    let Some(items) = json::items(&text).filter(|items| !items.is_empty()) else { return };
    // OpenAI's reasoning models refuse both roles in one request.
    let role = items.iter().find_map(|item| system_role(item)).unwrap_or("system");
    let mut all: Vec<Cow<'_, str>> = items.into_iter().map(Cow::Borrowed).collect();
    if wording.replaces() {
        all.retain(|item| system_role(item).is_none());
    }
    let leading = all.iter().take_while(|item| system_role(item).is_some()).count();
    let (neighbour, place) = match wording.mode {
        WordingMode::Append => (leading.checked_sub(1), leading),
        WordingMode::Prepend | WordingMode::Replace => (Some(0).filter(|_| leading > 0), 0),
    };
    let neighbour = neighbour.and_then(|at| all.get_mut(at));
    match neighbour.and_then(|item| wording.joined_into(item).map(|both| (item, both))) {
        Some((item, both)) => *item = Cow::Owned(both),
        None => {
            all.insert(place, Cow::Owned(format!("{{\"role\":\"{role}\",\"content\":{}}}", wording.alone())));
        }
    }
    let json = array(&all);
    rewrite.draft.set("messages", json);
    note(rewrite, "messages");
}

/// Adds the wording to a request to `/v1/responses` of a candidate that speaks OpenAI's API.
pub(super) fn openais_input(rewrite: &mut Rewrite<'_>) {
    let Some(wording) = Wording::of(rewrite.backend) else { return };
    let input = rewrite.draft.get("input").map(str::to_owned).filter(|_| wording.replaces());
    if let Some(items) = input.as_deref().and_then(json::items) {
        let kept: Vec<&str> = items.iter().copied().filter(|item| system_role(item).is_none()).collect();
        if kept.len() < items.len() {
            let json = array(&kept);
            rewrite.draft.set("input", json);
            rewrite.ledger.cover("input");
        }
    }
    instructions(rewrite);
}

/// Returns the role of a message or item that counts as system text.
pub(super) fn system_role(item: &str) -> Option<&'static str> {
    match Draft::parse(item)?.string("role")?.as_ref() {
        "system" => Some("system"),
        "developer" => Some("developer"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use serde_json::{Value, json};

    use crate::config::{self, Config, Secrets};
    use crate::translate::{self, TranslateInput, Translated};
    use crate::wire::endpoint::Endpoint;
    use crate::wire::scan;

    /// Returns a file whose candidate (the second backend) has this engine, these lines, and the wording "B \"q\"".
    fn file(mode: &str, engine: &str, lines: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("own.md"), "\n  B \"q\"\n\n").unwrap();
        let text = format!(
            "[rollout]\nname = \"t\"\nbaseline = \"o\"\npercent = {{ q = 1 }}\n\
             [backend.o]\nengine = \"openai\"\nurl = \"http://o/v1\"\napi_key = \"client\"\n\
             [backend.q]\nengine = \"{engine}\"\nurl = \"http://q/v1\"\napi_key = \"none\"\n\
             system = {{ {mode} = \"own.md\" }}\n{lines}\n"
        );
        let path = folder.path().join("rollout.toml");
        let config = config::parse(&path, text.as_bytes(), Secrets::Required, &|_| None);
        (folder, config.unwrap_or_else(|error| panic!("{error}")))
    }

    fn translated(config: &Config, path: &str, body: &Value) -> Translated {
        let body = Bytes::from(body.to_string());
        let scan = scan::scan(&body).unwrap();
        let endpoint = Endpoint::of(&Method::POST, path);
        let backend = &config.backends[1];
        let input = TranslateInput {
            body: &body,
            scan: &scan,
            endpoint,
            backend,
            is_baseline: false,
            max_model_len: None,
            max_input_tokens: None,
        };
        assert!(!input.passes_untouched());
        translate::request(&input).unwrap()
    }

    /// Returns the translated body, and the ledger as `action field: detail`.
    fn sent(config: &Config, path: &str, body: &Value) -> (Value, Vec<String>) {
        let done = translated(config, path, body);
        let steps = done.ledger.steps().iter();
        let steps = steps.map(|step| format!("{} {}: {}", step.action.as_str(), step.field, step.detail));
        (serde_json::from_slice(&done.body).unwrap(), steps.collect())
    }

    /// Builds messages of `role:text` pairs.
    fn turns(pairs: &[&str]) -> Value {
        let turn = |pair: &&str| {
            let (role, text) = pair.split_once(':').unwrap();
            json!({"role": role, "content": text})
        };
        pairs.iter().map(turn).collect()
    }

    const CHAT: &str = "/v1/chat/completions";
    const RESPONSES: &str = "/v1/responses";

    #[track_caller]
    fn assert_messages((mode, engine, lines): (&str, &str, &str), came: &[&str], expected: &[&str]) {
        let (_folder, config) = file(mode, engine, lines);
        let (body, steps) = sent(&config, CHAT, &json!({"model": "m", "messages": turns(came)}));
        assert_eq!(body["messages"], turns(expected), "{mode} {engine} {came:?}");
        assert!(steps.contains(&format!("rewritten system: {mode} own.md")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("passed messages")), "{steps:?}");
    }

    #[test]
    fn a_chat_gets_the_wording_after_before_or_in_place_of_its_system_text() {
        let own = "system:B \"q\"";
        for engine in ["vllm", "sglang", "tgi", "trtllm", "dashscope", "compatible"] {
            let on = |mode: &'static str| (mode, engine, "");
            for mode in ["append", "prepend", "replace"] {
                assert_messages(on(mode), &["user:hi"], &[own, "user:hi"]);
                assert_messages(on(mode), &["system:", "user:hi"], &[own, "user:hi"]);
            }
            for role in ["system", "developer"] {
                let first = format!("{role}:A");
                let came = [first.as_str(), "user:hi"];
                assert_messages(on("append"), &came, &["system:A\n\nB \"q\"", "user:hi"]);
                assert_messages(on("prepend"), &came, &["system:B \"q\"\n\nA", "user:hi"]);
                assert_messages(on("replace"), &came, &[own, "user:hi"]);
            }
        }
        let late = ["system:A", "user:hi", "assistant:yes", "developer:C", "user:so"];
        let rest = ["user:hi", "assistant:yes", "user:so"];
        let with = |first: &'static str| [[first].as_slice(), &rest].concat();
        assert_messages(("append", "vllm", ""), &late, &with("system:A\n\nC\n\nB \"q\""));
        assert_messages(("prepend", "vllm", ""), &late, &with("system:B \"q\"\n\nA\n\nC"));
        assert_messages(("replace", "vllm", ""), &late, &with("system:B \"q\""));
    }

    #[test]
    fn late_system_messages_are_replaced_before_they_become_a_users() {
        let as_user = "late_system = \"as_user\"";
        let late = ["user:hi", "system:C", "user:so"];
        assert_messages(("append", "vllm", as_user), &late, &["system:B \"q\"", "user:hi", "user:C", "user:so"]);
        assert_messages(("replace", "vllm", as_user), &late, &["system:B \"q\"", "user:hi", "user:so"]);
    }

    #[test]
    fn the_wording_is_never_the_users_message_of_a_chat_without_one() {
        let raises = "family = \"qwen3.5\"";
        assert_messages(("append", "vllm", raises), &["system:A"], &["system:B \"q\"", "user:A"]);
        assert_messages(("replace", "vllm", raises), &["system:A"], &["system:B \"q\"", "user:Continue."]);
    }

    #[test]
    fn messages_that_the_server_refuses_stay_as_they_came() {
        let (_folder, config) = file("append", "vllm", "family = \"qwen3.5\"");
        for messages in [json!([]), json!("x"), json!([1]), json!([{"content": "x"}])] {
            let (body, steps) = sent(&config, CHAT, &json!({"model": "m", "messages": messages}));
            assert_eq!(body["messages"], messages);
            assert!(!steps.iter().any(|step| step.contains("own.md")), "{steps:?}");
        }
        let strange = json!([{"role": "system", "content": 5}, {"role": "user", "content": "hi"}]);
        let (body, _) = sent(&config, CHAT, &json!({"model": "m", "messages": strange}));
        assert_eq!(body["messages"][0], json!({"role": "system", "content": "B \"q\""}));
        assert_eq!(body["messages"][1], strange[0]);
    }

    #[test]
    fn the_wording_counts_in_the_clamp() {
        let ask = json!({"model": "m", "messages": turns(&["user:hi"]), "max_tokens": 100_000});
        let clamped = |config: &Config| sent(config, CHAT, &ask).0["max_tokens"].as_u64().unwrap();
        let (_folder, config) = file("append", "sglang", "max_model_len = 8192");
        let short = clamped(&config);
        let mut long = config;
        long.backends[1].system.as_mut().unwrap().text = Some("word ".repeat(600));
        assert!(short - clamped(&long) >= 900, "{short} {}", clamped(&long));
    }

    #[test]
    fn instructions_count_as_system_text() {
        let item = |role: &str, text: &str| json!({"role": role, "content": text});
        let input = json!([item("developer", "C"), item("user", "hi"), item("system", "D")]);
        for (mode, with, alone) in [
            ("append", "A\n\nC\n\nD\n\nB \"q\"", "B \"q\""),
            ("prepend", "B \"q\"\n\nA\n\nC\n\nD", "B \"q\""),
            ("replace", "B \"q\"", "B \"q\""),
        ] {
            let (_folder, config) = file(mode, "vllm", "responses = true");
            let ask = json!({"model": "m", "instructions": "A", "input": input, "store": false});
            let (body, steps) = sent(&config, RESPONSES, &ask);
            assert_eq!((&body["instructions"], &body["input"]), (&json!(with), &json!([item("user", "hi")])), "{mode}");
            assert!(steps.contains(&format!("rewritten system: {mode} own.md")), "{steps:?}");
            for none in [json!({}), json!({"instructions": null})] {
                let mut ask = json!({"model": "m", "input": "hi", "store": false});
                ask.as_object_mut().unwrap().extend(none.as_object().unwrap().clone());
                let (body, _) = sent(&config, RESPONSES, &ask);
                assert_eq!((&body["instructions"], &body["input"]), (&json!(alone), &json!("hi")), "{mode}");
            }
        }
    }

    #[test]
    fn a_candidate_of_openai_keeps_the_rest_of_its_messages() {
        let late = ["developer:A", "developer:C", "user:hi", "developer:D"];
        for (mode, came, expected) in [
            ("append", vec!["user:hi"], vec!["system:B \"q\"", "user:hi"]),
            ("append", late.to_vec(), vec!["developer:A", "developer:C\n\nB \"q\"", "user:hi", "developer:D"]),
            ("prepend", late.to_vec(), vec!["developer:B \"q\"\n\nA", "developer:C", "user:hi", "developer:D"]),
            ("replace", late.to_vec(), vec!["developer:B \"q\"", "user:hi"]),
            ("append", vec!["user:hi", "developer:D"], vec!["developer:B \"q\"", "user:hi", "developer:D"]),
        ] {
            assert_messages((mode, "openai", ""), &came, &expected);
        }
        let parts = json!({"role": "system", "content": [{"type": "text", "text": "A"}]});
        let (_folder, config) = file("append", "openai", "");
        let (body, _) =
            sent(&config, CHAT, &json!({"model": "m", "messages": [parts, {"role": "user", "content": "hi"}]}));
        assert_eq!(
            (&body["messages"][0], &body["messages"][1]),
            (&parts, &json!({"role": "system", "content": "B \"q\""}))
        );
        let (_folder, config) = file("replace", "openai", "");
        let item = json!({"role": "user", "content": "hi"});
        let ask = json!({"model": "m", "instructions": "A", "input": [{"role": "developer", "content": "C"}, item]});
        let (body, _) = sent(&config, RESPONSES, &ask);
        assert_eq!((&body["instructions"], &body["input"]), (&json!("B \"q\""), &json!([item])));
    }

    #[test]
    fn other_endpoints_have_no_system_text() {
        for engine in ["vllm", "openai"] {
            let (_folder, config) = file("append", engine, "");
            for (path, ask) in [
                ("/v1/completions", json!({"model": "m", "prompt": "hi"})),
                ("/v1/embeddings", json!({"model": "m", "input": "hi"})),
            ] {
                let (body, steps) = sent(&config, path, &ask);
                assert_eq!(body, ask);
                assert!(!steps.iter().any(|step| step.contains("own.md")), "{steps:?}");
            }
        }
    }

    #[test]
    fn a_strict_backend_takes_the_wording() {
        let (_folder, config) = file("append", "vllm", "translate = \"strict\"");
        let (body, _) = sent(&config, CHAT, &json!({"model": "m", "messages": turns(&["user:hi"])}));
        assert_eq!(body["messages"], turns(&["system:B \"q\"", "user:hi"]));
    }
}
