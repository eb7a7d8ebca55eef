//! The expectation, written from the order of decision: override, owner of the state, pins, owner of a tool's call,
//! split; then withdrawn, then availability. It shares no code with the crate.

use std::collections::BTreeSet;
use std::hash::Hasher;

use shiftgate::api::choose::Availability;
use shiftgate::api::model::MissingFeatures;
use siphasher::sip::SipHasher24;

use super::state::{AskedState, BackendState, BodyKind, Feature, FileState, Kind, LiveState, Named, SHORT};

/// Reasons of which any may be told.
pub(crate) type Reasons = BTreeSet<&'static str>;

/// The place that a request was drawn at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draw {
    /// Position in `sticky`; `None` for one that was drawn at random.
    pub(crate) key: Option<usize>,
    /// The hash; `None` where the test does not know the key's bytes.
    pub(crate) hash: Option<u64>,
}

/// A choice by positions and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) route: usize,
    pub(crate) decided: (usize, Reasons),
    pub(crate) asked: (usize, Reasons),
    pub(crate) draw: Option<Draw>,
    /// No other backend can serve it.
    pub(crate) is_bound: bool,
}

fn only(word: &'static str) -> Reasons {
    BTreeSet::from([word])
}

/// The file, what is known and the request of one choice.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) file: &'a FileState,
    pub(crate) live: &'a LiveState,
    pub(crate) asked: &'a AskedState,
}

