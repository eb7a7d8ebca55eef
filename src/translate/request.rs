//! Order of work on one request: allow-list, then the modules, each of which rewrites its fields.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer_spec::{AnswerSpec, Kind};
use super::draft::Draft;
use super::error::{Pinned, TranslateError};
use super::field_id::FieldId;
use super::ids::Owner;
use super::input::TranslateInput;
use super::json::quoted;
use super::ledger::{Action, Ledger, shown};
use super::rewrite::Rewrite;
use super::table::{self, Rule, Table};
use super::thinking_plan::ThinkingPlan;
use super::{features, format, messages, openai, responses, sampling, thinking, tokens, tools};
use crate::config::Backend;
use crate::model::{FormatBesideTools, Pin};
use crate::wire::endpoint::Endpoint;
use crate::wire::splice;

/// Request as the backend receives it.
#[derive(Debug, Clone)]
pub struct Translated {
    /// Body of the request.
    pub body: Bytes,
    /// The backend's name for the model.
    pub model: String,
    /// Changes that were made.
    pub ledger: Ledger,
    /// Specification of the answer to the application.
    pub answer_spec: AnswerSpec,
}

/// Translates a request for `input.backend`.
pub fn request(input: &TranslateInput<'_>) -> Result<Translated, TranslateError> {
    let (backend, scan) = (input.backend, input.scan);
    let app_model = scan.model().map(AsRef::as_ref).unwrap_or_default();
    let mut model = app_model;
    if !input.as_it_came() {
        if let Some(pinned) = features::pin(input) {
            return Err(TranslateError::Pinned(pinned));
        }
        model = served_name(backend, app_model);
    }
    let kind = match input.endpoint {
        Endpoint::Responses => Kind::Responses,
        Endpoint::Completions => Kind::Completions,
        _ => Kind::Chat,
    };
    let mut rewrite = Rewrite {
        backend,
        draft: Draft::of(scan.fields().iter().map(|(name, value)| (name.clone(), value.get()))),
        ledger: Ledger::default(),
        answer_spec: AnswerSpec {
            streamed: scan.stream(),
            reasoning: backend.translation.reasoning,
            ..AnswerSpec::new(backend.engine, Owner::of(&backend.name), kind, app_model.to_owned())
        },
        plan: ThinkingPlan::default(),
        limits: input.limits(),
    };
    if model != app_model {
        rewrite.note("model", Action::Rewritten, model.to_owned());
    }
    if !input.endpoint.is_generation() {
        return Ok(renamed_only(input, rewrite, model));
    }
    match (backend.engine.facts().speaks_openai, input.is_baseline) {
        (true, true) => openai::usage(&mut rewrite),
        (true, false) => openai::all(&mut rewrite, model),
        (false, _) => for_qwen(&mut rewrite)?,
    }
    finish(input, rewrite, model)
}

/// Returns the exact reason for which `input.backend` cannot serve the request. Where [`features::pin`] cannot tell,
/// the request is translated and the result thrown away.
pub fn pin_exactly(input: &TranslateInput<'_>) -> Option<Pinned> {
    if let Some(pinned) = features::pin(input) {
        return Some(pinned);
    }
    let has = |field| input.scan.has(field);
    let schemas = has("tools") || has("functions") || has("response_format");
    let facts = input.backend.engine.facts();
    let forced_function =
        facts.format_beside_tools == FormatBesideTools::UnlessForced && has("functions") && has("response_format");
    let is_unclear = input.backend.translation.strict
        || (facts.compiles_schemas && schemas)
        || forced_function
        || tokens::may_be_too_long(input);
    if !is_unclear {
        return None;
    }
    match request(input) {
        Err(TranslateError::Pinned(pinned)) => Some(pinned),
        Ok(_) | Err(TranslateError::Invalid(_)) => None,
    }
}

/// Returns the server's name for the model.
fn served_name<'a>(backend: &'a Backend, app_model: &'a str) -> &'a str {
    if let Some(own) = backend.engine.facts().own_model_name.filter(|_| backend.models.is_empty()) {
        return own;
    }
    backend.model_for(app_model).unwrap_or(app_model)
}

