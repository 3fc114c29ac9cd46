//! How a session begins.
//!
//! Where children are shared, `initialize` is answered with what they promise, and needs no child once one
//! was asked. Otherwise a child is started for the session, and answers itself.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use pool_core::{AcquireError, AcquirePhase, KeyedAcquireError, KeyedPool, PooledConnection};
use pool_stdio::{ClientIds, JsonRpcConnection, OnDrop, Session, Terms};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::app::App;
use crate::asker::Asker;
use crate::backend::{EraError, Pools, Server, SharedChildren, is_modern};
use crate::delivery::{Failure, LATER};
use crate::guard::Principal;
use crate::request_log::RequestLog;
use crate::sessions::{InUse, Kind, Place};
use crate::wire::{
    Answer, ClientMessage, Revision, Spoken, json, refuse, result_object, unavailable,
};

/// Answers `initialize`.
pub(super) async fn initialize(
    asker: &Asker<'_>,
    message: ClientMessage,
    mut log: RequestLog,
) -> Answer {
    let id = message.id.clone();
    let place = match asker.app.sessions.place(&asker.principal) {
        Ok(place) => place,
        Err(no_place) => {
            log.set_outcome("no place");
            return unavailable(id.as_ref(), &no_place.to_string(), LATER);
        }
    };
    let begun = match &asker.server.pools {
        Pools::Shared(shared) => begin_shared(asker, shared, &message, place).await,
        Pools::Session { .. } => begin_own(asker, &message, place, &mut log).await,
    };
    match begun {
        Ok((answer, _)) => {
            log.set_outcome("ok");
            answer
        }
        Err(failure) => {
            log.set_outcome(failure.outcome);
            failure.answer(id.as_ref())
        }
    }
}

type Begun = Result<(Answer, Option<InUse>), Failure>;

async fn begin_shared(
    asker: &Asker<'_>,
    shared: &SharedChildren,
    message: &ClientMessage,
    place: Place,
) -> Begun {
    let Some(asked) = version_in(&message.params) else {
        return Ok((bad_params(message), None));
    };
    let spoken = Spoken::Sessions(Revision::offered(&asked));
    let key = shared.key(&asker.principal, spoken)?;
    let hello = key.hello().await?;
    let version = version_in(hello.result.get().as_bytes()).unwrap_or_default();
    let reply = result_object(
        message.id.as_deref().unwrap_or_default(),
        hello.result.get(),
    );
    let kind = Kind::Shared {
        generation: hello.generation,
        ids: ClientIds::new(),
        subscriber: key.subscriber(&asker.principal),
        key,
    };
    Ok(begun(asker, json(reply), (version, kind), place))
}

async fn begin_own(
    asker: &Asker<'_>,
    message: &ClientMessage,
    place: Place,
    log: &mut RequestLog,
) -> Begun {
    let Pools::Session { pools, .. } = &asker.server.pools else {
        return Ok((bad_params(message), None));
    };
    // A task, since clients and this wait give up sooner than a first start, which may download: it goes on, so
    // that the next one finds what it downloaded.
    let until = Instant::now() + asker.server.settings.start_timeout;
    let lease = lease_own(pools.clone(), asker.principal.clone(), until);
    let start = start_own(
        (Arc::clone(asker.app), Arc::clone(&asker.server)),
        lease,
        message.bytes.clone(),
        place,
    );
    let start = asker.app.tasks.spawn(start);
    let Ok(started) = timeout(asker.server.settings.wait_timeout, start).await else {
        return Err(Failure::starting());
    };
    let (child, reply, place) = started.map_err(|_| Failure::starting())??;
    log.set_pid(child.connection().pid());
    let Some(version) = result_version(&reply) else {
        // The child refuses the client: no session begins, and the child ends.
        let limit = asker.server.settings.probe_timeout;
        if is_modern(&child.connection().caller(), limit).await {
            return Err((&EraError::OnlyModern).into());
        }
        return Ok((json(reply), None));
    };
    let ended = child.connection().ended();
    let (answer, session) = begun(asker, json(reply), (version, Kind::Own(child)), place);
    if let Some(session) = &session {
        let (app, session) = (Arc::clone(asker.app), Arc::downgrade(&session.0));
        asker.app.tasks.spawn(async move {
            // The child may live on, hung or without its stdout. Its session would be of no use.
            ended.await;
            if let Some(session) = session.upgrade() {
                app.sessions.end(&session);
            }
        });
    }
    Ok((answer, session))
}

