//! Messages to the service manager, by the protocol of sd_notify(3): ready, reloading, stopping, and a line of status.
//!
//! Owns: the order of the messages and their text. Does not: act; a message that cannot be sent is logged.
//! Invariant: RELOADING=1 is followed by READY=1 once the file has been read again, whatever the result, unless
//! STOPPING=1 came in between; after STOPPING=1 neither is sent.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::live::Store;
use crate::stats::lock;

/// Time for which a message waits while the manager's queue is full. After it the message is lost and logged; a second
/// is long for a manager that works, and short beside its own timeouts (90 s).
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval at which the percents in force are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Limit, in bytes, on the line of status; the rest is cut. systemd drops messages above 4,096 bytes.
const MAX_STATUS: usize = 1024;

/// The way to the service manager. Without an address nothing is sent.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    address: Option<SocketAddr>,
    told: Arc<Mutex<Told>>,
}

/// State that the manager knows.
#[derive(Debug, Default)]
struct Told {
    /// Number of reloads that were announced.
    reloads: u64,
    /// True while the last announced reload is not finished.
    is_reloading: bool,
    is_stopping: bool,
    /// The last line of status.
    status: String,
}

impl Notifier {
    /// Returns the notifier of a process: to the socket that `NOTIFY_SOCKET` names, if it is set.
    pub fn of_process(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let name = env("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let address = name.and_then(|name| match address(&name) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET names no socket that can be used: the manager is not told");
                None
            }
        });
        Self { address, told: Arc::default() }
    }

    /// Says that the process serves.
    pub(super) async fn ready(&self, store: &Arc<Store>) {
        let store = Arc::clone(store);
        self.off_runtime(move |told| told.ready(status(&store))).await;
    }

    /// Announces a reload and returns its number.
    pub(super) async fn reloading(&self) -> u64 {
        self.off_runtime(|told| told.reloading(monotonic())).await;
        lock(&self.told).reloads
    }

    /// Says that the reload of this number is finished. Waits while the manager's queue is full.
    pub(super) fn reloaded(&self, number: u64, store: &Store) {
        self.send(|told| told.reloaded(number, status(store)));
    }

    /// Says which percents are in force, if that differs from the last time. Waits while the manager's queue is full.
    pub(super) fn changed(&self, store: &Store) {
        self.send(|told| told.changed(status(store)));
    }

    /// Says it when percents change without a reading of the file, because the guard withdrew a candidate or gave it
    /// back.
    pub(super) async fn follow(self, store: Arc<Store>) {
        let mut looks = tokio::time::interval(LOOK);
        while self.address.is_some() {
            looks.tick().await;
            let store = Arc::clone(&store);
            self.off_runtime(move |told| told.changed(status(&store))).await;
        }
    }

    /// Says that the process drains.
    pub(super) async fn stopping(&self, in_flight: u64) {
        self.off_runtime(move |told| told.stopping(in_flight)).await;
    }

    /// Sends from a thread that may wait.
    async fn off_runtime(&self, message: impl FnOnce(&mut Told) -> Option<String> + Send + 'static) {
        if self.address.is_some() {
            let notifier = self.clone();
            // It fails only if the runtime ends, and nothing is left to be told then.
            drop(tokio::task::spawn_blocking(move || notifier.send(message)).await);
        }
    }

    /// Sends a message. The lock keeps the order of messages on the socket equal to that of the states.
    fn send(&self, message: impl FnOnce(&mut Told) -> Option<String>) {
        let Some(address) = &self.address else { return };
        let mut told = lock(&self.told);
        let Some(message) = message(&mut told) else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = sent {
            tracing::warn!(%error, lost = message.trim_end(), "the service manager was not told");
        }
    }
}

impl Told {
    fn ready(&mut self, status: String) -> Option<String> {
        self.status.clone_from(&status);
        (!self.is_stopping).then(|| format!("READY=1\nSTATUS={status}\n"))
    }

    /// `now` is the monotonic clock in microseconds.
    fn reloading(&mut self, now: i128) -> Option<String> {
        self.reloads += 1;
        self.is_reloading = true;
        Some(format!("RELOADING=1\nMONOTONIC_USEC={now}\n"))
    }

