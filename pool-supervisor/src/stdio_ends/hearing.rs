//! What can be seen of stdout without a write to it.

/// Whether somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It has room.
    Open,
    Full,
    /// Nobody will read it.
    #[cfg_attr(
        windows,
        expect(dead_code, reason = "there, only a write finds a broken pipe")
    )]
    Broken,
}
