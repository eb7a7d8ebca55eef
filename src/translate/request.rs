//! The order of work on one request: allow-list, then the modules, each of which looks after its fields.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer_spec::{AnswerSpec, Kind};
use super::draft::{Draft, quoted};
use super::error::{Pinned, Stop};
use super::field_id::FieldId;
use super::ids::Owner;
use super::input::Ask;
use super::ledger::{Action, Ledger, shown};
use super::rewrite::Job;
use super::table::{self, Row, Rule};
use super::thinking_plan::ThinkingPlan;
use super::{features, format, messages, openai, responses, sampling, thinking, tokens, tools};
use crate::config::Backend;
use crate::model::{FormatBesideTools, Pin};
use crate::wire::endpoint::Endpoint;
use crate::wire::splice;

/// As the backend gets it.
#[derive(Debug, Clone)]
pub struct Translated {
    pub body: Bytes,
    /// The model as the backend calls it.
    pub model: String,
    pub ledger: Ledger,
    pub wants: AnswerSpec,
}

/// Makes a request into the one that `ask.backend` is sent.
pub fn request(ask: &Ask<'_>) -> Result<Translated, Stop> {
    let (backend, scan) = (ask.backend, ask.scan);
    let app_model = scan.model().map(AsRef::as_ref).unwrap_or_default();
    let mut model = app_model;
    if !ask.as_it_came() {
        if let Some(pinned) = features::pin(ask) {
            return Err(Stop::Pinned(pinned));
        }
        model = served_name(backend, app_model);
    }
    let kind = match ask.endpoint {
        Endpoint::Responses => Kind::Responses,
        Endpoint::Completions => Kind::Completions,
        _ => Kind::Chat,
    };
    let mut job = Job {
        backend,
        draft: Draft::of(scan.fields()),
        ledger: Ledger::default(),
        wants: AnswerSpec {
            streamed: scan.stream(),
            reasoning: backend.translation.reasoning,
            ..AnswerSpec::new(backend.engine, Owner::of(&backend.name), kind, app_model.to_owned())
        },
        plan: ThinkingPlan::default(),
        max_model_len: backend.translation.max_model_len.or(ask.max_model_len),
    };
    if model != app_model {
        job.note("model", Action::Rewritten, model.to_owned());
    }
    if !ask.endpoint.is_generation() {
        return Ok(renamed_only(ask, job, model));
    }
    match (backend.engine.facts().speaks_openai, ask.is_baseline) {
        (true, true) => openai::usage(&mut job),
        (true, false) => openai::all(&mut job, model),
        (false, _) => for_qwen(&mut job)?,
    }
    finish(ask, job, model)
}

/// The same, exactly: where only the translation itself can tell, it is made and thrown away.
pub fn pin_exactly(ask: &Ask<'_>) -> Option<Pinned> {
    if let Some(pinned) = features::pin(ask) {
        return Some(pinned);
    }
    let has = |field| ask.scan.has(field);
    let schemas = has("tools") || has("functions") || has("response_format");
    let facts = ask.backend.engine.facts();
    let forced_function =
        facts.format_beside_tools == FormatBesideTools::UnlessForced && has("functions") && has("response_format");
    let is_unclear = ask.backend.translation.strict || (facts.compiles_schemas && schemas) || forced_function;
    if !is_unclear {
        return None;
    }
    match request(ask) {
        Err(Stop::Pinned(pinned)) => Some(pinned),
        Ok(_) | Err(Stop::Invalid(_)) => None,
    }
}

/// Returns the server's name for the model.
fn served_name<'a>(backend: &'a Backend, app_model: &'a str) -> &'a str {
    if let Some(own) = backend.engine.facts().own_model_name.filter(|_| backend.models.is_empty()) {
        return own;
    }
    backend.model_for(app_model).unwrap_or(app_model)
}

fn for_qwen(job: &mut Job<'_>) -> Result<(), Stop> {
    let table = match job.wants.kind {
        Kind::Chat => table::CHAT,
        Kind::Responses => table::RESPONSES,
        Kind::Completions => table::COMPLETIONS,
    };
    allow_list(job, table)?;
    match job.wants.kind {
        Kind::Chat => {
            // What asks for more was pinned.
            job.drop_field("modalities", "text is what comes anyway");
            thinking::plan(job);
            messages::all(job)?;
            tools::all(job)?;
            format::all(job)?;
            thinking::apply(job);
            tokens::all(job)?;
            sampling::all(job)?;
        }
        Kind::Responses => {
            thinking::plan(job);
            responses::all(job)?;
            thinking::apply(job);
            tokens::all(job)?;
            sampling::all(job)?;
        }
        Kind::Completions => sampling::all(job)?,
    }
    Ok(())
}

