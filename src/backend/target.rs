//! A backend made ready for requests: everything that can be worked out when the file is read.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

use super::connect::Connector;
use super::pool::Client;
use super::tls::{self, TlsError};
use crate::config::{ApiKey, Backend, BackendUrl, Proxy};
use crate::health::Health;
use crate::model::Secret;
use crate::telemetry::stats::BackendStats;

/// Whose key goes along.
#[derive(Debug, Clone)]
pub enum Auth {
    Client,
    None,
    /// `Bearer …`, marked sensitive.
    Bearer(HeaderValue),
}

#[derive(Debug)]
pub struct Target {
    pub config: Backend,
    pub name: HeaderValue,
    pub host: HeaderValue,
    pub auth: Auth,
    pub client: Arc<Client>,
    /// As a candidate: whether it may be asked.
    pub health: Arc<Health>,
    pub stats: Arc<BackendStats>,
}

/// Why a valid section cannot be put to use here.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("backend.{backend}: {cause}")]
    Tls { backend: String, cause: TlsError },
    #[error("backend.{backend}: {what}")]
    Unusable { backend: String, what: &'static str },
}

impl Target {
    /// Keeps the connections and the health of `previous` when nothing in its section changed.
    pub fn prepare(config: &Backend, previous: Option<&Self>, stats: Arc<BackendStats>) -> Result<Self, PrepareError> {
        let unusable = |what| PrepareError::Unusable { backend: config.name.clone(), what };
        let name = HeaderValue::from_str(&config.name).map_err(|_| unusable("its name cannot be a header's value"))?;
        let host = HeaderValue::from_str(config.url.authority.as_str())
            .map_err(|_| unusable("its host cannot be a header's value"))?;
        let auth = match &config.api_key {
            ApiKey::Client => Auth::Client,
            ApiKey::None | ApiKey::Stored { value: None, .. } => Auth::None,
            ApiKey::Stored { value: Some(key), .. } => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                    .map_err(|_| unusable("its key has characters that no header may hold"))?;
                value.set_sensitive(true);
                Auth::Bearer(value)
            }
        };
        let (client, health) = match previous.filter(|previous| previous.config == *config) {
            Some(previous) => (Arc::clone(&previous.client), Arc::clone(&previous.health)),
            None => {
                let tls = match config.url.is_https() {
                    true => Some(
                        tls::client_config(config.tls.as_ref(), config.h2)
                            .map_err(|cause| PrepareError::Tls { backend: config.name.clone(), cause })?,
                    ),
                    false => None,
                };
                let proxy = proxy_of(config).map_err(unusable)?;
                let connector = Connector::new(&config.url, tls, proxy, config.timeout.connect)
                    .ok_or_else(|| unusable("its host is no name that TLS could verify"))?;
                let client = Client::new(connector, config.h2, config.keepalive, Arc::clone(&stats));
                (client, Health::new(config.breaker))
            }
        };
        Ok(Self { config: config.clone(), name, host, auth, client, health, stats })
    }

    /// Where a request for `asked` (under `/v1`) goes: the URL's path, one slash, the rest, the query as it came.
    pub fn uri_for(&self, asked: &Uri) -> Option<Uri> {
        let (path, query) = (asked.path(), asked.query());
        if self.config.url.path == "/v1" && path.starts_with("/v1/") {
            return asked.path_and_query().cloned().map(Uri::from);
        }
        let rest = path.strip_prefix("/v1").unwrap_or(path);
        let mut target = String::with_capacity(self.config.url.path.len() + path.len() + 1);
        target.push_str(&self.config.url.path);
        if !rest.starts_with('/') {
            target.push('/');
        }
        target.push_str(rest);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        PathAndQuery::try_from(target).ok().map(Uri::from)
    }
}

type ProxyParts = (Uri, Option<HeaderValue>);

fn proxy_of(config: &Backend) -> Result<Option<ProxyParts>, &'static str> {
    let parts = |url: &BackendUrl, basic: Option<&Secret>| -> Result<ProxyParts, &'static str> {
        let uri = url.to_string().parse().map_err(|_| "the proxy's URL cannot be dialled")?;
        let auth = match basic {
            Some(secret) => {
                let mut value = HeaderValue::from_str(secret.expose())
                    .map_err(|_| "the proxy's credentials have characters that no header may hold")?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok((uri, auth))
    };
    match &config.proxy {
        None | Some(Proxy::Env(None)) => Ok(None),
        Some(Proxy::Url { url, basic } | Proxy::Env(Some((url, basic)))) => parts(url, basic.as_ref()).map(Some),
    }
}
