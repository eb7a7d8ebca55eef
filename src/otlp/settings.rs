//! The destination of traces and its options, from the file and the `OTEL_*` variables, which override the file.
//!
//! Pure: the environment is read through a function. A variable that is not understood is reported and ignored.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use percent_encoding::percent_decode_str;

use super::env::{Env, EnvReader, EnvWarning};
use super::resource;
use crate::config::{Telemetry, http_url};
use crate::telemetry::tracer::Sampler;

/// Default limit of the queue, in requests; beyond it traces are dropped. Holds 8 s at 2,000 requests a second.
const MAX_QUEUE: usize = 16_384;
/// Default size of a batch, in requests; the default of the OpenTelemetry SDKs.
const BATCH: usize = 512;
/// Default delay of a batch that is not full. The SDKs wait 5 s; a trace should be there when one looks for it.
const DELAY: Duration = Duration::from_millis(500);
/// Default timeout of one batch with its retries; the default of the SDKs.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// Default timeout of one attempt; the default of the SDKs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Transport of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// Settings of the exporter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub(super) protocol: Protocol,
    /// URL, for HTTP with its path.
    pub(super) endpoint: String,
    /// Sampler from the environment; without it the file's ratio applies.
    pub(super) sampler: Option<Sampler>,
    /// Limit of the queue, in requests; at least `batch`.
    pub(super) max_queue: usize,
    /// Limit of a batch, in requests.
    pub(super) batch: usize,
    /// Delay of a batch that is not full.
    pub(super) delay: Duration,
    /// Timeout of a batch with its retries.
    pub(super) export_timeout: Duration,
    pub(super) resource: Vec<KeyValue>,
    /// PEM file with root certificates.
    pub(super) ca: Option<String>,
    /// Headers of every request, secrets among them.
    pub(super) headers: HeaderMap,
    /// Timeout of one attempt.
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    /// PEM files with the client's certificate and key.
    pub(super) client: Option<(String, String)>,
}

impl Settings {
    /// Returns the resource's `service.name`. One process can export for several services.
    pub(super) fn service(&self) -> String {
        let name = self.resource.iter().find(|pair| pair.key.as_str() == "service.name");
        name.map(|pair| pair.value.as_str().into_owned()).unwrap_or_default()
    }
}

/// Reads the settings; `None` if nothing is exported.
pub(super) fn read(file: &Telemetry, env: Env<'_>) -> (Option<Settings>, Vec<EnvWarning>) {
    let mut vars = EnvReader::new(env);
    let is_on = is_on(&mut vars);
    let target = if is_on { target(file, &mut vars) } else { None };
    let settings = target.map(|(protocol, endpoint)| {
        let batch = vars.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH);
        let max_queue = vars.number("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE).max(batch);
        let client = client(&mut vars);
        Settings {
            protocol,
            endpoint,
            ca: vars
                .first(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"])
                .map(|(_, path)| path),
            client,
            headers: headers(&mut vars),
            timeout: timeout(&mut vars),
            gzip: gzip(&mut vars),
            sampler: sampler(&mut vars),
            max_queue,
            batch,
            delay: vars.millis("OTEL_BSP_SCHEDULE_DELAY", DELAY),
            export_timeout: vars.millis("OTEL_BSP_EXPORT_TIMEOUT", EXPORT_TIMEOUT),
            resource: resource::read(file, &mut vars),
        }
    });
    (settings, vars.into_warnings())
}

/// Returns the warnings that `check` prints about the environment.
pub(super) fn warnings(file: &Telemetry, env: Env<'_>) -> Vec<String> {
    let (settings, odd) = read(file, env);
    let mut warnings: Vec<String> = odd.iter().map(ToString::to_string).collect();
    match (&file.otlp, settings) {
        (Some(url), None) => {
            warnings.push(format!("telemetry.otlp {url} is not used: the environment turns traces off"))
        }
        (url, Some(settings)) if url.as_deref().is_none_or(|url| !settings.endpoint.starts_with(url)) => {
            warnings.push(format!("traces go to {}, as the environment says", settings.endpoint));
        }
        _ => {}
    }
    warnings
}

fn is_on(vars: &mut EnvReader<'_>) -> bool {
    if vars.get("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        return false;
    }
    match vars.get("OTEL_TRACES_EXPORTER") {
        None => true,
        Some(names) if names.split(',').any(|name| name.trim() == "otlp") => true,
        Some(names) => {
            if names.trim() != "none" {
                vars.warn("OTEL_TRACES_EXPORTER", &names, "does not name an exporter of shiftgate: write otlp or none");
            }
            false
        }
    }
}

fn target(file: &Telemetry, vars: &mut EnvReader<'_>) -> Option<(Protocol, String)> {
    let (mut name, mut url, mut is_base) = ("otlp", file.otlp.clone(), false);
    if let Some((general, value)) = vars.first(&["OTEL_EXPORTER_OTLP_ENDPOINT"]) {
        (name, url, is_base) = (general, Some(value), true);
    }
    if let Some((own, value)) = vars.first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) {
        (name, url, is_base) = (own, Some(value), false);
    }
    let url = url?.trim().to_owned();
    // Users of gRPC leave the scheme out.
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    let uri = match http_url(&url) {
        Ok(uri) => uri,
        Err(problem) => {
            // The URL is not shown: it may be wrong because it holds a secret.
            vars.warn(name, "…", format!("{problem}: no traces are exported"));
            return None;
        }
    };
    let has_path = !uri.path.is_empty();
    let protocol = protocol(vars).unwrap_or_else(|| {
        // The path of a general endpoint is a prefix and does not imply HTTP.
        let speaks_http = (has_path && !is_base) || uri.authority.port_u16() == Some(4318);
        if speaks_http { Protocol::Http } else { Protocol::Grpc }
    });
    let endpoint = match protocol {
        Protocol::Http if is_base || !has_path => format!("{}/v1/traces", url.trim_end_matches('/')),
        Protocol::Http | Protocol::Grpc => url,
    };
    Some((protocol, endpoint))
}

