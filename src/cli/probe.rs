//! Tests which features work at the file's backends and prints the results: `check --probe`.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use super::shared::{Exit, complain, say};
use crate::backend::Target;
use crate::config::Config;
use crate::fleet::probe::{self, Asked, Report};
use crate::model::BackendId;
use crate::outcome::Role;

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
    let text = if json { as_json(&reports) } else { Ok(as_table(&reports)) };
    match text {
        Ok(text) => say(&text),
        Err(error) => {
            complain(&error.to_string());
            return Exit::Failed;
        }
    }
    let all_answered = reports.iter().all(|report| !matches!(report.asked, Asked::NoAnswer(_)));
    if all_answered { Exit::Done } else { Exit::Failed }
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

fn as_json(reports: &[Report]) -> serde_json::Result<String> {
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
    });
    serde_json::to_string(&Probed { backends: backends.collect() })
}

fn as_table(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        match write_report(&mut text, report) {
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
