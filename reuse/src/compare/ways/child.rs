//! What the ways have in common: one request to one child, and the facts about children.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool_core::WarmUpError;
use pool_stdio::{StdioConnection, StdioConnector};

use crate::compare::framing::MessageCodec;
use crate::compare::problem::{Problem, chain};

/// One request to a child that serves one at a time.
pub(super) async fn request<C: MessageCodec>(
    child: &mut StdioConnection<C>,
    message: &[u8],
    patience: Duration,
) -> Result<(), Problem> {
    let asked = child.request(message).within(patience).await;
    asked.map(drop).map_err(|error| Problem::of(&error))
}

/// Counts the children that were started.
pub(super) fn counted<C: MessageCodec>(
    connector: StdioConnector<C>,
) -> (StdioConnector<C>, Arc<AtomicU64>) {
    let started = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&started);
    let connector = connector.handshake(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    (connector, started)
}

/// Why a pool could not be filled.
pub(super) fn not_warm(error: &WarmUpError) -> Problem {
    Problem::NotStarted(chain(error))
}

/// The most memory that a process has had, without its own children.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident_bytes_in(&status)
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::resident_bytes_in;

    #[test]
    fn the_high_water_mark_is_read_in_bytes() {
        let status = "Name:\tcat\nVmHWM:\t    1840 kB\nVmRSS:\t    1700 kB\n";
        assert_eq!(resident_bytes_in(status), Some(1840 * 1024));
        assert_eq!(resident_bytes_in("Name:\tgone\n"), None);
    }
}
