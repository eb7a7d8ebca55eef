//! Polls the pages of one backend's `metrics`.
//!
//! Bound: a few numbers per URL are kept; a page takes at most [`MAX_PAGE`] while it is read.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use tokio::task::JoinSet;

use super::exchange::{Question, key_of};
use super::intervals::PollIntervals;
use super::prefix::{self, PrefixWindow};
use super::rate::Rate;
use super::signals::{Page, Signals};
use crate::backend::{Client, Target};
use crate::config::BackendUrl;
use crate::health::{Reading, is_fresh};
use crate::outcome::{LegKind, Role, Trail};

/// Limit of a page, in bytes; a larger one fails the poll. vLLM's page has 64 KiB, so this is enough for many engines.
const MAX_PAGE: u64 = 8 << 20;

/// One URL and the result of its last poll.
#[derive(Debug)]
struct Source {
    url: String,
    question: Question,
    client: Arc<Client>,
    page: Option<(Instant, Signals)>,
    generated: Rate,
    prefix: PrefixWindow,
    error: Option<String>,
}

/// Polls until its task is dropped.
pub(super) async fn poll(target: &Target, pace: PollIntervals) {
    let mut sources = Vec::new();
    let mut unusable = Vec::new();
    for url in &target.config.metrics {
        match Source::new(target, url, pace) {
            Ok(source) => sources.push(source),
            Err(cause) => unusable.push(format!("{url}: {cause}")),
        }
    }
    let mut copied = Rate::default();
    loop {
        sources = ask_all(sources, target).await;
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        copied.count(Instant::now(), target.load.copied() as f64);
        tell(target, &sources, &unusable, copied.per_second());
        tokio::time::sleep(pace.poll.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

/// Polls all pages at once: a server that hangs does not delay the others.
async fn ask_all(sources: Vec<Source>, target: &Target) -> Vec<Source> {
    let mut polls = JoinSet::new();
    for source in sources {
        let trail = Trail::new(LegKind::Probe, Role::Candidate, (&target.labels, &target.stats), "", false);
        polls.spawn(source.ask(trail));
    }
    let sources = polls.join_all().await;
    for source in &sources {
        let counter = if source.error.is_none() { &target.stats.polls_ok } else { &target.stats.polls_failed };
        counter.add(1);
    }
    sources
}

/// Stores the readings. `copied` is the rate of the tokens generated for copies, which the served rate does not include.
fn tell(target: &Target, sources: &[Source], unusable: &[String], copied: Option<f64>) {
    let now = Instant::now();
    let mut all = Signals::default();
    let (mut since, mut tokens) = (None, None);
    for source in sources {
        let Some((at, signals)) = source.page.as_ref().filter(|(at, _)| is_fresh(*at, now)) else { continue };
        all = all.and(signals);
        since = Some(since.map_or(*at, |oldest: Instant| oldest.min(*at)));
        if let Some(own) = signals.tokens_per_second(source.generated.per_second()) {
            tokens = Some(tokens.unwrap_or(0.0) + own);
        }
    }
    let is_current = |source: &&Source| source.page.as_ref().is_some_and(|(at, _)| is_fresh(*at, now));
    let prefixes = sources.iter().filter(is_current).filter_map(|source| source.prefix.within());
    let prefix_hit_rate = prefix::hit_rate(prefixes);
    let errors =
        sources.iter().filter_map(|source| source.error.as_ref().map(|error| format!("{}: {error}", source.url)));
    let errors: Vec<String> = errors.chain(unusable.iter().cloned()).collect();
    let reading = Reading { prefix_hit_rate, ..all.reading(without_copies(tokens, copied)) };
    target.load.tell(reading, since, (!errors.is_empty()).then(|| errors.join("; ")));
}

/// Subtracts the tokens per second that were generated for copies: these change neither the rate nor the price of served
/// answers.
fn without_copies(generated: Option<f64>, copied: Option<f64>) -> Option<f64> {
    generated.map(|rate| (rate - copied.unwrap_or(0.0)).max(0.0))
}

impl Source {
    fn new(target: &Target, url: &BackendUrl, pace: PollIntervals) -> Result<Self, String> {
        let client = target.client_for(url).map_err(|error| error.to_string())?;
        let path = if url.path.is_empty() { "/" } else { url.path.as_str() };
        let uri: Uri = path.parse().map_err(|_| "its path cannot be asked for".to_owned())?;
        let host = HeaderValue::from_str(url.authority.as_str())
            .map_err(|_| "its host cannot be a header's value".to_owned())?;
        // The key is not sent to another server.
        let own = url.scheme == target.config.url.scheme && url.authority == target.config.url.authority;
        let question = Question {
            method: Method::GET,
            uri,
            host,
            key: key_of(target).filter(|_| own),
            body: Bytes::new(),
            deadline: pace.deadline,
            max_answer: MAX_PAGE,
        };
        let (generated, prefix) = (Rate::default(), PrefixWindow::new(pace.hit_window));
        Ok(Self { url: url.to_string(), question, client, page: None, generated, prefix, error: None })
    }

    async fn ask(mut self, mut trail: Trail) -> Self {
        self.error = match self.question.ask(&self.client, &mut trail).await {
            Ok(answer) if answer.status.is_success() => self.take(&String::from_utf8_lossy(&answer.body)),
            Ok(answer) => Some(format!("it answered {}", answer.status.as_u16())),
            Err(failure) => Some(failure.to_string()),
        };
        self
    }

    fn take(&mut self, text: &str) -> Option<String> {
        let now = Instant::now();
        match Page::read(text) {
            Page::Signals(signals) => {
                if let Some(total) = signals.generated() {
                    self.generated.count(now, total);
                }
                self.prefix.add(now, signals.prefix());
                self.page = Some((now, *signals));
                None
            }
            Page::NothingNew => {
                if !self.page.as_ref().is_some_and(|(at, _)| is_fresh(*at, now)) {
                    self.page = Some((now, Signals::default()));
                }
                None
            }
            Page::Foreign => Some("there is no metric of a known engine in it".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_copies_do_not_change_the_served_rate() {
        assert_eq!(without_copies(Some(500.0), None), Some(500.0));
        assert_eq!(without_copies(Some(500.0), Some(450.0)), Some(50.0));
        assert_eq!(without_copies(Some(500.0), Some(501.0)), Some(0.0), "two counters are never read at once");
        assert_eq!(without_copies(None, Some(450.0)), None);
    }
}
