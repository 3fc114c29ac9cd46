//! The four ways in which a run ends, and what must be true then.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{
    AcquireError, ConnectionId, EventKind, PooledConnection, ResizeError, TryAcquireError,
    WarmUpError,
};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};

use crate::scenario::RuntimeKind;
use crate::world::{Lease, Pool, World};

type Actors = Vec<JoinHandle<()>>;

const MINUTE: Duration = Duration::from_secs(60);

/// The actors stop, the faults end, the full capacity can be lent again, and a close leaves nothing.
pub(crate) async fn close(world: &Arc<World>, pool: Pool, actors: Actors) {
    join(actors).await;
    world.switch.turn_off();
    world.drop_stash();
    world.join_threads();
    recover(world, &pool).await;

    world.begin_ending();
    let (first, second) = tokio::join!(pool.close(MINUTE), pool.close(MINUTE));
    assert!(first.is_complete() && first == second, "{first:?}");
    assert!(pool.close(Duration::ZERO).await.is_complete());
    refuses_everything(&pool).await;
    drop(pool);
    assert_ended(world).await;
}

/// The pool is closed while the actors are busy and faults happen.
pub(crate) async fn close_amid(world: &Arc<World>, pool: Pool, actors: Actors) {
    world.stepped(half_the_steps(world)).await;
    if world.has_failed() {
        return join(actors).await;
    }
    world.begin_ending();
    let early = pool.close(world.scenario.units(3)).await;
    refuses_everything(&pool).await;
    join(actors).await;
    world.switch.turn_off();
    world.drop_stash();
    world.join_threads();
    let report = pool.close(MINUTE).await;
    assert!(report.is_complete(), "{early:?}, then {report:?}");
    drop(pool);
    assert_ended(world).await;
}

/// The last handle is dropped while there are leases. They still serve, and their connections are closed
/// when they are returned.
pub(crate) async fn last_handle(world: &Arc<World>, pool: Pool, actors: Actors) {
    join(actors).await;
    let mut leases: Vec<Lease> = Vec::new();
    while let Ok(lease) = pool.try_acquire() {
        world.receive(&lease);
        leases.push(lease);
    }
    while let Some(lease) = world.unstash() {
        leases.push(lease);
    }
    world.begin_ending();
    world.drop_elsewhere(pool);
    for (number, lease) in leases.into_iter().enumerate() {
        assert_eq!(PooledConnection::id(&lease), lease.id());
        if number % 2 == 0 {
            world.drop_elsewhere(lease);
        }
        yield_now().await;
    }
    world.switch.turn_off();
    world.join_threads();
    assert_ended(world).await;
}

/// The runtime is dropped while the actors are busy. Leases are dropped later on a plain thread.
pub(crate) fn runtime_gone(world: &Arc<World>, runtime: Runtime, pool: Pool, actors: Actors) {
    let late = {
        let mut waiting = pin!(pool.acquire_within(MINUTE));
        let early = runtime.block_on(async {
            let busy = timeout(MINUTE, world.stepped(half_the_steps(world))).await;
            assert!(busy.is_ok(), "it hangs: {:?}", world.ledger.counts());
            if world.has_failed() {
                join(actors).await;
            }
            poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await
        });
        world.begin_ending();
        drop(runtime);
        world.join_threads();
        match early {
            Poll::Ready(result) => result,
            Poll::Pending => {
                match waiting
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    Poll::Ready(result) => result,
                    Poll::Pending => panic!("a waiter hangs after its runtime has gone"),
                }
            }
        }
    };
    match late {
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
    let status = pool.status();
    assert!(status.is_closed);
    assert_eq!(status.leased, world.stashed(), "{status}");
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
    let report = paused().block_on(async { world.ledger.until(|counts| counts.is_closed).await });
    assert!(report.is_closed);
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

/// A runtime of one thread with a paused clock.
pub(crate) fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs no descriptors")
}

