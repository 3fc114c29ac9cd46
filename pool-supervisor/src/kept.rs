//! The output of one stream between its pipe and its host: what is kept, what may be sent, what was lost.
//!
//! Nothing here reads or writes. The one who reads the pipe asks how much room there is; the one who
//! writes to the host takes what the credit allows.
//!
//! # Invariants
//!
//! 1. `read = sent + dropped + cut + kept`, in bytes.
//! 2. No more is sent than was granted.
//! 3. Bytes leave in the order in which they came.

use std::collections::VecDeque;

use crate::chunk_text::whole_characters;
use crate::protocol::WhenFull;

/// The output of one stream.
#[derive(Debug)]
pub(crate) struct KeptOutput {
    bytes: VecDeque<u8>,
    credit: u64,
    when_full: WhenFull,
    next_seq: u64,
    /// Since the last chunk.
    dropped_since: u64,
    sent_total: u64,
    dropped_total: u64,
    cut_total: u64,
}

/// What is sent in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) seq: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) bytes: Vec<u8>,
}

/// How many bytes became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ByteTotals {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) cut: u64,
}

impl KeptOutput {
    pub(crate) const fn new(credit: u64, when_full: WhenFull) -> Self {
        Self {
            bytes: VecDeque::new(),
            credit,
            when_full,
            next_seq: 0,
            dropped_since: 0,
            sent_total: 0,
            dropped_total: 0,
            cut_total: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes may be read from the pipe, if this many fit beside all that is kept.
    pub(crate) const fn readable(&self, room: usize) -> usize {
        match self.when_full {
            WhenFull::Pause => room,
            WhenFull::DropOldest => usize::MAX,
        }
    }

    /// How much it may keep beyond what all may keep together: so much, if it has credit for it.
    pub(crate) fn share(&self, bytes: usize) -> usize {
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        bytes.min(credit).saturating_sub(self.bytes.len())
    }

    /// Keeps what was read, of which this many bytes fit. Returns how many of the oldest bytes were
    /// dropped for it.
    pub(crate) fn push(&mut self, bytes: &[u8], room: usize) -> usize {
        self.bytes.extend(bytes);
        let excess = match self.when_full {
            // Whoever read has asked how much may be read.
            WhenFull::Pause => 0,
            WhenFull::DropOldest => bytes.len().saturating_sub(room).min(self.bytes.len()),
        };
        self.bytes.drain(..excess);
        self.dropped_since += excess as u64;
        self.dropped_total += excess as u64;
        excess
    }

    /// Lets more be sent.
    pub(crate) const fn grant(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// Whether something can be sent.
    pub(crate) fn is_sendable(&self) -> bool {
        self.credit > 0 && !self.bytes.is_empty()
    }

    /// Whether more is kept than there is credit for.
    pub(crate) fn has_ungranted(&self) -> bool {
        self.bytes.len() as u64 > self.credit
    }

    /// Takes what is sent next, up to the credit and a limit.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Option<Chunk> {
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        let count = self.bytes.len().min(credit).min(bytes_max);
        if count == 0 {
            return None;
        }
        let count = whole_characters(&self.bytes.make_contiguous()[..count]);
        let bytes: Vec<u8> = self.bytes.drain(..count).collect();
        if self.bytes.is_empty() {
            // An idle stream holds no memory.
            self.bytes = VecDeque::new();
        }
        self.credit -= count as u64;
        self.sent_total += count as u64;
        let seq = self.next_seq;
        self.next_seq += 1;
        Some(Chunk {
            seq,
            dropped_bytes: std::mem::take(&mut self.dropped_since),
            bytes,
        })
    }

    /// Gives up what there is no credit for. Returns how many bytes that were.
    pub(crate) fn cut_ungranted(&mut self) -> usize {
        self.cut_behind(usize::try_from(self.credit).unwrap_or(usize::MAX))
    }

    /// Gives up all that is kept. Returns how many bytes that were.
    pub(crate) fn cut_all(&mut self) -> usize {
        self.cut_behind(0)
    }

    fn cut_behind(&mut self, count: usize) -> usize {
        let cut = self.bytes.len().saturating_sub(count);
        self.bytes.truncate(count);
        self.cut_total += cut as u64;
        cut
    }

    /// Counts bytes that were read and are not kept.
    pub(crate) const fn count_cut(&mut self, bytes: u64) {
        self.cut_total = self.cut_total.saturating_add(bytes);
    }

    pub(crate) const fn totals(&self) -> ByteTotals {
        ByteTotals {
            sent: self.sent_total,
            dropped: self.dropped_total,
            cut: self.cut_total,
        }
    }
}

#[cfg(test)]
mod tests;
