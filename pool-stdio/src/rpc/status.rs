//! What a connection is asked for while it lives: what is under way, and what it has dropped.

use std::time::Duration;

/// The state of a connection: calls under way, and how many frames and messages it dropped, and why.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_core::SharedPool;
/// use pool_stdio::{CommandSpec, JsonRpcConnector, Protocol};
///
/// // A server that writes a line of its log before it answers.
/// let answer = r#"s/.*"id":\([0-9]*\).*/ready\n{"jsonrpc":"2.0","id":\1,"result":true}/"#;
/// let server = CommandSpec::new("sed").args(["-u", answer]);
/// let connector = JsonRpcConnector::new(server, Protocol::Plain)?;
/// let child = SharedPool::builder(connector).build()?.acquire().await?;
/// assert!(child.call::<bool>("ready", &()).await?);
/// assert_eq!((child.status().pending, child.status().strays), (0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcStatus {
    /// Calls that have begun and are not over.
    pub pending: usize,
    /// How long ago something was read from the child, or the connection was opened.
    pub silent_for: Duration,
    /// Replies to calls that had timed out or been dropped.
    pub late: u64,
    /// Further replies to calls that were answered already, and replies to progress tokens.
    pub duplicate: u64,
    /// Replies with an id that was never used.
    pub unknown: u64,
    /// Frames that are not JSON-RPC messages.
    pub strays: u64,
    /// Progress notifications and notifications of subscriptions that belong to no call, or to one
    /// without a receiver.
    pub unheard: u64,
    /// Cancel notifications, answers to the child and pings of a suspected child for which there was no
    /// room, and answers that are too long because of their id.
    pub unsent: u64,
}
