//! The meaning of each engine's metrics page: from names of metrics to a reading.
//!
//! Owns: the table of names, and the sums over series and servers. Adding an engine is adding rows.

use serde::Deserialize;

use super::prefix::PrefixSample;
use super::prometheus::{Sample, samples};
use crate::health::Reading;

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// Quantity that a series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Waiting,
    Running,
    KvUsage,
    KvUsed,
    KvMax,
    /// Tokens generated since the server started.
    Generated,
    /// Tokens generated per second, as the server measures it.
    Throughput,
    GpuUsed,
    GpuFree,
    GpuTotal,
    GpuUtilization,
    /// GPU memory that the engine holds, for servers without a GPU exporter.
    EngineMemory,
    /// Prompt tokens looked up in the prefix cache since the server started.
    PrefixQueries,
    /// Prompt tokens found in the prefix cache since the server started.
    PrefixHits,
    /// Share of the prompt tokens found in the prefix cache, as the server measures it.
    PrefixHitRate,
}

/// Metric name, a label and its required value, the quantity, and the factor to its unit.
type MetricRow = (&'static str, Option<(&'static str, &'static str)>, Quantity, f64);

const TRITON_REQUESTS: &str = "nv_trt_llm_request_metrics";
const TRITON_BLOCKS: &str = "nv_trt_llm_kv_cache_block_metrics";
const KIND: &str = "request_type";
const BLOCKS: &str = "kv_cache_block_type";

/// Every metric that is read. Not read are `sglang:generation_tokens_total` and `tgi_request_generated_tokens`: they move
/// only when a request ends, so their rate is 0 while the server works and far too high afterwards.
const TABLE: [MetricRow; 33] = [
    ("vllm:num_requests_waiting", None, Quantity::Waiting, 1.0),
    ("vllm:num_requests_running", None, Quantity::Running, 1.0),
    ("vllm:kv_cache_usage_perc", None, Quantity::KvUsage, 1.0),
    ("vllm:gpu_cache_usage_perc", None, Quantity::KvUsage, 1.0),
    ("vllm:generation_tokens_total", None, Quantity::Generated, 1.0),
    ("sglang:num_queue_reqs", None, Quantity::Waiting, 1.0),
    ("sglang:num_running_reqs", None, Quantity::Running, 1.0),
    ("sglang:token_usage", None, Quantity::KvUsage, 1.0),
    ("sglang:gen_throughput", None, Quantity::Throughput, 1.0),
    ("trtllm_num_requests_waiting", None, Quantity::Waiting, 1.0),
    ("trtllm_num_requests_running", None, Quantity::Running, 1.0),
    ("trtllm_kv_cache_utilization", None, Quantity::KvUsage, 1.0),
    ("trtllm_generation_tokens_total", None, Quantity::Generated, 1.0),
    ("trtllm_gpu_memory_usage_bytes", None, Quantity::EngineMemory, 1.0),
    (TRITON_REQUESTS, Some((KIND, "waiting")), Quantity::Waiting, 1.0),
    (TRITON_REQUESTS, Some((KIND, "scheduled")), Quantity::Running, 1.0),
    (TRITON_BLOCKS, Some((BLOCKS, "fraction")), Quantity::KvUsage, 1.0),
    (TRITON_BLOCKS, Some((BLOCKS, "used")), Quantity::KvUsed, 1.0),
    (TRITON_BLOCKS, Some((BLOCKS, "max")), Quantity::KvMax, 1.0),
    ("nv_trt_llm_runtime_memory_metrics", Some(("memory_type", "gpu")), Quantity::EngineMemory, 1.0),
    ("nv_gpu_memory_used_bytes", None, Quantity::GpuUsed, 1.0),
    ("nv_gpu_memory_total_bytes", None, Quantity::GpuTotal, 1.0),
    ("nv_gpu_utilization", None, Quantity::GpuUtilization, 1.0),
    ("tgi_queue_size", None, Quantity::Waiting, 1.0),
    ("tgi_batch_current_size", None, Quantity::Running, 1.0),
    ("DCGM_FI_DEV_FB_USED", None, Quantity::GpuUsed, MIB),
    ("DCGM_FI_DEV_FB_FREE", None, Quantity::GpuFree, MIB),
    ("DCGM_FI_DEV_FB_TOTAL", None, Quantity::GpuTotal, MIB),
    ("DCGM_FI_DEV_GPU_UTIL", None, Quantity::GpuUtilization, 0.01),
    ("vllm:avg_generation_throughput_toks_per_s", None, Quantity::Throughput, 1.0),
    ("vllm:prefix_cache_queries_total", None, Quantity::PrefixQueries, 1.0),
    ("vllm:prefix_cache_hits_total", None, Quantity::PrefixHits, 1.0),
    ("sglang:cache_hit_rate", None, Quantity::PrefixHitRate, 1.0),
];

/// Sum and maximum over all series of one quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct SeriesTotal {
    sum: f64,
    max: f64,
    series: u32,
}

