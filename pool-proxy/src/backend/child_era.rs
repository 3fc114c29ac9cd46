//! Which era a child speaks, and its first messages.
//!
//! A child for clients with sessions is initialized. A child for clients of revision 2026-07-28 is asked
//! `server/discover` first: a result says that it is a modern one. Any error that is not of that revision says
//! that it is a legacy one, and the same process is initialized. A child that says nothing for a while may be
//! either: it is initialized, too, and the first answer decides.
//!
//! A server that was found to be a legacy one is remembered as such: its next child is not asked again, unless it
//! refuses to be initialized. Silence is no answer: nothing is remembered of it. A server can be replaced while the
//! proxy runs. So where a legacy child serves no client of revision 2026-07-28, the next such client has a child asked
//! again after a minute.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::{BoxError, ConnectError};
use pool_stdio::{ChildCaller, RpcError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::config::{ServerSettings, Sharing};
use crate::wire::{MODERN_VERSION, Revision, Spoken};

/// How a child is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// It was initialized.
    Legacy,
    /// Each request says all.
    Modern,
}

/// What is known of the era of a server's children, and how it is found out.
#[derive(Debug)]
pub(super) struct KnownEra {
    /// Since when children are not asked: they are legacy ones, or exit when they are asked.
    legacy_since: Mutex<Option<Instant>>,
    probe_timeout: Duration,
    /// Whether a legacy child may serve clients of revision 2026-07-28.
    serves_legacy: bool,
}

/// Why a child can serve nobody.
#[derive(Debug, Clone, Error)]
pub(crate) enum EraError {
    /// Its clients are of an earlier one.
    #[error("the server speaks only revision {MODERN_VERSION} of MCP, which has no sessions")]
    OnlyModern,
    /// Its clients have no session, and it keeps things between the requests of one.
    #[error(
        "the server speaks only revisions of MCP with sessions, and each session has a child of its own"
    )]
    OnlySessions,
    #[error("the server speaks none of the revisions of MCP that this proxy does, but {0:?}")]
    NoCommonVersion(Vec<String>),
}

/// How a child takes the question of a modern client.
enum Discovered {
    Modern(Box<RawValue>),
    Legacy,
}

impl Era {
    /// The era of a child that has said this of itself.
    pub(super) fn of(first_result: &RawValue) -> Self {
        match supported_versions(first_result.get()) {
            Some(_) => Self::Modern,
            None => Self::Legacy,
        }
    }
}

impl KnownEra {
    pub(super) const fn new(settings: &ServerSettings) -> Self {
        Self {
            legacy_since: Mutex::new(None),
            probe_timeout: settings.probe_timeout,
            serves_legacy: !matches!(settings.sharing, Sharing::Session),
        }
    }

    /// Why clients of revision 2026-07-28 cannot be served, if that is known.
    pub(super) fn refusal(&self) -> Option<EraError> {
        let is_refused = !self.serves_legacy && self.is_legacy();
        is_refused.then_some(EraError::OnlySessions)
    }

    /// Says the first messages to a child. Returns what it says of itself.
    pub(super) async fn begin(
        &self,
        child: &ChildCaller,
        spoken: Spoken,
    ) -> Result<Box<RawValue>, BoxError> {
        match spoken {
            Spoken::Sessions(revision) => self.begin_for_sessions(child, revision).await,
            Spoken::Modern if self.is_legacy() => self.begin_known_legacy(child).await,
            Spoken::Modern => self.probe(child).await,
        }
    }

    /// Clients with sessions are served only by a child that initializes.
    async fn begin_for_sessions(
        &self,
        child: &ChildCaller,
        revision: Revision,
    ) -> Result<Box<RawValue>, BoxError> {
        let refusal = match initialize(child, revision).await {
            Err(RpcError::Refused(refusal)) => refusal,
            begun => return Ok(begun?),
        };
        match discover(child).await {
            Ok(Discovered::Modern(_)) => {
                self.remember(false);
                Err(ConnectError::permanent(EraError::OnlyModern).into())
            }
            Ok(Discovered::Legacy) | Err(_) => Err(RpcError::Refused(refusal).into()),
        }
    }

    async fn begin_known_legacy(&self, child: &ChildCaller) -> Result<Box<RawValue>, BoxError> {
        match initialize(child, Revision::NEWEST).await {
            Ok(result) => self.legacy(result),
            Err(RpcError::Refused(_)) => {
                self.remember(false);
                let asked = discover(child).await;
                self.act_on(child, asked).await
            }
            Err(error) => {
                self.remember(false);
                Err(error.into())
            }
        }
    }

    /// Asks a child of which nothing is known.
    async fn probe(&self, child: &ChildCaller) -> Result<Box<RawValue>, BoxError> {
        let mut asked = pin!(discover(child));
        if let Ok(asked) = timeout(self.probe_timeout, asked.as_mut()).await {
            return self.act_on(child, asked).await;
        }
        // It may be a modern one that starts slowly: its answer still counts.
        let mut begun = pin!(initialize(child, Revision::NEWEST));
        let refusal = tokio::select! {
            biased;
            answer = asked.as_mut() => match answer {
                Ok(Discovered::Legacy) => return self.legacy(begun.await?),
                answer => return self.act_on(child, answer).await,
            },
            begun = begun.as_mut() => match begun {
                Err(RpcError::Refused(refusal)) => refusal,
                begun => return self.legacy(begun?),
            },
        };
        match asked.await {
            Ok(Discovered::Legacy) => Err(RpcError::Refused(refusal).into()),
            answer => self.act_on(child, answer).await,
        }
    }

