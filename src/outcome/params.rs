//! Model parameters of a request, as spans show them.

use crate::wire::scan::Scan;

/// Parameters of a request to a model. Content is not included.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    /// True if the answer is to be a stream.
    pub stream: bool,
    /// Limit of generated tokens, from any of its three fields.
    pub max_tokens: Option<u64>,
    /// `temperature`.
    pub temperature: Option<f64>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `seed`.
    pub seed: Option<i64>,
    /// `n`.
    pub choices: Option<u64>,
}

impl Params {
    /// Reads the parameters; without `all` only those used by metrics.
    pub fn of(scan: &Scan<'_>, all: bool) -> Self {
        fn number<T: std::str::FromStr>(scan: &Scan<'_>, name: &str) -> Option<T> {
            scan.get(name)?.get().parse().ok()
        }
        let stream = scan.stream();
        if !all {
            return Self { stream, ..Self::default() };
        }
        Self {
            stream,
            max_tokens: ["max_completion_tokens", "max_tokens", "max_output_tokens"]
                .iter()
                .find_map(|name| number(scan, name)),
            temperature: number(scan, "temperature").filter(|number: &f64| number.is_finite()),
            top_p: number(scan, "top_p").filter(|number: &f64| number.is_finite()),
            seed: number(scan, "seed"),
            choices: number(scan, "n"),
        }
    }
}
