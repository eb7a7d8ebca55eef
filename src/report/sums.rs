//! Whole-number sums over pairs: a sum of floats would depend on their order.

use super::line::{Leg, Pair, Scores};
use super::quantile::Histogram;

/// Pairs by which side is at fault.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) n: u64,
    pub(super) both: u64,
    pub(super) baseline_only: u64,
    pub(super) candidate_only: u64,
}

/// Agreement of the pairs of a kind, in 10⁻⁴.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Agreement {
    pub(super) n: u64,
    pub(super) sum: u64,
    /// Pairs whose noise leg has the same kind.
    pub(super) floor_n: u64,
    /// Agreement of the baseline with itself in those.
    pub(super) floor_sum: u64,
    /// Agreement of the candidate in those.
    pub(super) beside_sum: u64,
}

/// Pairs in which a property differs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Differing {
    pub(super) n: u64,
    pub(super) count: u64,
}

/// A property of pairs and of the baseline with itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FlipSums {
    pub(super) pairs: Differing,
    pub(super) floor: Differing,
}

/// Times of both sides, in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct TimeSums {
    pub(super) baseline: Histogram,
    pub(super) candidate: Histogram,
}

/// Tokens of one side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokenSums {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Cost of one side, in 10⁻⁹ USD.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CostSums {
    pub(super) sum: u128,
    /// Answers that the application can use.
    pub(super) good: u64,
}

/// A figure of both sides over the same pairs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Both<T> {
    pub(super) n: u64,
    pub(super) baseline: T,
    pub(super) candidate: T,
}

impl Faults {
    pub(super) fn add(&mut self, faults: (bool, bool)) {
        self.n += 1;
        match faults {
            (true, true) => self.both += 1,
            (true, false) => self.baseline_only += 1,
            (false, true) => self.candidate_only += 1,
            (false, false) => {}
        }
    }
}

impl Agreement {
    pub(super) fn add(&mut self, agreement: u32, floor: Option<u32>) {
        self.n += 1;
        self.sum += u64::from(agreement);
        if let Some(floor) = floor {
            self.floor_n += 1;
            self.floor_sum += u64::from(floor);
            self.beside_sum += u64::from(agreement);
        }
    }
}

impl FlipSums {
    /// Counts a pair by the property at this position of [`super::vocabulary::FlipName`].
    pub(super) fn add(&mut self, position: usize, scores: &Scores<'_>, floor: Option<&Scores<'_>>) {
        let differs = |scores: &Scores<'_>| scores.flips.get(position).copied().flatten();
        for (sums, differs) in [(&mut self.pairs, differs(scores)), (&mut self.floor, floor.and_then(differs))] {
            if let Some(differs) = differs {
                sums.n += 1;
                sums.count += u64::from(differs);
            }
        }
    }
}

impl TimeSums {
    pub(super) fn add(&mut self, (baseline, candidate): (u64, u64)) {
        self.baseline.add(baseline);
        self.candidate.add(candidate);
    }
}

impl Both<TokenSums> {
    pub(super) fn add(&mut self, pair: &Pair<'_>) {
        let of = |leg: &Leg<'_>| leg.input_tokens.zip(leg.output_tokens);
        if let (Some(baseline), Some(candidate)) = (of(&pair.baseline), of(&pair.candidate)) {
            self.n += 1;
            for (sums, (input, output)) in [(&mut self.baseline, baseline), (&mut self.candidate, candidate)] {
                sums.input = sums.input.saturating_add(input);
                sums.output = sums.output.saturating_add(output);
            }
        }
    }
}

impl Both<CostSums> {
    pub(super) fn add(&mut self, pair: &Pair<'_>) {
        if let (Some(baseline), Some(candidate)) = (pair.baseline.cost, pair.candidate.cost) {
            self.n += 1;
            let sides =
                [(&mut self.baseline, &pair.baseline, baseline), (&mut self.candidate, &pair.candidate, candidate)];
            for (sums, leg, cost) in sides {
                sums.sum += u128::from(cost);
                sums.good += u64::from(leg.is_good(pair.is_json));
            }
        }
    }
}
