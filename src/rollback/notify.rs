//! Sends messages, off the request path. The URL is a secret: no error here shows it.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::message::Message;
use crate::backend::{Connector, tls};
use crate::config::{BackendUrl, Notify};
use crate::model::Secret;
use crate::stats::lock;

/// Messages that wait; further ones are lost and counted. A candidate makes two in a minute at most.
const QUEUE: usize = 64;
/// Waits before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Time limit of one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);

/// A receiver and the body for it.
type Notice = (Secret, Vec<u8>);

/// The queue of messages, and what became of them.
#[derive(Debug)]
pub(super) struct Notices {
    /// The way to the sender; `None` once the process ends.
    queue: Mutex<Option<Sender<Notice>>>,
    waiting: Mutex<Option<Receiver<Notice>>>,
    /// Messages that wait or are being sent.
    pending: AtomicU64,
    /// Cancelled when the process ends, so that no try waits for its pause.
    ending: CancellationToken,
    /// Cancelled once the last message is sent.
    done: CancellationToken,
    /// Cancelled when there is no time left for messages.
    given_up: CancellationToken,
    sent: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
}

impl Default for Notices {
    fn default() -> Self {
        let (queue, waiting) = channel(QUEUE);
        let zero = || AtomicU64::new(0);
        Self {
            queue: Mutex::new(Some(queue)),
            waiting: Mutex::new(Some(waiting)),
            pending: zero(),
            ending: CancellationToken::new(),
            done: CancellationToken::new(),
            given_up: CancellationToken::new(),
            sent: zero(),
            failed: zero(),
            lost: zero(),
        }
    }
}

/// Reason for which a message did not arrive.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("guard.notify.url has no host that can be connected to")]
    Url,
    #[error("{0}")]
    Tls(#[from] tls::TlsError),
    #[error("{0}")]
    Connect(#[from] crate::backend::Failure),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("no answer within 5 s")]
    Timeout,
}

impl Notices {
    /// Queues a message; one too many is lost and counted.
    pub(super) fn queue(&self, notify: &Notify, message: Message) {
        let body = message.body(notify.format);
        let queue = lock(&self.queue).clone();
        let why = if queue.is_some() { "too many wait" } else { "the process is ending" };
        self.pending.fetch_add(1, Relaxed);
        let queued = queue.zip(notify.url.clone().zip(body.ok())).map(|(queue, notice)| queue.try_send(notice));
        if !matches!(queued, Some(Ok(()))) {
            self.pending.fetch_sub(1, Relaxed);
            self.lost.fetch_add(1, Relaxed);
            tracing::error!("a message of the guard was lost, because {why}: look at guard.notify");
        }
    }

    /// Takes no more messages, and waits until those that there are have been sent, for at most `limit`.
    pub(super) async fn finish(&self, limit: Duration) {
        *lock(&self.queue) = None;
        self.ending.cancel();
        if self.pending.load(Relaxed) > 0 {
            drop(tokio::time::timeout(limit, self.done.cancelled()).await);
        }
        self.given_up.cancel();
        let lost = self.pending.load(Relaxed);
        if lost > 0 {
            self.lost.fetch_add(lost, Relaxed);
            tracing::error!(lost, "the process ends before the guard's messages were delivered: look at guard.notify");
        }
    }

    /// Messages by result.
    pub(super) fn counts(&self) -> [(&'static str, u64); 3] {
        [("sent", &self.sent), ("failed", &self.failed), ("lost", &self.lost)]
            .map(|(result, count)| (result, count.load(Relaxed)))
    }

    /// Sends what is queued, one message after the other.
    pub(super) async fn send(&self) {
        let Some(waiting) = lock(&self.waiting).take() else { return };
        let _done = self.done.clone().drop_guard();
        self.given_up.run_until_cancelled(self.send_all(waiting)).await;
    }

    async fn send_all(&self, mut waiting: Receiver<Notice>) {
        while let Some((url, body)) = waiting.recv().await {
            match self.deliver(&url, Bytes::from(body)).await {
                Ok(()) => self.sent.fetch_add(1, Relaxed),
                Err(error) => {
                    tracing::error!("a message of the guard was not delivered after three tries: {error}");
                    self.failed.fetch_add(1, Relaxed)
                }
            };
            self.pending.fetch_sub(1, Relaxed);
        }
    }

    async fn deliver(&self, url: &Secret, body: Bytes) -> Result<(), NotifyError> {
        let mut result = attempt(url, body.clone()).await;
        for pause in PAUSES {
            if result.is_ok() {
                break;
            }
            self.ending.run_until_cancelled(tokio::time::sleep(pause)).await;
            result = attempt(url, body.clone()).await;
        }
        result
    }
}

async fn attempt(url: &Secret, body: Bytes) -> Result<(), NotifyError> {
    tokio::time::timeout(TRY_TIMEOUT, post(url, body)).await.unwrap_or(Err(NotifyError::Timeout))
}

/// Posts a message. A redirect is an error: the receiver of the file is the only one.
async fn post(url: &Secret, body: Bytes) -> Result<(), NotifyError> {
    let uri: Uri = url.expose().parse().map_err(|_| NotifyError::Url)?;
    let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority().cloned()) else {
        return Err(NotifyError::Url);
    };
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| NotifyError::Url)?;
    let place = BackendUrl { scheme, authority, path: String::new() };
    let tls = if place.is_https() { Some(tls::client_config(None, false)?) } else { None };
    let connector = Connector::new(&place, tls, None, TRY_TIMEOUT).ok_or(NotifyError::Url)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(connector.connect().await?)).await?;
    // The connection ends with the request.
    let driver = tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    (*request.method_mut(), *request.uri_mut()) = (Method::POST, target.parse().map_err(|_| NotifyError::Url)?);
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("shiftgate/", env!("CARGO_PKG_VERSION"))));
    let answer = sender.send_request(request).await;
    driver.abort();
    let status = answer?.status();
    if status.is_success() { Ok(()) } else { Err(NotifyError::Status(status)) }
}
