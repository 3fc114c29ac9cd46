//! How a session begins.
//!
//! Where children are shared, `initialize` is answered with what they promise, and needs no child once one
//! was asked. Otherwise it is answered with what a child has said to another client of its kind; if there is
//! none, a child is started for the session, and answers itself.

use std::sync::Arc;

use hyper::header::HeaderValue;
use pool_stdio::ClientIds;
use serde::Deserialize;

use super::own_start::{Started, attend, start_first};
use crate::asker::Asker;
use crate::backend::{EraError, OwnChildren, Pools, SharedChildren};
use crate::delivery::{Failure, LATER};
use crate::request_log::RequestLog;
use crate::sessions::{InUse, LiveChild, OwnChild, Place, SessionKind};
use crate::wire::{Answer, ClientMessage, Revision, Spoken, json, result_object, unavailable};

/// Answers `initialize`.
pub(super) async fn initialize(
    asker: &Asker<'_>,
    message: ClientMessage,
    mut log: RequestLog,
) -> Answer {
    let id = message.id.clone();
    match asker.app.request_places.request(&asker.principal, None) {
        Ok(place) => log.hold(place),
        Err(too_many) => {
            let failure = Failure::from(too_many);
            failure.note_in(&mut log);
            return failure.answer(id.as_ref());
        }
    }
    let place = match asker.app.sessions.place(&asker.principal) {
        Ok(place) => place,
        Err(no_place) => {
            log.set_outcome("no place");
            return unavailable(id.as_ref(), &no_place.to_string(), LATER);
        }
    };
    let begun = match &asker.server.pools {
        Pools::Shared(shared) => begin_shared(asker, shared, &message, place).await,
        Pools::Session(own) => begin_own(asker, own, (&message, place), &mut log).await,
    };
    match begun {
        Ok((answer, session)) => {
            log.set_outcome(if session.is_some() { "ok" } else { "refused" });
            answer
        }
        Err(failure) => {
            failure.note_in(&mut log);
            failure.answer(id.as_ref())
        }
    }
}

/// The answer, and the session if one has begun: a child can refuse the client.
type Begun = Result<(Answer, Option<InUse>), Failure>;

async fn begin_shared(
    asker: &Asker<'_>,
    shared: &SharedChildren,
    message: &ClientMessage,
    place: Place,
) -> Begun {
    let Some(asked) = version_in(&message.params) else {
        return Err(Failure::bad_params(
            "initialize: params.protocolVersion is missing",
        ));
    };
    let spoken = Spoken::Sessions(Revision::offered(&asked));
    let key = shared.key(&asker.principal, spoken)?;
    let hello = key.hello().await?;
    let version = version_in(hello.result.get().as_bytes()).unwrap_or_default();
    let reply = result_object(
        message.id.as_deref().unwrap_or_default(),
        hello.result.get(),
    );
    let kind = SessionKind::Shared {
        generation: hello.generation,
        ids: ClientIds::new(),
        subscriber: key.subscriber(&asker.principal),
        key,
    };
    let (answer, session) = begun(asker, json(reply), (version, kind), place)?;
    Ok((answer, Some(session)))
}

async fn begin_own(
    asker: &Asker<'_>,
    own: &OwnChildren,
    (message, place): (&ClientMessage, Place),
    log: &mut RequestLog,
) -> Begun {
    let kind = own.kinds.of(&asker.principal, &message.params);
    let is_short = message.bytes.len() <= INTRODUCTION_BYTES_MAX;
    let introduction = is_short.then(|| message.bytes.clone());
    if let (Some(kind), Some(introduction)) = (&kind, &introduction)
        && let Some(promise) = kind.promise()
    {
        let id = message.id.as_deref().unwrap_or_default();
        let reply = json(result_object(id, promise.result.get()));
        let version = promise.version.clone();
        let child = OwnChild::promised(Arc::clone(kind), promise, introduction.clone());
        let (answer, session) = begun(asker, reply, (version, SessionKind::Own(child)), place)?;
        return Ok((answer, Some(session)));
    }
    let patient = (kind.clone(), place);
    let (started, place) = start_first(asker, message.bytes.clone(), patient).await?;
    let Started {
        child,
        reply,
        greeting,
    } = started;
    log.set_pid(child.connection().process().pid());
    let Some(greeting) = greeting else {
        // The child refuses the client: no session begins, and the child ends.
        let limit = asker.server.settings.probe_timeout;
        let sessionless = asker.server.sessionless();
        if sessionless
            .is_modern(&child.connection().caller(), limit)
            .await
        {
            return Err((&EraError::OnlyModern).into());
        }
        return Ok((json(reply), None));
    };
    let version = greeting.version.clone();
    let live = LiveChild::new(child, greeting, kind);
    let child = OwnChild::started(Arc::clone(&live), introduction);
    let (answer, session) = begun(
        asker,
        json(reply),
        (version, SessionKind::Own(child)),
        place,
    )?;
    attend(asker.app, &session.0, &live);
    Ok((answer, Some(session)))
}

/// Gives the answer the id of a new session.
fn begun(
    asker: &Asker<'_>,
    mut answer: Answer,
    served: (String, SessionKind),
    place: Place,
) -> Result<(Answer, InUse), Failure> {
    let session = asker
        .app
        .sessions
        .begin((&asker.server, &asker.principal), served, place);
    match session {
        Ok(session) => {
            if let Ok(id) = HeaderValue::from_str(&session.0.id) {
                answer.headers_mut().insert(SESSION_HEADER, id);
            }
            Ok((answer, session))
        }
        Err(error) => {
            tracing::error!(%error, "no random numbers for the id of a session");
            Err(Failure::without_random_numbers())
        }
    }
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

pub(super) const SESSION_HEADER: &str = "mcp-session-id";
/// What is kept of a client for children that start later. Most clients say less than 1 KiB.
const INTRODUCTION_BYTES_MAX: usize = 16 << 10;
