//! The file of records, written by its thread: private, whole lines, one process at a time, through full disks, kills
//! and rotations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shiftgate::api::config::Records;
use shiftgate::api::records::Writer;
use shiftgate::api::stats::RecordStats;
use tempfile::TempDir;

/// Variable that makes [`child`] write: the role, and the path of the file.
const ROLE: &str = "SHIFTGATE_TEST_RECORDS";

/// Time after which an expected effect counts as missing.
const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    (folder, path)
}

fn settings(path: &Path) -> Records {
    Records { path: path.to_owned(), content: false, max_size: 100 << 20, keep: 5 }
}

fn start(settings: &Records) -> (Writer, Arc<RecordStats>) {
    let stats = Arc::new(RecordStats::default());
    (Writer::start(settings, Arc::clone(&stats)), stats)
}

fn line(writer: &str, number: u64) -> Vec<u8> {
    let line = json!({"v": 1, "writer": writer, "number": number, "text": "Größe, 大小, \n\"".repeat(20)});
    serde_json::to_vec(&line).unwrap()
}

fn counted(stats: &RecordStats) -> u64 {
    stats.results().iter().map(|(_, count)| count.get()).sum()
}

#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a line and waits for its result, so that none is dropped.
fn write(writer: &Writer, stats: &RecordStats, line: Vec<u8>) {
    let before = counted(stats);
    writer.write(line);
    let start = Instant::now();
    while counted(stats) == before {
        assert!(start.elapsed() < PATIENCE, "the line has no result");
        std::thread::yield_now();
    }
}

/// Returns the objects of a file, and the number of lines that do not parse.
fn read(path: &Path) -> (Vec<Value>, usize) {
    let bytes = fs::read(path).unwrap();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let objects: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let torn = lines.len() - objects.len();
    (objects, torn)
}

fn numbers(objects: &[Value]) -> Vec<u64> {
    objects.iter().map(|object| object["number"].as_u64().unwrap()).collect()
}

/// The writing side of tests with two processes; does nothing unless it is started by one of them.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, path) = role.split_once(' ').unwrap();
    let (writer, stats) = start(&settings(Path::new(path)));
    match role {
        "endless" => endless(&writer, &stats),
        "limited" => limited(&writer, &stats),
        _ => panic!("{role}"),
    }
}

/// Writes until the process is killed.
fn endless(writer: &Writer, stats: &RecordStats) {
    for number in 0.. {
        write(writer, stats, line("child", number));
    }
}

fn spawn(role: &str, path: &Path) -> Command {
    let mut command = Command::new("sh");
    // A write above the limit of a file's size kills the process, unless the signal is ignored.
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, format!("{role} {}", path.display())).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A child that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn lines_are_whole_in_order_and_private() {
    let (_folder, path) = folder();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let (writer, stats) = start(&settings(&path));
    for number in 0..1_000 {
        writer.write(line("a", number));
    }
    assert!(writer.finish(PATIENCE));
    assert_eq!((stats.written.get(), counted(&stats), mode()), (1_000, 1_000, 0o600));
    let (objects, torn) = read(&path);
    assert_eq!((numbers(&objects), torn), ((0..1_000).collect(), 0));
    writer.write(line("a", 1_000));
    assert_eq!(stats.dropped.get(), 1, "after the end nothing is accepted");

    // An existing file is made private, keeps its lines, and its torn last line gets an end.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"torn\":")).unwrap();
    let (writer, stats) = start(&settings(&path));
    until("the last line has its end", || fs::read_to_string(&path).unwrap().ends_with("{\"torn\":\n"));
    assert_eq!(mode(), 0o600);
    writer.write(line("b", 1_000));
    assert!(writer.finish(PATIENCE));
    assert_eq!(stats.written.get(), 1);
    let (objects, torn) = read(&path);
    assert_eq!((numbers(&objects), torn), ((0..=1_000).collect(), 1));
}

