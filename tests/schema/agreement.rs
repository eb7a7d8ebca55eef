//! The schema and the reader (`shiftgate check`) judge files alike.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;
use shiftgate::api::config::{self, Secrets};
use toml::Value as Toml;

use super::{generated, path};

/// Limit of files that only the reader refuses.
const MAX_ONLY_CHECK: usize = 20;

/// Parts of messages that speak of other values or files, or of an amount that a pattern cannot count. Only a refusal
/// with one of them may be one of the reader alone.
const ONLY_CHECK: [&str; 16] = [
    "at most two decimals",
    "there is no [backend.",
    "add up to",
    "names the baseline",
    "has no usable host and port",
    "is out of range",
    "is below 100ms",
    "which has another meaning",
    "which is never forwarded",
    "not https",
    "is given for the OpenAI baseline",
    "is a folder",
    "no backend is",
    "twice",
    "[shadow] does not say where",
    // 0.0 is an integer in JSON.
    "is a number",
];

/// Returns the TOML files of a folder and its subfolders.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![path(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn validator() -> Validator {
    jsonschema::draft7::new(&generated()).unwrap()
}

fn check(text: &[u8]) -> Result<(), String> {
    config::parse(Path::new("rollout.toml"), text, Secrets::Required, &|_| None)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Reads a text as an editor does; an error if it is not TOML.
fn read(text: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let table: toml::Table = toml::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(table).unwrap())
}

fn judge(validator: &Validator, text: &[u8]) -> Result<(), String> {
    let value = read(text)?;
    let problems: Vec<String> =
        validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

#[test]
fn valid_files_are_valid_and_invalid_ones_invalid_but_for_a_short_list() {
    let validator = validator();
    let list = std::fs::read_to_string(path("tests/configs/only-check.txt")).unwrap();
    let mut listed: BTreeMap<&str, &str> = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    assert!(listed.len() <= MAX_ONLY_CHECK && listed.values().all(|why| why.len() > 10), "{listed:?}");
    let mut valid = files("tests/configs/valid");
    valid.extend(
        files("examples").into_iter().filter(|path| std::fs::read_to_string(path).unwrap().contains("\n[rollout]")),
    );
    valid.push(path("rollout.toml"));
    for file in valid {
        let judged = judge(&validator, &std::fs::read(&file).unwrap());
        assert_eq!(judged, Ok(()), "{}", file.display());
    }
    let mut unlisted = Vec::new();
    for file in files("tests/configs/invalid") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read(&file).unwrap();
        let refused = check(&text).unwrap_err();
        match (judge(&validator, &text), listed.remove(name.as_str())) {
            (Err(_), None) | (Ok(()), Some(_)) => {}
            (Ok(()), None) => unlisted.push(format!("{name}: only check refuses it: {refused}")),
            (Err(said), Some(_)) => unlisted.push(format!("{name} is listed, and the schema refuses it: {said}")),
        }
    }
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
    assert!(listed.is_empty(), "no such file: {listed:?}");
}

/// Values to put in the place of each value of a valid file.
fn others() -> Vec<Toml> {
    let texts = [
        "",
        "x",
        "client",
        "off",
        "10s",
        "0s",
        "1.5h",
        "32MiB",
        "0B",
        "10",
        "http://h:1/v1",
        "ftp://h",
        "http://u:p@h/",
        "http://h/?q",
        "a b",
        "header:x",
        "header:",
        "a..b",
        "127.0.0.1:1",
        "unix:",
        "vllm",
        "strict",
        "env",
        "{}",
    ];
    let mut all: Vec<Toml> = texts.map(|text| Toml::String(text.to_owned())).into();
    all.extend([-1, 0, 1, 7, 100, 101, 2000, 1_000_001, 100_000_001].map(Toml::Integer));
    all.extend([-0.5, 0.0, 0.5, 1.5, 99.99, 100.5, f64::NAN, f64::INFINITY].map(Toml::Float));
    all.extend([Toml::Boolean(true), Toml::Array(Vec::new()), Toml::Table(toml::Table::new())]);
    all.push(Toml::Array(vec![Toml::String("x".to_owned())]));
    all.push(Toml::Array(vec![Toml::Integer(1)]));
    all.push(Toml::Table([("zzzzzz".to_owned(), Toml::Integer(1))].into_iter().collect()));
    all
}

/// The steps from the root to a value.
type Steps = Vec<String>;

fn places(value: &Toml, at: &Steps, all: &mut Vec<Steps>) {
    let mut child = |key: String, value: &Toml| {
        let mut steps = at.clone();
        steps.push(key);
        all.push(steps.clone());
        places(value, &steps, all);
    };
    match value {
        Toml::Table(table) => table.iter().for_each(|(key, value)| child(key.clone(), value)),
        Toml::Array(items) => items.iter().enumerate().for_each(|(index, value)| child(index.to_string(), value)),
        _ => {}
    }
}

fn parent<'t>(root: &'t mut Toml, steps: &[String]) -> &'t mut Toml {
    steps.iter().fold(root, |value, step| match value {
        Toml::Table(table) => table.get_mut(step).unwrap(),
        Toml::Array(items) => &mut items[step.parse::<usize>().unwrap()],
        other => panic!("{other} has no {step}"),
    })
}

