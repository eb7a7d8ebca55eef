//! Metrics pages in Prometheus' format, and the page of NVIDIA's exporter for GPUs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::config::Load;

/// Path of NVIDIA's exporter.
pub(super) const DCGM: &str = "/dcgm/metrics";

/// Number of tokens and answers since the start.
#[derive(Debug, Default)]
pub(super) struct TokenCounts {
    prompt: AtomicU64,
    cached: AtomicU64,
    generated: AtomicU64,
    answers: AtomicU64,
}

impl TokenCounts {
    /// Counts an answer. `hits` is the share of the prompt that the prefix cache has.
    pub(super) fn add(&self, prompt: u64, hits: f64, generated: u64) {
        self.prompt.fetch_add(prompt, Ordering::Relaxed);
        self.cached.fetch_add((prompt as f64 * hits) as u64, Ordering::Relaxed);
        self.generated.fetch_add(generated, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Values that engines show on their metrics pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measurements<'a> {
    /// Name of the served model.
    pub(super) model: &'a str,
    pub(super) running: f64,
    pub(super) waiting: f64,
    /// Share of the KV cache in use, from 0 to 1.
    pub(super) kv_usage: f64,
    /// Share of the last prompts that the prefix cache had, from 0 to 1.
    pub(super) prefix_hits: f64,
    pub(super) prompt_tokens: f64,
    /// Prompt tokens that the prefix cache had.
    pub(super) cached_tokens: f64,
    pub(super) generated_tokens: f64,
    pub(super) answers: f64,
}

impl<'a> Measurements<'a> {
    pub(super) fn new(model: &'a str, load: Load, tokens: &TokenCounts) -> Self {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        Self {
            model,
            running: load.running as f64,
            waiting: load.waiting as f64,
            kv_usage: load.kv_usage,
            prefix_hits: load.prefix_hits,
            prompt_tokens: read(&tokens.prompt),
            cached_tokens: read(&tokens.cached),
            generated_tokens: read(&tokens.generated),
            answers: read(&tokens.answers),
        }
    }
}

/// Returns the page of NVIDIA's exporter for one GPU. Memory does not move with the load: engines take it at start.
pub(super) fn dcgm(load: Load) -> String {
    let mut page = MetricsPage::default();
    page.set_labels("gpu=\"0\",UUID=\"GPU-0\",device=\"nvidia0\",modelName=\"NVIDIA H100 80GB HBM3\"");
    page.gauge("DCGM_FI_DEV_GPU_UTIL", if load.running > 0 { 97.0 } else { 0.0 });
    page.gauge("DCGM_FI_DEV_FB_USED", 73_211.0);
    page.gauge("DCGM_FI_DEV_FB_FREE", 8_007.0);
    page.gauge("DCGM_FI_DEV_POWER_USAGE", 412.5);
    page.gauge("DCGM_FI_DEV_XID_ERRORS", 0.0);
    page.text
}

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct MetricsPage {
    text: String,
    labels: String,
}

impl MetricsPage {
    /// Sets the labels of all further series.
    pub(super) fn set_labels(&mut self, labels: impl Into<String>) {
        self.labels = labels.into();
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn gauge(&mut self, name: &str, value: f64) {
        self.text.push_str(&format!("# TYPE {name} gauge\n"));
        self.sample(name, value);
    }

    pub(super) fn counter(&mut self, name: &str, value: f64) {
        self.text.push_str(&format!("# TYPE {name} counter\n"));
        self.sample(name, value);
    }

    /// Writes sum and count only.
    pub(super) fn histogram(&mut self, name: &str, sum: f64, count: f64) {
        self.text.push_str(&format!("# TYPE {name} histogram\n"));
        self.sample(&format!("{name}_sum"), sum);
        self.sample(&format!("{name}_count"), count);
    }

    fn sample(&mut self, name: &str, value: f64) {
        let braced = if self.labels.is_empty() { String::new() } else { format!("{{{}}}", self.labels) };
        self.text.push_str(&format!("{name}{braced} {value:?}\n"));
    }
}
