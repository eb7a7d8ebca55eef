//! The commands that change the file: `shift`, `shift --undo` and `resume`.

use std::path::Path;

use clap::Args;

use super::shared::{Exit, complain, env, say};
use crate::config::{self, EditError, Shifted};
use crate::model::Percent;

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
        told(config::shift(path, backend, percent, self.route.as_deref(), &env), line)
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
