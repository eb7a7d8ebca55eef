//! Closed lists of words that stand in records: outcomes of legs, kinds, modes, reasons of nulls.

use serde::{Serialize, Serializer};

/// Defines an enum with a word for each variant, which is also its serialized form.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Word in records and telemetry.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Returns the variant of a word; `None` for a word that is not in the list.
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// End of one leg of a pair.
    LegOutcome {
        /// A complete answer came.
        Ok = "ok",
        /// The backend refused the request with a status of 400 to 499, other than 429.
        Status4xx = "status_4xx",
        /// The backend failed with a status of 500 to 599.
        Status5xx = "status_5xx",
        /// The backend answered with status 429.
        RateLimited = "rate_limited",
        /// A deadline passed.
        Timeout = "timeout",
        /// The connection failed or ended before the answer did.
        Reset = "reset",
        /// The answer is not one of OpenAI's shape.
        BadAnswer = "bad_answer",
        /// The leg was given up for a reason that is not the backend's.
        Cancelled = "cancelled",
    }
}

words! {
    /// Kind of a pair: the rule by which its agreement was measured. Kinds are never averaged together.
    Kind {
        /// One side refused.
        Refusal = "refusal",
        /// One side calls tools.
        Tools = "tools",
        /// JSON was asked for, or the reference is JSON.
        Json = "json",
        /// One side has no text.
        Empty = "empty",
        /// The reference is a label of one line.
        Short = "short",
        /// Prose, compared by chrF.
        Text = "text",
    }
}

words! {
    /// Form of one leg's answer, by itself.
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
        /// Any other text, broken JSON too.
        Text = "text",
    }
}

words! {
    /// Reason for a score that is null.
    NullReason {
        /// A leg is not `ok`.
        Outcome = "outcome",
        /// A cap of the comparison was passed.
        OverCap = "over_cap",
        /// The reference's JSON does not parse.
        ReferenceInvalid = "reference_invalid",
        /// The backend did not say.
        Unknown = "unknown",
        /// A side has no text.
        NoText = "no_text",
        /// JSON was neither asked for nor given.
        NoJson = "no_json",
        /// No schema was asked for.
        NoSchema = "no_schema",
        /// The schema does not compile, or refers to another document.
        SchemaUnusable = "schema_unusable",
        /// No side calls tools.
        NoTools = "no_tools",
        /// A side has too few letters.
        TooShort = "too_short",
        /// An answer was not streamed.
        Unstreamed = "unstreamed",
        /// The client read so slowly that the time measured is its own.
        SlowClient = "slow_client",
        /// A side's usage is not known.
        NoUsage = "no_usage",
        /// A side's cost is not known.
        NoPrice = "no_price",
        /// The copy of the served answer has gaps: its channel was full.
        Lagged = "lagged",
        /// The queue of pairs to compare was full.
        CompareFull = "compare_full",
        /// The pair was given up.
        Cancelled = "cancelled",
    }
}
