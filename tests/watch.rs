//! Every way of saving a file ends with its last state being applied, a hundred times in a row.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its shared steps too")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use shiftgate::api::live::watch::{Reading, Timing, WatchHandle, watch};
use tempfile::TempDir;

const ROUNDS: usize = 100;

/// Timeout of one reading. Far more than a busy machine needs, so that only a lost save reaches it.
const READING_TIMEOUT: Duration = Duration::from_secs(30);

/// Timing without a poll within a test: changes are noticed by events.
const EVENTS: Timing =
    Timing { debounce: Duration::from_millis(2), settle: Duration::from_millis(1), poll: HOUR, events: true };

/// Timing without events: changes are noticed by the poll.
const POLL: Timing = Timing { poll: Duration::from_millis(5), events: false, ..EVENTS };

const HOUR: Duration = Duration::from_secs(3600);

struct TestFolder {
    /// Path with symlinks resolved; removed at the end.
    root: PathBuf,
    _guard: TempDir,
}

impl TestFolder {
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

/// A running watcher and its readings.
struct TestWatcher {
    readings: Receiver<Reading>,
    handle: WatchHandle,
}

impl TestWatcher {
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
        match self.readings.recv_timeout(READING_TIMEOUT) {
            Ok(reading) => reading,
            Err(RecvTimeoutError::Timeout) => panic!("the save was not noticed"),
            Err(RecvTimeoutError::Disconnected) => panic!("the watcher has ended"),
        }
    }

    #[track_caller]
    fn expect(&self, text: &str) {
        assert_eq!(String::from_utf8(self.next().unwrap()).unwrap(), text);
    }

    /// Waits for this text; earlier readings may show states between.
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

    /// Stops the watcher; nothing may have been applied after the last reading.
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

/// Returns a text of the same length for each round, so that only time and bytes differ.
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
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::write(&main, text(round)).unwrap();
        watched.until(&text(round));
    }
    watched.end();
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
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, timing);
    for round in 0..ROUNDS {
        replace(&main, &text(round));
        watched.expect(&text(round));
    }
    watched.end();
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
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::rename(&main, folder.path("rollout.toml~")).unwrap();
        fs::write(&main, text(round)).unwrap();
        fs::remove_file(folder.path("rollout.toml~")).unwrap();
        watched.until(&text(round));
    }
    watched.end();
}

fn configmap(timing: Timing) {
    let folder = TestFolder::new();
    folder.file("..2026_start/rollout.toml", "start");
    symlink("..2026_start", folder.path("..data")).unwrap();
    let main = folder.path("rollout.toml");
    symlink("..data/rollout.toml", &main).unwrap();
    let watched = TestWatcher::watching(&main, timing);
    let mut last = "..2026_start".to_owned();
    for round in 0..ROUNDS {
        let dated = format!("..2026_{round:03}");
        folder.file(&format!("{dated}/rollout.toml"), &text(round));
        swap_link(&dated, &folder.path("..data"));
        fs::remove_dir_all(folder.path(&last)).unwrap();
        last = dated;
        watched.expect(&text(round));
    }
    watched.end();
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
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::remove_file(&main).unwrap();
        watched.expect_missing();
        replace(&main, &text(round));
        // No second NotFound: a missing file is reported once.
        watched.expect(&text(round));
    }
    watched.end();
}

#[test]
fn deletion_and_return() {
    gone_and_back(EVENTS);
}

#[test]
fn deletion_and_return_without_events() {
    gone_and_back(POLL);
}

/// Writes files beside the main file, as editors do: each write is a hint, none is a change.
fn noise(main: &Path) {
    for round in 0..ROUNDS {
        fs::write(main.with_file_name(".rollout.toml.swp"), text(round)).unwrap();
        fs::write(main.with_file_name("rollout.toml~"), text(round)).unwrap();
    }
}

#[test]
fn a_missing_file_is_reported_once() {
    for timing in [EVENTS, POLL] {
        let folder = TestFolder::new();
        let main = folder.file("rollout.toml", "start");
        let watched = TestWatcher::watching(&main, timing);
        fs::remove_file(&main).unwrap();
        watched.expect_missing();
        noise(&main);
        replace(&main, "back");
        watched.expect("back");
        watched.end();
    }
}

