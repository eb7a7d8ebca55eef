//! A strict parser of the metrics page in both formats: every scraper accepts a page that it accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    pub(crate) exemplar: Option<(Labels, f64)>,
}

#[derive(Debug)]
pub(crate) struct Page {
    /// Kind by name; a counter's name ends in `_total` in both formats.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

impl Page {
    pub(crate) fn read(text: &str, open_metrics: bool) -> Self {
        let mut page = Self { kinds: BTreeMap::new(), samples: Vec::new() };
        let mut lines = text.strip_suffix('\n').expect("the last line ends").split('\n').peekable();
        while let Some(line) = lines.next() {
            if open_metrics && line == "# EOF" {
                assert_eq!(lines.next(), None, "nothing comes after the end");
                page.check_all();
                return page;
            }
            page.family(line, &mut lines, open_metrics);
        }
        assert!(!open_metrics, "there is no # EOF");
        page.check_all();
        page
    }

    fn family<'t>(&mut self, help: &str, lines: &mut Peekable<impl Iterator<Item = &'t str>>, open_metrics: bool) {
        let (described, help) = help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(help);
        assert!(!help.is_empty() && !help.contains('\\'));
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(described)).unwrap();
        let kind = kind.strip_prefix(' ').unwrap();
        let name = match (kind, open_metrics) {
            ("counter", true) => format!("{described}_total"),
            ("counter" | "gauge" | "histogram", _) => described.to_owned(),
            other => panic!("{other:?} of {described}"),
        };
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(is_name(&name), "{name}");
        assert_eq!(self.kinds.insert(name.clone(), kind.to_owned()), None, "{name} is there twice");
        let before = self.samples.len();
        while let Some(line) = lines.next_if(|line| !line.starts_with("# ")) {
            let sample = read_sample(line);
            let suffix = sample.name.strip_prefix(&name).expect(line);
            match kind {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            assert!(kind == "gauge" || sample.value >= 0.0, "{line}");
            assert!(sample.exemplar.is_none() || (open_metrics && suffix == "_bucket"), "{line}");
            self.samples.push(sample);
        }
        assert!(self.samples.len() > before, "{name} has no sample");
        if kind == "histogram" {
            check_histograms(&name, &self.samples[before..]);
        }
    }

    fn check_all(&self) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
        }
    }

    /// Returns the values of the series of this name that have at least these labels.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |sample: &&Sample| {
            let named = |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|have| have == value);
            sample.name == name && labels.iter().all(named)
        };
        self.samples.iter().filter(has).map(|sample| sample.value).collect()
    }

    /// Returns the value of the only series with these labels.
    #[track_caller]
    pub(crate) fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = self.all(name, labels);
        assert_eq!(all.len(), 1, "{name} {labels:?}: {all:?}");
        all[0]
    }
}

fn check_histograms(name: &str, samples: &[Sample]) {
    let mut series: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        series.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in series {
        let part = |suffix: &str| {
            let found: Vec<_> = samples.iter().filter(|sample| sample.name == format!("{name}_{suffix}")).collect();
            assert!(!found.is_empty(), "{name}_{suffix} {labels:?}");
            found
        };
        let (mut bound_before, mut count_before) = (f64::NEG_INFINITY, 0.0);
        for bucket in part("bucket") {
            let bound: f64 = bucket.labels["le"].parse().unwrap();
            assert!(bound > bound_before && bucket.value >= count_before, "{bucket:?}");
            if let Some((labels, value)) = &bucket.exemplar {
                assert!(*value <= bound && *value > bound_before, "{bucket:?}");
                assert!(labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 128);
            }
            (bound_before, count_before) = (bound, bucket.value);
        }
        assert_eq!(bound_before, f64::INFINITY, "{name} {labels:?}");
        let (sums, counts) = (part("sum"), part("count"));
        assert_eq!((sums.len(), counts.len(), counts[0].value), (1, 1, count_before), "{name} {labels:?}");
    }
}

fn is_name(name: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

fn read_sample(line: &str) -> Sample {
    let mut rest = line.chars().peekable();
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| !" {".contains(*c)) {
        name.push(c);
    }
    assert!(is_name(&name), "{line}");
    let labels = if rest.peek() == Some(&'{') { read_labels(&mut rest, line) } else { Labels::new() };
    assert_eq!(rest.next(), Some(' '), "{line}");
    let rest: String = rest.collect();
    let Some((value, told)) = rest.split_once(" # ") else {
        return Sample { name, labels, value: number(&rest, line), exemplar: None };
    };
    let mut told = told.chars().peekable();
    let of = read_labels(&mut told, line);
    let numbers: String = told.collect();
    let (seen, at) = numbers.strip_prefix(' ').and_then(|rest| rest.split_once(' ')).expect(line);
    assert!(number(at, line) > 0.0, "{line}");
    Sample { name, labels, value: number(value, line), exemplar: Some((of, number(seen, line))) }
}

/// Reads the labels from `{` to `}`; there is at least one.
fn read_labels(rest: &mut Peekable<Chars<'_>>, line: &str) -> Labels {
    let mut labels = Labels::new();
    assert_eq!(rest.next(), Some('{'), "{line}");
    loop {
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| *c != '=') {
            name.push(c);
        }
        assert!(is_name(&name) && !name.starts_with("__"), "{line}");
        assert_eq!((rest.next(), rest.next()), (Some('='), Some('"')), "{line}");
        let mut value = String::new();
        loop {
            match rest.next().expect(line) {
                '"' => break,
                '\\' => value.push(match rest.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("\\{other:?} in {line}"),
                }),
                c => value.push(c),
            }
        }
        assert_eq!(labels.insert(name, value), None, "{line}");
        match rest.next() {
            Some(',') => {}
            Some('}') => return labels,
            other => panic!("{other:?} in {line}"),
        }
    }
}

fn number(text: &str, line: &str) -> f64 {
    let is_plain = text.bytes().all(|byte| b"0123456789.e+-".contains(&byte));
    assert!(is_plain || ["+Inf", "-Inf", "NaN"].contains(&text), "{text:?} in {line}");
    text.parse().unwrap_or_else(|_| panic!("{text:?} in {line}"))
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"\\\\ # \\\"\\n}\"} 1\n";
    assert_eq!(Page::read(good, false).samples[0].labels["b"], "\\ # \"\n}");
    let described = "# HELP a x\n# TYPE a counter\n";
    for (bad, open_metrics) in [
        (good.to_owned(), true),
        ("a 1\n".to_owned(), false),
        (format!("{good}{good}"), false),
        (good.replace("} 1", "} 1 # {trace_id=\"0\"} 1 1"), false),
        (good.replace("\\n", "\\r"), false),
        (good.replace("} 1", "} -1"), false),
        (good.replace("} 1", "} 0x1"), false),
        (good.replace("b=", "b c="), false),
        (good.replace("\"} 1", "\",} 1"), false),
        (format!("{good}a_total{{b=\"\\\\ # \\\"\\n}}\"}} 2\n"), false),
        (format!("{described}a 1\n# EOF\n"), true),
        (format!("{described}a_total 1\n"), true),
        ("# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n".to_owned(), false),
        (
            "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n"
                .to_owned(),
            false,
        ),
    ] {
        let read = std::panic::catch_unwind(|| Page::read(&bad, open_metrics));
        assert!(read.is_err(), "{bad}");
    }
    Page::read(&format!("{described}a_total 1\n# EOF\n"), true);
}
