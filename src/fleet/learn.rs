//! Requests made once per backend: the length of its context and, with `probe = true`, its working features.

use std::sync::Arc;

use super::intervals::PollIntervals;
use super::length::{NoAnswer, ask_length};
use super::pause::Pause;
use super::probe;
use crate::backend::Target;
use crate::model::ContextLength;

pub(super) async fn learn(target: &Arc<Target>, pace: PollIntervals) {
    learn_length(target, pace).await;
    if target.config.translation.probe {
        probe::keep_probed(target, pace).await;
    }
}

/// Asks until the server has answered, even with an error.
async fn learn_length(target: &Target, pace: PollIntervals) {
    let place = target.config.engine.facts().context_length;
    // `/info` has the limit on prompts too, which no file sets.
    let is_known = target.config.translation.max_model_len.is_some() && place != ContextLength::Info;
    if place == ContextLength::Unasked || is_known {
        return;
    }
    let mut pause = Pause::new(pace);
    loop {
        match ask_length(target).await {
            Ok(Some(length)) => {
                target.facts.set_max_model_len(length);
                tracing::debug!(backend = target.config.name, length, "the backend reported the length of its context");
                return;
            }
            Ok(None) => return,
            Err(NoAnswer) => pause.wait().await,
        }
    }
}
