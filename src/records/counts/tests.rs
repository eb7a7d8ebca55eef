//! Lines of hand-made totals.

use serde_json::{Value, json};

use super::*;
use crate::config::{self, Secrets};
use crate::model::Reason;

const SOURCE: Source<'_> = Source { instance: "0a1b2c", name: "gpt-4o-to-qwen", hash: "5f1c09aa31d2e870" };

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::new(1_764_000_000 + second, 7_000_000).unwrap()
}

fn backend(chosen: u64, attempted: u64, served: u64, failed: u64, (priced, nano_usd): (u64, u64)) -> BackendTotals {
    BackendTotals { is_current: true, chosen, attempted, served, failed, priced, nano_usd, ends: BTreeMap::new() }
}

fn totals<const N: usize>(second: i64, routes: [(&str, RouteTotals); N]) -> Totals {
    Totals { at: at(second), routes: routes.map(|(name, route)| (name.to_owned(), route)).into() }
}

fn route<const N: usize>(backends: [(&str, BackendTotals); N]) -> RouteTotals {
    let backends = backends.map(|(name, backend)| (name.to_owned(), backend)).into();
    RouteTotals { is_current: true, backends, ..RouteTotals::default() }
}

fn lines(previous: &Totals, now: &Totals) -> Vec<Value> {
    counts(previous, now, SOURCE).iter().map(|line| serde_json::from_slice(&line.to_json()).unwrap()).collect()
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_line_has_the_schemas_fields_and_the_intervals_counts() {
    let before = totals(0, [("default", route([("openai", backend(100, 99, 98, 1, (98, 40)))]))]);
    let mut now = totals(
        60,
        [(
            "default",
            route([("openai", backend(109, 108, 106, 2, (105, 9_610_000_040))), ("qwen", backend(1, 1, 0, 1, (0, 0)))]),
        )],
    );
    let default = now.routes.get_mut("default").unwrap();
    default.shadow.insert("qwen".to_owned(), BTreeMap::from([("budget", 0), ("sent", 4)]));
    default.noise = BTreeMap::from([("sent", 1), ("unwell", 0)]);
    let ends = &mut default.backends.get_mut("openai").unwrap().ends;
    ends.insert("gpt-4o-mini".to_owned(), "2027-01-14".to_owned());
    let [line] = &counts(&before, &now, SOURCE)[..] else { panic!("one route") };
    assert_eq!(
        String::from_utf8(line.to_json()).unwrap(),
        "{\"v\":1,\"kind\":\"counts\",\"at\":\"2025-11-24T16:01:00.007Z\",\"from\":\"2025-11-24T16:00:00.007Z\",\
         \"instance\":\"0a1b2c\",\"name\":\"gpt-4o-to-qwen\",\"hash\":\"5f1c09aa31d2e870\",\"route\":\"default\",\
         \"backends\":{\"openai\":{\"chosen\":9,\"attempted\":9,\"served\":8,\"failed\":1,\"usd\":9.61,\"priced\":7,\
         \"ends\":{\"gpt-4o-mini\":\"2027-01-14\"}},\"qwen\":{\"chosen\":1,\"attempted\":1,\"served\":0,\"failed\":1,\
         \"usd\":0.0,\"priced\":0,\"ends\":{}}},\"shadow\":{\"qwen\":{\"budget\":0,\"sent\":4}},\
         \"noise\":{\"sent\":1,\"unwell\":0}}"
    );
}

#[test]
fn every_route_has_a_line_also_when_all_are_0_and_no_count_is_negative() {
    let quiet = || route([("openai", backend(5, 5, 5, 0, (5, 5)))]);
    let before = totals(0, [("a", quiet()), ("default", quiet())]);
    // The counters of `a` have begun anew.
    let now = totals(60, [("a", route([("openai", backend(1, 1, 1, 0, (0, 0)))])), ("default", quiet())]);
    for line in lines(&before, &now) {
        let zero = json!({"chosen": 0, "attempted": 0, "served": 0, "failed": 0, "usd": 0.0, "priced": 0, "ends": {}});
        assert_eq!((&line["backends"]["openai"], names(&line["shadow"]).len()), (&zero, 0), "{line}");
    }
    let of: Vec<Value> = lines(&before, &now).iter().map(|line| line["route"].clone()).collect();
    assert_eq!(of, ["a", "default"]);
}

#[test]
fn what_left_the_file_has_a_last_line_and_late_results_are_not_lost() {
    let totals_of = |second, is_current, served| {
        let mut qwen = backend(9, served, served, 0, (0, 0));
        qwen.is_current = is_current;
        let shadow = BTreeMap::from([("qwen".to_owned(), BTreeMap::from([("sent", 3)]))]);
        let gone = RouteTotals { is_current, shadow: shadow.clone(), ..route([("qwen", qwen.clone())]) };
        let default = RouteTotals { shadow, ..route([("qwen", qwen)]) };
        totals(second, [("default", default), ("gone", gone)])
    };
    let told = |before: &Totals, now: &Totals| -> Vec<(String, Vec<String>, usize)> {
        let of = |line: &Value| {
            let owned = |object| names(object).into_iter().map(str::to_owned).collect();
            (line["route"].as_str().unwrap().to_owned(), owned(&line["backends"]), names(&line["shadow"]).len())
        };
        lines(before, now).iter().map(of).collect()
    };
    let line = |route: &str, backends: &[&str], copies| {
        (route.to_owned(), backends.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), copies)
    };
    let [there, left, quiet, late] = [(0, true, 5), (60, false, 5), (120, false, 5), (180, false, 6)]
        .map(|(at, is, served)| totals_of(at, is, served));
    assert_eq!(told(&there, &left), [line("default", &["qwen"], 1), line("gone", &["qwen"], 1)], "the last line");
    assert_eq!(told(&left, &quiet), [line("default", &[], 0)]);
    assert_eq!(told(&quiet, &late), [line("default", &["qwen"], 0), line("gone", &["qwen"], 0)], "a late result");
}

