//! The charts: times, agreement, agreement by day, break-even.

use super::chart::{Axis, Chart, Frame, Label, Mark, Tick, is_labelled, round_up, steps};
use super::parts::{Figure, Item, Legend, Table, items, shown};
use crate::report::blocks::Page;
use crate::report::curves::{Day, KindDays, RowCurves, Sides};
use crate::report::page_row;
use crate::report::round::instant;
use crate::report::shape::{BreakEven, Money};
use crate::report::shape_row::{Kind, Row};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Height, in units of the drawing, of a kind in the charts of agreement.
const KIND: f64 = 30.0;
/// Shortest time, in milliseconds, that an axis of factors shows apart: a time of 0 stands there.
const SHORTEST: f64 = 0.1;

fn line(class: &'static str, text: impl Into<String>) -> Legend {
    Legend { class, is_mark: false, text: text.into() }
}

fn mark(class: &'static str, text: impl Into<String>) -> Legend {
    Legend { class, is_mark: true, text: text.into() }
}

/// Returns the curves of both times; `None` without times.
pub(super) fn latency(position: usize, row: &Row, curves: &RowCurves) -> Option<Figure> {
    let named = [
        ("Time to the first token", row.ttft_ms.all.n, &curves.ttft),
        ("Time to the whole answer", row.total_ms.n, &curves.total),
    ];
    let panels: Vec<Chart> =
        named.into_iter().filter_map(|(name, n, of)| times(format!("{name}, {n} pairs"), of)).collect();
    (!panels.is_empty()).then(|| Figure {
        chart: "latency",
        row: position,
        title: "Time",
        about:
            "Each curve shows the share of answers that had come after a time: the one further left is faster. Both \
                sides answered the same requests, both completely. A copy's time is not that of a served request: its \
                cache may be colder, and its load comes on top."
                .to_owned(),
        legend: vec![
            line("baseline", format!("{} (baseline)", shown(&row.baseline))),
            line("candidate", format!("{} (candidate)", shown(&row.candidate))),
        ],
        panels,
        tables: Vec::new(),
    })
}

