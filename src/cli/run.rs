//! Serves: the commands `run` and `demo`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::color::Color;
use super::shared::{Exit, complain, env};
use crate::app::{App, Ended, Notifier, Options, Signals, Sockets, StartError};
use crate::config::{self, Config, ConfigError, Listen, Secrets, Server};
use crate::demo::{self, Wish};
use crate::fleet::PollIntervals;
use crate::live::Source;
use crate::otlp::Bridge;
use crate::proxy::{BindError, Inherited};
use crate::telemetry::log;

/// Number of sockets that are served: `listen` and `admin`.
const SOCKETS: usize = 2;
/// File descriptors needed beside those of connections: log, watchers, admin port, files being read.
const SPARE_FILES: u64 = 64;

pub(super) fn run(path: &Path, color: Color) -> Exit {
    let (config, text) = match read(path, Secrets::Required) {
        Ok(read) => read,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Refused;
        }
    };
    // Before any thread starts, since it removes variables from the environment.
    let (sockets, given) = match inherited() {
        Ok(inherited) => inherited,
        Err(error) => {
            complain(&format!("shiftgate cannot start: {}", BindError::Inherited(error)));
            return Exit::Failed;
        }
    };
    let bridge = Bridge::default();
    let log = log::start(bridge.layer(), color.is_on(&std::io::stdout(), env("NO_COLOR").as_deref()));
    raise_file_limit(&config);
    if given > SOCKETS {
        tracing::warn!(
            given,
            "LISTEN_FDS passes more sockets than listen and admin: who connects to the others gets no answer"
        );
    }
    for warning in config::warnings(&config, &env) {
        tracing::warn!("{warning}");
    }
    let Some(runtime) = runtime(config.server.threads) else { return Exit::Failed };
    let exit = runtime.block_on(large(serve(sockets, config, text, bridge, log.dropped())));
    drop(runtime);
    log::finish(log);
    exit
}

/// Moves the future of the whole process to the heap: it is too large for the stack.
fn large<T>(future: impl Future<Output = T>) -> std::pin::Pin<Box<impl Future<Output = T>>> {
    Box::pin(future)
}

/// Takes the sockets of systemd's socket activation (sd_listen_fds(3)): first `listen`, then `admin`. Returns also the
/// number of those that were given.
fn inherited() -> std::io::Result<(Sockets, usize)> {
    let mut given = listenfd::ListenFd::from_env();
    let listen = match given.take_tcp_listener(0) {
        Ok(socket) => socket.map(Inherited::Tcp),
        Err(_) => given.take_unix_listener(0)?.map(Inherited::Unix),
    };
    Ok((Sockets { listen, admin: given.take_tcp_listener(1)? }, given.len()))
}

async fn serve(
    sockets: Sockets,
    config: Config,
    text: Vec<u8>,
    bridge: Bridge,
    dropped: tracing_appender::non_blocking::ErrorCounter,
) -> Exit {
    let options = Options {
        watch: true,
        ask: Some(PollIntervals::default()),
        traces: true,
        bridge,
        notifier: Notifier::of_process(&env),
        ..Options::default()
    };
    let is_inherited = (sockets.listen.is_some(), sockets.admin.is_some());
    let started = async {
        let signals = Signals::new().map_err(StartError::Signals)?;
        Ok::<_, StartError>((App::start_on(sockets, config, &text, Source::of_process(), options).await?, signals))
    };
    let (app, signals) = match started.await {
        Ok(started) => started,
        Err(error) => {
            complain(&format!("shiftgate cannot start: {error}"));
            return Exit::Failed;
        }
    };
    drop(text);
    let current = app.store.current();
    tracing::info!(
        listen = app.listen,
        admin = %app.admin,
        generation = current.snapshot.generation,
        hash = current.snapshot.config.hash,
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
    warn_of_unused(&current.snapshot.config.server, is_inherited, &app);
    drop(current);
    let stats = std::sync::Arc::clone(&app.stats);
    tokio::spawn(async move {
        let mut seen = 0;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = dropped.dropped_lines() as u64;
            stats.log_dropped.add(now.saturating_sub(seen));
            seen = now;
        }
    });
    match app.run_until_signal(signals).await {
        Ended::Drained => Exit::Done,
        Ended::Cut => Exit::Failed,
    }
}

/// Warns of an address of the file that is not listened on, because a socket of LISTEN_FDS is.
fn warn_of_unused(server: &Server, (has_listen, has_admin): (bool, bool), app: &App) {
    // Port 0 takes any.
    let of_tcp = |address: &SocketAddr| (address.port() != 0).then(|| address.to_string());
    let listen = match &server.listen {
        Listen::Tcp(address) => of_tcp(address),
        Listen::Unix(path) => Some(format!("unix:{}", path.display())),
    };
    let admin = of_tcp(&server.admin);
    let pairs =
        [("listen", has_listen, listen, app.listen.clone()), ("admin", has_admin, admin, app.admin.to_string())];
    for (key, is_inherited, file, socket) in pairs {
        if let Some(file) = file.filter(|file| is_inherited && *file != socket) {
            tracing::warn!(file, socket, "a socket of LISTEN_FDS is served: server.{key} of the file is not used");
        }
    }
}

pub(super) fn demo(path: &Path, color: Color, wish: Wish) -> Exit {
    let (config, text) = match read(path, Secrets::Skip) {
        Ok(read) => read,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Refused;
        }
    };
    let bridge = Bridge::default();
    let log = log::start_quiet(bridge.layer(), color.is_on(&std::io::stderr(), env("NO_COLOR").as_deref()));
    raise_file_limit(&config);
    let Some(runtime) = runtime(config.server.threads.max(2)) else { return Exit::Failed };
    let ended = runtime.block_on(large(demo::run(config, text, bridge, wish)));
    log::finish(log);
    match ended {
        Ok(0) => Exit::Done,
        Ok(_) => Exit::Failed,
        Err(error) => {
            complain(&format!("the demo cannot run: {error}"));
            Exit::Failed
        }
    }
}

fn read(path: &Path, secrets: Secrets) -> Result<(Config, Vec<u8>), ConfigError> {
    let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    Ok((config::parse(path, &text, secrets, &env)?, text))
}

fn runtime(threads: usize) -> Option<Runtime> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    match builder.worker_threads(threads).thread_name("worker").enable_all().build() {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            complain(&format!("shiftgate cannot start its threads: {error}"));
            None
        }
    }
}

/// Raises the limit of open files as far as allowed. A request may need two: the application's and the backend's.
fn raise_file_limit(config: &Config) {
    let needed = config.limits.connections as u64 + config.limits.in_flight as u64 + SPARE_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(limit, needed, "the limit of open files is too low for limits.connections"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