#[test]
fn a_change_of_any_value_is_judged_alike() {
    let validator = validator();
    let mut wrong = BTreeSet::new();
    let (mut judged, mut refused_by_both) = (0, 0);
    for file in ["everything", "shadows", "own-wording"] {
        let text = std::fs::read_to_string(path(&format!("tests/configs/valid/{file}.toml"))).unwrap();
        let root = Toml::Table(toml::from_str(&text).unwrap());
        let mut all = Vec::new();
        places(&root, &Steps::new(), &mut all);
        for steps in all {
            let (last, to_parent) = steps.split_last().unwrap();
            let mut changed = Vec::new();
            for other in others() {
                let mut root = root.clone();
                *parent(&mut root, &steps) = other.clone();
                changed.push((root, other.to_string()));
            }
            let mut without = root.clone();
            match parent(&mut without, to_parent) {
                Toml::Table(table) => drop(table.remove(last)),
                Toml::Array(items) => drop(items.remove(last.parse().unwrap())),
                _ => {}
            }
            changed.push((without, "left out".to_owned()));
            for (root, shown) in changed {
                let text = toml::to_string(&root).unwrap();
                judged += 1;
                let place = format!("{} = {shown}", steps.join("."));
                match (judge(&validator, text.as_bytes()), check_values(&text)) {
                    (Ok(()), Ok(())) => {}
                    (Err(_), Err(_)) => refused_by_both += 1,
                    (Err(said), Ok(())) => drop(wrong.insert(format!("{place}: only the schema refuses it: {said}"))),
                    (Ok(()), Err(said)) if ONLY_CHECK.iter().any(|part| said.contains(part)) => {}
                    (Ok(()), Err(said)) => drop(wrong.insert(format!("{place}: only check refuses it: {said}"))),
                }
            }
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{} of {judged}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged > 4000 && refused_by_both > judged / 3, "{judged} {refused_by_both}");
}

/// Checks the values; the files and variables that they name need not exist.
fn check_values(text: &str) -> Result<(), String> {
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Returns the keys that the reader knows in the table that `text` opens last, from its message on an unknown one.
fn known(text: &str) -> BTreeSet<String> {
    let said = check_values(text).unwrap_err();
    let list = said.split_once("known here: ").unwrap_or_else(|| panic!("{text}: {said}")).1;
    list.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

#[test]
fn the_reader_and_the_schema_know_the_same_keys() {
    let schema = generated();
    let base = "[rollout]\nname = \"n\"\nbaseline = \"a\"\npercent = {}\n";
    let of = |name: &str| -> BTreeSet<String> {
        let table = if name.is_empty() { &schema } else { &schema["definitions"][name] };
        let keys = table["properties"].as_object().unwrap_or_else(|| panic!("no {name}")).keys();
        keys.cloned().collect()
    };
    let key = "zzzzzzzzzzzzzzzz = 1";
    let backend = "[backend.a]\nengine = \"vllm\"\nurl = \"http://h/v1\"\napi_key = \"none\"\n";
    let sections = [
        ("", format!("{key}\n{base}{backend}")),
        ("Server", format!("{base}{backend}[server]\n{key}")),
        ("Limits", format!("{base}{backend}[limits]\n{key}")),
        ("Split", format!("{base}{key}\n{backend}")),
        ("Route", format!("{base}{backend}[[route]]\nname = \"r\"\npercent = {{}}\n{key}")),
        ("Match", format!("{base}{backend}[[route]]\nname = \"r\"\npercent = {{}}\nmatch = {{ {key} }}")),
        ("Residency", format!("{base}{backend}tags = [\"t\"]\n[[residency]]\nname = \"r\"\nallow = [\"t\"]\n{key}")),
        ("Backend", format!("{base}{backend}{key}")),
        ("Timeout", format!("{base}{backend}timeout = {{ {key} }}")),
        ("Breaker", format!("{base}{backend}breaker = {{ {key} }}")),
        ("Tls", format!("{base}{}tls = {{ {key} }}", backend.replace("http:", "https:"))),
        ("System", format!("{base}{backend}system = {{ append = \"Cargo.toml\", {key} }}")),
        ("GpuPrice", format!("{base}{backend}price = {{ gpu_hour = 1, gpus = 1, {key} }}")),
        ("TokenPrice", format!("{base}{backend}price = {{ input = 1, output = 1, {key} }}")),
        ("Failover", format!("{base}{backend}[failover]\n{key}")),
        ("Shadow", format!("{base}{backend}[shadow]\nto = \"a\"\n{key}")),
        ("Records", format!("{base}{backend}[records]\n{key}")),
        ("Guard", format!("{base}{backend}[guard]\n{key}")),
        ("GuardErrors", format!("{base}{backend}[guard]\nerrors = {{ {key} }}")),
        ("Notify", format!("{base}{backend}[guard]\nnotify = {{ url = \"https://h\", {key} }}")),
        ("Telemetry", format!("{base}{backend}[telemetry]\n{key}")),
        ("Keep", format!("{base}{backend}[telemetry]\nkeep = {{ {key} }}")),
    ];
    for (name, text) in sections {
        assert_eq!(known(&text), of(name), "{name}: tests/schema/document.rs and the reader differ");
    }
    let of_key = known(&format!("{base}{}", backend.replace("\"none\"", &format!("{{ env = \"N\", {key} }}"))));
    assert_eq!(of_key, &of("EnvKey") | &of("FileKey"));
    let of_url = known(&format!("{base}{backend}[guard]\nnotify = {{ url = {{ env = \"N\", {key} }} }}"));
    assert_eq!(of_url, &of("NotifyEnv") | &of("NotifyFile"));
}