/// Totals of one page, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Signals([SeriesTotal; 15]);

/// One entry of TensorRT-LLM's own page, a list of its last iterations, oldest first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Iteration {
    num_active_requests: Option<f64>,
    num_queued_requests: Option<f64>,
    gpu_mem_usage: Option<f64>,
    kv_cache_stats: Option<CacheBlocks>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheBlocks {
    used_num_blocks: Option<f64>,
    max_num_blocks: Option<f64>,
}

/// A parsed page.
#[derive(Debug, PartialEq)]
pub(super) enum Page {
    /// A page with known metrics.
    Signals(Box<Signals>),
    /// No iteration since the last poll: the last values stay valid.
    NothingNew,
    /// A page without a known metric.
    Foreign,
}

impl Page {
    /// Parses a page: JSON of TensorRT-LLM, or Prometheus' format.
    pub(super) fn read(text: &str) -> Self {
        if text.trim_start().starts_with(['[', '{']) {
            return iterations(text);
        }
        let mut signals = Signals::default();
        for sample in samples(text) {
            signals.take(&sample);
        }
        if signals == Signals::default() { Self::Foreign } else { Self::Signals(Box::new(signals)) }
    }
}

fn iterations(text: &str) -> Page {
    let last = match serde_json::from_str::<Vec<Iteration>>(text) {
        Ok(mut all) => match all.pop() {
            Some(last) => last,
            None => return Page::NothingNew,
        },
        Err(_) => match serde_json::from_str::<Iteration>(text) {
            Ok(only) => only,
            Err(_) => return Page::Foreign,
        },
    };
    let mut signals = Signals::default();
    let blocks = last.kv_cache_stats.unwrap_or(CacheBlocks { used_num_blocks: None, max_num_blocks: None });
    for (quantity, value) in [
        (Quantity::Waiting, last.num_queued_requests),
        (Quantity::Running, last.num_active_requests),
        (Quantity::EngineMemory, last.gpu_mem_usage),
        (Quantity::KvUsed, blocks.used_num_blocks),
        (Quantity::KvMax, blocks.max_num_blocks),
    ] {
        if let Some(value) = value {
            signals.add(quantity, value);
        }
    }
    if signals == Signals::default() { Page::Foreign } else { Page::Signals(Box::new(signals)) }
}

impl Signals {
    fn take(&mut self, sample: &Sample<'_>) {
        for (name, label, quantity, unit) in &TABLE {
            if *name == sample.name && label.is_none_or(|(key, value)| sample.label(key) == Some(value)) {
                self.add(*quantity, sample.value * unit);
            }
        }
    }

    fn add(&mut self, quantity: Quantity, value: f64) {
        let value = value.max(0.0);
        let total = &mut self.0[quantity as usize];
        *total = SeriesTotal { sum: total.sum + value, max: total.max.max(value), series: total.series + 1 };
    }

    fn sum(&self, quantity: Quantity) -> Option<f64> {
        let total = self.0[quantity as usize];
        (total.series > 0).then_some(total.sum)
    }

    /// Number of tokens generated since the server started.
    pub(super) fn generated(&self) -> Option<f64> {
        self.sum(Quantity::Generated)
    }

    /// Returns the page's figures of the prefix cache.
    pub(super) fn prefix(&self) -> Option<PrefixSample> {
        let rate = self.0[Quantity::PrefixHitRate as usize];
        match (self.sum(Quantity::PrefixHits), self.sum(Quantity::PrefixQueries)) {
            (Some(hits), Some(queries)) => Some(PrefixSample::Counted { hits, queries }),
            _ => (rate.series > 0).then(|| PrefixSample::Measured(rate.sum / f64::from(rate.series))),
        }
    }

    /// Returns the server's own measurement if it is busy, else `counted`, the rate of its counter. An idle server
    /// reports the throughput of its last work, and a busy one 0 before its first measurement.
    pub(super) fn tokens_per_second(&self, counted: Option<f64>) -> Option<f64> {
        let works = self.sum(Quantity::Running).is_some_and(|running| running > 0.0);
        self.sum(Quantity::Throughput).filter(|measured| works && *measured > 0.0).or(counted)
    }

