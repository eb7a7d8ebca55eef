//! Every section but `[backend.X]`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use http::HeaderName;

use super::load::{Context, backend_index};
use super::problem::Problems;
use super::reader::{
    Section, Value, Wrong, boolean, count, duration, fraction, list, not_negative, percent, size, string, whole, wrong,
};
use super::types::{
    Failover, KeySource, Limits, Listen, Records, Route, RouteMatch, Server, Shadow, ShadowTo, Telemetry,
};
use super::url::{UrlProblem, http_url};
use crate::model::{BackendId, Glob, Percent};

pub(super) fn server(mut s: Section<'_, '_>, context: &Context<'_>, p: &mut Problems<'_>) -> Server {
    let listen = s.read("listen", p, |value| {
        let text = string(value)?;
        match text.strip_prefix("unix:") {
            Some("") => wrong("has no path after unix:", "write \"unix:/run/shiftgate.sock\""),
            Some(path) => Ok(Listen::Unix(context.resolve(path))),
            None => address(text).map(Listen::Tcp),
        }
    });
    let server = Server {
        listen: listen.unwrap_or_else(|| Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))),
        admin: s
            .read("admin", p, |value| address(string(value)?))
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9900))),
        max_body: s.read("max_body", p, size).unwrap_or(32 << 20),
        drain: s.read("drain", p, duration).unwrap_or(Duration::from_secs(20)),
        threads: s
            .read("threads", p, |value| whole(value, 1, 256))
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or(2),
        request_log: s.read("request_log", p, boolean).unwrap_or(true),
        allow_override: s.read("allow_override", p, boolean).unwrap_or(false),
    };
    s.finish(p);
    server
}

fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let cure = "write an address and a port, such as \"127.0.0.1:8080\"";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // Of names only this machine's own: others would need the network to read a file.
    match text.split_once(':') {
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => text
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.find(SocketAddr::is_ipv4))
            .map_or_else(|| wrong(format!("is {text:?}"), cure), Ok),
        _ => wrong(format!("is {text:?}"), cure),
    }
}