/// The next free child. A start that takes longer than a wait for a child is waited for again, because it goes on.
async fn lease_own(
    pools: KeyedPool<Principal, JsonRpcConnection>,
    principal: Principal,
    until: Instant,
) -> Result<PooledConnection<JsonRpcConnection>, KeyedAcquireError> {
    loop {
        match pools.acquire(&principal).await {
            Err(KeyedAcquireError::Acquire(AcquireError::Timeout { context, .. }))
                if context.phase == AcquirePhase::Connect && Instant::now() < until => {}
            acquired => return acquired,
        }
    }
}

/// Starts a child for a session, and has it answer the `initialize` of the client.
async fn start_own(
    (app, server): (Arc<App>, Arc<Server>),
    lease: impl Future<Output = Result<PooledConnection<JsonRpcConnection>, KeyedAcquireError>>,
    message: Bytes,
    place: Place,
) -> Result<(Session, Bytes, Place), Failure> {
    let mut lease = pin!(lease);
    let lease = match lease.as_mut().now_or_never() {
        Some(lease) => lease,
        None => {
            // Order: it waits by now, so it is seen.
            app.make_room();
            lease.await
        }
    };
    let lease = lease.map_err(|error| {
        let failure = Failure::from(error);
        if failure.is_of_start() {
            server.starts.failed();
        }
        failure
    })?;
    let child = Session::new(lease);
    let terms = Terms::new()
        .within(server.settings.start_timeout)
        .on_drop(OnDrop::Cancel);
    let reply = child.exchange(message, &terms)?.reply().await;
    let reply = reply.map_err(|error| {
        server.starts.failed();
        Failure::of_start(&error)
    })?;
    server.starts.succeeded();
    Ok((child, reply.unwrap_or_default(), place))
}

/// Gives the answer the id of a new session.
fn begun(
    asker: &Asker<'_>,
    mut answer: Answer,
    served: (String, Kind),
    place: Place,
) -> (Answer, Option<InUse>) {
    let session = asker
        .app
        .sessions
        .begin((&asker.server, &asker.principal), served, place);
    match session {
        Ok(session) => {
            if let Ok(id) = HeaderValue::from_str(&session.0.id) {
                answer.headers_mut().insert(SESSION_HEADER, id);
            }
            (answer, Some(session))
        }
        Err(error) => {
            tracing::error!(%error, "no random numbers for the id of a session");
            (unavailable(None, "no random numbers", LATER), None)
        }
    }
}

fn bad_params(message: &ClientMessage) -> Answer {
    let reason = "initialize: params.protocolVersion is missing";
    refuse(
        StatusCode::BAD_REQUEST,
        message.id.as_ref(),
        INVALID_PARAMS,
        reason,
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versioned {
    protocol_version: String,
}

/// The version that the params or the result of `initialize` name.
fn version_in(object: &[u8]) -> Option<String> {
    let versioned = serde_json::from_slice::<Versioned>(object).ok()?;
    Some(versioned.protocol_version)
}

/// The version that a child has agreed to; `None` if it has refused.
fn result_version(reply: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reply {
        result: Option<Versioned>,
    }
    let reply = serde_json::from_slice::<Reply>(reply).ok()?;
    Some(reply.result?.protocol_version)
}

pub(super) const SESSION_HEADER: &str = "mcp-session-id";
const INVALID_PARAMS: i64 = -32602;
