//! A collector that is down, slow or faulty costs no request anything.

use std::time::{Duration, Instant};

use shiftgate::api::sim::Behaviour;
use shiftgate::api::stats::TelemetryStats;

use crate::logs::{count, lines, logged};
use crate::receiver::{Mood, Receiver};
use crate::shape::*;
use crate::support::*;

const DOWN: &str = "traces cannot be exported";
const BACK: &str = "traces are exported again";

/// Shortens an export that hangs.
fn impatient() -> Vec<(&'static str, String)> {
    vec![("OTEL_EXPORTER_OTLP_TIMEOUT", "150".to_owned())]
}

/// Sends one request; its trace has two spans.
async fn ask_well(running: &Running) -> String {
    let answer = ask(running, &chat("x", false), "").await;
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    answer.header("x-shiftgate-trace-id").expect("traced").to_owned()
}

fn dropped(telemetry: &TelemetryStats) -> u64 {
    telemetry.dropped_full.get() + telemetry.dropped_failed.get() + telemetry.dropped_shutdown.get()
}

async fn outages(mood: Mood, by_http: bool) {
    drop(lines());
    let receiver = Receiver::start().await;
    let url = if by_http { receiver.http() } else { receiver.grpc() };
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&traced(&openai, &qwen, &url, ""), &impatient()).await;
    let place = receiver.address.to_string();
    let mut asked = 1;
    ask_well(&running).await;
    // The export has completed: one in flight when the outage begins would be retried.
    eventually(|| running.app.stats.telemetry.exported.get() == 2).await;
    for outage in 1..=2 {
        receiver.set(mood).await;
        let lost = ask_well(&running).await;
        assert_eq!(logged(outage, &[DOWN, &place]).await, outage, "{mood:?}");
        for _ in 0..5 {
            ask_well(&running).await;
        }
        assert!(running.app.stats.telemetry.dropped_failed.get() >= 2);
        receiver.set(Mood::Takes).await;
        let began = Instant::now();
        // The first export on a broken connection is lost as well.
        while count(&lines().borrow(), &[BACK, &place]) < outage {
            ask_well(&running).await;
            asked += 1;
            assert!(began.elapsed() < PATIENCE, "{mood:?}: it never recovers");
        }
        receiver.trace(&ask_well(&running).await, 2).await;
        assert!(receiver.spans().iter().all(|span| span.trace_id != lost), "{mood:?}");
        assert_eq!(count(&lines().borrow(), &[BACK, &place]), outage, "{mood:?}");
        asked += 7;
    }
    assert_eq!(count(&lines().borrow(), &[DOWN, &place]), 2, "one line an outage, whatever is lost: {mood:?}");
    let stats = finish(running).await;
    let telemetry = &stats.telemetry;
    assert_eq!(telemetry.exported.get() + dropped(telemetry), 2 * asked, "{mood:?}: each span is told or counted");
    // The collector may hold more: spans that it received and never confirmed.
    assert!(receiver.spans().len() as u64 >= telemetry.exported.get(), "{mood:?}");
}

#[tokio::test]
async fn no_collector_costs_spans_and_nothing_else() {
    outages(Mood::Refuses, false).await;
    outages(Mood::Refuses, true).await;
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_nothing_else() {
    outages(Mood::Hangs, false).await;
    outages(Mood::Hangs, true).await;
}

#[tokio::test]
async fn a_collector_that_resets_costs_spans_and_nothing_else() {
    outages(Mood::Resets, false).await;
    outages(Mood::Resets, true).await;
}

#[tokio::test]
async fn a_collector_that_is_unavailable_costs_spans_and_nothing_else() {
    outages(Mood::Unavailable, false).await;
    outages(Mood::Unavailable, true).await;
}

#[tokio::test]
async fn a_collector_that_was_never_there_is_found_when_it_comes() {
    let receiver = Receiver::start_as(Mood::Refuses).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&traced(&openai, &qwen, &receiver.grpc(), ""), &[]).await;
    ask_well(&running).await;
    receiver.set(Mood::Takes).await;
    receiver.trace(&ask_well(&running).await, 2).await;
}

#[tokio::test]
async fn a_hiccup_loses_nothing() {
    for by_http in [false, true] {
        let receiver = Receiver::start_as(Mood::UnavailableOnce).await;
        let url = if by_http { receiver.http() } else { receiver.grpc() };
        let (openai, qwen) = pair(Behaviour::default()).await;
        let running = launch_traced(&traced(&openai, &qwen, &url, ""), &[]).await;
        let id = ask_well(&running).await;
        receiver.trace(&id, 2).await;
        assert_eq!(*receiver.calls().borrow(), 2);
        assert_eq!(dropped(&finish(running).await.telemetry), 0);
    }
}

#[tokio::test]
async fn a_slow_collector_gets_all_of_it() {
    let receiver = Receiver::start_as(Mood::Slow(Duration::from_millis(80))).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&traced(&openai, &qwen, &receiver.grpc(), ""), &[]).await;
    for _ in 0..10 {
        ask_well(&running).await;
    }
    let stats = finish(running).await;
    assert_eq!((stats.telemetry.exported.get(), dropped(&stats.telemetry)), (20, 0));
    assert_eq!(receiver.spans().len(), 20);
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted() {
    let receiver = Receiver::start_as(Mood::Hangs).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let sizes = [("OTEL_BSP_MAX_QUEUE_SIZE", "8".to_owned()), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4".to_owned())];
    let running = launch_traced(&traced(&openai, &qwen, &receiver.grpc(), ""), &sizes).await;
    ask_well(&running).await;
    until(receiver.calls(), |calls| *calls > 0).await;
    for _ in 0..20 {
        ask_well(&running).await;
        assert!(running.app.stats.telemetry.queued.get() <= 8);
    }
    assert!(running.app.stats.telemetry.dropped_full.get() >= 30);
    let began = Instant::now();
    let stats = finish(running).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let telemetry = &stats.telemetry;
    assert_eq!((telemetry.exported.get(), dropped(telemetry), telemetry.queued.get()), (0, 42, 0), "{telemetry:?}");
}

#[tokio::test]
async fn when_a_collector_says_when_to_come_again_it_is_heeded() {
    let receiver = Receiver::start_as(Mood::BusyOnce).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&traced(&openai, &qwen, &receiver.http(), ""), &[]).await;
    let id = ask_well(&running).await;
    until(receiver.calls(), |calls| *calls > 0).await;
    let refused = Instant::now();
    receiver.trace(&id, 2).await;
    assert!(refused.elapsed() > Duration::from_millis(900), "{:?}", refused.elapsed());
}

#[tokio::test]
async fn what_a_collector_rejects_is_counted() {
    drop(lines());
    for by_http in [false, true] {
        let receiver = Receiver::start_as(Mood::Rejects).await;
        let url = if by_http { receiver.http() } else { receiver.grpc() };
        let (openai, qwen) = pair(Behaviour::default()).await;
        let running = launch_traced(&traced(&openai, &qwen, &url, ""), &[]).await;
        for _ in 0..3 {
            let id = ask_well(&running).await;
            receiver.trace(&id, 2).await;
        }
        let place = receiver.address.to_string();
        let telemetry = &finish(running).await.telemetry;
        let calls = *receiver.calls().borrow();
        assert_eq!((telemetry.exported.get(), telemetry.dropped_rejected.get()), (6 - calls, calls));
        assert_eq!(count(&lines().borrow(), &["the collector rejects spans", "one is too old", &place]), 1);
    }
}
