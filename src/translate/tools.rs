//! Tools, the choice among them, and the older functions.

use std::borrow::Cow;
use std::collections::HashSet;

use super::draft::Draft;
use super::error::TranslateError;
use super::format::{self, Format};
use super::json::{self, array, quoted};
use super::ledger::Action;
use super::rewrite::Rewrite;
use super::schema;
use crate::model::{FormatBesideTools, ParallelCalls, Pin};

const NO_PARAMETERS: &str = "{\"type\":\"object\",\"properties\":{}}";

/// Value of `tool_choice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
    /// Some of the tools; `required` if one of these must be called.
    Allowed {
        required: bool,
        names: HashSet<String>,
    },
    /// A choice that only OpenAI knows.
    Other,
}

pub(super) fn choice(text: &str) -> ToolChoice {
    if let Some(word) = json::string(text) {
        return match word.as_ref() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => ToolChoice::Other,
        };
    }
    let Some(choice) = Draft::parse(text) else { return ToolChoice::Other };
    let of_function = |draft: &Draft<'_>| {
        let function = draft.get("function").and_then(Draft::parse);
        function.and_then(|function| function.string("name").map(Cow::into_owned))
    };
    match choice.string("type").as_deref() {
        Some("function") => of_function(&choice).map_or(ToolChoice::Other, ToolChoice::Named),
        Some("allowed_tools") => {
            let nested = choice.get("allowed_tools").and_then(Draft::parse);
            let allowed = nested.as_ref().unwrap_or(&choice);
            let tools = allowed.get("tools").and_then(json::items).unwrap_or_default();
            let named = |tool: &&str| {
                let tool = Draft::parse(tool)?;
                of_function(&tool).or_else(|| tool.string("name").map(Cow::into_owned))
            };
            let names = tools.iter().filter_map(named).collect();
            ToolChoice::Allowed { required: allowed.string("mode").as_deref() == Some("required"), names }
        }
        _ => ToolChoice::Other,
    }
}

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    functions(rewrite);
    let tools = rewrite.draft.get("tools").map(str::to_owned);
    let chosen = rewrite.draft.get("tool_choice").map_or(ToolChoice::Auto, choice);
    let Some(tools) = tools else { return without_tools(rewrite, &chosen) };
    // Not a list: the server will say so.
    let Some(items) = json::items(&tools) else { return Ok(()) };
    if items.is_empty() {
        rewrite.drop_field("tools", "it is empty");
        return without_tools(rewrite, &chosen);
    }
    let format = format::of(&rewrite.draft);
    if chosen == ToolChoice::None {
        without_calls(rewrite);
        return Ok(());
    }
    let forces =
        matches!(chosen, ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. });
    check_format(rewrite, format, forces)?;
    let allowed = match &chosen {
        ToolChoice::Allowed { names, .. } => Some(names),
        _ => None,
    };
    let mut names = Vec::with_capacity(items.len());
    let mut rewritten: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let (name, tool) = one(rewrite, item, at, forces)?;
        if allowed.is_none_or(|allowed| allowed.contains(&name)) {
            names.push(name);
            rewritten.push(tool);
        }
    }
    if rewritten.is_empty() {
        return Err(TranslateError::invalid("tool_choice", "tool_choice allows no function that is in tools"));
    }
    if rewritten.len() != items.len() || rewritten.iter().any(|tool| matches!(tool, Cow::Owned(_))) {
        rewrite.draft.set("tools", array(&rewritten));
    }
    rewrite.answer_spec.tools = true;
    if let ToolChoice::Named(name) = &chosen {
        if !names.contains(name) {
            return Err(TranslateError::invalid("tool_choice", "tool_choice names a function that is not in tools"));
        }
        rewrite.answer_spec.forced = true;
    }
    tool_choice(rewrite, &chosen, &names)?;
    parallel(rewrite);
    Ok(())
}

/// Rewrites `functions`, OpenAI's older spelling, which these servers ignore.
fn functions(rewrite: &mut Rewrite<'_>) {
    if let Some(functions) = rewrite.draft.remove("functions") {
        let items = json::items(&functions).unwrap_or_default();
        let tools: Vec<String> =
            items.iter().map(|item| format!("{{\"type\":\"function\",\"function\":{}}}", item)).collect();
        if !rewrite.draft.has("tools") {
            rewrite.draft.set("tools", array(&tools));
            rewrite.answer_spec.functions = !tools.is_empty();
        }
        rewrite.note("functions", Action::Renamed, "tools");
    }
    if let Some(call) = rewrite.draft.remove("function_call") {
        let choice = match Draft::parse(&call) {
            Some(named) => {
                format!("{{\"type\":\"function\",\"function\":{{\"name\":{}}}}}", named.get("name").unwrap_or("\"\""))
            }
            None => call.into_owned(),
        };
        if !rewrite.draft.has("tool_choice") {
            rewrite.draft.set("tool_choice", choice);
        }
        rewrite.note("function_call", Action::Renamed, "tool_choice");
    }
}

/// Removes the tools of a request with `tool_choice: "none"`. Servers write them into the prompt all the same, so that
/// the model calls them in its text; TGI spends a hidden generation on them.
pub(super) fn without_calls(rewrite: &mut Rewrite<'_>) {
    for field in ["tools", "tool_choice", "parallel_tool_calls"] {
        rewrite.drop_field(field, "tool_choice is none");
    }
}

fn without_tools(rewrite: &mut Rewrite<'_>, chosen: &ToolChoice) -> Result<(), TranslateError> {
    match chosen {
        ToolChoice::Auto | ToolChoice::None => rewrite.drop_field("tool_choice", "there are no tools"),
        _ => {
            return Err(TranslateError::invalid("tool_choice", "tool_choice is only allowed when tools are specified"));
        }
    }
    rewrite.drop_field("parallel_tool_calls", "there are no tools");
    Ok(())
}

