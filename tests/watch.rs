//! Every way in which people and machines save a file ends with its last state being applied, a hundred times in a row.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its shared steps too")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use shiftgate::live::watch::{Reading, Timing, WatchHandle, watch};
use tempfile::TempDir;

const ROUNDS: usize = 100;

/// Far beyond what a busy machine needs, so that only a lost save runs into it.
const PATIENCE: Duration = Duration::from_secs(30);

/// No poll comes within a test: what is noticed is noticed by events.
const EVENTS: Timing =
    Timing { debounce: Duration::from_millis(2), settle: Duration::from_millis(1), poll: HOUR, events: true };

/// No event comes: what is noticed is noticed by the poll.
const POLL: Timing = Timing { poll: Duration::from_millis(5), events: false, ..EVENTS };

const HOUR: Duration = Duration::from_secs(3600);

struct Stage {
    /// With symlinks resolved; removed at the end.
    root: PathBuf,
    _guard: TempDir,
}

impl Stage {
    fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        Self { root: guard.path().canonicalize().unwrap(), _guard: guard }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

struct Applied {
    readings: Receiver<Reading>,
    handle: WatchHandle,
}

impl Applied {
    fn watching(main: &Path, timing: Timing) -> Self {
        Self::with_files(main, &[], timing)
    }

    fn with_files(main: &Path, also: &[PathBuf], timing: Timing) -> Self {
        Self::started(main, also, &fs::read(main).unwrap_or_default(), timing)
    }

    fn started(main: &Path, also: &[PathBuf], loaded: &[u8], timing: Timing) -> Self {
        let (sender, readings) = sync_channel(1024);
        let apply = list_of(also.to_vec(), sender);
        let handle = watch(main.to_owned(), also.to_vec(), loaded, timing, apply).unwrap();
        Self { readings, handle }
    }

    #[track_caller]
    fn next(&self) -> Reading {
        match self.readings.recv_timeout(PATIENCE) {
            Ok(reading) => reading,
            Err(RecvTimeoutError::Timeout) => panic!("the save was never noticed"),
            Err(RecvTimeoutError::Disconnected) => panic!("the watcher has died"),
        }
    }

    #[track_caller]
    fn expect(&self, text: &str) {
        assert_eq!(String::from_utf8(self.next().unwrap()).unwrap(), text);
    }

    /// For saves with steps between, whose states may be seen too.
    #[track_caller]
    fn until(&self, text: &str) {
        while !matches!(self.next(), Ok(bytes) if bytes == text.as_bytes()) {}
    }

    #[track_caller]
    fn until_missing(&self) {
        while !matches!(self.next(), Err(error) if error.kind() == ErrorKind::NotFound) {}
    }

    #[track_caller]
    fn expect_missing(&self) {
        assert_eq!(self.next().unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Nothing of an older state follows the last one.
    #[track_caller]
    fn end(self) {
        drop(self.handle);
        assert!(matches!(self.readings.try_recv(), Err(TryRecvError::Disconnected)), "something was applied after it");
    }
}

fn list_of(also: Vec<PathBuf>, sender: SyncSender<Reading>) -> impl FnMut(Reading) -> Vec<PathBuf> {
    move |reading| {
        sender.send(reading).unwrap();
        also.clone()
    }
}

/// Of the same length each time: nothing but its time and its bytes tells one from the next.
fn text(round: usize) -> String {
    format!("percent = {round:03}\n")
}

fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(&fresh, path).unwrap();
}

fn swap_link(target: &str, link: &Path) {
    let fresh = link.with_file_name(".fresh-link");
    symlink(target, &fresh).unwrap();
    fs::rename(&fresh, link).unwrap();
}

fn in_place(timing: Timing) {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::write(&main, text(round)).unwrap();
        applied.until(&text(round));
    }
    applied.end();
}

#[test]
fn save_in_place() {
    in_place(EVENTS);
}

#[test]
fn save_in_place_without_events() {
    in_place(POLL);
}

fn as_sed(timing: Timing) {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, timing);
    for round in 0..ROUNDS {
        replace(&main, &text(round));
        applied.expect(&text(round));
    }
    applied.end();
}