/// Nulls go, what the table does not let pass goes, what it pins or refuses ends here.
fn allow_list(job: &mut Job<'_>, table: &'static [Row]) -> Result<(), Stop> {
    let mut stop = None;
    let (engine, translation, ledger) = (job.backend.engine, &job.backend.translation, &mut job.ledger);
    job.draft.retain(|name, value| {
        let row = table::find(table, name);
        let shown = || row.map_or_else(|| Cow::Owned(shown(name)), |row| Cow::Borrowed(row.name));
        if value == "null" {
            ledger.note(shown(), Action::Dropped, NULL);
            return false;
        }
        let unknown = if name.starts_with(table::REFUSED_PREFIX) { Rule::Refuse } else { Rule::Drop };
        match row.map_or(unknown, |row| row.rule(engine)) {
            Rule::Pass | Rule::Work => return true,
            Rule::Drop => {
                if row.is_none() && translation.pin_on_unknown.iter().any(|listed| listed == name) {
                    let why = "it is listed in pin_on_unknown";
                    stop.get_or_insert_with(|| Stop::pinned(Pin::UnknownField, shown(), why));
                }
                let why = match row {
                    Some(_) if matches!(value, "0" | "0.0" | "{}" | "\"medium\"") => SAYS_NOTHING,
                    Some(_) => "this engine has nothing like it",
                    None => "unknown",
                };
                ledger.note(shown(), Action::Dropped, why);
            }
            Rule::Pin(pin) => {
                let why = "only OpenAI has this";
                stop.get_or_insert_with(|| Stop::pinned(pin, shown(), why));
            }
            Rule::Refuse => {
                let message = format!("{name} is no field of OpenAI's API: use response_format");
                stop.get_or_insert_with(|| Stop::invalid(name, message));
            }
        }
        false
    });
    stop.map_or(Ok(()), Err)
}

/// Why a field was dropped that said nothing.
const NULL: &str = "null";
/// The same of one that said what is so anyway; SDKs and frameworks send such defaults.
const SAYS_NOTHING: &str = "it says nothing";

fn finish(ask: &Ask<'_>, mut job: Job<'_>, model: &str) -> Result<Translated, Stop> {
    if job.backend.translation.strict
        && let Some(step) =
            job.ledger.steps().iter().find(|step| is_silent_change(step.action, &step.field, &step.detail))
    {
        let why = "translate = \"strict\" and the backend would answer it differently";
        return Err(Stop::pinned(Pin::Strict, step.field.clone(), why));
    }
    job.ledger.note_untouched(ask.scan.fields().iter().map(|(name, _)| name.as_ref()));
    if !job.draft.is_changed() {
        return Ok(renamed_only(ask, job, model));
    }
    if ask.scan.model().is_some() && model != job.wants.model {
        job.draft.set("model", quoted(model));
    }
    let body = Bytes::from(job.draft.to_json());
    Ok(Translated { body, model: model.to_owned(), ledger: job.ledger, wants: job.wants })
}

fn is_silent_change(action: Action, field: &str, detail: &str) -> bool {
    match action {
        Action::Flagged => true,
        Action::Dropped if detail == NULL || detail == SAYS_NOTHING => false,
        Action::Dropped if field == responses::VERBOSITY => true,
        Action::Dropped => [table::CHAT, table::RESPONSES, table::COMPLETIONS]
            .iter()
            .find_map(|table| table::find(table, field))
            .map_or_else(|| !is_below_the_top(field), |row| row.matters),
        Action::Passed | Action::Renamed | Action::Rewritten | Action::Pinned => false,
    }
}

/// `messages[].name` is a part of a field that the tables know; `foo.bar` may be a field of the application's own.
fn is_below_the_top(field: &str) -> bool {
    field.contains(['.', '[']) && FieldId::of(field) != FieldId::OTHER
}

/// Nothing but the model's name changes: every other byte stays.
fn renamed_only(ask: &Ask<'_>, job: Job<'_>, model: &str) -> Translated {
    let span = ask.scan.model_span().filter(|_| ask.scan.model().is_some() && model != job.wants.model);
    let body = span.map_or_else(|| ask.body.clone(), |span| splice::replace(ask.body, span, model));
    Translated { body, model: model.to_owned(), ledger: job.ledger, wants: job.wants }
}
