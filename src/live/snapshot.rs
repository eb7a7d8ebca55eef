//! A validated, immutable reading of rollout.toml, with everything precomputed that depends on the file alone.

use http::HeaderValue;

use crate::choose::Salts;
use crate::config::Config;

/// A reading of the file.
#[derive(Debug)]
pub struct Snapshot {
    /// The parsed configuration.
    pub config: Config,
    /// Number of the reading, starting at 1.
    pub generation: u64,
    /// The generation as a header value.
    pub generation_header: HeaderValue,
    /// Wall clock at which it was put in force.
    pub loaded_at: jiff::Timestamp,
    /// The hashes' salts, by route.
    pub salts: Salts,
}

impl Snapshot {
    /// Computes everything that requests need of the file.
    pub fn new(config: Config, generation: u64) -> Self {
        Self {
            salts: Salts::new(&config),
            generation,
            generation_header: HeaderValue::from(generation),
            loaded_at: jiff::Timestamp::now(),
            config,
        }
    }
}
