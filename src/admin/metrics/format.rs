//! Formats of the page, and the negotiation with the scraper (RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// The format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// Returns OpenMetrics if it is accepted by name and at least as much as text; otherwise text.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let mut open_metrics = Wish::default();
        let mut text = Wish::default();
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    open_metrics.hear(3, weight);
                }
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => text.hear(3, weight),
                "text/*" => text.hear(2, weight),
                "*/*" => text.hear(1, weight),
                _ => {}
            }
        }
        if open_metrics.weight > 0.0 && open_metrics.weight >= text.weight { Self::OpenMetrics } else { Self::Text }
    }

    /// Value of the `content-type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Preference for a format: the most precise media range counts, and among equal ones the highest weight.
#[derive(Debug, Default, Clone, Copy)]
struct Wish {
    precision: u8,
    weight: f64,
}

impl Wish {
    fn hear(&mut self, precision: u8, weight: f64) {
        if precision > self.precision {
            *self = Self { precision, weight };
        } else if precision == self.precision {
            self.weight = self.weight.max(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn assert_wanted(accept: &[&str], expected: Format) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(Format::wanted(&headers), expected, "{accept:?}");
    }

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            prometheus_2,
            prometheus_3,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\" ; Q=0.3, text/plain;q=0.3",
            "application/openmetrics-text;q=0.5, text/plain;q=0.1, */*",
        ] {
            assert_wanted(&[accept], Format::OpenMetrics);
        }
        assert_wanted(&["text/plain;q=0.2", "application/openmetrics-text;q=0.4"], Format::OpenMetrics);
        for accept in [
            "*/*",
            "",
            "text/plain",
            "application/json",
            "application/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=nan, */*;q=0",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=0.9, */*",
            ";;,,=q,;q=",
        ] {
            assert_wanted(&[accept], Format::Text);
        }
        assert_wanted(&[], Format::Text);
    }
}
