//! Residency over random states: nothing goes to a backend that may not see it, and nothing else changes.

use http::Method;
use rand::seq::IndexedRandom;
use shiftgate::api::choose::{Lack, NotChosen};

use super::state::{BACKENDS, Kind};
use super::*;

/// Number of files, and of requests under each: 100,000 states.
const FILES: usize = 5_000;
const REQUESTS: usize = 20;
const TAGS: [&str; 3] = ["eu", "us", "private"];

/// Part of a rule's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `header = { x-region = "EU*" }`.
    Header,
    /// `field = { "metadata.region" = "eu*" }`.
    Field,
    /// `model = "gpt-4o*"`.
    Model,
    /// `path = "/v1/chat*"`.
    Path,
}

impl Part {
    const fn text(self) -> &'static str {
        match self {
            Self::Header => "header = { x-region = \"EU*\" }",
            Self::Field => "field = { \"metadata.region\" = \"eu*\" }",
            Self::Model => "model = \"gpt-4o*\"",
            Self::Path => "path = \"/v1/chat*\"",
        }
    }
}

/// Tags of the backends, and rules as their conditions and tags.
#[derive(Debug)]
pub(crate) struct Residency {
    tags: [Vec<&'static str>; BACKENDS],
    rules: Vec<(Vec<Part>, Vec<&'static str>)>,
}

fn some<T: Copy>(rng: &mut StdRng, of: &[T], likely: f64) -> Vec<T> {
    of.iter().copied().filter(|_| rng.random_bool(likely)).collect()
}

impl Residency {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let tags: [Vec<&str>; BACKENDS] = std::array::from_fn(|_| some(rng, &TAGS, 0.45));
        let mut rules = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            let parts = some(rng, &[Part::Header, Part::Field, Part::Model, Part::Path], 0.3);
            let allow = some(rng, &TAGS, 0.5);
            // A rule without a backend, or beside another one of the same condition, may be an error of the file.
            let is_satisfied = tags.iter().any(|tags| allow.iter().any(|tag| tags.contains(tag)));
            if is_satisfied && rules.iter().all(|(other, _)| *other != parts) {
                rules.push((parts, allow));
            }
        }
        Self { tags, rules }
    }

    pub(crate) fn text(&self, file: &FileState) -> String {
        let mut text = file.text();
        for (backend, tags) in file.backends.iter().zip(&self.tags) {
            let section = format!("[backend.{}]\n", backend.name);
            text = text.replace(&section, &format!("{section}tags = {tags:?}\n"));
        }
        for (at, (parts, allow)) in self.rules.iter().enumerate() {
            let parts: Vec<&str> = parts.iter().map(|part| part.text()).collect();
            text +=
                &format!("[[residency]]\nname = \"r{at}\"\nmatch = {{ {} }}\nallow = {allow:?}\n", parts.join(", "));
        }
        text
    }
}

/// The facts that residency reads of a request.
#[derive(Debug)]
pub(crate) struct Traits {
    region: Option<&'static [u8]>,
    field: Option<&'static str>,
    is_websocket: bool,
}

impl Traits {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let regions: [Option<&[u8]>; 6] = [None, None, Some(b"us"), Some(b"eu-west"), Some(b"us, EU-1"), Some(b"\xff")];
        let fields = [None, None, Some("\"us\""), Some("\"eu-1\""), Some("[\"x\"]"), Some("null")];
        Self {
            region: *regions.choose(rng).unwrap(),
            field: *fields.choose(rng).unwrap(),
            is_websocket: rng.random_bool(0.05),
        }
    }

    /// Puts the traits into the request.
    pub(crate) fn put(&self, asked: &mut AskedState, headers: &mut HeaderMap) {
        if let Some(region) = self.region {
            headers.insert("x-region", HeaderValue::from_bytes(region).unwrap());
        }
        if self.is_websocket {
            (asked.method, asked.path) = (Method::GET, "/v1/realtime".to_owned());
        }
        if let (Some(value), true) = (self.field, asked.body_kind == BodyKind::Object)
            && let Some(rest) = asked.body.strip_prefix('{')
        {
            asked.body = format!("{{\"metadata\":{{\"region\":{value}}},{rest}");
        }
    }

    /// True if the part of a rule matches, by `placement.md` and not by the code.
    fn is(&self, part: Part, asked: &AskedState, body: Body<'_>) -> bool {
        let is_readable = matches!(body, Body::Scanned(_));
        match part {
            Part::Header => self.region.is_some_and(|region| region != b"us"),
            Part::Path => asked.path.starts_with("/v1/chat"),
            Part::Model if self.is_websocket => true,
            Part::Model if matches!(body, Body::Empty) => false,
            Part::Model => !is_readable || asked.model.is_none_or(|model| model.starts_with("gpt-4o")),
            Part::Field if self.is_websocket => true,
            Part::Field if matches!(body, Body::Empty) => false,
            Part::Field => !is_readable || matches!(self.field, Some("\"eu-1\"" | "[\"x\"]")),
        }
    }
}

