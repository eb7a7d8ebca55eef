//! Bills: what the baseline costs at today's rate, what the candidate's GPUs cost, and where both meet.

use std::collections::BTreeMap;

use super::figures::Figured;
use super::round::figure;
use super::shape::{BreakEven, Money};
use super::totals::{Group, by_candidate};
use super::traffic::{BackendTraffic, Minutes, RouteTraffic, Traffic};
use crate::config::{Config, Price};

/// Days of a month.
const MONTH: f64 = 365.0 / 12.0;
/// Hours of a month.
const MONTH_HOURS: f64 = 730.0;

/// Price of the GPUs of backends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuPrices(BTreeMap<String, f64>);

impl GpuPrices {
    /// Reads the prices of a file.
    pub fn of(config: &Config) -> Self {
        let price = |price: &Option<Price>| match price {
            Some(Price::Gpu { gpu_hour, gpus, .. }) => Some(gpu_hour * gpus),
            Some(Price::Tokens(_)) | None => None,
        };
        let prices = config.backends.iter().filter_map(|backend| Some((backend.name.clone(), price(&backend.price)?)));
        Self(prices.collect())
    }

    /// Returns the USD a month of a backend's GPUs.
    fn per_month(&self, backend: &str) -> Option<f64> {
        self.0.get(backend).map(|per_hour| per_hour * MONTH_HOURS)
    }
}

/// Returns the bill of each candidate.
pub(super) fn money(rows: &[Figured], traffic: &Traffic, prices: &GpuPrices) -> Vec<Money> {
    by_candidate(rows).iter().map(|group| bill(group, traffic, prices)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn bill(group: &Group<'_>, traffic: &Traffic, prices: &GpuPrices) -> Money {
    let (mut baseline, mut candidate) = (BackendTraffic::default(), BackendTraffic::default());
    let mut minutes = Minutes::default();
    let mut chosen = 0_u64;
    for (_, route, left, right) in group.routes(traffic) {
        baseline.join(left);
        candidate.join(right);
        minutes.join(&route.minutes);
        chosen = chosen.saturating_add(RouteTraffic::chosen(route));
    }
    let days = minutes.hours() / 24.0;
    let a_day = |requests: u64| Some(requests as f64 / days).filter(|rate| rate.is_finite());
    let price = |of: &BackendTraffic| (of.priced > 0).then(|| of.usd() / of.priced as f64);
    let (ours, theirs) = (price(&baseline), price(&candidate).or_else(|| price_of_rows(group)));
    let a_month = |rate: Option<f64>| Some(rate? * MONTH * ours?);
    let gpus = prices.per_month(group.candidate);
    let even = gpus.zip(ours.filter(|price| *price > 0.0)).map(|(gpus, price)| gpus / MONTH / price);
    let per_1000 = |price: Option<f64>| figure(price? * 1000.0);
    Money {
        candidate: group.candidate.to_owned(),
        requests_per_day: a_day(chosen).and_then(figure),
        baseline_usd_per_1000: per_1000(ours),
        candidate_usd_per_1000: per_1000(theirs),
        baseline_usd_per_month: a_month(a_day(baseline.served)).and_then(figure),
        all_baseline_usd_per_month: a_month(a_day(chosen)).and_then(figure),
        gpus_usd_per_month: gpus.and_then(figure),
        break_even: even.and_then(figure).map(|requests_per_day| BreakEven {
            requests_per_day,
            percent: even.zip(a_day(chosen)).and_then(|(even, rate)| figure(100.0 * even / rate)),
        }),
    }
}

/// Returns the USD for one answer of the candidate by its current rows.
#[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep every decimal")]
fn price_of_rows(group: &Group<'_>) -> Option<f64> {
    let n: u64 = group.rows.iter().map(|(_, one)| one.row.cost.n).sum();
    let sum: u128 = group.rows.iter().map(|(_, one)| one.candidate_cost).sum();
    (n > 0).then(|| sum as f64 / 1e9 / n as f64)
}
