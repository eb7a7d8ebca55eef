//! `--color` and `NO_COLOR`: whether help, usage errors and the log for people have colours.

use std::ffi::OsStr;
use std::io::IsTerminal;

use clap::{ColorChoice, ValueEnum};

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// Colours on a terminal, unless NO_COLOR is set.
    Auto,
    /// Colours in everything that is written for people.
    Always,
    /// Text without colours.
    Never,
}

impl Color {
    /// Finds the choice among the arguments: help and usage errors are printed before these are parsed. An unknown word
    /// is a usage error, printed as if nothing was given.
    pub(super) fn of(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let word = match argument.as_ref().to_str() {
                Some("--") => break,
                Some("--color") => arguments.next().and_then(|word| word.as_ref().to_str().map(str::to_owned)),
                Some(text) => text.strip_prefix("--color=").map(str::to_owned),
                None => None,
            };
            if let Some(choice) = word.and_then(|word| Self::from_str(&word, false).ok()) {
                return choice;
            }
        }
        Self::Auto
    }

    /// Returns the choice for clap, which looks at NO_COLOR and at the terminal itself.
    pub(super) const fn for_clap(self) -> ColorChoice {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
    }

    /// True if text for people on `stream` has colours; `no_color` is the value of NO_COLOR, and an empty one counts
    /// as unset.
    pub(super) fn is_on(self, stream: &impl IsTerminal, no_color: Option<&str>) -> bool {
        match self {
            Self::Auto => stream.is_terminal() && no_color.unwrap_or_default().is_empty(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_found_wherever_it_stands() {
        for (arguments, choice) in [
            (&["shiftgate", "check", "--color", "never"][..], Color::Never),
            (&["shiftgate", "--color=always", "check"], Color::Always),
            (&["shiftgate", "--color=pink"], Color::Auto),
            (&["shiftgate", "--color"], Color::Auto),
            (&["shiftgate", "--", "--color=never"], Color::Auto),
            (&["shiftgate"], Color::Auto),
        ] {
            assert_eq!(Color::of(arguments), choice, "{arguments:?}");
        }
    }

    #[test]
    fn the_flag_is_stronger_than_the_variable() {
        let file = tempfile::tempfile().unwrap();
        assert!(Color::Always.is_on(&file, Some("1")));
        assert!(!Color::Auto.is_on(&file, None) && !Color::Never.is_on(&file, None));
    }
}
