//! `check --probe` and the probe at start, against simulated servers and a scripted one.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shiftgate::api::app::{App, Options};
use shiftgate::api::backend::Target;
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::fleet::probe::{self, Asked, Report};
use shiftgate::api::live::Source;
use shiftgate::api::model::MissingFeatures;
use shiftgate::api::outcome::Role;
use shiftgate::api::sim::{self, Behaviour, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "qwen-key-canary";

/// Returns a file whose baseline is `openai` and whose candidate has `lines`.
fn file(openai: &str, qwen: &str, lines: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[rollout]\nname = \"t\"\nbaseline = \"openai\"\n\
         percent = {{ qwen = 0 }}\n[backend.openai]\nengine = \"openai\"\nurl = \"{openai}\"\napi_key = \"none\"\n\
         [backend.qwen]\nurl = \"{qwen}\"\napi_key = {{ env = \"QWEN_KEY\" }}\n{lines}\n"
    )
}

fn parse(text: &str) -> Config {
    let env = |name: &str| (name == "QWEN_KEY").then(|| KEY.to_owned());
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Required, &env).unwrap_or_else(|e| panic!("{e}"))
}

/// Probes the candidate and returns the report.
async fn probed(url: &str, lines: &str) -> Report {
    let config = parse(&file("http://127.0.0.1:9/v1", url, lines));
    let target = Arc::new(Target::prepare(&config.backends[1], None, Arc::default()).unwrap());
    tokio::time::timeout(PATIENCE, probe::probe(&target, Role::Candidate)).await.expect("the probe hangs")
}

/// Asserts the verdict on a feature, and that its row contains `said`.
#[track_caller]
fn assert_row(report: &Report, feature: &str, verdict: &str, said: &str) {
    let row = report.rows.iter().find(|row| row.feature.as_str() == feature);
    let row = row.unwrap_or_else(|| panic!("no {feature} in {report:?}"));
    let line = format!("{} {} {}", row.verdict.as_str(), row.detail, row.hint.unwrap_or_default());
    assert!(row.verdict.as_str() == verdict && line.contains(said), "{feature}: {line}");
}

async fn vllm() -> sim::Sim {
    sim::start(SimConfig::new(Wire::Vllm).model("qwen-served").key(KEY), Behaviour::default()).await.unwrap()
}

const VLLM: &str = "engine = \"vllm\"\nmodels = { \"*\" = \"qwen-served\" }\nfamily = \"qwen3\"";

/// Starts a server whose answers are a function of path and body.
async fn played(answers: impl Fn(&str, &Value) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut got = Vec::new();
                while stream.read_buf(&mut got).await.is_ok_and(|read| read > 0) {
                    let Some((path, body, rest)) = request(&got) else { continue };
                    let (status, answer) = answers(&path, &body);
                    let length = answer.len();
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{answer}");
                    drop(stream.write_all(answer.as_bytes()).await);
                    got = rest;
                }
            });
        }
    });
    url
}

/// Returns path, body and the remaining bytes once the request is complete.
fn request(got: &[u8]) -> Option<(String, Value, Vec<u8>)> {
    let text = std::str::from_utf8(got).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let path = head.split(' ').nth(1)?.to_owned();
    let length = head
        .to_ascii_lowercase()
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.lines().next().unwrap().trim().parse::<usize>().unwrap());
    let (body, rest) = body.split_at_checked(length)?;
    Some((path, serde_json::from_str(body).unwrap_or_default(), rest.as_bytes().to_vec()))
}

/// Starts a server that supports everything; `but` may answer first.
async fn good_but(but: impl Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync + 'static) -> String {
    played(move |path, body| but(path, body).unwrap_or_else(|| good(path, body))).await
}

fn good(path: &str, body: &Value) -> (u16, String) {
    let answer = match path {
        "/v1/models" => json!({"data": [{"id": "qwen-served", "max_model_len": 512}]}),
        "/v1/responses" => json!({"object": "response", "output": [{"type": "message"}]}),
        _ if body["temperature"] == "hot" || body["messages"].to_string().len() > 4096 => {
            let error = json!({"message": "m", "type": "invalid_request_error", "param": null, "code": null});
            return (400, json!({"error": error}).to_string());
        }
        _ if body["stream"] == true => return (200, good_stream(body)),
        _ => json!({"choices": [{"index": 0, "message": message(body), "finish_reason": finish(body)}]}),
    };
    (200, answer.to_string())
}

