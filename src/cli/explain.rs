//! `explain`: shows route, key, bucket and backend of one request under the file, and the body that the backend gets.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;
use serde_json::value::RawValue;

use super::shared::{Exit, complain, load, say};
use crate::choose::{Choice, Eligible, FileOnly, Instead, NotChosen, Refused, Salts, Shares, UNITS, choose, instead};
use crate::config::{Config, Secrets};
use crate::exchange::{Inbound, InboundBody};
use crate::model::header::SHIFTGATE_BACKEND;
use crate::model::{BackendId, Reason, Refusal};
use crate::translate::{self, Action, Pinned, TranslateError, TranslateInput, Translated};
use crate::wire::endpoint::Endpoint;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// File with the request's JSON body; `-` or nothing reads stdin.
    file: Option<PathBuf>,
    /// A header of the request; may be given several times.
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,
    /// Path of the request.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// Backend that x-shiftgate-backend names.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Source {
    source: String,
}

#[derive(Debug, Serialize)]
struct Step {
    field: String,
    action: &'static str,
    detail: String,
}

/// The residency rules that match a request, and the backends that they leave.
#[derive(Debug, Serialize)]
struct Restricted {
    rules: Vec<String>,
    eligible: Vec<String>,
}

impl Restricted {
    /// Returns `None` if no rule matches.
    fn by(config: &Config, eligible: &Eligible) -> Option<Self> {
        let rules: Vec<String> = eligible.rule_names(config).into_iter().map(str::to_owned).collect();
        let may_see = config.backends_with_ids().filter(|(id, _)| eligible.contains(*id));
        let eligible = may_see.map(|(_, backend)| backend.name.clone()).collect();
        (!rules.is_empty()).then_some(Self { rules, eligible })
    }
}

#[derive(Debug, Serialize)]
struct Explained {
    route: String,
    residency: Option<Restricted>,
    key: Option<Source>,
    bucket: Option<f64>,
    backend: Option<String>,
    reason: &'static str,
    request: Option<Box<RawValue>>,
    ledger: Vec<Step>,
}

