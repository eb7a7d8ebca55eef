//! The verdict: what the intervals say against the limits. `ready` needs an upper bound of every check.

use super::interval::{Interval, reach};
use super::verdict::{CheckResult, Verdict};

/// Number of pairs of a row below which nothing is said but the counts.
pub(super) const MIN_PAIRS: u64 = 200;
/// Number of keys of a row below which nothing is said but the counts.
pub(super) const MIN_KEYS: u64 = 30;

/// A check or the agreement of a kind, without rounding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) result: CheckResult,
    pub(super) limit: f64,
    /// Difference of both sides.
    pub(super) difference: Option<Interval>,
}

/// A verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) why: Vec<&'static str>,
    pub(super) needs_pairs: Option<u64>,
}

/// Returns the result of a check: its difference, or its loss, against the limit.
pub(super) fn result(difference: Option<&Interval>, loss: Option<&Interval>, limit: f64) -> CheckResult {
    if difference.is_some_and(|difference| difference.low > limit) {
        CheckResult::Worse
    } else if [difference, loss].into_iter().flatten().any(|interval| interval.high <= limit) {
        CheckResult::Ok
    } else {
        CheckResult::Open
    }
}

/// Judges a row; `scored` is the number of its pairs with an agreement.
pub(super) fn row(pairs: u64, scored: u64, keys: u64, findings: &[Finding]) -> Judged {
    let of = |result| findings.iter().filter(move |finding| finding.result == result);
    let names = |result| of(result).map(|finding| finding.name).collect::<Vec<_>>();
    if pairs < MIN_PAIRS || keys < MIN_KEYS {
        let short = [("pairs", pairs < MIN_PAIRS), ("keys", keys < MIN_KEYS)];
        let why = short.into_iter().filter(|(_, is_short)| *is_short).map(|(name, _)| name).collect();
        return Judged { verdict: Verdict::NotEnoughData, why, needs_pairs: Some(until_the_minimum(pairs, keys)) };
    }
    let (worse, open) = (names(CheckResult::Worse), names(CheckResult::Open));
    if !worse.is_empty() {
        return Judged { verdict: Verdict::NotReady, why: worse, needs_pairs: None };
    }
    // Where nothing was compared, nothing could be found.
    if scored == 0 {
        return Judged { verdict: Verdict::NotEnoughData, why: vec!["pairs"], needs_pairs: None };
    }
    if open.is_empty() {
        return Judged { verdict: Verdict::Ready, why: open, needs_pairs: None };
    }
    let needs: Option<Vec<f64>> = of(CheckResult::Open).map(|finding| until_decided(pairs, finding)).collect();
    let needs_pairs = needs.map(|needs| two_digits(needs.into_iter().fold(0.0, f64::max)));
    Judged { verdict: Verdict::NotEnoughData, why: open, needs_pairs }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn until_the_minimum(pairs: u64, keys: u64) -> u64 {
    let for_keys = MIN_KEYS.saturating_sub(keys) as f64 * pairs as f64 / keys.max(1) as f64;
    two_digits((MIN_PAIRS.saturating_sub(pairs) as f64).max(for_keys))
}

/// Returns the number of pairs after which the interval is as narrow as the limit, if both sides do not differ; `None`
/// without an observation.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn until_decided(pairs: u64, finding: &Finding) -> Option<f64> {
    let interval = finding.difference?;
    let n = interval.n as f64;
    let half = if interval.mean > finding.limit { interval.mean - interval.low } else { interval.high - interval.mean };
    let spread = ((half - reach() / n) * n.sqrt()).max(0.0);
    let goal = finding.limit.max((finding.limit - interval.mean).abs());
    let root = ((spread * spread + 4.0 * reach() * goal).sqrt() - spread) / (2.0 * reach());
    Some(pairs as f64 / n * (1.0 / (root * root) - n))
}

/// Rounds up to two digits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
pub(super) fn two_digits(number: f64) -> u64 {
    let whole = number.ceil() as u64;
    let mut unit = 1_u64;
    while whole / unit >= 100 {
        unit = unit.saturating_mul(10);
    }
    whole.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::interval::{Scale, mean};

    fn finding(name: &'static str, limit: f64, observations: &[f64]) -> Finding {
        let difference = mean(observations, Scale::Signed);
        Finding { name, result: result(difference.as_ref(), None, limit), limit, difference }
    }

    fn good(n: usize) -> Finding {
        finding("failed", 0.01, &vec![0.0; n])
    }

    #[test]
    fn results_need_a_bound_on_their_side_of_the_limit() {
        let interval = |low, high| Interval { n: 9, mean: 0.0, low, high };
        for (low, high, expected) in [
            (0.0101, 0.2, CheckResult::Worse),
            (0.01, 0.2, CheckResult::Open),
            (-0.2, 0.0101, CheckResult::Open),
            (-0.2, 0.01, CheckResult::Ok),
        ] {
            assert_eq!(result(Some(&interval(low, high)), None, 0.01), expected, "{low} {high}");
        }
        let (open, narrow) = (interval(-0.1, 0.1), interval(0.0, 0.01));
        assert_eq!(result(Some(&open), Some(&narrow), 0.01), CheckResult::Ok);
        assert_eq!(result(None, Some(&open), 0.01), CheckResult::Open);
        assert_eq!(result(Some(&interval(0.02, 0.3)), Some(&narrow), 0.01), CheckResult::Worse);
    }

    #[test]
    fn each_verdict_has_its_reasons() {
        let judged = |pairs, keys, findings: &[Finding]| {
            let judged = row(pairs, pairs, keys, findings);
            (judged.verdict, judged.why, judged.needs_pairs)
        };
        let worse = || finding("refused", 0.01, &[1.0; 60]);
        let open = || finding("cut", 0.01, &[0.0; 60]);
        let blind = Finding { name: "agreement:json", result: CheckResult::Open, limit: 0.05, difference: None };
        assert_eq!(judged(600, 600, &[good(600)]), (Verdict::Ready, vec![], None));
        assert_eq!(judged(600, 600, &[open(), worse()]), (Verdict::NotReady, vec!["refused"], None));
        assert_eq!(judged(60, 29, &[worse()]), (Verdict::NotEnoughData, vec!["pairs", "keys"], Some(140)));
        assert_eq!(judged(1000, 10, &[good(600)]), (Verdict::NotEnoughData, vec!["keys"], Some(2000)));
        assert_eq!(judged(199, 199, &[good(600)]), (Verdict::NotEnoughData, vec!["pairs"], Some(1)));
        let not_yet = judged(200, 30, &[open(), blind]);
        assert_eq!(not_yet, (Verdict::NotEnoughData, vec!["cut", "agreement:json"], None));
        // 60 key-hours of 492.
        assert_eq!(judged(300, 60, &[open()]), (Verdict::NotEnoughData, vec!["cut"], Some(2200)));
        assert_eq!(judged(200, 30, &[]), (Verdict::Ready, vec![], None));
        let blind = row(600, 0, 600, &[good(600)]);
        assert_eq!((blind.verdict, blind.why, blind.needs_pairs), (Verdict::NotEnoughData, vec!["pairs"], None));
        assert_eq!(row(600, 0, 600, &[worse()]).verdict, Verdict::NotReady);
    }

    #[test]
    fn numbers_are_rounded_up_to_two_digits() {
        let cases =
            [(-3.0, 0), (0.0, 0), (0.2, 1), (99.0, 99), (99.1, 100), (101.0, 110), (2161.0, 2200), (9_910.0, 10_000)];
        for (number, expected) in cases {
            assert_eq!(two_digits(number), expected, "{number}");
        }
    }
}
