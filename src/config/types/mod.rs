//! Types that a valid rollout.toml is read into. Names are those of the file; units are in the types.

mod backend;
mod config;
mod guard;
mod process;
mod route;
mod shadow;
mod telemetry;

pub use backend::{
    ApiKey, Backend, BackendUrl, Breaker, LateSystem, LogprobsPolicy, OwnWording, PemFile, PemKey, Price, Proxy,
    ReasoningPolicy, SecretSource, Timeouts, TlsFiles, TokenPrice, Translation, WordingMode,
};
pub use config::Config;
pub use guard::{Guard, GuardAction, GuardErrors, Notify, NotifyFormat};
pub use process::{Failover, Limits, Listen, Server};
pub use route::{KeySource, RequestMatch, Residency, Route};
pub use shadow::{Records, RouteShadow, Shadow};
pub use telemetry::{Keep, Telemetry};