pub(super) fn limits(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Limits {
    let limits = Limits {
        in_flight: s.read("in_flight", p, count).unwrap_or(1024),
        connections: s.read("connections", p, count).unwrap_or(10_000),
        body_bytes: s.read("body_bytes", p, size).unwrap_or(256 << 20),
        head: s
            .read("head", p, |value| match size(value)? {
                head @ 1024..=1_048_576 => Ok(head),
                _ => wrong("is out of range", "write a size from 1KiB to 1MiB"),
            })
            .and_then(|head| usize::try_from(head).ok())
            .unwrap_or(64 << 10),
    };
    s.finish(p);
    limits
}

pub(super) fn failover(mut s: Section<'_, '_>, p: &mut Problems<'_>) -> Failover {
    let failover = Failover {
        enabled: s.read("enabled", p, boolean).unwrap_or(true),
        retry_budget: s.read("retry_budget", p, fraction).unwrap_or(0.2),
    };
    s.finish(p);
    failover
}

/// `[rollout]`, read.
pub(super) struct Rollout {
    pub(super) name: String,
    pub(super) baseline: Option<BackendId>,
    pub(super) sticky: Vec<KeySource>,
    percent: Vec<(BackendId, Percent)>,
}

pub(super) fn rollout(mut s: Section<'_, '_>, names: &[String], p: &mut Problems<'_>) -> Rollout {
    let name =
        s.require("name", "add name = \"…\": the salt of the assignment", p, string).unwrap_or_default().to_owned();
    let baseline = s
        .require("baseline", "add baseline = \"…\": the backend that serves what is not shifted", p, |value| {
            string(value).map(|name| (name, value))
        })
        .and_then(|(name, value)| backend_index(name, value, names, "baseline", p));
    let percent = s.require("percent", "add percent = { NAME = 0.0 }: it has no default", p, Ok);
    let percent = percent.map(|value| percents("[rollout]", value, names, baseline, p)).unwrap_or_default();
    let sticky = match s.get("sticky") {
        Some(value) => list("sticky", value, p, key_source),
        None => default_sticky(),
    };
    s.finish(p);
    Rollout { name, baseline, sticky, percent }
}

fn default_sticky() -> Vec<KeySource> {
    let mut chain = vec![KeySource::Header(HeaderName::from_static("x-session-id"))];
    for field in ["prompt_cache_key", "metadata.session_id", "safety_identifier", "user"] {
        chain.push(KeySource::Field(field.split('.').map(str::to_owned).collect()));
    }
    chain.push(KeySource::Conversation);
    chain
}

fn key_source(text: &str) -> Result<KeySource, Wrong> {
    let cure = "write \"header:NAME\", a field of the body such as \"metadata.session_id\", or \"hash:conversation\"";
    match text.split_once(':') {
        Some(("header", name)) => match name.parse() {
            Ok(name) => Ok(KeySource::Header(name)),
            Err(_) => wrong(format!("is {text:?}, and that is no header's name"), cure),
        },
        Some(("hash", "conversation")) => Ok(KeySource::Conversation),
        Some(_) => wrong(format!("is {text:?}"), cure),
        None if text.split('.').any(str::is_empty) => wrong(format!("is {text:?}"), cure),
        None => Ok(KeySource::Field(text.split('.').map(str::to_owned).collect())),
    }
}

fn ids(names: &[String]) -> impl Iterator<Item = BackendId> + Clone {
    (0..names.len()).map(BackendId::new)
}

/// Every candidate of the file by name, those that the table leaves out at 0.
fn percents(
    of: &str,
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Vec<(BackendId, Percent)> {
    let table = Section::new(format!("percent of {of}"), value, p);
    let mut given: Vec<(BackendId, Percent)> = Vec::new();
    let mut sum = 0_u32;
    for (name, span, value) in table.entries() {
        let percent = match percent(value) {
            Ok(percent) => percent,
            Err(wrong) => {
                p.add(&value.span(), format!("percent of {name} {}", wrong.what), wrong.cure);
                continue;
            }
        };
        sum += u32::from(percent.hundredths());
        let Some(index) = names.iter().position(|known| known == name).map(BackendId::new) else {
            let candidates = ids(names).filter(|id| Some(*id) != baseline).map(|id| names[id.index()].as_str());
            let cure = super::reader::unknown_cure(name, candidates);
            p.add(&span, format!("percent names {name:?}, and no [backend.{name}] is there"), cure);
            continue;
        };
        if Some(index) == baseline {
            p.add(&span, format!("percent names the baseline {name:?}"), "leave it out: it serves the rest");
            continue;
        }
        given.push((index, percent));
    }
    if sum > 10_000 {
        p.add(
            &value.span(),
            format!("the percents of {of} add up to {}.{:02}, above 100", sum / 100, sum % 100),
            "lower one: what is left to 100 is the baseline's",
        );
    }
    let mut all: Vec<(BackendId, Percent)> = ids(names)
        .filter(|id| Some(*id) != baseline)
        .map(|index| given.iter().find(|(named, _)| *named == index).copied().unwrap_or((index, Percent::ZERO)))
        .collect();
    all.sort_by(|(a, _), (b, _)| names[a.index()].cmp(&names[b.index()]));
    all
}

pub(super) fn routes(
    value: Option<&Value<'_>>,
    rollout: &Rollout,
    names: &[String],
    p: &mut Problems<'_>,
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    match value.map(|value| (value, value.get_ref().as_array())) {
        Some((_, Some(items))) => {
            for item in items.iter() {
                let route = route(item, rollout, names, p);
                if routes.iter().any(|known| known.name == route.name) && !route.name.is_empty() {
                    p.add(
                        &item.span(),
                        format!("there are two routes named {:?}", route.name),
                        "give each route a name of its own: it is part of the assignment's salt",
                    );
                }
                routes.push(route);
            }
        }
        Some((value, None)) => p.add(&value.span(), "route is no list of tables", "write [[route]] for each route"),
        None => {}
    }
    routes.push(Route { name: "default".to_owned(), matcher: RouteMatch::default(), percent: rollout.percent.clone() });
    routes
}

fn route(item: &Value<'_>, rollout: &Rollout, names: &[String], p: &mut Problems<'_>) -> Route {
    let mut s = Section::new("[[route]]", item, p);
    let name = s
        .require("name", "add name = \"…\": it shows in /status and is part of the assignment's salt", p, |value| {
            match string(value)? {
                "default" => wrong("is \"default\", which is that of [rollout]", "choose another name"),
                name => Ok(name.to_owned()),
            }
        })
        .unwrap_or_default();
    let percent = s.require("percent", "add percent = { NAME = 0.0 }: it has no default", p, Ok);
    let of = format!("route {name:?}");
    let percent = percent.map(|value| percents(&of, value, names, rollout.baseline, p)).unwrap_or_default();
    let matcher = match s.get("match") {
        Some(value) => route_match(value, p),
        None => RouteMatch::default(),
    };
    s.finish(p);
    Route { name, matcher, percent }
}

fn route_match(value: &Value<'_>, p: &mut Problems<'_>) -> RouteMatch {
    let mut s = Section::new("match", value, p);
    let path = s.read("path", p, |value| string(value).map(Glob::new));
    let model = s.read("model", p, |value| string(value).map(Glob::new));
    let mut header = Vec::new();
    if let Some(value) = s.get("header") {
        for (name, span, value) in Section::new("match.header", value, p).entries() {
            match (name.parse::<HeaderName>(), string(value)) {
                (Ok(name), Ok(pattern)) => header.push((name, Glob::new(pattern))),
                (Err(_), _) => p.add(&span, format!("{name:?} is no header's name"), "write it as HTTP has it"),
                (_, Err(wrong)) => p.add(&value.span(), format!("the pattern of {name} {}", wrong.what), wrong.cure),
            }
        }
    }
    s.finish(p);
    RouteMatch { path, model, header }
}

pub(super) fn shadow(
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Option<Shadow> {
    let mut s = Section::new("[shadow]", value, p);
    let candidates: Vec<BackendId> = ids(names).filter(|id| Some(*id) != baseline).collect();
    let to = match s.get("to") {
        Some(value) => match string(value) {
            Ok("baseline") => Some(ShadowTo::Baseline),
            Ok("both") => Some(ShadowTo::Both),
            Ok(name) => match backend_index(name, value, names, "shadow.to", p) {
                Some(index) if Some(index) == baseline => Some(ShadowTo::Baseline),
                index => index.map(ShadowTo::Candidate),
            },
            Err(wrong) => {
                p.add(&value.span(), format!("to {}", wrong.what), wrong.cure);
                None
            }
        },
        None => match candidates.as_slice() {
            [only] => Some(ShadowTo::Candidate(*only)),
            _ => {
                let cure = "add to = \"NAME\" of a candidate, \"baseline\" or \"both\"";
                p.add(&value.span(), "[shadow] does not say to whom", cure);
                None
            }
        },
    };
    let shadow = Shadow {
        percent: s.read("percent", p, percent).unwrap_or(TEN_PERCENT),
        to: to.unwrap_or(ShadowTo::Both),
        max_in_flight: s.read("max_in_flight", p, count).unwrap_or(32),
        max_bytes: s.read("max_bytes", p, size).unwrap_or(64 << 20),
        budget_usd_per_hour: s.read("budget_usd_per_hour", p, not_negative).unwrap_or(5.0),
        noise_percent: s.read("noise_percent", p, percent).unwrap_or(TEN_PERCENT),
        timeout: s.read("timeout", p, duration).unwrap_or(Duration::from_secs(120)),
    };
    s.finish(p);
    to.map(|_| shadow)
}

const TEN_PERCENT: Percent = match Percent::from_hundredths(1000) {
    Some(percent) => percent,
    None => Percent::ZERO,
};

pub(super) fn records(value: &Value<'_>, context: &Context<'_>, p: &mut Problems<'_>) -> Option<Records> {
    let mut s = Section::new("[records]", value, p);
    let path = s.read("path", p, |value| string(value).map(|path| context.resolve(path)));
    let records = Records {
        path: path.unwrap_or_else(|| context.resolve("shiftgate-records.jsonl")),
        content: s.read("content", p, boolean).unwrap_or(false),
        max_size: s.read("max_size", p, size).unwrap_or(100 << 20),
        keep: s.read("keep", p, |value| whole(value, 0, 1000)).and_then(|keep| u32::try_from(keep).ok()).unwrap_or(5),
    };
    s.finish(p);
    Some(records)
}

pub(super) fn telemetry(value: &Value<'_>, p: &mut Problems<'_>) -> Telemetry {
    let mut s = Section::new("[telemetry]", value, p);
    let Telemetry { mut keep, service_name: usual_name, sample: all, .. } = Telemetry::default();
    let otlp = s.read("otlp", p, |value| {
        let text = string(value)?;
        match http_url(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(problem @ (UrlProblem::User | UrlProblem::Query)) => {
                wrong(problem.to_string(), "leave it out: what a collector wants to see is OTEL_EXPORTER_OTLP_HEADERS'")
            }
            Err(problem) => wrong(problem.to_string(), "write \"http://127.0.0.1:4317\""),
        }
    });
    let service_name = s.read("service_name", p, |value| string(value).map(str::to_owned));
    let sample = s.read("sample", p, fraction);
    if let Some(value) = s.get("keep") {
        let mut s = Section::new("keep", value, p);
        keep.slower_than = s.read("slower_than", p, duration).unwrap_or(keep.slower_than);
        keep.per_second = s
            .read("per_second", p, |value| whole(value, 0, 10_000))
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(keep.per_second);
        s.finish(p);
    }
    s.finish(p);
    Telemetry {
        otlp: Some(otlp.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned())),
        service_name: service_name.unwrap_or(usual_name),
        sample: sample.unwrap_or(all),
        keep,
    }
}