fn finish(body: &Value) -> &'static str {
    if body["tools"].is_null() { "stop" } else { "tool_calls" }
}

fn message(body: &Value) -> Value {
    if !body["tools"].is_null() {
        let function = json!({"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"});
        return json!({"content": null, "tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]});
    }
    let text = if body["response_format"].is_null() { "Four." } else { "{\"city\":\"Paris\",\"code\":\"QX-17\"}" };
    json!({"content": text})
}

fn good_stream(body: &Value) -> String {
    let delta = json!({"choices": [{"index": 0, "delta": message(body)}]});
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish(body)}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}});
    format!("data: {delta}\n\ndata: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

const NO_PARSER: &str = "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set";

/// Answers like vLLM without the flags for tools.
fn no_tools(_: &str, body: &Value) -> Option<(u16, String)> {
    let error = json!({"message": NO_PARSER, "type": "BadRequestError", "param": null, "code": 400});
    (!body["tools"].is_null()).then(|| (400, json!({"error": error}).to_string()))
}

#[tokio::test]
async fn a_whole_server_works_and_what_is_translated_says_so() {
    let sim = vllm().await;
    let report = probed(&sim.url(), VLLM).await;
    assert_eq!((&report.asked, report.rows.len()), (&Asked::Yes, 12));
    for (feature, verdict, said) in [
        ("models", "works", "qwen-served"),
        ("developer role", "translated", ""),
        ("late system message", "translated", ""),
        ("tool call", "works", ""),
        ("tool call, streamed", "works", ""),
        ("JSON object", "works", ""),
        ("JSON schema", "works", ""),
        ("thinking", "translated", "it comes apart from the text"),
        ("usage of a stream", "works", ""),
        ("error shape", "translated", "its envelope is made OpenAI's"),
        ("context length", "translated", "32768 tokens: a longer prompt is refused"),
    ] {
        assert_row(&report, feature, verdict, said);
    }
    let sent = sim.received();
    assert!(sent.iter().all(|request| request.headers["authorization"] == format!("Bearer {KEY}").as_str()));
    assert!(!sent.iter().any(|request| String::from_utf8_lossy(&request.body).contains("\"developer\"")));
}

#[tokio::test]
async fn openai_itself_works_without_translation() {
    let sim = sim::start(SimConfig::new(Wire::OpenAi).model("gpt-4o-mini"), Behaviour::default()).await.unwrap();
    let config = parse(&file(&sim.url(), "http://127.0.0.1:9/v1", VLLM));
    let target = Arc::new(Target::prepare(&config.backends[0], None, Arc::default()).unwrap());
    let report = tokio::time::timeout(PATIENCE, probe::probe(&target, Role::Baseline)).await.expect("the probe hangs");
    assert_eq!(report.rows.len(), 10, "neither thoughts nor the context's length: {report:?}");
    for row in &report.rows {
        assert_row(&report, row.feature.as_str(), "works", "");
    }
    let body = String::from_utf8_lossy(&sim.received()[1].body).into_owned();
    assert!(body.contains("\"developer\"") && body.contains("\"max_completion_tokens\""), "{body}");
}

#[tokio::test]
async fn what_fails_names_the_flag_that_would_help() {
    for (engine, family, flag) in [
        ("vllm", "qwen3", "--enable-auto-tool-choice --tool-call-parser hermes"),
        ("vllm", "qwen3.5", "--enable-auto-tool-choice --tool-call-parser qwen3_coder"),
        ("sglang", "qwen3", "--tool-call-parser qwen"),
        ("trtllm", "qwen3", "--tool_parser qwen3"),
    ] {
        let lines = format!("engine = \"{engine}\"\nfamily = \"{family}\"");
        let url = good_but(no_tools).await;
        let report = probed(&url, &lines).await;
        for feature in ["tool call", "tool call, streamed"] {
            assert_row(&report, feature, "failed", flag);
            assert_row(&report, feature, "failed", "400: \"auto\" tool choice requires");
        }
        assert_row(&report, "JSON schema", if engine == "trtllm" { "translated" } else { "works" }, "");
        let report = probed(&url, &format!("{lines}\nprobe = true")).await;
        assert_row(&report, "tool call", "pinned", flag);
        assert_row(&report, "/v1/responses", "works", "");
    }
}

#[tokio::test]
async fn what_the_translation_does_not_send_is_pinned_unasked() {
    let report = probed(&good_but(|_, _| None).await, "engine = \"compatible\"").await;
    assert_row(&report, "JSON schema", "pinned", "not every server follows a schema");
    let info = "{\"max_input_tokens\":256,\"max_total_tokens\":512}";
    let url = good_but(move |path, _| (path == "/info").then(|| (200, info.to_owned()))).await;
    let report = probed(&url, "engine = \"tgi\"").await;
    assert_row(&report, "/v1/responses", "pinned", "the server has no such path");
    assert_row(&report, "JSON object", "translated", "");
    let told = "512 tokens, of which the prompt may have 256: a longer prompt is refused";
    assert_row(&report, "context length", "translated", told);
    let report = probed(&url, "engine = \"tgi\"\nmax_model_len = 500").await;
    assert_row(&report, "context length", "translated", "500 tokens, of which the prompt may have 256");
}

/// Answers like a model whose thought takes all tokens of an answer.
fn only_thoughts(path: &str, body: &Value) -> Option<(u16, String)> {
    let is_asked = !body["tools"].is_null() || !body["response_format"].is_null();
    if path != "/v1/chat/completions" || !is_asked {
        return None;
    }
    let (message, delta) = match body["stream"] == true {
        true => (Value::Null, json!({"role": "assistant", "reasoning_content": "The user"})),
        false => (json!({"content": null, "reasoning_content": "The user"}), Value::Null),
    };
    let answer = json!({"choices": [{"message": message, "delta": delta, "finish_reason": "length"}]});
    Some((200, if message.is_null() { format!("data: {answer}\n\ndata: [DONE]\n\n") } else { answer.to_string() }))
}

#[tokio::test]
async fn an_answer_that_is_cut_within_a_thought_shows_nothing() {
    let url = good_but(only_thoughts).await;
    for (family, hint) in [("family = \"thinking\"", "raise thinking_budget_factor"), ("", "family of its section")] {
        for probe in ["", "probe = true"] {
            let report = probed(&url, &format!("engine = \"sglang\"\n{family}\n{probe}")).await;
            for feature in ["tool call", "tool call, streamed", "JSON object", "JSON schema"] {
                assert_row(&report, feature, "not known", hint);
                assert_row(&report, feature, "not known", "the token limit cut its answer within a thought");
            }
            assert_row(&report, "developer role", "translated", "");
        }
    }
    // Nothing is pinned by what is not known.
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let app = start(&file(&openai.url(), &url, &format!("{VLLM}\nprobe = true"))).await;
    let target = Arc::clone(&app.store.current().targets_off_path()[1]);
    eventually(|| target.facts.probed().is_some()).await;
    assert_eq!(target.facts.lacks(), MissingFeatures::NONE);
}

#[tokio::test]
async fn a_grammar_backend_in_use_is_not_advised() {
    let no_json = |_: &str, body: &Value| {
        let answer = json!({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]});
        (!body["response_format"].is_null()).then(|| (200, answer.to_string()))
    };
    let report = probed(&good_but(no_json).await, "engine = \"sglang\"\nfamily = \"qwen3\"").await;
    let row = report.rows.iter().find(|row| row.feature.as_str() == "JSON schema").unwrap();
    assert_eq!((row.detail.as_str(), row.hint), ("the text is not JSON", None));
    let without = "Grammar-based generation is not supported when the server is launched with --grammar-backend none";
    let refused = move |_: &str, body: &Value| {
        let error =
            json!({"object": "error", "message": without, "type": "BadRequestError", "param": null, "code": 400});
        (!body["response_format"].is_null()).then(|| (400, error.to_string()))
    };
    let report = probed(&good_but(refused).await, "engine = \"sglang\"\nfamily = \"qwen3\"").await;
    assert_row(&report, "JSON schema", "failed", "--grammar-backend xgrammar");
}

