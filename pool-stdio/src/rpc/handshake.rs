//! What is said to a child after its start and before its end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{BoxError, BoxFuture};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::call::Call;
use super::caller::ChildCaller;
use super::client::Client;
use super::error::RpcError;

/// What is said to a child before it is lent.
#[derive(Clone)]
pub(super) enum Handshake {
    /// The `initialize` request with these params.
    Initialize(Box<RawValue>),
    /// What the owner of the connector wants to be said.
    Own(Arc<OwnHandshake>),
}

pub(super) type OwnHandshake =
    dyn Fn(ChildCaller) -> BoxFuture<'static, Result<Box<RawValue>, BoxError>> + Send + Sync;

impl Handshake {
    pub(super) fn initialize(params: &impl Serialize) -> serde_json::Result<Self> {
        let params = serde_json::value::to_raw_value(params)?;
        Ok(Self::Initialize(params))
    }

    pub(super) async fn run(&self, client: &Client) -> Result<Box<RawValue>, BoxError> {
        match self {
            Self::Initialize(params) => Ok(initialize(params, client).await?),
            Self::Own(handshake) => handshake(ChildCaller::new(client.clone())).await,
        }
    }
}

/// Sends `initialize`, and then the notification that the protocol wants after its result.
async fn initialize(params: &RawValue, client: &Client) -> Result<Box<RawValue>, RpcError> {
    let result = Call::new(client, "initialize", &params).await?;
    if let Some(method) = client.protocol.initialized() {
        client
            .notify(method, &BTreeMap::<String, ()>::new())
            .await?;
    }
    Ok(result)
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialize(_) => "Initialize",
            Self::Own(_) => "Own",
        })
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
