//! This program's own stdin and stdout.
//!
//! The host can share them with us in a state in which they do not block. So each call waits until
//! something can be done, and none takes an empty pipe for its end.

mod hearing;
#[cfg(unix)]
mod polled_ends;
#[cfg(windows)]
mod windows_ends;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, sleep};

use self::hearing::Hearing;
#[cfg(unix)]
pub(crate) use self::polled_ends::read;
#[cfg(unix)]
use self::polled_ends::{hearing, write};
#[cfg(windows)]
pub(crate) use self::windows_ends::read;
#[cfg(windows)]
use self::windows_ends::{hearing, write};
use crate::limits::{DEAF_MAX, DEAF_POLL};

/// How many bytes the host has taken, or has room for.
static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// A write of more would show no progress for long.
const PIECE_BYTES: usize = 16 << 10;

/// Writes all of it to stdout.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = write(&bytes[..bytes.len().min(PIECE_BYTES)])?;
        WRITTEN.fetch_add(count as u64, Ordering::Relaxed);
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Resolves when nobody will read stdout, or nobody has for a while.
pub(crate) async fn deaf() {
    let mut full_since = None;
    let mut before = 0;
    loop {
        // A pipe that is read is filled again at once.
        let written = WRITTEN.load(Ordering::Relaxed);
        if std::mem::replace(&mut before, written) != written {
            full_since = None;
        }
        match hearing() {
            Hearing::Broken => return,
            Hearing::Open => full_since = None,
            Hearing::Full => {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= DEAF_MAX {
                    return;
                }
            }
        }
        sleep(DEAF_POLL).await;
    }
}
