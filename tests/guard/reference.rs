//! The same requests go through the guard and through `tests/sdk/guard_ref.py`, an implementation of the definition in
//! plain floats: `python3 tests/sdk/guard_ref.py --write tests/data/guard` made the files.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use shiftgate::api::config::GuardErrors;
use shiftgate::api::guard::{Ended, FileFacts, Guard, OtherSide, Side, Ticket, Trial, Waiting, Weight};
use shiftgate::api::model::Percent;

use super::support::{FILE, Times, facts};

/// One request of a file.
struct Request {
    sent: u64,
    side: Side,
    weight: Option<Weight>,
    key: Option<u64>,
    is_streamed: bool,
    overdue: Option<Duration>,
    /// Instants after which it does not wait any more.
    stops: Vec<u64>,
    ended: u64,
    end: Ended,
}

/// Position and side of a request, in the order in which an instant's steps are taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Send(usize),
    Stop(usize),
    End(usize),
    Look(usize),
}

fn request(columns: &[Value], row: &Value) -> Request {
    let row: BTreeMap<&str, &Value> =
        columns.iter().map(|name| name.as_str().unwrap()).zip(row.as_array().unwrap()).collect();
    let ms = |name: &str| row[name].as_u64();
    let percent =
        |at: usize| Percent::from_hundredths(row["percents"][at].as_u64().unwrap().try_into().unwrap()).unwrap();
    let other = match row["other"].as_str() {
        Some("answered") => OtherSide::Answered,
        Some("refused") => OtherSide::Refused,
        Some("off") => OtherSide::FailoverOff,
        Some("failed" | "not_asked") | None => OtherSide::NotAnswered,
        Some(unknown) => unreachable!("{unknown}"),
    };
    Request {
        sent: ms("sent").unwrap(),
        side: if row["side"] == "candidate" { Side::Candidate } else { Side::Baseline },
        weight: Weight::of(percent(0), percent(1)),
        key: row["key"].as_str().map(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        }),
        is_streamed: row["streamed"].as_bool().unwrap(),
        overdue: ms("overdue").map(Duration::from_millis),
        stops: [ms("generated"), ms("failed")].into_iter().flatten().collect(),
        ended: ms("ended").unwrap(),
        end: match row["end"].as_str().unwrap() {
            "answered" => Ended::Answered,
            "failed" => Ended::Failed(other),
            "refused" => Ended::Refused(other),
            "limited" => Ended::Limited,
            "gone" => Ended::ClientGone,
            "cut" => Ended::Cut,
            unknown => unreachable!("{unknown}"),
        },
    }
}

fn limits(case: &Value) -> FileFacts {
    let limits = &case["limits"];
    let number = |name: &str| limits[name].as_f64().unwrap();
    let overdue = Duration::from_millis(limits["overdue"].as_u64().unwrap());
    FileFacts {
        errors: GuardErrors { max_ratio: number("max_ratio"), floor: number("floor"), overdue },
        alpha: number("alpha"),
        is_blind: limits["blind"].as_bool().unwrap(),
        ..facts(FILE)
    }
}

/// Sends the requests; compares what is seen at each look.
fn play(name: &str, case: &Value) {
    let facts = limits(case);
    let weight = case["limits"]["weight"].as_f64().unwrap();
    let columns = case["columns"].as_array().unwrap();
    let requests: Vec<Request> = case["requests"].as_array().unwrap().iter().map(|row| request(columns, row)).collect();
    let mut line: Vec<(u64, Step)> = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        line.extend([(request.sent, Step::Send(at)), (request.ended, Step::End(at))]);
        line.extend(request.stops.iter().map(|stop| (*stop, Step::Stop(at))));
    }
    line.extend(
        case["looks"].as_array().unwrap().iter().enumerate().map(|(n, at)| (at.as_u64().unwrap(), Step::Look(n))),
    );
    line.sort_unstable();

    let times = Times::new();
    let mut guard = Guard::new(facts.clone(), 7, times.ms(0));
    let mut waiting: Waiting<(Trial, u64)> = Waiting::default();
    // Trials that are not decided, with their place while they wait.
    let mut open: BTreeMap<usize, (Trial, Option<Ticket>)> = BTreeMap::new();
    let mut seen = 0;
    for (at, step) in line {
        let now = times.ms(at);
        while let Some((late, due)) = waiting.next_overdue(now.at) {
            guard.trial(&late, Ended::Overdue, times.ms(due));
        }
        match step {
            Step::Send(n) => {
                let Request { side, weight, key, is_streamed, overdue, .. } = requests[n];
                if let Some(epoch) = guard.drawn() {
                    let trial = Trial { side, weight, key, epoch };
                    let age = overdue.unwrap_or(facts.errors.overdue);
                    let due = at + age.as_millis() as u64 * if is_streamed { 1 } else { 10 };
                    let ticket = waiting.watch(now.at, age, is_streamed, (trial, due)).unwrap();
                    open.insert(n, (trial, Some(ticket)));
                }
            }
            Step::Stop(n) | Step::End(n) => {
                if let Some((_, ticket)) = open.get_mut(&n)
                    && let Some(ticket) = ticket.take()
                    && waiting.take(ticket).is_none()
                {
                    open.remove(&n);
                }
                if let (Step::End(n), Some((trial, _))) = (step, open.get(&n)) {
                    guard.trial(trial, requests[n].end, now);
                    open.remove(&n);
                }
            }
            Step::Look(n) => {
                guard.tick(true, now);
                assert_like(&format!("{name} at look {n}"), &guard, weight, &case["expected"][n]);
                seen += 1;
            }
        }
    }
    assert!(seen >= 8 && open.is_empty());
}

#[track_caller]
fn assert_like(place: &str, guard: &Guard, weight: f64, expected: &Value) {
    let report = guard.report(weight);
    let ln = expected["ln_evidence"].as_f64().unwrap();
    assert!((report.ln_evidence - ln).abs() < 1e-6, "{place}: evidence {} instead of {ln}", report.ln_evidence);
    for (name, sides) in
        [("trials", report.tally.trials), ("faults", report.tally.faults), ("counted", report.tally.counted)]
    {
        let of = |side: &str| expected[name][side].as_u64().unwrap();
        assert_eq!((sides.candidate, sides.baseline), (of("candidate"), of("baseline")), "{place}: {name}");
    }
    assert_eq!(report.keys, expected["keys"].as_u64().unwrap(), "{place}: keys");
    assert_eq!(report.verdict.as_str(), expected["verdict"], "{place}");
    assert_eq!(report.state.as_str(), expected["state"], "{place}");
    match (report.needs, expected["needs"].as_u64()) {
        // Rounded up from sums in another order.
        (Some(found), Some(needs)) => {
            assert!(found.abs_diff(needs) * 1_000_000 <= needs.max(1_000_000), "{place}: {found}, {needs}")
        }
        (found, needs) => assert_eq!(found, needs, "{place}: needs"),
    }
}

#[test]
fn it_agrees_with_the_reference_on_every_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guard");
    let mut rules = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(case["requests"].as_array().unwrap().len() >= 200, "{}", path.display());
        play(case["rule"].as_str().unwrap(), &case);
        rules += 1;
    }
    assert_eq!(rules, 14);
}
