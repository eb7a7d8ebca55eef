//! Types that a valid rollout.toml is read into. Names are those of the file; units are in the types.

mod backend;
mod config;
mod process;
mod route;
mod shadow;
mod telemetry;

pub use backend::{ApiKey, Backend, Price, ReasoningPolicy, Timeouts};
pub(crate) use backend::{
    BackendUrl, Breaker, LateSystem, LogprobsPolicy, PemFile, PemKey, Proxy, SecretSource, TlsFiles, TokenPrice,
    Translation,
};
pub use config::Config;
pub(crate) use process::{Failover, Limits};
pub use process::{Listen, Server};
pub use route::Route;
pub(crate) use route::{KeySource, RouteMatch};
pub(crate) use shadow::{Records, Shadow, ShadowTo};
pub(crate) use telemetry::Keep;
pub use telemetry::Telemetry;