#[tokio::test]
async fn a_model_that_the_server_does_not_have_is_no_fault_of_a_parser() {
    let sim = sim::start(SimConfig::new(Wire::Vllm).model("other").key(KEY), Behaviour::default()).await.unwrap();
    for probe in ["", "\nprobe = true"] {
        let report = probed(&sim.url(), &format!("{VLLM}{probe}")).await;
        assert_row(&report, "models", "failed", "qwen-served is not among other");
        // A temperature that is not a number is refused first.
        let others = report.rows.iter().filter(|row| !["models", "error shape"].contains(&row.feature.as_str()));
        for row in others {
            assert_row(&report, row.feature.as_str(), "failed", "404: The model `qwen-served` does not exist");
            assert_row(&report, row.feature.as_str(), "failed", "--served-model-name");
        }
    }
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let app = start(&file(&openai.url(), &sim.url(), &format!("{VLLM}\nprobe = true"))).await;
    let target = Arc::clone(&app.store.current().targets_off_path()[1]);
    let asked = sim.requests();
    eventually(|| sim.requests() > asked + 20).await;
    assert_eq!(target.facts.probed(), None, "its features are not known");
}

#[tokio::test]
async fn a_model_that_is_not_there_and_a_length_that_is_not_told() {
    let url = good_but(|path, _| (path == "/v1/models").then(|| (200, "{\"data\":[{\"id\":\"other\"}]}".to_owned())));
    let report = probed(&url.await, VLLM).await;
    assert_row(&report, "models", "failed", "qwen-served is not among other --served-model-name");
    assert_row(&report, "context length", "failed", "its length is not known max_model_len");
}

