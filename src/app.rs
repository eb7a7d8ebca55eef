//! The composition root: builds the rooms in order, binds, serves, and shuts down in stages.
//!
//! Invariant: sockets are bound only after the file was validated, and shutdown ends within `drain`.

mod notify;
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::admin::{Admin, View};
use crate::config::{self, Config, Server};
use crate::fleet::{BackendMonitor, PollIntervals};
use crate::guard::EntryCause;
use crate::live::watch::{Timing, WatchHandle, watch};
use crate::live::{LoadError, Shutdown, Source, Store};
use crate::otlp::{Bridge, Exporter};
use crate::proxy::{BindError, ClientTimeouts, Inherited, Listener, Proxy, tcp_of};
use crate::rollback::Guards;
use crate::shadow::Shadows;
use crate::stats::Stats;
use crate::telemetry::meters::Meters;
use crate::telemetry::{SPANS, Sinks};

pub use notify::Notifier;
pub use signals::Signals;

/// Time for which new connections are accepted after SIGTERM, so that load balancers and probes notice `/readyz` first.
const GRACE: Duration = Duration::from_secs(1);

/// Interval of the lines of counts.
const COUNTS: Duration = Duration::from_secs(60);
/// Time limit of each step after the drain: of requests accepted at its last moment, of records and messages that are left.
const FLUSH: Duration = Duration::from_secs(1);

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
    shared: Shared,
    watcher: Option<WatchHandle>,
    /// Asks backends for their load and their models; its tasks end with it.
    monitor: Option<Arc<BackendMonitor>>,
    exporter: Option<Exporter>,
    /// Copies of requests.
    shadows: Arc<Shadows>,
    /// Guards of the candidates.
    guards: Arc<Guards>,
    notifier: Notifier,
}

/// The state that the parts of one process share.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    stats: Arc<Stats>,
    meters: Arc<Meters>,
    shutdown: Arc<Shutdown>,
    started_at: Instant,
}

impl Shared {
    /// Puts the first reading in force.
    fn load(config: Config, source: Source) -> Result<Self, LoadError> {
        let (started_at, stats) = (Instant::now(), Arc::new(Stats::default()));
        let store = Arc::new(Store::new(config, source, Arc::clone(&stats))?);
        Ok(Self { store, stats, meters: Arc::default(), shutdown: Arc::default(), started_at })
    }

    /// Starts the export of traces, where the file or the environment names a collector.
    fn export(&self, bridge: &Bridge) -> Option<Exporter> {
        let telemetry = self.store.current().snapshot.config.telemetry.clone();
        Exporter::start(&telemetry, &|name| self.store.env(name), bridge, &self.stats)
    }
}

/// The sockets that the process serves on.
struct Bound {
    listener: Listener,
    admin: TcpListener,
    admin_address: SocketAddr,
}

impl Bound {
    /// Takes the sockets that were given, and binds the others.
    async fn bind(sockets: Sockets, server: &Server) -> Result<Self, BindError> {
        let listener = match sockets.listen {
            Some(socket) => Listener::inherit(socket).map_err(BindError::Inherited)?,
            None => Listener::bind(&server.listen).await?,
        };
        let bind_error = |cause| BindError::new("server.admin", server.admin, cause);
        let admin = match sockets.admin {
            Some(socket) => tcp_of(socket).map_err(BindError::Inherited)?,
            None => TcpListener::bind(server.admin).await.map_err(bind_error)?,
        };
        let admin_address = admin.local_addr().map_err(bind_error)?;
        Ok(Self { listener, admin, admin_address })
    }
}

