//! rollout.toml: refusals and their texts, accepted files and their meaning, edits by `shift`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use shiftgate::api::config::{
    self, ApiKey, Config, ConfigError, GuardAction, GuardErrors, NotifyFormat, Secrets, WordingMode,
};
use shiftgate::api::model::Percent;

const CANARY: &str = "canary-7f3";

fn files(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    files.sort();
    files
}

fn parse(text: &[u8], secrets: Secrets) -> Result<Config, ConfigError> {
    config::parse(Path::new("rollout.toml"), text, secrets, &|_| None)
}

#[test]
fn every_invalid_file_says_what_where_and_what_to_do() {
    let files = files("tests/configs/invalid");
    assert!(files.len() > 48, "{} files", files.len());
    for (name, path) in files {
        let error = parse(&std::fs::read(path).unwrap(), Secrets::Required).expect_err(&name);
        for text in [error.to_string(), format!("{error:?}"), error.summary()] {
            assert!(!text.contains(CANARY), "{name} shows a secret: {text}");
        }
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, error.to_string());
        });
    }
}

#[test]
fn a_price_that_is_not_a_table_is_refused() {
    for (value, kind) in [("true", "a boolean"), ("3", "an integer"), ("\"cheap\"", "a string"), ("[1, 2]", "a list")] {
        let text = format!("{}price = {value}\n", include_str!("configs/valid/minimal.toml"));
        let line = text.lines().count();
        let error = parse(text.as_bytes(), Secrets::Required).expect_err(value);
        let [only] = &error.problems[..] else { panic!("{error}") };
        let told = error.to_string();
        assert!(told.starts_with(&format!("rollout.toml:{line}:9: price is {kind}")), "{told}");
        assert!(only.cure.contains("table") || only.cure.contains("input"), "{told}");
    }
}