#[test]
fn a_killed_process_leaves_at_most_one_torn_line() {
    let (_folder, path) = folder();
    for run in 0..3 {
        let before = fs::metadata(&path).map_or(0, |file| file.len());
        let child = Killed(spawn("endless", &path).spawn().unwrap());
        let grown = before + 200_000;
        until("the child has written", || fs::metadata(&path).is_ok_and(|file| file.len() > grown));
        drop(child);
        let (objects, torn) = read(&path);
        assert!(torn <= run + 1, "{torn} torn lines after {} kills", run + 1);
        let last = objects.iter().rposition(|object| object["number"] == 0).unwrap();
        let numbers = numbers(&objects[last..]);
        assert!(numbers.len() > 100 && numbers.iter().copied().eq(0..numbers.len() as u64), "none is missing");
    }
    // The next process takes the lock and begins on a line of its own.
    let (writer, stats) = start(&settings(&path));
    writer.write(line("next", 7));
    assert!(writer.finish(PATIENCE));
    assert_eq!(stats.written.get(), 1);
    let last = fs::read_to_string(&path).unwrap().lines().last().map(str::to_owned).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["writer"], "next");
}

/// Writes up to a limit of the file's size, lifts it, and writes on; tells its counts.
fn limited(writer: &Writer, stats: &RecordStats) {
    let resource = rlimit::Resource::FSIZE;
    let (_, hard) = rlimit::getrlimit(resource).unwrap();
    rlimit::setrlimit(resource, 100_001, hard).unwrap();
    let mut number = 0;
    let mut next = || {
        write(writer, stats, line("child", number));
        number += 1;
    };
    while stats.failed.get() < 1_000 {
        next();
    }
    rlimit::setrlimit(resource, hard, hard).unwrap();
    let written = stats.written.get();
    while stats.written.get() < written + 100 {
        next();
    }
    assert!(writer.finish(PATIENCE));
    let counts = format!("\ncounts {} {} {} {number}\n", stats.written.get(), stats.failed.get(), counted(stats));
    std::io::stdout().write_all(counts.as_bytes()).unwrap();
}

/// Stands for a full disk, which needs the rights to mount one: the write that passes the limit is cut, later ones fail.
#[test]
fn a_full_disk_tears_one_line_and_the_others_are_counted() {
    let (_folder, path) = folder();
    let output = spawn("limited", &path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = told.lines().find_map(|line| line.strip_prefix("counts ")).unwrap_or_else(|| panic!("{told}"));
    let counts: Vec<u64> = counts.split(' ').map(|count| count.parse().unwrap()).collect();
    let [written, failed, all, sent] = counts[..] else { panic!("{told}") };
    assert_eq!((written + failed, all), (sent, sent), "each line is written or counted as lost");
    let (objects, torn) = read(&path);
    assert_eq!((objects.len() as u64, torn), (written, 1));
    let numbers = numbers(&objects);
    assert!(numbers.is_sorted() && numbers.last() == Some(&(sent - 1)), "the last lines came after the outage");
}

/// The same on a real disk of less than 1 MB, which `SHIFTGATE_SMALL_DISK` names:
/// `mount -t tmpfs -o size=256k tmpfs DIR`.
#[test]
fn a_small_disk_that_is_full() {
    let Some(disk) = std::env::var_os("SHIFTGATE_SMALL_DISK") else { return };
    let (path, ballast) = (Path::new(&disk).join("records.jsonl"), Path::new(&disk).join("ballast"));
    fs::write(&ballast, vec![0; 50_000]).unwrap();
    let (writer, stats) = start(&settings(&path));
    let mut number = 0;
    let mut next = || {
        write(&writer, &stats, line("a", number));
        number += 1;
    };
    while stats.failed.get() < 1_000 {
        next();
    }
    fs::remove_file(&ballast).unwrap();
    let written = stats.written.get();
    while stats.written.get() < written + 50 {
        next();
    }
    assert!(writer.finish(PATIENCE));
    assert_eq!((stats.written.get() + stats.failed.get(), counted(&stats)), (number, number));
    let (objects, torn) = read(&path);
    assert_eq!(objects.len() as u64, stats.written.get());
    assert_eq!(torn, 1, "the line that filled the disk");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_second_process_writes_nothing_until_the_first_has_ended() {
    let (_folder, path) = folder();
    let child = Killed(spawn("endless", &path).spawn().unwrap());
    until("the child has written", || fs::metadata(&path).is_ok_and(|file| file.len() > 1_000));
    let (writer, stats) = start(&settings(&path));
    for number in 0..100 {
        write(&writer, &stats, line("second", number));
    }
    assert_eq!((stats.locked.get(), counted(&stats)), (100, 100));
    drop(child);
    let (objects, torn) = read(&path);
    assert!(torn <= 1 && objects.iter().all(|object| object["writer"] == "child"));
    let mut number = 100;
    until("the second process writes", || {
        write(&writer, &stats, line("second", number));
        number += 1;
        stats.written.get() > 0
    });
    assert!(writer.finish(PATIENCE));
    let (objects, torn) = read(&path);
    let second = objects.iter().filter(|object| object["writer"] == "second").count() as u64;
    assert!(torn <= 1 && second == stats.written.get());
    assert_eq!((stats.written.get() + stats.locked.get(), counted(&stats)), (number, number));
}

#[test]
fn files_rotate_between_lines_under_load() {
    const EACH: u64 = 2_000;
    let (folder, path) = folder();
    let (writer, stats) = start(&Records { max_size: 50_000, keep: 500, ..settings(&path) });
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let writer = &writer;
            scope.spawn(move || (0..EACH).for_each(|number| writer.write(line(name, number))));
        }
    });
    assert!(writer.finish(PATIENCE));
    assert_eq!((stats.written.get() + stats.dropped.get(), stats.failed.get()), (4 * EACH, 0));
    let mut seen: Vec<(String, u64)> = Vec::new();
    let files: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= 50_000);
        let (objects, torn) = read(file);
        assert_eq!(torn, 0);
        seen.extend(objects.iter().map(|one| (one["writer"].to_string(), one["number"].as_u64().unwrap())));
    }
    assert!(files.len() > 20, "{} files", files.len());
    assert_eq!(seen.len() as u64, stats.written.get());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len() as u64, stats.written.get(), "a line is in one file");
}

