//! Reads arguments and runs commands. Exit codes: 0 done, 1 failed, 2 arguments or file not valid.
//!
//! Owns: what is printed. Refuses: the work itself; each command calls the room that does it.

mod ask;
mod color;
mod edit;
mod explain;
mod help;
mod history;
mod probe;
mod report;
mod run;
mod shared;
mod status;
mod table;
mod version;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{self, Secrets};
use crate::demo::{Scenario, Wish};
use crate::guard;
use crate::otlp;

use color::Color;
use shared::{Exit, complain, env, load, say};

/// Shifts an application's LLM traffic from OpenAI to Qwen, one percent at a time.
#[derive(Debug, Parser)]
#[command(name = "shiftgate", about, disable_help_subcommand = true, after_help = help::EXIT_CODES)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, env = "SHIFTGATE_CONFIG", default_value = "rollout.toml", value_name = "FILE")]
    config: PathBuf,
    /// Colours of help, usage errors and the log: auto (on a terminal, unless NO_COLOR is set), always or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: Color,
    /// Print the version.
    #[arg(short = 'V', long)]
    version: bool,
    /// With --version: print commit, target, features and TLS library too.
    #[arg(long, requires = "version")]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    #[command(after_long_help = help::RUN)]
    Run,
    /// Describe what the file means, or list every problem in it.
    #[command(after_long_help = help::CHECK)]
    Check {
        /// Do not require the environment variables and files that it names.
        #[arg(long)]
        without_secrets: bool,
        /// Test which features work at each backend; costs a few tokens.
        #[arg(long, conflicts_with = "without_secrets")]
        probe: bool,
        /// Print the test results as JSON, and nothing else.
        #[arg(long, requires = "probe")]
        json: bool,
    },
    /// Show which backend would get a request, and the body that it would get.
    #[command(after_long_help = help::EXPLAIN)]
    Explain(explain::Explain),
    /// Watch simulated traffic being split by this file; needs no key, GPU or network.
    #[command(after_long_help = help::DEMO)]
    Demo {
        /// End after this many seconds and print a summary.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        seconds: Option<u64>,
        /// Number of requests started per second.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        rate: u32,
        /// Percent of the candidates' requests that fail and are answered by the baseline.
        #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
        faults: u8,
        /// Let something happen to the servers, and end with what the guard did and why.
        #[arg(long, value_name = "NAME", conflicts_with = "faults")]
        scenario: Option<Scenario>,
    },
    /// Change one candidate's percent in the file.
    #[command(after_long_help = help::SHIFT, override_usage = help::SHIFT_USAGE)]
    Shift(edit::Shift),
    /// Lift every withdrawal by the guard: add 1 to `resume` in the file.
    #[command(after_long_help = help::RESUME)]
    Resume,
    /// List the generations of the file, and what the guard did in between.
    #[command(after_long_help = help::HISTORY)]
    History(history::Arguments),
    /// Tell from records whether a candidate is as good as the baseline, as fast, and what it costs.
    #[command(after_long_help = help::REPORT)]
    Report(report::Arguments),
    /// Show the state of the running sidecar.
    #[command(after_long_help = help::STATUS)]
    Status(status::Arguments),
    /// Print the JSON Schema of rollout.toml, for editors.
    #[command(after_long_help = help::SCHEMA)]
    Schema,
    /// Print the completions for a shell.
    #[command(after_long_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: CompletionShell,
    },
}

/// A shell whose completions are tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// Values that clap's script for fish leaves out: of a positional argument, and of an option before the command.
const FISH_VALUES: &str = r#"
complete -c shiftgate -n "__fish_shiftgate_using_subcommand completions" -f -a "bash zsh fish"
complete -c shiftgate -n "__fish_prev_arg_in --color" -f -a "auto always never"
"#;

/// The JSON Schema of rollout.toml; `tests/schema` holds it to the reader of the file.
const SCHEMA: &str = include_str!("../../rollout.schema.json");

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let color = Color::of(std::env::args_os().skip(1));
    let parsed = command().color(color.for_clap()).try_get_matches();
    let arguments = match parsed.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are successes; clap knows which stream each belongs to.
            let code = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
            drop(error.print());
            return code;
        }
    };
    if arguments.version {
        return say(&version::text(arguments.verbose)).into();
    }
    let (path, color) = (arguments.config.as_path(), arguments.color);
    let exit = match arguments.command {
        None | Some(Command::Run) => run::run(path, color),
        Some(Command::Check { without_secrets, probe, json }) => check(path, without_secrets, probe.then_some(json)),
        Some(Command::Explain(explain)) => explain.run(path),
        Some(Command::Demo { seconds, rate, faults, scenario }) => {
            let (seconds, faults) = (seconds.map(Duration::from_secs), f64::from(faults) / 100.0);
            run::demo(path, color, Wish { seconds, rate, faults, scenario })
        }
        Some(Command::Shift(arguments)) => arguments.run(path),
        Some(Command::Resume) => edit::resume(path),
        Some(Command::History(arguments)) => history::run(path, &arguments),
        Some(Command::Report(arguments)) => report::run(path, &arguments),
        Some(Command::Status(arguments)) => status::run(path, &arguments),
        Some(Command::Schema) => say(SCHEMA),
        Some(Command::Completions { shell }) => completions(shell),
    };
    exit.into()
}

/// Returns the command line. An empty SHIFTGATE_CONFIG counts as unset, as a compose file passes it for a variable that
/// is not set.
fn command() -> clap::Command {
    let command = Arguments::command();
    if std::env::var_os("SHIFTGATE_CONFIG").is_some_and(|path| path.is_empty()) {
        return command.mut_arg("config", |argument| argument.env(Resettable::Reset));
    }
    command
}

fn completions(shell: CompletionShell) -> Exit {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    // The generator panics where it cannot write; a closed pipe is not a failure.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "shiftgate", &mut script);
    if matches!(shell, Shell::Fish) {
        script.extend_from_slice(FISH_VALUES.as_bytes());
    }
    say(&String::from_utf8_lossy(&script))
}

/// `probe` is `None` without `--probe`; otherwise true if the results are printed as JSON, and nothing else.
fn check(path: &Path, without_secrets: bool, probe: Option<bool>) -> Exit {
    let secrets = if without_secrets { Secrets::Skip } else { Secrets::Required };
    let config = match load(path, secrets) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let described = if probe == Some(true) {
        Exit::Done
    } else {
        say(&format!("{}{}", config::describe(&config), guard::table(&config)))
    };
    let telemetry = otlp::warnings(&config.telemetry, &env);
    for warning in config::warnings(&config, &env).into_iter().chain(telemetry) {
        complain(&format!("warning: {warning}"));
    }
    match probe {
        Some(json) if described == Exit::Done => probe::run(&config, json),
        _ => described,
    }
}