#[test]
fn every_valid_and_every_shipped_file_is_accepted() {
    let mut all = files("tests/configs/valid");
    assert!(all.len() >= 5);
    let shipped = files("examples");
    assert_eq!(shipped.len(), 4);
    all.extend(shipped);
    all.extend(files(".").into_iter().filter(|(name, _)| name == "rollout"));
    for (name, path) in all {
        if let Err(error) = parse(&std::fs::read(path).unwrap(), Secrets::Skip) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn defaults() {
    let config = parse(include_bytes!("configs/valid/minimal.toml"), Secrets::Required).unwrap();
    let (openai, qwen) = (&config.backends[0], &config.backends[1]);
    assert_eq!((config.server.max_body, config.server.drain), (32 << 20, Duration::from_secs(20)));
    assert_eq!((config.limits.in_flight, config.limits.connections, config.limits.head), (1024, 10_000, 65_536));
    assert_eq!((config.sticky.len(), config.residency.len()), (9, 0));
    let affinity = |backend: &config::Backend| backend.affinity.as_ref().map(|name| name.to_string());
    assert_eq!((affinity(openai), affinity(qwen).as_deref()), (None, Some("x-session-id")));
    assert_eq!((openai.timeout.connect, openai.timeout.ttft), (Duration::from_secs(2), None));
    assert!(openai.timeout.total.is_none() && openai.breaker.is_none() && openai.max_in_flight.is_none());
    assert_eq!(qwen.timeout.total, Some(Duration::from_secs(600)));
    assert_eq!((qwen.max_in_flight, qwen.breaker.is_some()), (Some(256), true));
    assert_eq!((openai.keepalive, qwen.keepalive), (Duration::from_secs(55), Duration::from_secs(3)));
    assert_eq!((openai.propagate.len(), qwen.propagate.len()), (0, 2));
    assert!(config.shadow.is_none() && config.records.is_none() && config.telemetry.otlp.is_none());
    assert!(config.failover.enabled && !config.server.allow_override && config.server.request_log);
    // Only limits that are written for the baseline apply to it.
    let text = include_str!("configs/valid/minimal.toml")
        .replace("api_key = \"client\"", "api_key = \"client\"\ntimeout = { total = \"1m\" }\nmax_in_flight = 7");
    let config = parse(text.as_bytes(), Secrets::Required).unwrap();
    let openai = &config.backends[0];
    assert_eq!((openai.timeout.total, openai.timeout.ttft), (Some(Duration::from_secs(60)), None));
    assert_eq!(openai.max_in_flight, Some(7));
}

#[test]
fn copies_go_to_named_backends_and_each_route_has_its_percent() {
    let minimal = include_str!("configs/valid/minimal.toml");
    let with = |text: &str| parse(text.as_bytes(), Secrets::Required).unwrap();
    let names = |config: &Config| -> Vec<String> {
        config.shadow.iter().flat_map(|shadow| &shadow.to).map(|id| config[*id].name.clone()).collect()
    };
    // The defaults of the section; the only candidate is the receiver.
    let config = with(&format!("{minimal}[shadow]\n"));
    let shadow = config.shadow.as_ref().unwrap();
    assert_eq!((shadow.percent, shadow.noise_percent), (percent(10.0), percent(20.0)));
    assert_eq!((shadow.max_in_flight, shadow.max_bytes), (32, 64 << 20));
    assert_eq!((shadow.budget_usd_per_hour, shadow.timeout), (5.0, Duration::from_secs(120)));
    assert_eq!(names(&config), ["qwen"]);
    assert_eq!(names(&with(&format!("{minimal}[shadow]\nto = \"openai\"\n"))), ["openai"]);
    assert_eq!(names(&with(&format!("{minimal}[shadow]\nto = [\"openai\", \"qwen\"]\n"))), ["openai", "qwen"]);

    let text = include_str!("configs/valid/shadows.toml");
    let percents = |text: &str| -> Vec<(String, f64)> {
        let config = with(text);
        config.routes.iter().map(|route| (route.name.clone(), config.shadow_percent(route).as_f64())).collect()
    };
    let expected = [("private", 0.0), ("nightly", 100.0), ("all", 10.0), ("default", 10.0)];
    assert_eq!(percents(text), expected.map(|(name, percent)| (name.to_owned(), percent)));
    let none = text.split_once("[shadow]").unwrap().0;
    assert!(percents(none).iter().all(|(_, percent)| *percent == 0.0), "nothing is copied without the section");
    let warnings = config::warnings(&with(none), &|_| None).join("\n");
    let expected = "route nightly: shadow has no effect: the file has no [shadow] section, so nothing is copied";
    assert!(warnings.contains(expected) && !warnings.contains("route private: shadow"), "{warnings}");
}

#[test]
fn the_guard_has_its_limits_and_its_secret() {
    let minimal = include_str!("configs/valid/minimal.toml");
    let with = |text: &str| parse(format!("{minimal}{text}").as_bytes(), Secrets::Required).unwrap();
    let warned = |text: &str| config::warnings(&with(text), &|_| None).join("\n");
    assert!(with("").guard.is_none() && with("").server.state.is_none());

    let guard = with("[guard]\n").guard.unwrap();
    let GuardErrors { max_ratio, floor, overdue } = guard.errors;
    assert_eq!((max_ratio, floor, overdue), (1.5, 0.005, Duration::from_secs(30)));
    assert_eq!((guard.alpha, guard.action, guard.resume), (0.01, GuardAction::Rollback, 0));
    assert!(guard.notify.is_none());
    // The ends of the ranges.
    let guard = with(
        "[guard]\nerrors = { max_ratio = 1, floor = 0.5, overdue = \"100ms\" }\nalpha = 0.5\naction = \"alert\"\n\
         resume = 7\n",
    );
    let guard = guard.guard.unwrap();
    assert_eq!((guard.errors.max_ratio, guard.errors.floor, guard.alpha), (1.0, 0.5, 0.5));
    assert_eq!((guard.action, guard.resume), (GuardAction::Alert, 7));

    let text = include_str!("configs/valid/everything.toml");
    let config = parse(text.as_bytes(), Secrets::Skip).unwrap();
    assert_eq!(config.server.state.as_deref(), Some(Path::new("./shiftgate-state.json")));
    let overdue: Vec<_> = config.routes.iter().map(|route| route.overdue.map(|age| age.as_secs())).collect();
    assert_eq!(overdue, [Some(120), None, None]);

    let told = warned("[guard]\n");
    assert!(told.contains("[guard] without server.state: after a restart"), "{told}");
    assert!(!told.contains("withdrawal of"), "{told}");
    let shifted = |percent: &str, action: &str| {
        let text = format!("{minimal}[guard]\naction = {action:?}\n").replace("qwen = 5", &format!("qwen = {percent}"));
        config::warnings(&parse(text.as_bytes(), Secrets::Required).unwrap(), &|_| None).join("\n")
    };
    assert!(!shifted("29.99", "rollback").contains("withdrawal of"));
    assert!(shifted("30", "rollback").contains("a withdrawal of qwen gives openai 1.4 times its load at once"));
    assert!(shifted("100", "rollback").contains("gives openai, which serves none of them, 100.00 % of the requests"));
    assert!(!shifted("50", "alert").contains("withdrawal of"));
    let routed = "[[route]]\nname = \"a\"\npercent = { qwen = 5 }\noverdue = \"2m\"\n";
    assert!(warned(routed).contains("route a: overdue has no effect"));
}

#[test]
fn the_url_of_a_webhook_is_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("rollout.toml"), folder.path().join("hook"));
    let load = |url: &str| {
        let text = format!("{}[guard]\nnotify = {{ url = {url} }}\n", include_str!("configs/valid/minimal.toml"));
        let env = |name: &str| (name == "HOOK").then(|| format!("https://hooks.example/{CANARY}?a=b"));
        config::parse(&path, text.as_bytes(), Secrets::Required, &env)
    };
    std::fs::write(&file, format!("https://hooks.example/{CANARY}\n")).unwrap();
    let mut hashes = Vec::new();
    for url in [&format!("\"https://hooks.example/{CANARY}\""), "{ env = \"HOOK\" }", "{ file = \"hook\" }"] {
        let config = load(url).unwrap();
        let notify = config.guard.as_ref().unwrap().notify.as_ref().unwrap();
        assert!(notify.url.as_ref().unwrap().expose().contains(CANARY));
        assert_eq!(notify.format, NotifyFormat::Json);
        let shown = format!("{config:?}{}{}", config::describe(&config), config::warnings(&config, &|_| None).join(""));
        assert!(!shown.contains(CANARY), "{shown}");
        assert_eq!(config.watched.len(), usize::from(url.contains("file")));
        hashes.push(config.hash);
    }
    std::fs::write(&file, "https://hooks.example/other").unwrap();
    assert_ne!(hashes.last(), Some(&load("{ file = \"hook\" }").unwrap().hash), "the file's content is hashed");
    for wrong in ["https://u:p@hooks.example/canary-7f3", "ftp://hooks.example/canary-7f3", "canary-7f3", "https:///x"]
    {
        std::fs::write(&file, wrong).unwrap();
        for url in [&format!("\"{wrong}\""), "{ file = \"hook\" }"] {
            let error = load(url).unwrap_err();
            assert!(!format!("{error}{error:?}").contains(CANARY), "{error}");
        }
    }
    let warned = |url: &str| config::warnings(&load(&format!("{url:?}")).unwrap(), &|_| None).join("\n");
    assert!(warned("http://hooks.example/x").contains("messages are sent unencrypted"));
    for near in ["http://127.0.0.1:9/x", "http://[::1]:9/x", "http://localhost/x", "https://hooks.example/x"] {
        assert!(!warned(near).contains("unencrypted"), "{near}");
    }
}