/// Checks one request; returns a word for the result.
fn check(
    rules: (&Rules<'_>, &Rules<'_>, &Residency),
    live: &LiveState,
    asked: &mut AskedState,
    traits: &Traits,
    unit: u16,
) -> &'static str {
    let (with, without, residency) = rules;
    let mut headers = headers(asked);
    traits.put(asked, &mut headers);
    let scanned = scan::scan(asked.body.as_bytes()).ok();
    let endpoint = Endpoint::of(&asked.method, &asked.path);
    let body = match &scanned {
        _ if traits.is_websocket || asked.method == Method::GET => Body::Empty,
        _ if !endpoint.is_read() => Body::NotRead,
        _ if asked.body_kind == BodyKind::OverCap => Body::OverCap,
        Some(scan) => Body::Scanned(scan),
        None => Body::Unparsable,
    };
    let request = Request { endpoint: &endpoint, path: &asked.path, query: None, headers: &headers, body };
    let choose_by = |rules: &Rules<'_>| {
        let facts = Live { state: live, baseline: rules.file.baseline };
        choose(rules.config, (rules.salts, &rules.shares(&live.withdrawn)), &request, &facts, &mut || unit)
    };
    let is_outside = endpoint == Endpoint::Models || endpoint == Endpoint::Read("/v1/models/*");
    let matching: Vec<usize> = (0..residency.rules.len())
        .filter(|at| !is_outside && residency.rules[*at].0.iter().all(|part| traits.is(*part, asked, body)))
        .collect();
    let may_see = |at: usize| {
        matching.iter().all(|rule| residency.rules[*rule].1.iter().any(|tag| residency.tags[at].contains(tag)))
    };
    let eligible: Vec<usize> = (0..BACKENDS).filter(|at| may_see(*at)).collect();
    let file = with.file;
    let choice = match choose_by(with) {
        Ok(choice) => choice,
        Err(NotChosen::UnknownBackend) => return "unknown",
        Err(NotChosen::Residency(refused) | NotChosen::Unable(refused, _)) => {
            assert_eq!(refused.eligible.rules(), matching, "the rules that match are named");
            assert!(!eligible.contains(&file.baseline) || refused.lack == Lack::State, "{refused:?}");
            match refused.lack {
                Lack::Backend => assert!(eligible.is_empty(), "{refused:?}"),
                Lack::State => {}
                _ => assert!(!eligible.is_empty(), "{refused:?}"),
            }
            assert!(!refused.message(with.config).is_empty());
            return if eligible.is_empty() { "none" } else { "unable" };
        }
    };
    assert_eq!(choice.eligible().rules(), matching);
    let (at, decided) = (choice.backend().index(), choice.decided());
    assert!(eligible.contains(&at) && eligible.contains(&decided.0.index()), "{choice:?} may not see it: {eligible:?}");
    let whys = [Availability::Overload, Availability::Cooldown, Availability::Breaker].map(Instead::Unavailable);
    let failed = Cause::ALL.map(Instead::Failed);
    for why in whys.into_iter().chain(failed).chain([Instead::Pinned(Pin::Vision)]) {
        if let Some(moved) = instead(with.config, &choice, why) {
            assert!(eligible.contains(&moved.backend().index()), "{why:?} of {choice:?} goes to {moved:?}");
        }
    }
    if decided.1 == Reason::Pinned(Pin::Residency) {
        assert!(eligible.len() < BACKENDS);
        assert!(at == file.baseline || !eligible.contains(&file.baseline), "the baseline goes first: {choice:?}");
        return "moved";
    }
    if eligible.len() < BACKENDS {
        if eligible == [at] && at != file.baseline && file.failover {
            assert_eq!(choice.is_forced(), live.availability[at] != Availability::Free, "{choice:?}");
        }
        return "kept";
    }
    let plain = choose_by(without).unwrap();
    let of = |choice: &Choice| (choice.route(), choice.backend(), choice.reason(), choice.decided(), choice.drawn());
    assert_eq!(of(&choice), of(&plain), "a request that every backend may see goes as without rules");
    "free"
}

fn one_file(seed: u64, results: &mut BTreeMap<&'static str, usize>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (file, residency) = (FileState::random(&mut rng), Residency::random(&mut rng));
    let text = residency.text(&file);
    let config = config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Required, &|_| None)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let (plain, salts) = (parse(&file), Salts::new(&config));
    let with = Rules { file: &file, config: &config, salts: &salts };
    let without = Rules { file: &file, config: &plain, salts: &salts };
    for _ in 0..REQUESTS {
        let (live, mut asked) = (LiveState::random(&mut rng, &file), AskedState::random(&mut rng, &file));
        let traits = Traits::random(&mut rng);
        if asked.kind == Kind::Stored && rng.random_bool(0.3) {
            (asked.method, asked.path) = (Method::GET, "/v1/models/gpt-4o".to_owned());
        }
        let unit = rng.random_range(0..UNITS);
        let shown = format!("{text}\n{live:?}\n{asked:?}\n{traits:?} unit {unit}, seed {seed}");
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check((&with, &without, &residency), &live, &mut asked, &traits, unit)
        }));
        match checked {
            Ok(word) => *results.entry(word).or_default() += 1,
            Err(_) => panic!("{shown}"),
        }
    }
}

#[test]
fn no_request_leaves_its_eligible_backends_in_a_hundred_thousand_states() {
    let results = check_files(FILES, one_file);
    assert_eq!(results.values().sum::<usize>(), FILES * REQUESTS);
    for word in ["free", "kept", "moved", "none", "unable"] {
        assert!(results.get(word).is_some_and(|count| *count > 500), "{word} is rare: {results:?}");
    }
}
