//! Caps of a comparison. They bound its work: a pair that passes none of them takes at most 100 ms, or half a second if
//! it is all ligatures of which NFKC makes 18 characters each.
//!
//! A cap that is passed where it is looked at makes the score null with reason `over_cap`, whichever side passes it.

/// Length, in characters after folding, up to which an answer of one line is compared as a label. It is also the length
/// up to which two strings inside JSON are either equal or not: chrF says nothing about so few characters.
pub(super) const SHORT: usize = 32;

/// Cap, in characters, on a text, a JSON text, and all arguments of one side: 8,000 tokens, twice of what most models
/// write at once.
pub(super) const TEXT: usize = 32_768;

/// Cap on the tool calls of one side. The assignment of calls costs 2^CALLS steps for each call.
pub(super) const CALLS: usize = 16;

/// Cap on the leaves of one JSON document. A text of [`TEXT`] characters can have 16,384.
pub(super) const LEAVES: usize = 10_000;

/// Cap on the nesting of JSON. It also bounds the recursion over a document.
pub(super) const NESTING: usize = 64;

/// Nesting from which a text does not parse at all, as in most parsers.
pub(super) const UNPARSABLE_NESTING: usize = 128;

/// Cap, in bytes, on the text of a JSON schema.
pub(super) const SCHEMA: usize = 64 * 1024;
