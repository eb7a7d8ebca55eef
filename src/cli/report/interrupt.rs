//! Ctrl-C: the command ends at once with code 130, unless it is writing; then it ends as soon as nothing half is left.
//!
//! While lines are read, the signal's handler itself ends the process: a read of a pipe that never ends needs no thread
//! and no check. A file is written in milliseconds; meanwhile the signal is only noted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals that end the command, each with its exit code.
const SIGNALS: [(i32, u8); 2] = [(SIGINT, 130), (SIGTERM, 143)];

/// Signals to the process.
pub(super) struct Interrupt {
    /// True while a signal ends the process at once.
    ends_at_once: Arc<AtomicBool>,
    /// Exit code of the last signal; 0 without one.
    code: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Handles the signals from here on.
    pub(super) fn handle() -> io::Result<Self> {
        let (ends_at_once, code) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        for (signal, exit) in SIGNALS {
            // The order counts: a signal that does not end the process is noted.
            flag::register_conditional_shutdown(signal, i32::from(exit), Arc::clone(&ends_at_once))?;
            flag::register_usize(signal, Arc::clone(&code), usize::from(exit))?;
        }
        Ok(Self { ends_at_once, code })
    }

    /// Calls `write` while signals are only noted. If one came, it returns the exit code; `write` is told by its argument.
    pub(super) fn hold<T>(&self, write: impl FnOnce(&dyn Fn() -> bool) -> T) -> Result<T, u8> {
        self.ends_at_once.store(false, Ordering::SeqCst);
        let written = write(&|| self.code.load(Ordering::SeqCst) != 0);
        self.ends_at_once.store(true, Ordering::SeqCst);
        match u8::try_from(self.code.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => Ok(written),
            Ok(code) => Err(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_while_writing_is_told_and_ends_the_command_after_it() {
        let interrupt = Interrupt::handle().unwrap();
        assert_eq!(interrupt.hold(|is_given_up| is_given_up()), Ok(false));
        let given_up = AtomicBool::new(false);
        let held = interrupt.hold(|is_given_up| {
            signal_hook::low_level::raise(SIGINT).unwrap();
            given_up.store(is_given_up(), Ordering::SeqCst);
        });
        assert_eq!(held, Err(130));
        assert!(given_up.load(Ordering::SeqCst));
    }
}
