//! Commands of the built binary that change the file or list its changes: `shift --undo`, `resume`, `history`; the
//! notes beside the file, and the causes of generations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use process::{Process, binary};
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::guard::{Entry, EntryCause, EntryMove, State, StateFile};

#[expect(dead_code, reason = "shared with the tests of the sidecar, which need more of it")]
#[path = "sidecar/process.rs"]
mod process;

const EVERYTHING: &str = include_str!("configs/valid/everything.toml");
const MINIMAL: &str = include_str!("configs/valid/minimal.toml");

/// Runs a command on `file`; returns its exit code, stdout and stderr.
fn run(file: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = binary().arg("--config").arg(file).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Runs a command that succeeds; returns what it prints.
#[track_caller]
fn done(file: &Path, arguments: &[&str]) -> String {
    let (code, out, error) = run(file, arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    out
}

/// Runs a command that is refused with code 2 and changes nothing; returns its message.
#[track_caller]
fn refused(file: &Path, arguments: &[&str]) -> String {
    let before = std::fs::read(file).unwrap();
    let (code, out, error) = run(file, arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {error}");
    assert_eq!(std::fs::read(file).unwrap(), before, "{arguments:?}: the file was changed");
    error
}

struct File {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, text).unwrap();
    File { folder, path }
}

impl File {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn undo(&self) -> PathBuf {
        self.folder.path().join(".rollout.toml.undo")
    }
}

#[test]
fn resume_adds_one_and_changes_nothing_else() {
    let told = |before: u64, after: u64| {
        format!("resume {before} -> {after}: every withdrawal is lifted once the file is read again\n")
    };
    let file_of = file(&EVERYTHING.replace("resume = 0", "resume  =  41   # lifted on Monday"));
    assert_eq!(done(&file_of.path, &["resume"]), told(41, 42));
    assert_eq!(file_of.text(), EVERYTHING.replace("resume = 0", "resume  =  42   # lifted on Monday"));
    let rest = MINIMAL.strip_prefix("[rollout]").unwrap();
    for (guard, expected) in [
        ("[guard]\n# none yet\n", "[guard]\nresume = 1\n# none yet\n"),
        ("[guard]\nalpha = 0.02 # low\n", "[guard]\nalpha = 0.02 # low\nresume = 1\n"),
        ("guard = {}\n", "guard = { resume = 1 }\n"),
        ("guard = { alpha = 0.02 } # here\n", "guard = { alpha = 0.02, resume = 1 } # here\n"),
        ("guard.alpha = 0.02\n", "guard.alpha = 0.02\nguard.resume = 1\n"),
    ] {
        let file = file(&format!("{guard}[rollout]{rest}"));
        assert_eq!(done(&file.path, &["resume"]), told(0, 1), "{guard}");
        assert_eq!(file.text(), format!("{expected}[rollout]{rest}"));
    }
    let last = file(&format!("{MINIMAL}[guard]\nresume = 4294967295\n"));
    assert_eq!(done(&last.path, &["resume"]), told(4_294_967_295, 0), "any other number lifts");
    assert_eq!(last.names(), [".rollout.toml.wrote", "rollout.toml"], "there is nothing to undo");
}

#[test]
fn resume_is_refused_where_nothing_can_be_lifted_or_written() {
    let without = file(MINIMAL);
    let path = without.path.display();
    assert_eq!(refused(&without.path, &["resume"]), format!("no [guard] in {path}: nothing to lift\n"));
    let wrong = file(&format!("{MINIMAL}[guard]\nalpha = 2\n"));
    assert!(refused(&wrong.path, &["resume"]).contains("alpha"));
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("..2026")).unwrap();
    symlink("..2026", volume.path().join("..data")).unwrap();
    symlink("..data/rollout.toml", volume.path().join("rollout.toml")).unwrap();
    std::fs::write(volume.path().join("..data/rollout.toml"), format!("{MINIMAL}[guard]\n")).unwrap();
    let told = refused(&volume.path().join("rollout.toml"), &["resume"]);
    assert!(told.contains("kubectl edit configmap NAME   # resume of [guard]: 0 -> 1\n"), "{told}");
    assert_eq!(std::fs::read_dir(volume.path().join("..data")).unwrap().count(), 1, "no note, no temporary file");
}

#[test]
fn a_shift_is_taken_back_once_to_the_last_byte() {
    for text in [EVERYTHING.to_owned(), format!("\u{feff}{}", EVERYTHING.replace('\n', "\r\n"))] {
        let file = file(&text);
        std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o640)).unwrap();
        done(&file.path, &["shift", "qwen-235b", "7"]);
        let after_first = file.text();
        assert_eq!(after_first, text.replacen("{ qwen-235b = 5.0 }", "{ qwen-235b = 7.0 }", 1));
        done(&file.path, &["shift", "qwen-72b", "2.5", "--route", "nightly-summaries"]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file.undo()), 0o600);
        assert_eq!(mode(&file.folder.path().join(".rollout.toml.wrote")), 0o640, "who reads the file reads it");
        let told = done(&file.path, &["shift", "--undo"]);
        assert_eq!(told, "undone: nightly-summaries: qwen-72b 2.50 % -> 100.00 %\n");
        assert_eq!(file.text(), after_first, "only the last one");
        assert_eq!(file.names(), [".rollout.toml.wrote", "rollout.toml"]);
        let told = refused(&file.path, &["shift", "--undo"]);
        assert!(told.contains("there is no change by `shift` to take back"), "{told}");
        done(&file.path, &["shift", "qwen-235b", "8"]);
        done(&file.path, &["shift", "--undo"]);
        assert_eq!(file.text(), after_first);
    }
    let file = file(EVERYTHING);
    done(&file.path, &["shift", "qwen-235b", "7"]);
    done(&file.path, &["shift", "--undo"]);
    assert_eq!(file.text(), EVERYTHING);
}

