//! One line of records as a value.

use std::borrow::Cow;

use super::vocabulary::{CheckName, FlipName, LegOutcome, Mode, PairKind, is_nobodys};

/// A line that was read.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// White space alone.
    Blank,
    /// A pair of answers.
    Pair(Box<Pair<'a>>),
    /// Counts of an interval.
    Counts(Counts<'a>),
    /// A line that changes no figure.
    Skipped(Skip),
}

/// Reason for which a line is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// Begins with `{` and does not parse.
    Torn,
    /// Anything else that is no record.
    Foreign,
    /// A line of a later version of the schema.
    Newer,
}

/// A pair of answers, as far as a report needs it.
#[derive(Debug)]
pub(super) struct Pair<'a> {
    pub(super) id: Cow<'a, str>,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) instance: Cow<'a, str>,
    pub(super) epoch: Cow<'a, str>,
    pub(super) route: Cow<'a, str>,
    pub(super) model: Cow<'a, str>,
    pub(super) percent: Option<f64>,
    pub(super) is_served_by_candidate: bool,
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) trace_id: Cow<'a, str>,
    pub(super) is_greedy: bool,
    /// True if JSON was asked for.
    pub(super) is_json: bool,
    pub(super) baseline: Leg<'a>,
    pub(super) candidate: Leg<'a>,
    pub(super) scores: Scores<'a>,
    pub(super) floor: Option<Scores<'a>>,
}

/// One leg of a pair.
#[derive(Debug)]
pub(super) struct Leg<'a> {
    pub(super) backend: Cow<'a, str>,
    pub(super) outcome: LegOutcome,
    pub(super) mode: Option<Mode>,
    pub(super) finish: Option<Cow<'a, str>>,
    pub(super) is_refused: bool,
    pub(super) json_valid: Option<bool>,
    pub(super) schema_valid: Option<bool>,
    /// Microseconds.
    pub(super) ttft: Option<u64>,
    /// Microseconds.
    pub(super) total: Option<u64>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// True if half of the prompt or more was cached.
    pub(super) is_warm: Option<bool>,
    /// 10⁻⁹ USD.
    pub(super) cost: Option<u64>,
}

/// Scores of two answers.
#[derive(Debug)]
pub(super) struct Scores<'a> {
    pub(super) kind: Option<PairKind>,
    /// 10⁻⁴.
    pub(super) agreement: Option<u32>,
    /// Reason for which the agreement is null.
    pub(super) reason: Cow<'a, str>,
    /// True where both differ, by [`FlipName`].
    pub(super) flips: [Option<bool>; FlipName::ALL.len()],
    pub(super) length_ratio: Option<f64>,
}

/// Entries of an object.
pub(super) type Named<'a, V> = Vec<(Cow<'a, str>, V)>;

/// Counts of a route in one interval.
#[derive(Debug)]
pub(super) struct Counts<'a> {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) instance: Cow<'a, str>,
    pub(super) route: Cow<'a, str>,
    pub(super) backends: Named<'a, BackendCounts<'a>>,
    /// Copies by receiver and outcome.
    pub(super) shadow: Named<'a, Named<'a, u64>>,
}

/// Counts of one backend in one interval.
#[derive(Debug)]
pub(super) struct BackendCounts<'a> {
    pub(super) chosen: u64,
    pub(super) attempted: u64,
    pub(super) served: u64,
    pub(super) failed: u64,
    pub(super) priced: u64,
    /// 10⁻⁹ USD.
    pub(super) cost: u64,
    /// Date at which a model ends, by model.
    pub(super) ends: Named<'a, Cow<'a, str>>,
}

impl Scores<'_> {
    /// Returns the kind and the agreement of a pair that has one.
    pub(super) fn scored(&self) -> Option<(PairKind, u32)> {
        self.kind.zip(self.agreement)
    }
}

impl Leg<'_> {
    /// True if the application can use the answer.
    pub(super) fn is_good(&self, is_json: bool) -> bool {
        let is_broken = is_json && [self.json_valid, self.schema_valid].contains(&Some(false));
        self.outcome == LegOutcome::Ok && !is_broken && !self.is_refused && !self.is_empty() && !self.is_cut()
    }

    fn is_empty(&self) -> bool {
        self.mode == Some(Mode::Empty)
    }

    fn is_cut(&self) -> bool {
        self.finish.as_deref() == Some("length")
    }
}

impl Pair<'_> {
    /// True if both sides gave a complete answer.
    pub(super) fn is_ok(&self) -> bool {
        self.baseline.outcome == LegOutcome::Ok && self.candidate.outcome == LegOutcome::Ok
    }

    /// Returns the kind, the agreement and, if the noise leg has the same kind, the baseline's agreement with itself.
    pub(super) fn agreements(&self) -> Option<(PairKind, u32, Option<u32>)> {
        let (kind, agreement) = self.scores.scored()?;
        let floor = self.floor.as_ref().and_then(Scores::scored);
        Some((kind, agreement, floor.filter(|(of, _)| *of == kind).map(|(_, floor)| floor)))
    }

    /// Returns the faults of the baseline and of the candidate; `None` for a pair that the check is not over.
    pub(super) fn faults(&self, check: CheckName) -> Option<(bool, bool)> {
        let legs = (&self.baseline, &self.candidate);
        let both = |fault: fn(&Leg<'_>) -> bool| Some((fault(legs.0), fault(legs.1)));
        let broken = |of: fn(&Leg<'_>) -> Option<bool>| match (self.is_json, of(legs.0), of(legs.1)) {
            (false, ..) => Some((false, false)),
            (true, Some(baseline), Some(candidate)) => Some((!baseline, !candidate)),
            (true, ..) => None,
        };
        match check {
            CheckName::Failed => self.failures(),
            _ if !self.is_ok() => None,
            CheckName::Refused => both(|leg| leg.is_refused),
            CheckName::Empty => both(|leg| leg.is_empty()),
            CheckName::Cut => both(|leg| leg.is_cut()),
            CheckName::JsonBroken => broken(|leg| leg.json_valid),
            CheckName::SchemaBroken => broken(|leg| leg.schema_valid),
            CheckName::Script => self.scores.flips[FlipName::Script as usize].map(|differs| (false, differs)),
        }
    }

    fn failures(&self) -> Option<(bool, bool)> {
        match (self.baseline.outcome, self.candidate.outcome) {
            (baseline, candidate) if is_nobodys(baseline) || is_nobodys(candidate) => None,
            // The request is at fault.
            (LegOutcome::Status4xx, LegOutcome::Status4xx) => Some((false, false)),
            (baseline, candidate) => Some((baseline != LegOutcome::Ok, candidate != LegOutcome::Ok)),
        }
    }
}