#[test]
fn save_by_rename_as_sed_does() {
    as_sed(EVENTS);
}

#[test]
fn save_by_rename_without_events() {
    as_sed(POLL);
}

#[test]
fn save_as_vim_does() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::rename(&main, stage.path("rollout.toml~")).unwrap();
        fs::write(&main, text(round)).unwrap();
        fs::remove_file(stage.path("rollout.toml~")).unwrap();
        applied.until(&text(round));
    }
    applied.end();
}

fn configmap(timing: Timing) {
    let stage = Stage::new();
    stage.file("..2026_start/rollout.toml", "start");
    symlink("..2026_start", stage.path("..data")).unwrap();
    let main = stage.path("rollout.toml");
    symlink("..data/rollout.toml", &main).unwrap();
    let applied = Applied::watching(&main, timing);
    let mut last = "..2026_start".to_owned();
    for round in 0..ROUNDS {
        let dated = format!("..2026_{round:03}");
        stage.file(&format!("{dated}/rollout.toml"), &text(round));
        swap_link(&dated, &stage.path("..data"));
        fs::remove_dir_all(stage.path(&last)).unwrap();
        last = dated;
        applied.expect(&text(round));
    }
    applied.end();
}

#[test]
fn swap_of_a_configmap() {
    configmap(EVENTS);
}

#[test]
fn swap_of_a_configmap_without_events() {
    configmap(POLL);
}

fn gone_and_back(timing: Timing) {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::remove_file(&main).unwrap();
        applied.expect_missing();
        replace(&main, &text(round));
        // Not a second NotFound: a file that stays away is said once.
        applied.expect(&text(round));
    }
    applied.end();
}

#[test]
fn deletion_and_return() {
    gone_and_back(EVENTS);
}

#[test]
fn deletion_and_return_without_events() {
    gone_and_back(POLL);
}

/// What editors leave beside the file: each step is a hint, none is a change.
fn noise(main: &Path) {
    for round in 0..ROUNDS {
        fs::write(main.with_file_name(".rollout.toml.swp"), text(round)).unwrap();
        fs::write(main.with_file_name("rollout.toml~"), text(round)).unwrap();
    }
}

#[test]
fn a_missing_file_is_said_once() {
    for timing in [EVENTS, POLL] {
        let stage = Stage::new();
        let main = stage.file("rollout.toml", "start");
        let applied = Applied::watching(&main, timing);
        fs::remove_file(&main).unwrap();
        applied.expect_missing();
        noise(&main);
        replace(&main, "back");
        applied.expect("back");
        applied.end();
    }
}

#[test]
fn a_torn_write_ends_whole() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        let whole = text(round);
        let (half, rest) = whole.split_at(whole.len() / 2);
        let mut file = File::create(&main).unwrap();
        file.write_all(half.as_bytes()).unwrap();
        applied.until(half);
        file.write_all(rest.as_bytes()).unwrap();
        applied.expect(&whole);
    }
    applied.end();
}

#[test]
fn a_write_in_many_pieces_ends_whole() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        let whole = text(round).repeat(20);
        let mut file = File::create(&main).unwrap();
        for piece in whole.as_bytes().chunks(7) {
            file.write_all(piece).unwrap();
        }
        applied.until(&whole);
    }
    applied.end();
}

#[test]
fn an_empty_file_is_handed_over_empty() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let applied = Applied::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::write(&main, "").unwrap();
        applied.expect("");
        replace(&main, &text(round));
        applied.expect(&text(round));
    }
    applied.end();
}

fn key_file(timing: Timing) {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "main");
    let key = stage.file("secrets/key", "start");
    let applied = Applied::with_files(&main, std::slice::from_ref(&key), timing);
    // The caller may have read the key before it was watched.
    applied.expect("main");
    for round in 0..ROUNDS {
        replace(&key, &text(round));
        applied.expect("main");
    }
    fs::remove_file(&key).unwrap();
    applied.expect("main");
    applied.end();
}