impl Explain {
    pub(super) fn run(&self, path: &Path) -> Exit {
        let config = match load(path, Secrets::Skip) {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let explained = self.read().and_then(|(body, headers)| self.explain(&config, body, headers));
        match explained {
            Ok(explained) if self.json => match serde_json::to_string(&explained) {
                Ok(json) => say(&json),
                Err(error) => {
                    complain(&error.to_string());
                    Exit::Failed
                }
            },
            Ok(explained) => say(&plain(&explained)),
            Err(message) => {
                complain(&message);
                Exit::Refused
            }
        }
    }

    fn read(&self) -> Result<(Bytes, HeaderMap), String> {
        let mut body = Vec::new();
        match self.file.as_deref().filter(|file| *file != Path::new("-")) {
            Some(file) => {
                body = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
            }
            None => {
                std::io::stdin().read_to_end(&mut body).map_err(|error| format!("stdin cannot be read: {error}"))?;
            }
        }
        let mut headers = HeaderMap::new();
        for header in &self.header {
            let malformed = || "a --header is not of the form NAME:VALUE".to_owned();
            let (name, value) = header.split_once(':').ok_or_else(malformed)?;
            let name: HeaderName = name.trim().parse().map_err(|_| malformed())?;
            headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| malformed())?);
        }
        Ok((Bytes::from(body), headers))
    }

    fn explain(&self, config: &Config, body: Bytes, headers: HeaderMap) -> Result<Explained, String> {
        let (config, headers) = self.overridden(config, headers)?;
        let inbound = self.inbound(&config, body.clone(), headers)?;
        let shares = Arc::new(Shares::of_file(&config));
        let rules = (&Salts::new(&config), &shares);
        match choose(&config, rules, &inbound.to_choose(), &FileOnly, &mut || 0) {
            Ok(choice) => Ok(explained(&config, choice, &inbound, &body)),
            Err(NotChosen::Residency(refused)) => Ok(refused_by(&config, &refused, None)),
            Err(NotChosen::Unable(refused, pinned)) => Ok(refused_by(&config, &refused, Some(&pinned))),
            Err(error @ NotChosen::UnknownBackend) => Err(error.to_string()),
        }
    }

    /// Returns the request as the proxy takes it: a body that the proxy does not read stays unread.
    fn inbound(&self, config: &Config, body: Bytes, headers: HeaderMap) -> Result<Inbound, String> {
        let uri: Uri = self.path.parse().map_err(|error| format!("{:?} is not a path: {error}", self.path))?;
        let endpoint = Endpoint::of(&Method::POST, uri.path());
        if matches!(endpoint, Endpoint::Malformed | Endpoint::NotOurs) {
            let path = uri.path();
            return Err(format!("{path} is answered by shiftgate itself, with 404 or 400: it is not a path under /v1"));
        }
        let body = if !endpoint.is_read() || body.len() as u64 > config.server.max_body {
            InboundBody::Unread { is_empty: body.is_empty() }
        } else {
            InboundBody::of(&Method::POST, body)
        };
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri, head.headers) = (Method::POST, uri, headers);
        Ok(Inbound::new(head, endpoint, body))
    }

    /// Returns file and headers with the override of `--backend` applied.
    fn overridden<'a>(
        &self,
        config: &'a Config,
        mut headers: HeaderMap,
    ) -> Result<(Cow<'a, Config>, HeaderMap), String> {
        let Some(name) = &self.backend else { return Ok((Cow::Borrowed(config), headers)) };
        let known = || config.backends.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || format!("there is no backend {name:?}; known are: {}", known());
        config.backend(name).ok_or_else(unknown)?;
        let mut config = config.clone();
        config.server.allow_override = true;
        headers.insert(SHIFTGATE_BACKEND, HeaderValue::from_str(name).map_err(|_| unknown())?);
        Ok((Cow::Owned(config), headers))
    }
}

/// `body` is the request's, read or not.
fn explained(config: &Config, mut choice: Choice, inbound: &Inbound, body: &Bytes) -> Explained {
    let mut ledger: Vec<Step> = pinned_by(config, &choice, inbound).into_iter().collect();
    let mut sent = None;
    let reason = loop {
        match translated(config, choice.backend(), inbound) {
            Ok(done) => {
                ledger.extend(done.as_ref().and_then(|_| missing_wording(config, choice.backend())));
                ledger.extend(done.iter().flat_map(|done| done.ledger.steps()).map(|step| Step {
                    field: step.field.to_string(),
                    action: step.action.as_str(),
                    detail: step.detail.to_string(),
                }));
                sent = Some(done.map_or_else(|| body.clone(), |done| done.body));
                break choice.reason();
            }
            Err(TranslateError::Pinned(pinned)) => {
                ledger.push(pinned_step(&pinned));
                match instead(config, &choice, Instead::Pinned(pinned.pin)) {
                    Some(moved) => choice = moved,
                    None => break Reason::Refused(Refusal::Request),
                }
            }
            Err(TranslateError::Invalid(error)) => {
                let field = error.param.unwrap_or_default();
                ledger.push(Step { field, action: "refused", detail: error.message });
                break Reason::Refused(Refusal::Request);
            }
        }
    };
    let drawn = choice.drawn();
    let key = drawn.and_then(|drawn| config.sticky.get(drawn.key?));
    Explained {
        route: config[choice.route()].name.clone(),
        key: key.map(|source| Source { source: source.describe() }),
        bucket: drawn.filter(|drawn| drawn.key.is_some()).map(|drawn| f64::from(drawn.unit) / f64::from(UNITS)),
        residency: Restricted::by(config, choice.eligible()),
        backend: Some(config[choice.backend()].name.clone()),
        reason: reason.as_str(),
        request: sent
            .and_then(|sent| String::from_utf8(sent.to_vec()).ok())
            .and_then(|text| RawValue::from_string(text.trim().to_owned()).ok()),
        ledger,
    }
}

