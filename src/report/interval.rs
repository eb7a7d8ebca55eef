//! Intervals over key-hours: of a mean by betting, of a median by order statistics.

/// Risk that an interval misses, at all looks together.
const ALPHA: f64 = 0.05;
/// Largest part of the wealth that a bet puts at stake. With ½ the first check would need 738 key-hours.
const STAKE: f64 = 0.75;
/// Number of halvings of [0, 1] that leave less than 10⁻⁷.
const HALVINGS: u32 = 24;
/// Number of factors that are multiplied before their logarithm is taken. A factor lies between ¼ and 7.6, so that the
/// product of so many stays within the range of `f64`.
const FACTORS: usize = 64;

/// Range of the observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From −1 to 1: a difference.
    Signed,
    /// From 0 to 1: a loss or a share.
    Unit,
}

/// Mean of observations with the interval that holds it at level 0.95 at every look at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Number of observations.
    pub n: usize,
    /// Mean of the observations.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// Median of ratios with the interval that holds it at level 0.95 at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MedianRatio {
    /// Number of observations.
    pub n: usize,
    /// The middle one, or the geometric mean of the two middle ones.
    pub median: f64,
    /// Both bounds; `None` of fewer than six observations.
    pub bounds: Option<(f64, f64)>,
}

/// ln(2/α): the logarithm of the wealth at which a bet has refuted a mean.
pub(super) fn refuted() -> f64 {
    (2.0 / ALPHA).ln()
}

/// Half of the interval of `n` equal observations, times `n`.
pub(super) fn reach() -> f64 {
    refuted() / STAKE
}

/// Returns the mean and its interval by the bets of Waudby-Smith and Ramdas ("Estimating means of bounded random
/// variables by betting"), in the order of the observations; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn mean(observations: &[f64], scale: Scale) -> Option<Interval> {
    let n = observations.len();
    if n == 0 {
        return None;
    }
    let scaled = |x: &f64| match scale {
        Scale::Signed => f64::midpoint(*x, 1.0),
        Scale::Unit => *x,
    };
    let back = |y: f64| match scale {
        Scale::Signed => 2.0 * y - 1.0,
        Scale::Unit => y,
    };
    let mut values: Vec<f64> = observations.iter().map(scaled).collect();
    let bets = bets(&values);
    let low = lowest(&values, &bets);
    // The upper bound of y is one minus the lower bound of 1 − y, whose bets are the same.
    for value in &mut values {
        *value = 1.0 - *value;
    }
    let high = 1.0 - lowest(&values, &bets);
    let mean = observations.iter().sum::<f64>() / n as f64;
    Some(Interval { n, mean, low: back(low), high: back(high) })
}

/// Returns λ of each step: it depends on the steps before it alone.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn bets(values: &[f64]) -> Vec<f64> {
    let (mut sum, mut squares, mut variance) = (0.5, 0.25, 0.25);
    let mut bets = Vec::with_capacity(values.len());
    for (before, value) in values.iter().enumerate() {
        let t = (before + 1) as f64;
        bets.push((2.0 * refuted() / (t * t.ln_1p() * variance)).sqrt());
        sum += value;
        let mean = sum / (t + 1.0);
        squares += (value - mean).powi(2);
        variance = squares / (t + 1.0);
    }
    bets
}

/// Returns the largest mean that the bets above it refute, to 10⁻⁷; 0 if they refute none.
fn lowest(values: &[f64], bets: &[f64]) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if wealth(values, bets, middle) >= refuted() { low = middle } else { high = middle }
    }
    low
}

/// Logarithm of the wealth of one who bets that the mean is above `m`.
fn wealth(values: &[f64], bets: &[f64], m: f64) -> f64 {
    let mut sum = 0.0;
    for (values, bets) in values.chunks(FACTORS).zip(bets.chunks(FACTORS)) {
        let factor = |(value, bet): (&f64, &f64)| 1.0 + bet.min(STAKE / m) * (value - m);
        sum += values.iter().zip(bets).map(factor).product::<f64>().ln();
    }
    sum
}

/// Returns the median of ratios, given by their logarithms, with binomial order statistics; `None` of nothing.
pub fn median_ratio(mut logarithms: Vec<f64>) -> Option<MedianRatio> {
    logarithms.sort_by(f64::total_cmp);
    let n = logarithms.len();
    let at = |position: usize| logarithms.get(position).copied();
    let median = f64::midpoint(at(n.checked_sub(1)? / 2)?, at(n / 2)?).exp();
    let outer = order(n).checked_sub(1);
    let bounds = outer.and_then(|outer| Some((at(outer)?.exp(), at(n - 1 - outer)?.exp())));
    Some(MedianRatio { n, median, bounds })
}

