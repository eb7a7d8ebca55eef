//! Closed lists of words of schema v1, as they are read.

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

/// Makes enums of [`words`] readable.
macro_rules! readable {
    ($($name:ident),+) => {
        $(impl $name {
            /// Returns the variant of a word; `None` for a word that is not in the list.
            pub(super) fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        })+
    };
}

readable!(Outcome, Mode, PairKind);

words! {
    /// End of one leg of a pair.
    Outcome {
        /// A complete answer came.
        Ok = "ok",
        /// The backend refused the request.
        Status4xx = "status_4xx",
        /// The backend failed.
        Status5xx = "status_5xx",
        /// The backend answered with status 429.
        RateLimited = "rate_limited",
        /// A deadline passed.
        Timeout = "timeout",
        /// The connection ended before the answer did.
        Reset = "reset",
        /// The answer is not one of OpenAI's shape.
        BadAnswer = "bad_answer",
        /// The leg was given up for a reason that is not the backend's.
        Cancelled = "cancelled",
    }
}

words! {
    /// Form of one leg's answer.
    Mode {
        /// It refuses, formally.
        Refusal = "refusal",
        /// It ended at a limit of tokens.
        Cut = "cut",
        /// It calls tools.
        Tools = "tools",
        /// It has no text.
        Empty = "empty",
        /// It is an object or a list.
        Json = "json",
        /// Any other text.
        Text = "text",
    }
}

words! {
    /// Kind of a pair, in the order of their names.
    PairKind {
        /// One side has no text.
        Empty = "empty",
        /// JSON was asked for, or the reference is JSON.
        Json = "json",
        /// One side refused.
        Refusal = "refusal",
        /// The reference is a label of one line.
        Short = "short",
        /// Prose.
        Text = "text",
        /// One side calls tools.
        Tools = "tools",
    }
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

impl PairKind {
    /// Kinds that a verdict looks at, in the order of its table.
    pub(super) const JUDGED: [Self; 3] = [Self::Tools, Self::Json, Self::Short];

    /// True if a verdict looks at this kind.
    pub(super) fn is_judged(self) -> bool {
        Self::JUDGED.contains(&self)
    }
}

impl Outcome {
    /// True for an end that says nothing about a backend's ability to answer.
    pub(super) const fn is_nobodys(self) -> bool {
        matches!(self, Self::Cancelled | Self::RateLimited)
    }
}