fn times(title: String, sides: &Sides) -> Option<Chart> {
    let all = || sides.baseline.iter().chain(&sides.candidate).map(|(time, _)| time.max(SHORTEST));
    let (least, most) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
    let frame = Frame::new(44.0, 220.0);
    let mut chart = Chart::new(title, frame, "time, by factors");
    let steps = steps(least, most);
    let x = frame.across_by_factors(*steps.first()?, *steps.last()?);
    let y = frame.up(0.0, 1.0);
    let label = |step: f64| if is_labelled(step, &steps) { duration(step) } else { String::new() };
    chart.across = steps.iter().map(|step| x.tick(*step, label(*step))).collect();
    let shares = [(0.0, "0 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (0.95, "95 %")];
    chart.up = shares.into_iter().map(|(share, label)| y.tick(share, label)).collect();
    for (class, points) in [("baseline", &sides.baseline), ("candidate", &sides.candidate)] {
        let begin = points.first().map(|(time, _)| (*time, 0.0));
        let points = begin.iter().chain(points);
        chart.line(class, points.map(|(time, share)| (x.place(time.max(SHORTEST)), y.place(*share))));
    }
    Some(chart)
}

fn duration(milliseconds: f64) -> String {
    if milliseconds < 1000.0 { format!("{milliseconds} ms") } else { format!("{} s", milliseconds / 1000.0) }
}

/// Returns the agreement by kind beside the floor, the difference of both, and the days; `None` without scores.
pub(super) fn agreement(position: usize, row: &Row, curves: &RowCurves) -> Option<Figure> {
    if row.kinds.is_empty() {
        return None;
    }
    let n: u64 = row.kinds.iter().map(|kind| kind.n).sum();
    let mut panels = vec![beside(&row.kinds)];
    panels.extend(difference(&row.kinds));
    let days = curves.kinds.iter().filter_map(by_day);
    panels.extend(days);
    let latest =
        curves.only_latest.map_or_else(String::new, |days| format!(" Of the days the latest {days} are shown."));
    let mut tables = Page(Vec::new());
    page_row::kinds(row, &mut tables);
    let table = |item: Item| match item {
        Item::Table(table) => Some(table),
        Item::Heading(_) | Item::Words(_) | Item::Figure(_) => None,
    };
    let tables: Vec<Table> = items(tables.0).into_iter().filter_map(table).collect();
    Some(Figure {
        chart: "agreement",
        row: position,
        title: "Agreement by kind",
        about: format!(
            "How far the answers of both sides agree, from 0 to 1, over {n} pairs with a score; beside it the floor, which \
             is the baseline with itself. Agreement is not quality: the candidate may be right where the two differ. A \
             difference to the right of the limit stops the shift. Text is not judged.{latest}"
        ),
        legend: vec![
            mark("candidate", "candidate with baseline"),
            mark("floor", "floor: baseline with itself"),
            line("candidate", "candidate by day"),
            line("floor", "floor by day"),
            line("limit", "limit"),
        ],
        panels,
        tables,
    })
}

/// Makes the axis of kinds, one below the other; returns the places of their middles.
fn kinds_down(chart: &mut Chart, kinds: &[Kind]) -> Vec<f64> {
    let mut places = Vec::new();
    let mut at = chart.frame.top + KIND / 2.0;
    for kind in kinds {
        chart.up.push(Tick { at, label: format!("{}, {}", kind.kind, kind.n) });
        places.push(at);
        at += KIND;
    }
    places
}

#[expect(clippy::cast_precision_loss, reason = "there are six kinds")]
fn frame_of_kinds(kinds: &[Kind]) -> Frame {
    Frame::new(92.0, KIND * kinds.len() as f64 + 44.0)
}

fn beside(kinds: &[Kind]) -> Chart {
    let frame = frame_of_kinds(kinds);
    let mut chart = Chart::new("Over all: kind, pairs", frame, "agreement");
    let values = kinds.iter().flat_map(|kind| [kind.agreement, kind.floor.agreement]).flatten();
    let least = tenth_below(values.fold(0.8, f64::min));
    let x = frame.across(least, 1.0);
    chart.across = [least, f64::midpoint(least, 1.0), 1.0].map(|at| x.tick(at, format!("{at:.2}"))).into();
    let places = kinds_down(&mut chart, kinds);
    for (kind, y) in kinds.iter().zip(places) {
        let Some(agreement) = kind.agreement else { continue };
        let floor = kind.floor.agreement;
        chart.line("span", [(x.place(floor.unwrap_or(least)), y), (x.place(agreement), y)]);
        chart.marks.push(Mark { class: "candidate", x: x.place(agreement), y });
        chart.marks.extend(floor.map(|floor| Mark { class: "floor", x: x.place(floor), y }));
    }
    chart
}

/// Returns the tenth below a share.
fn tenth_below(share: f64) -> f64 {
    (share * 10.0).floor() / 10.0
}

/// Returns the chart of floor − agreement; `None` where no kind has a floor.
fn difference(kinds: &[Kind]) -> Option<Chart> {
    let bounds = kinds.iter().filter_map(|kind| kind.difference).flat_map(|of| [of.low.abs(), of.high.abs()]);
    let widest = bounds.chain(kinds.iter().filter_map(|kind| kind.limit)).reduce(f64::max)?;
    kinds.iter().find(|kind| kind.difference.is_some())?;
    let widest = round_up(widest.max(0.01)).min(1.0);
    let frame = frame_of_kinds(kinds);
    let mut chart = Chart::new("Floor − agreement, with its 95 % interval per user and hour", frame, "worse →");
    let x = frame.across(-widest, widest);
    chart.across = [-widest, -widest / 2.0, 0.0, widest / 2.0, widest].map(|at| x.tick(at, signed(at))).into();
    let places = kinds_down(&mut chart, kinds);
    for (kind, y) in kinds.iter().zip(places) {
        if let Some(limit) = kind.limit {
            let at = x.place(limit);
            chart.line("limit", [(at, y - KIND / 2.0 + 2.0), (at, y + KIND / 2.0 - 2.0)]);
        }
        if let Some(of) = kind.difference {
            chart.line("interval", [(x.place(of.low), y), (x.place(of.high), y)]);
            chart.marks.push(Mark { class: "candidate", x: x.place(of.mean), y });
        } else {
            let text = "no noise leg: not known".to_owned();
            chart.labels.push(Label { class: "begin", x: frame.left + 4.0, y: y + 4.0, text });
        }
    }
    Some(chart)
}

fn signed(number: f64) -> String {
    if number > 0.0 { format!("+{number}") } else { format!("{number}").replace('-', "−") }
}

/// Returns the chart of one kind's days, each as wide as a day.
fn by_day(kind: &KindDays) -> Option<Chart> {
    let (first, last) = (kind.days.first()?.day, kind.days.last()?.day + 1);
    let values = kind.days.iter().flat_map(|day| [Some(day.agreement), day.floor]).flatten();
    let least = tenth_below(values.fold(0.9, f64::min));
    let frame = Frame::new(44.0, 150.0);
    let mut chart = Chart::new(format!("By day: {}", kind.kind), frame, "UTC day");
    #[expect(clippy::cast_precision_loss, reason = "days since 1970")]
    let (x, y) = (frame.across(first as f64, last as f64), frame.up(least, 1.0));
    chart.up = [least, f64::midpoint(least, 1.0), 1.0].map(|at| y.tick(at, format!("{at:.2}"))).into();
    // Three dates at most, so that they do not meet.
    let days = last - first;
    let mut dates = vec![first, first + days / 3, first + 2 * (days / 3)];
    dates.dedup();
    #[expect(clippy::cast_precision_loss, reason = "days since 1970")]
    let tick = |day: &i64| x.tick(*day as f64, date(*day));
    chart.across = dates.iter().map(tick).collect();
    runs(&mut chart, "floor", &kind.days, |day| day.floor, (x, y));
    runs(&mut chart, "candidate", &kind.days, |day| Some(day.agreement), (x, y));
    Some(chart)
}

/// Draws days as steps; days without a value are gaps.
#[expect(clippy::cast_precision_loss, reason = "days since 1970")]
fn runs(chart: &mut Chart, class: &'static str, days: &[Day], of: fn(&Day) -> Option<f64>, (x, y): (Axis, Axis)) {
    let known: Vec<(i64, f64)> = days.iter().filter_map(|day| Some((day.day, of(day)?))).collect();
    for run in known.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
        let step = |(day, value): &(i64, f64)| [(*day, *value), (day + 1, *value)];
        let places = run.iter().flat_map(step).map(|(day, value)| (x.place(day as f64), y.place(value)));
        chart.line(class, places);
    }
}

fn date(day: i64) -> String {
    let at = day.checked_mul(DAY).and_then(instant).unwrap_or_default();
    at.split_once('T').map_or_else(String::new, |(date, _)| date.to_owned())
}

/// Returns the chart of the bill by requests a day; `None` without a price of GPUs or of the baseline.
pub(super) fn break_even(position: usize, money: &Money) -> Option<Figure> {
    let (gpus, even) = money.gpus_usd_per_month.zip(money.break_even)?;
    let BreakEven { requests_per_day: even, percent } = even;
    let widest = round_up((even * 1.15).max(money.requests_per_day.unwrap_or(0.0) * 1.15));
    let tallest = gpus * widest / even;
    let frame = Frame::new(56.0, 220.0);
    let mut chart = Chart::new("USD a month by requests a day", frame, "requests a day");
    let (x, y) = (frame.across(0.0, widest), frame.up(0.0, tallest));
    chart.across = [0.0, 0.25, 0.5, 0.75].map(|part| x.tick(part * widest, short(part * widest))).into();
    chart.up = [0.0, gpus / 2.0, gpus].map(|usd| y.tick(usd, short(usd))).into();
    chart.line("baseline", [(x.place(0.0), y.place(0.0)), (x.place(widest), y.place(tallest))]);
    chart.line("candidate", [(x.place(0.0), y.place(gpus)), (x.place(widest), y.place(gpus))]);
    chart.marks.push(Mark { class: "even", x: x.place(even), y: y.place(gpus) });
    let text = format!("break-even {}", short(even));
    let (x_even, y_even) = (x.place(even), y.place(gpus));
    chart.labels.push(if even * 2.0 > widest {
        Label { class: "end", x: x_even - 8.0, y: y_even - 8.0, text }
    } else {
        Label { class: "begin", x: x_even + 8.0, y: y_even + 16.0, text }
    });
    if let Some(rate) = money.requests_per_day {
        chart.line("limit", [(x.place(rate), frame.top), (x.place(rate), frame.bottom)]);
    }
    let today = percent.map_or_else(String::new, |percent| format!(", {percent:.1} % of today's"));
    Some(Figure {
        chart: "cost",
        row: position,
        title: "Break-even",
        about: format!(
            "Baseline at its price per answer beside the GPUs of {} at their price per month, whatever they serve. Both \
             meet at {} requests a day{today}: below it the GPUs cost more. It does not say whether these GPUs can serve \
             that many.",
            shown(&money.candidate),
            short(even)
        ),
        legend: vec![
            line("baseline", "baseline, if it serves all"),
            line("candidate", "GPUs"),
            line("limit", "today's rate"),
        ],
        panels: vec![chart],
        tables: Vec::new(),
    })
}

/// Returns a number with three digits and a letter for thousands.
fn short(number: f64) -> String {
    let (scaled, letter) = match number {
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e3 => (n / 1e3, " k"),
        n => (n, ""),
    };
    let decimals = if scaled >= 100.0 || scaled.fract().abs() < 1e-9 { 0 } else { 2 };
    let text = format!("{scaled:.decimals$}");
    let text = if decimals == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    format!("{text}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes_are_short() {
        let found = [0.0, 0.25, 12.5, 999.0, 48_842.0, 1_158_693.4, 2e9].map(short);
        assert_eq!(found, ["0", "0.25", "12.5", "999", "48.84 k", "1.16 M", "2 G"]);
        assert_eq!([0.05, 0.0, -0.05].map(signed), ["+0.05", "0", "−0.05"]);
        assert_eq!([date(20_777), date(i64::MAX)], ["2026-11-20", ""]);
    }

    #[test]
    fn days_apart_are_not_joined() {
        let day = |day, floor| Day { day, agreement: 0.5, floor };
        let days = vec![day(1, Some(0.9)), day(2, None), day(4, Some(0.9))];
        let chart = by_day(&KindDays { kind: "json", days }).unwrap();
        let paths: Vec<(&str, usize)> =
            chart.lines.iter().map(|line| (line.class, line.path.matches(['M', 'L']).count())).collect();
        assert_eq!(paths, [("floor", 2), ("floor", 2), ("candidate", 4), ("candidate", 2)]);
    }
}
