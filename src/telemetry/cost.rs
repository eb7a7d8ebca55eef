//! Cost of one request in USD, from the price table and the tokens that the backend counted.
//!
//! Token prices: `(input·(prompt − cached) + cached_input·cached + output·completion) / 10⁶`, as OpenAI bills.
//! Machine price: cost per second divided by sustained tokens per second, times generated tokens. The sustained rate is
//! the file's, else the rate that the servers report.

use crate::config::Price;
use crate::model::Glob;
use crate::wire::answer_facts::Usage;

/// Returns the cost in USD; `None` if the price or the rate is unknown, never 0.
pub(crate) fn usd(
    price: Option<&Price>,
    model: &str,
    usage: Usage,
    measured: impl FnOnce() -> Option<f64>,
) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let tokens = |count: u64| count as f64;
    match price? {
        Price::Tokens(table) => {
            let price = Glob::longest(table, model)?;
            let cached = usage.cached_input.unwrap_or(0).min(usage.input);
            let cached_price = price.cached_input.unwrap_or(price.input);
            Some(
                (price.input * tokens(usage.input - cached)
                    + cached_price * tokens(cached)
                    + price.output * tokens(usage.output))
                    / 1e6,
            )
        }
        Price::Gpu { gpu_hour, gpus, tokens_per_second } => {
            // A measured rate of 0 would make the cost infinite.
            let per_second = tokens_per_second.or_else(|| measured().filter(|speed| *speed > 0.0))?;
            Some(gpu_hour * gpus / 3600.0 / per_second * tokens(usage.output))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenPrice;

    #[test]
    fn tokens_are_billed_by_the_longest_matching_model() {
        let price = |input, cached_input, output| TokenPrice { input, cached_input, output };
        let table = Price::Tokens(vec![
            (Glob::new("gpt-4o*"), price(2.5, Some(1.25), 10.0)),
            (Glob::new("gpt-4o-mini*"), price(0.15, None, 0.6)),
        ]);
        let usage = Usage { input: 1_000_000, cached_input: Some(400_000), output: 100_000, ..Usage::default() };
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} is not {b}");
        let unknown = || None;
        close(usd(Some(&table), "gpt-4o", usage, unknown), 2.5 * 0.6 + 1.25 * 0.4 + 1.0);
        close(usd(Some(&table), "gpt-4o-mini", usage, unknown), 0.15 + 0.06);
        assert_eq!(usd(Some(&table), "o3", usage, unknown), None);
        assert_eq!(usd(None, "gpt-4o", usage, unknown), None);
        let gpu = |speed| Price::Gpu { gpu_hour: 2.5, gpus: 1.0, tokens_per_second: speed };
        let usage = Usage { output: 1000, ..usage };
        close(usd(Some(&gpu(Some(2000.0))), "x", usage, || Some(1.0)), 0.000_347_222_222);
        close(usd(Some(&gpu(None)), "x", usage, || Some(2000.0)), 0.000_347_222_222);
        for idle in [None, Some(0.0)] {
            assert_eq!(usd(Some(&gpu(None)), "x", usage, || idle), None);
        }
    }
}