#[test]
fn a_changed_key_is_a_change() {
    key_file(EVENTS);
}

#[test]
fn a_changed_key_is_a_change_without_events() {
    key_file(POLL);
}

#[test]
fn the_list_of_further_files_follows_the_file() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "key-0");
    let (sender, readings) = sync_channel(1024);
    let root = stage.root.clone();
    let apply = move |reading: Reading| {
        let name = String::from_utf8(reading.unwrap()).unwrap();
        sender.send((name.clone(), fs::read_to_string(root.join(&name)).ok())).unwrap();
        vec![root.join(name)]
    };
    let handle = watch(main.clone(), Vec::new(), b"key-0", EVENTS, apply).unwrap();
    for round in 1..=ROUNDS {
        let name = format!("key-{round}");
        let until = |wanted: Option<&str>| {
            while readings.recv_timeout(PATIENCE).unwrap() != (name.clone(), wanted.map(str::to_owned)) {}
        };
        replace(&main, &name);
        until(None);
        stage.file(&format!("{name}.fresh"), "secret");
        fs::rename(stage.path(&format!("{name}.fresh")), stage.path(&name)).unwrap();
        until(Some("secret"));
    }
    drop(handle);
}

fn linked_elsewhere(timing: Timing) {
    let stage = Stage::new();
    let target = stage.file("elsewhere/shared.toml", "start");
    fs::create_dir(stage.path("here")).unwrap();
    let main = stage.path("here/rollout.toml");
    symlink("../elsewhere/shared.toml", &main).unwrap();
    let applied = Applied::watching(&main, timing);
    for round in 0..ROUNDS {
        replace(&target, &text(round));
        applied.expect(&text(round));
    }
    // The link itself may be pointed elsewhere, or be replaced by a file.
    stage.file("third/other.toml", "other");
    swap_link("../third/other.toml", &main);
    applied.expect("other");
    replace(&stage.path("third/other.toml"), "other again");
    applied.expect("other again");
    replace(&main, "a file");
    applied.expect("a file");
    applied.end();
}

#[test]
fn a_link_to_another_folder() {
    linked_elsewhere(EVENTS);
}

#[test]
fn a_link_to_another_folder_without_events() {
    linked_elsewhere(POLL);
}

#[test]
fn a_link_among_the_folders() {
    let stage = Stage::new();
    stage.file("release-start/rollout.toml", "start");
    symlink("release-start", stage.path("current")).unwrap();
    let applied = Applied::watching(&stage.path("current/rollout.toml"), EVENTS);
    for round in 0..ROUNDS {
        let release = format!("release-{round}");
        stage.file(&format!("{release}/rollout.toml"), &text(round));
        swap_link(&release, &stage.path("current"));
        applied.expect(&text(round));
        replace(&stage.path(&release).join("rollout.toml"), "edited");
        applied.expect("edited");
    }
    applied.end();
}

fn folder_anew(timing: Timing) {
    let stage = Stage::new();
    let main = stage.file("conf/rollout.toml", "start");
    let applied = Applied::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::remove_dir_all(stage.path("conf")).unwrap();
        // Half of the time the watcher sees the folder missing; the other half it only finds another one there.
        if round % 2 == 0 {
            applied.until_missing();
        }
        stage.file("conf/rollout.toml", &text(round));
        applied.until(&text(round));
        // Only a folder that is watched again tells of this.
        replace(&main, "edited");
        applied.expect("edited");
    }
    applied.end();
}

#[test]
fn a_folder_removed_and_made_anew() {
    folder_anew(EVENTS);
}

#[test]
fn a_folder_removed_and_made_anew_without_events() {
    folder_anew(POLL);
}