#[test]
fn a_shift_that_changes_nothing_keeps_the_change_before_it() {
    let file = file(EVERYTHING);
    done(&file.path, &["shift", "qwen-235b", "7"]);
    done(&file.path, &["shift", "qwen-235b", "7"]);
    done(&file.path, &["shift", "--undo"]);
    assert_eq!(file.text(), EVERYTHING);
}

#[test]
fn what_somebody_edited_is_not_undone() {
    let shifted = || {
        let file = file(EVERYTHING);
        done(&file.path, &["shift", "qwen-72b", "2.5", "--route", "nightly-summaries"]);
        file
    };
    let cure = "Set the percent instead: shiftgate shift qwen-72b PERCENT --route nightly-summaries\n";
    let edited = shifted();
    std::fs::write(&edited.path, format!("{}# mine\n", edited.text())).unwrap();
    let told = refused(&edited.path, &["shift", "--undo"]);
    assert!(told.contains("it was edited after the last `shift`, of qwen-72b on route nightly-summaries"), "{told}");
    assert!(told.ends_with(cure), "{told}");

    let resumed = shifted();
    done(&resumed.path, &["resume"]);
    let told = refused(&resumed.path, &["shift", "--undo"]);
    assert!(told.contains("`resume` changed it after the last `shift`, and `resume` is not undone"), "{told}");
    std::fs::write(&resumed.path, format!("{}# mine\n", resumed.text())).unwrap();
    assert!(refused(&resumed.path, &["shift", "--undo"]).contains("it was edited after"), "it was not resume any more");

    let by_hand = shifted();
    std::fs::write(&by_hand.path, EVERYTHING).unwrap();
    let told = refused(&by_hand.path, &["shift", "--undo"]);
    assert!(told.contains("it already is as it was before the last `shift`"), "{told}");

    let torn = shifted();
    std::fs::write(torn.undo(), r#"{"route":"default"}"#).unwrap();
    assert!(refused(&torn.path, &["shift", "--undo"]).contains("is not what `shift` wrote. Remove it"));
    let changed = std::fs::read_to_string(shifted().undo()).unwrap().replace("gpt-4o", "gpt-4p");
    std::fs::write(torn.undo(), changed).unwrap();
    assert!(refused(&torn.path, &["shift", "--undo"]).contains("is not what `shift` wrote"));
    std::fs::remove_file(torn.undo()).unwrap();
    assert!(Command::new("mkfifo").arg(torn.undo()).status().unwrap().success());
    assert!(refused(&torn.path, &["shift", "--undo"]).contains("cannot be read"), "a pipe does not block");
}

#[test]
fn arguments_of_undo() {
    let file = file(EVERYTHING);
    for arguments in [
        &["shift"][..],
        &["shift", "qwen-235b"],
        &["shift", "--undo", "qwen-235b"],
        &["shift", "--undo", "--route", "nightly-summaries"],
    ] {
        refused(&file.path, arguments);
    }
    assert_eq!(file.names(), ["rollout.toml"]);
}

#[test]
fn the_notes_lie_beside_the_file_that_a_link_leads_to() {
    let file = file(EVERYTHING);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.toml");
    symlink(&file.path, &link).unwrap();
    done(&link, &["shift", "qwen-235b", "7"]);
    assert_eq!(file.names(), [".rollout.toml.undo", ".rollout.toml.wrote", "rollout.toml"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(config::written_by(&link).is_some());
    done(&link, &["shift", "--undo"]);
    assert!(link.is_symlink());
    assert_eq!(file.text(), EVERYTHING);
}

#[test]
fn a_generation_knows_who_wrote_its_text() {
    let file = file(EVERYTHING);
    let read = || config::load(&file.path, Secrets::Skip, &|_| None).unwrap();
    let cause =
        |before: &Config, after: &Config| EntryCause::of(Some(before), after, config::written_by(&file.path).as_ref());
    let start = read();
    assert_eq!(EntryCause::of(None, &start, None), EntryCause::Start);
    done(&file.path, &["shift", "qwen-235b", "7"]);
    let shifted = read();
    assert_eq!(cause(&start, &shifted), EntryCause::Shift);
    assert_eq!(EntryCause::of(None, &shifted, config::written_by(&file.path).as_ref()), EntryCause::Start);
    done(&file.path, &["resume"]);
    let resumed = read();
    assert_eq!(cause(&shifted, &resumed), EntryCause::Resume);
    done(&file.path, &["shift", "qwen-235b", "8"]);
    let again = read();
    assert_eq!(cause(&resumed, &again), EntryCause::Shift);
    done(&file.path, &["shift", "--undo"]);
    let undone = read();
    assert_eq!((cause(&again, &undone), &undone.hash), (EntryCause::Shift, &resumed.hash));
    let rotated = Config { hash: "0123456789abcdef".to_owned(), ..undone.clone() };
    assert_eq!(cause(&undone, &rotated), EntryCause::Edit, "a key file is not a text of shift");
    std::fs::write(&file.path, format!("{}# mine\n", file.text())).unwrap();
    assert_eq!(cause(&undone, &read()), EntryCause::Edit);
    std::fs::remove_file(file.folder.path().join(".rollout.toml.wrote")).unwrap();
    assert_eq!((config::written_by(&file.path), cause(&undone, &read())), (None, EntryCause::Edit));
}

#[test]
fn each_command_is_one_generation_of_the_running_process() {
    let local = MINIMAL.replace("[rollout]", "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[rollout]");
    let file = file(&format!("{local}[guard]\n"));
    let mut process = Process::start(&file.path);
    for (generation, arguments) in [(2, &["shift", "qwen", "7"][..]), (3, &["resume"]), (4, &["shift", "qwen", "9"])] {
        done(&file.path, arguments);
        assert_eq!(process.line("rollout file reloaded")["generation"], generation, "{arguments:?}");
    }
    done(&file.path, &["shift", "--undo"]);
    assert_eq!(process.line("rollout file reloaded")["generation"], 5, "the notes are no generation");
    let (code, out, _) = run(&file.path, &["status", "--json", "--admin", &process.admin]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["routes"][0]["percent"]["qwen"]), (0, &7.0.into()));
}

#[test]
fn check_ends_with_the_guard() {
    let check = |text: &str| {
        let (code, out, error) = run(&file(text).path, &["check"]);
        assert_eq!(code, 0, "{error}");
        out
    };
    let with = check(&format!("{MINIMAL}[server]\nstate = \"s.json\"\n[guard]\n"));
    let (_, guard) = with.split_once("\nguard: ").unwrap();
    assert!(guard.contains("more than 0.5 % of its requests and more than 1.5 times as often as openai"), "{with}");
    assert!(guard.contains("default: qwen at 5 %\n      fails 20 %: "), "{with}");
    let without = check(MINIMAL);
    assert!(without.ends_with("\nguard: none, no candidate is withdrawn\n"), "{without}");
}

/// Entries of every cause.
fn entries() -> Vec<Entry> {
    let at = |minute: i64| Timestamp::from_millisecond(1_796_000_000_120 + minute * 60_000).unwrap();
    let percents = |percent: f64| {
        let of = |name: &str, percent: f64| [(name.to_owned(), percent)].into_iter().collect();
        [("default".to_owned(), of("qwen", percent)), ("nightly".to_owned(), of("qwen-72b", 100.0))]
            .into_iter()
            .collect()
    };
    let entry = |minute, generation, cause, percent| Entry {
        at: at(minute),
        generation,
        cause,
        hash: format!("9f2c0000000000{generation:02}"),
        percents: percents(percent),
        moved: None,
    };
    let moved = |minute, from, to, why: &str| Entry {
        percents: std::collections::BTreeMap::new(),
        moved: Some(EntryMove { candidate: "qwen".to_owned(), from, to, why: why.to_owned() }),
        ..entry(minute, 9, EntryCause::Guard, 0.0)
    };
    vec![
        entry(0, 8, EntryCause::Start, 5.0),
        entry(1, 9, EntryCause::Shift, 25.0),
        moved(2, State::Watching, State::Held, "12 of 50 requests failed"),
        moved(3, State::Held, State::RolledBack, "12 of 50 requests failed"),
        entry(4, 10, EntryCause::Edit, 12.5),
        entry(5, 11, EntryCause::Resume, 12.5),
        Entry { percents: std::collections::BTreeMap::new(), ..entry(6, 12, EntryCause::Edit, 0.0) },
    ]
}

const TABLE: &str = "\
at                            hash              cause   percents, and what the guard did
2026-11-30T00:53:20.120Z   8  9f2c000000000008  start   default: qwen 5 %; nightly: qwen-72b 100 %
2026-11-30T00:54:20.120Z   9  9f2c000000000009  shift   default: qwen 25 %; nightly: qwen-72b 100 %
2026-11-30T00:55:20.120Z   9  9f2c000000000009  guard   qwen: watching -> held: 12 of 50 requests failed
2026-11-30T00:56:20.120Z   9  9f2c000000000009  guard   qwen: held -> rolled_back: 12 of 50 requests failed
2026-11-30T00:57:20.120Z  10  9f2c000000000010  edit    default: qwen 12.5 %; nightly: qwen-72b 100 %
2026-11-30T00:58:20.120Z  11  9f2c000000000011  resume  default: qwen 12.5 %; nightly: qwen-72b 100 %
2026-11-30T00:59:20.120Z  12  9f2c000000000012  edit    no candidate
";

/// Answers each connection with `answer`, whatever it asks, and returns its address; it records the request lines.
fn admin(answer: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, lines) = std::sync::mpsc::sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap().to_owned();
            drop(asked.try_send(line));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, lines)
}

