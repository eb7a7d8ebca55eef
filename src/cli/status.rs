//! Asks a running sidecar's admin port for its status and prints it as a table: the command `status`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::shared::{Exit, complain, load, say};
use super::table;
use crate::admin::status::Status;
use crate::config::Secrets;

/// Timeout for the connection and for each read; the admin port answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Limit, in bytes, on the response; the rest is cut. A status with hundreds of backends is far smaller.
const MAX_ANSWER: u64 = 16 << 20;

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
        Some(text) => match text.to_socket_addrs().ok().and_then(|mut found| found.next()) {
            Some(address) => address,
            None => {
                complain(&format!("--admin {text} is not an address and port such as 127.0.0.1:9900"));
                return Exit::Refused;
            }
        },
        None => match load(path, Secrets::Skip) {
            Ok(config) => config.server.admin,
            Err(exit) => return exit,
        },
    };
    loop {
        let shown = ask(address).and_then(|json| {
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

fn ask(address: SocketAddr) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(text)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(text)?;
    let request = format!("GET /status HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(text)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| "its answer is not HTTP".to_owned())?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(format!("it answered {}", head.lines().next().unwrap_or_default()))
    }
}
