//! Properties of the split: exact at 0 and 100, proportional between, monotone, independent by purpose, portable.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use http::HeaderMap;
use proptest::prelude::*;
use serde::Deserialize;
use shiftgate::api::choose::{Intervals, Purpose, Salt, UNITS, find_key, unit};
use shiftgate::api::config::KeySource;
use shiftgate::api::model::{BackendId, Percent};
use shiftgate::api::wire::scan;

/// Backends by their positions.
const B: [BackendId; 4] = [BackendId::new(0), BackendId::new(1), BackendId::new(2), BackendId::new(3)];

const KEYS: u32 = 200_000;

fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).unwrap()
}

#[derive(Deserialize)]
struct Vector {
    purpose: String,
    name: String,
    route: String,
    key: String,
    unit: u16,
}

#[derive(Deserialize)]
struct AffinityVector {
    name: String,
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct ConversationVector {
    body: serde_json::Value,
    hash: String,
}

/// Computed by another implementation of SipHash-2-4, which was checked against the paper's vector.
#[derive(Deserialize)]
struct Vectors {
    units: Vec<Vector>,
    affinity: Vec<AffinityVector>,
    conversation: Vec<ConversationVector>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("data/split-vectors.json")).unwrap()
}

#[test]
fn affinity_and_conversations_have_the_hashes_of_the_vectors() {
    let Vectors { affinity, conversation, .. } = vectors();
    assert!(affinity.len() >= 10 && conversation.len() >= 10);
    for AffinityVector { name, key, value } in affinity {
        assert_eq!(format!("{:016x}", Salt::affinity(&name).hash(key.as_bytes())), value, "{name} {key}");
    }
    for ConversationVector { body, hash } in conversation {
        let text = body.to_string();
        let scanned = scan::scan(text.as_bytes()).unwrap();
        let headers = HeaderMap::new();
        let key = find_key(&[KeySource::Conversation], &headers, Some(&scanned)).unwrap();
        let hex: String = key.value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, hash, "{text}");
    }
}

#[test]
fn units_are_those_of_the_vectors() {
    let Vectors { units, .. } = vectors();
    assert!(units.len() >= 10);
    for vector in units {
        let purpose = [Purpose::Split, Purpose::Shadow, Purpose::Noise, Purpose::Capture]
            .into_iter()
            .find(|purpose| purpose.as_str() == vector.purpose)
            .unwrap();
        let got = unit(purpose, &vector.name, &vector.route, vector.key.as_bytes());
        assert_eq!(got, vector.unit, "{} {} {} {}", vector.purpose, vector.name, vector.route, vector.key);
    }
}

#[test]
fn shares_over_many_keys() {
    let salt = Salt::new(Purpose::Split, "n", "default");
    let percents = [0, 1, 100, 500, 1000, 2500, 5000, 7500, 9900, 10_000];
    let tables: Vec<_> = percents.iter().map(|p| Intervals::new(&[(B[1], percent(*p))])).collect();
    let mut counts = [0_u32; 10];
    for key in 0..KEYS {
        let unit = salt.unit(&key.to_le_bytes());
        for (count, table) in counts.iter_mut().zip(&tables) {
            *count += u32::from(table.owner(unit) == Some(B[1]));
        }
    }
    for (count, hundredths) in counts.into_iter().zip(percents) {
        let p = f64::from(hundredths) / f64::from(UNITS);
        let sigma = (f64::from(KEYS) * p * (1.0 - p)).sqrt();
        let off = (f64::from(count) - f64::from(KEYS) * p).abs();
        assert!(off <= 4.0 * sigma, "{hundredths}: {count} is {off} off, sigma {sigma}");
    }
    assert_eq!((counts[0], counts[9]), (0, KEYS), "0 is never and 100 is always");
}

#[test]
fn the_salt_of_shadows_is_independent_of_the_splits() {
    let (split, shadow) = (Salt::new(Purpose::Split, "n", "r"), Salt::new(Purpose::Shadow, "n", "r"));
    let both =
        (0..KEYS).filter(|key| split.unit(&key.to_le_bytes()) < 1000 && shadow.unit(&key.to_le_bytes()) < 1000).count();
    let (expected, sigma) = (f64::from(KEYS) * 0.01, (f64::from(KEYS) * 0.01 * 0.99).sqrt());
    assert!((both as f64 - expected).abs() <= 4.0 * sigma, "{both} of {expected}");
}

proptest! {
    #[test]
    fn raising_only_adds_and_lowering_only_drops_the_last(low in 0..=10_000_u16, high in 0..=10_000_u16) {
        let (low, high) = (low.min(high), low.max(high));
        let (before, after) = (Intervals::new(&[(B[1], percent(low))]), Intervals::new(&[(B[1], percent(high))]));
        for unit in 0..UNITS {
            if before.owner(unit) == Some(B[1]) {
                prop_assert_eq!(after.owner(unit), Some(B[1]));
            }
        }
        let moved: u16 = before.moved(&after).iter().map(|one| one.units).sum();
        prop_assert_eq!(moved, high - low);
    }

    #[test]
    fn two_candidates_do_not_touch_each_other(a in 0..=10_000_u16, b in 0..=10_000_u16, next in 0..=10_000_u16) {
        let b = b.min(10_000 - a);
        let next = next.min(10_000 - b);
        let before = Intervals::new(&[(B[1], percent(a)), (B[2], percent(b))]);
        let after = Intervals::new(&[(B[1], percent(next)), (B[2], percent(b))]);
        for unit in 0..UNITS {
            prop_assert_eq!(before.owner(unit) == Some(B[2]), after.owner(unit) == Some(B[2]));
        }
        // Removing a candidate from the table equals 0 %: keys of the other candidate do not move.
        let gone = Intervals::new(&[(B[1], percent(0)), (B[2], percent(b))]);
        prop_assert!((0..UNITS).all(|unit| (gone.owner(unit) == Some(B[2])) == (before.owner(unit) == Some(B[2]))));
    }

    #[test]
    fn any_number_of_candidates_gets_its_share(parts in proptest::collection::vec(0..=3_000_u16, 1..6)) {
        let mut left = 10_000;
        let table: Vec<_> = parts.iter().enumerate().map(|(index, part)| {
            let part = (*part).min(left);
            left -= part;
            (BackendId::new(index), percent(part))
        }).collect();
        let intervals = Intervals::new(&table);
        for (backend, asked) in &table {
            let owned = (0..UNITS).filter(|unit| intervals.owner(*unit) == Some(*backend)).count();
            prop_assert_eq!(owned, usize::from(asked.hundredths()));
        }
    }
}
