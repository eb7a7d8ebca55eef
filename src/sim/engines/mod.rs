//! The registry of simulated engines: each has its own file or folder here, and one arm in [`of`].

mod compatible;
mod dashscope;
mod openai;
mod sglang;
mod tgi;
mod trtllm;
mod vllm;

use super::config::SimConfig;
use super::simulator::Simulator;
use super::wire::Wire;

/// Returns the simulator of an engine.
pub(super) fn of(wire: Wire) -> &'static dyn Simulator {
    match wire {
        Wire::OpenAi => &openai::OpenAi,
        Wire::Vllm => &vllm::Vllm,
        Wire::Sglang => &sglang::Sglang,
        Wire::Trtllm => &trtllm::Trtllm,
        Wire::Tgi => &tgi::Tgi,
        Wire::DashScope => &dashscope::DashScope,
        Wire::Compatible => &compatible::Compatible,
    }
}

impl SimConfig {
    /// A server of this engine with any model, no key, a context of 32,768 tokens and the engine's usual template.
    pub fn new(wire: Wire) -> Self {
        let quirks = of(wire).quirks();
        Self {
            wire,
            models: Vec::new(),
            api_key: None,
            max_model_len: 32_768,
            max_input_tokens: None,
            record: true,
            template: quirks.template,
            vision: quirks.vision,
            collector: None,
        }
    }
}
