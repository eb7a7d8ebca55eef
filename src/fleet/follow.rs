//! Runs one task per backend of the snapshot in force.

use std::sync::{Arc, Mutex};

use tokio::task::AbortHandle;

use super::deadlines;
use super::intervals::PollIntervals;
use super::learn::learn;
use super::poll::poll;
use crate::backend::{Target, is_asked_alike};
use crate::model::ContextLength;
use crate::stats::lock;

/// The running tasks; dropping it ends them.
#[derive(Debug)]
pub(crate) struct BackendMonitor {
    pace: PollIntervals,
    running: Mutex<Vec<Running>>,
}

/// A backend's task. It continues if only the price of the section changes.
#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BackendMonitor {
    /// Creates a monitor without tasks.
    pub(crate) fn new(pace: PollIntervals) -> Self {
        Self { pace, running: Mutex::default() }
    }

    /// Makes `targets` the backends that are polled. Must be called within a runtime.
    pub(crate) fn follow(&self, targets: &[Arc<Target>]) {
        let mut running = lock(&self.running);
        let is_same = |one: &Running, target: &Arc<Target>| is_asked_alike(&one.target.config, &target.config);
        running.retain(|one| targets.iter().any(|target| is_same(one, target)));
        for target in targets {
            if !is_asked(target) || running.iter().any(|one| is_same(one, target)) {
                continue;
            }
            let (of, pace) = (Arc::clone(target), self.pace);
            let task = tokio::spawn(async move {
                let polled = async {
                    if !of.config.metrics.is_empty() {
                        poll(&of, pace).await;
                    }
                };
                let watched = async {
                    if deadlines::is_watched(&of) {
                        deadlines::watch(&of, pace).await;
                    }
                };
                tokio::join!(polled, watched, learn(&of, pace));
            });
            running.push(Running { target: Arc::clone(target), task: task.abort_handle() });
        }
    }
}

/// True if the backend has anything to poll.
fn is_asked(target: &Target) -> bool {
    let tells_length = target.config.engine.facts().context_length != ContextLength::Unasked;
    !target.config.metrics.is_empty()
        || tells_length
        || target.config.translation.probe
        || deadlines::is_watched(target)
}
