//! How far a measurement has come, on a terminal only: a log has no use for it.

use std::io::{IsTerminal, stderr};

/// One line of a terminal, rewritten at each step.
#[derive(Debug)]
pub struct Progress {
    steps: usize,
    done: usize,
    is_terminal: bool,
}

impl Progress {
    /// Nothing is done of so many steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            done: 0,
            is_terminal: stderr().is_terminal(),
        }
    }

    /// Whether anybody sees it.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows which step is running.
    pub fn begin(&self, what: &str) {
        self.show(self.done, what);
    }

    /// Shows that so many steps are done, and which one is running.
    pub fn show(&self, done: usize, what: &str) {
        self.write(&line(done, self.steps, what));
    }

    /// That step is done.
    pub fn advance(&mut self) {
        self.done += 1;
    }

    /// Empties the line.
    pub fn clear(&self) {
        self.write("");
    }

    #[expect(
        clippy::print_stderr,
        reason = "progress does not belong to the result"
    )]
    fn write(&self, text: &str) {
        if self.is_terminal {
            eprint!("{REWRITE}{text}");
        }
    }
}

fn line(done: usize, steps: usize, what: &str) -> String {
    let filled = BAR_CHARS * done.min(steps) / steps.max(1);
    let (full, empty) = ("#".repeat(filled), ".".repeat(BAR_CHARS - filled));
    format!("{full}{empty} {done}/{steps} {what}")
}

const BAR_CHARS: usize = 30;
/// Go to the start of the line and empty it.
const REWRITE: &str = "\r\x1b[K";

#[cfg(test)]
mod tests {
    use super::{BAR_CHARS, line};

    #[test]
    fn the_bar_grows_with_the_steps_done() {
        let filled = |done, steps| line(done, steps, "").matches('#').count();
        assert_eq!(filled(0, 4), 0);
        assert_eq!(filled(2, 4), BAR_CHARS / 2);
        assert_eq!(filled(4, 4), BAR_CHARS);
        assert_eq!(filled(9, 4), BAR_CHARS);
        assert_eq!(filled(0, 0), 0);
    }
}
