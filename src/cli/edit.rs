//! The commands that change the file: `shift`, `shift --undo` and `resume`.

use std::path::Path;

use clap::Args;

use super::ask::ask;
use super::shared::{Exit, complain, env, say};
use crate::admin::status::Status;
use crate::config::{self, EditError, Secrets, Shifted};
use crate::model::Percent;
use crate::report::visible;

#[derive(Debug, Args)]
pub(super) struct Shift {
    /// Name of the candidate.
    #[arg(required_unless_present = "undo")]
    backend: Option<String>,
    /// New percent: 0 to 100, at most two decimals.
    #[arg(required_unless_present = "undo", allow_negative_numbers = true)]
    percent: Option<f64>,
    /// Change the route of this name instead of `[rollout]`.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Take back the last change that `shift` made, if nobody has edited the file since.
    #[arg(long, conflicts_with_all = ["backend", "percent", "route"])]
    undo: bool,
}

impl Shift {
    /// Changes the percent, or takes the last change back.
    pub(super) fn run(&self, path: &Path) -> Exit {
        let (Some(backend), Some(percent)) = (&self.backend, self.percent) else {
            return told(config::undo(path, &env), |done| format!("undone: {}", line(done)));
        };
        let percent = match Percent::try_from(percent) {
            Ok(percent) => percent,
            Err(error) => {
                complain(&format!("{percent} {error}: give a number from 0 to 100 with at most two decimals"));
                return Exit::Refused;
            }
        };
        let exit = told(config::shift(path, backend, percent, self.route.as_deref(), &env), line);
        if exit == Exit::Done && percent > Percent::ZERO {
            warn_of_a_withdrawal(path, backend);
        }
        exit
    }
}

/// Says it if the percent has no effect, because the guard of the running process has withdrawn the candidate.
fn warn_of_a_withdrawal(path: &Path, backend: &str) {
    let Ok(config) = config::load(path, Secrets::Skip, &env) else { return };
    if config.guard.is_none() {
        return;
    }
    // Without a running process nothing is withdrawn that it could say.
    let status = ask(config.server.admin, "/status").ok().and_then(|json| serde_json::from_str::<Status>(&json).ok());
    let found = status.as_ref().and_then(|status| status.backends.iter().find(|one| one.name == backend));
    if let Some(guard) = found.and_then(|found| found.guard.as_ref()).filter(|guard| guard.state != "watching") {
        let (state, since) = (guard.state.replace('_', " "), &guard.since);
        let why = guard.why.as_deref().unwrap_or("-");
        complain(&format!(
            "this percent has no effect yet: {backend} has been {state} since {since}: {}; {}",
            visible(why),
            visible(&guard.next)
        ));
    }
}

/// Raises `resume` of `[guard]`.
pub(super) fn resume(path: &Path) -> Exit {
    told(config::resume(path, &env), |done| {
        format!("resume {} -> {}: every withdrawal is lifted once the file is read again", done.before, done.after)
    })
}

fn line(done: &Shifted) -> String {
    format!("{}: {} {} % -> {} %", done.route, done.backend, done.before, done.after)
}

/// Prints the change, or the reason why there is none.
fn told<T>(done: Result<T, EditError>, line: impl Fn(&T) -> String) -> Exit {
    match done {
        Ok(done) => {
            // The file is changed, whoever reads that.
            let _ = say(&line(&done));
            Exit::Done
        }
        Err(error) => {
            complain(&error.to_string());
            if error.is_refusal() { Exit::Refused } else { Exit::Failed }
        }
    }
}
