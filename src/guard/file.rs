//! The facts of the file about one candidate that matter to its guard.

use serde::{Deserialize, Serialize};

use super::moves::Lift;
use crate::config::{Backend, Config, GuardAction, GuardErrors};
use crate::model::{BackendId, Percent};

/// Keys of a backend that make it what it is, in the order of [`Identity`].
const PARTS: [&str; 6] = ["engine", "url", "models", "family", "system", "the translation"];

/// Hashes of everything that makes a backend what it is. Evidence about another one says nothing; a key, a limit or the
/// content of a key file does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Identity([u64; PARTS.len()]);

impl Identity {
    /// Hashes a backend's section.
    pub fn of(backend: &Backend) -> Self {
        let Backend { engine, url, models, family, translation, system, .. } = backend;
        // The longest match counts, not the order.
        let mut models: Vec<String> = models.iter().map(|one| format!("{one:?}")).collect();
        models.sort();
        // The wording counts, not the file that holds it.
        let wording = system.as_ref().map(|own| (own.mode, own.text.as_deref()));
        Self([
            hash(engine.as_str()),
            hash(&url.to_string()),
            hash(&format!("{models:?}")),
            hash(&format!("{family:?}")),
            hash(&format!("{wording:?}")),
            hash(&format!("{translation:?}")),
        ])
    }

    /// Text of the state file.
    pub fn to_text(self) -> String {
        self.0.map(|hash| format!("{hash:016x}")).join("-")
    }

    /// Reads the text of the state file.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut hashes = [0; PARTS.len()];
        let mut parts = text.split('-');
        for hash in &mut hashes {
            *hash = parts.next().filter(|part| part.len() == 16).and_then(|part| u64::from_str_radix(part, 16).ok())?;
        }
        parts.next().is_none().then_some(Self(hashes))
    }

    /// Names of the keys that differ.
    pub(super) fn changed(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.0.iter().zip(&other.0).zip(PARTS);
        pairs.filter_map(|((own, other), name)| (own != other).then_some(name)).collect()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_text()
    }
}

impl TryFrom<String> for Identity {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_text(&text).ok_or("is not the identity of a backend")
    }
}

/// SipHash-2-4 with key 0, which stays the same in every version.
fn hash(text: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0, 0);
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// One reading of the file, for one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct FileFacts {
    /// Name of the rollout.
    pub rollout: String,
    /// Name of the candidate.
    pub candidate: String,
    /// Name of the baseline.
    pub baseline: String,
    /// The candidate's identity.
    pub identity: Identity,
    /// The baseline's identity.
    pub baseline_identity: Identity,
    /// Limits on the failure rate.
    pub errors: GuardErrors,
    /// Chance of a false alarm.
    pub alpha: f64,
    /// Action when the evidence suffices.
    pub action: GuardAction,
    /// Number whose change lifts a withdrawal.
    pub resume: u64,
    /// True if the candidate is at 0 % on every route.
    pub is_at_zero: bool,
    /// True if the candidate has a share on some route, and the baseline has none on any of those.
    pub is_blind: bool,
    /// True if failed requests are moved, so that the candidate has a breaker.
    pub has_failover: bool,
    /// Command that lifts a withdrawal.
    pub resume_command: String,
}

impl FileFacts {
    /// Reads the facts about a candidate of `config`; `None` without `[guard]`, or for the baseline itself.
    pub fn of(config: &Config, candidate: BackendId) -> Option<Self> {
        let guard = config.guard.as_ref().filter(|_| candidate != config.baseline)?;
        let (backend, baseline) = (&config[candidate], &config[config.baseline]);
        let shares: Vec<(Percent, Percent)> =
            config.routes.iter().map(|route| (route.own(candidate), route.left())).collect();
        let mut served = shares.iter().filter(|(own, _)| *own > Percent::ZERO).peekable();
        let is_at_zero = served.peek().is_none();
        let path = config.path.display().to_string();
        Some(Self {
            rollout: config.name.clone(),
            candidate: backend.name.clone(),
            baseline: baseline.name.clone(),
            identity: Identity::of(backend),
            baseline_identity: Identity::of(baseline),
            errors: guard.errors,
            alpha: guard.alpha,
            action: guard.action,
            resume: guard.resume,
            is_at_zero,
            is_blind: !is_at_zero && served.all(|(_, left)| *left == Percent::ZERO),
            has_failover: config.failover.enabled,
            resume_command: match path.as_str() {
                "rollout.toml" => "shiftgate resume".to_owned(),
                path => format!("shiftgate resume --config {}", quoted(path)),
            },
        })
    }

    /// True if this reading of the file begins an epoch after `before`.
    pub(super) fn begins_epoch(&self, before: &Self) -> bool {
        self.rollout != before.rollout
            || self.identity != before.identity
            || self.baseline_identity != before.baseline_identity
            || self.errors != before.errors
            || self.alpha.to_bits() != before.alpha.to_bits()
    }

