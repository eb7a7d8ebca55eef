//! Tests which features work at the file's backends and prints the results: `check --probe`.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;
use tokio::task::JoinSet;

use super::shared::{Exit, complain, say};
use crate::admin::status::{EndView, end};
use crate::backend::{ModelEnd, Target, day_of};
use crate::config::Config;
use crate::fleet::probe::{self, Asked, Report};
use crate::model::BackendId;
use crate::outcome::Role;
use crate::report::ends_in;

#[derive(Debug, Serialize)]
struct Probed<'a> {
    backends: Vec<BackendView<'a>>,
}

#[derive(Debug, Serialize)]
struct BackendView<'a> {
    name: &'a str,
    engine: &'static str,
    asked: bool,
    /// Reason why the backend was not asked or did not answer.
    note: Option<&'a str>,
    features: Vec<FeatureView<'a>>,
    /// Models that end and that the file names.
    ends: Vec<EndView>,
}

#[derive(Debug, Serialize)]
struct FeatureView<'a> {
    feature: &'static str,
    verdict: &'static str,
    detail: &'a str,
    hint: Option<&'static str>,
}

/// Probes every backend; succeeds if each answered, whether or not its features work.
pub(super) fn run(config: &Config, json: bool) -> Exit {
    let targets = config.backends.iter().map(|backend| Target::prepare(backend, None, Arc::default()).map(Arc::new));
    let targets = match targets.collect::<Result<Vec<_>, _>>() {
        Ok(targets) => targets,
        Err(error) => {
            complain(&format!("{}: {error}", config.path.display()));
            return Exit::Refused;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the backends cannot be asked: {error}"));
            return Exit::Failed;
        }
    };
    let reports = runtime.block_on(ask_all(targets, config.baseline));
    let today = day_of(jiff::Timestamp::now());
    let text = if json { as_json(config, &reports, today) } else { Ok(as_table(config, &reports, today)) };
    let exit = match text {
        Ok(text) => say(&text),
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    };
    let all_answered = reports.iter().all(|report| !matches!(report.asked, Asked::NoAnswer(_)));
    if all_answered { exit } else { Exit::Failed }
}

/// Probes the backends concurrently; returns the reports in the file's order.
async fn ask_all(targets: Vec<Arc<Target>>, baseline: BackendId) -> Vec<Report> {
    let mut asked = JoinSet::new();
    for (place, target) in targets.into_iter().enumerate() {
        asked.spawn(async move {
            let role = if BackendId::new(place) == baseline { Role::Baseline } else { Role::Candidate };
            (place, probe::probe(&target, role).await)
        });
    }
    let mut reports = asked.join_all().await;
    reports.sort_by_key(|(place, _)| *place);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn note(report: &Report) -> Option<&str> {
    match &report.asked {
        Asked::Yes => None,
        Asked::No(why) | Asked::NoAnswer(why) => Some(why),
    }
}

fn as_json(config: &Config, reports: &[Report], today: Date) -> serde_json::Result<String> {
    let backends = reports.iter().map(|report| BackendView {
        name: &report.backend,
        engine: report.engine.as_str(),
        asked: report.asked == Asked::Yes,
        note: note(report),
        features: report
            .rows
            .iter()
            .map(|row| FeatureView {
                feature: row.feature.as_str(),
                verdict: row.verdict.as_str(),
                detail: &row.detail,
                hint: row.hint,
            })
            .collect(),
        ends: named(config, report).map(|one| end(one, today)).collect(),
    });
    serde_json::to_string(&Probed { backends: backends.collect() })
}

/// Models of the report that the file names.
fn named<'a>(config: &'a Config, report: &'a Report) -> impl Iterator<Item = &'a ModelEnd> {
    let backend = config.backends.iter().find(|backend| backend.name == report.backend);
    let is_named = move |end: &&ModelEnd| backend.is_some_and(|backend| config.names_model(backend, &end.model));
    report.ends.iter().filter(is_named)
}

fn as_table(config: &Config, reports: &[Report], today: Date) -> String {
    let mut text = String::new();
    for report in reports {
        match write_report(&mut text, report).and_then(|()| write_ends(&mut text, config, report, today)) {
            // Writing into a String cannot fail.
            Ok(()) | Err(std::fmt::Error) => {}
        }
    }
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    let state = match &report.asked {
        Asked::Yes => String::new(),
        Asked::No(why) => format!(": not asked: {why}"),
        Asked::NoAnswer(why) => format!(": no answer: {why}"),
    };
    writeln!(text, "\n{} ({}){state}", report.backend, report.engine.as_str())?;
    for row in &report.rows {
        let hint = row.hint.map(|hint| format!("  -> {hint}")).unwrap_or_default();
        let line = format!("  {:<20} {:<11} {}{hint}", row.feature.as_str(), row.verdict.as_str(), row.detail);
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes the models that end: those that the file names, and how many others.
fn write_ends(text: &mut String, config: &Config, report: &Report, today: Date) -> std::fmt::Result {
    for one in named(config, report) {
        writeln!(text, "  {} {}, on {}", one.model, ends_in(one.days(today)), one.date)?;
    }
    let mut others = report.ends.iter().filter(|one| !named(config, report).any(|named| named == *one));
    let Some(first) = others.next() else { return Ok(()) };
    let date = first.date;
    match others.count() {
        0 => {
            writeln!(text, "  {}, which the file does not name, {}, on {date}", first.model, ends_in(first.days(today)))
        }
        more => writeln!(
            text,
            "  {} models that the file does not name end too; the first is {}, which {}, on {date}",
            more + 1,
            first.model,
            ends_in(first.days(today))
        ),
    }
}