    /// Returns nothing for a reload that a later one follows: that one's end is the answer to both.
    fn reloaded(&mut self, number: u64, status: String) -> Option<String> {
        if number != self.reloads {
            return None;
        }
        self.is_reloading = false;
        self.ready(status)
    }

    /// Returns nothing before the process is ready, during a reload, whose end brings the status, and while the process
    /// drains.
    fn changed(&mut self, status: String) -> Option<String> {
        let is_ready = !self.status.is_empty();
        if !is_ready || self.is_reloading || self.is_stopping || status == self.status {
            return None;
        }
        self.status.clone_from(&status);
        Some(format!("STATUS={status}\n"))
    }

    fn stopping(&mut self, in_flight: u64) -> Option<String> {
        self.is_stopping = true;
        Some(format!("STOPPING=1\nSTATUS=draining, {in_flight} answers in flight\n"))
    }
}

/// Returns the address of a path, or of an abstract name behind `@`.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ if name.starts_with('/') => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{name:?} is neither a path nor @NAME"))),
    }
}

/// Returns the monotonic clock in microseconds.
fn monotonic() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

/// Describes what is in force in one line: the error of the file on disk, the generation, the percents.
fn status(store: &Store) -> String {
    let current = store.current();
    let config = &current.snapshot.config;
    let routes: Vec<String> = config
        .routes_with_ids()
        .map(|(id, route)| {
            let percents = current.shares.effective(id);
            let percents = percents.map(|(backend, percent)| format!("{} {percent} %", config[backend].name));
            let percents = percents.collect::<Vec<_>>().join(", ");
            if config.routes.len() > 1 { format!("{} {percents}", route.name) } else { percents }
        })
        .collect();
    let error = store.reload_error();
    let error =
        error.map_or_else(String::new, |error| format!("{}; the last valid file stays in force: ", error.message));
    let mut parts = vec![format!("{error}generation {}", current.snapshot.generation), routes.join("; ")];
    let restart = store.restart_needed();
    if !restart.is_empty() {
        parts.push(format!("needs a restart: {}", restart.join(", ")));
    }
    one_line(&parts.join("; "))
}

/// Replaces control characters, which would begin another field of the message, and cuts at [`MAX_STATUS`].
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() + character.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_of_several_reloads_answers_all_of_them() {
        let mut told = Told::default();
        assert_eq!(told.changed("a".to_owned()), None, "READY comes first");
        assert_eq!(told.ready("a".to_owned()).as_deref(), Some("READY=1\nSTATUS=a\n"));
        assert_eq!(told.reloading(7).as_deref(), Some("RELOADING=1\nMONOTONIC_USEC=7\n"));
        told.reloading(8);
        assert_eq!(told.changed("b".to_owned()), None, "the end of the reload brings it");
        assert_eq!(told.reloaded(1, "b".to_owned()), None);
        assert_eq!(told.reloaded(2, "a".to_owned()).as_deref(), Some("READY=1\nSTATUS=a\n"));
        assert_eq!(told.changed("a".to_owned()), None, "it is known");
        assert_eq!(told.changed("c".to_owned()).as_deref(), Some("STATUS=c\n"));
    }

    #[test]
    fn nothing_is_ready_after_stopping() {
        let mut told = Told::default();
        told.reloading(1);
        assert_eq!(told.stopping(2).as_deref(), Some("STOPPING=1\nSTATUS=draining, 2 answers in flight\n"));
        assert_eq!(told.reloaded(1, "a".to_owned()), None);
        assert_eq!(told.changed("b".to_owned()), None, "the status remains that of the drain");
    }

    #[test]
    fn a_status_is_one_bounded_line() {
        assert_eq!(one_line("a\nREADY=1\r\tb"), "a READY=1  b");
        let long = one_line(&"é".repeat(4000));
        assert_eq!((long.len(), long.chars().count()), (MAX_STATUS, MAX_STATUS / 2));
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        assert_eq!(address("/run/x").unwrap().as_pathname().unwrap().to_str(), Some("/run/x"));
        for name in ["vsock:2:1234", "relative", ""] {
            assert!(address(name).is_err(), "{name:?}");
        }
        assert!(Notifier::of_process(&|_| Some("vsock:2:1".to_owned())).address.is_none());
    }
}
