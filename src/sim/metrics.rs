//! Metrics pages in each server's own names, and NVIDIA's exporter for GPUs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::config::{Load, SimConfig, Wire};

/// Where NVIDIA's exporter is read.
pub(super) const DCGM: &str = "/dcgm/metrics";

/// Tokens of all answers so far.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    prompt: AtomicU64,
    generated: AtomicU64,
    answers: AtomicU64,
}

impl Tokens {
    pub(super) fn add(&self, prompt: u64, generated: u64) {
        self.prompt.fetch_add(prompt, Ordering::Relaxed);
        self.generated.fetch_add(generated, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where this server has its page, in Prometheus' format.
pub(super) const fn path(wire: Wire) -> Option<&'static str> {
    match wire {
        Wire::Vllm | Wire::Sglang | Wire::Tgi => Some("/metrics"),
        Wire::Trtllm => Some("/prometheus/metrics"),
        Wire::OpenAi | Wire::DashScope | Wire::Compatible => None,
    }
}

enum Kind {
    Gauge,
    Counter,
}

pub(super) fn page(config: &SimConfig, load: Load, tokens: &Tokens) -> String {
    use Kind::{Counter, Gauge};
    let name = config.served();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (prompt, generated, answers) = (read(&tokens.prompt), read(&tokens.generated), read(&tokens.answers));
    let (running, waiting) = (load.running as f64, load.waiting as f64);
    let mut page = Page { text: String::new(), labels: String::new() };
    match config.wire {
        Wire::Vllm => {
            page.labels = format!("engine=\"0\",model_name=\"{name}\"");
            page.line("vllm:num_requests_running", Gauge, running);
            page.line("vllm:num_requests_waiting", Gauge, waiting);
            page.line("vllm:kv_cache_usage_perc", Gauge, load.kv_usage);
            page.line("vllm:num_preemptions_total", Counter, 0.0);
            page.line("vllm:prompt_tokens_total", Counter, prompt);
            page.line("vllm:generation_tokens_total", Counter, generated);
            page.histogram("vllm:time_to_first_token_seconds", 0.25 * answers, answers);
            page.histogram("vllm:e2e_request_latency_seconds", 0.25 * answers, answers);
        }
        Wire::Sglang => {
            page.labels = format!(
                "engine_type=\"unified\",model_name=\"{name}\",moe_ep_rank=\"0\",pid=\"1022\",pp_rank=\"0\",tp_rank=\"0\""
            );
            page.line("sglang:num_running_reqs", Gauge, running);
            page.line("sglang:num_queue_reqs", Gauge, waiting);
            page.line("sglang:token_usage", Gauge, load.kv_usage);
            page.line("sglang:num_retracted_reqs", Gauge, 0.0);
            page.labels = format!("engine_type=\"unified\",is_streaming=\"false\",model_name=\"{name}\"");
            page.line("sglang:prompt_tokens_total", Counter, prompt);
            page.line("sglang:generation_tokens_total", Counter, generated);
            page.histogram("sglang:time_to_first_token_seconds", 0.25 * answers, answers);
        }
        Wire::Trtllm => {
            page.labels = format!("engine_type=\"pytorch\",model_name=\"{name}\"");
            page.line("trtllm_num_requests_running", Gauge, running);
            page.line("trtllm_num_requests_waiting", Gauge, waiting);
            page.line("trtllm_kv_cache_utilization", Gauge, load.kv_usage);
            page.line("trtllm_prompt_tokens_total", Counter, prompt);
            page.line("trtllm_generation_tokens_total", Counter, generated);
            page.histogram("trtllm_time_to_first_token_seconds", 0.25 * answers, answers);
        }
        // TGI counts each chat twice, and knows nothing of its cache.
        Wire::Tgi => {
            page.line("tgi_queue_size", Gauge, waiting);
            page.line("tgi_batch_current_size", Gauge, running);
            page.line("tgi_request_count", Counter, 2.0 * answers);
            page.histogram("tgi_request_generated_tokens", generated, answers);
        }
        Wire::OpenAi | Wire::DashScope | Wire::Compatible => {}
    }
    page.text
}

/// What NVIDIA's exporter says of one GPU: memory is taken in advance, so it does not move with the load.
pub(super) fn dcgm(load: Load) -> String {
    let mut page = Page {
        text: String::new(),
        labels: "gpu=\"0\",UUID=\"GPU-0\",device=\"nvidia0\",modelName=\"NVIDIA H100 80GB HBM3\"".to_owned(),
    };
    page.line("DCGM_FI_DEV_GPU_UTIL", Kind::Gauge, if load.running > 0 { 97.0 } else { 0.0 });
    page.line("DCGM_FI_DEV_FB_USED", Kind::Gauge, 73_211.0);
    page.line("DCGM_FI_DEV_FB_FREE", Kind::Gauge, 8_007.0);
    page.line("DCGM_FI_DEV_POWER_USAGE", Kind::Gauge, 412.5);
    page.line("DCGM_FI_DEV_XID_ERRORS", Kind::Gauge, 0.0);
    page.text
}

struct Page {
    text: String,
    labels: String,
}

impl Page {
    fn line(&mut self, name: &str, kind: Kind, value: f64) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        self.text.push_str(&format!("# TYPE {name} {kind}\n"));
        self.sample(name, value);
    }

    fn histogram(&mut self, name: &str, sum: f64, count: f64) {
        self.text.push_str(&format!("# TYPE {name} histogram\n"));
        self.sample(&format!("{name}_sum"), sum);
        self.sample(&format!("{name}_count"), count);
    }

    fn sample(&mut self, name: &str, value: f64) {
        let braced = if self.labels.is_empty() { String::new() } else { format!("{{{}}}", self.labels) };
        self.text.push_str(&format!("{name}{braced} {value:?}\n"));
    }
}
