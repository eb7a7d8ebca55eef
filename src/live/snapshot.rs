//! One validated, immutable reading of rollout.toml, with everything worked out that depends on the file alone.

use http::HeaderValue;

use crate::choose::Salts;
use crate::config::Config;

/// A pure reading of the file.
#[derive(Debug)]
pub struct Snapshot {
    /// The file's meaning.
    pub config: Config,
    /// Number of the reading, counted from 1.
    pub generation: u64,
    /// The same, for answers' heads.
    pub generation_header: HeaderValue,
    /// When it was put in force.
    pub loaded_at: jiff::Timestamp,
    /// The hashes' salts, by route.
    pub salts: Salts,
}

impl Snapshot {
    /// Works out everything that a request needs of the file.
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