    /// Goes on as the child has answered, and remembers it.
    async fn act_on(
        &self,
        child: &ChildCaller,
        asked: Result<Discovered, BoxError>,
    ) -> Result<Box<RawValue>, BoxError> {
        match asked {
            Ok(Discovered::Modern(result)) => {
                self.remember(false);
                // It has no `ping`.
                child.ping_with(DISCOVER, &json!({ "_meta": own_meta() }))?;
                Ok(result)
            }
            Ok(Discovered::Legacy) => {
                let begun = initialize(child, Revision::NEWEST).await;
                self.remember(begun.is_ok());
                self.legacy(begun?)
            }
            Err(error) => {
                // Some legacy servers exit. The next child is initialized at once, if that is of use.
                let has_exited = matches!(
                    error.downcast_ref::<RpcError>(),
                    Some(RpcError::ProcessExited { .. } | RpcError::OutputClosed { .. })
                );
                self.remember(has_exited && self.serves_legacy);
                Err(error)
            }
        }
    }

    /// What a child that was initialized says of itself, if it may serve.
    fn legacy(&self, result: Box<RawValue>) -> Result<Box<RawValue>, BoxError> {
        match self.serves_legacy {
            true => Ok(result),
            false => Err(ConnectError::permanent(EraError::OnlySessions).into()),
        }
    }

    /// Whether a child that refused to initialize speaks revision 2026-07-28. If so, that is remembered.
    pub(super) async fn is_modern(&self, child: &ChildCaller, limit: Duration) -> bool {
        let asked = timeout(limit, discover(child)).await;
        let is_modern = matches!(asked, Ok(Ok(Discovered::Modern(_))));
        if is_modern {
            self.remember(false);
        }
        is_modern
    }

    fn is_legacy(&self) -> bool {
        let since = *self.lock();
        // A child that serves corrects it by refusing to initialize. If there is none, only time does.
        since.is_some_and(|since| self.serves_legacy || since.elapsed() < REFUSED_FOR)
    }

    fn remember(&self, is_legacy: bool) {
        *self.lock() = is_legacy.then(Instant::now);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = self.legacy_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn discover(child: &ChildCaller) -> Result<Discovered, BoxError> {
    let params = json!({ "_meta": own_meta() });
    let answer = child.call::<Box<RawValue>>(DISCOVER, &params);
    match answer.await {
        Ok(result) => match supported_versions(result.get()) {
            Some(versions) if versions.iter().any(|version| version == MODERN_VERSION) => {
                Ok(Discovered::Modern(result))
            }
            Some(versions) => Err(no_common(versions)),
            // It answers whatever it is asked.
            None => Ok(Discovered::Legacy),
        },
        Err(RpcError::Refused(error)) if error.code == UNSUPPORTED_VERSION => {
            let data = error.data.as_deref().map_or("{}", RawValue::get);
            Err(no_common(supported_in_error(data)))
        }
        // A modern one that wants a client with some capability even for this.
        Err(RpcError::Refused(error)) if error.code == MISSING_CAPABILITY => {
            Err(RpcError::Refused(error).into())
        }
        Err(RpcError::Refused(_) | RpcError::BadResult { .. }) => Ok(Discovered::Legacy),
        Err(error) => Err(error.into()),
    }
}

async fn initialize(child: &ChildCaller, revision: Revision) -> Result<Box<RawValue>, RpcError> {
    // Clients share the child, so it is told of no capability of any of them.
    let params = json!({
        "protocolVersion": revision.name(),
        "capabilities": {},
        "clientInfo": own_info(),
    });
    let result = child.call("initialize", &params).await?;
    child
        .notify("notifications/initialized", &json!({}))
        .await?;
    Ok(result)
}

/// What the proxy says of itself in a request of its own to a modern child.
pub(super) fn own_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": own_info(),
    })
}

fn own_info() -> Value {
    json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") })
}

fn no_common(versions: Vec<String>) -> BoxError {
    ConnectError::permanent(EraError::NoCommonVersion(versions)).into()
}

/// The versions in the result of `server/discover`; `None` if it is none.
fn supported_versions(result: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Result {
        supported_versions: Vec<String>,
    }
    let result = serde_json::from_str::<Result>(result).ok()?;
    Some(result.supported_versions)
}

fn supported_in_error(data: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Data {
        supported: Vec<String>,
    }
    serde_json::from_str::<Data>(data).map_or(Vec::new(), |data| data.supported)
}

/// How long clients are refused before a child is asked again.
const REFUSED_FOR: Duration = Duration::from_secs(60);
const DISCOVER: &str = "server/discover";
const UNSUPPORTED_VERSION: i64 = -32022;
const MISSING_CAPABILITY: i64 = -32021;

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sharing: Sharing) -> KnownEra {
        let settings = r#"command = ["x"]"#;
        let mut settings: ServerSettings = toml::from_str(settings).unwrap();
        settings.sharing = sharing;
        KnownEra::new(&settings)
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_no_longer_certain_after_a_while() {
        let era = known(Sharing::Session);
        assert!(era.refusal().is_none());
        era.remember(true);
        tokio::time::advance(REFUSED_FOR - Duration::from_millis(1)).await;
        assert!(era.refusal().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(era.refusal().is_none() && !era.is_legacy());
    }

    #[tokio::test(start_paused = true)]
    async fn a_legacy_server_that_serves_is_not_asked_again() {
        let era = known(Sharing::Shared);
        era.remember(true);
        tokio::time::advance(10 * REFUSED_FOR).await;
        assert!(era.is_legacy());
    }
}
