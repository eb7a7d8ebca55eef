//! Metrics of shadows: copies, pairs, agreement, cost.

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::View;
use crate::stats::Spent;
use crate::telemetry::names;

pub(super) fn families(view: &View) -> Vec<Family> {
    let shadow = &view.stats.shadow;
    let (mut copies, mut pairs, mut agreement, mut floor) = (vec![], vec![], vec![], vec![]);
    let (mut input, mut output, mut costs) = (vec![], vec![], vec![]);
    for ((route, backend), stats) in shadow.pairings() {
        let labels = |name: &'static str, word: &str| {
            vec![("route", route.clone()), ("backend", backend.clone()), (name, word.to_owned())]
        };
        copies.extend(stats.copies().map(|(result, count)| (labels("outcome", result), Value::Counter(count))));
        pairs.extend(stats.pairs().map(|(result, count)| (labels("result", result), Value::Counter(count))));
        for (kind, one) in stats.agreement() {
            agreement.push((labels("kind", kind), Value::Histogram(one.agreement())));
            floor.push((labels("kind", kind), Value::Histogram(one.floor())));
        }
        spent(&stats.spent, &labels("leg", "shadow"), [&mut input, &mut output, &mut costs]);
    }
    let mut noise = vec![];
    for (route, stats) in shadow.noises() {
        let labels = |result: &str| vec![("route", route.clone()), ("outcome", result.to_owned())];
        noise.extend(stats.legs().map(|(result, count)| (labels(result), Value::Counter(count))));
        let labels = [("route", route.clone()), ("backend", view.baseline.clone()), ("leg", "noise".to_owned())];
        spent(&stats.spent, &labels, [&mut input, &mut output, &mut costs]);
    }
    let left: Vec<(Labels, Value)> =
        view.budget_left.map(|left| (Vec::new(), Value::Gauge(left))).into_iter().collect();
    vec![
        Family::new(names::SHADOW_REQUESTS, copies),
        Family::new(names::NOISE_REQUESTS, noise),
        Family::new(names::PAIRS, pairs),
        Family::new(names::AGREEMENT, agreement),
        Family::new(names::AGREEMENT_FLOOR, floor),
        Family::new(names::COPIES_TOKENS_INPUT, input),
        Family::new(names::COPIES_TOKENS_OUTPUT, output),
        Family::new(names::COPIES_COST, costs),
        Family::new(names::SHADOW_BUDGET, left),
        Family::one(names::SHADOW_IN_FLIGHT, gauge(shadow.in_flight.get())),
        Family::one(names::SHADOW_BYTES, gauge(shadow.bytes.get())),
    ]
}

/// Adds the series of tokens and cost of one kind of leg.
fn spent(spent: &Spent, labels: &[(&'static str, String)], [input, output, costs]: [&mut Vec<(Labels, Value)>; 3]) {
    input.push((labels.to_vec(), Value::Counter(spent.input_tokens.get())));
    output.push((labels.to_vec(), Value::Counter(spent.output_tokens.get())));
    costs.push((labels.to_vec(), usd(spent.nano_usd.get())));
}

#[expect(clippy::cast_precision_loss, reason = "sums of money are far below 2^52 billionths")]
fn usd(nano: u64) -> Value {
    Value::Sum(nano as f64 / 1e9)
}