/// Invariant 7: once all leases are returned, the pool can lend `max_size` connections again.
async fn recover(world: &World, pool: &Pool) {
    let full = world.scenario.max_size;
    assert_eq!(pool.resize(full), Ok(()));
    let leases = acquire_all(world, pool, full).await;
    let only_leased = |counts: &pool_testkit::ledger::LedgerCounts| {
        counts.leased == full && counts.closing + counts.stuck + counts.opening == 0
    };
    world.ledger.until(only_leased).await;
    let status = pool.status();
    assert_eq!(
        (status.size(), status.leased, status.waiting),
        (full, full, 0)
    );
    assert!(matches!(
        pool.try_acquire(),
        Err(TryAcquireError::Empty { .. })
    ));

    // An evicted connection is not lent again, though it is returned in good order.
    let count = pool.evict_all();
    // On threads, the pool may only now see a death that was injected before the faults ended. Such a
    // connection is to be closed already, and not counted.
    let is_all =
        count == full || world.scenario.runtime_kind == RuntimeKind::Threads && count < full;
    assert!(is_all, "{count} evicted: {}", pool.status());
    let evicted = ids(&leases);
    drop(leases);
    let mut leases = acquire_all(world, pool, full).await;
    let lent = ids(&leases);
    assert!(
        lent.is_disjoint(&evicted),
        "{evicted:?} were evicted, and {lent:?} lent"
    );

    // The same for those that `retain` is told to close, be they idle or leased. Nothing is known
    // of the others: `retain` does not see a connection that is still being opened.
    let kept = PooledConnection::id(&leases[0]);
    leases.truncate(full.div_ceil(2));
    let mut unwanted = BTreeSet::new();
    let picked = pool.retain(|stats| {
        let is_kept = stats.id == kept;
        if !is_kept {
            unwanted.insert(stats.id);
        }
        is_kept
    });
    assert!(picked <= unwanted.len(), "{picked} of {unwanted:?}");
    drop(leases);
    let lent = ids(&acquire_all(world, pool, full).await);
    assert!(
        lent.is_disjoint(&unwanted),
        "{unwanted:?} were to be closed, and {lent:?} lent"
    );
    world.count_unwanted(unwanted.len());
}

fn ids(leases: &[Lease]) -> BTreeSet<ConnectionId> {
    leases.iter().map(PooledConnection::id).collect()
}

/// Acquires `count` connections and holds them all at the same time.
async fn acquire_all(world: &World, pool: &Pool, count: usize) -> Vec<Lease> {
    let mut leases = Vec::new();
    while leases.len() < count {
        leases.push(acquire_at_last(world, pool).await);
    }
    leases
}

/// Acquires, and tries again as long as the pool answers that connects have failed too often.
async fn acquire_at_last(world: &World, pool: &Pool) -> Lease {
    loop {
        match pool.acquire_within(world.scenario.units(2000)).await {
            Ok(lease) => {
                world.receive(&lease);
                return lease;
            }
            Err(AcquireError::Unavailable { retry_after, .. }) => sleep(retry_after).await,
            Err(error) => panic!("invariant 7 broken: {error}"),
        }
    }
}

async fn refuses_everything(pool: &Pool) {
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
async fn assert_ended(world: &World) {
    world.ledger.until(|counts| counts.is_closed).await;
    world.ledger.assert_settled();
    let ledger = world.ledger.counts();
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
        counts.close.started, ledger.closed,
        "{counts:?}, {ledger:?}"
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
    assert_eq!(detached.len(), ledger.detached);
    let mut opened = BTreeSet::new();
    for event in world.ledger.events() {
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
        counts.occupied_peak <= world.scenario.largest() + spare,
        "{counts:?}"
    );
    while !world.is_connector_gone() {
        // The last task of the pool ends after it told so; the outer deadline bounds this.
        yield_now().await;
    }
}

fn half_the_steps(world: &World) -> usize {
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
