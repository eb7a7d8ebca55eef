//! Lines that wait for the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::config::Records;
use crate::stats::lock;

/// Limit, in bytes, of waiting lines; a line above it is dropped. It holds some 2,800 pairs without content, or two
/// with the largest requests and answers that are copied.
const MAX_BYTES: usize = 8 << 20;

/// Limit of waiting lines, for the memory that each needs beside its bytes; a line above it is dropped.
const MAX_LINES: usize = 4096;

/// A queue whose producers never wait.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified about new lines, new settings and the end.
    changed: Condvar,
    /// Notified when the consumer has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of `lines`.
    bytes: usize,
    settings: Arc<Records>,
    end: End,
}

/// Progress towards the end of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Lines are accepted.
    Open,
    /// Lines are no longer accepted; the waiting ones are written.
    Closed,
    /// The consumer has ended.
    Ended,
}

/// The next thing that the consumer does.
#[derive(Debug)]
pub(super) enum Next {
    /// Follows settings that have changed.
    Settings(Arc<Records>),
    /// Writes a line.
    Line(Vec<u8>),
    /// Ends, since no line is left and none will come.
    End,
}

impl Queue {
    /// Creates an empty queue. The consumer begins with these settings.
    pub(super) fn new(settings: Arc<Records>) -> Self {
        let state = State { lines: VecDeque::new(), bytes: 0, settings, end: End::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), ended: Condvar::new() }
    }

    /// Appends a line; returns false if it is dropped, because the queue is full or closed.
    pub(super) fn push(&self, line: Vec<u8>) -> bool {
        let mut state = lock(&self.state);
        let bytes = state.bytes.saturating_add(line.len());
        if state.end != End::Open || bytes > MAX_BYTES || state.lines.len() >= MAX_LINES {
            return false;
        }
        state.bytes = bytes;
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Replaces the settings; the lines that wait are written by the new ones.
    pub(super) fn follow(&self, settings: Arc<Records>) {
        lock(&self.state).settings = settings;
        self.changed.notify_one();
    }

    /// Waits for the next line, or for other settings than `known`.
    pub(super) fn next(&self, known: &Arc<Records>) -> Next {
        let mut state = lock(&self.state);
        loop {
            if !Arc::ptr_eq(&state.settings, known) {
                return Next::Settings(Arc::clone(&state.settings));
            }
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                return Next::Line(line);
            }
            if state.end >= End::Closed {
                return Next::End;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Accepts no more lines; the waiting ones are still written.
    pub(super) fn close(&self) {
        self.advance(End::Closed);
    }

    /// Tells that the consumer has ended, or never began.
    pub(super) fn end(&self) {
        self.advance(End::Ended);
    }

    /// Closes the queue and waits, for at most this time, until the consumer has ended. Returns the number of lines
    /// that were left then; they are no longer in the queue.
    pub(super) fn drain(&self, within: Duration) -> usize {
        self.close();
        let is_running = |state: &mut State| state.end < End::Ended;
        let waited = self.ended.wait_timeout_while(lock(&self.state), within, is_running);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.bytes = 0;
        std::mem::take(&mut state.lines).len()
    }

    fn advance(&self, end: End) {
        let mut state = lock(&self.state);
        state.end = state.end.max(end);
        drop(state);
        self.changed.notify_one();
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue, Arc<Records>) {
        let settings = Arc::new(Records { path: "x".into(), content: false, max_size: 1, keep: 0 });
        (Queue::new(Arc::clone(&settings)), settings)
    }

    #[test]
    fn lines_above_either_limit_are_dropped_and_fit_again_after_some_are_taken() {
        let (queue, known) = queue();
        assert!(!queue.push(vec![0; MAX_BYTES + 1]));
        assert!(queue.push(vec![0; MAX_BYTES - 1]) && queue.push(vec![0]) && !queue.push(vec![0]));
        assert!(matches!(queue.next(&known), Next::Line(line) if line.len() == MAX_BYTES - 1));
        let accepted = (0..2 * MAX_LINES).filter(|_| queue.push(vec![0])).count();
        assert_eq!(accepted, MAX_LINES - 1);
    }

    #[test]
    fn waiting_lines_survive_a_close_but_not_a_missed_deadline() {
        let (queue, known) = queue();
        assert!(queue.push(vec![1]) && queue.push(vec![2]));
        queue.close();
        assert!(!queue.push(vec![3]));
        assert!(matches!(queue.next(&known), Next::Line(line) if line == [1]));
        assert_eq!(queue.drain(Duration::ZERO), 1, "nobody takes the other line");
        assert!(matches!(queue.next(&known), Next::End));
    }

    #[test]
    fn settings_come_before_lines() {
        let (queue, known) = queue();
        assert!(queue.push(vec![1]));
        let new = Arc::new(Records { keep: 2, ..(*known).clone() });
        queue.follow(Arc::clone(&new));
        assert!(matches!(queue.next(&known), Next::Settings(settings) if settings.keep == 2));
        assert!(matches!(queue.next(&new), Next::Line(_)));
    }
}
