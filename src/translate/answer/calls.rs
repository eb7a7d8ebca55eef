//! Tool calls of a stream, rewritten in OpenAI's order: first the function's name, then the arguments.

use bytes::{BufMut, BytesMut};

use super::ids::{Ids, MAX_ID};
use super::json::{put_number, put_text};
use super::notes::{Note, Notes};
use super::read::Call;
use crate::model::Engine;
use crate::translate::answer_spec::AnswerSpec;
use crate::translate::ids::{call_id, owner_of_call};

/// Limit on the calls of one choice; later calls are dropped and noted.
const MAX_CALLS: u64 = 128;

/// Limit, in bytes, on arguments that come before the name; more are dropped and noted.
const MAX_EARLY: usize = 4 << 10;

/// Part of a call that an event adds.
pub(super) enum CallPart {
    Begin { place: u64, id: String, name: String },
    Arguments { place: u64, text: String },
}

#[derive(Debug, Default)]
pub(super) struct Calls(Vec<CallState>);

#[derive(Debug, Default)]
struct CallState {
    place: u64,
    own_id: Option<String>,
    announced: bool,
    /// Arguments that came before the name.
    early: String,
    has_arguments: bool,
    /// Only braces and blanks so far.
    only_braces: bool,
}

/// Returns the id under which the application knows a call. An id made here before is kept.
pub(super) fn shown_id(own: Option<&str>, spec: &AnswerSpec, ids: &Ids, choice: u64, place: u64) -> String {
    match own {
        Some(own) if owner_of_call(own) == Some(spec.owner) => own.to_owned(),
        _ => call_id(spec.owner, ids.seed, choice, place),
    }
}

impl Calls {
    /// True if a call was sent to the application.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|call| call.announced)
    }

    /// Returns the parts that `call` adds, at most two.
    pub(super) fn push(
        &mut self,
        call: &Call<'_>,
        (spec, ids): (&AnswerSpec, &Ids),
        choice: u64,
        notes: &mut Notes,
    ) -> [Option<CallPart>; 2] {
        let own = call.id.0.as_deref().filter(|id| !id.is_empty() && id.len() <= MAX_ID);
        let name = call.function.as_ref().map_or("", |function| function.name());
        let place = call.index.unwrap_or_else(|| self.place_of(own, name));
        if place > 0 && (spec.one_call || spec.functions) {
            notes.add(Note::FirstCallOnly);
            return [None, None];
        }
        if place >= MAX_CALLS {
            notes.add(Note::OverBound);
            return [None, None];
        }
        let state = self.at(place);
        let arguments = call.function.as_ref().map(|function| function.arguments()).unwrap_or_default();
        if state.own_id.is_none() {
            state.own_id = own.map(str::to_owned);
        }
        if !state.announced && name.is_empty() {
            if state.early.len() + arguments.len() > MAX_EARLY {
                notes.add(Note::OverBound);
            } else {
                state.early.push_str(&arguments);
            }
            return [None, None];
        }
        let begin = (!state.announced).then(|| {
            state.announced = true;
            state.only_braces = true;
            let id = shown_id(state.own_id.as_deref(), spec, ids, choice, place);
            CallPart::Begin { place, id, name: name.to_owned() }
        });
        let mut text = std::mem::take(&mut state.early);
        text.push_str(&arguments);
        state.has_arguments |= !text.is_empty();
        state.only_braces &= text.bytes().all(|byte| b"{} \n\t\r".contains(&byte));
        [begin, (!text.is_empty()).then_some(CallPart::Arguments { place, text })]
    }

    /// Returns the place of a call without an index. A new id begins a new call, and so does a name where there are no
    /// ids; anything else belongs to the last call.
    fn place_of(&self, own: Option<&str>, name: &str) -> u64 {
        let Some(last) = self.0.last() else { return 0 };
        let is_new = match (own, last.own_id.as_deref()) {
            (Some(own), Some(known)) => own != known,
            (None, None) => !name.is_empty() && last.announced,
            _ => false,
        };
        last.place + u64::from(is_new)
    }

    fn at(&mut self, place: u64) -> &mut CallState {
        let at = self.0.iter().position(|call| call.place == place).unwrap_or_else(|| {
            self.0.push(CallState { place, ..CallState::default() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Returns the parts that complete the calls when no more come.
    pub(super) fn finish(&mut self, engine: Engine, notes: &mut Notes) -> Vec<CallPart> {
        let mut parts = Vec::new();
        for call in &mut self.0 {
            let lost = engine.facts().loses_arguments && call.has_arguments && call.only_braces;
            if !call.announced || lost {
                notes.add(Note::ArgumentsLost);
            }
            if call.announced && !call.has_arguments {
                call.has_arguments = true;
                parts.push(CallPart::Arguments { place: call.place, text: "{}".to_owned() });
            }
        }
        parts
    }
}

impl CallPart {
    /// Appends the part as a field of a delta, in the spelling that the application used.
    pub(super) fn put(&self, out: &mut BytesMut, functions: bool) {
        match (self, functions) {
            (Self::Begin { place, id, name }, false) => {
                out.put_slice(b"\"tool_calls\":[{\"index\":");
                put_number(out, *place);
                out.put_slice(b",\"id\":");
                put_text(out, id);
                out.put_slice(b",\"type\":\"function\",\"function\":{\"name\":");
                put_text(out, name);
                out.put_slice(b",\"arguments\":\"\"}}]");
            }
            (Self::Arguments { place, text }, false) => {
                out.put_slice(b"\"tool_calls\":[{\"index\":");
                put_number(out, *place);
                out.put_slice(b",\"function\":{\"arguments\":");
                put_text(out, text);
                out.put_slice(b"}}]");
            }
            (Self::Begin { name, .. }, true) => {
                out.put_slice(b"\"function_call\":{\"name\":");
                put_text(out, name);
                out.put_slice(b",\"arguments\":\"\"}");
            }
            (Self::Arguments { text, .. }, true) => {
                out.put_slice(b"\"function_call\":{\"arguments\":");
                put_text(out, text);
                out.put_slice(b"}");
            }
        }
    }
}
