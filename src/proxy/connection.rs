//! One connection of an application: served by hyper, checked for timeouts, closed at shutdown.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_io::{ClientIo, ConnActivity, Overdue};
use super::respond;
use super::shared::Proxy;

/// Interval of checks of a busy connection that has no deadline.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Time that a connection has to close after it was asked to.
const TO_END: Duration = Duration::from_secs(5);
/// Time that an idle connection stays open at shutdown: a request may already be in transit.
const AT_CLOSING: Duration = Duration::from_secs(1);

/// Answer to a head that misses its timeout.
static TOO_SLOW: LazyLock<Arc<[u8]>> = LazyLock::new(|| respond::without_request(StatusCode::REQUEST_TIMEOUT));

/// A request that gets no answer; hyper closes its connection, or resets its stream over HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("the application's own deadline passed")]
struct HangUp;

type Server = auto::Builder<TokioExecutor>;

/// Serves a connection until the peer, shutdown or a timeout ends it.
pub(super) async fn serve<S>(proxy: Arc<Proxy>, server: Arc<Server>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = ConnActivity::new();
    let service = {
        let (proxy, activity) = (Arc::clone(&proxy), Arc::clone(&activity));
        service_fn(move |request: Request<Incoming>| {
            let (proxy, activity) = (Arc::clone(&proxy), Arc::clone(&activity));
            async move {
                let (busy, fault) = activity.begin();
                let mut response = proxy.handle(request, fault).await;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    activity.switch();
                }
                if response.body().hangs_up() {
                    return Err(HangUp);
                }
                response.body_mut().hold(busy);
                Ok(response)
            }
        })
    };
    let io = ClientIo::new(stream, Arc::clone(&activity), Arc::clone(&TOO_SLOW));
    let mut connection = std::pin::pin!(server.serve_connection_with_upgrades(TokioIo::new(io), service));
    let shutdown = &proxy.shutdown;
    let (mut closing, mut cut) =
        (std::pin::pin!(shutdown.closing.cancelled()), std::pin::pin!(shutdown.cut.cancelled()));
    let mut closing_since = None;
    let (mut was_asked_to_end, mut was_told_of_closing) = (false, false);
    let mut watchdog = Watchdog::new(&proxy, &activity);
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(served) = connection.as_mut().poll(cx) {
                // An error on a client's connection ends it. Errors of requests are in their outcomes; this one
                // happened outside of any request.
                let parse = |error: &(dyn std::error::Error + 'static)| {
                    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
                };
                if served.is_err_and(|error| parse(&*error)) {
                    proxy.stats.close("malformed");
                }
                return Poll::Ready(());
            }
            if closing_since.is_none() && closing.as_mut().poll(cx).is_ready() {
                closing_since = Some(Instant::now());
            }
            // hyper closes a connection without a request at once, and its first request may be in transit.
            if closing_since.is_some() && activity.is_used() && !std::mem::replace(&mut was_told_of_closing, true) {
                connection.as_mut().graceful_shutdown();
                continue;
            }
            // The cut follows the closing: until then only one token needs polling.
            if closing_since.is_some() && cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let overdue = std::task::ready!(watchdog.poll(cx, closing_since));
            if closing_since.is_some() && !std::mem::replace(&mut was_told_of_closing, true) {
                connection.as_mut().graceful_shutdown();
                continue;
            }
            // A connection that does not end after it was asked to is dropped.
            if closing_since.is_some() || std::mem::replace(&mut was_asked_to_end, true) {
                return Poll::Ready(());
            }
            proxy.stats.close(overdue.as_str());
            match overdue {
                Overdue::Head => activity.expire(),
                Overdue::Idle => connection.as_mut().graceful_shutdown(),
                Overdue::Write => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// One timer per connection, reset only when it fires, so that requests do not touch it.
struct Watchdog<'c> {
    proxy: &'c Proxy,
    activity: &'c ConnActivity,
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
    /// Instant before which no timeout applies: the connection was just asked to end.
    quiet_until: Option<Instant>,
}

impl<'c> Watchdog<'c> {
    fn new(proxy: &'c Proxy, activity: &'c ConnActivity) -> Self {
        let first = activity.due(&proxy.timeouts).map_or_else(|| Instant::now() + LOOK_AGAIN, |(at, _)| at);
        Self { proxy, activity, sleep: Box::pin(tokio::time::sleep_until(first.into())), quiet_until: None }
    }

    fn due(&self, closing_since: Option<Instant>) -> Option<(Instant, Overdue)> {
        let (at, overdue) = self.activity.due(&self.proxy.timeouts)?;
        // Counted from the end of the last answer: over HTTP/2 its last bytes may still wait for the peer.
        let at = match closing_since.filter(|_| overdue != Overdue::Write) {
            Some(since) => at.min(since.max(self.activity.idle_since()) + AT_CLOSING),
            None => at,
        };
        Some((self.quiet_until.map_or(at, |until| at.max(until)), overdue))
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>, closing_since: Option<Instant>) -> Poll<Overdue> {
        loop {
            let due = self.due(closing_since);
            if let Some((at, _)) = due.filter(|(at, _)| *at < self.sleep.deadline().into_std()) {
                self.sleep.as_mut().reset(at.into());
            }
            std::task::ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            let next = match due {
                Some((at, overdue)) if at <= now => {
                    let until = now + TO_END.min(self.proxy.timeouts.idle);
                    self.quiet_until = Some(until);
                    self.sleep.as_mut().reset(until.into());
                    return Poll::Ready(overdue);
                }
                Some((at, _)) => at,
                // Over HTTP/2 an answer can stall without a wake-up of this task.
                None => now + LOOK_AGAIN.min(self.proxy.timeouts.write),
            };
            self.sleep.as_mut().reset(next.into());
        }
    }
}
