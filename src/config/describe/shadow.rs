//! Describes copies of requests and records: whose prompts go where, the load, the budget, and the file.

use std::fmt::{Result, Write as _};

use super::super::copies::{Copies, unpriced};
use super::super::types::{Config, Records, Residency, Route, Shadow};
use crate::model::{BackendId, Percent};

/// Duration, in seconds, of an answer in the description of `max_in_flight`: a usual one of a few hundred tokens.
const USUAL_ANSWER: f64 = 8.0;

/// Writes the paragraph about copies and records.
pub(super) fn write(text: &mut String, config: &Config) -> Result {
    match &config.shadow {
        Some(shadow) => copies(text, config, shadow)?,
        None => writeln!(text, "\nshadows: none, no request is copied")?,
    }
    let kept = match (&config.records, &config.shadow) {
        (None, None) => "none".to_owned(),
        (None, Some(_)) => "none: pairs are counted and traced, but not kept (there is no [records])".to_owned(),
        (Some(records), shadow) => kept(records, shadow.is_some()),
    };
    writeln!(text, "records: {kept}")
}

fn copies(text: &mut String, config: &Config, shadow: &Shadow) -> Result {
    writeln!(text, "\nshadows: copies of requests, whose answers are compared and never served")?;
    for route in &config.routes {
        if config.shadow_percent(route) == Percent::ZERO {
            writeln!(text, "  prompts of {} are not copied", route.name)?;
            continue;
        }
        for to in &shadow.to {
            receiver(text, config, route, *to)?;
        }
    }
    for rule in &config.residency {
        writeln!(text, "  {}", restricted(config, shadow, rule))?;
    }
    let on =
        if config.server.allow_override { "; with \"on\" it is, except on routes with shadow = false" } else { "" };
    writeln!(text, "  a request with the header x-shiftgate-shadow: off is not copied{on}")?;
    let baseline = &config[config.baseline].name;
    let is_compared = shadow.to.iter().any(|to| *to != config.baseline);
    if shadow.noise_percent > Percent::ZERO && is_compared {
        writeln!(
            text,
            "  noise: {} % of copied requests that {baseline} served are sent to it a second time",
            shortest(shadow.noise_percent.as_f64())
        )?;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 1,000,000")]
    let per_second = shadow.max_in_flight as f64 / USUAL_ANSWER;
    writeln!(
        text,
        "  limit: {} at once, which is {} a second when an answer takes {USUAL_ANSWER} s; more are not sent",
        shadow.max_in_flight,
        rounded(per_second)
    )?;
    writeln!(text, "  budget: {}", budget(config, shadow))
}

/// Describes the copies of one route for one receiver; those towards the baseline in capitals.
fn receiver(text: &mut String, config: &Config, route: &Route, to: BackendId) -> Result {
    let copies = Copies::of(config, route, to);
    let is_back = to == config.baseline;
    let (name, receiver) = (&route.name, &config[to]);
    let source = if is_back { "candidates" } else { &config[config.baseline].name };
    if copies.source == Percent::ZERO {
        return writeln!(
            text,
            "  prompts of {name} are not copied to {}, because {source} serve{} none of them",
            receiver.name,
            if is_back { "" } else { "s" }
        );
    }
    let [all, percent, own] = [copies.source, copies.percent, copies.own].map(|one| shortest(one.as_f64()));
    let (url, to) = (&receiver.url, &receiver.name);
    if is_back {
        writeln!(
            text,
            "  PROMPTS OF {name} ({all} %, SERVED BY CANDIDATES) ALSO GO BACK TO {url} ({to}), {percent} % OF THEM: \
             WHAT WAS MOVED AWAY FROM {to} IS SENT THERE AGAIN"
        )?;
    } else {
        writeln!(
            text,
            "  prompts of {name} ({all} %, served by {source}) also go to {url} ({to}), {percent} % of them"
        )?;
    }
    let load = match copies.per_served() {
        Some(1.0) => format!("as much as {own} % serves"),
        Some(times) => format!("{} times what {own} % serves", rounded(times)),
        None => format!("{to} serves none of {name} itself"),
    };
    writeln!(text, "    load: {percent} % of {all} %: {load}")
}

/// Describes where copies of restricted requests may go.
fn restricted(config: &Config, shadow: &Shadow, rule: &Residency) -> String {
    let receivers = shadow.to.iter().map(|id| &config[*id]);
    let allowed: Vec<&str> =
        receivers.filter(|backend| rule.allows(&backend.tags)).map(|backend| backend.name.as_str()).collect();
    match allowed.as_slice() {
        [] => format!("requests of residency rule {} are not copied: it allows none of the receivers", rule.name),
        allowed => format!("requests of residency rule {} are copied only to {}", rule.name, allowed.join(", ")),
    }
}

fn budget(config: &Config, shadow: &Shadow) -> String {
    let usd = shortest(shadow.budget_usd_per_hour);
    let unpriced: Vec<&str> = unpriced(config).into_iter().map(|backend| backend.name.as_str()).collect();
    match unpriced.as_slice() {
        [] => format!("{usd} USD per hour"),
        names => format!(
            "{usd} USD per hour, which does not bind for {}: without a known price the cost is unknown",
            names.join(", ")
        ),
    }
}

fn kept(records: &Records, has_pairs: bool) -> String {
    let lines = if has_pairs { "a line for each pair and the counts" } else { "the counts" };
    let content = match (has_pairs, records.content) {
        (false, _) => "",
        (true, false) => ", without prompts and answers",
        (true, true) => ", WITH PROMPTS AND ANSWERS (content = true)",
    };
    let (path, keep) = (records.path.display(), records.keep);
    format!("{lines} of each minute are written to {path}{content}; {} and {keep} older files are kept", size(records))
}

/// Prints the size at which a file is full.
fn size(records: &Records) -> String {
    let bytes = records.max_size;
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = units.into_iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift));
    exact.map_or_else(|| format!("{bytes} B"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

/// Prints a number without trailing zeros: `95`, `2.5`.
fn shortest(number: f64) -> String {
    format!("{number}")
}

/// Prints two figures that matter: `19`, `1.9`, `0.05`.
fn rounded(number: f64) -> String {
    match number {
        n if n >= 10.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.1}").trim_end_matches(".0").to_owned(),
        n if n >= 0.01 => format!("{n:.2}").trim_end_matches('0').to_owned(),
        _ => "less than 0.01".to_owned(),
    }
}
