//! Asks a running sidecar's admin port for its status and prints it as a table: the command `status`.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::ask::{address, ask};
use super::shared::{Exit, complain, load, say};
use super::table;
use crate::admin::status::Status;
use crate::config::Secrets;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address of the admin port; by default `admin` of the file's `[server]`.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Print the JSON of /status unchanged.
    #[arg(long)]
    json: bool,
    /// Repeat every second.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(path: &Path, arguments: &Arguments) -> Exit {
    let address = match &arguments.admin {
        Some(text) => match address(text) {
            Ok(address) => address,
            Err(exit) => return exit,
        },
        None => match load(path, Secrets::Skip) {
            Ok(config) => config.server.admin,
            Err(exit) => return exit,
        },
    };
    loop {
        let shown = ask(address, "/status").and_then(|json| {
            if arguments.json {
                return Ok(json);
            }
            let status: Status =
                serde_json::from_str(&json).map_err(|error| format!("its answer is not a status: {error}"))?;
            Ok(table::render(&status))
        });
        let exit = match shown {
            Ok(text) => say(&text),
            Err(cause) => {
                complain(&format!(
                    "no status from http://{address}: {cause}. Is shiftgate running, and is this its admin port?"
                ));
                Exit::Failed
            }
        };
        if !arguments.watch || exit != Exit::Done {
            return exit;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
