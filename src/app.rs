//! The composition root: builds the rooms in order, binds, serves, and shuts down in stages.
//!
//! Invariant: sockets are bound only after the file was validated, and shutdown ends within `drain`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{Admin, View};
use crate::config::Config;
use crate::fleet::{BackendMonitor, PollIntervals};

use crate::live::watch::{Timing, WatchHandle, watch};
use crate::live::{LoadError, Shutdown, Source, Store};
use crate::otlp::{Bridge, Exporter};
use crate::proxy::{BindError, ClientTimeouts, Inherited, Listener, Proxy, tcp_of};
use crate::stats::Stats;
use crate::telemetry::meters::Meters;
use crate::telemetry::{SPANS, Sinks};

/// Time for which new connections are accepted after SIGTERM, so that load balancers and probes notice `/readyz` first.
const GRACE: Duration = Duration::from_secs(1);

/// Reason for which the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The signal handlers cannot be installed.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// The watcher's thread cannot be started.
    #[error("the thread that watches the file cannot be started: {0}")]
    Watch(std::io::Error),
}

/// Result of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All answers ended in time.
    Drained,
    /// Answers in flight were cut: `drain` ran out, or a second signal came.
    Cut,
}

/// A running sidecar.
#[derive(Debug)]
pub struct App {
    /// Address of the listener: TCP, or `unix:` with a path.
    pub listen: String,
    /// Bound TCP address of the listener; `None` for a unix socket.
    pub listen_address: Option<SocketAddr>,
    /// Bound address of the admin port.
    pub admin: SocketAddr,
    /// State in force.
    pub store: Arc<Store>,
    /// Counters and gauges.
    pub stats: Arc<Stats>,
    meters: Arc<Meters>,
    started: Instant,
    shutdown: Arc<Shutdown>,
    watcher: Option<WatchHandle>,
    /// Held because dropping it ends its tasks.
    _fleet: Option<Arc<BackendMonitor>>,
    exporter: Option<Exporter>,
}

/// Settings of an embedder or a test.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Timing of the file's watcher.
    pub timing: Timing,
    /// Timeouts of applications' connections.
    pub timeouts: ClientTimeouts,
    /// True to follow the file on disk.
    pub watch: bool,
    /// Intervals of polls and probes of backends; `None` sends backends applications' requests only.
    pub ask: Option<PollIntervals>,
    /// True to export traces if the file or the environment names a collector.
    pub traces: bool,
    /// Passes the process's own spans to the exporter.
    pub bridge: Bridge,
}

/// Listening sockets inherited from the parent process; missing ones are bound.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Socket for applications.
    pub listen: Option<Inherited>,
    /// Socket of the admin port.
    pub admin: Option<std::net::TcpListener>,
}

impl App {
    /// Binds and serves. `text` is the file that `config` was parsed from, so that a change in between is noticed.
    pub async fn start(config: Config, text: &[u8], source: Source, options: Options) -> Result<Self, StartError> {
        Self::start_on(Sockets::default(), config, text, source, options).await
    }

