//! How a session gets a child of its own: at its begin, or with the first request that needs one.
//!
//! A start goes on though its client gives up: a first one may download, and then the next request finds what it
//! downloaded, or the child itself. It ends with its session: then there is no next request.

use std::error::Error;
use std::iter::successors;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pool_core::{AcquireError, AcquirePhase, KeyedAcquireError, PooledConnection};
use pool_stdio::{ErrorObject, JsonRpcConnection, OnDrop, RpcError, Session, SpawnError, Terms};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use crate::app::App;
use crate::asker::Asker;
use crate::backend::{ClientKind, Greeting, OwnChildren, Pools, Server};
use crate::delivery::Failure;
use crate::guard::Principal;
use crate::sessions::{ClientSession, InUse, LiveChild, OwnChild, Place, SessionKind};

/// Whom a child is started for.
#[derive(Debug)]
struct Owner {
    app: Arc<App>,
    server: Arc<Server>,
    principal: Principal,
}

/// A child that has answered the `initialize` of a client.
pub(super) struct Started {
    pub(super) child: Session,
    pub(super) reply: Bytes,
    /// What is in the reply; `None` if it refuses.
    pub(super) greeting: Option<Arc<Greeting>>,
}

/// Starts a child for a session that is to begin, and has it answer the `initialize` of the client. If that takes
/// longer than the client waits, the next one of its kind finds the answer.
pub(super) async fn start_first(
    asker: &Asker<'_>,
    introduction: Bytes,
    (kind, place): (Option<Arc<ClientKind>>, Place),
) -> Result<(Started, Place), Failure> {
    let owner = Owner::of(asker);
    let start = asker.app.tasks.spawn(async move {
        let started = owner.start(introduction, kind.as_deref()).await?;
        // Held as long as the start takes.
        Ok((started, place))
    });
    let patience = asker.server.settings.wait_timeout + GRACE;
    let Ok(started) = timeout(patience, start).await else {
        return Err(Failure::starting());
    };
    started.map_err(|_| Failure::starting())?
}

/// The child of a session. It is started if there is none.
pub(super) async fn child_of(
    asker: &Asker<'_>,
    session: &InUse,
    own: &OwnChild,
) -> Result<Arc<LiveChild>, Failure> {
    if let Some(live) = own.live() {
        return Ok(live);
    }
    let (owner, session) = (Owner::of(asker), Arc::clone(&session.0));
    let started = async {
        let turn = own.turn_to_start().await;
        if let Some(live) = own.live() {
            return Ok(live);
        }
        let start = owner.start_again(session, turn);
        let start = asker.app.tasks.spawn(start).await;
        start.map_err(|_| Failure::starting())?
    };
    let patience = asker.server.settings.wait_timeout + GRACE;
    let started = timeout(patience, started).await;
    started.unwrap_or_else(|_| Err(Failure::starting()))
}

/// Ends a session with its child, which may live on, hung or without its stdout: its session would be of no use.
/// Forgets the lists that the child says have changed.
pub(super) fn attend(app: &Arc<App>, session: &Arc<ClientSession>, live: &Arc<LiveChild>) {
    let connection = live.session().connection();
    let (ended, news) = (connection.ended(), connection.notifications());
    let kind = live.kind().map(Arc::clone);
    let (session, live) = (Arc::downgrade(session), Arc::downgrade(live));
    if let Some(kind) = kind {
        app.tasks.spawn(async move { kind.heed(news).await });
    }
    let served = Arc::clone(app);
    app.tasks.spawn(async move {
        ended.await;
        if let Some(session) = session.upgrade()
            && let SessionKind::Own(own) = &session.kind
            && own.has(&live)
        {
            served.sessions.end(&session);
        }
    });
}

impl Owner {
    fn of(asker: &Asker<'_>) -> Self {
        Self {
            app: Arc::clone(asker.app),
            server: Arc::clone(&asker.server),
            principal: asker.principal.clone(),
        }
    }

