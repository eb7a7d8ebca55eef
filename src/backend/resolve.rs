//! Cached name resolution of one backend: one lookup at a time, and a failed lookup keeps the last good addresses.
//!
//! Bound: one entry per connector, which has one name. IP addresses are never looked up.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tokio::sync::Mutex;
use tower_service::Service;

/// Time for which a cached answer is used without a new lookup. Connections age out, so that a change is noticed.
const FRESH: Duration = Duration::from_secs(30);

/// Resolver of the operating system (`getaddrinfo`) behind a cache.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolver(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    good: Option<Known>,
    /// Time and text of the last failed lookup, shared with callers that waited for it.
    failed: Option<(Instant, String)>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Instant,
}

impl Resolver {
    /// Returns the addresses. Callers that arrive during a lookup wait for its result.
    async fn addresses<L>(&self, now: impl Fn() -> Instant, lookup: L) -> io::Result<Vec<SocketAddr>>
    where
        L: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        let called_at = now();
        let mut answers = self.0.lock().await;
        if let Some(good) = answers.good.as_ref().filter(|good| now().saturating_duration_since(good.since) < FRESH) {
            return Ok(good.addresses.clone());
        }
        if let Some((_, error)) = answers.failed.as_ref().filter(|(at, _)| *at > called_at) {
            return Err(io::Error::other(error.clone()));
        }
        match (lookup.await, answers.good.as_mut()) {
            (Ok(addresses), _) => {
                *answers = Answers { good: Some(Known { addresses: addresses.clone(), since: now() }), failed: None };
                Ok(addresses)
            }
            (Err(_), Some(last)) => {
                // Delays the next lookup as long as after a good answer.
                last.since = now();
                Ok(last.addresses.clone())
            }
            (Err(error), None) => {
                answers.failed = Some((now(), error.to_string()));
                Err(error)
            }
        }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let lookup = async move { GaiResolver::new().call(name).await.map(Iterator::collect::<Vec<_>>) };
            resolver.addresses(Instant::now, lookup).await.map(Vec::into_iter)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

    #[tokio::test]
    async fn one_lookup_serves_all_and_a_failure_forgets_nothing() {
        let (start, seconds, lookups) = (Instant::now(), AtomicU64::new(0), AtomicUsize::new(0));
        let resolver = Resolver::default();
        let now = || start + Duration::from_secs(seconds.load(Relaxed));
        let ask = |answer: Result<u16, ()>| {
            resolver.addresses(now, async move {
                tokio::task::yield_now().await;
                answer.map(|port| vec![SocketAddr::from(([127, 0, 0, 1], port))]).map_err(|()| io::Error::other("no"))
            })
        };
        let counted = |answer| {
            let asked = ask(answer);
            let lookups = &lookups;
            async move {
                let found = asked.await.map(|found| found[0].port()).map_err(|error| error.to_string());
                lookups.fetch_add(1, Relaxed);
                found
            }
        };
        assert_eq!(counted(Err(())).await, Err("no".to_owned()), "nothing is known yet");
        let (first, second) = tokio::join!(counted(Ok(1)), counted(Ok(2)));
        assert_eq!((first, second), (Ok(1), Ok(1)), "the second finds the answer of the first");
        seconds.store(29, Relaxed);
        assert_eq!(counted(Ok(3)).await, Ok(1));
        seconds.store(31, Relaxed);
        assert_eq!(counted(Err(())).await, Ok(1), "the last good answer holds");
        assert_eq!(counted(Ok(4)).await, Ok(1), "for as long as a fresh one");
        seconds.store(62, Relaxed);
        assert_eq!(counted(Ok(5)).await, Ok(5));
        assert_eq!(lookups.load(Relaxed), 7);
    }
}
