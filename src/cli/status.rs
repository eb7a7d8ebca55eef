//! Asks a running sidecar's admin port for its status and prints it as a table: the command `status`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::ask::{address, ask};
use super::shared::{Exit, complain, env, say};
use super::table;
use crate::admin::status::Status;
use crate::config::AdminPort;

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
    let asked = match &arguments.admin {
        Some(text) => match address(text) {
            Ok(address) => Asked { address, by_file: None },
            Err(exit) => return exit,
        },
        None => Asked::of_file(path),
    };
    loop {
        let shown = asked.answer(AdminPort::DEFAULT).and_then(|json| {
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
                    "no status from http://{}: {cause}. Is shiftgate running, and is this its admin port?{}",
                    asked.address,
                    asked.hint()
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

/// The sidecar that is asked.
struct Asked {
    address: SocketAddr,
    /// The file's port; `None` if `--admin` names the address.
    by_file: Option<AdminPort>,
}

impl Asked {
    /// Takes the file's address. A running sidecar serves also when its file is refused or gone, so this is no reason
    /// not to ask.
    fn of_file(path: &Path) -> Self {
        let port = AdminPort::of(path, &env);
        if let Some(refused) = &port.refused {
            let source = if port.is_named { "the file's admin" } else { "the default" };
            complain(&format!("warning: {refused}; asking {}, {source}", port.address));
        }
        Self { address: port.address, by_file: Some(port) }
    }

    /// Returns the status as JSON. A changed `admin` waits for a restart: until then the sidecar may answer at `default`,
    /// and says that it waits.
    fn answer(&self, default: SocketAddr) -> Result<String, String> {
        let cause = match ask(self.address, "/status") {
            Err(cause) => cause,
            answered => return answered,
        };
        if let Some(port) = self.by_file.as_ref().filter(|port| port.address != default)
            && let Ok(json) = ask(default, "/status")
            && waits_for_restart(&json, port.refused.is_some())
        {
            complain(&format!(
                "warning: nobody answers at {}, the file's admin; this is {default}: a changed admin needs a restart",
                self.address
            ));
            return Ok(json);
        }
        Err(cause)
    }

    const fn hint(&self) -> &'static str {
        match self.by_file {
            Some(_) => " If admin was changed, the change needs a restart: until then name the old one with --admin.",
            None => "",
        }
    }
}

/// True if the sidecar says that its file has another `admin`, or that it refused a file as this command does.
fn waits_for_restart(json: &str, is_refused: bool) -> bool {
    let Ok(status) = serde_json::from_str::<serde_json::Value>(json) else { return false };
    let waits = status["restart_needed"].as_array().is_some_and(|keys| keys.iter().any(|key| key == "admin"));
    waits || (is_refused && status["reload_error"].is_object())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers every request with this body, until the process ends.
    fn serve(body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}").unwrap();
            }
        });
        address
    }

    fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn asked(address: SocketAddr, refused: Option<&str>) -> Asked {
        let refused = refused.map(str::to_owned);
        Asked { address, by_file: Some(AdminPort { address, is_named: true, refused }) }
    }

    #[test]
    fn a_sidecar_that_waits_for_its_restart_answers_at_the_default() {
        let waits = serve(r#"{"restart_needed":["listen","admin"],"reload_error":null}"#);
        assert!(asked(nobody(), None).answer(waits).is_ok());
        let refuses = serve(r#"{"restart_needed":[],"reload_error":{"at":"","message":""}}"#);
        assert!(asked(nobody(), Some("rollout.toml: is empty")).answer(refuses).is_ok());
    }

    #[test]
    fn another_sidecar_at_the_default_is_not_taken_for_this_one() {
        let other = serve(r#"{"restart_needed":["listen"],"reload_error":null}"#);
        assert!(asked(nobody(), None).answer(other).is_err());
        assert!(asked(nobody(), Some("rollout.toml: is empty")).answer(other).is_err());
        let waits = serve(r#"{"restart_needed":["admin"],"reload_error":null}"#);
        assert!(Asked { address: nobody(), by_file: None }.answer(waits).is_err(), "--admin names one address");
    }
}