#[tokio::test]
async fn a_servers_words_show_no_key_and_no_control_characters() {
    let url = good_but(|path, _| {
        let message = format!("\u{1b}[31mkey {KEY} may not\nuse this {}", "x".repeat(500));
        (path == "/v1/responses").then(|| (400, json!({"error": {"message": message}}).to_string()))
    });
    let report = probed(&url.await, VLLM).await;
    assert_row(&report, "/v1/responses", "pinned", "400: ?[31mkey **** may not ");
    assert!(!format!("{report:?}").contains(KEY));
}

#[tokio::test]
async fn who_cannot_be_asked_is_told_apart() {
    let report = probed("http://127.0.0.1:9/v1", VLLM).await;
    assert!(matches!(&report.asked, Asked::NoAnswer(why) if why.starts_with("cannot connect")), "{report:?}");
    let sim = sim::start(SimConfig::new(Wire::Vllm).key("another"), Behaviour::default()).await.unwrap();
    let report = probed(&sim.url(), VLLM).await;
    assert_eq!((report.asked, sim.requests()), (Asked::NoAnswer("it refuses the key (401)".to_owned()), 1));
    let config = parse(&file(&sim.url(), &sim.url(), VLLM).replace("api_key = \"none\"", "api_key = \"client\""));
    let target = Arc::new(Target::prepare(&config.backends[0], None, Arc::default()).unwrap());
    let report = probe::probe(&target, Role::Baseline).await;
    assert_eq!(report.asked, Asked::No("its key is the application's".to_owned()));
    // `/v1/models` may need no key where other endpoints do.
    let url =
        good_but(|path, _| path.ends_with("completions").then(|| (401, "{\"error\":\"Unauthorized\"}".to_owned())));
    let report = probed(&url.await, VLLM).await;
    assert_eq!((report.rows.len(), report.asked), (1, Asked::NoAnswer("it refuses the key (401)".to_owned())));
}

fn check(text: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
    command.env_remove("SHIFTGATE_CONFIG").env_remove("RUST_LOG").env("QWEN_KEY", KEY);
    command.arg("--config").arg(&path).arg("check").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the binary off the async threads, on which the servers run.
async fn check_beside(text: String, arguments: &'static [&'static str]) -> Output {
    tokio::task::spawn_blocking(move || check(&text, arguments)).await.unwrap()
}

