//! Closed lists of words of the report. Those that records have too are [`compare`](crate::compare)'s.

pub(super) use crate::compare::{Kind as PairKind, LegOutcome, Mode};

/// Defines an enum with a word for each variant and its position in the list.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of the list.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Word in records.
            pub(super) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// Checks of the verdict, in the order of its table.
    CheckName {
        /// The leg is not `ok`.
        Failed = "failed",
        /// The answer refuses.
        Refused = "refused",
        /// The answer is empty.
        Empty = "empty",
        /// The answer ended at a limit of tokens.
        Cut = "cut",
        /// JSON was asked for and the answer does not parse.
        JsonBroken = "json_broken",
        /// JSON was asked for and the answer does not keep the schema.
        SchemaBroken = "schema_broken",
        /// Both answers are of different scripts.
        Script = "script",
    }
}

/// Properties in which two answers are equal or differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlipName {
    /// Finish reasons.
    Finish,
    /// Texts.
    Exact,
    /// Names of the called tools.
    ToolNames,
    /// Calls with their arguments.
    Tools,
    /// Scripts.
    Script,
    /// Fences around JSON.
    Fence,
}

impl FlipName {
    /// Every variant, in the order of the list.
    pub(super) const ALL: &'static [Self] =
        &[Self::Finish, Self::Exact, Self::ToolNames, Self::Tools, Self::Script, Self::Fence];
}

/// Share of the prompt that both legs had cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// Less than half at both legs.
    Cold,
    /// Half or more at both legs.
    Warm,
    /// Half or more at one leg alone.
    Mixed,
    /// A side does not say.
    Unknown,
}

impl Cache {
    /// Number of variants.
    pub(super) const COUNT: usize = 4;
}

/// Kinds that occur in a report, in the order of their names.
pub(super) const KINDS: [PairKind; PairKind::ALL.len()] =
    [PairKind::Empty, PairKind::Json, PairKind::Refusal, PairKind::Short, PairKind::Text, PairKind::Tools];

/// Kinds that a verdict looks at, in the order of its table.
pub(super) const JUDGED: [PairKind; 3] = [PairKind::Tools, PairKind::Json, PairKind::Short];

/// True for an end that says nothing about a backend's ability to answer.
pub(super) const fn is_nobodys(outcome: LegOutcome) -> bool {
    matches!(outcome, LegOutcome::Cancelled | LegOutcome::RateLimited)
}
