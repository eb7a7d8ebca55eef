//! The handle of all shadows: offers requests, follows the file, ends.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::body::MAX_BODY;
use super::budget::Budget;
use super::capture::Captured;
use super::counted::Counted;
use super::finish::finish;
use super::follow::{begin, refuse};
use super::offer::Offer;
use super::pair::Job;
use super::served::ServedCopy;
use super::shared::Shared;
use super::verdicts::RouteVerdict;
use crate::choose::Choice;
use crate::config::Config;
use crate::exchange::{Inbound, Room};
use crate::live::InForce;
use crate::model::{CopyResult, TraceContext};
use crate::records::Writer;
use crate::stats::{Stats, lock};
use crate::telemetry::Tracer;
use crate::telemetry::meters::Meters;

/// Limit of requests that wait for the thread of shadows, which only decides about them. At it a request counts as
/// over `in_flight`.
const MAX_OFFERS: usize = 128;
/// Time from one look at the offers to the next while requests come. Waking a thread costs the served path more than all
/// else of an offer: a thread that looks by itself is not woken. At [`MAX_OFFERS`] this lets 64,000 requests/s through.
const PAUSE: Duration = Duration::from_millis(2);
/// Limit of pairs that wait for the comparison; at it a pair is not compared.
const MAX_JOBS: usize = 64;

/// All shadows of the process. Their work runs on two threads: one sends the copies, one compares.
#[derive(Debug)]
pub struct Shadows {
    shared: Arc<Shared>,
    /// The way to the threads; `None` before the first `[shadow]`.
    offers: Mutex<Option<mpsc::Sender<Offer>>>,
    /// Ends all running copies; `None` while the file in force has no `[shadow]`, so that requests of an earlier file are
    /// not copied either.
    cancel: Mutex<Option<CancellationToken>>,
    has_threads: AtomicBool,
    counted: Counted,
    /// Cancelled once the last comparison is over.
    compared: CancellationToken,
}

impl Shadows {
    /// Creates a handle without threads.
    pub fn new(stats: Arc<Stats>, tracer: Option<Arc<Tracer>>) -> Self {
        let shared = Arc::new(Shared::new(stats, tracer));
        Self {
            shared,
            offers: Mutex::default(),
            cancel: Mutex::default(),
            has_threads: AtomicBool::new(false),
            counted: Counted::default(),
            compared: CancellationToken::new(),
        }
    }

    /// Name of the process in records.
    pub fn instance(&self) -> &str {
        self.shared.instance.name()
    }

    /// Follows a reading of the file. A section that is gone ends its copies at once.
    pub fn follow(&self, config: &Config) {
        let stats = &self.shared.stats.shadow;
        self.follow_records(config);
        let Some(shadow) = &config.shadow else {
            self.cancel_all();
            return;
        };
        for route in &config.routes {
            for to in &shadow.to {
                drop(stats.pairing(&route.name, &config[*to].name));
            }
            drop(stats.noise(&route.name));
        }
        self.shared.receivers.keep(|name| config.backend(name).is_some());
        let now = Instant::now();
        let mut budget = lock(&self.shared.budget);
        budget
            .get_or_insert_with(|| Budget::full(shadow.budget_usd_per_hour, now))
            .set_rate(shadow.budget_usd_per_hour, now);
        drop(budget);
        lock(&self.cancel).get_or_insert_default();
        self.start();
    }

    fn follow_records(&self, config: &Config) {
        let has_content = config.records.as_ref().is_some_and(|records| records.content);
        self.shared.has_content.store(has_content, Relaxed);
        let mut records = lock(&self.shared.records);
        match (records.as_ref(), &config.records) {
            (Some(writer), Some(section)) => writer.follow(section),
            (None, Some(section)) => *records = Some(Writer::start(section, Arc::clone(&self.shared.stats.records))),
            (_, None) => *records = None,
        }
        drop(records);
        if config.records.is_some() {
            self.counted.begin(&self.shared, config);
        }
    }

    /// Starts the threads, once.
    fn start(&self) {
        if self.has_threads.swap(true, Relaxed) {
            return;
        }
        match start_threads(&self.shared, &self.compared) {
            Ok(sender) => *lock(&self.offers) = Some(sender),
            Err(error) => tracing::error!("no request is copied: the threads of shadows cannot be started: {error}"),
        }
    }

    fn cancel_all(&self) {
        if let Some(cancel) = lock(&self.cancel).take() {
            cancel.cancel();
        }
    }

    /// Takes no more requests, and ends all running copies.
    pub fn stop(&self) {
        // The threads end after the last copy.
        *lock(&self.offers) = None;
        self.cancel_all();
    }

