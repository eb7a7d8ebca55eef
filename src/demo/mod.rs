//! `demo`: the real proxy with the user's own rollout.toml, generated traffic, and simulated servers as backends.
//!
//! Owns: the traffic and the live table. Refuses: shortcuts; requests go through real sockets.
//! Invariant: the table shows counted values only, and one failed request makes the demo fail.

mod scenario;
mod spans;
mod traffic;
mod view;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Options, StartError};
use crate::config::{ApiKey, BackendUrl, Config, Listen, Secrets};
use crate::live::Source;
use crate::model::{Engine, Family};
use crate::otlp::Bridge;
use crate::rollback::GuardSeen;
use crate::sim::{self, Behaviour, Difference, Differences, Sim, SimConfig, Template, Wire};
use scenario::Part;
pub(crate) use scenario::Scenario;
pub use spans::Servers;
use traffic::{ClientStats, Traffic};
use view::Screen;

/// Interval of redrawing the table on a terminal.
const REDRAW: Duration = Duration::from_millis(500);
/// Interval of printing lines where the output is piped.
const LINES: Duration = Duration::from_secs(1);
/// Timeout of answers that are still running at the end; later ones are cut off.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Share of a candidate's answers that differ from the baseline's in other words or worse: enough that the verdict finds it
/// within a minute at the usual rate, with a tenth of the requests copied.
const CANDIDATE_DIFFERS: f64 = 0.2;
/// Share of the baseline's answers in other words, drawn for each call: models do not repeat themselves, so the baseline
/// does not always agree with itself.
const BASELINE_DIFFERS: f64 = 0.05;

/// The demo cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// A simulated server cannot listen.
    #[error("a simulated server cannot start: {0}")]
    Sim(std::io::Error),
    /// The proxy cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The proxy does not listen on TCP.
    #[error("it has no TCP address to send traffic to")]
    NoAddress,
    /// Signal handlers cannot be installed.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// Options of the command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// Length of the run; `None` runs until a signal comes.
    pub seconds: Option<Duration>,
    /// Requests per second.
    pub rate: u32,
    /// Share of the candidates' requests that fail before their first content, from 0 to 1.
    pub faults: f64,
    /// Events among the servers; `None`: nothing happens.
    pub scenario: Option<Scenario>,
}

/// Runs until `seconds` are over or a signal comes; returns the number of failed requests.
///
/// # Errors
/// When a server or the proxy cannot start.
pub(crate) async fn run(mut config: Config, text: Vec<u8>, bridge: Bridge, wish: Wish) -> Result<u64, DemoError> {
    let mut notes = Vec::new();
    choose_ports(&mut config, &mut notes);
    keep_to_itself(&mut config);
    let baseline = config[config.baseline].name.clone();
    if let Some(scenario) = wish.scenario {
        notes.push(scenario.says().to_owned());
        scenario::guarded(&mut config);
    }
    let servers = Servers::start(&config.telemetry, "vllm");
    let sims = start_sims(&config, wish.faults, &servers).await.map_err(DemoError::Sim)?;
    let (listen, admin) = (config.server.listen.clone(), config.server.admin);
    let addresses: BTreeMap<String, SocketAddr> =
        sims.iter().map(|(name, sim, _)| (name.clone(), sim.address())).collect();
    let source = Source {
        env: Box::new(|name| std::env::var(name).ok()),
        secrets: Secrets::Skip,
        adapt: Some(Box::new(move |config| {
            config.server.listen = listen.clone();
            config.server.admin = admin;
            config.server.request_log = false;
            keep_to_itself(config);
            point_at(config, &addresses);
            if wish.scenario.is_some() {
                scenario::guarded(config);
            }
        })),
    };
    let options = Options { watch: true, traces: true, bridge, ..Options::default() };
    let app = App::start(config, &text, source, options).await?;
    let proxy = app.listen_address.ok_or(DemoError::NoAddress)?;
    let stats = Arc::new(ClientStats::default());
    let traffic = Traffic::start(proxy, wish.rate, Arc::clone(&stats));
    let mut screen = Screen::new(std::io::stdout().is_terminal(), &app, proxy);
    screen.begin(&notes);
    let begun = Instant::now();
    let mut course = Course::new(wish, begun);
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signals)?;
    let mut tick = tokio::time::interval(if screen.is_live() { REDRAW } else { LINES });
    tick.tick().await;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                course.follow(&sims, &baseline, &app.view().guard);
                screen.show(begun.elapsed(), &app, &stats).await;
            }
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
        if course.is_over() {
            break;
        }
    }
    traffic.finish(LAST_ANSWERS).await;
    let failed = stats.failed();
    screen.summary(begun.elapsed(), &app, &stats).await;
    if wish.scenario.is_some() {
        screen.ending(&scenario::ending(&app.view().guard, &baseline));
    }
    app.drain(Duration::from_millis(1), std::future::ready(())).await;
    drop(sims);
    servers.finish().await;
    Ok(if wish.scenario.is_some_and(Scenario::may_fail) { 0 } else { failed })
}

/// The course of a run: its scenario and its end.
struct Course {
    begun: Instant,
    scenario: Option<Scenario>,
    part: Part,
    /// Time from the beginning to the end; `None` runs until a signal comes.
    length: Option<Duration>,
}

