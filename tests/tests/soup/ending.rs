//! The four ways in which a run ends, and what must be true then.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{AcquireError, EventKind, ResizeError, TryAcquireError, WarmUpError};
use pool_tests::random::SplitMix64;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use crate::kind::{SoupLedger, SoupPool};
use crate::polling::{poll_once, poll_some};
use crate::scenario::RuntimeKind;
use crate::world::World;

type Actors = Vec<JoinHandle<()>>;

const MINUTE: Duration = Duration::from_secs(60);

/// The actors stop, the faults end, the full capacity can be lent again, and a close leaves nothing.
pub(crate) async fn close<P: SoupPool>(world: &Arc<World<P>>, pool: P, actors: Actors) {
    join(actors).await;
    world.switch.turn_off();
    world.drop_stash();
    world.join_threads();
    P::recover(world, &pool).await;

    world.begin_ending();
    let (first, second) = tokio::join!(pool.close(MINUTE), pool.close(MINUTE));
    assert!(first.is_complete() && first == second, "{first:?}");
    assert!(pool.close(Duration::ZERO).await.is_complete());
    refuses_everything(&pool).await;
    drop(pool);
    assert_ended(world).await;
}

/// The pool is closed while the actors are busy and faults happen.
pub(crate) async fn close_amid<P: SoupPool>(world: &Arc<World<P>>, pool: P, actors: Actors) {
    world.stepped(half_the_steps(world)).await;
    if world.has_failed() {
        return join(actors).await;
    }
    let mut waiting = pool.acquire_within(MINUTE);
    let is_queued = match poll_once(&mut waiting).await {
        Poll::Ready(result) => {
            assert_told(world, result);
            false
        }
        Poll::Pending => true,
    };
    world.begin_ending();
    // A close that is dropped goes on.
    let mut numbers = SplitMix64::derived(world.scenario.plan.seed(), [66, 0]);
    let polls = u32::try_from(1 + numbers.below(4)).expect("a handful");
    let (until_woken, patience) = (numbers.below(2) == 0, world.scenario.units(3));
    let dropped = poll_some(pool.close(MINUTE), polls, until_woken, patience).await;
    if is_queued {
        match poll_once(&mut waiting).await {
            Poll::Ready(result) => assert_told(world, result),
            Poll::Pending => panic!("a waiter hangs after its pool was closed"),
        }
    }
    drop(waiting);
    let early = pool.close(world.scenario.units(3)).await;
    refuses_everything(&pool).await;
    join(actors).await;
    world.switch.turn_off();
    world.drop_stash();
    world.join_threads();
    let report = pool.close(MINUTE).await;
    assert!(
        report.is_complete(),
        "{dropped:?}, {early:?}, then {report:?}"
    );
    drop(pool);
    assert_ended(world).await;
}

/// The last handle is dropped while there are leases, by the actor that ends last: so checks and connects
/// are under way, and faults happen. The leases still serve, and their connections are closed when they
/// are returned.
pub(crate) async fn last_handle<P: SoupPool>(world: &Arc<World<P>>, pool: P, actors: Actors) {
    world.stepped(half_the_steps(world)).await;
    let mut leases = Vec::new();
    // The actors need some, too.
    while leases.len() < world.scenario.max_size.div_ceil(2)
        && let Ok(lease) = pool.try_acquire()
    {
        world.receive(&lease);
        leases.push(lease);
    }
    // So that some are being replaced.
    pool.evict_all();
    world.drop_elsewhere(pool);
    world.begin_ending();
    join(actors).await;
    while let Some(lease) = world.unstash() {
        leases.push(lease);
    }
    for (number, lease) in leases.into_iter().enumerate() {
        assert_eq!(P::id(&lease), lease.deref().id());
        match number % 3 {
            0 => world.drop_elsewhere(lease),
            1 => yield_now().await,
            _ => sleep(world.scenario.units(2)).await,
        }
    }
    world.switch.turn_off();
    world.join_threads();
    assert_ended(world).await;
}