/// An address at which nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn history_asks_the_running_process() {
    let document = serde_json::json!({"history": entries()}).to_string();
    let (address, asked) = admin(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{document}"));
    let with_state = |address: &str| {
        file(&MINIMAL.replace("[rollout]", &format!("[server]\nadmin = \"{address}\"\nstate = \"s.json\"\n[rollout]")))
    };
    let running = with_state(&address);
    assert_eq!(done(&running.path, &["history"]), TABLE);
    assert_eq!(asked.recv().unwrap(), "GET /history HTTP/1.1");
    let json: serde_json::Value = serde_json::from_str(&done(&running.path, &["history", "--json"])).unwrap();
    assert_eq!(json, serde_json::from_str::<serde_json::Value>(&document).unwrap());
    assert_eq!(
        json["history"][2],
        serde_json::json!({"at": "2026-11-30T00:55:20.120Z", "generation": 9, "cause": "guard",
            "hash": "9f2c000000000009", "candidate": "qwen", "from": "watching", "to": "held",
            "why": "12 of 50 requests failed"})
    );
    let other = with_state(&nobody());
    assert_eq!(done(&other.path, &["history", "--admin", &address]), TABLE);
    let (code, out, error) = run(&other.path, &["history", "--admin", &nobody()]);
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    assert!(error.contains("Is shiftgate running"), "{error}");
    assert!(refused(&other.path, &["history", "--admin", "nowhere"]).contains("not an address"));
}