#[test]
fn the_same_meaning_whatever_the_line_ends() {
    let (a, b) = (include_bytes!("configs/valid/minimal.toml"), include_bytes!("configs/valid/crlf-and-bom.toml"));
    let (a, mut b) = (parse(a, Secrets::Required).unwrap(), parse(b, Secrets::Required).unwrap());
    assert_ne!(a.hash, b.hash, "the hash is over the bytes");
    assert_ne!(a.text_hash, b.text_hash);
    b.hash.clone_from(&a.hash);
    b.text_hash.clone_from(&a.text_hash);
    assert_eq!(a, b);
}

#[test]
fn keys_are_read_watched_hashed_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let text = include_str!("configs/valid/minimal.toml")
        .replace("api_key = \"none\"", "api_key = { file = \"secrets/key\" }");
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    let key = folder.path().join("secrets/key");
    let load = |value: &str| {
        std::fs::write(&key, value).unwrap();
        config::parse(&path, text.as_bytes(), Secrets::Required, &|_| None).unwrap()
    };
    let first = load("canary-7f3\n");
    let ApiKey::Stored { value: Some(value), .. } = &first.backends[1].api_key else { panic!("a stored key") };
    assert_eq!(value.expose(), CANARY);
    assert!(!format!("{first:?}").contains(CANARY));
    assert!(!config::describe(&first).contains(CANARY));
    assert_eq!(first.watched, std::slice::from_ref(&key));
    assert_ne!(first.hash, load("another").hash);
}

