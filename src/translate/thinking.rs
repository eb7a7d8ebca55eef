//! Whether and how hard the model shall think: OpenAI's effort in the words of each template and engine.
//!
//! Open Qwen models think unless told otherwise; an application written for gpt-4o expects none of it.

use std::borrow::Cow;

use super::answer_spec::Kind;
use super::draft::{Draft, quoted};
use super::ledger::Action;
use super::rewrite::Job;
use super::thinking_plan::ThinkingPlan;
use crate::model::{Family, ThinkingSwitch};
use crate::wire::scan;

/// Models of OpenAI that think.
pub(super) fn is_reasoning_model(name: &str) -> bool {
    (name.starts_with("gpt-5") && !name.starts_with("gpt-5-chat"))
        || ["o1", "o3", "o4"]
            .iter()
            .any(|series| name.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
}

/// The map: template family, the application's model, its effort.
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

/// Decides, before the modules that may overrule it.
pub(super) fn plan(job: &mut Job<'_>) {
    let effort = match job.wants.kind {
        Kind::Responses => job
            .draft
            .get("reasoning")
            .and_then(Draft::parse)
            .and_then(|reasoning| reasoning.string("effort").map(Cow::into_owned)),
        Kind::Chat | Kind::Completions => job.draft.string("reasoning_effort").map(Cow::into_owned),
    };
    let effort = effort.as_deref().filter(|effort| EFFORTS.contains(effort));
    let family = job.backend.family;
    job.plan = mapped(family, is_reasoning_model(&job.wants.model), effort);
    if let Some(own) = own_switch(&job.draft) {
        job.plan.own_words = true;
        job.plan.enable = Some(own);
        job.plan.thinks = own;
    }
    if family == Some(Family::Thinking) && effort == Some("none") {
        job.note("reasoning_effort", Action::Flagged, "this model cannot be kept from thinking");
    }
}

/// What the application itself says to the template.
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
pub(super) fn apply(job: &mut Job<'_>) {
    let switch = job.backend.engine.facts().thinking;
    match switch {
        ThinkingSwitch::Template | ThinkingSwitch::StrictTemplate => template_switch(job),
        ThinkingSwitch::TopLevel if job.wants.kind == Kind::Chat => top_level_switch(job),
        ThinkingSwitch::TopLevel | ThinkingSwitch::Unknown => {}
    }
    job.wants.thinking_off = job.plan.enable == Some(false) && switch != ThinkingSwitch::Unknown;
}

/// What a family's template reads; `None` where the template is not known.
const fn template_reads(family: Option<Family>) -> Option<&'static [&'static str]> {
    match family {
        None => None,
        Some(Family::Qwen25 | Family::Instruct2507 | Family::Thinking) => Some(&[]),
        Some(Family::Qwen3) => Some(&["enable_thinking"]),
        Some(Family::Qwen35) => Some(&["enable_thinking", "preserve_thinking"]),
        Some(Family::Qwen38) => Some(&["enable_thinking", "preserve_thinking", "reasoning_effort"]),
    }
}

/// TensorRT-LLM refuses what the template does not read.
fn guard(job: &mut Job<'_>) {
    let Some(reads) = template_reads(job.backend.family) else { return };
    const WHY: &str = "this model's template does not read it";
    if !reads.contains(&"enable_thinking") && job.plan.own_words {
        job.drop_field("enable_thinking", WHY);
        job.plan = ThinkingPlan { thinks: job.backend.family == Some(Family::Thinking), ..ThinkingPlan::default() };
    }
    let own = job.draft.get("chat_template_kwargs").map(str::to_owned);
    let Some(mut own) = own.as_deref().and_then(Draft::parse) else { return };
    own.retain(|name, _| reads.contains(&name));
    if own.names().next().is_none() {
        job.drop_field("chat_template_kwargs", WHY);
    } else if own.is_changed() {
        let json = own.to_json();
        job.draft.set("chat_template_kwargs", json);
        job.note("chat_template_kwargs", Action::Rewritten, WHY);
    }
}