    /// Starts a child for a session that has none, and sees that it is what the client was promised.
    async fn start_again(
        self,
        session: Arc<ClientSession>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Arc<LiveChild>, Failure> {
        let SessionKind::Own(own) = &session.kind else {
            return Err(Failure::session_over());
        };
        let introduction = own.introduction();
        let introduction = introduction.filter(|_| !session.ended.is_cancelled());
        let Some(introduction) = introduction else {
            return Err(Failure::session_over());
        };
        let kind = own.kind().map(Arc::as_ref);
        let started = tokio::select! {
            // Cancel: what was started goes back to its pool. Nobody would ask it for anything.
            () = session.ended.cancelled() => return Err(Failure::session_over()),
            started = self.start(introduction, kind) => started?,
        };
        let Started {
            child,
            greeting,
            reply,
        } = started;
        if let Some(refusal) = refusal_in(&reply) {
            let (server, pid) = (&*self.server.name, child.connection().process().pid());
            tracing::warn!(server, pid, %refusal, "a child refused the client of a session");
            if may_pass(&refusal) {
                let reason = format!(
                    "the server's new process refuses the client: {refusal}; the request was not executed"
                );
                return Err(Failure::refused(SERVER_ERROR, &reason));
            }
            self.app.sessions.end(&session);
            return Err(Failure::session_over());
        }
        let Some(greeting) = greeting.filter(|greeting| own.may_have(greeting)) else {
            tracing::warn!(
                server = &*self.server.name,
                pid = child.connection().process().pid(),
                "a child has another version or other capabilities: its client must initialize again"
            );
            self.app.sessions.end(&session);
            return Err(Failure::session_over());
        };
        if own.is_told_here() {
            let terms = Terms::new().within(self.server.settings.request_timeout);
            child.exchange(INITIALIZED, &terms)?.reply().await?;
        }
        let live = LiveChild::new(child, greeting, own.kind().map(Arc::clone));
        // Order: a session that ends now is dropped with its child, when the request that wants it is.
        own.put(Arc::clone(&live));
        attend(&self.app, &session, &live);
        drop(turn);
        Ok(live)
    }

    async fn start(
        &self,
        introduction: Bytes,
        kind: Option<&ClientKind>,
    ) -> Result<Started, Failure> {
        let queued = self.server.starts.queued();
        let start = async {
            drop(queued);
            self.start_now(introduction, kind).await
        };
        let has_room = || self.app.has_room() && self.server.has_room_for(&self.principal);
        self.app.start_slots.run(has_room, start).await
    }

    async fn start_now(
        &self,
        introduction: Bytes,
        kind: Option<&ClientKind>,
    ) -> Result<Started, Failure> {
        let Pools::Session(own) = &self.server.pools else {
            return Err(Failure::session_over());
        };
        let lease = self.lease(own).await;
        let lease = lease.inspect_err(|error| self.note_early_ends(error))?;
        let child = Session::new(lease);
        let unanswered = self.server.starts.spawned();
        let terms = Terms::new()
            .within(self.server.settings.start_timeout)
            .on_drop(OnDrop::Cancel);
        let reply = match child.exchange(introduction, &terms) {
            Ok(mut exchange) => exchange.reply().await,
            Err(error) => Err(error),
        };
        let reply = reply.and_then(|reply| checked(reply.unwrap_or_default()));
        let reply =
            reply.map_err(|error| self.failed(child.connection().process().pid(), &error))?;
        self.server.starts.succeeded();
        drop(unanswered);
        let greeting = Greeting::of(&reply).map(Arc::new);
        if let (Some(kind), Some(greeting)) = (kind, &greeting) {
            kind.greeted(greeting);
        }
        Ok(Started {
            child,
            reply,
            greeting,
        })
    }

    /// If the pool lends no child, but could spawn them, they have ended before anybody had them.
    fn note_early_ends(&self, error: &KeyedAcquireError) {
        let KeyedAcquireError::Acquire(AcquireError::Unavailable { .. }) = error else {
            return;
        };
        let mut causes = successors(error.source(), |&error| error.source());
        let starts = &self.server.starts;
        if !starts.has_just_failed() && !causes.any(<dyn Error>::is::<SpawnError>) {
            starts.failed();
        }
    }

    /// A child has not answered `initialize`. Its client may have gone, so the log is told here.
    fn failed(&self, pid: u32, error: &RpcError) -> Failure {
        let server = &*self.server.name;
        self.server.starts.failed();
        // That a child has ended by itself, and with which last words, is said where it is seen. The end of its pipes
        // comes with that, and often before it.
        let is_end_of_pipes = matches!(
            error,
            RpcError::OutputClosed { .. } | RpcError::StdinClosed { .. }
        );
        if is_end_of_pipes {
            tracing::info!(server, pid, %error, "a child did not initialize");
        } else if !matches!(error, RpcError::ProcessExited { .. }) {
            tracing::warn!(server, pid, %error, "a child did not start");
        }
        Failure::of_start()
    }

    /// The next free child.
    async fn lease(
        &self,
        own: &OwnChildren,
    ) -> Result<PooledConnection<JsonRpcConnection>, KeyedAcquireError> {
        let until = Instant::now() + self.server.settings.start_timeout;
        let mut lease = pin!(lease_until(own, &self.principal, until));
        match lease.as_mut().now_or_never() {
            Some(lease) => lease,
            None => {
                // Order: it waits by now, so it is seen.
                self.app.make_room();
                lease.await
            }
        }
    }
}

/// The reply of a child to `initialize`, if it has a result or an error.
fn checked(reply: Bytes) -> Result<Bytes, RpcError> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<Map<String, Value>>,
        error: Option<Value>,
    }
    let reason = match serde_json::from_slice(&reply) {
        Ok(Answer {
            result: None,
            error: None,
        }) => "it has neither a result nor an error".to_owned(),
        Ok(_) => return Ok(reply),
        Err(error) => error.to_string(),
    };
    Err(RpcError::BadResult { reason, reply })
}

/// The error in a reply to `initialize`; `None` if there is none.
fn refusal_in(reply: &[u8]) -> Option<ErrorObject> {
    #[derive(Deserialize)]
    struct Refusal {
        error: ErrorObject,
    }
    let refusal = serde_json::from_slice::<Refusal>(reply).ok()?;
    Some(refusal.error)
}

/// Whether the next child may take a client that this one has refused, and that an earlier one took. If the error says
/// that the message itself is wrong, the server has changed for good.
fn may_pass(refusal: &ErrorObject) -> bool {
    let is_of_message = (INVALID_PARAMS..=INVALID_REQUEST).contains(&refusal.code);
    !is_of_message && refusal.code != UNSUPPORTED_VERSION
}

/// The next free child. A start that takes longer than a wait for a child is waited for again, because it goes on.
async fn lease_until(
    own: &OwnChildren,
    principal: &Principal,
    until: Instant,
) -> Result<PooledConnection<JsonRpcConnection>, KeyedAcquireError> {
    loop {
        match own.pools.acquire(principal).await {
            Err(KeyedAcquireError::Acquire(AcquireError::Timeout { context, .. }))
                if context.phase == AcquirePhase::Connect && Instant::now() < until => {}
            acquired => return acquired,
        }
    }
}

/// So that the pool says first why there is no child.
const GRACE: Duration = Duration::from_millis(500);
/// Between them is −32601: there is no such method.
const INVALID_PARAMS: i64 = -32602;
const INVALID_REQUEST: i64 = -32600;
const UNSUPPORTED_VERSION: i64 = -32022;
const SERVER_ERROR: i64 = -32000;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