#[test]
fn a_torn_write_ends_whole() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        let whole = text(round);
        let (half, rest) = whole.split_at(whole.len() / 2);
        let mut file = File::create(&main).unwrap();
        file.write_all(half.as_bytes()).unwrap();
        watched.until(half);
        file.write_all(rest.as_bytes()).unwrap();
        watched.expect(&whole);
    }
    watched.end();
}

#[test]
fn a_write_in_many_pieces_ends_whole() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        let whole = text(round).repeat(20);
        let mut file = File::create(&main).unwrap();
        for piece in whole.as_bytes().chunks(7) {
            file.write_all(piece).unwrap();
        }
        watched.until(&whole);
    }
    watched.end();
}

#[test]
fn an_empty_file_is_handed_over_empty() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let watched = TestWatcher::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::write(&main, "").unwrap();
        watched.expect("");
        replace(&main, &text(round));
        watched.expect(&text(round));
    }
    watched.end();
}

fn key_file(timing: Timing) {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "main");
    let key = folder.file("secrets/key", "start");
    let watched = TestWatcher::with_files(&main, std::slice::from_ref(&key), timing);
    // The caller may have read the key before it was watched.
    watched.expect("main");
    for round in 0..ROUNDS {
        replace(&key, &text(round));
        watched.expect("main");
    }
    fs::remove_file(&key).unwrap();
    watched.expect("main");
    watched.end();
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
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "key-0");
    let (sender, readings) = sync_channel(1024);
    let root = folder.root.clone();
    let apply = move |reading: Reading| {
        let name = String::from_utf8(reading.unwrap()).unwrap();
        sender.send((name.clone(), fs::read_to_string(root.join(&name)).ok())).unwrap();
        vec![root.join(name)]
    };
    let handle = watch(main.clone(), Vec::new(), b"key-0", EVENTS, apply).unwrap();
    for round in 1..=ROUNDS {
        let name = format!("key-{round}");
        let until = |wanted: Option<&str>| {
            while readings.recv_timeout(READING_TIMEOUT).unwrap() != (name.clone(), wanted.map(str::to_owned)) {}
        };
        replace(&main, &name);
        until(None);
        folder.file(&format!("{name}.fresh"), "secret");
        fs::rename(folder.path(&format!("{name}.fresh")), folder.path(&name)).unwrap();
        until(Some("secret"));
    }
    drop(handle);
}

fn linked_elsewhere(timing: Timing) {
    let folder = TestFolder::new();
    let target = folder.file("elsewhere/shared.toml", "start");
    fs::create_dir(folder.path("here")).unwrap();
    let main = folder.path("here/rollout.toml");
    symlink("../elsewhere/shared.toml", &main).unwrap();
    let watched = TestWatcher::watching(&main, timing);
    for round in 0..ROUNDS {
        replace(&target, &text(round));
        watched.expect(&text(round));
    }
    // The link may get another target, or be replaced by a file.
    folder.file("third/other.toml", "other");
    swap_link("../third/other.toml", &main);
    watched.expect("other");
    replace(&folder.path("third/other.toml"), "other again");
    watched.expect("other again");
    replace(&main, "a file");
    watched.expect("a file");
    watched.end();
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
    let folder = TestFolder::new();
    folder.file("release-start/rollout.toml", "start");
    symlink("release-start", folder.path("current")).unwrap();
    let watched = TestWatcher::watching(&folder.path("current/rollout.toml"), EVENTS);
    for round in 0..ROUNDS {
        let release = format!("release-{round}");
        folder.file(&format!("{release}/rollout.toml"), &text(round));
        swap_link(&release, &folder.path("current"));
        watched.expect(&text(round));
        replace(&folder.path(&release).join("rollout.toml"), "edited");
        watched.expect("edited");
    }
    watched.end();
}

fn folder_anew(timing: Timing) {
    let folder = TestFolder::new();
    let main = folder.file("conf/rollout.toml", "start");
    let watched = TestWatcher::watching(&main, timing);
    for round in 0..ROUNDS {
        fs::remove_dir_all(folder.path("conf")).unwrap();
        // In half of the rounds the watcher sees the folder missing, in the others it finds another one there.
        if round % 2 == 0 {
            watched.until_missing();
        }
        folder.file("conf/rollout.toml", &text(round));
        watched.until(&text(round));
        // Only a folder that is watched again sends an event for this.
        replace(&main, "edited");
        watched.expect("edited");
    }
    watched.end();
}

