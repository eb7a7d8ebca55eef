//! Outages, locks and ends of lines, with made-up times.

use std::path::PathBuf;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::stats::lock;

/// A folder, and settings for a file in it that is never full.
fn settings() -> (TempDir, Records) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in/records.jsonl");
    std::fs::create_dir(folder.path().join("in")).unwrap();
    (folder, Records { path, content: false, max_size: 1 << 30, keep: 5 })
}

fn open(settings: &Records, now: Instant) -> RecordFile {
    RecordFile::new(Arc::new(settings.clone()), now)
}

fn append(file: &mut RecordFile, line: &str, now: Instant) -> Written {
    file.append(line.as_bytes().to_vec(), now)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Runs `steps` and returns what it logs.
fn logged(steps: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let to = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone()).with_ansi(false).without_time().finish();
    tracing::subscriber::with_default(subscriber, steps);
    let text = String::from_utf8(lock(&log.0).clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_failing_file_is_tried_once_a_second_and_logged_once() {
    let (folder, settings) = settings();
    let inside = folder.path().join("in");
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let lines = logged(|| {
        std::fs::remove_dir(&inside).unwrap();
        let mut file = open(&settings, start);
        assert_eq!(append(&mut file, "lost", after(500)), Written::Failed);
        assert_eq!(append(&mut file, "lost", after(1_000)), Written::Failed);
        std::fs::create_dir(&inside).unwrap();
        assert_eq!(append(&mut file, "lost", after(1_999)), Written::Failed, "it is not tried yet");
        assert_eq!(append(&mut file, "kept", after(2_000)), Written::Whole);
        assert_eq!(append(&mut file, "kept", after(2_001)), Written::Whole);
    });
    assert_eq!(text(&settings.path), "kept\nkept\n");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("ERROR") && lines[0].contains("records are not written to "), "{lines:?}");
    assert!(lines[1].contains("INFO") && lines[1].contains("lost=3"), "{lines:?}");
}

#[test]
fn a_locked_file_is_another_outage_than_a_failing_one() {
    let (_folder, settings) = settings();
    let start = Instant::now();
    let lines = logged(|| {
        let first = open(&settings, start);
        let mut second = open(&settings, start);
        for ms in [0, 1_000, 2_000] {
            assert_eq!(append(&mut second, "lost", start + Duration::from_millis(ms)), Written::Locked);
        }
        drop(first);
        assert_eq!(append(&mut second, "kept", start + Duration::from_secs(3)), Written::Whole);
    });
    assert_eq!(text(&settings.path), "kept\n");
    assert_eq!(lines.iter().filter(|line| line.contains("another process writes to it")).count(), 1, "{lines:?}");
}

#[test]
fn two_writers_never_write_to_the_same_file_while_it_rotates() {
    const LINES: usize = 3_000;
    let (_folder, mut settings) = settings();
    (settings.max_size, settings.keep) = (300, 1_000);
    let write = |name: &'static str| {
        let settings = &settings;
        move || {
            let mut now = Instant::now();
            let mut file = open(settings, now);
            let mut written = 0;
            for number in 0..LINES {
                // A new try each time, so that each takes the file whenever the other lets it go.
                now += RETRY_AFTER;
                let result = append(&mut file, &format!("{name} {number} end"), now);
                assert_ne!(result, Written::Failed);
                written += usize::from(result == Written::Whole);
            }
            written
        }
    };
    let written = std::thread::scope(|scope| {
        let threads = ["one", "two"].map(|name| scope.spawn(write(name)));
        threads.map(|thread| thread.join().unwrap())
    });
    let mut lines: Vec<String> = Vec::new();
    for file in std::fs::read_dir(settings.path.parent().unwrap()).unwrap() {
        let file = text(&file.unwrap().path());
        assert!(file.is_empty() || file.ends_with('\n'));
        assert!(file.len() <= 300, "{} bytes", file.len());
        lines.extend(file.lines().map(str::to_owned));
    }
    let is_whole = |line: &String| {
        let parts: Vec<&str> = line.split(' ').collect();
        parts.len() == 3 && ["one", "two"].contains(&parts[0]) && parts[1].parse::<usize>().is_ok() && parts[2] == "end"
    };
    assert!(lines.iter().all(is_whole), "{lines:?}");
    assert_eq!(lines.len(), written.iter().sum::<usize>());
    assert!(lines.len() > LINES / 10, "{written:?}");
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), written.iter().sum::<usize>(), "a line is in one file");
}