impl State<'_> {
    /// The choice; `None` where the header names no backend. `unit_of` gives the unit of a draw.
    pub(crate) fn expected(self, unit_of: impl Fn(&Draw) -> u16) -> Option<Expected> {
        let Self { file, live, asked } = self;
        let route = self.route();
        let (decided, draw, is_bound) = if let Some(name) = asked.named.as_ref().filter(|_| file.allow_override) {
            ((file.backends.iter().position(|backend| backend.name == name)?, only("override")), None, false)
        } else if let Some(owner) = self.owner_of_state() {
            ((owner, only("affinity")), None, true)
        } else if let Some(pins) = Some(self.pins(route)).filter(|pins| !pins.is_empty()) {
            ((file.baseline, pins), None, false)
        } else if let Some(owner) = self.owner_of_call(route) {
            ((owner, only("affinity")), None, false)
        } else {
            let draw = self.draw(route);
            let unit = unit_of(&draw);
            ((self.by_share(route, unit), only("split")), Some(draw), false)
        };
        // A withdrawn share counts as the baseline's, after the draw.
        let is_withdrawn = draw.is_some() && live.withdrawn.contains(&decided.0);
        let decided = if is_withdrawn { (file.baseline, only("rolled_back")) } else { decided };
        let mut chosen = decided.clone();
        if file.failover && !is_bound && chosen.0 != file.baseline {
            let moved = match live.availability[chosen.0] {
                Availability::Free => None,
                Availability::Overload => Some("overload"),
                Availability::Cooldown => Some("cooldown"),
                Availability::Breaker => Some("breaker"),
            };
            chosen = moved.map_or(chosen, |word| (file.baseline, only(word)));
        }
        Some(Expected { route, decided, asked: chosen, draw, is_bound })
    }

    /// Backends that may ever serve the request, whatever the order: a coarse rule that catches a wrong expectation too.
    pub(crate) fn allowed(self) -> BTreeSet<usize> {
        let Self { file, live, asked } = self;
        let share = &file.routes[self.route()].percent;
        let named = asked.named.as_ref().filter(|_| file.allow_override);
        let mut allowed = BTreeSet::from([file.baseline]);
        for (at, backend) in file.backends.iter().enumerate() {
            let is_available = !file.failover || live.availability[at] == Availability::Free;
            let is_named = named.is_some_and(|name| backend.name == name);
            let has_share = named.is_none() && share[at] > 0 && !live.withdrawn.contains(&at);
            let owns = named.is_none() && self.owner_of_state() == Some(at);
            if owns || (is_available && (is_named || has_share)) {
                allowed.insert(at);
            }
        }
        allowed
    }

    fn is_object(self) -> bool {
        let is_read = matches!(self.asked.kind, Kind::Chat | Kind::Responses | Kind::Embeddings);
        is_read && self.asked.body_kind == BodyKind::Object
    }

    fn route(self) -> usize {
        let asked = self.asked;
        let model = asked.model.filter(|_| self.is_object());
        let begins = |text: Option<&str>, glob: Option<&str>| match glob {
            None => true,
            Some(glob) => text.is_some_and(|text| text.starts_with(glob.trim_end_matches('*'))),
        };
        let matches = |route: &super::state::RouteState| {
            begins(asked.workload, route.workload)
                && begins(model, route.model)
                && begins(Some(asked.path.as_str()), route.path)
        };
        self.file.routes.iter().position(matches).unwrap()
    }

    fn owner_of_state(self) -> Option<usize> {
        let is_legible = self.asked.kind == Kind::Stored || self.is_object();
        match self.asked.state.filter(|_| is_legible)? {
            Named::Backend(at) => Some(at),
            Named::Gone | Named::Foreign => None,
        }
    }

    fn owner_of_call(self, route: usize) -> Option<usize> {
        match self.asked.call.filter(|_| self.is_object())? {
            (Named::Backend(at), true) => {
                let has_share = self.file.routes[route].percent[at] > 0 && !self.live.withdrawn.contains(&at);
                (at == self.file.baseline || has_share).then_some(at)
            }
            _ => None,
        }
    }

    /// Every pin that applies.
    fn pins(self, route: usize) -> Reasons {
        let Self { file, live, asked } = self;
        let mut pins = Reasons::new();
        if !matches!(asked.kind, Kind::Chat | Kind::Responses) {
            return only("pinned:endpoint");
        }
        match asked.body_kind {
            BodyKind::Garbage => return only("pinned:unparsable"),
            BodyKind::OverCap => return only("pinned:body_over_cap"),
            BodyKind::Object => {}
        }
        if asked.kind == Kind::Responses && (!asked.stateless || asked.state.is_some()) {
            pins.insert("pinned:stateful");
        }
        if asked.model.is_none() {
            pins.insert("pinned:unparsable");
        }
        if asked.retry.is_some_and(|count| count != "0") {
            pins.insert("pinned:retry");
        }
        // A candidate's share in the file counts, not the one in force: withdrawing one moves no other one's requests.
        for (at, backend) in file.backends.iter().enumerate() {
            if file.routes[route].percent[at] == 0 {
                continue;
            }
            let known = live.known[at];
            let has_responses = backend.engine != "tgi"
                && (backend.responses || (known.is_probed && !known.missing.contains(MissingFeatures::RESPONSES)));
            if asked.kind == Kind::Responses && !has_responses {
                pins.insert("pinned:endpoint");
            }
            if asked.is_missed_by(known.missing) {
                pins.insert("pinned:probe");
            }
            pins.extend(self.cannot(backend, backend.max_model_len.or(known.max_model_len)));
        }
        pins
    }

    /// Every reason for which a backend cannot serve the request.
    pub(crate) fn cannot(self, backend: &BackendState, context: Option<u64>) -> Reasons {
        let asked = self.asked;
        let mut pins = Reasons::new();
        let knows = |app: &str| backend.models.iter().any(|(glob, _)| app.starts_with(glob.trim_end_matches('*')));
        let is_exact = |app: &str| backend.models.iter().any(|(name, _)| *name == app);
        let has_star = backend.models.iter().any(|(glob, _)| glob.ends_with('*'));
        let is_mapped = |app: &str| backend.models.is_empty() || is_exact(app) || (has_star && knows(app));
        if !(asked.model.is_some_and(is_mapped) || (asked.model.is_none() && backend.models.is_empty())) {
            pins.insert("pinned:model");
        }
        let engine = backend.engine;
        if engine == "openai" || !matches!(asked.kind, Kind::Chat | Kind::Responses) {
            return pins;
        }
        let is_one_of = |engines: &[&str]| engines.contains(&engine);
        let pin = match asked.feature {
            Feature::CustomTool => Some("pinned:tools"),
            Feature::JsonSchema if engine == "compatible" => Some("pinned:format"),
            Feature::SchemaAndTools if is_one_of(&["compatible", "tgi"]) => Some("pinned:format"),
            Feature::Choices if is_one_of(&["tgi", "dashscope", "compatible"]) => Some("pinned:choices"),
            Feature::Bias => Some("pinned:logit_bias"),
            Feature::Logprobs if engine == "compatible" || backend.pins_logprobs => Some("pinned:logprobs"),
            Feature::Image if !backend.vision || is_one_of(&["tgi", "compatible"]) => Some("pinned:vision"),
            Feature::Audio | Feature::AudioOut => Some("pinned:audio"),
            Feature::File => Some("pinned:file"),
            Feature::Search => Some("pinned:hosted"),
            Feature::Unknown if backend.pins_unknown => Some("pinned:unknown_field"),
            Feature::Verbosity if backend.strict => Some("pinned:strict"),
            Feature::Long if context == Some(SHORT) => Some("pinned:context"),
            _ => None,
        };
        pins.extend(pin);
        pins
    }

    fn draw(self, route: usize) -> Draw {
        let asked = self.asked;
        let hash = |key: &str| hash(&self.file.name, self.file.routes[route].name, key);
        let found = self.file.sticky.iter().enumerate().find_map(|(at, source)| {
            let hash = match *source {
                "header:x-session-id" => Some(hash(asked.session.as_ref()?)),
                "user" => Some(hash(asked.user.as_ref()?)),
                _ => {
                    asked.has_opening().then_some(())?;
                    None
                }
            };
            Some(Draw { key: Some(at), hash })
        });
        found.unwrap_or(Draw { key: None, hash: None })
    }

    /// By name, the first candidate grows from 0 and the second down from the top.
    fn by_share(self, route: usize, unit: u16) -> usize {
        let Self { file, .. } = self;
        let mut candidates: Vec<usize> = (0..file.backends.len()).filter(|at| *at != file.baseline).collect();
        candidates.sort_by_key(|at| file.backends[*at].name);
        let percent = file.routes[route].percent;
        let [first, second] = candidates[..] else { panic!("two candidates") };
        if unit < percent[first] {
            first
        } else if unit >= 10_000 - percent[second] {
            second
        } else {
            file.baseline
        }
    }
}