impl Course {
    fn new(wish: Wish, begun: Instant) -> Self {
        let length = wish.seconds.or_else(|| wish.scenario.map(Scenario::length));
        Self { begun, scenario: wish.scenario, part: Part::Before, length }
    }

    /// Changes the servers when the next part begins, and ends the run soon after a guard has acted.
    fn follow(&mut self, sims: &[(String, Sim, Behaviour)], baseline: &str, guard: &GuardSeen) {
        let Some(scenario) = self.scenario else { return };
        let elapsed = self.begun.elapsed();
        let part = scenario.part(elapsed);
        if std::mem::replace(&mut self.part, part) != part {
            for (name, sim, usual) in sims {
                scenario.apply(part, (sim, name == baseline), usual);
            }
        }
        if scenario::has_acted(guard) {
            let soon = elapsed + scenario::afterwards();
            self.length = Some(self.length.map_or(soon, |length| length.min(soon)));
        }
    }

    fn is_over(&self) -> bool {
        self.length.is_some_and(|length| self.begun.elapsed() + Duration::from_millis(20) >= length)
    }
}

/// Keeps what simulated servers do from the state file and from those who get the guard's messages.
fn keep_to_itself(config: &mut Config) {
    config.server.state = None;
    if let Some(guard) = &mut config.guard {
        guard.notify = None;
    }
}

/// Replaces ports that are in use by free ones, with a note for each.
fn choose_ports(config: &mut Config, notes: &mut Vec<String>) {
    let free = |address: SocketAddr| TcpListener::bind(address).is_ok();
    match &config.server.listen {
        Listen::Tcp(address) if free(*address) => {}
        Listen::Tcp(address) => {
            notes.push(format!("server.listen {address} is taken: a free port is used instead"));
            config.server.listen = Listen::Tcp(SocketAddr::new(address.ip(), 0));
        }
        Listen::Unix(path) => {
            notes.push(format!("server.listen unix:{} is not used: a free port is used instead", path.display()));
            config.server.listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        }
    }
    let admin = config.server.admin;
    if admin.port() != 0 && !free(admin) {
        notes.push(format!("server.admin {admin} is taken: a free port is used instead"));
        config.server.admin = SocketAddr::new(admin.ip(), 0);
    }
}

async fn start_sims(config: &Config, faults: f64, servers: &Servers) -> std::io::Result<Vec<(String, Sim, Behaviour)>> {
    let mut sims = Vec::new();
    for (id, backend) in config.backends_with_ids() {
        let is_baseline = id == config.baseline;
        let (ttft, speed) = if is_baseline { (60, 400.0) } else { (40, 500.0) };
        let behaviour = Behaviour {
            ttft: Duration::from_millis(ttft),
            jitter: 0.3,
            tokens_per_second: speed,
            error_rate: if is_baseline { 0.0 } else { faults },
            differences: differences(is_baseline),
            ..Behaviour::default()
        };
        let mut sim = SimConfig::new(wire(backend.engine)).template(template(backend.family));
        sim.record = false;
        sim.collector = servers.collector().filter(|_| backend.engine == Engine::Vllm);
        sim.vision |= backend.translation.vision;
        sims.push((backend.name.clone(), sim::start(sim, behaviour.clone()).await?, behaviour));
    }
    Ok(sims)
}

fn differences(is_baseline: bool) -> Differences {
    match is_baseline {
        true => Differences {
            share: BASELINE_DIFFERS,
            kinds: vec![Difference::OtherWords],
            by_call: true,
            ..Differences::default()
        },
        false => Differences { seed: 1, share: CANDIDATE_DIFFERS, ..Differences::default() },
    }
}

/// Returns the simulated engine of the same name.
fn wire(engine: Engine) -> Wire {
    Wire::ALL.into_iter().find(|wire| wire.as_str() == engine.as_str()).unwrap_or(Wire::Compatible)
}

/// Returns the template of a family. Without a family the model does not think.
fn template(family: Option<Family>) -> Template {
    match family {
        None | Some(Family::Qwen25 | Family::Instruct2507) => Template::Qwen25,
        Some(Family::Qwen3) => Template::Qwen3,
        Some(Family::Qwen35) => Template::Qwen35,
        Some(Family::Qwen38) => Template::Qwen38,
        Some(Family::Thinking) => Template::Thinking,
    }
}

/// Points every backend at its simulated server. One that was added to the file later shares the server of another.
fn point_at(config: &mut Config, sims: &BTreeMap<String, SocketAddr>) {
    for backend in &mut config.backends {
        let Some(address) = sims.get(&backend.name).or_else(|| sims.values().next()) else { continue };
        let Ok(authority) = address.to_string().parse::<Authority>() else { continue };
        backend.url = BackendUrl { scheme: Scheme::HTTP, authority, path: "/v1".to_owned() };
        backend.tls = None;
        backend.proxy = None;
        backend.h2 = false;
        if matches!(backend.api_key, ApiKey::Stored { .. }) {
            backend.api_key = ApiKey::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_a_simulator_of_its_name() {
        for engine in Engine::ALL {
            assert_eq!(wire(engine).as_str(), engine.as_str());
        }
    }
}
