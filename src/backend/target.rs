//! A backend prepared for requests: everything that depends on the file alone is computed here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

use super::connect::Connector;
use super::facts::Facts;
use super::model_ends::ModelEnds;
use super::pool::{Client, MAX_COPY_HEAD, MAX_HEAD};
use super::quota::Quota;
use super::tls::{self, TlsError};
use crate::config::{ApiKey, Backend, BackendUrl, Proxy, Timeouts};
use crate::health::{Health, Limits, Load};
use crate::model::Secret;
use crate::outcome::BackendLabels;
use crate::stats::BackendStats;

/// Credentials sent to the backend.
#[derive(Debug, Clone)]
pub enum Auth {
    /// The application's own `authorization` header.
    Client,
    /// No credentials.
    None,
    /// `Bearer …` of the configured key, marked sensitive.
    Bearer(HeaderValue),
}

/// One backend with its connections, health and counters.
#[derive(Debug)]
pub struct Target {
    /// Its section of the file.
    pub config: Backend,
    /// Its name as a header value.
    pub name: HeaderValue,
    /// Its labels in telemetry.
    pub labels: Arc<BackendLabels>,
    /// Value of the `host` header.
    pub host: HeaderValue,
    /// Credentials for its requests.
    pub auth: Auth,
    /// Pooled connections to its URL.
    pub client: Arc<Client>,
    /// Breaker and cool-down; used if it is a candidate.
    pub health: Arc<Health>,
    /// Load reported by its metrics pages.
    pub load: Arc<Load>,
    /// Properties found by polls and probes.
    pub facts: Arc<Facts>,
    /// Dates at which its models are switched off.
    pub ends: Arc<ModelEnds>,
    /// How near it is to its rate limit.
    pub quota: Arc<Quota>,
    /// Counters, kept across reloads.
    pub stats: Arc<BackendStats>,
}

/// Reason for which a valid section cannot be used on this machine.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// TLS cannot be set up: certificates, key or roots.
    #[error("backend.{backend}: {cause}")]
    Tls {
        /// Name of the backend.
        backend: String,
        /// Reason, with the file concerned.
        cause: TlsError,
    },
    /// The section has a value that HTTP or TLS cannot carry.
    #[error("backend.{backend}: {what}")]
    Unusable {
        /// Name of the backend.
        backend: String,
        /// The value and its problem.
        what: &'static str,
    },
}

impl Target {
    /// Prepares a backend, and keeps those parts of `previous` that are still valid: connections, health, load, facts.
    pub fn prepare(config: &Backend, previous: Option<&Self>, stats: Arc<BackendStats>) -> Result<Self, PrepareError> {
        Self::prepare_with(config, previous, stats, MAX_HEAD)
    }

    fn prepare_with(
        config: &Backend,
        previous: Option<&Self>,
        stats: Arc<BackendStats>,
        max_head: u32,
    ) -> Result<Self, PrepareError> {
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
                Client::new(connector, (config.h2, max_head), config.keepalive, Arc::clone(&stats))
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
        let has_same_list = |before: &Self| before.config.url == config.url && before.config.watch_models;
        let ends = kept(previous, |before| config.watch_models && has_same_list(before), |before| &before.ends);
        let quota = kept(previous, |before| is_asked_alike(&before.config, config), |before| &before.quota);
        Ok(Self { config: config.clone(), name, labels, host, auth, client, health, load, facts, ends, quota, stats })
    }

    /// Prepares a copy of this backend for shadows: with connections, health and counters of its own, the same facts, and
    /// `total` as its only deadline beside that of connecting. It keeps the valid parts of `previous`.
    pub fn for_copies(&self, total: Duration, previous: Option<&Self>) -> Result<Self, PrepareError> {
        let mut config = self.config.clone();
        config.timeout = Timeouts { connect: config.timeout.connect, ttft: None, idle: None, total: Some(total) };
        let stats = previous.map(|previous| Arc::clone(&previous.stats)).unwrap_or_default();
        let own = Self::prepare_with(&config, previous, stats, MAX_COPY_HEAD)?;
        let (load, facts, quota) = (Arc::clone(&self.load), Arc::clone(&self.facts), Arc::clone(&self.quota));
        Ok(Self { load, facts, quota, ..own })
    }

    /// Creates a client for another server of this backend: one that has its metrics page.
    pub fn client_for(&self, url: &BackendUrl) -> Result<Arc<Client>, PrepareError> {
        // The proxy is not used for pages on this machine.
        let is_here = url.host() == "localhost" || url.host().parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
        let connector = connector(&self.config, url, !is_here, false)?;
        Ok(Client::new(connector, (false, MAX_HEAD), self.config.keepalive, Arc::default()))
    }

    /// Creates a client for questions off the request path, with the backend's settings and a pool of its own.
    pub fn own_client(&self) -> Result<Arc<Client>, PrepareError> {
        let connector = connector(&self.config, &self.config.url, true, self.config.h2)?;
        Ok(Client::new(connector, (self.config.h2, MAX_HEAD), self.config.keepalive, Arc::default()))
    }

    /// Limits of load above which the backend is not asked.
    pub fn limits(&self) -> Limits {
        Limits { max_waiting: self.config.max_waiting, max_kv_usage: self.config.max_kv_usage }
    }

    /// Longest context in tokens: the file's value, else the server's.
    pub fn max_model_len(&self) -> Option<u64> {
        self.config.translation.max_model_len.or_else(|| self.facts.max_model_len())
    }

    /// Returns the target for a request for `asked` (under `/v1`): the URL's path, one slash, the rest, the query
    /// unchanged.
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

/// Returns the part of `previous` that is still valid, or a new one.
fn kept<T: Default>(
    previous: Option<&Target>,
    holds: impl FnOnce(&Target) -> bool,
    part: impl FnOnce(&Target) -> &Arc<T>,
) -> Arc<T> {
    previous.filter(|before| holds(before)).map(|before| Arc::clone(part(before))).unwrap_or_default()
}

/// True if only price and wording differ, so that health stays valid. A changed key or authority may have been the
/// reason for failures.
pub(crate) fn is_asked_alike(before: &Backend, now: &Backend) -> bool {
    Backend { price: now.price.clone(), system: now.system.clone(), ..before.clone() } == *now
}

/// True if connections opened for one section serve the other.
fn is_reached_alike(before: &Backend, now: &Backend) -> bool {
    before.url == now.url
        && before.tls == now.tls
        && before.proxy == now.proxy
        && before.timeout.connect == now.timeout.connect
        && (before.h2, before.keepalive) == (now.h2, now.keepalive)
}

/// True if facts learned about one section are valid for the other.
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
        .ok_or_else(|| unusable("its host is not a name that TLS can verify"))
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
