//! Reads `price`: by tokens, by tokens of each model, or by GPU hours.

use super::super::problem::Problems;
use super::super::reader::{Section, Value, kind, not_negative, positive};
use super::super::types::{Price, TokenPrice};
use crate::model::Glob;

const CURE: &str = "write { input = 0.15, output = 0.60 }, { MODEL = { input = …, output = … } } or { gpu_hour = 2.50, gpus = 8 }, or leave price out";

/// Reads a price in one of its three forms.
pub(super) fn read(value: &Value<'_>, p: &mut Problems<'_>) -> Option<Price> {
    let Some(entries) = value.get_ref().as_table() else {
        p.add(&value.span(), format!("price is {}", kind(value)), CURE);
        return None;
    };
    if entries.is_empty() {
        p.add(&value.span(), "price is an empty table", CURE);
        return None;
    }
    if entries.contains_key("gpu_hour") || entries.contains_key("gpus") {
        return gpu_price(value, p);
    }
    let is_single = entries.values().any(|value| !value.get_ref().is_table());
    if is_single {
        return token_price("price", value, p).map(|price| Price::Tokens(vec![(Glob::new("*"), price)]));
    }
    let table = Section::new("price", value, p)
        .entries()
        .into_iter()
        .filter_map(|(model, _, value)| Some((Glob::new(model), token_price(&format!("price of {model}"), value, p)?)))
        .collect();
    Some(Price::Tokens(table))
}

fn gpu_price(value: &Value<'_>, p: &mut Problems<'_>) -> Option<Price> {
    let mut s = Section::new("price", value, p);
    let gpu_hour = s.require("gpu_hour", "add gpu_hour: USD for one GPU for one hour", p, not_negative);
    let gpus = s.require("gpus", "add gpus: the number of GPUs that serve this backend", p, positive);
    let tokens_per_second = s.read("tokens_per_second", p, positive);
    s.finish(p);
    Some(Price::Gpu { gpu_hour: gpu_hour?, gpus: gpus?, tokens_per_second })
}

fn token_price(name: &str, value: &Value<'_>, p: &mut Problems<'_>) -> Option<TokenPrice> {
    let mut s = Section::new(name, value, p);
    let input = s.require("input", "add input: USD per million prompt tokens", p, not_negative);
    let output = s.require("output", "add output: USD per million generated tokens", p, not_negative);
    let cached_input = s.read("cached_input", p, not_negative);
    s.finish(p);
    Some(TokenPrice { input: input?, cached_input, output: output? })
}
