//! Parses Prometheus pages (text format 0.0.4, and the part of OpenMetrics that is identical).
//!
//! Owns: one sample at a time, borrowed from the page. Does not: interpret it. A line that is not a sample is skipped.

/// One line of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    /// Text between the braces.
    labels: &'a str,
    pub(super) value: f64,
}

/// Returns the samples of a page whose values are finite, in the order of the page.
pub(super) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample).filter(|sample| sample.value.is_finite())
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => inside.split_at_checked(labels_end(inside)?)?,
        None => ("", rest),
    };
    // A timestamp or an exemplar may follow the value.
    let value = rest.trim_start_matches('}').split_whitespace().next()?;
    Some(Sample { name, labels, value: value.parse().ok()? })
}

/// Returns the place of the closing brace, which is not within a label's value.
fn labels_end(inside: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

impl<'a> Sample<'a> {
    /// Returns a label's value as it is written. Escapes are not resolved: no label that is read here has any.
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once('=')?;
            let value = after.trim_start().strip_prefix('"')?;
            let end = value_end(value)?;
            let (value, after) = value.split_at_checked(end)?;
            if key.trim_start_matches(',').trim() == name {
                return Some(value);
            }
            rest = after.strip_prefix('"')?;
        }
    }
}

/// Returns the place of the closing quote.
fn value_end(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_of_every_form_are_read() {
        let page = "# HELP a b\n# TYPE a gauge\na 1\n\n  b{} 2.5e3 1395066363000\nc{x=\"1\",y=\"a}b\\\"c,z=\\\\\"} -3\n\
                    d{x=\"1\",} +Inf\ne NaN\nf{broken 4\ng{x=\"2\"} 7 # {trace=\"t\"} 0.67\nh\ni nothing\n{} 5\n";
        let read: Vec<(&str, f64)> = samples(page).map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(read, [("a", 1.0), ("b", 2500.0), ("c", -3.0), ("g", 7.0), ("", 5.0)]);
        let odd = samples(page).find(|sample| sample.name == "c").unwrap();
        assert_eq!((odd.label("x"), odd.label("y"), odd.label("z")), (Some("1"), Some("a}b\\\"c,z=\\\\"), None));
    }

    #[test]
    fn labels_may_stand_in_any_order_and_spacing() {
        let sample = samples("a{ one=\"1\", two = \"2\",three=\"\"} 1").next().unwrap();
        assert_eq!(
            ["one", "two", "three", "four"].map(|name| sample.label(name)),
            [Some("1"), Some("2"), Some(""), None]
        );
    }

    proptest! {
        #[test]
        fn no_page_panics(page in "([a-z#{}=\",\\\\ 0-9\n]|é){0,80}") {
            for sample in samples(&page) {
                prop_assert!(sample.value.is_finite());
                sample.label("a");
            }
        }
    }
}
