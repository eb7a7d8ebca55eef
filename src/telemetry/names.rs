//! Names of everything that is published: metrics and their help, labels, attributes and events of spans.
//!
//! This is the one table: `/metrics`, exported spans, the examples and README follow it. `gen_ai.*` is from
//! OpenTelemetry's GenAI semantic conventions v0.1.0 (a repository of their own, `semantic-conventions-genai`), which
//! are in development, so that no crate is followed; `http.*`, `network.*`, `server.*`, `url.*` and `error.type` are from
//! its general conventions. A name on the page is the convention's by OpenTelemetry's translation for Prometheus.

/// A metric of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name on the page; a counter's is without `_total`.
    pub name: &'static str,
    /// Help text on the page.
    pub help: &'static str,
    /// The convention that the metric follows; `None` for shiftgate's own.
    pub convention: Option<Convention>,
}

/// A metric as OpenTelemetry's conventions define it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convention {
    /// Name, with dots.
    pub name: &'static str,
    /// Unit in UCUM; one in braces is an annotation and no part of the name on the page.
    pub unit: &'static str,
}

macro_rules! metrics {
    (@convention) => { None };
    (@convention $name:literal $unit:literal) => { Some(Convention { name: $name, unit: $unit }) };
    ($($id:ident = $page:literal $(as $name:literal in $unit:literal)?: $help:literal;)+) => {
        $(
            #[doc = $help]
            pub(crate) const $id: Metric =
                Metric { name: $page, help: $help, convention: metrics!(@convention $($name $unit)?) };
        )+

        /// Every metric of the page.
        pub const METRICS: &[Metric] = &[$($id),+];
    };
}

