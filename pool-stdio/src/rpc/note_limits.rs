//! How much of what a child says is kept.

/// How much is kept until somebody takes it. A single note is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoteLimits {
    pub(super) notes_max: usize,
    pub(super) bytes_max: usize,
}

impl NoteLimits {
    /// Whether one note of `added` bytes is too much beside the `notes` with these `bytes`.
    pub(super) const fn is_exceeded(self, notes: usize, bytes: usize, added: usize) -> bool {
        let is_too_long = bytes.saturating_add(added) > self.bytes_max;
        notes > 0 && (notes >= self.notes_max || is_too_long)
    }
}
