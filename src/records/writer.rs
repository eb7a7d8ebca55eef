//! The thread that writes lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::{RecordFile, Written};
use super::queue::{Next, Queue};
use crate::config::Records;
use crate::stats::RecordStats;

/// The end that lines are handed to. Dropping it ends the thread after the waiting lines.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    stats: Arc<RecordStats>,
}

impl Writer {
    /// Starts the thread. It opens the file at once, so that a problem is logged before the first line.
    pub fn start(file: &Records, stats: Arc<RecordStats>) -> Self {
        let settings = Arc::new(file.clone());
        let queue = Arc::new(Queue::new(Arc::clone(&settings)));
        let (consumed, counted) = (Arc::clone(&queue), Arc::clone(&stats));
        let thread = std::thread::Builder::new().name("records".to_owned());
        if let Err(error) = thread.spawn(move || run(&consumed, settings, &counted)) {
            tracing::error!("records are not written, because their thread cannot start: {error}");
            queue.end();
        }
        Self { queue, stats }
    }

    /// Hands over a line: one JSON object without a line break. Never waits; above the queue's limits, or after
    /// [`Writer::finish`], the line is dropped and counted.
    pub fn write(&self, line: Vec<u8>) {
        if !self.queue.push(line) {
            self.stats.dropped.add(1);
        }
    }

    /// Follows another reading of the file; lines that wait are written by the new one.
    pub fn follow(&self, file: &Records) {
        self.queue.follow(Arc::new(file.clone()));
    }

    /// Writes the lines that wait, for at most this time; the ones left then are counted as dropped. Returns true if
    /// none was left.
    pub fn finish(&self, within: Duration) -> bool {
        let left = self.queue.drain(within);
        self.stats.dropped.add(left as u64);
        if left > 0 {
            tracing::warn!(lost = left, "records are incomplete: the disk was too slow for the lines of the shutdown");
        }
        left == 0
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn run(queue: &Queue, settings: Arc<Records>, stats: &RecordStats) {
    let mut file = RecordFile::new(Arc::clone(&settings), Instant::now());
    let mut known = settings;
    loop {
        match queue.next(&known) {
            Next::Settings(settings) => {
                file.follow(Arc::clone(&settings), Instant::now());
                known = settings;
            }
            Next::Line(line) => {
                let counter = match file.append(line, Instant::now()) {
                    Written::Whole => &stats.written,
                    Written::Failed => &stats.failed,
                    Written::Locked => &stats.locked,
                };
                counter.add(1);
            }
            Next::End => break,
        }
    }
    queue.end();
}
