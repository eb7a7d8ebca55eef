//! Finds settings that are legal but risky.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::copies::{Copies, unpriced};
use super::types::{ApiKey, Config, Guard, GuardAction, Listen, Residency, Route, RouteShadow, SecretSource};

/// Copies for each served request from which a receiver's load is worth a warning: it was sized for a tenth of them.
const MUCH_LOAD: f64 = 10.0;

/// Percent of a candidate from which its withdrawal is worth a warning: the baseline gets half as much again.
const MUCH_SHARE: f64 = 30.0;

/// Returns one line for each setting that is legal but risky.
pub fn warnings(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    let stores_keys = config.backends.iter().any(|one| matches!(one.api_key, ApiKey::Stored { .. }));
    if let Listen::Tcp(address) = &config.server.listen
        && !address.ip().is_loopback()
        && stores_keys
    {
        warnings.push(format!(
            "server.listen {address} can be reached from other machines, and keys are stored here: anyone who reaches it can spend them"
        ));
    }
    if !config.server.admin.ip().is_loopback() {
        warnings.push(format!(
            "server.admin {} can be reached from other machines: it shows status and metrics",
            config.server.admin
        ));
    }
    let set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    if set("HTTPS_PROXY") || set("https_proxy") {
        for backend in config.backends.iter().filter(|one| one.url.is_https() && one.proxy.is_none()) {
            warnings.push(format!(
                "HTTPS_PROXY is set, but backend.{} is connected to directly: add proxy = \"env\" if it needs the proxy",
                backend.name
            ));
        }
    }
    if config.sticky.is_empty() {
        warnings.push("sticky is empty: the turns of one conversation may go to different backends".to_owned());
    }
    for backend in &config.backends {
        if let ApiKey::Stored { source: SecretSource::File { path, .. }, value: Some(_) } = &backend.api_key
            && can_be_private(path)
        {
            warnings.push(format!("{} can be read by other users: chmod 600", path.display()));
        }
        if (backend.max_waiting.is_some() || backend.max_kv_usage.is_some()) && backend.metrics.is_empty() {
            warnings
                .push(format!("backend.{}: max_waiting and max_kv_usage have no effect without metrics", backend.name));
        }
        if let (Some(early), Some(ttft)) = (config.failover.early_head, backend.timeout.ttft)
            && ttft <= early
        {
            warnings.push(format!(
                "backend.{}: early_head has no effect, because timeout.ttft is not above it",
                backend.name
            ));
        }
        if backend.engine.self_hosted() && backend.family.is_none() {
            warnings.push(format!(
                "backend.{}: family is not given, so the model may think although the application does not expect it",
                backend.name
            ));
        }
        if !backend.url.is_https()
            && matches!(backend.api_key, ApiKey::Stored { .. } | ApiKey::Client)
            && !is_near(backend.url.host())
        {
            warnings
                .push(format!("backend.{}: keys and prompts are sent to {} unencrypted", backend.name, backend.url));
        }
    }
    warnings.extend(config.residency.iter().flat_map(|rule| residency(config, rule)));
    warnings.extend(copies(config));
    if let Some(records) = config.records.as_ref().filter(|records| records.content && config.shadow.is_some()) {
        warnings.push(format!("records.content: prompts and answers are written to {}", records.path.display()));
    }
    warnings.extend(guard(config));
    warnings
}

/// Returns the warnings about the guard: what it forgets, who could read its messages, and the load that it moves.
fn guard(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(guard) = &config.guard else {
        let with_own = config.routes.iter().filter(|route| route.overdue.is_some());
        warnings.extend(
            with_own
                .map(|route| format!("route {}: overdue has no effect: the file has no [guard] section", route.name)),
        );
        return warnings;
    };
    if config.server.state.is_none() {
        warnings.push(
            "[guard] without server.state: after a restart a candidate that was withdrawn gets requests again"
                .to_owned(),
        );
    }
    if is_told_openly(guard) {
        warnings.push("guard.notify.url is an http URL of another machine: messages are sent unencrypted".to_owned());
    }
    if guard.action == GuardAction::Rollback {
        warnings.extend(config.routes.iter().flat_map(|route| load_of_a_withdrawal(config, route)));
    }
    warnings
}

