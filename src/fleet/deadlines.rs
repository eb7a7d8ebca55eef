//! Deadlines of models: the day on which the vendor switches a model off, from its list of models.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::exchange::Question;
use super::intervals::PollIntervals;
use super::pause::Pause;
use crate::backend::{Auth, Target, day_of};
use crate::outcome::{LegKind, Role, Trail};

/// Timeout of the list.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of the list, in bytes; a larger one is a failure. OpenAI's has 20 KiB, the longest of routers half a MiB.
const MAX_ANSWER: u64 = 1 << 20;
/// Limit of the pause after a failure: a key that is refused is tried 24 times a day.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The first question comes at a random moment within this many pauses, so that sidecars do not ask at once.
const SPREAD: f64 = 5.0;
/// Limit of a model's name, in characters: that of records. A longer one is skipped.
const MAX_NAME: usize = 128;
/// Years in which an end is credible; other dates are unknown.
const YEARS: std::ops::Range<i16> = 2015..3000;

/// Models that end, with their last days.
type Ends = BTreeMap<String, Date>;

/// True if the list is asked for: the file wants it, and the backend has a key of its own at hand.
pub(super) fn is_watched(target: &Target) -> bool {
    target.config.watch_models && matches!(target.auth, Auth::Bearer(_))
}

/// Asks for the list now and then, until its task is dropped. What was known before stays known through failures.
pub(super) async fn watch(target: &Target, pace: PollIntervals) {
    tokio::time::sleep(pace.retry.mul_f64(rand::random_range(0.0..SPREAD))).await;
    let mut pause = Pause::up_to(pace, LONGEST_PAUSE);
    loop {
        match ask(target).await {
            Ok(ends) => {
                target.stats.model_lists_ok.add(1);
                target.ends.set(ends);
                tokio::time::sleep(pace.models.mul_f64(rand::random_range(0.8..1.2))).await;
                pause = Pause::up_to(pace, LONGEST_PAUSE);
            }
            Err(cause) => {
                target.stats.model_lists_failed.add(1);
                tracing::debug!(backend = target.config.name, cause, "the list of models is not known");
                pause.wait().await;
            }
        }
    }
}

/// Asks once, on a connection of its own.
async fn ask(target: &Target) -> Result<Ends, String> {
    let uri = target.uri_for(&Uri::from_static("/v1/models")).ok_or("its path cannot be asked for")?;
    let question = Question::get(target, uri, ANSWER_TIMEOUT, MAX_ANSWER);
    let client = target.own_client().map_err(|error| error.to_string())?;
    let mut trail = Trail::new(LegKind::Probe, Role::Candidate, (&target.labels, &target.stats), "", false);
    let answer = question.ask(&client, &mut trail).await.map_err(|failure| failure.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("it answered {}", answer.status.as_u16()));
    }
    ends_in(&answer.body).ok_or_else(|| "its answer is not a list of models".to_owned())
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    shutdown_date: Option<&'a RawValue>,
}

/// Returns the models that end; `None` if the text is not a list of models. An entry that cannot be
/// read is skipped alone; of a model with several dates the first counts.
pub(super) fn ends_in(body: &[u8]) -> Option<Ends> {
    let models = serde_json::from_slice::<List<'_>>(body).map(|list| list.data);
    let models = models.or_else(|_| serde_json::from_slice::<Vec<&RawValue>>(body)).ok()?;
    let mut ends = Ends::new();
    for model in models {
        let Ok(Model { id, shutdown_date: Some(end) }) = serde_json::from_str(model.get()) else { continue };
        let is_printable = !id.is_empty() && id.len() <= MAX_NAME && id.bytes().all(|byte| byte.is_ascii_graphic());
        if let Some(date) = date(end.get()).filter(|_| is_printable) {
            ends.entry(id.into_owned()).and_modify(|known| *known = date.min(*known)).or_insert(date);
        }
    }
    Some(ends)
}

/// Reads a date, a time with its zone, or seconds since 1970.
fn date(json: &str) -> Option<Date> {
    let text = serde_json::from_str::<Cow<'_, str>>(json).unwrap_or(Cow::Borrowed(json));
    let text = text.trim();
    let date = if let Ok(seconds) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
        jiff::Timestamp::from_second(seconds as i64).ok().map(day_of)
    } else {
        let of_zone = || text.parse::<jiff::Timestamp>().ok().map(day_of);
        of_zone().or_else(|| text.parse::<Date>().ok())
    };
    date.filter(|date| YEARS.contains(&date.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(body: &str) -> Option<Vec<(String, String)>> {
        let ends = ends_in(body.as_bytes())?;
        Some(ends.into_iter().map(|(model, date)| (model, date.to_string())).collect())
    }

    #[test]
    fn a_date_has_many_forms_and_a_bad_one_is_unknown() {
        for (json, expected) in [
            (r#""2027-01-14""#, Some("2027-01-14")),
            (r#"" 2027-01-14 ""#, Some("2027-01-14")),
            (r#""2027-01-14T23:59:59Z""#, Some("2027-01-14")),
            (r#""2027-01-14T23:59:59-02:00""#, Some("2027-01-15")),
            (r#""2027-01-14T08:00:00""#, Some("2027-01-14")),
            ("1799884800", Some("2027-01-14")),
            ("1799884800.5", Some("2027-01-14")),
            ("\"1799884800\"", Some("2027-01-14")),
            ("0", None),
            ("-1", None),
            ("1799884800000", None),
            ("1e300", None),
            ("\"NaN\"", None),
            ("\"soon\"", None),
            ("\"\"", None),
            ("\"2027-13-01\"", None),
            ("\"9999-12-31\"", None),
            ("\"0001-01-01\"", None),
            ("true", None),
            ("null", None),
            ("{}", None),
            ("[\"2027-01-14\"]", None),
        ] {
            let body = format!(r#"{{"object":"list","data":[{{"id":"m","shutdown_date":{json}}}]}}"#);
            let expected: Vec<_> = expected.into_iter().map(|date| ("m".to_owned(), date.to_owned())).collect();
            assert_eq!(ends(&body), Some(expected), "{json}");
        }
    }

    #[test]
    fn entries_stand_alone() {
        let long = "x".repeat(MAX_NAME + 1);
        let body = format!(
            r#"[{{"id":"a","shutdown_date":"2027-02-01"}}, {{"id":7,"shutdown_date":"2027-02-01"}}, null, [], "x",
            {{"id":"b"}}, {{"shutdown_date":"2027-02-01"}}, {{"id":"a","shutdown_date":"2027-01-01"}},
            {{"id":"sp ace","shutdown_date":"2027-01-01"}}, {{"id":"\u001b[2J","shutdown_date":"2027-01-01"}},
            {{"id":"{long}","shutdown_date":"2027-01-01"}}, {{"id":"","shutdown_date":"2027-01-01"}}]"#
        );
        assert_eq!(ends(&body), Some(vec![("a".to_owned(), "2027-01-01".to_owned())]));
    }

    #[test]
    fn something_else_is_not_a_list() {
        for body in ["", "{}", "null", "<html>", r#"{"data":{}}"#, r#"{"error":{"message":"m"}}"#, "[{]"] {
            assert_eq!(ends(body), None, "{body}");
        }
        assert_eq!(ends_in(b"{\"data\":[\"\xff\"]}"), None);
        assert_eq!((ends("[]"), ends(r#"{"data":[]}"#)), (Some(vec![]), Some(vec![])));
    }
}
