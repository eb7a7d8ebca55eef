//! The environment's `OTEL_*` variables, read through a function, with a note of each that is not understood.

use std::borrow::Cow;
use std::time::Duration;

/// A variable that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}, which {why}")]
pub(super) struct EnvWarning {
    name: &'static str,
    value: String,
    why: Cow<'static, str>,
}

/// Returns the value of a variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads variables as the specification says: an empty one counts as unset.
pub(super) struct EnvReader<'a> {
    env: Env<'a>,
    warnings: Vec<EnvWarning>,
}

impl<'a> EnvReader<'a> {
    pub(super) const fn new(env: Env<'a>) -> Self {
        Self { env, warnings: Vec::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.trim().is_empty())
    }

    /// Returns the first variable that is set. Names of a signal stand before the general ones.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// Notes a variable that is not understood.
    pub(super) fn warn(&mut self, name: &'static str, value: &str, why: impl Into<Cow<'static, str>>) {
        self.warnings.push(EnvWarning { name, value: value.to_owned(), why: why.into() });
    }

    /// Reads a number above zero.
    pub(super) fn number(&mut self, name: &'static str, default: usize) -> usize {
        let Some(text) = self.get(name) else { return default };
        match text.trim().parse() {
            Ok(number) if number > 0 => number,
            _ => {
                self.warn(name, &text, "is not a positive number");
                default
            }
        }
    }

    /// Reads a number of milliseconds.
    pub(super) fn millis(&mut self, name: &'static str, default: Duration) -> Duration {
        let millis = self.number(name, usize::try_from(default.as_millis()).unwrap_or(usize::MAX));
        Duration::from_millis(millis as u64)
    }

    pub(super) fn into_warnings(self) -> Vec<EnvWarning> {
        self.warnings
    }
}