fn template_switch(job: &mut Job<'_>) {
    let facts = job.backend.engine.facts();
    if facts.thinking == ThinkingSwitch::StrictTemplate {
        guard(job);
    }
    let plan = job.plan;
    let has_plan = plan.enable.is_some() || plan.effort.is_some();
    take_effort(job, has_plan, "chat_template_kwargs");
    let own = job.draft.get("chat_template_kwargs").map(str::to_owned);
    let mut kwargs = Draft::of(&[]);
    if let Some(enable) = plan.enable {
        kwargs.set("enable_thinking", if enable { "true" } else { "false" });
    }
    if let Some(effort) = plan.effort.filter(|_| plan.enable != Some(false)) {
        kwargs.set("reasoning_effort", quoted(effort));
    }
    let mut told = kwargs.to_json();
    if let Some(switch) = job.draft.remove("enable_thinking") {
        job.note("enable_thinking", Action::Renamed, "chat_template_kwargs.enable_thinking");
        kwargs.set("enable_thinking", switch.into_owned());
        told = kwargs.to_json();
    }
    let merged = match own.as_deref() {
        None => told.clone(),
        Some(own) => match merge(&told, own) {
            Some(merged) => merged,
            // Not an object: the server says so better.
            None => return,
        },
    };
    if merged != "{}" && own.as_deref() != Some(merged.as_str()) {
        job.note("chat_template_kwargs", Action::Rewritten, told);
        job.draft.set("chat_template_kwargs", merged);
    }
    if job.wants.kind == Kind::Responses && facts.switch_in_effort && has_plan {
        let effort = if plan.enable == Some(false) { "none" } else { plan.effort.unwrap_or("medium") };
        job.draft.set("reasoning", format!("{{\"effort\":{}}}", quoted(effort)));
        job.note("reasoning", Action::Rewritten, effort);
    }
}

/// `ours` with what `own` says over it, in its own bytes: of a name that stands there twice the last counts.
fn merge(ours: &str, own: &str) -> Option<String> {
    let mut fields = scan::object(ours)?;
    fields.extend(scan::object(own)?);
    Some(Draft::of(&fields).to_json())
}

fn take_effort(job: &mut Job<'_>, has_plan: bool, becomes: &'static str) {
    let field = if job.wants.kind == Kind::Responses { "reasoning" } else { "reasoning_effort" };
    if job.draft.remove(field).is_none() {
        return;
    }
    if has_plan {
        job.note(field, Action::Renamed, becomes);
    } else {
        job.note(field, Action::Dropped, "this model's template knows no effort");
    }
}

/// Its own fields at the top level; what stands in `chat_template_kwargs` has no effect there.
fn top_level_switch(job: &mut Job<'_>) {
    if job.draft.remove("chat_template_kwargs").is_some() {
        if job.plan.own_words {
            job.note("chat_template_kwargs", Action::Renamed, "enable_thinking");
        } else {
            job.note("chat_template_kwargs", Action::Dropped, "it has no effect here");
        }
    }
    let degrees = job.backend.family == Some(Family::Qwen38);
    let open_weight = matches!(job.backend.family, Some(Family::Qwen3 | Family::Qwen35));
    if open_weight && !job.wants.streamed && job.plan.enable == Some(true) {
        // Refused there: "enable_thinking must be set to false for non-streaming calls".
        job.plan.enable = Some(false);
        job.plan.thinks = false;
        job.note("reasoning_effort", Action::Flagged, "this engine's open models think in streams only");
    }
    let plan = job.plan;
    take_effort(job, plan.enable.is_some(), if degrees { "reasoning_effort" } else { "enable_thinking" });
    match plan.effort.filter(|_| plan.enable == Some(true) && !plan.own_words) {
        Some(effort) => {
            job.draft.set("reasoning_effort", quoted(effort));
            job.note("reasoning_effort", Action::Rewritten, effort);
            job.drop_field("thinking_budget", "not beside reasoning_effort");
        }
        None => {
            if let Some(enable) = plan.enable {
                job.draft.set("enable_thinking", if enable { "true" } else { "false" });
                job.note("enable_thinking", Action::Rewritten, if enable { "true" } else { "false" });
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
