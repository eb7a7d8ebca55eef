//! The words of `check` about the guard: its limits, and how long it takes.

use std::fmt::Write as _;

use super::evidence::Weight;
use super::needs::Outlook;
use super::words::figure;
use crate::config::{Config, Guard, GuardAction, NotifyFormat, Route};
use crate::model::{BackendId, Percent};

/// Failure rate of the first column: an engine that is half broken.
const MANY: f64 = 0.2;
/// Requests of a route in one second.
const SPEEDS: [f64; 3] = [1.0, 10.0, 100.0];
/// Time, in seconds, that a candidate was healthy before it failed often.
const HEALTHY: f64 = 60.0;

/// Describes the guard of a file: limits, action, and how long it takes to see a candidate that fails, for each route
/// and candidate with a share.
pub fn table(config: &Config) -> String {
    let mut text = String::new();
    let Some(guard) = &config.guard else {
        return "guard: none, no candidate is withdrawn\n".to_owned();
    };
    match write(&mut text, config, guard) {
        Ok(()) => text,
        // Writing into a String cannot fail.
        Err(std::fmt::Error) => text,
    }
}

fn write(text: &mut String, config: &Config, guard: &Guard) -> std::fmt::Result {
    let errors = &guard.errors;
    let (floor, ratio, alpha) = (percent(errors.floor), errors.max_ratio, percent(guard.alpha));
    let does = match guard.action {
        GuardAction::Rollback => "withdrawn",
        GuardAction::Alert => "reported, and not withdrawn,",
    };
    let baseline = &config[config.baseline].name;
    writeln!(
        text,
        "guard: a candidate is {does} if it fails more than {floor} % of its requests and more than {ratio} times as \
         often as {baseline}"
    )?;
    writeln!(text, "  one that keeps either limit is {does} with a chance of at most {alpha} %")?;
    let age = errors.overdue.as_secs_f64();
    writeln!(text, "  nothing generated after {age} s is a failure; unstreamed, no answer after {} s", age * 10.0)?;
    for route in &config.routes {
        if let Some(age) = route.overdue.map(|age| age.as_secs_f64()) {
            writeln!(text, "  {}: after {age} s; unstreamed, after {} s", route.name, age * 10.0)?;
        }
    }
    match &config.server.state {
        Some(path) => writeln!(text, "  a withdrawal survives a restart: {}", path.display())?,
        None => writeln!(text, "  a withdrawal does not survive a restart: server.state is not given")?,
    }
    if let Some(notify) = &guard.notify {
        let form = match notify.format {
            NotifyFormat::Json => "JSON",
            NotifyFormat::Slack => "text for Slack",
        };
        writeln!(text, "  it is told to a webhook, as {form}")?;
    }
    writeln!(text, "  how long it takes, about, where {baseline} fails in {floor} % of its requests:")?;
    for route in &config.routes {
        for (candidate, own) in route.percent.iter().filter(|(_, own)| *own > Percent::ZERO) {
            row(text, config, guard, (route, *candidate, *own))?;
        }
    }
    Ok(())
}

/// Writes the times of one candidate on one route.
fn row(
    text: &mut String,
    config: &Config,
    guard: &Guard,
    (route, candidate, own): (&Route, BackendId, Percent),
) -> std::fmt::Result {
    let left = route.left();
    let name = &config[candidate].name;
    let weight = Weight::of(own, left);
    let alone = if weight.is_none() { ", with the floor alone because the baseline has no share" } else { "" };
    writeln!(text, "    {}: {name} at {} %{alone}", route.name, own.as_f64())?;
    let share = (own.as_f64() + left.as_f64()) / 100.0;
    let doubled = (2.0 * guard.errors.floor).min(1.0);
    for (rate, healthy, words) in [(MANY, HEALTHY, "fails"), (doubled, 0.0, "fails twice as often, in")] {
        let times = SPEEDS.map(|speed| {
            let seconds = seconds(guard, weight, share, (rate, healthy, speed));
            format!("{} at {speed}/s", seconds.map_or_else(|| "never".to_owned(), span))
        });
        writeln!(text, "      {words} {} %: {}", percent(rate), times.join(", "))?;
    }
    Ok(())
}

/// Estimates the time, in seconds, until it is seen that a candidate fails at `rate`, after `healthy` seconds.
fn seconds(guard: &Guard, weight: Option<Weight>, share: f64, (rate, healthy, speed): (f64, f64, f64)) -> Option<f64> {
    let errors = guard.errors;
    let weight = weight.map_or(1.0, Weight::get);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let counted = (healthy * speed * share * (1.0 - weight) * errors.floor) as u64;
    let (baseline_rate, alpha) = (errors.floor, guard.alpha);
    let outlook = Outlook { errors, alpha, weight, baseline_rate, candidate_rate: rate, counted };
    outlook.requests().map(|requests| requests / (speed * share))
}

/// Formats a share of 1 in percent.
fn percent(rate: f64) -> String {
    let hundredths = (rate * 1e6).round() / 1e4;
    if hundredths > 0.0 { format!("{hundredths}") } else { figure(rate * 100.0) }
}

/// Formats a time with its unit: `45 s`, `3 min`, `9.6 h`, `4 days`.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".to_owned(),
        s if s < 120.0 => format!("{} s", figure(s)),
        s if s < 7_200.0 => format!("{} min", figure(s / 60.0)),
        s if s < 172_800.0 => format!("{} h", figure(s / 3_600.0)),
        s if s < 86_400.0 * 3_650.0 => format!("{} days", figure(s / 86_400.0)),
        _ => "years".to_owned(),
    }
}