#[tokio::test]
async fn the_command_prints_a_table_and_fails_where_nobody_answers() {
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let url = good_but(no_tools).await;
    let text = file(&openai.url(), &url, VLLM);
    let output = check_beside(text.clone(), &["--probe"]).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("\nqwen (vllm)\n  models               works       qwen-served\n"), "{shown}");
    let hint = "tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set  -> --enable-auto";
    assert!(shown.contains(hint) && !shown.contains(KEY), "{shown}");

    let output = check_beside(text.clone(), &["--probe", "--json"]).await;
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let qwen = &shown["backends"][1];
    assert_eq!((&qwen["name"], &qwen["asked"], &qwen["note"]), (&json!("qwen"), &json!(true), &Value::Null));
    let call = json!({"feature": "tool call", "verdict": "failed", "detail": format!("400: {NO_PARSER}"),
        "hint": "--enable-auto-tool-choice --tool-call-parser hermes"});
    assert!(qwen["features"].as_array().unwrap().contains(&call), "{qwen}");

    let output = check_beside(text.replace(&url, "http://127.0.0.1:9/v1"), &["--probe"]).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("qwen (vllm): no answer: cannot connect"), "{shown}");
    for wrong in [["--probe", "--without-secrets"].as_slice(), &["--json"]] {
        assert_eq!(check(&text, wrong).status.code(), Some(2));
    }
}

const PACE: PollIntervals = PollIntervals {
    poll: Duration::from_millis(5),
    deadline: Duration::from_secs(10),
    retry: Duration::from_millis(1),
    hit_window: Duration::from_secs(60),
    probe_again: Duration::from_millis(1),
    models: Duration::from_secs(3600),
};

async fn start(text: &str) -> App {
    let source = Source { env: Box::new(|_| None), secrets: Secrets::Required, adapt: None };
    let options = Options { ask: Some(PACE), ..Options::default() };
    App::start(parse(text), text.as_bytes(), source, options).await.unwrap()
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it never holds");
}

/// Returns the reason on the answer to a request with these tools.
async fn reason(app: &App, tools: &Value) -> String {
    let message = json!({"role": "user", "content": "What is the weather in Paris?"});
    let mut body = json!({"model": "gpt-4o", "messages": [message]});
    if !tools.is_null() {
        body["tools"] = tools.clone();
    }
    let body = body.to_string();
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut stream = TcpStream::connect(app.listen_address.unwrap()).await.unwrap();
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("the answer hangs").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let reason = answer.lines().find_map(|line| line.strip_prefix("x-shiftgate-reason: "));
    reason.unwrap_or_else(|| panic!("no reason in {answer}")).to_owned()
}

#[tokio::test]
async fn at_start_what_fails_is_known_as_lacking_until_it_works() {
    // 0: busy, 1: without tools and responses, 2: supports everything.
    let (stage, of_server) = watch::channel(0);
    let url = good_but(move |path, body| match *of_server.borrow() {
        0 if path != "/v1/models" => Some((503, String::new())),
        1 if path == "/v1/responses" => Some((404, "{\"detail\":\"Not Found\"}".to_owned())),
        1 => no_tools(path, body),
        _ => None,
    })
    .await;
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let text = file(&openai.url(), &url, &format!("{VLLM}\nprobe = true")).replace("qwen = 0", "qwen = 100");
    let app = start(&text).await;
    let target = Arc::clone(&app.store.current().targets_off_path()[1]);
    eventually(|| target.facts.max_model_len() == Some(512)).await;
    assert_eq!((target.facts.probed(), target.facts.lacks()), (None, MissingFeatures::NONE), "busy is not lacking");
    stage.send(1).unwrap();
    let lacks = MissingFeatures::TOOLS | MissingFeatures::TOOLS_STREAMED | MissingFeatures::RESPONSES;
    eventually(|| target.facts.probed() == Some(lacks)).await;
    let (with_tool, without) = (json!([{"type": "function", "function": {"name": "get_weather"}}]), Value::Null);
    assert_eq!((reason(&app, &with_tool).await, reason(&app, &without).await), ("pinned:probe".into(), "split".into()));
    stage.send(2).unwrap();
    eventually(|| target.facts.probed() == Some(MissingFeatures::NONE)).await;
    assert_eq!(reason(&app, &with_tool).await, "split");
    assert_eq!(openai.requests(), 1, "the pinned one: nobody asked for a probe of it");
}