#[test]
fn a_folder_removed_and_made_again() {
    folder_anew(EVENTS);
}

#[test]
fn a_folder_removed_and_made_again_without_events() {
    folder_anew(POLL);
}

#[test]
fn a_folder_moved_away_and_another_put_there() {
    let folder = TestFolder::new();
    let main = folder.file("conf/rollout.toml", "start");
    let watched = TestWatcher::watching(&main, EVENTS);
    for round in 0..ROUNDS {
        fs::rename(folder.path("conf"), folder.path(&format!("old-{round}"))).unwrap();
        watched.until_missing();
        folder.file("next/rollout.toml", &text(round));
        fs::rename(folder.path("next"), folder.path("conf")).unwrap();
        watched.expect(&text(round));
        replace(&main, "edited");
        watched.expect("edited");
    }
    watched.end();
}

#[test]
fn a_save_of_the_same_bytes_is_not_applied() {
    for timing in [EVENTS, POLL] {
        let folder = TestFolder::new();
        let main = folder.file("rollout.toml", "first");
        let watched = TestWatcher::watching(&main, timing);
        for (now, next) in [("first", "second"), ("second", "third")] {
            for _ in 0..ROUNDS {
                File::options().append(true).open(&main).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
                replace(&main, now);
            }
            noise(&main);
            replace(&main, next);
            watched.expect(next);
        }
        watched.end();
    }
}

#[test]
fn a_save_before_the_watcher_stood_is_noticed() {
    for timing in [EVENTS, Timing { events: false, ..EVENTS }] {
        let folder = TestFolder::new();
        for round in 0..ROUNDS {
            let main = folder.file("rollout.toml", &text(round));
            let watched = TestWatcher::started(&main, &[], b"what the caller had read", timing);
            watched.expect(&text(round));
            watched.end();
        }
    }
}

#[test]
fn a_save_while_the_watcher_starts_is_noticed() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    for round in 0..ROUNDS {
        let watched = TestWatcher::watching(&main, EVENTS);
        replace(&main, &text(round));
        watched.expect(&text(round));
        watched.end();
    }
}

#[test]
fn a_save_while_the_last_one_is_applied_is_noticed() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
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
        assert_eq!(readings.recv_timeout(READING_TIMEOUT).unwrap().unwrap(), b"first");
        replace(&main, &text(round));
        go.send(()).unwrap();
        assert_eq!(readings.recv_timeout(READING_TIMEOUT).unwrap().unwrap(), text(round).as_bytes());
        go.send(()).unwrap();
    }
    drop(handle);
}

#[test]
fn a_requested_reload_applies_the_same_bytes_again() {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "same");
    let watched = TestWatcher::watching(&main, Timing { events: false, ..EVENTS });
    for _ in 0..ROUNDS {
        watched.handle.reload_now();
        watched.expect("same");
    }
    watched.end();
}

#[test]
fn a_path_that_is_not_a_file_is_an_error_and_does_not_hang() {
    let folder = TestFolder::new();
    let main = folder.path("rollout.toml");
    fs::create_dir(&main).unwrap();
    let watched = TestWatcher::watching(&main, EVENTS);
    assert_eq!(watched.next().unwrap_err().kind(), ErrorKind::IsADirectory);
    fs::remove_dir(&main).unwrap();
    watched.until_missing();
    fs::write(&main, "a file").unwrap();
    watched.until("a file");
    watched.end();
}

#[test]
fn dropping_the_handle_from_within_does_not_hang() -> io::Result<()> {
    let folder = TestFolder::new();
    let main = folder.file("rollout.toml", "start");
    let (give, take) = sync_channel::<WatchHandle>(1);
    let (sender, readings) = sync_channel(1);
    let apply = move |_: Reading| {
        drop(take.recv().unwrap());
        sender.send(()).unwrap();
        Vec::new()
    };
    give.send(watch(main.clone(), Vec::new(), b"start", EVENTS, apply)?).unwrap();
    replace(&main, "next");
    readings.recv_timeout(READING_TIMEOUT).unwrap();
    // The thread ends, and with it what `apply` holds.
    assert_eq!(readings.recv_timeout(READING_TIMEOUT), Err(RecvTimeoutError::Disconnected));
    Ok(())
}
