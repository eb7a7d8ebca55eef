//! Reads `server.admin` alone, of a file that may be refused or missing: for commands that ask a running sidecar, which
//! serves whatever the file on disk has become.

use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeTable;

use super::context::Secrets;
use super::load::parse;
use super::problem::ConfigError;
use super::sections::server::{ADMIN, address};

/// Address of the admin port that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminPort {
    /// The file's address, else the default.
    pub address: SocketAddr,
    /// True if the file names the address.
    pub is_named: bool,
    /// One line with the file's first problem; `None` if it can be used.
    pub refused: Option<String>,
}

impl AdminPort {
    /// Address of a file without `admin`.
    pub(crate) const DEFAULT: SocketAddr = ADMIN;

    /// Reads the file at `path`; `env` looks up environment variables.
    pub(crate) fn of(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let text = std::fs::read(path);
        let config = match &text {
            Ok(text) => parse(path, text, Secrets::Skip, env),
            Err(error) => Err(ConfigError::unreadable(path, error)),
        };
        let named = text.as_deref().ok().and_then(named);
        let address = config.as_ref().map_or_else(|_| named.unwrap_or(Self::DEFAULT), |config| config.server.admin);
        Self { address, is_named: named.is_some(), refused: config.err().map(|error| error.summary()) }
    }
}

/// Returns the address in a text, whatever else is wrong with it. Text that is not TOML is read line by line.
fn named(text: &[u8]) -> Option<SocketAddr> {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if let Ok(document) = DeTable::parse(text) {
        return of_server(document.get_ref().get("server")?.get_ref().as_table()?);
    }
    let is_server = |line: &&str| DeTable::parse(line).is_ok_and(|one| one.get_ref().contains_key("server"));
    let lines = text.lines().map(str::trim).skip_while(|line| !(line.starts_with('[') && is_server(line))).skip(1);
    lines.take_while(|line| !line.starts_with('[')).find_map(|line| of_server(DeTable::parse(line).ok()?.get_ref()))
}

fn of_server(table: &DeTable<'_>) -> Option<SocketAddr> {
    address(table.get("admin")?.get_ref().as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_broken_file_is_read() {
        let server = "[server]\nadmin = \"127.0.0.1:9911\"\n";
        for text in [
            format!("{server}broken"),
            format!("broken\n{server}"),
            format!("{server}[rollout\npercent = {{ qwen = 600 }}"),
            format!("{server}lisen = 1\n"),
            format!("\u{feff}{server}x = \"\0\""),
            "broken\n [ server ] # it\nbroken\n  admin = \"127.0.0.1:9911\" # it\n[[route".to_owned(),
            format!("{server}[rollout]\nadmin = \"127.0.0.1:1\"\nbroken"),
            "server.admin = \"127.0.0.1:9911\"\nserver.nonsense = 1".to_owned(),
        ] {
            assert_eq!(named(text.as_bytes()), Some(([127, 0, 0, 1], 9911).into()), "{text:?}");
        }
        assert_eq!(named(b"[server]\nadmin = \"127.0.0.1:9911\"\nx = \"\xff\""), Some(([127, 0, 0, 1], 9911).into()));
        for text in
            ["", "server = 1", "[server]\nadmin = 9911", "[server]\nadmin = \"nonsense\"", "[server]\nadmin = \"127"]
        {
            assert_eq!(named(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_missing_file_has_the_default() {
        let port = AdminPort::of(Path::new("/nowhere/rollout.toml"), &|_| None);
        assert_eq!((port.address, port.is_named), (AdminPort::DEFAULT, false));
        assert!(port.refused.is_some_and(|said| said.contains("does not exist")));
    }
}