metrics! {
    INFERENCE_DURATION = "gen_ai_client_inference_duration_seconds"
        as "gen_ai.client.inference.duration" in "s":
        "Durations of calls to models, from sending to the end of the answer, in seconds";
    TIME_TO_FIRST_CHUNK = "gen_ai_client_inference_time_to_first_chunk_seconds"
        as "gen_ai.client.inference.time_to_first_chunk" in "s":
        "Times from sending to the first generated token of streams, in seconds";
    TIME_PER_OUTPUT_CHUNK = "gen_ai_client_inference_time_per_output_chunk_seconds"
        as "gen_ai.client.inference.time_per_output_chunk" in "s":
        "Times between the chunks of streams, in seconds";
    USAGE_INPUT = "gen_ai_client_inference_usage_input_tokens"
        as "gen_ai.client.inference.usage.input_tokens" in "{token}":
        "Prompt tokens as counted by the backend, cached ones included";
    USAGE_OUTPUT = "gen_ai_client_inference_usage_output_tokens"
        as "gen_ai.client.inference.usage.output_tokens" in "{token}":
        "Generated tokens as counted by the backend, thoughts included";
    USAGE_CACHE_READ = "gen_ai_client_inference_usage_cache_read_input_tokens"
        as "gen_ai.client.inference.usage.cache_read.input_tokens" in "{token}":
        "Prompt tokens that the backend read from a cache; 0 where it does not say";
    USAGE_CACHE_WRITE = "gen_ai_client_inference_usage_cache_write_input_tokens"
        as "gen_ai.client.inference.usage.cache_write.input_tokens" in "{token}":
        "Prompt tokens that the backend wrote to a cache; 0 where it does not say";
    USAGE_REASONING = "gen_ai_client_inference_usage_reasoning_output_tokens"
        as "gen_ai.client.inference.usage.reasoning.output_tokens" in "{token}":
        "Generated tokens that are thoughts; 0 where the backend does not say";
    EMBEDDINGS_DURATION = "gen_ai_client_embeddings_duration_seconds"
        as "gen_ai.client.embeddings.duration" in "s":
        "Durations of calls for embeddings, from sending to the end of the answer, in seconds";
    EMBEDDINGS_INPUT = "gen_ai_client_embeddings_operation_input_tokens"
        as "gen_ai.client.embeddings.operation.input_tokens" in "{token}":
        "Tokens per call for embeddings as counted by the backend";
    // GenAI conventions from v0.1.0 on have counters in its place. Dashboards made before them read it.
    TOKEN_USAGE = "gen_ai_client_token_usage"
        as "gen_ai.client.token.usage" in "{token}":
        "Tokens per call as counted by the backend, by type";

    HTTP_SERVER_DURATION = "http_server_request_duration_seconds"
        as "http.server.request.duration" in "s":
        "Durations of applications' requests, to the end of the answer, in seconds";
    HTTP_SERVER_ACTIVE = "http_server_active_requests"
        as "http.server.active_requests" in "{request}":
        "Requests of applications in flight";
    HTTP_CLIENT_CONNECTIONS = "http_client_open_connections"
        as "http.client.open_connections" in "{connection}":
        "Open connections to backends, by state";
    HTTP_CLIENT_CONNECTION_DURATION = "http_client_connection_duration_seconds"
        as "http.client.connection.duration" in "s":
        "Lifetimes of connections to backends, in seconds";

    SPLIT_DECISIONS = "shiftgate_split_decisions": "Decisions by route, backend decided for, and reason";
    SPLIT_LATE_PINS = "shiftgate_split_late_pins":
        "Requests pinned during translation, after the split had chosen a candidate";
    SPLIT_PERCENT = "shiftgate_split_percent": "Percent set in rollout.toml, by route and candidate";
    SPLIT_PERCENT_GOT = "shiftgate_split_percent_got":
        "Percent of the split's requests assigned to this backend since the start";

    ATTEMPTS = "shiftgate_attempts": "Requests sent to the backend, replays included";
    SERVED = "shiftgate_served": "Requests answered by the backend";
    ERRORS = "shiftgate_errors": "Requests without a complete good answer, by the backend's fault";
    FAILOVERS = "shiftgate_failovers": "Requests sent to another backend after this one failed";
    REPLAYS = "shiftgate_replays": "Requests sent again because a reused connection was closed";
    EARLY_HEADS = "shiftgate_early_heads": "Heads of streams sent before the backend had content";
    MISCONFIGURED = "shiftgate_misconfigured": "Refusals of shiftgate's key, model or path by the backend";
    TOKENS_INPUT = "shiftgate_tokens_input": "Prompt tokens as the backend counted them";
    TOKENS_OUTPUT = "shiftgate_tokens_output": "Generated tokens as the backend counted them";
    COST = "shiftgate_cost_usd": "Cost of answers with a known price, in USD";
    UPSTREAM_RETRIES = "shiftgate_upstream_retries":
        "Requests sent again after this backend failed: to the baseline by cause, or to itself as a replay";
    UPSTREAM_CANCELLED = "shiftgate_upstream_cancelled":
        "Attempts cancelled before the backend finished, by who cancelled them";
    BACKEND_IN_FLIGHT = "shiftgate_backend_in_flight": "Requests being answered by the backend";
    POOL_CONNECTIONS = "shiftgate_pool_connections": "Connections open to the backend";
    TRANSLATE = "shiftgate_translate": "Request fields handled by the translation, by action";
    ANSWER_NOTES = "shiftgate_answer_notes": "Answers that needed a repair, by repair";

    GUARD_STATE = "shiftgate_guard_state": "1 for the state that the candidate's guard is in, 0 for the others";
    GUARD_EVIDENCE = "shiftgate_guard_evidence": "Natural logarithm of the evidence against the candidate";
    GUARD_TRIALS = "shiftgate_guard_trials": "Requests that the guard judged, by the role of the backend that got them";
    GUARD_COUNTED = "shiftgate_guard_counted": "Failures that counted as evidence, by role";
    GUARD_FAULTS = "shiftgate_guard_faults": "Failures among the guard's trials, by role and cause";
    GUARD_UNWATCHED = "shiftgate_guard_unwatched": "Requests whose age was not watched because too many waited";
    GUARD_NOTIFY = "shiftgate_guard_notify": "Messages of the guard, by result";
    GUARD_STATE_ERRORS = "shiftgate_guard_state_errors": "Failures to read or write the state file";
    SPLIT_PERCENT_EFFECTIVE = "shiftgate_split_percent_effective":
        "Percent of the candidate in force; 0 while it is held or rolled back";
    SIGNALS = "shiftgate_signals":
        "Streams left by the application after content, and retries of its SDK, by the backend of the first try";

    BREAKER_STATE = "shiftgate_breaker_state": "State of the breaker: 0 closed, 1 half-open, 2 open";
    BREAKER_OPENED = "shiftgate_breaker_opened": "Times that the breaker opened";
    COOLDOWN_ACTIVE = "shiftgate_cooldown_active": "1 while the candidate gets no requests after a 429";
    COOLDOWNS = "shiftgate_cooldowns": "Cool-downs begun by a 429";
    FAILOVER_REFUSED = "shiftgate_failover_refused":
        "Failures of candidates without a failover because the retry budget was spent";

    PREFIX_HIT_RATIO = "shiftgate_prefix_hit_ratio":
        "Share of the prompt tokens that the backend's servers found in their prefix cache, 0 to 1, over the last minute";
    FLEET_WAITING = "shiftgate_fleet_waiting_requests": "Requests waiting in the queues of the backend's servers";
    FLEET_RUNNING = "shiftgate_fleet_running_requests": "Requests running on the backend's servers";
    FLEET_KV_USAGE = "shiftgate_fleet_kv_cache_usage_ratio":
        "KV cache usage of the backend's fullest server, 0 to 1";
    FLEET_TOKENS = "shiftgate_fleet_tokens_per_second": "Tokens generated per second by the backend's servers";
    FLEET_GPU_USED = "shiftgate_fleet_gpu_memory_used_bytes":
        "GPU memory in use on the backend's servers, in bytes";
    FLEET_GPU_TOTAL = "shiftgate_fleet_gpu_memory_total_bytes": "GPU memory of the backend's servers, in bytes";
    FLEET_GPU_UTILIZATION = "shiftgate_fleet_gpu_utilization_ratio":
        "Mean GPU utilization of the backend's servers, 0 to 1";
    FLEET_AGE = "shiftgate_fleet_age_seconds": "Age of the backend's load figures, in seconds";
    FLEET_OVERLOADED = "shiftgate_fleet_overloaded": "1 while the backend is above max_waiting or max_kv_usage";
    FLEET_POLLS = "shiftgate_fleet_polls": "Polls of the backend's metrics pages, by result";
    MODEL_LISTS = "shiftgate_model_lists": "Questions for the backend's list of models, by result";

    SHADOW_REQUESTS = "shiftgate_shadow_requests":
        "Requests that the split decided and that were chosen for a copy, by route, receiver and result";
    NOISE_REQUESTS = "shiftgate_noise_requests":
        "Requests chosen for a second call to the baseline, by route and result";
    PAIRS = "shiftgate_pairs": "Copies that were sent, by route, receiver and result of the pair";
    AGREEMENT = "shiftgate_agreement":
        "Agreement of the baseline's and the receiver's answer, 0 to 1, by kind; kinds are not comparable";
    AGREEMENT_FLOOR = "shiftgate_agreement_floor":
        "Agreement of two answers of the baseline to the same request, 0 to 1, by kind";
    COPIES_TOKENS_INPUT = "shiftgate_copies_tokens_input": "Prompt tokens of copies, by kind of leg";
    COPIES_TOKENS_OUTPUT = "shiftgate_copies_tokens_output": "Generated tokens of copies, by kind of leg";
    COPIES_COST = "shiftgate_copies_cost_usd": "Cost of copies with a known price, in USD, by kind of leg";
    SHADOW_BUDGET = "shiftgate_shadow_budget_left_usd": "Money left for copies at this moment, in USD";
    SHADOW_IN_FLIGHT = "shiftgate_shadow_in_flight": "Copies and noise legs in flight";
    SHADOW_BYTES = "shiftgate_shadow_bytes": "Memory for copies and captured answers, in bytes";

    REQUESTS_ENDED = "shiftgate_requests_ended": "Ended requests, by end";
    REFUSED = "shiftgate_refused": "Requests answered by shiftgate itself, by reason";
    RESIDENCY_REQUESTS = "shiftgate_residency_requests":
        "Requests that a residency rule matched, by rule and by whether the chosen backend served, another one, or none";
    SHED = "shiftgate_shed": "Requests refused at a limit, by limit";
    CONNECTIONS_CLOSED = "shiftgate_connections_closed":
        "Connections of applications that shiftgate closed or did not accept, by reason";
    REQUESTS_IN_FLIGHT = "shiftgate_requests_in_flight": "Requests in flight";
    CONNECTIONS = "shiftgate_connections": "Open connections of applications";
    BODY_BYTES = "shiftgate_body_bytes": "Memory for held bodies and answers, in bytes";
    OVERHEAD = "shiftgate_overhead_duration_seconds":
        "Time per request spent in shiftgate, without waiting for backends or the application, in seconds by phase";
    CONFIG_RELOADS = "shiftgate_config_reloads":
        "Readings of rollout.toml after the first, by result and kind of error";
    CONFIG_GENERATION = "shiftgate_config_generation": "Generation of the snapshot in force";
    CONFIG_RELOAD_FAILED = "shiftgate_config_reload_failed":
        "1 while the file on disk is refused and the last valid one is in force";
    CONFIG_LAST_SUCCESS = "shiftgate_config_last_success_timestamp_seconds":
        "Time of reading the snapshot in force, in seconds since 1970";
    TELEMETRY_DROPPED = "shiftgate_telemetry_dropped":
        "Spans not exported, by reason; rate counts spans of traces above the limit of kept traces";
    TELEMETRY_EXPORTED = "shiftgate_telemetry_exported": "Spans accepted by the collector";
    TELEMETRY_QUEUE = "shiftgate_telemetry_queue_length": "Spans waiting for export";
    RECORDS = "shiftgate_records": "Lines of the records by result; all but written are lost";
    LOG_DROPPED = "shiftgate_log_dropped_lines": "Log lines dropped because the reader was too slow";

    PROCESS_CPU = "process_cpu_seconds": "CPU time used by this process, in seconds";
    PROCESS_MEMORY = "process_resident_memory_bytes": "Resident memory of this process, in bytes";
    PROCESS_OPEN_FDS = "process_open_fds": "Open file descriptors";
    PROCESS_MAX_FDS = "process_max_fds": "Limit of open file descriptors";
    PROCESS_START = "process_start_time_seconds": "Start of this process, in seconds since 1970";
}

