//! `rollout.schema.json`: it is what the document types generate, and it agrees with the reader of the file.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod agreement;
mod document;

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Generates the schema. Optional keys may be left out; TOML has no null that they could be.
fn generated() -> Value {
    let settings = SchemaSettings::draft07();
    let mut schema = settings.into_generator().into_root_schema_for::<document::Rollout>().to_value();
    without_null(&mut schema);
    let Value::Object(mut keys) = schema else { panic!("{schema}") };
    let mut ordered = Map::new();
    for first in ["$schema", "title", "description"] {
        ordered.extend(keys.shift_remove(first).map(|value| (first.to_owned(), value)));
    }
    ordered.extend(keys);
    Value::Object(ordered)
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            map.values_mut().for_each(without_null);
            not_null(map);
        }
        _ => {}
    }
}

fn not_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(ways)) = map.get_mut("anyOf") {
        ways.retain(|way| *way != serde_json::json!({"type": "null"}));
        if let [only] = &ways[..] {
            // Draft 7 ignores what stands beside $ref; allOf keeps it.
            let only = only.clone();
            map.remove("anyOf");
            map.insert("allOf".to_owned(), Value::Array(vec![only]));
        }
    }
    if map.get("format").is_some_and(|format| format.is_string()) {
        map.remove("format");
    }
}

#[test]
fn the_committed_schema_is_what_the_types_generate() {
    let text = format!("{}\n", serde_json::to_string_pretty(&generated()).unwrap());
    let file = path("rollout.schema.json");
    if std::env::var("SHIFTGATE_SCHEMA").is_ok_and(|mode| mode == "write") {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(committed == text, "run SHIFTGATE_SCHEMA=write cargo test --test schema, and read the difference");
}

#[test]
fn it_is_draft_07_and_a_schema() {
    let schema = generated();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(jsonschema::meta::is_valid(&schema));
}

#[test]
fn shipped_files_name_it_in_their_first_line() {
    let mut files = agreement::files("examples");
    files.push(path("rollout.toml"));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.lines().any(|line| line == "[rollout]") {
            continue;
        }
        let first = text.lines().next().unwrap();
        let named = first.strip_prefix("#:schema ").unwrap_or_else(|| panic!("{} begins with {first}", file.display()));
        let found = file.parent().unwrap().join(named).canonicalize();
        assert_eq!(found.unwrap(), path("rollout.schema.json").canonicalize().unwrap(), "{}", file.display());
    }
}