#[test]
fn own_wording_is_read_trimmed_watched_and_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, own) = (folder.path().join("rollout.toml"), folder.path().join("own.md"));
    let text = format!("{}system = {{ append = \"own.md\" }}\n", include_str!("configs/valid/minimal.toml"));
    let load = |secrets| config::parse(&path, text.as_bytes(), secrets, &|_| None);
    let with = |content: &[u8]| {
        std::fs::write(&own, content).unwrap();
        load(Secrets::Required)
    };
    let first = with("\u{feff}\n \tBe brief.\n\nAlways.\u{a0}\n".as_bytes()).unwrap();
    let wording = first.backends[1].system.as_ref().unwrap();
    assert_eq!((wording.mode, wording.text.as_deref()), (WordingMode::Append, Some("Be brief.\n\nAlways.")));
    assert_eq!(first.watched, std::slice::from_ref(&own));
    assert!(first.backends[0].system.is_none());
    assert_ne!(first.hash, with(b"Be brief.").unwrap().hash);

    // The limit is that of the file.
    assert_eq!(
        with(&[b'a'; 64 << 10]).unwrap().backends[1].system.as_ref().unwrap().text.as_ref().unwrap().len(),
        65_536
    );
    for content in [[b'a'; (64 << 10) + 1].as_slice(), &[b' '; (64 << 10) + 1]] {
        let error = with(content).unwrap_err();
        assert!(error.to_string().contains("own.md, which is larger than 64 KiB"), "{error}");
        assert_eq!(error.watched, std::slice::from_ref(&own), "a shorter text corrects it");
    }
    // In CI the file need not be there; one that is there is checked.
    assert!(load(Secrets::Skip).is_err());
    std::fs::remove_file(&own).unwrap();
    assert!(load(Secrets::Required).is_err());
    let config = load(Secrets::Skip).unwrap();
    assert_eq!(config.backends[1].system.as_ref().unwrap().text, None);
    assert!(config::describe(&config).contains("own.md (not read)"));
}

#[test]
fn own_wording_in_plain_words() {
    let config = parse(include_bytes!("configs/valid/own-wording.toml"), Secrets::Required).unwrap();
    let told = config::describe(&config);
    let told: Vec<&str> = told.lines().filter(|line| line.contains("system text")).map(str::trim).collect();
    let of = |rest: &str| {
        format!("system text: the text of ./tests/configs/wording/own.md (39 bytes) {rest} the application's")
    };
    assert_eq!(told, [of("is added after"), of("replaces"), of("is added before")]);
}