macro_rules! words {
    ($all:ident: $($id:ident = $word:literal: $meaning:literal;)+) => {
        $(#[doc = $meaning] pub(crate) const $id: &str = $word;)+

        /// Every name of this table.
        pub const $all: &[&str] = &[$($id),+];
    };
}

pub(crate) mod label {
    //! Labels of metrics that are attributes of OpenTelemetry's conventions, with underscores in place of dots.

    words! {
        LABELS:
        OPERATION = "gen_ai_operation_name": "Kind of call: `chat`, `text_completion`, `embeddings`.";
        PROVIDER = "gen_ai_provider_name": "Engine of the backend.";
        REQUEST_MODEL = "gen_ai_request_model": "Model that the backend was asked for.";
        RESPONSE_MODEL = "gen_ai_response_model": "Model that the backend says it used.";
        TOKEN_TYPE = "gen_ai_token_type": "`input` or `output`, of the old histogram of tokens.";
        TOKEN_MODALITY = "gen_ai_token_modality": "Kind of content; `unknown`, as backends do not break it down.";
        SERVER_ADDRESS = "server_address": "Host of the backend.";
        SERVER_PORT = "server_port": "Port of the backend.";
        ERROR_TYPE = "error_type": "Error that ended the call; empty without one.";
        METHOD = "http_request_method": "Method of the request.";
        ROUTE = "http_route": "Template of the request's path.";
        STATUS = "http_response_status_code": "Status that the application got.";
        CONNECTION_STATE = "http_connection_state": "`active` or `idle`.";
        PROTOCOL_VERSION = "network_protocol_version": "HTTP version of the request.";
        SCHEME = "url_scheme": "Scheme of the request.";
    }
}

pub(crate) mod attribute {
    //! Attributes of spans.

    words! {
        ATTRIBUTES:
        OPERATION = "gen_ai.operation.name": "Kind of call: `chat`, `text_completion`, `embeddings`.";
        PROVIDER = "gen_ai.provider.name": "Engine of the backend.";
        REQUEST_MODEL = "gen_ai.request.model": "Model that the backend was asked for.";
        REQUEST_STREAM = "gen_ai.request.stream": "True of streams; absent otherwise.";
        REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens": "Limit of generated tokens.";
        REQUEST_TEMPERATURE = "gen_ai.request.temperature": "Sampling temperature.";
        REQUEST_TOP_P = "gen_ai.request.top_p": "Nucleus of the sampling, 0 to 1.";
        REQUEST_SEED = "gen_ai.request.seed": "Seed of the sampling.";
        REQUEST_CHOICES = "gen_ai.request.choice.count": "Number of choices, if it is not 1.";
        RESPONSE_MODEL = "gen_ai.response.model": "Model that the backend says it used.";
        RESPONSE_ID = "gen_ai.response.id": "Id of the answer, as the backend wrote it.";
        RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons": "Finish reasons of the choices.";
        RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk":
            "Seconds from sending to the first generated token of a stream.";
        USAGE_INPUT = "gen_ai.usage.input_tokens": "Prompt tokens, cached ones included.";
        USAGE_OUTPUT = "gen_ai.usage.output_tokens": "Generated tokens, thoughts included.";
        USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens": "Prompt tokens read from a cache.";
        USAGE_CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens": "Prompt tokens written to a cache.";
        USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens": "Generated tokens that are thoughts.";
        EVALUATION_NAME = "gen_ai.evaluation.name": "Name of a score, on `gen_ai.evaluation.result`.";
        EVALUATION_VALUE = "gen_ai.evaluation.score.value": "Value of a score, on `gen_ai.evaluation.result`.";
        EVALUATION_LABEL = "gen_ai.evaluation.score.label": "Kind of an agreement, on `gen_ai.evaluation.result`.";
        SERVER_ADDRESS = "server.address": "Host of the backend.";
        SERVER_PORT = "server.port": "Port of the backend.";
        ERROR_TYPE = "error.type": "Error that ended the call or the request.";
        METHOD = "http.request.method": "Method of the request.";
        RESEND_COUNT = "http.request.resend_count": "Number of attempts before this one.";
        STATUS = "http.response.status_code": "Status of the answer.";
        ROUTE = "http.route": "Template of the request's path.";
        PROTOCOL_VERSION = "network.protocol.version": "HTTP version of the request.";
        PATH = "url.path": "Path of the request.";
        SCHEME = "url.scheme": "Scheme of the request.";
        SHIFTGATE_ATTEMPT = "shiftgate.attempt": "Number of the attempt, from 1.";
        SHIFTGATE_BACKEND = "shiftgate.backend": "Backend that was asked, or that answered.";
        SHIFTGATE_CANCELLED_BY = "shiftgate.cancelled_by": "Party that cancelled the attempt.";
        SHIFTGATE_COMPARE_KIND = "shiftgate.compare.kind": "Kind of the agreement.";
        SHIFTGATE_COMPARE_PREFIX = "shiftgate.compare.": "Beginning of a score's name.";
        SHIFTGATE_CONN_REUSED = "shiftgate.conn.reused": "True if the attempt used an open connection.";
        SHIFTGATE_COST = "shiftgate.cost_usd": "Cost of the answer, in USD.";
        SHIFTGATE_BUCKET = "shiftgate.decision.bucket": "Draw of the split, as a fraction of 1.";
        SHIFTGATE_DECISION_BACKEND = "shiftgate.decision.backend": "Backend decided for, before any failover.";
        SHIFTGATE_DECISION_REASON = "shiftgate.decision.reason": "Reason of the decision, before any failover.";
        SHIFTGATE_EARLY = "shiftgate.early": "True if the head was sent before a backend had content.";
        SHIFTGATE_FROM = "shiftgate.from": "Backend of the attempt before, on `failover` and `replay`.";
        SHIFTGATE_GENERATION = "shiftgate.generation": "Generation of the file that was in force.";
        SHIFTGATE_LEG = "shiftgate.leg": "Kind of leg: `served`, `shadow`, `noise`, `probe`.";
        SHIFTGATE_OVERHEAD = "shiftgate.overhead_us": "Time spent in shiftgate until the answer's head, in µs.";
        SHIFTGATE_PERCENT = "shiftgate.percent": "Percent of the candidate on the route.";
        SHIFTGATE_REASON = "shiftgate.reason": "Reason why this backend answered.";
        SHIFTGATE_RESIDENCY = "shiftgate.residency": "Residency rules that match, joined by commas.";
        SHIFTGATE_ROUTE = "shiftgate.route": "Name of the route.";
        SHIFTGATE_TO = "shiftgate.to": "Backend of the next attempt, on `failover` and `replay`.";
    }
}

pub(crate) mod event {
    //! Names of spans of the process's own, and of events.

    words! {
        EVENTS:
        COMPARE = "shiftgate.compare": "Span of the comparison of two answers.";
        EVALUATION = "gen_ai.evaluation.result": "Event of one score.";
        ROLLED_BACK = "shiftgate.rolled_back": "Event of the request whose end made the guard act; also the span of that.";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Translates a convention's name for Prometheus; `_total` of counters is the page's.
    fn translated(convention: Convention) -> String {
        let unit = match convention.unit {
            "s" => "_seconds",
            annotation if annotation.starts_with('{') => "",
            other => panic!("{other} has no translation here"),
        };
        convention.name.replace('.', "_") + unit
    }

    #[test]
    fn names_on_the_page_are_the_conventions_names() {
        for metric in METRICS {
            if let Some(convention) = metric.convention {
                assert_eq!(metric.name, translated(convention));
            }
            let is_own = ["shiftgate_", "process_"].iter().any(|family| metric.name.starts_with(family));
            assert_eq!(is_own, metric.convention.is_none(), "{}", metric.name);
        }
        let attributes: BTreeSet<String> = attribute::ATTRIBUTES.iter().map(|name| name.replace('.', "_")).collect();
        // Metrics alone have them.
        let others = [label::TOKEN_TYPE, label::TOKEN_MODALITY, label::CONNECTION_STATE];
        for label in label::LABELS {
            assert!(attributes.contains(*label) || others.contains(label), "{label}");
        }
    }

    #[test]
    fn no_name_is_there_twice() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        let attributes: BTreeSet<&&str> = attribute::ATTRIBUTES.iter().collect();
        assert_eq!(attributes.len(), attribute::ATTRIBUTES.len());
    }
}