#[test]
fn a_line_is_at_most_4_kib_and_the_parts_of_a_long_one_make_the_whole() {
    let name = |number: u64| format!("{number}-{}", "ß".repeat(200));
    let mut default = route([]);
    for number in 0..50 {
        default.backends.insert(name(number), backend(number, number, number, 0, (number, number)));
        default.shadow.insert(name(number), BTreeMap::from([("sent", number)]));
    }
    default.noise.insert("sent", 7);
    let (before, now) = (totals(0, []), totals(60, [("default", default)]));
    let lines = counts(&before, &now, SOURCE);
    assert!(lines.len() > 1 && lines.iter().all(|line| line.to_json().len() <= MAX_LINE));
    let sum: u64 = lines.iter().flat_map(|line| &line.backends).map(|(_, counts)| counts.chosen).sum();
    let copies: u64 = lines.iter().flat_map(|line| &line.shadow).map(|(_, outcomes)| outcomes["sent"]).sum();
    let noise: u64 = lines.iter().filter_map(|line| line.noise.get("sent")).sum();
    assert_eq!((sum, copies, noise), (50 * 49 / 2, 50 * 49 / 2, 7));
    assert!(lines.iter().flat_map(|line| &line.backends).all(|(name, _)| (127..=128).contains(&name.as_str().len())));
}

#[test]
fn totals_are_those_of_the_counters() {
    let text = include_str!("../../../tests/configs/valid/minimal.toml");
    let config = config::parse(std::path::Path::new("x"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap();
    let stats = Stats::default();
    let share = stats.route("default").share("qwen");
    share.decided(Reason::Split);
    share.decided(Reason::Split);
    for (count, by) in [
        (&share.results().attempted, 2),
        (&share.results().served, 1),
        (&share.results().failed, 1),
        (&share.results().priced, 1),
        (&share.results().nano_usd, 5),
    ] {
        count.add(by);
    }
    stats.route("default").share("left");
    stats.route("old");
    let totals = Totals::read(at(0), &config, &stats);
    let (default, old) = (&totals.routes["default"], &totals.routes["old"]);
    assert_eq!((default.is_current, old.is_current), (true, false));
    assert_eq!(default.backends["qwen"], backend(2, 2, 1, 1, (1, 5)));
    assert_eq!(default.backends["left"], BackendTotals::default());
}