/// Explains a request that residency rules leave without a backend.
fn refused_by(config: &Config, refused: &Refused, pinned: Option<&Pinned>) -> Explained {
    let refusal = if pinned.is_some() { Refusal::Request } else { Refusal::Residency };
    let step = pinned.map_or_else(
        || Step { field: "residency".to_owned(), action: "refused", detail: refused.message(config) },
        pinned_step,
    );
    Explained {
        route: config[refused.route].name.clone(),
        residency: Restricted::by(config, &refused.eligible),
        key: None,
        bucket: None,
        backend: None,
        reason: Reason::Refused(refusal).as_str(),
        request: None,
        ledger: vec![step],
    }
}

/// Returns a step for a wording that is left out, because this command does without files that are missing.
fn missing_wording(config: &Config, backend: BackendId) -> Option<Step> {
    let wording = config[backend].system.as_ref().filter(|wording| wording.text.is_none())?;
    let (mode, path) = (wording.mode.as_str(), wording.path.display());
    let detail = format!("{mode} {path}: the file is missing, so that the wording is left out");
    Some(Step { field: "system".to_owned(), action: "missing", detail })
}

fn pinned_step(pinned: &Pinned) -> Step {
    let action = Action::Pinned.as_str();
    Step { field: pinned.field.to_string(), action, detail: pinned.why.to_owned() }
}

/// Returns the field that pinned the request, with the reason.
fn pinned_by(config: &Config, choice: &Choice, inbound: &Inbound) -> Option<Step> {
    let Reason::Pinned(pin) = choice.reason() else { return None };
    let (body, scan, endpoint) = (inbound.body()?, inbound.scan()?, inbound.endpoint());
    let candidates = config[choice.route()].percent.iter().filter(|(_, percent)| percent.hundredths() > 0);
    let mut found = candidates.filter_map(|(backend, _)| {
        let backend = &config[*backend];
        translate::pin_exactly(&TranslateInput {
            body,
            scan,
            endpoint,
            backend,
            is_baseline: false,
            max_model_len: None,
            max_input_tokens: None,
        })
    });
    found.find(|found| found.pin == pin).map(|found| pinned_step(&found))
}

/// Translates for a backend; `None` if the bytes are sent unchanged.
fn translated(config: &Config, backend: BackendId, inbound: &Inbound) -> Result<Option<Translated>, TranslateError> {
    let (Some(body), Some(scan)) = (inbound.body(), inbound.scan()) else { return Ok(None) };
    let endpoint = inbound.endpoint();
    let is_baseline = backend == config.baseline;
    let backend = &config[backend];
    let (max_model_len, max_input_tokens) = (None, None);
    let ask = TranslateInput { body, scan, endpoint, backend, is_baseline, max_model_len, max_input_tokens };
    if ask.passes_untouched() {
        return Ok(None);
    }
    translate::request(&ask).map(Some)
}

fn plain(explained: &Explained) -> String {
    let key = explained.key.as_ref().map_or("none", |key| key.source.as_str());
    let bucket = explained.bucket.map_or_else(|| "drawn for each request".to_owned(), |bucket| format!("{bucket:.4}"));
    let mut text = format!("route    {}\n", explained.route);
    if let Some(by) = &explained.residency {
        let eligible = if by.eligible.is_empty() { "no backend".to_owned() } else { by.eligible.join(", ") };
        text.push_str(&format!("residency {}: only {eligible}\n", by.rules.join(", ")));
    }
    text.push_str(&format!(
        "key      {key}\nbucket   {bucket}\nbackend  {} ({})\n",
        explained.backend.as_deref().unwrap_or("none"),
        explained.reason
    ));
    for step in &explained.ledger {
        text.push_str(format!("ledger   {:<10} {:<28} {}", step.action, step.field, step.detail).trim_end());
        text.push('\n');
    }
    if let Some(request) = &explained.request {
        text.push_str(request.get());
    }
    text
}
