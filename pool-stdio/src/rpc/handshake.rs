//! What is said to a child after its start and before its end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::client::Client;
use super::error::RpcError;

/// The `initialize` request.
#[derive(Debug, Clone)]
pub(super) struct Handshake {
    params: Box<RawValue>,
}

impl Handshake {
    pub(super) fn new(params: &impl Serialize) -> serde_json::Result<Self> {
        let params = serde_json::value::to_raw_value(params)?;
        Ok(Self { params })
    }

    /// Sends `initialize`, and then the notification that the protocol wants after its result.
    pub(super) async fn run(&self, client: &Client) -> Result<Box<RawValue>, RpcError> {
        let result = Call::new(client, "initialize", &self.params).await?;
        if let Some(method) = client.protocol.initialized() {
            client
                .notify(method, &BTreeMap::<String, ()>::new())
                .await?;
        }
        Ok(result)
    }
}

/// Tells an initialized child to shut down, if the protocol has a way to, so that it can save its
/// state. It is terminated in any case.
pub(super) async fn say_goodbye(client: &Client) {
    let Some((question, last_word)) = client.protocol.farewell() else {
        return;
    };
    let until = Instant::now() + GOODBYE_TIMEOUT;
    let asked = Call::<Box<RawValue>>::new(client, question, &()).within(GOODBYE_TIMEOUT);
    // Some servers leave out a result that is null, and some refuse a second shutdown.
    let has_answered = matches!(
        asked.await,
        Ok(_) | Err(RpcError::Refused(_) | RpcError::BadResult { .. })
    );
    if has_answered {
        // Fails if the child has gone already, and waits if the child does not read.
        drop(timeout_at(until, client.notify(last_word, &())).await);
    }
}

/// How long a child may take to shut down before its stdin is closed.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