fn is_told_openly(guard: &Guard) -> bool {
    let url = guard.notify.as_ref().and_then(|notify| notify.url.as_ref());
    let Some(uri) = url.and_then(|url| url.expose().parse::<http::Uri>().ok()) else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    uri.scheme_str() == Some("http") && !is_near(host)
}

/// Returns a warning for each candidate with so large a share that the baseline's quota may not bear its withdrawal.
fn load_of_a_withdrawal(config: &Config, route: &Route) -> Vec<String> {
    let shifted: f64 = route.percent.iter().map(|(_, percent)| percent.as_f64()).sum();
    let (left, name) = (100.0 - shifted, &config[config.baseline].name);
    let large = route.percent.iter().filter(|(_, percent)| percent.as_f64() >= MUCH_SHARE);
    large
        .map(|(candidate, percent)| {
            let load = match left {
                left if left < 0.005 => format!("gives {name}, which serves none of them, {percent} % of the requests"),
                left => format!("gives {name} {:.1} times its load", (left + percent.as_f64()) / left),
            };
            format!(
                "route {}: a withdrawal of {} {load} at once: its quota has to suffice",
                route.name, config[*candidate].name
            )
        })
        .collect()
}

/// Returns the warnings about copies: prompts that go back to the baseline, load, and money.
fn copies(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(shadow) = &config.shadow else {
        let with_own = config.routes.iter().filter(|route| matches!(route.shadow, RouteShadow::Percent(_)));
        warnings.extend(with_own.map(|route| {
            format!(
                "route {}: shadow has no effect: the file has no [shadow] section, so nothing is copied",
                route.name
            )
        }));
        return warnings;
    };
    if shadow.to.contains(&config.baseline) {
        let baseline = &config[config.baseline];
        warnings.push(format!(
            "shadow.to names the baseline: prompts that candidates serve are copied back to {} at {}",
            baseline.name, baseline.url
        ));
    }
    for (route, to) in config.routes.iter().flat_map(|route| shadow.to.iter().map(move |to| (route, *to))) {
        let times = Copies::of(config, route, to).per_served().unwrap_or(0.0);
        if times >= MUCH_LOAD {
            let (route, name) = (&route.name, &config[to].name);
            warnings.push(format!("route {route}: {name} gets {times:.0} times as many copies as it serves requests"));
        }
    }
    for backend in unpriced(config) {
        let name = &backend.name;
        warnings.push(format!("shadow.budget_usd_per_hour does not limit copies to {name}: its price is not known"));
    }
    if shadow.budget_usd_per_hour == 0.0 {
        warnings.push("shadow.budget_usd_per_hour is 0: nothing is copied to backends with a price".to_owned());
    }
    warnings
}

/// Returns the warnings of a residency rule: tags without a backend, and requests without failover.
fn residency(config: &Config, rule: &Residency) -> Vec<String> {
    let mut warnings = Vec::new();
    for tag in &rule.allow {
        if !config.backends.iter().any(|backend| backend.tags.contains(tag)) {
            warnings.push(format!("residency {}: no backend has the tag {tag}", rule.name));
        }
    }
    let baseline = &config[config.baseline];
    if !rule.allows(&baseline.tags) {
        let mut allowed = config.backends.iter().filter(|backend| rule.allows(&backend.tags));
        let tags = rule.allow.join(", ");
        let mut warning = format!(
            "residency {0}: requests of {0} have no failover: {1}, the baseline, has none of {tags}",
            rule.name, baseline.name
        );
        if let (Some(only), None) = (allowed.next(), allowed.next()) {
            let has: Vec<&str> = only.tags.iter().filter(|tag| rule.allow.contains(tag)).map(String::as_str).collect();
            warning.push_str(&format!("; only {} has {}", only.name, has.join(", ")));
        }
        warnings.push(warning);
    }
    warnings
}

/// True if other users may read the file, and this process's user can change that: the file is its own, and does not lie
/// on a read-only file system such as a mounted volume.
fn can_be_private(path: &Path) -> bool {
    let is_open = |file: std::fs::Metadata| {
        file.permissions().mode() & 0o077 != 0 && file.uid() == rustix::process::geteuid().as_raw()
    };
    std::fs::metadata(path).is_ok_and(is_open)
        && rustix::fs::statvfs(path).is_ok_and(|mount| !mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