    /// Writes the counts since the last call, if the file has `[records]`. `meters` knows which models are asked for.
    pub fn write_counts(&self, in_force: &InForce, meters: &Meters) {
        self.counted.write(&self.shared, in_force, meters);
    }

    /// Stops, and writes what is left within `limit`.
    pub async fn finish(&self, in_force: &InForce, meters: &Meters, limit: Duration) {
        let until = Instant::now() + limit;
        self.stop();
        if self.has_threads.load(Relaxed) {
            // Later pairs are lost with the process.
            drop(tokio::time::timeout(limit, self.compared.cancelled()).await);
        }
        self.write_counts(in_force, meters);
        let records = lock(&self.shared.records).take();
        if let Some(writer) = records {
            let left = until.saturating_duration_since(Instant::now());
            drop(tokio::task::spawn_blocking(move || writer.finish(left)).await);
        }
    }

    /// Money left for copies, in USD; `None` before the first `[shadow]`.
    pub fn budget_left(&self) -> Option<f64> {
        self.shared.budget_left(Instant::now())
    }

    /// Returns the verdict of each route and candidate on the pairs since the start, at most a second old. A thread that
    /// serves nobody makes them.
    pub async fn verdicts(&self) -> Arc<[RouteVerdict]> {
        if !self.shared.verdicts.has_pairs() {
            return Arc::default();
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.verdicts.said(Instant::now())).await.unwrap_or_default()
    }

    /// Offers a request that is being sent for copying; `None` if it is not copied. Never waits.
    pub fn offer(
        &self,
        in_force: &Arc<InForce>,
        choice: &Choice,
        inbound: &Arc<Inbound>,
        trace: Option<TraceContext>,
    ) -> Option<Box<ServedCopy>> {
        let sample = choice.sample()?;
        let shadow = in_force.snapshot.config.shadow.as_ref()?;
        let room = || Room::of(&self.shared.stats.shadow.bytes, shadow.max_bytes);
        let length = inbound.body().map_or(usize::MAX, Bytes::len);
        let mut body_room = room();
        let refused = if sample.is_declined {
            Some(CopyResult::OptedOut)
        } else if length > MAX_BODY {
            Some(CopyResult::Ineligible)
        } else {
            (!body_room.hold(length as u64)).then_some(CopyResult::Bytes)
        };
        let (end, served) = oneshot::channel();
        let (captured, parts) = Captured::new(room());
        let is_wanted = Arc::new(AtomicBool::new(true));
        let cancel = lock(&self.cancel).as_ref()?.child_token();
        let offer = Offer {
            in_force: Arc::clone(in_force),
            inbound: Arc::clone(inbound),
            choice: choice.clone(),
            sample,
            trace,
            is_wanted: Arc::clone(&is_wanted),
            cancel: cancel.clone(),
            parts,
            served,
            room: body_room,
        };
        if offer.receivers().is_empty() {
            return None;
        }
        if let Some(result) = refused {
            refuse(&self.shared, &offer, result);
            return None;
        }
        // Without a sender the process is ending.
        let offers = lock(&self.offers).clone()?;
        if let Err(TrySendError::Full(offer)) = offers.try_send(offer) {
            refuse(&self.shared, &offer, CopyResult::InFlight);
            return None;
        }
        Some(Box::new(ServedCopy::new(captured, is_wanted, cancel, end)))
    }
}

/// Starts the thread that sends copies and the thread that compares.
fn start_threads(shared: &Arc<Shared>, compared: &CancellationToken) -> std::io::Result<mpsc::Sender<Offer>> {
    let (offers, mut offered) = mpsc::channel(MAX_OFFERS);
    let (compare, jobs) = sync_channel::<Job>(MAX_JOBS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (own, compared) = (Arc::clone(shared), compared.clone().drop_guard());
    thread::Builder::new().name("compare".to_owned()).spawn(move || {
        let _compared = compared;
        for job in jobs {
            finish(&own, &job, None);
        }
    })?;
    let own = Arc::clone(shared);
    thread::Builder::new().name("shadow".to_owned()).spawn(move || {
        runtime.block_on(async {
            while let Some(offer) = offered.recv().await {
                begin(&own, offer, &compare);
                begin_more(&own, &mut offered, &compare).await;
            }
            own.tasks.close();
            own.tasks.wait().await;
        });
    })?;
    Ok(offers)
}

/// Begins copies without being woken for each, until none was offered for [`PAUSE`].
async fn begin_more(shared: &Arc<Shared>, offered: &mut mpsc::Receiver<Offer>, compare: &SyncSender<Job>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Ok(first) = offered.try_recv() else { return };
        begin(shared, first, compare);
        while let Ok(offer) = offered.try_recv() {
            begin(shared, offer, compare);
        }
    }
}