#[test]
fn a_folder_moved_away_and_another_put_there() {
    let stage = Stage::new();
    let main = stage.file("conf/rollout.toml", "start");
    let applied = Applied::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::rename(stage.path("conf"), stage.path(&format!("old-{round}"))).unwrap();
        applied.until_missing();
        stage.file("next/rollout.toml", &text(round));
        fs::rename(stage.path("next"), stage.path("conf")).unwrap();
        applied.expect(&text(round));
        replace(&main, "edited");
        applied.expect("edited");
    }
    applied.end();
}

#[test]
fn what_does_not_change_the_bytes_is_not_applied() {
    for timing in [EVENTS, POLL] {
        let stage = Stage::new();
        let main = stage.file("rollout.toml", "first");
        let applied = Applied::watching(&main, timing);
        for (now, next) in [("first", "second"), ("second", "third")] {
            for _ in 0..ROUNDS {
                File::options().append(true).open(&main).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                replace(&main, now);
            }
            noise(&main);
            replace(&main, next);
            applied.expect(next);
        }
        applied.end();
    }
}

#[test]
fn a_save_before_the_watcher_stood_is_noticed() {
    for timing in [EVENTS, Timing { events: false, ..EVENTS }] {
        let stage = Stage::new();
        for round in 0..ROUNDS {
            let main = stage.file("rollout.toml", &text(round));
            let applied = Applied::started(&main, &[], b"what the caller had read", timing);
            applied.expect(&text(round));
            applied.end();
        }
    }
}

#[test]
fn a_save_while_the_watcher_starts_is_noticed() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    for round in 0..ROUNDS {
        let applied = Applied::watching(&main, EVENTS);
        replace(&main, &text(round));
        applied.expect(&text(round));
        applied.end();
    }
}

#[test]
fn a_save_while_the_last_one_is_applied_is_noticed() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let (sender, readings) = sync_channel(1024);
    let (go, gate) = sync_channel::<()>(0);
    let apply = move |reading: Reading| {
        sender.send(reading).unwrap();
        gate.recv().unwrap();
        Vec::new()
    };
    let handle = watch(main.clone(), Vec::new(), b"start", EVENTS, apply).unwrap();
    for round in 0..ROUNDS {
        replace(&main, "first");
        assert_eq!(readings.recv_timeout(PATIENCE).unwrap().unwrap(), b"first");
        replace(&main, &text(round));
        go.send(()).unwrap();
        assert_eq!(readings.recv_timeout(PATIENCE).unwrap().unwrap(), text(round).as_bytes());
        go.send(()).unwrap();
    }
    drop(handle);
}

#[test]
fn asked_to_reload_it_applies_the_same_bytes_again() {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "same");
    let applied = Applied::watching(&main, Timing { events: false, ..EVENTS });
    for _ in 0..ROUNDS {
        applied.handle.reload_now();
        applied.expect("same");
    }
    applied.end();
}

#[test]
fn what_is_no_file_is_an_error_and_no_hang() {
    let stage = Stage::new();
    let main = stage.path("rollout.toml");
    fs::create_dir(&main).unwrap();
    let applied = Applied::watching(&main, EVENTS);
    assert_eq!(applied.next().unwrap_err().kind(), ErrorKind::IsADirectory);
    fs::remove_dir(&main).unwrap();
    applied.until_missing();
    fs::write(&main, "a file").unwrap();
    applied.until("a file");
    applied.end();
}

#[test]
fn dropping_the_handle_from_within_does_not_hang() -> io::Result<()> {
    let stage = Stage::new();
    let main = stage.file("rollout.toml", "start");
    let (give, take) = sync_channel::<WatchHandle>(1);
    let (sender, readings) = sync_channel(1);
    let apply = move |_: Reading| {
        drop(take.recv().unwrap());
        sender.send(()).unwrap();
        Vec::new()
    };
    give.send(watch(main.clone(), Vec::new(), b"start", EVENTS, apply)?).unwrap();
    replace(&main, "next");
    readings.recv_timeout(PATIENCE).unwrap();
    // The thread ends, and with it what `apply` holds.
    assert_eq!(readings.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    Ok(())
}
