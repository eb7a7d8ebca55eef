//! Formats `/status` as a table: for each route the shares asked and got, for each backend its results.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::admin::status::{FleetView, Status};
use crate::admin::{AgreementStatus, CopiesStatus, ShadowStatus};
use crate::model::PairResult;
use crate::report::{ends_in, visible};

/// Renders plain text, one row for each route and backend.
pub(crate) fn render(status: &Status) -> String {
    let mut text = String::new();
    match write_all(&mut text, status) {
        Ok(()) => text,
        // Writing into a String cannot fail.
        Err(std::fmt::Error) => text,
    }
}

fn write_all(text: &mut String, status: &Status) -> std::fmt::Result {
    let draining = if status.draining { ", draining" } else { "" };
    writeln!(
        text,
        "shiftgate {} on {}  generation {} ({})  up {:.0} s{draining}",
        status.version, status.listen, status.generation, status.hash, status.uptime_s
    )?;
    if let Some(error) = &status.reload_error {
        writeln!(text, "the file on disk has been refused since {}: {}", error.at, error.message)?;
    }
    if !status.restart_needed.is_empty() {
        writeln!(text, "changed in [server], but needs a restart: {}", status.restart_needed.join(", "))?;
    }
    for route in &status.routes {
        let shares: Vec<String> = route
            .percent
            .iter()
            .map(|(backend, asked)| {
                let got = route
                    .got
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |got| format!("{:.2}", got.get(backend).copied().unwrap_or(0.0)));
                format!("{backend} asked {asked:.2} got {got}")
            })
            .collect();
        let requests: u64 = route.requests.values().sum();
        let pinned: u64 = route.pinned.values().sum();
        writeln!(text, "route {}: {}  ({requests} split, {pinned} pinned)", route.name, shares.join(", "))?;
    }
    writeln!(
        text,
        "{:<18} {:>9} {:>9} {:>7} {:>9} {:>16} {:>18} {:>11} {:>9}",
        "backend",
        "attempts",
        "served",
        "errors",
        "in flight",
        "ttft p50/p99 ms",
        "total p50/p99 ms",
        "tokens out",
        "cost USD"
    )?;
    for one in &status.backends {
        let pair = |quantiles: &crate::admin::status::Quantiles| {
            let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
            format!("{}/{}", shown(quantiles.p50), shown(quantiles.p99))
        };
        writeln!(
            text,
            "{:<18} {:>9} {:>9} {:>7} {:>9} {:>16} {:>18} {:>11} {:>9}",
            one.name,
            one.attempts,
            one.served,
            one.errors,
            one.in_flight,
            pair(&one.ttft_ms),
            pair(&one.total_ms),
            one.tokens.output,
            one.cost_usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.4}"))
        )?;
    }
    write_guards(text, status)?;
    if let Some(shadow) = &status.shadow {
        write_shadow(text, shadow)?;
    }
    for one in &status.backends {
        for end in one.ends.iter().flatten() {
            writeln!(text, "{} at {} {}, on {}", end.model, one.name, ends_in(end.days), end.ends)?;
        }
    }
    for one in &status.backends {
        if let Some(fleet) = &one.fleet {
            write_fleet(text, &one.name, fleet, one.prefix_hit_rate)?;
        }
    }
    Ok(())
}

/// Writes state, verdict and next step of each guard, what applications signalled, and the trouble with the state file.
fn write_guards(text: &mut String, status: &Status) -> std::fmt::Result {
    for one in &status.backends {
        let Some(guard) = &one.guard else { continue };
        let state = guard.state.replace('_', " ");
        writeln!(text, "guard of {}: {state}, {}; {}", one.name, guard.verdict, visible(&guard.next))?;
        if let Some(why) = guard.why.as_ref().filter(|_| guard.state != "watching") {
            writeln!(text, "  since {}: {}", guard.since, visible(why))?;
        }
    }
    for route in &status.routes {
        let signals = route.signals.iter().filter(|(_, signals)| signals.abort + signals.retry > 0);
        let signals: Vec<String> =
            signals.map(|(backend, one)| format!("{backend} {} left, {} retried", one.abort, one.retry)).collect();
        if !signals.is_empty() {
            writeln!(text, "signals of {}: {}", route.name, signals.join(", "))?;
        }
    }
    if let Some(error) = status.state.as_ref().and_then(|state| Some((&state.path, state.error.as_ref()?))) {
        writeln!(text, "the state file {} is not used, so that a restart forgets withdrawals: {}", error.0, error.1)?;
    }
    Ok(())
}

/// Writes pairs, agreement and cost of copies; routes without a copy are left out.
fn write_shadow(text: &mut String, shadow: &ShadowStatus) -> std::fmt::Result {
    let chosen = |one: &&CopiesStatus| one.requests.values().any(|count| *count > 0);
    for one in shadow.copies.iter().filter(chosen) {
        let compared = one.pairs.get(PairResult::Compared.as_str()).copied().unwrap_or(0);
        let pairs: u64 = one.pairs.values().sum();
        let cost = one.cost_usd.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.4}"));
        writeln!(
            text,
            "copies of {} to {}: {pairs} pairs, {compared} compared, {} dropped, agreement {}, cost USD {cost}",
            one.route,
            one.backend,
            one.dropped,
            agreement(&one.agreement)
        )?;
    }
    for one in &shadow.verdicts {
        writeln!(text, "verdict on {} for {}: {}", one.candidate, one.route, visible(&one.says))?;
    }
    Ok(())
}

/// Returns the mean agreement of each kind, with the baseline's agreement with itself: `text 0.44 (itself 0.58)`.
pub(crate) fn agreement(kinds: &BTreeMap<String, AgreementStatus>) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let one = |(kind, one): (&String, &AgreementStatus)| {
        let floor = one.floor.map(|floor| format!(" (itself {floor:.2})")).unwrap_or_default();
        format!("{kind} {}{floor}", number(one.mean))
    };
    let all: Vec<String> = kinds.iter().map(one).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// Writes the load of a backend's servers; unknown values are shown as `-`.
fn write_fleet(text: &mut String, name: &str, fleet: &FleetView, hit_rate: Option<f64>) -> std::fmt::Result {
    let count = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let speed = fleet.tokens_per_second.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0}"));
    let overloaded = if fleet.overloaded { ", overloaded: its requests go to the baseline" } else { "" };
    let error = fleet.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    writeln!(
        text,
        "servers of {name}: waiting {}, running {}, KV cache {}, prefix hits {}, {speed} tokens/s, GPUs {}{overloaded}{error}",
        count(fleet.waiting),
        count(fleet.running),
        percent(fleet.kv_usage),
        percent(hit_rate),
        percent(fleet.gpu_utilization)
    )
}