/// Returns the largest k with P(Bin(n, ½) < k) ≤ α/2.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn order(n: usize) -> usize {
    let (mut below, mut logarithm) = (0.0, -(n as f64) * std::f64::consts::LN_2);
    for k in 0..n {
        below += logarithm.exp();
        if below > ALPHA / 2.0 {
            return k;
        }
        logarithm += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    0
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[track_caller]
    fn assert_bounds(observations: &[f64], scale: Scale, low: f64, high: f64) {
        let found = mean(observations, scale).unwrap();
        assert!((found.low - low).abs() < 6e-5 && (found.high - high).abs() < 6e-5, "{found:?}");
    }

    #[test]
    fn the_vectors_of_the_definition_hold() {
        let repeat = |times: usize, of: &[f64]| of.repeat(times);
        assert_bounds(&repeat(500, &[0.0]), Scale::Signed, -0.0098, 0.0098);
        assert_bounds(&repeat(100, &[0.0, 0.0, 0.0, 0.0, 1.0]), Scale::Signed, 0.1466, 0.2728);
        assert_bounds(&repeat(40, &[0.5, -0.5, 0.0]), Scale::Signed, -0.1079, 0.1122);
        assert_bounds(&repeat(400, &[0.0]), Scale::Unit, 0.0, 0.0122);
        assert_eq!(mean(&[], Scale::Unit), None);
    }

    #[test]
    fn without_a_difference_the_limits_are_reached_by_492_and_99() {
        let high = |n| mean(&vec![0.0; n], Scale::Signed).unwrap().high;
        assert!(high(485) > 0.01 && high(492) <= 0.01 && high(92) > 0.05 && high(99) <= 0.05);
    }

    #[test]
    fn bounds_are_where_the_bets_refute_and_the_sums_are_monotone() {
        let mut random = SmallRng::seed_from_u64(1);
        let values: Vec<f64> = (0..300).map(|_| random.random_range(0.0..1.0_f64).powi(3)).collect();
        let bets = bets(&values);
        let direct =
            |m: f64| values.iter().zip(&bets).map(|(y, bet)| (bet.min(0.75 / m) * (y - m)).ln_1p()).sum::<f64>();
        let low = mean(&values, Scale::Unit).unwrap().low;
        assert!(direct(low) >= refuted() - 1e-9 && direct(low + 1e-6) < refuted());
        assert!((1..100).all(|m| direct(f64::from(m) / 100.0) > direct(f64::from(m + 1) / 100.0)));
    }

    #[test]
    fn it_misses_the_mean_in_few_runs_of_200() {
        let missed = (0..200).filter(|seed| {
            let mut random = SmallRng::seed_from_u64(*seed);
            // The mean of a key-hour of up to eight answers, 2 % of which are worse.
            let values: Vec<f64> = (0..600)
                .map(|_| {
                    let pairs = random.random_range(1..=8);
                    f64::from((0..pairs).filter(|_| random.random_bool(0.02)).count() as u32) / f64::from(pairs)
                })
                .collect();
            let looks = [50, 100, 200, 300, 400, 500, 600];
            looks.iter().any(|look| {
                let found = mean(&values[..*look], Scale::Signed).unwrap();
                found.low > 0.02 || found.high < 0.02
            })
        });
        let missed = missed.count();
        assert!(missed <= 16, "{missed} of 200 runs; 5 % and two standard errors are 16");
    }

    #[test]
    fn the_order_of_a_median() {
        assert_eq!([0, 5, 6, 8, 9, 20, 100].map(order), [0, 0, 1, 1, 2, 6, 40]);
        // The normal approximation holds where the exact sum starts below the range of f64.
        let of_many = order(131_072);
        assert!((65_180..65_184).contains(&of_many), "{of_many}");
        let of = |ratios: &[f64]| median_ratio(ratios.iter().map(|ratio| ratio.ln()).collect());
        assert_eq!(of(&[]), None);
        let few = of(&[4.0, 1.0]).unwrap();
        assert!((few.median - 2.0).abs() < 1e-12 && few.bounds.is_none());
        let six = of(&[0.6, 0.1, 0.5, 0.2, 0.4, 0.3]).unwrap();
        let (low, high) = six.bounds.unwrap();
        assert!(
            (low - 0.1).abs() < 1e-12 && (high - 0.6).abs() < 1e-12 && (six.median - 0.12_f64.sqrt()).abs() < 1e-12
        );
    }
}
