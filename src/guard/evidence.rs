//! Evidence that a candidate fails too often: two tests of failure rates, against the baseline's and against a floor.
//!
//! Each null hypothesis has its e-process: *ratio*, "the candidate's rate is at most `max_ratio` times the baseline's",
//! and *floor*, "the candidate's rate is at most the floor". Their minimum is evidence against both. *Ratio* conditions
//! on the counted events, as in Lindon and Malek, "Anytime-valid inference for multinomial count data" (2022): an event
//! belongs to the candidate with a chance that depends on its share and the ratio of the rates alone. Every event has a
//! share of its own, so changing percents and several routes cannot imitate a ratio.

use super::recurrence::Recurrence;
use crate::config::GuardErrors;
use crate::model::Percent;

/// Alternatives of *ratio*, as multiples of `max_ratio`: they are near the rates that one wants to see, and far ones.
const RATIOS: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0];
/// Alternatives of *floor*, as multiples of the floor.
const MULTIPLES: [f64; 4] = [2.0, 4.0, 16.0, 64.0];
/// Largest rate among the alternatives of *floor*: at 1 a single good answer would erase the evidence.
const MOST_RATE: f64 = 0.9;

/// Candidate's part, above 0 and below 1, of the share that it and the baseline have together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight(f64);

impl Weight {
    /// Takes the percents that a request was drawn from; `None` if one of the two is 0.
    pub fn of(candidate: Percent, baseline: Percent) -> Option<Self> {
        let (candidate, baseline) = (f64::from(candidate.hundredths()), f64::from(baseline.hundredths()));
        (candidate > 0.0 && baseline > 0.0).then(|| Self(candidate / (candidate + baseline)))
    }

    /// The weight as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Observation that changes the evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A counted failure of the candidate; without a weight it tells of the floor alone.
    CandidateFault(Option<Weight>),
    /// A good answer of the candidate.
    CandidateGood,
    /// A counted failure of the baseline.
    BaselineFault(Weight),
}

/// The two tests of one candidate in one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    max_ratio: f64,
    ln_ratios: [f64; RATIOS.len()],
    /// Logarithms of the factors of *floor*, for a failure and for a good answer.
    ln_floor: ([f64; MULTIPLES.len()], [f64; MULTIPLES.len()]),
    ratio: Recurrence<{ RATIOS.len() }>,
    floor: Recurrence<{ MULTIPLES.len() }>,
}

impl Evidence {
    /// Begins without evidence. Limits beyond the ranges of the file are taken as the nearest one within.
    pub fn new(errors: &GuardErrors) -> Self {
        let floor = within(errors.floor, f64::MIN_POSITIVE, 0.5);
        let rate = |multiple: f64| (multiple * floor).min(MOST_RATE);
        let fault = MULTIPLES.map(|multiple| (rate(multiple) / floor).ln());
        let good = MULTIPLES.map(|multiple| (-rate(multiple)).ln_1p() - (-floor).ln_1p());
        Self {
            max_ratio: within(errors.max_ratio, 1.0, 100.0),
            ln_ratios: RATIOS.map(f64::ln),
            ln_floor: (fault, good),
            ratio: Recurrence::new(),
            floor: Recurrence::new(),
        }
    }

    /// Adds an event.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::CandidateFault(weight) => {
                self.floor.add(self.ln_floor.0);
                if let Some(weight) = weight {
                    let ln_whole = self.ln_whole(weight);
                    self.ratio.add(std::array::from_fn(|at| self.ln_ratios[at] - ln_whole[at]));
                }
            }
            Event::CandidateGood => self.floor.add(self.ln_floor.1),
            Event::BaselineFault(weight) => self.ratio.add(self.ln_whole(weight).map(|ln| -ln)),
        }
    }

    /// Logarithm of `1−v+vr` for each alternative r, where v is the chance, at `max_ratio`, that an event is the
    /// candidate's: `vr` over this is that chance under r.
    fn ln_whole(&self, weight: Weight) -> [f64; RATIOS.len()] {
        let scaled = weight.0 * self.max_ratio;
        let at_limit = scaled / (1.0 - weight.0 + scaled);
        RATIOS.map(|ratio| (at_limit * (ratio - 1.0)).ln_1p())
    }

    /// Natural logarithm of the evidence. `is_blind`: the baseline has no share on any route of the candidate, so that
    /// only the floor is tested.
    pub fn ln(&self, is_blind: bool) -> f64 {
        let floor = self.floor.ln();
        if is_blind { floor } else { floor.min(self.ratio.ln()) }
    }

    /// The sums of *ratio* and *floor*.
    pub const fn sums(&self) -> Sums {
        Sums { ratio: self.ratio, floor: self.floor }
    }

    /// Continues from saved sums.
    #[must_use]
    pub const fn with(mut self, sums: Sums) -> Self {
        self.ratio = sums.ratio;
        self.floor = sums.floor;
        self
    }
}

/// The nearest number in the range; the least one for NaN.
const fn within(number: f64, least: f64, most: f64) -> f64 {
    if number >= least { number.min(most) } else { least }
}

/// The sums of both tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sums {
    /// Those of *ratio*.
    pub ratio: Recurrence<{ RATIOS.len() }>,
    /// Those of *floor*.
    pub floor: Recurrence<{ MULTIPLES.len() }>,
}

/// Expected gain of *ratio*'s logarithm for each counted event, under its best alternative, where the candidate's rate
/// is `times` the baseline's. Not above 0 if the limit allows so much.
pub(super) fn ratio_gain(weight: f64, times: f64, max_ratio: f64) -> f64 {
    let chance = weight * times / (1.0 - weight + weight * times);
    let scaled = weight * max_ratio;
    let at_limit = scaled / (1.0 - weight + scaled);
    let gain = |ratio: f64| chance * ratio.ln() - (at_limit * (ratio - 1.0)).ln_1p();
    RATIOS.into_iter().map(gain).fold(f64::NEG_INFINITY, f64::max)
}

