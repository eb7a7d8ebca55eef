//! Labels of backends and legs in telemetry.

use crate::model::Engine;

/// Labels of a backend in telemetry.
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
    /// Serves an application.
    Served,
    /// A copy whose answer is compared.
    Shadow,
    /// A copy to the baseline, which served the request: its answers are compared with each other.
    Noise,
    /// Tests the features of a backend for the conformance probe.
    Probe,
}

impl LegKind {
    /// Label in metrics and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Shadow => "shadow",
            Self::Noise => "noise",
            Self::Probe => "probe",
        }
    }
}

/// A backend's part in the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves all traffic that is not shifted.
    Baseline,
    /// Gets shifted traffic.
    Candidate,
}

impl Role {
    /// Text in `/status` and `check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        }
    }
}
