//! The tool calls of an answer: which functions a request offers, and which of them the model calls.

use serde_json::{Map, Value};

use super::quirks::{ParallelCalls, Quirks};
use super::{prompt, schema};

/// A call of one function.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    /// JSON, as text.
    pub(super) arguments: String,
}

/// Value of `tool_choice`, as far as finish reasons depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// The model decides, or there is no tool.
    Auto,
    /// Some tool has to be called.
    Required,
    /// The named tool has to be called.
    Named,
}

/// Cuts text into tokens of up to four characters.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(|part| part.iter().collect()).collect()
}

/// Returns the functions that a request offers, in every spelling that the engine understands.
fn functions<'a>(body: &'a Map<String, Value>, quirks: &Quirks) -> Vec<&'a Value> {
    let list = |name: &str| body.get(name).and_then(Value::as_array).into_iter().flatten();
    let tools = list("tools").filter_map(|tool| match tool.get("function") {
        Some(function) => Some(function),
        None => (tool.get("type").is_some_and(|kind| kind == "function") && tool.get("name").is_some()).then_some(tool),
    });
    if quirks.has_functions { tools.chain(list("functions")).collect() } else { tools.collect() }
}

fn name(function: &Value) -> String {
    function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the calls that the model makes, and the kind of choice that it had.
pub(super) fn calls(body: &Map<String, Value>, quirks: &Quirks, user: &str) -> (Vec<Call>, ToolChoice) {
    let functions = functions(body, quirks);
    let choice = body.get("tool_choice").or_else(|| body.get("function_call").filter(|_| quirks.has_functions));
    let tool_choice = match choice {
        _ if functions.is_empty() => return (Vec::new(), ToolChoice::Auto),
        Some(Value::String(choice)) if choice == "none" => return (Vec::new(), ToolChoice::Auto),
        Some(Value::String(choice)) if choice == "required" => ToolChoice::Required,
        Some(Value::Object(_)) => ToolChoice::Named,
        _ => ToolChoice::Auto,
    };
    let call = |function: &&Value| {
        let strict = function.get("strict").is_some_and(|strict| strict == true);
        let loose = quirks.loose_forced_calls && tool_choice != ToolChoice::Auto && !strict;
        let arguments = if loose { r#""\": {""#.to_owned() } else { schema::arguments(function) };
        Call { name: name(function), arguments }
    };
    let user = user.to_lowercase();
    let count = call_count(body, quirks, &user);
    let calls = match (tool_choice, choice) {
        (ToolChoice::Required, _) if quirks.required_calls_two => functions.iter().take(2).map(call).collect(),
        (ToolChoice::Required, _) => functions.iter().take(count.min(functions.len())).map(call).collect(),
        (ToolChoice::Named, Some(choice)) => {
            let wanted = choice.get("function").unwrap_or(choice).get("name").and_then(Value::as_str);
            let found = functions.iter().find(|function| Some(name(function).as_str()) == wanted);
            found.map(call).into_iter().collect()
        }
        _ => {
            let turns = prompt::turns(body);
            let answered = turns.last().is_some_and(|turn| ["tool", "function"].contains(&turn.role));
            let wants = !answered && (user.contains("tool") || user.contains("weather"));
            if wants { functions.iter().cycle().take(count).map(call).collect() } else { Vec::new() }
        }
    };
    (calls, tool_choice)
}

/// Returns the calls that the model writes as text though `tool_choice` is `none`.
pub(super) fn unwanted_calls(body: &Map<String, Value>, quirks: &Quirks, user: &str) -> Vec<Call> {
    if !quirks.writes_unwanted_calls || body.get("tool_choice").is_none_or(|choice| choice != "none") {
        return Vec::new();
    }
    let mut body = body.clone();
    body.remove("tool_choice");
    calls(&body, quirks, user).0
}

/// Returns 2 if the user wants two things and the answer may have two calls, else 1.
fn call_count(body: &Map<String, Value>, quirks: &Quirks, user: &str) -> usize {
    let wants_two = user.contains("both") || user.contains("two") || user.contains("and the time");
    let parallel = body.get("parallel_tool_calls").and_then(Value::as_bool);
    let may_be_two = match quirks.parallel_calls {
        ParallelCalls::Never => false,
        ParallelCalls::Always => true,
        ParallelCalls::ByDefault => parallel.unwrap_or(true),
        ParallelCalls::OnRequest => parallel.unwrap_or(false),
    };
    if wants_two && may_be_two { 2 } else { 1 }
}

/// Gives the first call other arguments, or the name of another function, as `draw` says.
pub(super) fn make_wrong(calls: &mut [Call], body: &Map<String, Value>, quirks: &Quirks, draw: u64) {
    let Some(call) = calls.first_mut() else { return };
    match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(mut arguments)) if draw.is_multiple_of(2) => {
            match arguments.values_mut().next() {
                Some(Value::String(text)) => text.push_str(" or Lyon"),
                Some(value) => *value = Value::String("Lyon".to_owned()),
                None => drop(arguments.insert("place".to_owned(), Value::String("Lyon".to_owned()))),
            }
            call.arguments = Value::Object(arguments).to_string();
        }
        _ => {
            let offered = functions(body, quirks).into_iter().map(name).find(|name| *name != call.name);
            call.name = offered.unwrap_or_else(|| format!("other_{}", call.name));
        }
    }
}