/// What an embedder or a test may choose.
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
    /// Tells the service manager.
    pub notifier: Notifier,
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

    /// Binds and serves on sockets that were given. The stages: load, bind, export, serve, ask, watch.
    pub async fn start_on(
        sockets: Sockets,
        config: Config,
        text: &[u8],
        source: Source,
        options: Options,
    ) -> Result<Self, StartError> {
        let (path, watched) = (config.path.clone(), config.watched.clone());
        let shared = Shared::load(config, source)?;
        let bound = Bound::bind(sockets, &shared.store.current().snapshot.config.server).await?;
        let exporter = options.traces.then(|| shared.export(&options.bridge)).flatten();
        let shadows = Shadows::new(Arc::clone(&shared.stats), exporter.as_ref().map(Exporter::tracer));
        shadows.follow(&shared.store.current().snapshot.config);
        let monitor = options.ask.map(|intervals| Arc::new(BackendMonitor::new(intervals)));
        let mut app = Self {
            listen: bound.listener.address().to_owned(),
            listen_address: bound.listener.tcp_address(),
            admin: bound.admin_address,
            store: Arc::clone(&shared.store),
            stats: Arc::clone(&shared.stats),
            watcher: None,
            monitor,
            exporter,
            guards: Guards::new(Arc::clone(&shared.store), Arc::clone(&shared.stats), shadows.instance().to_owned()),
            shadows: Arc::new(shadows),
            shared,
            notifier: options.notifier,
        };
        app.serve(bound, options.timeouts);
        if let Some(monitor) = &app.monitor {
            monitor.follow(app.store.current().targets_off_path());
        }
        if options.watch {
            let apply = app.on_reading(&options.bridge);
            app.watcher = Some(watch(path, watched, text, options.timing, apply).map_err(StartError::Watch)?);
        }
        Ok(app)
    }

    /// Serves applications and the admin port, each from a task of its own.
    fn serve(&self, bound: Bound, timeouts: ClientTimeouts) {
        let Shared { store, stats, meters, shutdown, started_at } = &self.shared;
        let sinks = Sinks::new(Arc::clone(stats), Arc::clone(meters), self.exporter.as_ref().map(Exporter::tracer));
        let proxy = Proxy::new(
            Arc::clone(store),
            Arc::clone(stats),
            Arc::clone(shutdown),
            timeouts,
            (sinks, Arc::clone(&self.shadows), Arc::clone(&self.guards)),
        );
        // Tracked: the end waits for a connection that is accepted at the last moment.
        shutdown.tasks.spawn(bound.listener.run(Arc::new(proxy)));
        let admin = Admin {
            store: Arc::clone(store),
            stats: Arc::clone(stats),
            meters: Arc::clone(meters),
            shadows: Arc::clone(&self.shadows),
            guards: Arc::clone(&self.guards),
            shutdown: Arc::clone(shutdown),
            listen: self.listen.clone(),
            admin: self.admin.to_string(),
            started: *started_at,
        };
        tokio::spawn(Arc::new(admin).run(bound.admin));
        tokio::spawn(Arc::clone(&self.guards).run());
        tokio::spawn(self.notifier.clone().follow(Arc::clone(store)));
        let counted = (Arc::clone(store), Arc::clone(meters));
        tokio::spawn(write_counts(counted, Arc::clone(&self.shadows), Arc::clone(shutdown)));
    }

    /// Puts a new reading of the file in force, and tells everyone who follows it.
    fn on_reading(&self, bridge: &Bridge) -> impl Fn(std::io::Result<Vec<u8>>) -> Vec<PathBuf> + Send + 'static {
        let (store, meters) = (Arc::clone(&self.store), Arc::clone(&self.shared.meters));
        let (monitor, bridge, shadows) = (self.monitor.clone(), bridge.clone(), Arc::clone(&self.shadows));
        let (guards, notifier) = (Arc::clone(&self.guards), self.notifier.clone());
        // The connections of a new reading's backends belong to this runtime.
        let runtime = tokio::runtime::Handle::current();
        move |reading| {
            let _inside = runtime.enter();
            let before = store.current();
            let watched = store.reload(reading);
            let current = store.current();
            guards.follow(|| {
                let (before, after) = (&before.snapshot.config, &current.snapshot.config);
                EntryCause::of(Some(before), after, config::written_by(&after.path).as_ref())
            });
            bridge.follow(current.snapshot.config.telemetry.sample);
            meters.prune(current.targets_off_path().iter().map(|target| &target.labels));
            shadows.follow(&current.snapshot.config);
            if let Some(monitor) = &monitor {
                monitor.follow(current.targets_off_path());
            }
            notifier.changed(&store);
            watched
        }
    }

    /// Returns the process at this moment, with the verdicts on its pairs.
    pub async fn view_with_verdicts(&self) -> View {
        View { verdicts: self.shadows.verdicts().await, ..self.view() }
    }

    /// Returns the process at this moment, without verdicts.
    pub fn view(&self) -> View {
        View {
            listen: self.listen.clone(),
            admin: self.admin.to_string(),
            is_draining: self.shared.shutdown.draining.is_cancelled(),
            uptime_s: self.shared.started_at.elapsed().as_secs_f64(),
            budget_left: self.shadows.budget_left(),
            guard: self.guards.seen(),
            ..View::of(&self.store, &self.stats, &self.shared.meters)
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
        self.notifier.ready(&self.store).await;
        while signals.next_is_hangup().await {
            let Some(watcher) = &self.watcher else { continue };
            let (notifier, store) = (self.notifier.clone(), Arc::clone(&self.store));
            let number = notifier.reloading().await;
            watcher.reload_then(move || notifier.reloaded(number, &store));
        }
        let (drain, in_flight) = (self.store.current().snapshot.config.server.drain, self.stats.in_flight.get());
        tracing::info!(drain_s = drain.as_secs_f64(), in_flight, "draining");
        self.notifier.stopping(in_flight).await;
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
        let shutdown = &self.shared.shutdown;
        shutdown.draining.cancel();
        self.shadows.stop();
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
        // The limit may end before the second in which new connections are served.
        shutdown.closing.cancel();
        shutdown.tasks.close();
        if ended == Ended::Cut {
            span.record("otel.status_code", "ERROR");
            shutdown.cut.cancel();
        } else if tokio::time::timeout(FLUSH, shutdown.tasks.wait()).await.is_err() {
            shutdown.cut.cancel();
        }
        shutdown.tasks.wait().await;
        drop(span);
        let current = self.store.current();
        tokio::join!(self.guards.finish(FLUSH), self.shadows.finish(&current, &self.shared.meters, FLUSH));
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

/// Writes the counts of each minute, until the process ends.
async fn write_counts((store, meters): (Arc<Store>, Arc<Meters>), shadows: Arc<Shadows>, shutdown: Arc<Shutdown>) {
    let mut minutes = tokio::time::interval(COUNTS);
    minutes.tick().await;
    while shutdown.closing.run_until_cancelled(minutes.tick()).await.is_some() {
        shadows.write_counts(&store.current(), &meters);
    }
}