impl AskedState {
    fn is_missed_by(&self, missing: MissingFeatures) -> bool {
        let tools = if self.stream { MissingFeatures::TOOLS_STREAMED } else { MissingFeatures::TOOLS };
        let has_tools = matches!(self.feature, Feature::Tools | Feature::CustomTool | Feature::SchemaAndTools)
            || (self.kind == Kind::Responses && self.feature == Feature::Search);
        let has_schema = matches!(self.feature, Feature::JsonSchema | Feature::SchemaAndTools);
        [
            (self.kind == Kind::Responses, MissingFeatures::RESPONSES),
            (has_tools, tools),
            (has_schema, MissingFeatures::JSON_SCHEMA),
            (self.feature == Feature::JsonObject, MissingFeatures::JSON_OBJECT),
        ]
        .into_iter()
        .any(|(needs, feature)| needs && missing.contains(feature))
    }
}

/// SipHash-2-4 with key 0 over purpose, name, route and key, each with its length before it.
fn hash(name: &str, route: &str, key: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    for part in ["split", name, route, key] {
        hasher.write(&(part.len() as u32).to_le_bytes());
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

/// The unit of a hash.
pub(crate) fn unit(hash: u64) -> u16 {
    ((u128::from(hash) * 10_000) >> 64) as u16
}
