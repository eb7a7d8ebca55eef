//! Replay of every recorded exchange that can be sent again.

use shiftgate::api::sim::{self, Behaviour, Fault, SimConfig, Template, Wire};

use crate::compare::{differences, exchanges, faulty, send, tokens};

/// True if `wanted` is the name, or a prefix of it that ends in `_`.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || (wanted.ends_with('_') && name.starts_with(wanted))
}

/// Compares every exchange that is not left out; returns their number and the differences.
async fn compare(text: &str, server: &sim::Sim, left_out: &[(&str, &str)]) -> (usize, Vec<String>) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for exchange in exchanges(text) {
        let shortened = exchange.request.body.as_ref().is_some_and(|body| body.contains("bytes in all)"));
        if shortened || left_out.iter().any(|(name, _)| is_named(&exchange.name, name)) {
            continue;
        }
        compared += 1;
        let ours = send(server.address(), &exchange.request).await;
        wrong.extend(differences(&exchange, &ours).into_iter().map(|found| format!("{}: {found}", exchange.name)));
    }
    (compared, wrong)
}

#[track_caller]
fn assert_as_recorded((compared, wrong): (usize, Vec<String>), least: usize) {
    assert!(wrong.is_empty(), "{} differences in {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= least, "{compared} compared");
}

#[tokio::test]
async fn vllm_is_as_recorded() {
    let left_out = [
        ("responses", "the toy model ran out of tokens"),
        ("completions", "the toy model ran out of tokens"),
        ("completions_stream", "the toy model ran out of tokens"),
        ("json_schema", "the toy model ran out of tokens inside the object; ours ends it"),
        ("json_schema_stream", "the toy model ran out of tokens inside the object; ours ends it"),
        ("json_object", "the toy model ran out of tokens inside the object; ours ends it"),
        ("err_context", "the recording shortens the body, so it cannot be sent again"),
        ("err_context_stream", "the recording shortens the body, so it cannot be sent again"),
        ("metrics", "ours is shorter"),
    ];
    let server = sim::start(SimConfig::new(Wire::Vllm).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("../data/vllm.jsonl"), &server, &left_out).await, 46);
}

#[tokio::test]
async fn sglang_is_as_recorded() {
    let left_out = [
        ("loads", "ours is shorter"),
        ("metrics", "ours is shorter"),
        ("chat_emoji_stream", "the words decide"),
        ("stop_list", "the words decide"),
        ("stop_stream", "the words decide"),
        ("stop_in_thought", "the words decide"),
        ("temperature_5", "the words decide"),
        ("temperature_2", "the words decide"),
        ("logit_bias_101", "the words decide"),
        ("field_ignore_eos", "the words decide"),
        ("tools_result_no_tools", "the words decide"),
        ("tools_auto_and_schema", "the words decide"),
        ("completions_no_max", "the words decide"),
        ("strict_", "another server"),
        ("noparser_", "another server"),
        ("abort_", "another server"),
        ("busy", "another server"),
        ("busy_stream", "another server"),
        ("killed_", "a connection that ends, as a fault does it"),
        ("separate_reasoning_off", "nobody sends it"),
        ("responses_custom_tool", "nobody sends it"),
        ("responses_effort_none", "text is an object there, and null everywhere else"),
        ("completions_logprobs", "pinned to the baseline: a candidate is never asked"),
        ("messages_anthropic", "pinned to the baseline: a candidate is never asked"),
    ];
    let server = sim::start(SimConfig::new(Wire::Sglang).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("../data/sglang.jsonl"), &server, &left_out).await, 270);
}

#[tokio::test]
async fn tgi_is_as_recorded() {
    let left_out = [
        ("metrics", "ours is shorter"),
        ("stop_hit", "the words decide"),
        ("stop_hit_stream", "the words decide"),
        ("completions_stop_hit", "the words decide"),
        ("max_tokens_1500", "the words decide"),
        ("emoji_stream", "the words decide"),
        ("tools_no_tool_cut_stream", "the words decide"),
        ("tools_empty_call", "a model that fails on demand"),
        ("tools_empty_call_stream", "a model that fails on demand"),
        ("fault_", "a model that fails on demand"),
        ("health_sick", "a model that fails on demand"),
        ("ping_sick", "a model that fails on demand"),
        ("prompt_", "nobody asks for the prompt"),
        ("options_cors", "nobody asks"),
        ("err_duplicate_key", "nobody sends it"),
        ("err_not_utf8", "a recording is text"),
        ("completions_two", "pinned to the baseline: a candidate is never asked"),
        ("completions_two_stream", "pinned to the baseline: a candidate is never asked"),
        ("limited_", "another server"),
    ];
    let server = sim::start(SimConfig::new(Wire::Tgi), tokens(12)).await.unwrap();
    assert_as_recorded(compare(include_str!("../data/tgi.jsonl"), &server, &left_out).await, 185);
}

