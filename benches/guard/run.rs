//! One run: a process, its servers, its application, and what the guard did.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Tally};
use crate::process::{Process, Seen};
use crate::scenario::Scenario;
use crate::server::{Mode, Server};

/// Interval at which `/status` is read.
const POLL: Duration = Duration::from_millis(200);
/// Time for which the application goes on after a rollback.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Events of one run. Times are from the onset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    number: u64,
    /// Time of the first hold, and the requests at the candidate until then by its own count.
    pub(crate) held: Option<(Duration, u64)>,
    pub(crate) rolled_back: Option<Duration>,
    /// True if the guard acted before the onset.
    pub(crate) is_early: bool,
    /// States after the first, with their times.
    states: Vec<(f64, String)>,
    cause: String,
    why: String,
    /// Requests at the candidate from the onset to the end.
    requests: u64,
    pub(crate) tally: Tally,
}

/// Runs a scenario once; `begins_at` spreads the runs.
pub(crate) async fn run(
    scenario: Scenario,
    number: u64,
    begins_at: Instant,
    healthy: Duration,
) -> anyhow::Result<Outcome> {
    let mut openai = Server::start("gpt-4o", number * 2)?;
    let mut qwen = Server::start("qwen", number * 2 + 1)?;
    let process = Process::start(&openai.url(), &qwen.url())?;
    tokio::time::sleep_until(begins_at.into()).await;
    let stop = CancellationToken::new();
    let application = tokio::spawn(client::run(process.listen, stop.clone()));
    let onset = Instant::now() + healthy;
    let mut outcome = Outcome { number, ..Outcome::default() };
    watch(&scenario, (&openai, &qwen, &process), onset, &mut outcome).await?;
    if outcome.rolled_back.is_some() {
        tokio::time::sleep(AFTERWARDS).await;
    }
    stop.cancel();
    outcome.tally = application.await?;
    openai.check().await?;
    qwen.check().await?;
    Ok(outcome)
}

/// Reads `/status` until a rollback or the end, and changes the servers' modes at their times.
async fn watch(
    scenario: &Scenario,
    (openai, qwen, process): (&Server, &Server, &Process),
    onset: Instant,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let (mut before, mut has_begun, mut has_ended) = (0, false, false);
    let mut last = process.guard().await?;
    ensure!(last.state == "watching", "the guard does not watch: {last:?}");
    loop {
        let now = Instant::now();
        if !has_begun && now >= onset {
            has_begun = true;
            before = qwen.requests();
            qwen.set(scenario.candidate);
            openai.set(scenario.baseline);
        }
        if !has_ended && scenario.lasts.is_some_and(|lasts| now >= onset + lasts) {
            has_ended = true;
            qwen.set(Mode::Well);
            openai.set(Mode::Well);
        }
        let seen = process.guard().await?;
        outcome.requests = qwen.requests() - before;
        if seen != last {
            outcome.note(&seen, onset, has_begun);
            last = seen;
        }
        if outcome.rolled_back.is_some() || Instant::now() >= onset + scenario.look {
            return Ok(());
        }
        let next = if has_begun { now + POLL } else { onset.min(now + POLL) };
        tokio::time::sleep_until(next.into()).await;
    }
}

impl Outcome {
    fn note(&mut self, seen: &Seen, onset: Instant, has_begun: bool) {
        let after = onset.elapsed();
        let signed = after.as_secs_f64() - onset.saturating_duration_since(Instant::now()).as_secs_f64();
        self.states.push((signed, seen.state.clone()));
        (self.cause, self.why) = (seen.cause.clone(), seen.why.clone());
        self.is_early |= !has_begun;
        match seen.state.as_str() {
            "held" if self.held.is_none() => self.held = Some((after, self.requests)),
            "rolled_back" if self.rolled_back.is_none() => self.rolled_back = Some(after),
            _ => {}
        }
    }

    /// Returns one line.
    pub(crate) fn line(&self) -> String {
        let seconds = |after: Duration| format!("{:.1} s", after.as_secs_f64());
        let held = self.held.map_or_else(
            || "never held".to_owned(),
            |(after, requests)| format!("held after {}, {requests} requests at the candidate", seconds(after)),
        );
        let latched = self
            .rolled_back
            .map_or_else(|| "not rolled back".to_owned(), |after| format!("rolled back after {}", seconds(after)));
        let states: Vec<String> = self.states.iter().map(|(after, state)| format!("{after:.1} {state}")).collect();
        let failed: Vec<String> = self.tally.failed.iter().map(|(error, count)| format!("{count} {error}")).collect();
        format!(
            "run {:2}: {held}; {latched}; [{}]; {} requests at the candidate; {} sent, {} failed {failed:?}; behind by \
             {} ms, {} late; cause {:?}: {:?}",
            self.number,
            states.join(", "),
            self.requests,
            self.tally.sent,
            self.tally.failures(),
            self.tally.behind.as_millis(),
            self.tally.late,
            self.cause,
            self.why
        )
    }
}
