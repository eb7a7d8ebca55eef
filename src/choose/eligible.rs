//! The backends that may see a request.

use crate::config::Config;
use crate::model::BackendId;

/// The backends that may see one request. [`super::choose`] and [`super::instead`] choose among these only, and a
/// [`super::Choice`] cannot name any other.
#[derive(Debug, Clone, Default)]
pub struct Eligible {
    /// Flags by position in the file; `None` stands for every backend.
    only: Option<Box<[bool]>>,
}

impl Eligible {
    /// Every backend of the file.
    pub const fn every() -> Self {
        Self { only: None }
    }

    /// The backends of the file that `may_see` the request.
    pub fn of(config: &Config, mut may_see: impl FnMut(BackendId) -> bool) -> Self {
        Self { only: Some(config.backends_with_ids().map(|(id, _)| may_see(id)).collect()) }
    }

    /// True if the backend may see the request.
    pub fn contains(&self, backend: BackendId) -> bool {
        self.only.as_ref().is_none_or(|only| only.get(backend.index()).copied().unwrap_or(false))
    }
}