#[tokio::test]
async fn trtllm_is_as_recorded() {
    let server = sim::start(SimConfig::new(Wire::Trtllm).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("../data/trtllm.jsonl"), &server, &[]).await, 68);
}

/// Compares the exchanges of these names with a server of this configuration and behaviour.
async fn compare_named(text: &str, names: &[&str], config: SimConfig, behaviour: Behaviour) -> Vec<String> {
    let server = sim::start(config, behaviour).await.unwrap();
    let mut wrong = Vec::new();
    for name in names {
        let exchange = exchanges(text).into_iter().find(|exchange| exchange.name == *name);
        let exchange = exchange.unwrap_or_else(|| panic!("{name} was not recorded"));
        let ours = send(server.address(), &exchange.request).await;
        wrong.extend(differences(&exchange, &ours).into_iter().map(|found| format!("{name}: {found}")));
    }
    wrong
}

fn status(status: u16) -> Behaviour {
    Behaviour { status: Some((status, None)), ..tokens(7) }
}

#[tokio::test]
async fn other_servers_of_the_recordings() {
    let sglang = || SimConfig::new(Wire::Sglang).model("qwen-235b-a22b");
    let strict = || sglang().key("sk-sglang").template(Template::Qwen35);
    let limited =
        || SimConfig { max_model_len: 512, ..SimConfig::new(Wire::Tgi).key("sk-tgi").template(Template::Qwen35) };
    let templates = ["strict_developer", "strict_late_system", "strict_two_system", "strict_only_system"];
    let keyless = ["strict_auth_none", "strict_auth_wrong"];
    let tgi_templates =
        ["limited_late_system", "limited_late_system_stream", "limited_developer", "limited_system_only"];
    let tgi_open = [
        "limited_no_auth",
        "limited_wrong_auth",
        "limited_err_json_no_auth",
        "limited_models_no_auth",
        "limited_health_no_auth",
        "limited_info_no_auth",
        "limited_route_no_auth",
        "limited_sum_too_long",
        "limited_sum_too_long_2000",
        "limited_tool_history_only",
    ];
    let overloaded = [
        "limited_overloaded",
        "limited_overloaded_stream",
        "limited_overloaded_tools_stream",
        "limited_overloaded_completions",
        "limited_overloaded_completions_stream",
        "limited_overloaded_bad_request",
        "limited_overloaded_health",
    ];
    let cases: Vec<(&str, &[&str], SimConfig, Behaviour)> = vec![
        ("sglang", &templates, SimConfig { api_key: None, ..strict() }, tokens(7)),
        ("sglang", &keyless, strict(), tokens(7)),
        ("sglang", &["busy", "busy_stream"], sglang(), status(503)),
        ("sglang", &["noparser_chat_bare"], sglang(), faulty(Fault::ThinkInContent)),
        ("sglang", &["noparser_tools_auto"], sglang(), faulty(Fault::CallAsText)),
        ("sglang", &["abort_stream_long"], sglang(), faulty(Fault::Abort)),
        ("tgi", &tgi_templates, limited(), tokens(7)),
        ("tgi", &tgi_open, limited(), tokens(7)),
        ("tgi", &overloaded, SimConfig { api_key: None, ..limited() }, status(429)),
        (
            "tgi",
            &["limited_shard_gone", "fault_prefill", "fault_prefill_stream", "fault_decode"],
            SimConfig::new(Wire::Tgi),
            status(424),
        ),
        ("tgi", &["fault_decode_stream"], SimConfig::new(Wire::Tgi), faulty(Fault::ErrorEventAfter(3))),
        ("tgi", &["fault_incomplete"], SimConfig::new(Wire::Tgi), status(500)),
        ("tgi", &["keep_alive_stream"], SimConfig::new(Wire::Tgi), faulty(Fault::Comments)),
    ];
    let mut wrong = Vec::new();
    for (engine, names, config, behaviour) in cases {
        let text =
            if engine == "tgi" { include_str!("../data/tgi.jsonl") } else { include_str!("../data/sglang.jsonl") };
        wrong.extend(compare_named(text, names, config, behaviour).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
