//! One validated, immutable reading of rollout.toml, with everything worked out that a request needs.

use std::sync::Arc;

use http::HeaderValue;

use crate::backend::{PrepareError, Target};
use crate::choose::Tables;
use crate::config::Config;
use crate::telemetry::stats::{RouteStats, Stats};

/// What a request is decided, sent and told by, from its start to its end.
#[derive(Debug)]
pub struct Snapshot {
    pub config: Config,
    pub generation: u64,
    pub generation_header: HeaderValue,
    pub loaded_at: jiff::Timestamp,
    pub tables: Tables,
    /// As in `config.backends`.
    pub targets: Vec<Arc<Target>>,
    /// As in `config.routes`.
    pub routes: Vec<Arc<RouteStats>>,
}

impl Snapshot {
    /// Everything that can fail happens here; a backend whose section did not change keeps its connections.
    pub fn prepare(config: Config, previous: Option<&Self>, stats: &Stats) -> Result<Self, PrepareError> {
        let targets = config
            .backends
            .iter()
            .map(|backend| {
                let before = previous
                    .and_then(|snapshot| snapshot.targets.iter().find(|target| target.config.name == backend.name));
                Target::prepare(backend, before.map(Arc::as_ref), stats.backend(&backend.name)).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let routes = config.routes.iter().map(|route| stats.route(&route.name)).collect();
        let generation = previous.map_or(1, |snapshot| snapshot.generation + 1);
        Ok(Self {
            tables: Tables::new(&config),
            generation,
            generation_header: HeaderValue::from(generation),
            loaded_at: jiff::Timestamp::now(),
            targets,
            routes,
            config,
        })
    }

    pub fn baseline(&self) -> crate::model::BackendId {
        self.config.baseline
    }
}
