//! The lines that go to the host before any output: answers and what is told of children.

use std::collections::VecDeque;

/// Lines in the order in which they are sent.
#[derive(Debug, Default)]
pub(crate) struct ControlQueue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl ControlQueue {
    pub(crate) fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }

    /// Whether no more requests are read until the host reads its answers. What is told of children comes
    /// on top: five lines for each.
    pub(crate) fn is_full(&self) -> bool {
        self.lines.len() >= LINES_MAX || self.bytes >= BYTES_MAX
    }
}

const LINES_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;
