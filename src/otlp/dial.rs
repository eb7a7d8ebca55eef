//! Connections to a collector: this process' own TLS and resolver, under gRPC's channel and under plain HTTP.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_http::{HttpClient, HttpError};
use tower_service::Service;

use super::settings::Settings;
use crate::backend::{Connector, Failure, Stream, tls};
use crate::config::{BackendUrl, PemFile, PemKey, TlsFiles};
use crate::model::Secret;

/// Timeout of connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Limit of a collector's answer, in bytes; a longer one is an error. An answer has a few bytes, or a message.
const MAX_ANSWER: usize = 64 << 10;

/// The collector cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{path} cannot be read: {cause}")]
    File { path: String, cause: std::io::Error },
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("its URL has no host that can be connected to")]
    Url,
}

/// Opens connections to one collector.
#[derive(Debug, Clone)]
pub(super) struct CollectorConnector(Connector);

impl CollectorConnector {
    /// Makes a connector; `h2` is true if the collector has to speak HTTP/2.
    pub(super) fn new(settings: &Settings, h2: bool) -> Result<Self, ConnectError> {
        let uri: Uri = settings.endpoint.parse().map_err(|_| ConnectError::Url)?;
        let (scheme, authority) = (uri.scheme().cloned(), uri.authority().cloned());
        let (Some(scheme), Some(authority)) = (scheme, authority) else { return Err(ConnectError::Url) };
        let url = BackendUrl { scheme, authority, path: uri.path().to_owned() };
        let tls = match url.is_https() {
            true => Some(tls::client_config(Some(&files(settings)?), h2)?),
            false => None,
        };
        Connector::new(&url, tls, None, CONNECT_TIMEOUT).map(Self).ok_or(ConnectError::Url)
    }
}

/// Reads the PEM files.
fn files(settings: &Settings) -> Result<TlsFiles, ConnectError> {
    let read = |path: &str| std::fs::read(path).map_err(|cause| ConnectError::File { path: path.to_owned(), cause });
    let pem = |path: &str| Ok::<_, ConnectError>(PemFile { path: path.into(), pem: read(path)? });
    let ca = settings.ca.as_deref().map(pem).transpose()?;
    let client = match &settings.client {
        Some((chain, key)) => {
            let secret = Secret::new(String::from_utf8_lossy(&read(key)?));
            Some((pem(chain)?, PemKey { path: key.into(), pem: secret }))
        }
        None => None,
    };
    Ok(TlsFiles { ca, client })
}

impl Service<Uri> for CollectorConnector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.connect().await?)) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Sends OTLP over HTTP. The caller sets the timeout.
#[derive(Debug)]
pub(super) struct HttpSender(Client<CollectorConnector, Full<Bytes>>);

impl HttpSender {
    pub(super) fn new(connector: CollectorConnector) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

#[async_trait]
impl HttpClient for HttpSender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = self.0.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}
