//! The recurrence behind both tests, in natural logarithms.
//!
//! A mixture over the event at which a candidate becomes bad: `E_n = Σ_{j≤n} π_j Λ_{j..n} + Σ_{j>n} π_j` with
//! `π_n = 1/(n(n+1))`. It is a non-negative supermartingale that begins at 1, so a look after each event costs nothing
//! (Ville's inequality), and healthy events of the past do not make it deaf: change detection by e-processes, after
//! Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (2022).

/// Upper limit of a sum and of the evidence, as a natural logarithm: 10^300, the largest round number whose sums are
/// finite as plain numbers too.
pub const LN_MOST: f64 = 690.775_527_898_213_8;

/// Difference of two logarithms above which the smaller number does not change an f64 sum.
const LN_NOTHING: f64 = 40.0;

/// One sum for each of `N` alternatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recurrence<const N: usize> {
    /// Natural logarithm of each sum; negative infinity before the first event.
    ln_sums: [f64; N],
    /// Number of events; stays at its largest value once it is reached.
    events: u32,
}

impl<const N: usize> Default for Recurrence<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Recurrence<N> {
    /// Begins without events: the evidence is 1.
    pub const fn new() -> Self {
        Self { ln_sums: [f64::NEG_INFINITY; N], events: 0 }
    }

    /// Continues from saved sums; `None` if one of them cannot be a sum of so many events.
    pub fn from_parts(ln_sums: [f64; N], events: u32) -> Option<Self> {
        let is_sum = |ln: &f64| if events == 0 { *ln == f64::NEG_INFINITY } else { ln.is_finite() && *ln <= LN_MOST };
        ln_sums.iter().all(is_sum).then_some(Self { ln_sums, events })
    }

    /// Natural logarithms of the sums, and the number of events.
    pub const fn parts(&self) -> ([f64; N], u32) {
        (self.ln_sums, self.events)
    }

    /// Adds an event; `ln_factors` are finite: the logarithm of its likelihood ratio under each alternative.
    pub fn add(&mut self, ln_factors: [f64; N]) {
        self.events = self.events.saturating_add(1);
        let n = f64::from(self.events);
        let ln_start = -(n * (n + 1.0)).ln();
        for (ln_sum, ln_factor) in self.ln_sums.iter_mut().zip(ln_factors) {
            *ln_sum = (ln_of_sum(*ln_sum, ln_start) + ln_factor).min(LN_MOST);
        }
    }

    /// Natural logarithm of the evidence: of the mean over the alternatives.
    pub fn ln(&self) -> f64 {
        let ln_rest = -(f64::from(self.events) + 1.0).ln();
        let most = self.ln_sums.iter().copied().fold(ln_rest, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a handful of alternatives")]
        let count = N as f64;
        let sum: f64 = self.ln_sums.iter().map(|ln| (ln - most).exp()).sum::<f64>() + count * (ln_rest - most).exp();
        (most + (sum / count).ln()).min(LN_MOST)
    }
}

/// Logarithm of the sum of two numbers given by their logarithms; the second one is finite.
fn ln_of_sum(a: f64, b: f64) -> f64 {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if large - small > LN_NOTHING {
        return large;
    }
    large + (small - large).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_events_the_evidence_is_one() {
        assert_eq!(Recurrence::<6>::new().ln(), 0.0);
    }

    #[test]
    fn it_is_the_mixture_over_all_beginnings() {
        let factors = [1.7_f64, 0.4, 2.5, 0.9, 3.0, 0.2, 1.1];
        let mut sums = Recurrence::<1>::new();
        for (index, factor) in factors.iter().enumerate() {
            sums.add([factor.ln()]);
            let n = index + 1;
            let start = |j: usize| 1.0 / ((j * (j + 1)) as f64);
            let expected: f64 =
                (1..=n).map(|j| start(j) * factors.get(j - 1..n).unwrap().iter().product::<f64>()).sum::<f64>()
                    + 1.0 / (n as f64 + 1.0);
            assert!((sums.ln() - expected.ln()).abs() < 1e-12, "after {n}");
        }
    }

    #[test]
    fn an_event_that_tells_nothing_leaves_it_at_one() {
        let mut sums = Recurrence::<4>::new();
        for _ in 0..10_000 {
            sums.add([0.0; 4]);
        }
        assert!(sums.ln().abs() < 1e-9, "{}", sums.ln());
    }

    #[test]
    fn it_ends_at_ten_to_the_three_hundred_and_comes_back() {
        let mut sums = Recurrence::<2>::new();
        for _ in 0..2_000 {
            sums.add([2.0, 700.0]);
        }
        assert_eq!((sums.parts().0, sums.ln()), ([LN_MOST, LN_MOST], LN_MOST));
        assert!(LN_MOST.exp().is_finite() && (LN_MOST / std::f64::consts::LN_10 - 300.0).abs() < 1e-12);
        sums.add([-1.0, -1.0]);
        assert!(sums.ln() < LN_MOST);
    }

    #[test]
    fn only_possible_sums_are_continued() {
        let mut sums = Recurrence::<2>::new();
        sums.add([0.5, -0.5]);
        let (parts, events) = sums.parts();
        assert_eq!(Recurrence::from_parts(parts, events), Some(sums));
        assert_eq!(Recurrence::from_parts([f64::NEG_INFINITY; 2], 0), Some(Recurrence::new()));
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, LN_MOST + 1.0] {
            assert_eq!(Recurrence::from_parts([0.0, wrong], 3), None, "{wrong}");
        }
        assert_eq!(Recurrence::from_parts([0.0, 0.0], 0), None);
    }
}
