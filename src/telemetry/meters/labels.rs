//! Labels of the series, as they are published.

use std::sync::Arc;

use http::{Method, Version};

use super::models::ModelLabel;
use super::sets::Key;
use crate::model::{Fault, METHODS, OTHER_METHOD};
use crate::outcome::{BackendLabels, LegKind};
use crate::wire::endpoint::Operation;

/// Label of folded series, and of statuses that HTTP does not define.
const OTHER: &str = "other";

/// Index of `method` in [`METHODS`]; the index after the last is for all other methods.
pub(super) fn method_place(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len())
}

pub(super) fn method_at(place: usize) -> &'static str {
    METHODS.get(place).copied().unwrap_or(OTHER_METHOD)
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "",
    }
}

/// The label `error.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Failed {
    No,
    By(Fault),
    Other,
}

impl Failed {
    pub(super) fn of(fault: Option<Fault>) -> Self {
        match fault {
            None => Self::No,
            Some(Fault::Status(code)) if !is_status(code) => Self::Other,
            Some(fault) => Self::By(fault),
        }
    }

    fn coarser(self) -> Option<Self> {
        matches!(self, Self::By(_)).then_some(Self::Other)
    }

    pub(super) fn label(self) -> String {
        match self {
            Self::No => String::new(),
            Self::By(fault) => fault.as_str().into_owned(),
            Self::Other => OTHER.to_owned(),
        }
    }
}

fn is_status(code: u16) -> bool {
    (100..=599).contains(&code)
}

/// The label `http.response.status_code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Status {
    /// No head was sent.
    None,
    Code(u16),
    Other,
}

impl Status {
    pub(super) fn of(code: Option<u16>) -> Self {
        match code {
            None => Self::None,
            Some(code) if is_status(code) => Self::Code(code),
            Some(_) => Self::Other,
        }
    }

    pub(super) fn label(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Code(code) => code.to_string(),
            Self::Other => OTHER.to_owned(),
        }
    }
}

/// Labels of one request to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) backend: Arc<BackendLabels>,
    pub(super) operation: Operation,
    pub(super) leg: LegKind,
    pub(super) asked: ModelLabel,
    pub(super) answered: ModelLabel,
    pub(super) failed: Failed,
}

impl Key for CallKey {
    fn coarser(&self) -> Option<Self> {
        if self.asked != ModelLabel::Other || self.answered != ModelLabel::Other {
            return Some(Self { asked: ModelLabel::Other, answered: ModelLabel::Other, ..self.clone() });
        }
        Some(Self { failed: self.failed.coarser()?, ..self.clone() })
    }
}

/// Labels of one request of an application. All come from closed lists, except the status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestKey {
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) status: Status,
    pub(super) version: &'static str,
    pub(super) failed: Failed,
}

impl Key for RequestKey {
    fn coarser(&self) -> Option<Self> {
        if self.status != Status::Other {
            return Some(Self {
                status: Status::Other,
                failed: self.failed.coarser().unwrap_or(self.failed),
                ..self.clone()
            });
        }
        let is_coarsest = self.method == OTHER_METHOD && self.version.is_empty();
        (!is_coarsest).then(|| Self { method: OTHER_METHOD, version: "", ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_http_does_not_know_are_other() {
        for code in [0, 99, 600, u16::MAX] {
            assert_eq!((Status::of(Some(code)), Failed::of(Some(Fault::Status(code)))), (Status::Other, Failed::Other));
        }
        assert_eq!(Failed::of(Some(Fault::Status(503))).label(), "503");
        assert_eq!((Failed::of(None).label(), Status::of(None).label()), (String::new(), String::new()));
        assert_eq!(Failed::of(Some(Fault::Dns)).label(), "dns");
    }

    #[test]
    fn a_request_loses_its_code_first_and_then_its_method() {
        let method = method_at(method_place(&Method::from_bytes(b"BREW").unwrap()));
        assert_eq!((method, method_at(method_place(&Method::POST))), ("_OTHER", "POST"));
        let failed = Failed::of(Some(Fault::Status(502)));
        let exact = RequestKey { method: "POST", route: "/v1/*", status: Status::Code(502), version: "1.1", failed };
        let folded = exact.coarser().unwrap();
        assert_eq!(folded, RequestKey { status: Status::Other, failed: Failed::Other, ..exact });
        let coarsest = folded.coarser().unwrap();
        assert_eq!(coarsest, RequestKey { method: "_OTHER", version: "", ..folded });
        assert_eq!(coarsest.coarser(), None);
    }
}