#[test]
fn older_files_are_numbered_and_bounded() {
    let (folder, path) = folder();
    let (writer, stats) = start(&Records { max_size: 2_000, keep: 3, ..settings(&path) });
    for number in 0..100 {
        write(&writer, &stats, line("a", number));
    }
    assert!(writer.finish(PATIENCE));
    let mut names: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["records.jsonl", "records.jsonl.1", "records.jsonl.2", "records.jsonl.3"]);
    let kept: Vec<u64> = names
        .iter()
        .skip(1)
        .rev()
        .chain(names.first())
        .flat_map(|name| numbers(&read(&folder.path().join(name)).0))
        .collect();
    assert!(kept.last() == Some(&99) && kept.windows(2).all(|pair| pair[1] == pair[0] + 1), "{kept:?}");
}

#[test]
fn a_reload_moves_the_lines_to_another_file() {
    let (folder, path) = folder();
    let (writer, stats) = start(&settings(&path));
    write(&writer, &stats, line("a", 0));
    let other = folder.path().join("other.jsonl");
    writer.follow(&settings(&other));
    write(&writer, &stats, line("a", 1));
    let (after, counts) = start(&settings(&path));
    write(&after, &counts, line("b", 2));
    assert!(writer.finish(PATIENCE) && after.finish(PATIENCE));
    assert_eq!((numbers(&read(&path).0), numbers(&read(&other).0)), (vec![0, 2], vec![1]), "the old lock is free");
    assert_eq!((stats.written.get(), counts.written.get()), (2, 1));
}

#[test]
fn a_lost_folder_costs_counted_lines_and_no_more() {
    let (folder, _) = folder();
    let inside = folder.path().join("in");
    let path = inside.join("records.jsonl");
    let (writer, stats) = start(&settings(&path));
    write(&writer, &stats, line("a", 0));
    assert_eq!(stats.failed.get(), 1, "there is no folder");
    fs::create_dir(&inside).unwrap();
    let mut number = 1;
    until("the folder is found", || {
        write(&writer, &stats, line("a", number));
        number += 1;
        stats.written.get() > 0
    });
    fs::remove_dir_all(&inside).unwrap();
    write(&writer, &stats, line("a", number));
    assert_eq!((stats.written.get(), counted(&stats)), (1, number + 1));
    assert!(writer.finish(PATIENCE));
}

#[test]
fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let (_folder, path) = folder();
    let (writer, stats) = start(&settings(&path));
    writer.write(vec![b'x'; (8 << 20) + 1]);
    assert_eq!(stats.dropped.get(), 1);
    writer.write(line("a", 0));
    assert!(writer.finish(PATIENCE));
    assert_eq!((stats.written.get(), read(&path).0.len()), (1, 1));
}
