//! Every limit in one place.

use std::time::Duration;

/// Of one line of input. A `write` of a few hundred KiB at a time fits well.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;
/// Children at the same time, from the request until `terminated`.
pub(crate) const CHILDREN_MAX: usize = 1024;
/// What may wait to be written to one child, and to all of them.
pub(crate) const WRITE_BYTES_MAX: usize = 4 << 20;
pub(crate) const WRITE_BYTES_TOTAL_MAX: usize = 64 << 20;
/// How much output of one child, and of all of them, is kept, unless the host says otherwise.
pub(crate) const KEPT_BYTES: usize = 256 << 10;
pub(crate) const KEPT_BYTES_TOTAL: usize = 64 << 20;
/// Raw bytes in one `output`, so that no child holds up the others.
pub(crate) const CHUNK_BYTES_MAX: usize = 32 << 10;
/// When lines are enough for one write.
pub(crate) const BATCH_BYTES: usize = 64 << 10;
/// What is read from a pipe at once.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// A pipe is read again when there is so much room.
pub(crate) const READ_BYTES_MIN: usize = 4 << 10;
/// How much is still read from a pipe to count what is cut.
pub(crate) const CUT_BYTES_MAX: u64 = 1 << 20;
/// How long children have after SIGTERM when the host has gone. With it all are gone in a second.
pub(crate) const HOST_GRACE: Duration = Duration::from_millis(500);
/// How often the start of the guardian is waited for, a second each time.
pub(crate) const GUARDIAN_WAITS_MAX: usize = 10;
/// How long an answer to `shutdown` waits for the host to grant, after all children were terminated. Then
/// what is left is cut.
pub(crate) const SHUTDOWN_WORDS: Duration = Duration::from_secs(6);
/// How long a host that reads may take to be told the last things.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long stdout may be full meanwhile, until the host is taken for one that does not read.
pub(crate) const DEAF_MAX: Duration = Duration::from_millis(300);
/// How often that is looked at.
pub(crate) const DEAF_POLL: Duration = Duration::from_millis(50);
/// How long pipes are read after the end of their scope when the host has gone.
pub(crate) const HOSTLESS_DRAIN: Duration = Duration::from_millis(300);
/// What a stream with credit may keep although all children together keep too much.
pub(crate) const SHARE_BYTES: usize = 16 << 10;
