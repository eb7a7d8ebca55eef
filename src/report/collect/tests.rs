//! Bounds of a collector that lives as long as a process.

use super::*;

/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;
/// Milliseconds since 1970 at which the tests begin.
const BEGIN: i64 = 1_795_000_000_000;
const SMALL: Bounds = Bounds { key_hours: 40, slack: 4, rows: 3, rows_summed: 3, distinct: 2, days: 0, is_live: true };

/// A pair of good answers.
fn line(number: usize, at: i64, (model, epoch): (&str, &str)) -> Vec<u8> {
    let at = jiff::Timestamp::from_millisecond(at).unwrap();
    let leg = |backend: &str, ms: usize| {
        let outcome = r#""outcome":"ok","mode":"text","finish":"stop","refused":false"#;
        format!(r#"{{"backend":"{backend}",{outcome},"ttft_ms":{ms}.5,"total_ms":{ms}9.25}}"#)
    };
    let (baseline, candidate) = (leg("openai", number % 977 + 1), leg("qwen", number % 1009 + 1));
    let scores = r#"{"kind":"text","agreement":1,"script_equal":true,"finish_equal":true,"length_ratio":1}"#;
    format!(
        r#"{{"v":1,"kind":"pair","id":"{number:016x}","at":"{at:.3}","instance":"00000a","epoch":"{epoch}","route":"default","model":"{model}","percent":5,"served_by":"baseline","key":"{number:016x}","trace_id":"t","request":{{"temperature":1}},"baseline":{baseline},"candidate":{candidate},"scores":{scores},"floor":null}}"#
    )
    .into_bytes()
}

fn report(collector: &Collector) -> Report {
    collector.clone().report(1, &GpuPrices::default())
}

fn models(collector: &Collector) -> Vec<String> {
    report(collector).rows.into_iter().map(|row| row.model).collect()
}

#[test]
fn a_live_collector_keeps_the_rows_that_came_first() {
    let mut collector = Collector::bounded(SMALL);
    for number in 0..200 {
        let model = ["d", "c", "b", "a"][number % 4];
        collector.line(Some(&line(number, BEGIN, (model, "e"))));
    }
    assert_eq!(models(&collector), ["b", "c", "d"]);
    assert_eq!(report(&collector).other, Other { rows: 1, pairs: 50 });
    assert_eq!((collector.pairs(), collector.rows.key_hours), (200, 3 * 13));
    assert!(report(&collector).rows.iter().all(|row| row.thinned && row.pairs == 50));
}

#[test]
fn rows_of_a_past_epoch_make_room() {
    let mut collector = Collector::bounded(SMALL);
    for number in 0..60 {
        collector.line(Some(&line(number, BEGIN, (["a", "b", "c"][number % 3], "old"))));
    }
    collector.line(Some(&line(60, BEGIN + MINUTE, ("d", "new"))));
    assert_eq!(models(&collector), ["d"]);
    // A pair of before that ends late is no reason to forget anything.
    for (number, model) in ["e", "f"].into_iter().enumerate() {
        collector.line(Some(&line(61 + number, BEGIN + MINUTE, (model, "new"))));
    }
    collector.line(Some(&line(64, BEGIN, ("a", "old"))));
    assert_eq!(models(&collector), ["d", "e", "f"]);
    // A cut for earlier rows does not apply to those that came after them.
    for number in 100..112 {
        collector.line(Some(&line(number, BEGIN + MINUTE, ("d", "new"))));
    }
    assert!(report(&collector).rows.iter().all(|row| !row.thinned));
}

#[test]
fn a_row_without_a_pair_for_a_day_makes_room() {
    let mut collector = Collector::bounded(SMALL);
    for (number, model) in ["a", "b", "c"].into_iter().enumerate() {
        collector.line(Some(&line(number, BEGIN, (model, "e"))));
    }
    collector.line(Some(&line(3, BEGIN + IDLE - 1, ("d", "e"))));
    assert_eq!(models(&collector), ["a", "b", "c"]);
    collector.line(Some(&line(4, BEGIN + IDLE - 1, ("b", "e"))));
    collector.line(Some(&line(5, BEGIN + IDLE, ("d", "e"))));
    assert_eq!(models(&collector), ["b", "d"]);
}

/// The memory is that of the key-hours and of the histograms: both are at their bounds here.
#[test]
fn a_process_keeps_what_its_bounds_say() {
    let mut collector = Collector::bounded(Bounds::PROCESS);
    let names: Vec<String> = (0..40).map(|number| format!("model-{number}")).collect();
    for number in 0..40_000 {
        collector.line(Some(&line(number, BEGIN, (&names[number % 40], "e"))));
    }
    let (rows, Bounds { key_hours, slack, .. }) = (&collector.rows, Bounds::PROCESS);
    assert_eq!(rows.rows.len(), Bounds::PROCESS.rows);
    assert!(rows.key_hours <= key_hours + slack, "{}", rows.key_hours);
    assert_eq!(rows.key_hours, rows.rows.values().map(|row| row.key_hours.entries().len()).sum::<usize>());
    assert_eq!(report(&collector).routes.len(), 1);
}
