//! Opening one connection to a backend (DNS, TCP, proxy tunnel, TLS) within one deadline.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::error::{Failure, with_source};
use super::io::Stream;
use super::resolve::Resolver;
use crate::config::BackendUrl;

/// The route to one backend: address, proxy and TLS settings.
#[derive(Debug, Clone)]
pub struct Connector {
    destination: Uri,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    proxy: Option<(Uri, Option<HeaderValue>)>,
    timeout: Duration,
    resolver: Resolver,
}

impl Connector {
    /// Returns `None` if TLS cannot verify the host's name.
    pub fn new(
        url: &BackendUrl,
        tls: Option<Arc<ClientConfig>>,
        proxy: Option<(Uri, Option<HeaderValue>)>,
        timeout: Duration,
    ) -> Option<Self> {
        let tls = match tls {
            Some(config) => Some((config, ServerName::try_from(url.host().to_owned()).ok()?)),
            None => None,
        };
        let host = url.authority.host();
        let destination = Uri::builder()
            .scheme(url.scheme.clone())
            .authority(format!("{host}:{}", url.port()))
            .path_and_query("/")
            .build()
            .ok()?;
        Some(Self { destination, tls, proxy, timeout, resolver: Resolver::default() })
    }

    /// True if connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns `target` with this backend's scheme and authority.
    pub fn absolute(&self, target: &Uri) -> Uri {
        let mut parts = self.destination.clone().into_parts();
        parts.path_and_query = target.path_and_query().cloned();
        Uri::from_parts(parts).unwrap_or_else(|_| self.destination.clone())
    }

    /// Opens a connection; fails with [`Failure::ConnectTimeout`] at the deadline.
    pub async fn connect(&self) -> Result<Stream, Failure> {
        tokio::time::timeout(self.timeout, self.open()).await.map_err(|_| Failure::ConnectTimeout(self.timeout))?
    }

    async fn open(&self) -> Result<Stream, Failure> {
        let tcp = self.open_tcp().await?;
        let Some((config, name)) = &self.tls else { return Ok(Stream::Tcp(tcp)) };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), tcp)
            .await
            .map_err(|error| Failure::Tls(with_source(&error)))?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    async fn open_tcp(&self) -> Result<TcpStream, Failure> {
        let mut connector = HttpConnector::new_with_resolver(self.resolver.clone());
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let opened = match &self.proxy {
            None => {
                connector.call(self.destination.clone()).await.map_err(|error| Failure::Connect(with_source(&error)))?
            }
            Some((proxy, auth)) => {
                let mut tunnel = Tunnel::new(proxy.clone(), connector);
                if let Some(auth) = auth {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                tunnel.call(self.destination.clone()).await.map_err(|error| Failure::Proxy(with_source(&error)))?
            }
        };
        Ok(TokioIo::into_inner(opened))
    }
}