fn check_format(rewrite: &Rewrite<'_>, format: Format, forces: bool) -> Result<(), TranslateError> {
    let asked = matches!(format, Format::JsonObject | Format::JsonSchema | Format::Other);
    let clashes = match rewrite.backend.engine.facts().format_beside_tools {
        FormatBesideTools::Always => false,
        FormatBesideTools::UnlessForced => forces,
        FormatBesideTools::Never => true,
    };
    if asked && clashes {
        return Err(TranslateError::pinned(
            Pin::Format,
            "response_format",
            "the backend refuses it beside these tools",
        ));
    }
    Ok(())
}

/// Rewrites one tool; returns its name and JSON.
fn one<'t>(
    rewrite: &mut Rewrite<'_>,
    tool: &'t str,
    at: usize,
    forces: bool,
) -> Result<(String, Cow<'t, str>), TranslateError> {
    let facts = rewrite.backend.engine.facts();
    let Some(mut draft) = Draft::parse(tool) else { return Ok((String::new(), Cow::Borrowed(tool))) };
    if draft.string("type").as_deref() != Some("function") {
        return Err(TranslateError::pinned(Pin::Tools, format!("tools[{at}]"), "the backend knows functions only"));
    }
    let before = draft.is_changed();
    draft.retain(|name, _| name == "type" || name == "function");
    let mut stripped = draft.is_changed() != before;
    let function = draft.get("function").unwrap_or("{}").to_owned();
    let Some(mut function) = Draft::parse(&function) else { return Ok((String::new(), Cow::Borrowed(tool))) };
    let name = function.string("name").unwrap_or_default().into_owned();
    function.retain(|name, value| ["name", "description", "parameters", "strict"].contains(&name) && value != "null");
    stripped |= function.is_changed();
    if stripped {
        rewrite.note("tools[]", Action::Rewritten, "only what a function has");
    }
    if facts.compiles_schemas {
        let field = || format!("tools[{at}].function.parameters");
        match function.get("parameters") {
            None => function.set("parameters", NO_PARAMETERS),
            Some(parameters) => {
                if let Some(rewritten) =
                    schema::for_tgi(parameters, true).map_err(|why| TranslateError::pinned(Pin::Tools, field(), why))?
                {
                    function.set("parameters", rewritten);
                }
            }
        }
        if function.is_changed() {
            rewrite.note("tools[].function.parameters", Action::Rewritten, "a schema without references");
        }
    }
    if facts.strict_when_forced && forces && function.get("strict") != Some("true") {
        // Without it the arguments of a forced call need only be JSON.
        function.set("strict", "true");
        rewrite.note("tools[].function.strict", Action::Rewritten, "true");
    }
    if function.is_changed() {
        draft.set("function", function.to_json());
    }
    Ok((name, if draft.is_changed() { Cow::Owned(draft.to_json()) } else { Cow::Borrowed(tool) }))
}

fn tool_choice(rewrite: &mut Rewrite<'_>, chosen: &ToolChoice, names: &[String]) -> Result<(), TranslateError> {
    let choice = match chosen {
        ToolChoice::Other => {
            return Err(TranslateError::pinned(Pin::Tools, "tool_choice", "the backend does not know this choice"));
        }
        ToolChoice::Allowed { required, .. } => {
            rewrite.draft.set("tool_choice", if *required { "\"required\"" } else { "\"auto\"" });
            rewrite.note("tool_choice", Action::Rewritten, "only the allowed tools are offered");
            rewrite.note("tools", Action::Rewritten, "those that tool_choice allows");
            if *required { ToolChoice::Required } else { ToolChoice::Auto }
        }
        other => other.clone(),
    };
    if !rewrite.backend.engine.facts().weak_tool_choice {
        return Ok(());
    }
    match (&choice, names) {
        (ToolChoice::Required, [only]) => {
            rewrite.draft.set("tool_choice", named(only));
            rewrite.note("tool_choice", Action::Rewritten, "the only tool by its name");
            rewrite.plan.enable = Some(false);
            rewrite.plan.thinks = false;
        }
        (ToolChoice::Required, _) => {
            rewrite.draft.set("tool_choice", "\"auto\"");
            rewrite.note("tool_choice", Action::Flagged, "auto: the backend cannot be made to call one of several");
        }
        (ToolChoice::Named(_), _) => {
            rewrite.plan.enable = Some(false);
            rewrite.plan.thinks = false;
        }
        _ => {}
    }
    Ok(())
}

fn named(function: &str) -> String {
    format!("{{\"type\":\"function\",\"function\":{{\"name\":{}}}}}", quoted(function))
}

/// Sets whether one answer may have several calls.
fn parallel(rewrite: &mut Rewrite<'_>) {
    let asked = rewrite.draft.get("parallel_tool_calls").map(str::to_owned);
    rewrite.answer_spec.one_call = asked.as_deref() == Some("false");
    match (rewrite.backend.engine.facts().parallel_calls, asked.as_deref()) {
        (ParallelCalls::Never, asked) => {
            rewrite.draft.remove("parallel_tool_calls");
            if asked == Some("false") {
                rewrite.note("parallel_tool_calls", Action::Dropped, "it never makes more than one call");
            } else {
                rewrite.note("parallel_tool_calls", Action::Flagged, "it never makes more than one call");
            }
        }
        (ParallelCalls::OnRequest, None) => {
            rewrite.draft.set("parallel_tool_calls", "true");
            rewrite.note("parallel_tool_calls", Action::Rewritten, "true, as at OpenAI");
        }
        (ParallelCalls::ByDefault | ParallelCalls::OnRequest, _) => {}
    }
}