    /// Serves on inherited sockets, and binds the missing ones.
    pub async fn start_on(
        sockets: Sockets,
        config: Config,
        text: &[u8],
        source: Source,
        options: Options,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        let stats = Arc::new(Stats::default());
        let (path, watched) = (config.path.clone(), config.watched.clone());
        let store = Arc::new(Store::new(config, source, Arc::clone(&stats))?);
        let server = store.current().snapshot.config.server.clone();
        let listener = match sockets.listen {
            Some(socket) => Listener::inherit(socket).map_err(BindError::Inherited)?,
            None => Listener::bind(&server.listen).await?,
        };
        let bind_error = |cause| BindError::new("server.admin", server.admin, cause);
        let admin_socket = match sockets.admin {
            Some(socket) => tcp_of(socket).map_err(BindError::Inherited)?,
            None => TcpListener::bind(server.admin).await.map_err(bind_error)?,
        };
        let admin_address = admin_socket.local_addr().map_err(bind_error)?;
        let telemetry = store.current().snapshot.config.telemetry.clone();
        let exporter = match options.traces {
            true => Exporter::start(&telemetry, &|name| store.env(name), &options.bridge, &stats),
            false => None,
        };
        let tracer = exporter.as_ref().map(Exporter::tracer);
        let shutdown = Arc::new(Shutdown::default());
        let meters = Arc::new(Meters::default());
        let sinks = Sinks::new(Arc::clone(&stats), Arc::clone(&meters), tracer);
        let (listen, listen_address) = (listener.address().to_owned(), listener.tcp_address());
        let proxy = Proxy::new(Arc::clone(&store), Arc::clone(&stats), Arc::clone(&shutdown), options.timeouts, sinks);
        tokio::spawn(listener.run(Arc::new(proxy)));
        let admin = Arc::new(Admin {
            store: Arc::clone(&store),
            stats: Arc::clone(&stats),
            meters: Arc::clone(&meters),
            shutdown: Arc::clone(&shutdown),
            listen: listen.clone(),
            admin: admin_address.to_string(),
            started,
        });
        tokio::spawn(admin.run(admin_socket));
        let fleet = options.ask.map(|pace| Arc::new(BackendMonitor::new(pace)));
        if let Some(fleet) = &fleet {
            fleet.follow(store.current().targets_off_path());
        }
        let watcher = match options.watch {
            false => None,
            true => {
                // Entered because connection pools of a new snapshot spawn tasks.
                let (store, runtime) = (Arc::clone(&store), tokio::runtime::Handle::current());
                let (fleet, bridge, meters) = (fleet.clone(), options.bridge.clone(), Arc::clone(&meters));
                let apply = move |reading| {
                    let _inside = runtime.enter();
                    let watched = store.reload(reading);
                    let current = store.current();
                    bridge.follow(current.snapshot.config.telemetry.sample);
                    meters.prune(current.targets_off_path().iter().map(|target| &target.labels));
                    if let Some(fleet) = &fleet {
                        fleet.follow(store.current().targets_off_path());
                    }
                    watched
                };
                Some(watch(path, watched, text, options.timing, apply).map_err(StartError::Watch)?)
            }
        };
        Ok(Self {
            listen,
            listen_address,
            admin: admin_address,
            store,
            stats,
            meters,
            started,
            shutdown,
            watcher,
            _fleet: fleet,
            exporter,
        })
    }

    /// Returns the process at this moment.
    pub fn view(&self) -> View {
        View {
            listen: self.listen.clone(),
            admin: self.admin.to_string(),
            is_draining: self.shutdown.draining.is_cancelled(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            ..View::of(&self.store, &self.stats, &self.meters)
        }
    }

    /// Reads the file again at once.
    pub fn reload_now(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.reload_now();
        }
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    pub async fn run_until_signal(self, mut signals: Signals) -> Ended {
        loop {
            if !signals.next_is_hangup().await {
                break;
            }
            self.reload_now();
        }
        let drain = self.store.current().snapshot.config.server.drain;
        tracing::info!(drain_s = drain.as_secs_f64(), in_flight = self.stats.in_flight.get(), "draining");
        self.drain(drain, signals.stop()).await
    }

    /// Shuts down: stops accepting after a second, waits for answers in flight, and cuts them after `limit` or on
    /// `now`.
    pub async fn drain(self, limit: Duration, now: impl Future<Output = ()>) -> Ended {
        // tracing-opentelemetry exports only `i64` as an integer; other integers become strings.
        let in_flight = i64::try_from(self.stats.in_flight.get()).unwrap_or(i64::MAX);
        let span = tracing::info_span!(
            target: SPANS,
            "shiftgate.drain",
            shiftgate.in_flight = in_flight,
            otel.status_code = tracing::field::Empty
        );
        let shutdown = &self.shutdown;
        shutdown.draining.cancel();
        let finished = async {
            tokio::time::sleep(GRACE.min(limit)).await;
            shutdown.closing.cancel();
            shutdown.tasks.close();
            shutdown.tasks.wait().await;
        };
        let ended = tokio::select! {
            () = finished => Ended::Drained,
            () = tokio::time::sleep(limit) => self.cut(),
            () = now => self.cut(),
        };
        if ended == Ended::Cut {
            span.record("otel.status_code", "ERROR");
            shutdown.closing.cancel();
            shutdown.cut.cancel();
            shutdown.tasks.close();
            shutdown.tasks.wait().await;
        }
        drop(span);
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
        ended
    }

    fn cut(&self) -> Ended {
        let running = self.stats.in_flight.get();
        if running == 0 {
            return Ended::Drained;
        }
        tracing::warn!(
            running,
            "drain ended: cutting the answers still in flight; raise server.drain if they need longer"
        );
        Ended::Cut
    }
}

/// Handlers of the signals for shutdown and reload. Installed before the process announces itself: until then a signal
/// would kill it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers. Fails if the system refuses one.
    pub fn new() -> Result<Self, StartError> {
        let install = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    async fn next_is_hangup(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.hangup.recv() => true,
        }
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