    /// Returns the way by which this reading lifts a withdrawal that was made under the given name of the rollout, identity
    /// and `resume`.
    pub(super) fn lift(&self, rollout: &str, identity: &Identity, resume: u64) -> Option<Lift> {
        if self.is_at_zero {
            return Some(Lift::PercentZero);
        }
        if self.resume != resume {
            return Some(Lift::Resumed { from: resume, to: self.resume });
        }
        if self.rollout != rollout {
            return Some(Lift::Renamed);
        }
        let keys = identity.changed(&self.identity);
        (!keys.is_empty()).then_some(Lift::Candidate(keys))
    }

    /// Evidence at which the guard acts: 1/alpha, at most 10^300.
    pub fn threshold(&self) -> f64 {
        threshold(self.alpha)
    }
}

/// Evidence at which a guard acts: 1/alpha, at most 10^300, beyond which evidence is not counted.
pub(super) fn threshold(alpha: f64) -> f64 {
    let threshold = 1.0 / alpha;
    if threshold <= 1e300 { threshold } else { 1e300 }
}

/// Quotes a path for a shell where it has to be.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Secrets, parse};

    const FILE: &str = "[rollout]\nname = \"n\"\nbaseline = \"a\"\npercent = { b = 5 }\n[[route]]\nname = \"r\"\n\
        percent = { b = 100 }\n[backend.a]\nengine = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\napi_key = \"none\"\n\
        [backend.b]\nengine = \"vllm\"\nurl = \"http://127.0.0.1:2/v1\"\napi_key = \"none\"\n[guard]\n";

    fn facts(text: &str) -> Option<FileFacts> {
        let config = parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap();
        FileFacts::of(&config, config.backend("b").unwrap())
    }

    #[test]
    fn shares_on_all_routes_decide() {
        let of = |default: &str, route: &str| {
            let text =
                FILE.replace("b = 5 }", &format!("b = {default} }}")).replace("b = 100", &format!("b = {route}"));
            let facts = facts(&text).unwrap();
            (facts.is_at_zero, facts.is_blind)
        };
        assert_eq!(of("5", "100"), (false, false));
        assert_eq!(of("0", "100"), (false, true), "it is blind where it serves");
        assert_eq!(of("100", "100"), (false, true));
        assert_eq!(of("0", "0"), (true, false));
        assert_eq!(of("0.01", "0"), (false, false));
    }

    #[test]
    fn without_the_section_and_for_the_baseline_there_is_none() {
        assert!(facts(&FILE.replace("[guard]", "")).is_none());
        let config = parse(Path::new("rollout.toml"), FILE.as_bytes(), Secrets::Skip, &|_| None).unwrap();
        assert!(FileFacts::of(&config, config.baseline).is_none());
    }

    #[test]
    fn what_makes_a_backend_what_it_is() {
        let before = facts(FILE).unwrap().identity;
        let changed = |from: &str, to: &str| {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE, "{from}");
            before.changed(&facts(&text).unwrap().identity)
        };
        assert_eq!(changed("\"vllm\"", "\"sglang\""), ["engine"]);
        assert_eq!(changed("127.0.0.1:2/v1", "127.0.0.1:2/v2"), ["url"]);
        let with = |line: &str| changed("[guard]", &format!("{line}\n[guard]"));
        assert_eq!(with("models = { \"*\" = \"q\" }"), ["models"]);
        assert_eq!(with("family = \"qwen3\""), ["family"]);
        assert_eq!(with("late_system = \"as_user\""), ["the translation"]);
        assert_eq!(with("max_model_len = 7"), ["the translation"]);
        for line in
            ["max_in_flight = 7", "breaker = { failures = 9 }", "timeout = { ttft = \"9s\" }", "tags = [\"eu\"]"]
        {
            assert!(with(line).is_empty(), "{line}");
        }
        assert!(changed("api_key = \"none\"\n[guard]", "api_key = { env = \"KEY\" }\n[guard]").is_empty());
        assert_eq!(Identity::from_text(&before.to_text()), Some(before));
        for wrong in ["", "-----", before.to_text().get(1..).unwrap(), &format!("{}-0", before.to_text())] {
            assert_eq!(Identity::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_command_is_exact() {
        let of = |path: &str| {
            let config = parse(Path::new(path), FILE.as_bytes(), Secrets::Skip, &|_| None).unwrap();
            FileFacts::of(&config, config.backend("b").unwrap()).unwrap().resume_command
        };
        assert_eq!(of("rollout.toml"), "shiftgate resume");
        assert_eq!(of("/etc/shiftgate/rollout.toml"), "shiftgate resume --config /etc/shiftgate/rollout.toml");
        assert_eq!(of("my file's.toml"), r"shiftgate resume --config 'my file'\''s.toml'");
    }

    #[test]
    fn the_threshold_is_a_number() {
        assert_eq!(threshold(0.01), 100.0);
        assert_eq!((threshold(1e-310), threshold(f64::MIN_POSITIVE)), (1e300, 1e300));
    }
}
