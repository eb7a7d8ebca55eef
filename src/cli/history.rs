//! Lists the generations of the file and the guard's moves: the command `history`.

use std::io::Read as _;
use std::path::Path;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::ask::{address, ask};
use super::shared::{Exit, complain, load, say};
use crate::config::Secrets;
use crate::guard::{Entry, MOST_BYTES, StateFile};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address of the admin port; by default `admin` of the file's `[server]`, and if nobody answers there, its `state`.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Print the entries as JSON.
    #[arg(long)]
    json: bool,
}

/// The document of `/history`.
#[derive(Debug, Serialize, Deserialize)]
struct History {
    /// Generations and moves, the oldest first.
    history: Vec<Entry>,
}

pub(super) fn run(path: &Path, arguments: &Arguments) -> Exit {
    match find(path, arguments.admin.as_deref()) {
        Ok(history) if arguments.json => match serde_json::to_string(&history) {
            Ok(json) => say(&json),
            Err(error) => failed(&format!("the history has no JSON form: {error}")),
        },
        Ok(history) => say(&table(&history.history)),
        Err(exit) => exit,
    }
}

/// Asks the running process; if nobody answers and `admin` is not given, reads the state file.
fn find(path: &Path, admin: Option<&str>) -> Result<History, Exit> {
    let advice = "Is shiftgate running, and is this its admin port?";
    if let Some(text) = admin {
        let address = address(text)?;
        return running(address)
            .map_err(|cause| failed(&format!("no history from http://{address}: {cause}. {advice}")));
    }
    let server = load(path, Secrets::Skip)?.server;
    let cause = match running(server.admin) {
        Ok(history) => return Ok(history),
        Err(cause) => format!("no history from http://{}: {cause}", server.admin),
    };
    let Some(state) = server.state else {
        let cure = format!("Without `state` of [server] in {}, the history is in the process alone", path.display());
        return Err(failed(&format!("{cause}. {advice} {cure}")));
    };
    let history =
        saved(&state).map_err(|error| failed(&format!("{cause}; and none in {}: {error}", state.display())))?;
    complain(&format!("{cause}; this is that of {}", state.display()));
    Ok(history)
}

fn failed(text: &str) -> Exit {
    complain(text);
    Exit::Failed
}

fn running(address: std::net::SocketAddr) -> Result<History, String> {
    serde_json::from_str(&ask(address, "/history")?).map_err(|error| format!("its answer is not a history: {error}"))
}

/// Reads the history of a state file.
fn saved(path: &Path) -> Result<History, String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let state = StateFile::read(&bytes).map_err(|error| error.to_string())?;
    Ok(History { history: state.history.into() })
}

/// Formats one line for each entry, the newest last.
fn table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no entry yet".to_owned();
    }
    let digits = entries.iter().map(|entry| entry.generation.to_string().len()).max().unwrap_or_default();
    let head = format!("{:24}  {:digits$}  {:16}  {:6}  percents, and what the guard did\n", "at", "", "hash", "cause");
    let lines = entries.iter().map(|entry| {
        let Entry { at, generation, cause, hash, .. } = entry;
        format!("{at:.3}  {generation:>digits$}  {hash}  {:<6}  {}\n", cause.as_str(), told(entry))
    });
    std::iter::once(head).chain(lines).collect()
}

/// Describes a move of the guard, or the percents of a generation.
fn told(entry: &Entry) -> String {
    if let Some(moved) = &entry.moved {
        let (from, to) = (moved.from.as_str(), moved.to.as_str());
        return format!("{}: {from} -> {to}: {}", moved.candidate, moved.why);
    }
    let routes = entry.percents.iter().filter(|(_, candidates)| !candidates.is_empty()).map(|(route, candidates)| {
        let shares: Vec<String> = candidates.iter().map(|(name, percent)| format!("{name} {percent} %")).collect();
        format!("{route}: {}", shares.join(", "))
    });
    let routes: Vec<String> = routes.collect();
    if routes.is_empty() { "no candidate".to_owned() } else { routes.join("; ") }
}
