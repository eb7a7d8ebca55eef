//! Every vector of `tests/data/agreement.json`.

use serde::Deserialize;
use shiftgate::api::compare::AskedSchema;

use super::{Given, Request, compare};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    request: Request,
    #[serde(rename = "ref")]
    reference: Given,
    cand: Given,
    kind: Option<String>,
    agreement: Option<f64>,
    null: Option<String>,
}

#[test]
fn every_vector() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../data/agreement.json")).unwrap();
    assert!(vectors.len() >= 62, "{}", vectors.len());
    for vector in vectors {
        // The vectors say who keeps the schema; this one says the same of both.
        let schema = match vector.reference.schema_valid {
            Some(_) => AskedSchema::Text(r#"{"properties":{"a":{}},"additionalProperties":false}"#.into()),
            None => AskedSchema::None,
        };
        let compared = compare(&vector.request, schema, &vector.reference, &vector.cand);
        let name = &vector.name;
        assert_eq!(compared.schema_valid, [vector.reference.schema_valid, vector.cand.schema_valid], "{name}");
        assert_eq!(compared.scores.kind.map(|kind| kind.as_str()), vector.kind.as_deref(), "{name}");
        match (compared.scores.agreement, vector.agreement) {
            (Ok(agreement), Some(expected)) => {
                assert!((agreement - expected).abs() <= 1e-4, "{name}: {agreement}, not {expected}");
            }
            (Err(reason), None) => assert_eq!(Some(reason.as_str()), vector.null.as_deref(), "{name}"),
            (agreement, expected) => panic!("{name}: {agreement:?}, not {expected:?}"),
        }
    }
}