#[test]
fn a_price_that_no_page_can_tell_is_said() {
    let of = |engine: &str| {
        let metrics = "metrics = [\"http://127.0.0.1:8000/metrics\"]\nprice = { gpu_hour = 2.5, gpus = 8 }\n";
        let text = include_str!("configs/valid/minimal.toml").replace("\"vllm\"", &format!("\"{engine}\""));
        config::describe(&parse(format!("{text}{metrics}").as_bytes(), Secrets::Required).unwrap())
    };
    assert!(of("vllm").contains("8 GPUs at 2.5 USD per hour; the speed is read from metrics"));
    assert!(of("tgi").contains("not priced: TGI's metrics do not tell its speed, so tokens_per_second is needed"));
}

#[test]
fn check_in_plain_words() {
    let config = parse(include_bytes!("../rollout.toml"), Secrets::Required).unwrap();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, filters => vec![("hash [0-9a-f]{16}", "hash [hash]")]}, {
        insta::assert_snapshot!("describe-shipped", config::describe(&config));
    });
    let text = include_str!("../rollout.toml").replace("127.0.0.1:8080", "0.0.0.0:8080");
    let config = parse(text.as_bytes(), Secrets::Required).unwrap();
    let warnings = config::warnings(&config, &|name| (name == "HTTPS_PROXY").then(|| "http://p:1".to_owned()));
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("warnings", warnings.join("\n"));
    });
}

/// Whoever cannot change a file's mode is not told to.
#[test]
fn a_key_that_others_can_read_is_warned_of_where_this_user_can_change_it() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "k").unwrap();
    let warned = |path: &Path| {
        let key = format!("api_key = {{ file = \"{}\" }}", path.display());
        let text = include_str!("configs/valid/minimal.toml").replace("api_key = \"client\"", &key);
        assert!(text.contains(&key), "{text}");
        let config = parse(text.as_bytes(), Secrets::Required).unwrap();
        config::warnings(&config, &|_| None).join("\n").contains("chmod 600")
    };
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    assert!(!warned(&key));
    mode(0o444);
    assert!(warned(&key), "it is this user's");
    // As a mounted Secret: it belongs to somebody else. Only root can give a file away; others have files of root.
    if chown(&key, Some(65_532), None).is_ok() {
        assert!(!warned(&key));
    } else {
        assert!(!warned(Path::new("/etc/passwd")));
    }
}

/// Returns the lines about copies and records.
fn told_of_copies(config: &Config) -> String {
    let told = config::describe(config);
    let (_, told) = told.split_once("\nshadows").unwrap();
    format!("shadows{}", told.split_once("\ntraces").unwrap().0)
}

#[test]
fn whose_prompts_go_where_in_plain_words() {
    let text = include_str!("configs/valid/shadows.toml");
    let with = |text: &str| parse(text.as_bytes(), Secrets::Required).unwrap();
    let config = with(text);
    let warnings = config::warnings(&config, &|_| None).join("\n");
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("describe-shadows", format!("{}\n\nwarnings:\n{warnings}", told_of_copies(&config)));
    });

    // The default direction: only what the baseline serves is copied, nothing is in capitals.
    let minimal = include_str!("configs/valid/minimal.toml");
    let told = told_of_copies(&with(&format!("{minimal}[shadow]\n")));
    for part in [
        "prompts of default (95 %, served by openai) also go to http://127.0.0.1:8000/v1 (qwen), 10 % of them\n",
        "load: 10 % of 95 %: 1.9 times what 5 % serves\n",
        "noise: 20 % of copied requests that openai served are sent to it a second time\n",
        "limit: 32 at once, which is 4 a second when an answer takes 8 s; more are not sent\n",
        "budget: 5 USD per hour, which does not bind for qwen, openai: without a known price the cost is unknown\n",
        "records: none: pairs are counted and traced, but not kept",
    ] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    assert!(!told.contains("PROMPTS"), "{told}");
    let all = with(&format!("{minimal}[shadow]\npercent = 100\nbudget_usd_per_hour = 0\n"));
    assert!(told_of_copies(&all).contains("load: 100 % of 95 %: 19 times what 5 % serves\n"));
    let warnings = config::warnings(&all, &|_| None).join("\n");
    for part in [
        "route default: qwen gets 19 times as many copies as it serves requests",
        "shadow.budget_usd_per_hour is 0: nothing is copied to backends with a price",
    ] {
        assert!(warnings.contains(part), "{part:?} in {warnings}");
    }
    let counts = told_of_copies(&with(&format!("{minimal}[records]\ncontent = true\n")));
    assert_eq!(
        counts,
        "shadows: none, no request is copied\nrecords: the counts of each minute are written to ./shiftgate-records.jsonl; \
         100 MiB and 5 older files are kept"
    );
    let forced = minimal.replace("[rollout]", "[server]\nallow_override = true\n[rollout]");
    assert!(
        told_of_copies(&with(&format!("{forced}[shadow]\n"))).contains("off is not copied; with \"on\" it is, except")
    );
}

