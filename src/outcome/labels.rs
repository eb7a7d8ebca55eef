//! Names that telemetry gives a backend and a leg.

use crate::model::Engine;

/// A backend by the names that telemetry gives it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct BackendLabels {
    /// Its name in the file.
    pub name: String,
    /// Its engine.
    pub engine: Engine,
    /// Host of its URL.
    pub host: String,
    /// Port of its URL.
    pub port: u16,
}

/// The purpose of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegKind {
    /// The application gets its answer.
    Served,
    /// A question of our own that tests what a backend can do.
    Probe,
}

impl LegKind {
    /// The label of metrics and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Probe => "probe",
        }
    }
}

/// A backend's part in the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves what is not shifted.
    Baseline,
    /// Traffic is shifted to it.
    Candidate,
}

impl Role {
    /// The word of `/status` and `check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }
}
