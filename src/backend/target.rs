//! A backend made ready for requests: everything that can be worked out when the file is read.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

use super::connect::Connector;
use super::facts::Facts;
use super::pool::Client;
use super::tls::{self, TlsError};
use crate::config::{ApiKey, Backend, BackendUrl, Proxy};
use crate::health::{Health, Limits, Load};
use crate::model::Secret;
use crate::outcome::BackendLabels;
use crate::stats::BackendStats;

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
    /// Its names in telemetry.
    pub labels: Arc<BackendLabels>,
    pub host: HeaderValue,
    pub auth: Auth,
    pub client: Arc<Client>,
    /// As a candidate: whether it may be asked.
    pub health: Arc<Health>,
    /// What its servers say of their load.
    pub load: Arc<Load>,
    pub facts: Arc<Facts>,
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
    /// Keeps of `previous` what still holds: connections, health, load, learned facts.
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
        let client = match previous.filter(|previous| is_reached_alike(&previous.config, config)) {
            Some(previous) => Arc::clone(&previous.client),
            None => {
                let connector = connector(config, &config.url, true, config.h2)?;
                Client::new(connector, config.h2, config.keepalive, Arc::clone(&stats))
            }
        };
        let health = match previous {
            Some(before) if is_asked_alike(&before.config, config) => Arc::clone(&before.health),
            before => Health::new(config.breaker, before.map(|before| before.health.as_ref())),
        };
        let labels = Arc::new(BackendLabels {
            name: config.name.clone(),
            engine: config.engine,
            host: config.url.host().to_owned(),
            port: config.url.port(),
        });
        let load = kept(previous, |before| before.config.metrics == config.metrics, |before| &before.load);
        let facts = kept(previous, |before| is_same_server(&before.config, config), |before| &before.facts);
        Ok(Self { config: config.clone(), name, labels, host, auth, client, health, load, facts, stats })
    }

    /// A way to another server that belongs to this backend: a page of its metrics.
    pub fn client_for(&self, url: &BackendUrl) -> Result<Arc<Client>, PrepareError> {
        // A page on this machine is not what a proxy is for.
        let is_here = url.host() == "localhost" || url.host().parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
        let connector = connector(&self.config, url, !is_here, false)?;
        Ok(Client::new(connector, false, self.config.keepalive, Arc::default()))
    }

    /// Above these it is not asked.
    pub fn limits(&self) -> Limits {
        Limits { max_waiting: self.config.max_waiting, max_kv_usage: self.config.max_kv_usage }
    }

    /// The longest context: as the file says, else as the server does.
    pub fn max_model_len(&self) -> Option<u64> {
        self.config.translation.max_model_len.or_else(|| self.facts.max_model_len())
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

/// What of `previous` still holds, or a new beginning.
fn kept<T: Default>(
    previous: Option<&Target>,
    holds: impl FnOnce(&Target) -> bool,
    part: impl FnOnce(&Target) -> &Arc<T>,
) -> Arc<T> {
    previous.filter(|before| holds(before)).map(|before| Arc::clone(part(before))).unwrap_or_default()
}

/// True if requests to one fare like requests to the other: nothing but the price differs. A key or an authority may
/// have been the reason for failures.
pub(crate) fn is_asked_alike(before: &Backend, now: &Backend) -> bool {
    Backend { price: now.price.clone(), ..before.clone() } == *now
}

/// True if connections opened for one serve the other.
fn is_reached_alike(before: &Backend, now: &Backend) -> bool {
    before.url == now.url
        && before.tls == now.tls
        && before.proxy == now.proxy
        && before.timeout.connect == now.timeout.connect
        && (before.h2, before.keepalive) == (now.h2, now.keepalive)
}

/// Whether what was learned of one holds for the other.
fn is_same_server(before: &Backend, now: &Backend) -> bool {
    let parts = |backend: &Backend| {
        (backend.url.clone(), backend.engine, backend.models.clone(), backend.family, backend.translation.probe)
    };
    parts(before) == parts(now)
}

fn connector(config: &Backend, url: &BackendUrl, proxied: bool, h2: bool) -> Result<Connector, PrepareError> {
    let unusable = |what| PrepareError::Unusable { backend: config.name.clone(), what };
    let tls = match url.is_https() {
        true => Some(
            tls::client_config(config.tls.as_ref(), h2)
                .map_err(|cause| PrepareError::Tls { backend: config.name.clone(), cause })?,
        ),
        false => None,
    };
    let proxy = if proxied { proxy_of(config).map_err(unusable)? } else { None };
    Connector::new(url, tls, proxy, config.timeout.connect)
        .ok_or_else(|| unusable("its host is no name that TLS could verify"))
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