#[tokio::test]
async fn without_a_word_in_the_file_nothing_is_probed() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let quiet = good_but(move |path, _| {
        told.lock().unwrap().push(path.to_owned());
        None
    })
    .await;
    let beside = good_but(|_, _| None).await;
    let text = file("http://127.0.0.1:9/v1", &quiet, VLLM);
    let text = format!("{text}[backend.beside]\nurl = \"{beside}\"\napi_key = \"none\"\n{VLLM}\nprobe = true\n");
    let app = start(&text).await;
    let targets = app.store.current().targets_off_path().to_vec();
    eventually(|| targets[1].max_model_len() == Some(512) && targets[2].facts.probed().is_some()).await;
    assert_eq!((*asked.lock().unwrap()).as_slice(), ["/v1/models"]);
    assert_eq!(targets[1].facts.probed(), None);
}

/// Features that do not simply work, by engine; each simulator is as strict as the real server.
#[tokio::test]
async fn each_engine_gets_what_it_can_do() {
    const LENGTH: (&str, &str) = ("context length", "translated");
    const UNKNOWN: (&str, &str) = ("context length", "failed");
    const SHAPE: (&str, &str) = ("error shape", "translated");
    for (wire, others) in [
        (Wire::Vllm, vec![("thinking", "translated"), SHAPE, LENGTH]),
        (Wire::Sglang, vec![("thinking", "translated"), SHAPE, LENGTH]),
        (Wire::Trtllm, vec![("JSON schema", "translated"), ("thinking", "translated"), SHAPE, UNKNOWN]),
        (
            Wire::Tgi,
            vec![
                ("tool call", "translated"),
                ("tool call, streamed", "translated"),
                ("JSON object", "translated"),
                ("JSON schema", "translated"),
                SHAPE,
                LENGTH,
                ("/v1/responses", "pinned"),
            ],
        ),
        (Wire::DashScope, vec![("JSON schema", "translated"), UNKNOWN, ("/v1/responses", "pinned")]),
        (
            Wire::Compatible,
            vec![("JSON schema", "pinned"), ("error shape", "failed"), UNKNOWN, ("/v1/responses", "pinned")],
        ),
    ] {
        let sim = sim::start(SimConfig::new(wire).model("qwen-served").key(KEY), Behaviour::default()).await.unwrap();
        let lines = "models = { \"*\" = \"qwen-served\" }\nfamily = \"qwen3.5\"\nprobe = true";
        let report = probed(&sim.url(), &format!("engine = \"{}\"\n{lines}", wire.as_str())).await;
        assert_eq!((&report.asked, report.rows.len()), (&Asked::Yes, 12), "{wire:?}");
        let found = report.rows.iter().map(|row| (row.feature.as_str(), row.verdict.as_str()));
        let found: Vec<_> = found.filter(|(_, verdict)| *verdict != "works").collect();
        let roles = [("developer role", "translated"), ("late system message", "translated")];
        assert_eq!(found, [roles.as_slice(), &others].concat(), "{wire:?}: {report:?}");
    }
}

#[tokio::test]
async fn a_wording_that_replaces_system_messages_leaves_their_roles_untested() {
    let folder = tempfile::tempdir().unwrap();
    let wording = folder.path().join("own.md");
    std::fs::write(&wording, "Be brief.").unwrap();
    let qwen = vllm().await;
    for (mode, verdict, said) in [("replace", "not known", "not tested: system"), ("append", "translated", "")] {
        let report = probed(&qwen.url(), &format!("{VLLM}\nsystem = {{ {mode} = {wording:?} }}")).await;
        for feature in ["developer role", "late system message"] {
            assert_row(&report, feature, verdict, said);
        }
        assert_row(&report, "tool call", "works", "");
    }
}
