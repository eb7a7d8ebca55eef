//! The state in force, and the result of the last attempt to replace it.
//!
//! Invariant: publishing cannot fail, and a refused file changes only [`ReloadError`].

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::in_force::InForce;
use crate::backend::PrepareError;
use crate::config::{self, Config, ConfigError, Secrets};
use crate::stats::{Count, Stats, lock};
use crate::telemetry::SPANS;

/// Lookup of environment variables for the configuration.
pub(crate) type Env = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Reason for which the file on disk is not in force.
#[derive(Debug, Clone)]
pub struct ReloadError {
    /// Wall clock of the failed reading.
    pub at: jiff::Timestamp,
    /// Error text with the place in the file.
    pub message: String,
}

/// Reason for which a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file violates a rule.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A backend cannot be prepared.
    #[error("{path}: {cause}", path = path.display())]
    Prepare {
        /// Path of the file.
        path: PathBuf,
        /// The backend and its problem.
        cause: PrepareError,
    },
}

#[derive(Debug, Default)]
struct Reloads {
    error: Option<ReloadError>,
    /// Changed keys that wait for a restart.
    restart: Vec<&'static str>,
    /// Names of the candidates that are withdrawn from their shares.
    withdrawn: Vec<String>,
}

/// Environment of a reading: variables, secrets, and a change for demos.
pub struct Source {
    /// Lookup of environment variables.
    pub env: Box<Env>,
    /// Handling of missing secrets.
    pub secrets: Secrets,
    /// Change applied to every reading; `None` outside demos.
    pub adapt: Option<Box<Adapt>>,
}

/// A change made to a reading.
pub(crate) type Adapt = dyn Fn(&mut Config) + Send + Sync;

impl Source {
    /// Returns the source of a sidecar in production.
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
    /// Settings at startup that need a restart to change.
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

    /// Looks up an environment variable.
    pub fn env(&self, name: &str) -> Option<String> {
        (self.source.env)(name)
    }

    /// Returns the state in force. A request calls this once and keeps the result.
    pub fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Withdraws exactly the candidates of these names from their shares, beginning with the next request. Generation
    /// and hash stay; later readings keep them withdrawn.
    pub fn withdraw(&self, candidates: Vec<String>) {
        // The lock of reloads keeps a concurrent reading from being overwritten by the older one.
        let mut reloads = lock(&self.reloads);
        let current = self.current();
        self.current.store(Arc::new(current.withdrawing(&candidates)));
        reloads.withdrawn = candidates;
    }

    /// Error of the last reading; `None` if it succeeded.
    pub fn reload_error(&self) -> Option<ReloadError> {
        lock(&self.reloads).error.clone()
    }

    /// Changed keys of `[server]` and `[telemetry]` that take effect only after a restart.
    pub fn restart_needed(&self) -> Vec<&'static str> {
        lock(&self.reloads).restart.clone()
    }

    /// Processes a new reading of the file. Returns the further files to watch.
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
                tracing::info!(generation = current.snapshot.generation, "rollout file is valid again and unchanged");
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
            // One step for readers: a new generation never appears with the old error.
            let mut reloads = lock(&self.reloads);
            self.current.store(Arc::new(next.withdrawing(&reloads.withdrawn)));
            (reloads.error, reloads.restart) = (None, restart.clone());
            self.stats.reloads.ok.add(1);
        }
        self.stats.prune();
        tracing::info!(generation, hash, "rollout file reloaded");
        if !restart.is_empty() {
            tracing::warn!(
                keys = restart.join(", "),
                "these keys changed and need a restart: the old values stay in force"
            );
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
            "rollout file refused, the last valid one stays in force: {full}"
        );
    }

    fn restart_keys(&self, new: &Config) -> Vec<&'static str> {
        let (old, traces) = &self.started;
        let (new, new_traces) = (&new.server, &new.telemetry);
        [
            ("listen", new.listen != old.listen),
            ("admin", new.admin != old.admin),
            ("threads", new.threads != old.threads),
            ("state", new.state != old.state),
            ("telemetry.otlp", new_traces.otlp != traces.otlp),
            ("telemetry.service_name", new_traces.service_name != traces.service_name),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}