    /// Adds the totals of another page.
    pub(super) fn and(mut self, other: &Self) -> Self {
        for (total, more) in self.0.iter_mut().zip(&other.0) {
            *total = SeriesTotal {
                sum: total.sum + more.sum,
                max: total.max.max(more.max),
                series: total.series + more.series,
            };
        }
        self
    }

    /// Returns the reading. The caller adds up the throughput and the prefix hits of the servers.
    pub(super) fn reading(&self, tokens_per_second: Option<f64>) -> Reading {
        let ratio = |part: Option<f64>, of: Option<f64>| match (part, of) {
            (Some(part), Some(of)) if of > 0.0 => Some(part / of),
            _ => None,
        };
        let kv = self.0[Quantity::KvUsage as usize];
        let utilization = self.0[Quantity::GpuUtilization as usize];
        let (used, free) = (self.sum(Quantity::GpuUsed), self.sum(Quantity::GpuFree));
        Reading {
            waiting: self.sum(Quantity::Waiting),
            running: self.sum(Quantity::Running),
            kv_usage: (kv.series > 0)
                .then_some(kv.max)
                .or_else(|| ratio(self.sum(Quantity::KvUsed), self.sum(Quantity::KvMax))),
            tokens_per_second,
            gpu_memory_used: used.or_else(|| self.sum(Quantity::EngineMemory)),
            gpu_memory_total: self.sum(Quantity::GpuTotal).or_else(|| Some(used? + free?)),
            gpu_utilization: (utilization.series > 0).then(|| utilization.sum / f64::from(utilization.series)),
            prefix_hit_rate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reading {
        match Page::read(text) {
            Page::Signals(signals) => signals.reading(signals.tokens_per_second(None)),
            other => panic!("{other:?} of {text}"),
        }
    }

    fn load(waiting: f64, running: f64, kv_usage: f64) -> Reading {
        Reading { waiting: Some(waiting), running: Some(running), kv_usage: Some(kv_usage), ..Reading::default() }
    }

    #[test]
    fn each_server_is_understood() {
        let triton = "nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\",version=\"1\"} 2\n\
                      nv_trt_llm_request_metrics{model=\"m\",request_type=\"scheduled\",version=\"1\"} 4\n\
                      nv_trt_llm_request_metrics{model=\"m\",request_type=\"max\",version=\"1\"} 512\n\
                      nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"m\"} 0.25\n\
                      nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\",model=\"m\"} 10\n\
                      nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"m\"} 100\n";
        for (page, expected) in [
            (
                "vllm:num_requests_running{engine=\"0\"} 3.0\nvllm:num_requests_running{engine=\"1\"} 1.0\n\
                 vllm:num_requests_waiting{engine=\"0\"} 2.0\nvllm:num_requests_waiting{engine=\"1\"} 0.0\n\
                 vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 90.0\n\
                 vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.25\n",
                load(2.0, 4.0, 0.5),
            ),
            (
                "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:gpu_cache_usage_perc 0.75\n",
                load(0.0, 1.0, 0.75),
            ),
            (
                "sglang:num_running_reqs{tp_rank=\"0\"} 5.0\nsglang:num_queue_reqs 6\nsglang:token_usage 0.5\n\
                 sglang:gen_throughput 31.5\n",
                Reading { tokens_per_second: Some(31.5), ..load(6.0, 5.0, 0.5) },
            ),
            (
                "sglang:num_running_reqs 5\nsglang:num_queue_reqs 6\nsglang:token_usage 0.5\nsglang:gen_throughput 0.0\n",
                load(6.0, 5.0, 0.5),
            ),
            (
                "sglang:num_running_reqs 0\nsglang:num_queue_reqs 0\nsglang:token_usage 0\nsglang:gen_throughput 31.5\n",
                load(0.0, 0.0, 0.0),
            ),
            (
                "trtllm_num_requests_running 2\ntrtllm_num_requests_waiting 1\ntrtllm_kv_cache_utilization 0.125\n\
                 trtllm_gpu_memory_usage_bytes 1024\n",
                Reading { gpu_memory_used: Some(1024.0), ..load(1.0, 2.0, 0.125) },
            ),
            (triton, load(2.0, 4.0, 0.25)),
            (
                "[{\"iter\":7,\"numActiveRequests\":90,\"numQueuedRequests\":9},{\"iter\":8,\"numActiveRequests\":3,\
                  \"numQueuedRequests\":1,\"gpuMemUsage\":2048,\"kvCacheStats\":{\"usedNumBlocks\":25,\"maxNumBlocks\":100}}]",
                Reading { gpu_memory_used: Some(2048.0), ..load(1.0, 3.0, 0.25) },
            ),
            (
                "tgi_queue_size 4\ntgi_batch_current_size 2\n",
                Reading { waiting: Some(4.0), running: Some(2.0), ..Reading::default() },
            ),
            (
                "DCGM_FI_DEV_FB_USED{gpu=\"0\"} 1024\nDCGM_FI_DEV_FB_USED{gpu=\"1\"} 512\n\
                 DCGM_FI_DEV_FB_FREE{gpu=\"0\"} 0\nDCGM_FI_DEV_FB_FREE{gpu=\"1\"} 512\n\
                 DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 100\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 50\n",
                Reading {
                    gpu_memory_used: Some(1536.0 * MIB),
                    gpu_memory_total: Some(2048.0 * MIB),
                    gpu_utilization: Some(0.75),
                    ..Reading::default()
                },
            ),
        ] {
            assert_eq!(read(page), expected, "{page}");
        }
    }

    #[test]
    fn the_prefix_caches_figures_are_read_as_vllm_and_sglang_write_them() {
        let vllm = "# TYPE vllm:prefix_cache_queries_total counter\n\
                    vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"qwen-235b-a22b\"} 2043.0\n\
                    vllm:prefix_cache_queries_created{engine=\"0\",model_name=\"qwen-235b-a22b\"} 1.7953733097657535e+09\n\
                    vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"qwen-235b-a22b\"} 640.0\n\
                    vllm:prefix_cache_hits_created{engine=\"0\",model_name=\"qwen-235b-a22b\"} 1.7953733097657654e+09\n\
                    vllm:external_prefix_cache_queries_total{engine=\"0\",model_name=\"qwen-235b-a22b\"} 7.0\n\
                    vllm:external_prefix_cache_hits_total{engine=\"0\",model_name=\"qwen-235b-a22b\"} 7.0\n\
                    vllm:mm_cache_hits_total{engine=\"0\",model_name=\"qwen-235b-a22b\"} 5.0\n";
        let sglang = "sglang:cached_tokens_total{cache_source=\"device\",model_name=\"qwen-235b-a22b\"} 24564.0\n\
                      sglang:cache_hit_rate{engine_type=\"unified\",moe_ep_rank=\"0\",pp_rank=\"0\",tp_rank=\"0\"} 0.96\n";
        let two = |one: &str| one.to_owned() + &one.replace("\"0\"", "\"1\"").replace("0.96", "0.5");
        for (page, expected) in [
            (vllm.to_owned(), Some(PrefixSample::Counted { hits: 640.0, queries: 2043.0 })),
            (two(vllm), Some(PrefixSample::Counted { hits: 1280.0, queries: 4086.0 })),
            (sglang.to_owned(), Some(PrefixSample::Measured(0.96))),
            (two(sglang), Some(PrefixSample::Measured(0.73))),
            ("vllm:prefix_cache_hits_total 1\n".to_owned(), None),
            ("tgi_queue_size 4\n".to_owned(), None),
        ] {
            let Page::Signals(signals) = Page::read(&page) else { panic!("{page}") };
            assert_eq!(signals.prefix(), expected, "{page}");
        }
    }

    #[test]
    fn blocks_stand_in_for_an_absent_fraction() {
        let page = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\"} 10\n\
                    nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 40\n";
        assert_eq!(read(page).kv_usage, Some(0.25));
    }

    #[test]
    fn counters_that_move_at_a_requests_end_are_not_read() {
        for page in ["sglang:generation_tokens_total 7\n", "tgi_request_generated_tokens_sum 7\n"] {
            let page = format!("{page}tgi_queue_size 0\n");
            let Page::Signals(signals) = Page::read(&page) else { panic!("{page}") };
            assert_eq!(signals.generated(), None, "{page}");
        }
    }

    #[test]
    fn a_page_of_another_server_is_not_a_reading() {
        for page in ["", "<html>", "go_goroutines 7\n", "{}", "[{}]", "{\"detail\":\"Not Found\"}", "[1]"] {
            assert_eq!(Page::read(page), Page::Foreign, "{page}");
        }
        assert_eq!(Page::read(" []"), Page::NothingNew);
    }

    #[test]
    fn the_gpus_exporter_wins_over_what_the_engine_holds() {
        let Page::Signals(engine) = Page::read("trtllm_gpu_memory_usage_bytes 5\n") else { panic!() };
        let Page::Signals(gpus) = Page::read("DCGM_FI_DEV_FB_USED 1\n") else { panic!() };
        assert_eq!(engine.and(&gpus).reading(None).gpu_memory_used, Some(MIB));
    }
}
