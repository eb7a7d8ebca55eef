//! The snapshot in force, and what became of the last attempt to replace it.
//!
//! Invariant: publishing cannot fail, and a file that is refused changes nothing but [`ReloadError`].

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::in_force::InForce;
use crate::backend::PrepareError;
use crate::config::{self, Config, ConfigError, Secrets};
use crate::model::BackendId;
use crate::stats::{Count, Stats, lock};
use crate::telemetry::SPANS;

/// How configuration asks for environment variables.
pub(crate) type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Why the file on disk is not in force.
#[derive(Debug, Clone)]
pub struct ReloadError {
    pub at: jiff::Timestamp,
    pub message: String,
}

/// A file that cannot be put to use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{path}: {cause}", path = path.display())]
    Prepare { path: PathBuf, cause: PrepareError },
}

#[derive(Debug, Default)]
struct Reloads {
    error: Option<ReloadError>,
    /// What of the file waits for a restart.
    restart: Vec<&'static str>,
}

/// What stands around the file: the environment, and what the demo changes in each reading.
pub struct Source {
    pub env: Box<Env>,
    pub secrets: Secrets,
    /// Applied to every reading before it is put in force.
    pub adapt: Option<Box<Adapt>>,
}

/// A change made to a reading.
pub(crate) type Adapt = dyn Fn(&mut Config) + Send + Sync;

impl Source {
    /// That of a sidecar in service.
    pub fn of_process() -> Self {
        Self { env: Box::new(|name| std::env::var(name).ok()), secrets: Secrets::Required, adapt: None }
    }

    fn adapted(&self, mut config: Config) -> Config {
        if let Some(adapt) = &self.adapt {
            adapt(&mut config);
        }
        config
    }
}

/// The state in force and the only place that swaps it.
pub struct Store {
    path: PathBuf,
    source: Source,
    current: ArcSwap<InForce>,
    /// What the process started with: it keeps serving under it.
    started: (config::Server, config::Telemetry),
    reloads: Mutex<Reloads>,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("current", &self.current).finish_non_exhaustive()
    }
}

impl Store {
    /// Puts the first reading in force.
    pub fn new(config: Config, source: Source, stats: Arc<Stats>) -> Result<Self, LoadError> {
        let config = source.adapted(config);
        let (path, started) = (config.path.clone(), (config.server.clone(), config.telemetry.clone()));
        let first =
            InForce::prepare(config, None, &stats).map_err(|cause| LoadError::Prepare { path: path.clone(), cause })?;
        Ok(Self { path, source, current: ArcSwap::from_pointee(first), started, reloads: Mutex::default(), stats })
    }

    /// As configuration asks for it.
    pub fn env(&self, name: &str) -> Option<String> {
        (self.source.env)(name)
    }

    /// The state in force. A request asks once and keeps it.
    pub fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Withdraws exactly these candidates from their shares, from the next request on. The reading stays: generation and
    /// hash do not change, and the next reading begins with the file's percents.
    pub fn withdraw(&self, candidates: &[BackendId]) {
        // Under the lock of reloads: a reading that comes in between is not overwritten by the older one.
        let _reloads = lock(&self.reloads);
        let current = self.current();
        self.current.store(Arc::new(current.with_shares(current.shares.withdrawing(candidates))));
    }

    pub fn reload_error(&self) -> Option<ReloadError> {
        lock(&self.reloads).error.clone()
    }

    /// Keys of `[server]` and `[telemetry]` that were changed but hold only after a restart.
    pub fn restart_needed(&self) -> Vec<&'static str> {
        lock(&self.reloads).restart.clone()
    }

    /// Takes a new reading of the file; returns the further files to watch from now on.
    pub fn reload(&self, reading: std::io::Result<Vec<u8>>) -> Vec<PathBuf> {
        let span = tracing::info_span!(
            target: SPANS,
            "shiftgate.reload",
            shiftgate.generation = tracing::field::Empty,
            shiftgate.result = tracing::field::Empty,
            otel.status_code = tracing::field::Empty
        );
        let _inside = span.enter();
        let reloads = &self.stats.reloads;
        let (parsed, kind) = match reading {
            Ok(text) => (config::parse(&self.path, &text, self.source.secrets, &self.source.env), &reloads.invalid),
            Err(error) => (Err(ConfigError::unreadable(&self.path, &error)), &reloads.unreadable),
        };
        let current = self.current();
        let config = match parsed {
            Ok(config) => self.source.adapted(config),
            Err(error) => {
                let mut watched = current.snapshot.config.watched.clone();
                watched.extend(error.watched.iter().cloned());
                self.refuse(kind, error.summary(), &error.to_string());
                span.record("shiftgate.result", "failed").record("otel.status_code", "ERROR");
                return watched;
            }
        };
        let watched = config.watched.clone();
        if config.hash == current.snapshot.config.hash {
            span.record("shiftgate.result", "unchanged");
            if lock(&self.reloads).error.take().is_some() {
                tracing::info!(generation = current.snapshot.generation, "rollout file is good again, unchanged");
            }
            return watched;
        }
        let restart = self.restart_keys(&config);
        match InForce::prepare(config, Some(&current), &self.stats) {
            Ok(next) => self.publish(next, restart),
            Err(cause) => {
                let message = format!("{}: {cause}", self.path.display());
                self.refuse(&reloads.unusable, message.clone(), &message);
            }
        }
        // tracing-opentelemetry exports only `i64` as an integer; other integers become strings.
        span.record("shiftgate.generation", i64::try_from(self.current().snapshot.generation).unwrap_or(i64::MAX));
        if self.reload_error().is_none() {
            span.record("shiftgate.result", "ok");
        } else {
            span.record("shiftgate.result", "failed").record("otel.status_code", "ERROR");
        }
        watched
    }

    fn publish(&self, next: InForce, restart: Vec<&'static str>) {
        let (generation, hash) = (next.snapshot.generation, next.snapshot.config.hash.clone());
        {
            // One step for readers: a new generation never stands beside the last one's error.
            let mut reloads = lock(&self.reloads);
            self.current.store(Arc::new(next));
            *reloads = Reloads { error: None, restart: restart.clone() };
            self.stats.reloads.ok.add(1);
        }
        self.stats.prune();
        tracing::info!(generation, hash, "rollout file reloaded");
        if !restart.is_empty() {
            tracing::warn!(keys = restart.join(", "), "changed, but holds only after a restart: the old value serves");
        }
    }

    fn refuse(&self, kind: &Count, summary: String, full: &str) {
        let mut reloads = lock(&self.reloads);
        if reloads.error.as_ref().is_some_and(|error| error.message == summary) {
            return;
        }
        kind.add(1);
        reloads.error = Some(ReloadError { at: jiff::Timestamp::now(), message: summary });
        drop(reloads);
        tracing::error!(
            serving = self.current().snapshot.generation,
            "rollout file refused, the last good one serves on: {full}"
        );
    }

    fn restart_keys(&self, new: &Config) -> Vec<&'static str> {
        let (old, traces) = &self.started;
        let (new, new_traces) = (&new.server, &new.telemetry);
        [
            ("listen", new.listen != old.listen),
            ("admin", new.admin != old.admin),
            ("threads", new.threads != old.threads),
            ("telemetry.otlp", new_traces.otlp != traces.otlp),
            ("telemetry.service_name", new_traces.service_name != traces.service_name),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}