/// The runtime is dropped while the actors are busy. Leases are dropped later on a plain thread.
pub(crate) fn runtime_gone<P: SoupPool>(
    world: &Arc<World<P>>,
    runtime: Runtime,
    pool: P,
    actors: Actors,
) {
    let late = {
        let mut waiting = pool.acquire_within(MINUTE);
        let early = runtime.block_on(async {
            let busy = timeout(MINUTE, world.stepped(half_the_steps(world))).await;
            assert!(busy.is_ok(), "it hangs: {}", pool.status());
            if world.has_failed() {
                join(actors).await;
            }
            poll_once(&mut waiting).await
        });
        world.begin_ending();
        drop(runtime);
        world.join_threads();
        match early {
            Poll::Ready(result) => result,
            Poll::Pending => {
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(&mut waiting).poll(&mut cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending => panic!("a waiter hangs after its runtime has gone"),
                }
            }
        }
    };
    assert_told(world, late);
    let status = pool.status();
    assert!(status.is_closed);
    assert_eq!(status.leases, world.stashed(), "{status}");
    assert_eq!(status.size(), status.leased, "{status}");
    assert!(matches!(
        pool.try_acquire(),
        Err(TryAcquireError::Closed { .. })
    ));

    let elsewhere = Arc::clone(world);
    let thread = std::thread::spawn(move || {
        elsewhere.drop_stash();
        drop(pool);
    });
    assert!(thread.join().is_ok(), "a drop without a runtime panicked");
    paused().block_on(world.ledger.closed());
    world.ledger.assert_settled();
    assert!(world.is_connector_gone(), "the pool's memory leaks");
    assert_eq!(world.fake.alive(), []);
    let counts = world.fake.counts();
    assert_eq!(
        (counts.watchers, counts.connect.running()),
        (0, 0),
        "{counts:?}"
    );
    assert_eq!(
        counts.close.running() + counts.reset.running(),
        0,
        "{counts:?}"
    );
    assert_eq!(counts.check.running(), 0, "{counts:?}");
}

/// A caller that came before its pool ended was served, or told that it has ended or cannot serve.
fn assert_told<P: SoupPool>(world: &World<P>, result: Result<P::Lease, AcquireError>) {
    match result {
        Ok(lease) => world.stash(lease),
        Err(error) => assert!(
            matches!(
                error,
                AcquireError::Closed { .. }
                    | AcquireError::Unavailable { .. }
                    | AcquireError::Overloaded { .. }
            ),
            "{error}"
        ),
    }
}

/// A runtime of one thread with a paused clock.
pub(crate) fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs no descriptors")
}

async fn refuses_everything<P: SoupPool>(pool: &P) {
    let error = pool.acquire().await.map(drop);
    assert!(
        matches!(error, Err(AcquireError::Closed { .. })),
        "{error:?}"
    );
    let error = pool.try_acquire().map(drop);
    assert!(
        matches!(error, Err(TryAcquireError::Closed { .. })),
        "{error:?}"
    );
    let error = pool.warm_up(1).await;
    assert!(
        matches!(
            error,
            Err(WarmUpError::Closed | WarmUpError::TooMany { .. })
        ),
        "{error:?}"
    );
    assert_eq!(pool.resize(1), Err(ResizeError::Closed));
}

/// Checks that everything that was opened is closed or detached, once, and that nothing of the pool is
/// left.
async fn assert_ended<P: SoupPool>(world: &World<P>) {
    world.ledger.closed().await;
    world.ledger.assert_settled();
    let events = world.ledger.events();
    let count = |is_kind: fn(&EventKind) -> bool| {
        let of_kind = events.iter().filter(|event| is_kind(&event.kind));
        of_kind.count()
    };
    let counts = world
        .fake
        .until(|counts| counts.watchers == 0 && counts.alive == 0)
        .await;
    assert_eq!(counts.connect.running(), 0, "{counts:?}");
    assert_eq!(
        counts.reset.running() + counts.check.running(),
        0,
        "{counts:?}"
    );
    assert_eq!(counts.close.running(), 0, "{counts:?}");
    assert_eq!(
        counts.close.started,
        count(|kind| matches!(kind, EventKind::Closed { .. })),
        "{counts:?}"
    );

    let closes = world.fake.closes();
    let closed: BTreeSet<_> = closes.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        closed.len(),
        closes.len(),
        "invariant 6 broken: closed twice"
    );
    let detached = world.detached();
    assert!(
        closed.is_disjoint(&detached),
        "invariant 6 broken: closed and detached"
    );
    assert_eq!(
        detached.len(),
        count(|kind| matches!(kind, EventKind::Detached { .. }))
    );
    let mut opened = BTreeSet::new();
    for event in &events {
        if let EventKind::Opened { id } = event.kind {
            opened.insert(id);
        }
    }
    assert_eq!(opened, &closed | &detached, "invariant 6 broken");

    let spare = match world.scenario.runtime_kind {
        // What is detached is dropped a moment after its slot is free.
        RuntimeKind::Threads => detached.len(),
        RuntimeKind::Paused => 0,
    };
    assert!(
        counts.occupied_peak <= P::slots_max(&world.scenario) + spare,
        "{counts:?}"
    );
    while !world.is_connector_gone() {
        // The last task of the pool ends after it told so; the outer deadline bounds this.
        yield_now().await;
    }
}

fn half_the_steps<P: SoupPool>(world: &World<P>) -> usize {
    let actors = usize::try_from(world.scenario.actors).expect("a handful");
    world.scenario.steps * actors / 2
}

async fn join(actors: Actors) {
    for actor in actors {
        if let Err(error) = actor.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Runs `body` and puts the scenario in front of what it says when it panics.
pub(crate) fn with_replay(replay: &str, body: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        panic!(
            "{}\nreplay with {replay}",
            crate::planned_panics::text_of(&*payload)
        );
    }
}