fn for_qwen(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let table: &Table = match rewrite.answer_spec.kind {
        Kind::Chat => &table::CHAT,
        Kind::Responses => &table::RESPONSES,
        Kind::Completions => &table::COMPLETIONS,
    };
    allow_list(rewrite, table)?;
    match rewrite.answer_spec.kind {
        Kind::Chat => {
            // What asks for more was pinned.
            rewrite.drop_field("modalities", "text is what comes anyway");
            thinking::plan(rewrite);
            messages::all(rewrite)?;
            tools::all(rewrite)?;
            format::all(rewrite)?;
            thinking::apply(rewrite);
            tokens::all(rewrite)?;
            sampling::all(rewrite)?;
        }
        Kind::Responses => {
            thinking::plan(rewrite);
            responses::all(rewrite)?;
            thinking::apply(rewrite);
            tokens::all(rewrite)?;
            sampling::all(rewrite)?;
        }
        Kind::Completions => {
            tokens::all(rewrite)?;
            sampling::all(rewrite)?;
        }
    }
    Ok(())
}

/// Removes nulls and fields that the table drops; fails on a field that the table pins or refuses.
fn allow_list(rewrite: &mut Rewrite<'_>, table: &Table) -> Result<(), TranslateError> {
    let mut stop = None;
    let (engine, translation, ledger) = (rewrite.backend.engine, &rewrite.backend.translation, &mut rewrite.ledger);
    rewrite.draft.retain(|name, value| {
        let row = table.find(name);
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
                    stop.get_or_insert_with(|| TranslateError::pinned(Pin::UnknownField, shown(), why));
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
                stop.get_or_insert_with(|| TranslateError::pinned(pin, shown(), why));
            }
            Rule::Refuse => {
                let message = format!("{name} is not a field of OpenAI's API: use response_format");
                stop.get_or_insert_with(|| TranslateError::invalid(name, message));
            }
        }
        false
    });
    stop.map_or(Ok(()), Err)
}

/// Detail of a dropped null.
const NULL: &str = "null";
/// Detail of a dropped default, as SDKs and frameworks send them.
const SAYS_NOTHING: &str = "it says nothing";

fn finish(input: &TranslateInput<'_>, mut rewrite: Rewrite<'_>, model: &str) -> Result<Translated, TranslateError> {
    if rewrite.backend.translation.strict
        && let Some(step) =
            rewrite.ledger.steps().iter().find(|step| is_silent_change(step.action, &step.field, &step.detail))
    {
        let why = "translate = \"strict\" and the backend would answer it differently";
        return Err(TranslateError::pinned(Pin::Strict, step.field.clone(), why));
    }
    rewrite.ledger.note_untouched(input.scan.fields().iter().map(|(name, _)| name.as_ref()));
    if !rewrite.draft.is_changed() {
        return Ok(renamed_only(input, rewrite, model));
    }
    if input.scan.model().is_some() && model != rewrite.answer_spec.model {
        rewrite.draft.set("model", quoted(model));
    }
    let body = Bytes::from(rewrite.draft.to_json());
    Ok(Translated { body, model: model.to_owned(), ledger: rewrite.ledger, answer_spec: rewrite.answer_spec })
}

fn is_silent_change(action: Action, field: &str, detail: &str) -> bool {
    match action {
        Action::Flagged => true,
        Action::Dropped if detail == NULL || detail == SAYS_NOTHING => false,
        Action::Dropped if field == responses::VERBOSITY => true,
        Action::Dropped => [&table::CHAT, &table::RESPONSES, &table::COMPLETIONS]
            .iter()
            .find_map(|table| table.find(field))
            .map_or_else(|| !is_below_the_top(field), |row| row.matters),
        Action::Passed | Action::Renamed | Action::Rewritten | Action::Pinned => false,
    }
}

/// True for parts of fields in the tables, such as `messages[].name`; `foo.bar` may be an unknown field of that name.
fn is_below_the_top(field: &str) -> bool {
    field.contains(['.', '[']) && FieldId::of(field) != FieldId::OTHER
}

/// Replaces the model's name and keeps every other byte.
fn renamed_only(input: &TranslateInput<'_>, rewrite: Rewrite<'_>, model: &str) -> Translated {
    let span = input.scan.model_span().filter(|_| input.scan.model().is_some() && model != rewrite.answer_spec.model);
    let body = span.map_or_else(|| input.body.clone(), |span| splice::replace(input.body, span, model));
    Translated { body, model: model.to_owned(), ledger: rewrite.ledger, answer_spec: rewrite.answer_spec }
}