/// Expected gain of *floor*'s logarithm for each trial of a candidate that fails at `rate`, under its best alternative.
pub(super) fn floor_gain(rate: f64, floor: f64) -> f64 {
    let gain = |multiple: f64| {
        let alternative = (multiple * floor).min(MOST_RATE);
        rate * (alternative / floor).ln() + (1.0 - rate) * ((-alternative).ln_1p() - (-floor).ln_1p())
    };
    MULTIPLES.into_iter().map(gain).fold(f64::NEG_INFINITY, f64::max)
}

/// Natural logarithm of the number of alternatives of *ratio* and of *floor*.
pub(super) fn ln_alternatives() -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "a handful of alternatives")]
    let ln = |count: usize| (count as f64).ln();
    (ln(RATIOS.len()), ln(MULTIPLES.len()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::recurrence::LN_MOST;
    use super::*;

    fn errors(max_ratio: f64, floor: f64) -> GuardErrors {
        GuardErrors { max_ratio, floor, overdue: Duration::from_secs(30) }
    }

    fn weight(candidate: u16, baseline: u16) -> Option<Weight> {
        Weight::of(Percent::from_hundredths(candidate)?, Percent::from_hundredths(baseline)?)
    }

    #[test]
    fn a_weight_is_the_part_of_both() {
        assert_eq!(weight(500, 9_500).map(Weight::get), Some(0.05));
        assert_eq!(weight(500, 1_500).map(Weight::get), Some(0.25), "a third backend has the rest");
        assert_eq!((weight(0, 10_000), weight(10_000, 0)), (None, None));
    }

    /// The page's arithmetic in plain numbers, for the first event.
    #[test]
    fn the_first_event_by_hand() {
        let w: f64 = 0.05;
        let (m, floor) = (1.5, 0.005);
        let at_limit = w * m / (1.0 - w + w * m);
        let under = |r: f64| at_limit * r / (1.0 - at_limit + at_limit * r);
        let mean = |values: Vec<f64>| values.iter().map(|value| value + 0.5).sum::<f64>() / values.len() as f64;
        let fault = mean(RATIOS.iter().map(|r| 0.5 * under(*r) / at_limit).collect());
        let of_baseline = mean(RATIOS.iter().map(|r| 0.5 * (1.0 - under(*r)) / (1.0 - at_limit)).collect());
        let of_floor = mean(MULTIPLES.iter().map(|k| 0.5 * k).collect());
        let good = mean(MULTIPLES.iter().map(|k| 0.5 * (1.0 - k * floor) / (1.0 - floor)).collect());

        let with = |event: Event| {
            let mut evidence = Evidence::new(&errors(m, floor));
            evidence.add(event);
            (evidence.ratio.ln(), evidence.floor.ln())
        };
        let weight = weight(500, 9_500);
        let close = |(a, b): (f64, f64), c: f64, d: f64| (a - c.ln()).abs() < 1e-12 && (b - d.ln()).abs() < 1e-12;
        assert!(close(with(Event::CandidateFault(weight)), fault, of_floor));
        assert!(close(with(Event::BaselineFault(weight.unwrap())), of_baseline, 1.0));
        assert!(close(with(Event::CandidateGood), 1.0, good));
        assert!(close(with(Event::CandidateFault(None)), 1.0, of_floor));
    }

    #[test]
    fn the_smaller_one_counts_and_the_floor_alone_when_blind() {
        let mut evidence = Evidence::new(&errors(1.5, 0.005));
        for _ in 0..5 {
            evidence.add(Event::CandidateFault(weight(500, 9_500)));
        }
        assert!(evidence.floor.ln() > evidence.ratio.ln() && evidence.ratio.ln() > 1.0);
        assert_eq!((evidence.ln(false), evidence.ln(true)), (evidence.ratio.ln(), evidence.floor.ln()));
        for _ in 0..2_000 {
            evidence.add(Event::CandidateGood);
        }
        assert_eq!(evidence.ln(false), evidence.floor.ln(), "good answers speak for the floor");
    }

    proptest! {
        #[test]
        fn no_events_and_no_limits_make_it_anything_but_a_number(
            events in proptest::collection::vec((0..4_u8, 1..10_000_u16), 0..200),
            repeats in 1..40_usize,
            max_ratio in prop_oneof![Just(1.0), Just(100.0), 1.0..100.0_f64, any::<f64>(), Just(f64::NAN)],
            floor in prop_oneof![Just(f64::MIN_POSITIVE), Just(0.5), 1e-9..0.5_f64, any::<f64>(), Just(f64::NAN)],
        ) {
            let mut evidence = Evidence::new(&errors(max_ratio, floor));
            for (kind, candidate) in events {
                let weight = weight(candidate, 10_000 - candidate).unwrap();
                let event = match kind {
                    0 => Event::CandidateFault(Some(weight)),
                    1 => Event::CandidateFault(None),
                    2 => Event::CandidateGood,
                    _ => Event::BaselineFault(weight),
                };
                for _ in 0..repeats {
                    evidence.add(event);
                }
                for ln in [evidence.ln(false), evidence.ln(true)] {
                    prop_assert!(ln.is_finite() && ln <= LN_MOST && ln.exp() <= 1.001e300, "{ln}");
                }
                prop_assert!(evidence.ln(false) <= evidence.ln(true));
            }
        }
    }
}
