//! OpenAI's reasoning effort in the terms of each chat template and engine.
//!
//! Open Qwen models think by default; an application written for gpt-4o expects no thoughts.

use std::borrow::Cow;

use super::answer_spec::Kind;
use super::draft::Draft;
use super::json::{self, quoted};
use super::ledger::Action;
use super::rewrite::Rewrite;
use super::thinking_plan::ThinkingPlan;
use crate::model::{Family, ThinkingSwitch};

/// True if this is an OpenAI model that thinks.
pub(super) fn is_reasoning_model(name: &str) -> bool {
    (name.starts_with("gpt-5") && !name.starts_with("gpt-5-chat"))
        || ["o1", "o3", "o4"]
            .iter()
            .any(|series| name.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// Returns the plan for a template family, the kind of the application's model, and its effort.
fn mapped(family: Option<Family>, reasoning_model: bool, effort: Option<&str>) -> ThinkingPlan {
    let hybrid = |enable: bool, effort| ThinkingPlan { enable: Some(enable), effort, thinks: enable, own_words: false };
    match (family, effort) {
        (Some(Family::Qwen3 | Family::Qwen35), Some("none" | "minimal")) => hybrid(false, None),
        (Some(Family::Qwen3 | Family::Qwen35), Some(_)) => hybrid(true, None),
        (Some(Family::Qwen3 | Family::Qwen35), None) => hybrid(reasoning_model, None),
        (Some(Family::Qwen38), Some("none")) => hybrid(false, None),
        (Some(Family::Qwen38), Some("minimal" | "low")) => hybrid(true, Some("low")),
        (Some(Family::Qwen38), Some("medium")) => hybrid(true, Some("medium")),
        (Some(Family::Qwen38), Some(_)) => hybrid(true, Some("xhigh")),
        // The template's own default is its highest.
        (Some(Family::Qwen38), None) if reasoning_model => hybrid(true, Some("medium")),
        (Some(Family::Qwen38), None) => hybrid(false, None),
        (Some(Family::Thinking), _) => ThinkingPlan { thinks: true, ..ThinkingPlan::default() },
        (Some(Family::Qwen25 | Family::Instruct2507) | None, _) => ThinkingPlan::default(),
    }
}

const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Sets the plan, before the modules that may overrule it.
pub(super) fn plan(rewrite: &mut Rewrite<'_>) {
    let effort = match rewrite.answer_spec.kind {
        Kind::Responses => rewrite
            .draft
            .get("reasoning")
            .and_then(Draft::parse)
            .and_then(|reasoning| reasoning.string("effort").map(Cow::into_owned)),
        Kind::Chat | Kind::Completions => rewrite.draft.string("reasoning_effort").map(Cow::into_owned),
    };
    let effort = effort.as_deref().filter(|effort| EFFORTS.contains(effort));
    let family = rewrite.backend.family;
    rewrite.plan = mapped(family, is_reasoning_model(&rewrite.answer_spec.model), effort);
    if let Some(own) = own_switch(&rewrite.draft) {
        rewrite.plan.own_words = true;
        rewrite.plan.enable = Some(own);
        rewrite.plan.thinks = own;
    }
    if family == Some(Family::Thinking) && effort == Some("none") {
        rewrite.note("reasoning_effort", Action::Flagged, "this model cannot be kept from thinking");
    }
}

/// Returns the switch that the application itself set for the template.
fn own_switch(draft: &Draft<'_>) -> Option<bool> {
    let of = |text: &str| match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    let kwargs = draft.get("chat_template_kwargs").and_then(Draft::parse);
    kwargs
        .and_then(|kwargs| kwargs.get("enable_thinking").and_then(of))
        .or_else(|| draft.get("enable_thinking").and_then(of))
}

/// Writes the plan into the request.
pub(super) fn apply(rewrite: &mut Rewrite<'_>) {
    let switch = rewrite.backend.engine.facts().thinking;
    match switch {
        ThinkingSwitch::Template | ThinkingSwitch::StrictTemplate => template_switch(rewrite),
        ThinkingSwitch::TopLevel if rewrite.answer_spec.kind == Kind::Chat => top_level_switch(rewrite),
        ThinkingSwitch::TopLevel | ThinkingSwitch::Unknown => {}
    }
    rewrite.answer_spec.thinking_off = rewrite.plan.enable == Some(false) && switch != ThinkingSwitch::Unknown;
}

/// Returns the arguments that a family's template reads; `None` if the template is not known.
const fn template_reads(family: Option<Family>) -> Option<&'static [&'static str]> {
    match family {
        None => None,
        Some(Family::Qwen25 | Family::Instruct2507 | Family::Thinking) => Some(&[]),
        Some(Family::Qwen3) => Some(&["enable_thinking"]),
        Some(Family::Qwen35) => Some(&["enable_thinking", "preserve_thinking"]),
        Some(Family::Qwen38) => Some(&["enable_thinking", "preserve_thinking", "reasoning_effort"]),
    }
}

/// Removes arguments that the template does not read, which TensorRT-LLM refuses.
fn guard(rewrite: &mut Rewrite<'_>) {
    let Some(reads) = template_reads(rewrite.backend.family) else { return };
    const WHY: &str = "this model's template does not read it";
    if !reads.contains(&"enable_thinking") && rewrite.plan.own_words {
        rewrite.drop_field("enable_thinking", WHY);
        rewrite.plan =
            ThinkingPlan { thinks: rewrite.backend.family == Some(Family::Thinking), ..ThinkingPlan::default() };
    }
    let own = rewrite.draft.get("chat_template_kwargs").map(str::to_owned);
    let Some(mut own) = own.as_deref().and_then(Draft::parse) else { return };
    own.retain(|name, _| reads.contains(&name));
    if own.names().next().is_none() {
        rewrite.drop_field("chat_template_kwargs", WHY);
    } else if own.is_changed() {
        let json = own.to_json();
        rewrite.draft.set("chat_template_kwargs", json);
        rewrite.note("chat_template_kwargs", Action::Rewritten, WHY);
    }
}

fn template_switch(rewrite: &mut Rewrite<'_>) {
    let facts = rewrite.backend.engine.facts();
    if facts.thinking == ThinkingSwitch::StrictTemplate {
        guard(rewrite);
    }
    let plan = rewrite.plan;
    let has_plan = plan.enable.is_some() || plan.effort.is_some();
    take_effort(rewrite, has_plan, "chat_template_kwargs");
    let own = rewrite.draft.get("chat_template_kwargs").map(str::to_owned);
    let mut kwargs = Draft::empty();
    if let Some(enable) = plan.enable {
        kwargs.set("enable_thinking", if enable { "true" } else { "false" });
    }
    if let Some(effort) = plan.effort.filter(|_| plan.enable != Some(false)) {
        kwargs.set("reasoning_effort", quoted(effort));
    }
    let mut ours = kwargs.to_json();
    if let Some(switch) = rewrite.draft.remove("enable_thinking") {
        rewrite.note("enable_thinking", Action::Renamed, "chat_template_kwargs.enable_thinking");
        kwargs.set("enable_thinking", switch.into_owned());
        ours = kwargs.to_json();
    }
    let merged = match own.as_deref() {
        None => ours.clone(),
        Some(own) => match merge(&ours, own) {
            Some(merged) => merged,
            // Not an object: the server says so better.
            None => return,
        },
    };
    if merged != "{}" && own.as_deref() != Some(merged.as_str()) {
        rewrite.note("chat_template_kwargs", Action::Rewritten, ours);
        rewrite.draft.set("chat_template_kwargs", merged);
    }
    if rewrite.answer_spec.kind == Kind::Responses && facts.switch_in_effort && has_plan {
        let effort = if plan.enable == Some(false) { "none" } else { plan.effort.unwrap_or("medium") };
        rewrite.draft.set("reasoning", format!("{{\"effort\":{}}}", quoted(effort)));
        rewrite.note("reasoning", Action::Rewritten, effort);
    }
}

/// Merges two objects; fields of `own` replace those of `ours` and keep their bytes.
fn merge(ours: &str, own: &str) -> Option<String> {
    let mut fields = json::fields(ours)?;
    fields.extend(json::fields(own)?);
    Some(Draft::of(fields).to_json())
}

fn take_effort(rewrite: &mut Rewrite<'_>, has_plan: bool, becomes: &'static str) {
    let field = if rewrite.answer_spec.kind == Kind::Responses { "reasoning" } else { "reasoning_effort" };
    if rewrite.draft.remove(field).is_none() {
        return;
    }
    if has_plan {
        rewrite.note(field, Action::Renamed, becomes);
    } else {
        rewrite.note(field, Action::Dropped, "this model's template knows no effort");
    }
}

/// Writes DashScope's fields at the top level, where `chat_template_kwargs` has no effect.
fn top_level_switch(rewrite: &mut Rewrite<'_>) {
    if rewrite.draft.remove("chat_template_kwargs").is_some() {
        if rewrite.plan.own_words {
            rewrite.note("chat_template_kwargs", Action::Renamed, "enable_thinking");
        } else {
            rewrite.note("chat_template_kwargs", Action::Dropped, "it has no effect here");
        }
    }
    let degrees = rewrite.backend.family == Some(Family::Qwen38);
    let open_weight = matches!(rewrite.backend.family, Some(Family::Qwen3 | Family::Qwen35));
    if open_weight && !rewrite.answer_spec.streamed && rewrite.plan.enable == Some(true) {
        // Refused there: "enable_thinking must be set to false for non-streaming calls".
        rewrite.plan.enable = Some(false);
        rewrite.plan.thinks = false;
        rewrite.note("reasoning_effort", Action::Flagged, "this engine's open models think in streams only");
    }
    let plan = rewrite.plan;
    take_effort(rewrite, plan.enable.is_some(), if degrees { "reasoning_effort" } else { "enable_thinking" });
    match plan.effort.filter(|_| plan.enable == Some(true) && !plan.own_words) {
        Some(effort) => {
            rewrite.draft.set("reasoning_effort", quoted(effort));
            rewrite.note("reasoning_effort", Action::Rewritten, effort);
            rewrite.drop_field("thinking_budget", "not beside reasoning_effort");
        }
        None => {
            if let Some(enable) = plan.enable {
                rewrite.draft.set("enable_thinking", if enable { "true" } else { "false" });
                rewrite.note("enable_thinking", Action::Rewritten, if enable { "true" } else { "false" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kwargs_of_the_application_win_in_their_own_bytes() {
        let merged = merge(r#"{"enable_thinking":false}"#, r#"{"x": 1e2,"enable_thinking":true,"y":[1, 2]}"#);
        assert_eq!(merged.as_deref(), Some(r#"{"enable_thinking":true,"x":1e2,"y":[1, 2]}"#));
        assert_eq!(merge("{}", "7"), None);
    }

    #[test]
    fn models_that_think() {
        for name in ["gpt-5", "gpt-5.4-mini", "o1", "o3-mini", "o4-mini-2025"] {
            assert!(is_reasoning_model(name), "{name}");
        }
        for name in ["gpt-4o", "gpt-5-chat-latest", "o10", "omni", "", "my-gpt-5"] {
            assert!(!is_reasoning_model(name), "{name}");
        }
    }
}