#[test]
fn a_refused_rename_loses_lines_but_neither_the_file_nor_its_lock() {
    let (_folder, mut settings) = settings();
    (settings.max_size, settings.keep) = (10, 1);
    let mut older: PathBuf = settings.path.clone();
    older.as_mut_os_string().push(".1");
    std::fs::create_dir(&older).unwrap();
    let start = Instant::now();
    let mut file = open(&settings, start);
    assert_eq!(append(&mut file, "12345678", start), Written::Whole);
    assert_eq!(append(&mut file, "next", start), Written::Failed);
    let mut other = open(&settings, start);
    assert_eq!(append(&mut other, "other", start + RETRY_AFTER), Written::Locked);
    assert_eq!(text(&settings.path), "12345678\n");
    std::fs::remove_dir(&older).unwrap();
    assert_eq!(append(&mut file, "next", start + RETRY_AFTER), Written::Whole);
    assert_eq!((text(&older).as_str(), text(&settings.path).as_str()), ("12345678\n", "next\n"));
}

#[test]
fn a_moved_file_is_followed_by_a_new_one() {
    let (folder, settings) = settings();
    let start = Instant::now();
    let mut file = open(&settings, start);
    assert_eq!(append(&mut file, "one", start), Written::Whole);
    let moved = folder.path().join("moved");
    std::fs::rename(&settings.path, &moved).unwrap();
    assert_eq!(append(&mut file, "two", start), Written::Whole);
    std::fs::remove_file(&settings.path).unwrap();
    assert_eq!(append(&mut file, "three", start), Written::Whole);
    assert_eq!((text(&moved).as_str(), text(&settings.path).as_str()), ("one\n", "three\n"));
    std::fs::rename(&settings.path, &moved).unwrap();
    std::fs::write(&settings.path, "of another program\n").unwrap();
    assert_eq!(append(&mut file, "four", start), Written::Whole);
    assert_eq!((text(&moved).as_str(), text(&settings.path).as_str()), ("three\n", "of another program\nfour\n"));
}

#[test]
fn only_a_regular_file_is_written() {
    let (folder, settings) = settings();
    let start = Instant::now();
    let (inside, pipe) = (folder.path().join("in"), folder.path().join("pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [inside, pipe] {
        let mut file = open(&Records { path, ..settings.clone() }, start);
        assert_eq!(append(&mut file, "lost", start + RETRY_AFTER), Written::Failed);
    }
}

#[test]
fn settings_are_followed_and_another_path_is_opened() {
    let (_folder, settings) = settings();
    let start = Instant::now();
    let mut file = open(&settings, start);
    assert_eq!(append(&mut file, "one", start), Written::Whole);
    file.follow(Arc::new(Records { max_size: 5, keep: 0, ..settings.clone() }), start);
    assert_eq!(append(&mut file, "two", start), Written::Whole);
    assert_eq!(text(&settings.path), "two\n", "the full file is not kept");
    let (before, other) = (settings.path.clone(), settings.path.with_file_name("other.jsonl"));
    file.follow(Arc::new(Records { path: other.clone(), ..settings }), start);
    assert_eq!(append(&mut file, "three", start), Written::Whole);
    assert_eq!((text(&before).as_str(), text(&other).as_str()), ("two\n", "three\n"));
}