fn protocol(vars: &mut EnvReader<'_>) -> Option<Protocol> {
    let (name, value) = vars.first(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])?;
    match value.trim() {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::Http),
        _ => {
            vars.warn(name, &value, "is not supported: write grpc or http/protobuf");
            None
        }
    }
}

/// Reads `name=value,…`, percent-encoded. The values are never printed.
fn headers(vars: &mut EnvReader<'_>) -> HeaderMap {
    let Some((name, text)) = vars.first(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) else {
        return HeaderMap::new();
    };
    let header = |pair: &str| {
        let (name, text) = pair.split_once('=')?;
        let name = HeaderName::try_from(name.trim()).ok()?;
        let text = percent_decode_str(text.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let mut headers = HeaderMap::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        match header(pair) {
            Some((name, value)) => drop(headers.append(name, value)),
            None => vars.warn(name, "…", "has a part that is not a header as name=value: it is left out"),
        }
    }
    headers
}

/// Reads the client's certificate and key; both or neither.
fn client(vars: &mut EnvReader<'_>) -> Option<(String, String)> {
    let chain = vars.first(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"]);
    let key = vars.first(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]);
    match (chain, key) {
        (Some((_, chain)), Some((_, key))) => Some((chain, key)),
        (Some((name, path)), None) => {
            vars.warn(name, &path, "has no key beside it: name it in OTEL_EXPORTER_OTLP_CLIENT_KEY");
            None
        }
        (None, Some((name, path))) => {
            vars.warn(name, &path, "has no certificate beside it: name it in OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
            None
        }
        (None, None) => None,
    }
}

fn timeout(vars: &mut EnvReader<'_>) -> Duration {
    let general = vars.millis("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT);
    vars.millis("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", general)
}

fn gzip(vars: &mut EnvReader<'_>) -> bool {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
    let Some((name, value)) = vars.first(&names) else { return false };
    match value.trim() {
        "gzip" => true,
        "none" => false,
        _ => {
            vars.warn(name, &value, "is not a supported compression: write gzip or none");
            false
        }
    }
}

fn sampler(vars: &mut EnvReader<'_>) -> Option<Sampler> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    let name = vars.get(NAME)?;
    let (follows, kind) = match name.trim().strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, name.trim()),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => ratio(vars),
        _ => {
            vars.warn(NAME, &name, "is not a supported sampler: the file's ratio applies");
            return None;
        }
    };
    Some(Sampler { ratio, follows })
}

fn ratio(vars: &mut EnvReader<'_>) -> f64 {
    const ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(text) = vars.get(ARG) else { return 1.0 };
    match text.trim().parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            vars.warn(ARG, &text, "is not a number from 0 to 1: 1 applies");
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(otlp: Option<&str>, vars: &[(&str, &str)]) -> (Option<Settings>, Vec<EnvWarning>) {
        let file = Telemetry { otlp: otlp.map(str::to_owned), ..Telemetry::default() };
        let env = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(&file, &env)
    }

    fn target(otlp: Option<&str>, vars: &[(&str, &str)]) -> Option<(Protocol, String)> {
        with(otlp, vars).0.map(|settings| (settings.protocol, settings.endpoint))
    }

    #[test]
    fn the_url_tells_the_protocol_unless_a_variable_does() {
        use Protocol::{Grpc, Http};
        let general = |url: &'static str| vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
        for (file, vars, protocol, endpoint) in [
            (Some("http://h:4317"), vec![], Grpc, "http://h:4317"),
            (Some("http://h:4318"), vec![], Http, "http://h:4318/v1/traces"),
            (Some("https://h/otlp/v1/traces"), vec![], Http, "https://h/otlp/v1/traces"),
            (
                Some("http://h:4317"),
                vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Http,
                "http://h:4317/v1/traces",
            ),
            (Some("http://h:4318"), vec![("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")], Grpc, "http://h:4318"),
            (None, general("http://e:4318/"), Http, "http://e:4318/v1/traces"),
            (Some("http://h:4317"), general("http://e:4318/base"), Http, "http://e:4318/base/v1/traces"),
            (None, general("e:4317"), Grpc, "http://e:4317"),
            (
                None,
                vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e:4317"),
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:9/x"),
                ],
                Http,
                "http://t:9/x",
            ),
        ] {
            assert_eq!(target(file, &vars), Some((protocol, endpoint.to_owned())), "{file:?} {vars:?}");
        }
    }

    #[test]
    fn off_is_off_and_what_is_odd_is_told() {
        assert_eq!(target(None, &[]), None);
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(with(Some("http://h:4317"), &[off]), (None, vec![]), "{off:?}");
        }
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_RESOURCE_ATTRIBUTES", "novalue"),
        ] {
            let odd = with(Some("http://h:4317"), &[(name, value)]).1;
            assert_eq!(odd.len(), 1, "{name}");
            assert!(odd[0].to_string().starts_with(&format!("{name} is {value:?}, which ")), "{}", odd[0]);
        }
        for (name, value, why) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://me:secret@h", "is not an http or https URL: no traces are exported"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "me:secret@h", "has a user name or password in it: no traces are exported"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://h?a=secret",
                "has a query or fragment: no traces are exported",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a b=secret",
                "has a part that is not a header as name=value: it is left out",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a=se%0Acret",
                "has a part that is not a header as name=value: it is left out",
            ),
        ] {
            let odd = with(Some("http://h:4317"), &[(name, value)]).1;
            let told: Vec<String> = odd.iter().map(ToString::to_string).collect();
            assert_eq!(told, [format!("{name} is \"…\", which {why}")], "{value}");
        }
        let alone = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert.pem");
        let (settings, odd) = with(Some("http://h:4317"), &[alone]);
        assert!(settings.unwrap().client.is_none() && odd[0].to_string().contains("OTEL_EXPORTER_OTLP_CLIENT_KEY"));
    }

    #[test]
    fn samplers_and_sizes() {
        let sampler = |name: &str, arg: &str| {
            with(Some("http://h"), &[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)])
                .0
                .unwrap()
                .sampler
        };
        assert_eq!(sampler("parentbased_traceidratio", "0.25"), Some(Sampler { ratio: 0.25, follows: true }));
        assert_eq!(sampler("always_off", ""), Some(Sampler { ratio: 0.0, follows: false }));
        assert_eq!(sampler("", ""), None);
        let settings = with(
            Some("http://h"),
            &[
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_SCHEDULE_DELAY", "20"),
                ("OTEL_BSP_EXPORT_TIMEOUT", "5000"),
            ],
        );
        let settings = settings.0.unwrap();
        assert_eq!((settings.max_queue, settings.batch), (BATCH, BATCH), "a batch has to fit");
        assert_eq!((settings.delay, settings.export_timeout), (Duration::from_millis(20), Duration::from_secs(5)));
    }
}
