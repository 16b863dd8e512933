//! One line per step, with the seconds since the start, for whoever waits at a terminal.

use std::io::Write as _;
use std::time::Instant;

/// Prints steps to standard output.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// The clock starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Something is done.
    pub fn step(&self, what: impl std::fmt::Display) {
        // The terminal may be gone, and that must not keep anything from stopping in order.
        writeln!(std::io::stdout(), "[{:6.1} s] {what}", self.start.elapsed().as_secs_f64()).ok();
    }

    /// Text without a time.
    pub fn say(&self, what: impl std::fmt::Display) {
        writeln!(std::io::stdout(), "{what}").ok();
    }

    /// Something happened that must not go unnoticed.
    pub fn warn(&self, what: impl std::fmt::Display) {
        writeln!(std::io::stderr(), "[{:6.1} s] WARNING: {what}", self.start.elapsed().as_secs_f64()).ok();
    }
}