#[test]
fn history_without_a_process_is_that_of_the_state_file() {
    let address = nobody();
    let server = format!("[server]\nadmin = \"{address}\"\n[rollout]");
    let without = file(&MINIMAL.replace("[rollout]", &server));
    let (code, out, error) = run(&without.path, &["history"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains(&format!("no history from http://{address}: ")), "{error}");
    assert!(error.contains("Without `state` of [server] in "), "{error}");

    let kept = file(&MINIMAL.replace("[rollout]", &server.replace("[rollout]", "state = \"s.json\"\n[rollout]")));
    let state = kept.folder.path().join("s.json");
    let (code, _, error) = run(&kept.path, &["history"]);
    assert!(code == 1 && error.contains("s.json: No such file"), "{error}");
    std::fs::write(&state, StateFile { history: entries().into(), ..StateFile::default() }.write()).unwrap();
    let (code, out, error) = run(&kept.path, &["history"]);
    assert_eq!((code, out.as_str()), (0, TABLE));
    assert!(error.contains(&format!("this is that of {}", state.display())), "{error}");
    let (_, out, _) = run(&kept.path, &["history", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json, serde_json::json!({"history": entries()}));

    let (foreign, _asked) = admin("HTTP/1.1 404 Not Found\r\n\r\n".to_owned());
    std::fs::write(&kept.path, kept.text().replace(&address, &foreign)).unwrap();
    let (code, out, error) = run(&kept.path, &["history"]);
    assert_eq!((code, out.as_str()), (0, TABLE), "something else has the port: {error}");
    assert!(error.contains("404"), "{error}");
    std::fs::write(&state, r#"{"version":7}"#).unwrap();
    let (code, _, error) = run(&kept.path, &["history"]);
    assert!(code == 1 && error.contains("it has version 7"), "{error}");
    std::fs::write(&state, StateFile::default().write()).unwrap();
    assert_eq!(run(&kept.path, &["history"]).1, "no entry yet\n");
}
