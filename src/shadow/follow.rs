//! The copies of one request: begun together, and joined with the served answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use super::capture::{Kept, Parts};
use super::leg::{self, LegDone, ReadyLeg};
use super::offer::Offer;
use super::pair::{About, Job};
use super::shared::Shared;
use crate::model::{CopyResult, PairResult};
use crate::outcome::LegKind;

/// Decides about the copies of a request, and starts them. Runs on the thread of shadows.
pub(super) fn begin(shared: &Arc<Shared>, offer: Offer, compare: &SyncSender<Job>) {
    let now = Instant::now();
    let (mut legs, mut refused) = (Vec::new(), None);
    for to in offer.receivers() {
        let ready = leg::prepare(shared, &offer, (to, LegKind::Shadow), now);
        let result = ready.as_ref().err().copied();
        shared.pairing(&offer, to).copy(result.unwrap_or(CopyResult::Sent));
        refused = refused.or(result);
        legs.extend(ready);
    }
    if legs.is_empty() {
        offer.is_wanted.store(false, Relaxed);
        // Without a pair there is nothing to put a noise leg beside.
        if let Some(result) = refused.filter(|_| offer.has_noise()) {
            shared.count_noise(&offer, result);
        }
        return;
    }
    let noise = offer.has_noise().then(|| {
        let ready = leg::prepare(shared, &offer, (offer.served_by(), LegKind::Noise), now);
        shared.count_noise(&offer, ready.as_ref().err().copied().unwrap_or(CopyResult::Sent));
        ready.ok()
    });
    shared.tasks.spawn(follow(Arc::clone(shared), offer, legs, noise.flatten(), compare.clone()));
}

/// Counts a request that gets no copies because of `result`, or of a reason before it in the list.
pub(super) fn refuse(shared: &Shared, offer: &Offer, result: CopyResult) {
    let first = |to| match result {
        CopyResult::OptedOut => result,
        _ => leg::impossible(offer, to, Instant::now()).unwrap_or(result),
    };
    for to in offer.receivers() {
        shared.pairing(offer, to).copy(first(to));
    }
    if offer.has_noise() {
        shared.count_noise(offer, first(offer.served_by()));
    }
}

async fn follow(
    shared: Arc<Shared>,
    mut offer: Offer,
    legs: Vec<ReadyLeg>,
    noise: Option<ReadyLeg>,
    compare: SyncSender<Job>,
) {
    let run = |leg: ReadyLeg| tokio::spawn(leg.run(Arc::clone(&shared), offer.cancel.clone()));
    let running: Vec<_> = legs.into_iter().map(run).collect();
    let noise = noise.map(run);
    let waiting = offer.in_force.target(&offer.choice).load.reading(Instant::now()).waiting;
    let copies = async {
        let mut shadows: Vec<LegDone> = Vec::with_capacity(running.len());
        for leg in running {
            shadows.extend(leg.await);
        }
        let noise = match noise {
            Some(leg) => leg.await.ok(),
            None => None,
        };
        (shadows, noise)
    };
    let mut kept = Kept::new(offer.inbound.endpoint(), offer.inbound.is_stream(), offer.room.sibling());
    let (shadows, noise) = reading(&mut offer.parts, &mut kept, &offer.is_wanted, copies).await;
    // Awaited last: the end of a served request then wakes this thread only if all copies have ended.
    let served = reading(&mut offer.parts, &mut kept, &offer.is_wanted, &mut offer.served).await;
    let Ok(served) = served else { return };
    let about = Arc::new(About::new(offer, kept, *served, (noise, waiting)));
    for (place, shadow) in shadows.into_iter().enumerate() {
        let job = Job { about: Arc::clone(&about), shadow, is_first: place == 0 };
        // A comparison that is not there in time is not worth a queue.
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = compare.try_send(job) {
            super::finish::finish(&shared, &job, Some(PairResult::CompareFull));
        }
    }
}

/// Reads parts of the served answer until `work` is done.
async fn reading<T>(parts: &mut Parts, kept: &mut Kept, is_wanted: &AtomicBool, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(part) = parts.recv() => {
                if !kept.take(&part) {
                    is_wanted.store(false, Relaxed);
                }
            }
        }
    }
}
