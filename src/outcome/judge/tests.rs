//! Table of verdicts: ending × status × failure × role.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn missed(kind: MissKind) -> Ending {
    Ending::Missed(Miss { fault: Fault::UpstreamReset, kind })
}

fn rejected(status: u16, misconfigured: bool) -> Ending {
    missed(MissKind::Rejected { status, misconfigured })
}

/// `complete` or the blame, then the breaker's sample and the cool-down.
fn words(verdict: Verdict) -> String {
    let blame = match verdict.blame {
        None if verdict.is_complete => "complete",
        None => "unknown",
        Some(Blame::Request) => "request",
        Some(Blame::Backend) => "backend",
        Some(Blame::Configuration) => "configuration",
        Some(Blame::Client) => "client",
        Some(Blame::Process) => "process",
    };
    let sample = match verdict.sample {
        None => "",
        Some(Sample::Good) => " good",
        Some(Sample::Bad) => " bad",
    };
    let cool_down = match verdict.cool_down {
        None => String::new(),
        Some(retry_after) => format!(" cool {:?}", retry_after.map(|after| after.as_secs())),
    };
    format!("{blame}{sample}{cool_down}")
}

#[test]
fn every_end_has_one_judgement() {
    use Ending::{Broken, ClientGone, Complete, Drained, TimedOut};
    use OtherAnswer::{Differs, NotAsked, Refused, Unknown};
    let table = [
        (Complete, Some(200), false, NotAsked, "complete good", "complete"),
        (Complete, Some(101), false, NotAsked, "complete good", "complete"),
        (Complete, Some(204), false, NotAsked, "complete good", "complete"),
        (Complete, Some(200), true, NotAsked, "backend bad", "backend"),
        (Complete, Some(400), false, NotAsked, "request", "request"),
        (Complete, Some(404), false, NotAsked, "request", "request"),
        (Complete, Some(307), false, NotAsked, "request", "request"),
        (Complete, Some(429), false, NotAsked, "backend cool None", "backend"),
        (Complete, Some(500), false, NotAsked, "backend bad", "backend"),
        (Complete, Some(503), false, NotAsked, "backend bad", "backend"),
        (Complete, None, false, NotAsked, "unknown", "unknown"),
        (Broken, Some(200), false, NotAsked, "backend bad", "backend"),
        (Broken, Some(200), true, NotAsked, "backend bad", "backend"),
        (TimedOut, Some(200), false, NotAsked, "backend bad", "backend"),
        (ClientGone, None, false, NotAsked, "client", "client"),
        (ClientGone, Some(200), false, NotAsked, "client", "client"),
        (ClientGone, Some(200), true, NotAsked, "backend", "backend"),
        (ClientGone, Some(500), false, NotAsked, "backend", "backend"),
        (ClientGone, Some(429), false, NotAsked, "backend", "backend"),
        (Drained, Some(200), false, NotAsked, "process", "process"),
        (Drained, Some(502), false, NotAsked, "backend", "backend"),
        (missed(MissKind::Failed), None, false, NotAsked, "backend bad", "backend"),
        (missed(MissKind::Failed), Some(500), false, Differs, "backend bad", "backend"),
        (missed(MissKind::Failed), Some(200), true, Refused, "backend bad", "backend"),
        (missed(MissKind::Busy(None)), Some(429), false, Differs, "backend cool None", "backend"),
        (missed(MissKind::Busy(Some(SECOND))), Some(429), false, Refused, "backend cool Some(1)", "backend"),
        (missed(MissKind::Client), None, false, NotAsked, "client", "client"),
        (missed(MissKind::Process), Some(200), false, NotAsked, "process", "process"),
        (rejected(400, false), Some(400), false, NotAsked, "request", "request"),
        (rejected(400, false), Some(400), false, Refused, "request", "request"),
        (rejected(400, false), Some(400), false, Differs, "backend", "backend"),
        (rejected(413, false), Some(413), false, Differs, "backend", "backend"),
        (rejected(415, false), Some(415), false, Differs, "backend", "backend"),
        (rejected(422, false), Some(422), false, Differs, "backend", "backend"),
        (rejected(408, false), Some(408), false, Differs, "backend bad", "backend"),
        (rejected(400, false), Some(200), true, Differs, "backend", "backend"),
        (rejected(400, false), Some(400), false, Unknown, "unknown", "unknown"),
        (rejected(401, true), Some(401), false, NotAsked, "configuration bad", "configuration"),
        (rejected(401, true), Some(401), false, Differs, "configuration bad", "configuration"),
        (rejected(403, true), Some(403), false, Differs, "configuration bad", "configuration"),
        (rejected(404, true), Some(404), false, Differs, "configuration bad", "configuration"),
        (rejected(405, true), Some(405), false, Differs, "configuration bad", "configuration"),
        (rejected(404, true), Some(404), false, Refused, "request", "request"),
        (rejected(404, true), Some(404), false, Unknown, "unknown", "unknown"),
        (rejected(402, true), Some(402), false, Differs, "configuration", "configuration"),
    ];
    for (ending, status, has_error_event, other, candidate, baseline) in table {
        let of = |role| words(judge(role, ending, status, has_error_event, other));
        assert_eq!(of(Role::Candidate), candidate, "candidate: {ending:?} {status:?} {has_error_event} {other:?}");
        assert_eq!(of(Role::Baseline), baseline, "baseline: {ending:?} {status:?} {has_error_event} {other:?}");
    }
}

#[test]
fn nothing_is_complete_and_blamed_and_no_good_sample_comes_of_a_failure() {
    let kinds = [
        MissKind::Failed,
        MissKind::Busy(None),
        MissKind::Client,
        MissKind::Process,
        MissKind::Rejected { status: 422, misconfigured: false },
        MissKind::Rejected { status: 404, misconfigured: true },
    ];
    let endings = [Ending::Complete, Ending::Broken, Ending::TimedOut, Ending::ClientGone, Ending::Drained];
    let others = [OtherAnswer::NotAsked, OtherAnswer::Refused, OtherAnswer::Differs, OtherAnswer::Unknown];
    for ending in endings.into_iter().chain(kinds.map(missed)) {
        for status in [None].into_iter().chain((100..600).map(Some)) {
            for (other, has_error_event) in others.into_iter().flat_map(|other| [(other, false), (other, true)]) {
                for role in [Role::Baseline, Role::Candidate] {
                    let verdict = judge(role, ending, status, has_error_event, other);
                    assert_eq!(verdict.sample == Some(Sample::Good), verdict.is_complete && role == Role::Candidate);
                    assert!(!(verdict.is_complete && verdict.blame.is_some()));
                    assert!(verdict.sample.is_none() || role == Role::Candidate);
                    assert!(verdict.sample != Some(Sample::Bad) || verdict.is_error());
                }
            }
        }
    }
}

#[test]
fn the_other_answer_is_read_from_its_status() {
    for (status, expected) in [
        (200, OtherAnswer::Differs),
        (400, OtherAnswer::Refused),
        (404, OtherAnswer::Refused),
        (429, OtherAnswer::Differs),
        (500, OtherAnswer::Differs),
        (504, OtherAnswer::Differs),
    ] {
        assert_eq!(OtherAnswer::of_status(status), expected, "{status}");
    }
}