fn percent(value: f64) -> Percent {
    Percent::try_from(value).unwrap()
}

#[test]
fn shift_changes_one_number_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.toml");
    let link = folder.path().join("rollout.toml");
    std::os::unix::fs::symlink("real.toml", &link).unwrap();
    let everything = include_str!("configs/valid/everything.toml");
    std::fs::write(&real, format!("# top\n{everything}")).unwrap();
    let none = |_: &str| None;
    let done = config::shift(&link, "qwen-235b", percent(25.0), None, &none).unwrap();
    assert_eq!((done.route.as_str(), done.before, done.after), ("default", percent(5.0), percent(25.0)));
    let expected = format!("# top\n{}", everything.replace("{ qwen-235b = 5.0 }", "{ qwen-235b = 25.0 }"));
    assert_eq!(std::fs::read_to_string(&real).unwrap(), expected);
    assert!(link.is_symlink());
    let done = config::shift(&link, "qwen-72b", percent(2.25), Some("nightly-summaries"), &none).unwrap();
    assert_eq!((done.before, done.after), (percent(100.0), percent(2.25)));
    config::shift(&link, "qwen-72b", percent(75.0), None, &none).unwrap();
    let now = std::fs::read_to_string(&real).unwrap();
    assert!(now.contains("qwen-72b = 75.0"), "a name that was not there is added: {now}");
    for (backend, value, route, part) in [
        ("qwen-72b", 75.01, None, "add up to 100.01"),
        ("qwen-72c", 1.0, None, "did you mean qwen-72b"),
        ("openai", 1.0, None, "no candidate"),
        ("qwen-72b", 1.0, Some("nightly"), "no route"),
    ] {
        let error = config::shift(&link, backend, percent(value), route, &none).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains(part), "{error}");
        assert_eq!(std::fs::read_to_string(&real).unwrap(), now, "nothing was changed");
    }
    for form in ["[rollout.percent]\nqwen = 5 # now\n", "rollout.percent.qwen = 5\n"] {
        let base = include_str!("configs/valid/minimal.toml").replace("percent = { qwen = 5 }\n", "");
        let text = match form.starts_with('[') {
            true => base.replace("\n[backend.openai]", &format!("{form}\n[backend.openai]")),
            false => format!(
                "rollout.name = \"n\"\nrollout.baseline = \"openai\"\n{form}{}",
                base.get(base.find("\n[backend").unwrap()..).unwrap()
            ),
        };
        std::fs::write(&real, &text).unwrap();
        config::shift(&link, "qwen", percent(50.0), None, &none).unwrap();
        let expected = text.replacen("qwen = 5", "qwen = 50.0", 1);
        assert_eq!(std::fs::read_to_string(&real).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(&bytes, Secrets::Skip));
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic(at in 0..3000_usize, length in 0..40_usize, new in "\\PC{0,12}") {
        let mut text: Vec<char> = include_str!("configs/valid/everything.toml").chars().collect();
        let from = at.min(text.len());
        text.splice(from..(from + length).min(text.len()), new.chars());
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(text.as_bytes(), Secrets::Skip) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
