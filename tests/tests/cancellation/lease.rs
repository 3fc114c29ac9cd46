//! A lease that is dropped in each state of the pool, in each condition, with each end of its reset and
//! its close.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pool_core::{CloseReason, ConnectionId, PooledConnection};
use pool_testkit::Call;
use tokio::task::{JoinSet, yield_now};

use crate::rig::{Fate, Lease, Pool, Rig, in_case};

/// Where the pool and its holder are when the lease is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Evicted,
    ShrunkToNothing,
    Closing,
    WithoutHandles,
    OnAnotherThread,
    Panicking,
}

/// The condition in which the lease is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Clean,
    Dirty,
    Dead,
    NeedsReset,
    PanicsOnDrop,
    Discarded,
    Detached,
}

const STAGES: [Stage; 7] = [
    Stage::Fresh,
    Stage::Evicted,
    Stage::ShrunkToNothing,
    Stage::Closing,
    Stage::WithoutHandles,
    Stage::OnAnotherThread,
    Stage::Panicking,
];

const MANNERS: [Manner; 7] = [
    Manner::Clean,
    Manner::Dirty,
    Manner::Dead,
    Manner::NeedsReset,
    Manner::PanicsOnDrop,
    Manner::Discarded,
    Manner::Detached,
];

pub(crate) fn matrix() -> usize {
    let mut count = 0;
    for stage in STAGES {
        for manner in MANNERS {
            for reset in Fate::ALL {
                for close in Fate::ALL {
                    in_case((stage, manner, reset, close), 1, async |rig, pool| {
                        rig.doom(Call::Reset, reset);
                        rig.doom(Call::Close, close);
                        run(stage, manner, reset, &rig, pool).await;
                    });
                    count += 1;
                }
            }
        }
    }
    count
}

async fn run(stage: Stage, manner: Manner, reset: Fate, rig: &Arc<Rig>, pool: Pool) {
    let lease = pool
        .acquire()
        .await
        .expect("nothing fails before the faults begin");
    let mut waiter = JoinSet::new();
    if stage != Stage::WithoutHandles {
        let (waiting, pool) = (Arc::clone(rig), pool.clone());
        waiter.spawn(async move { waiting.finish(pool.acquire().await).await });
        yield_now().await;
    }
    let pool = bring_about(stage, pool).await;
    let id = PooledConnection::id(&lease);
    let_go(stage, manner, rig, lease);
    let Some(pool) = pool else {
        rig.closed_by_itself().await;
        return assert_eq!(closes_of(rig, id), expected(stage, manner, reset));
    };
    rig.after_a_while().await;
    assert_eq!(closes_of(rig, id), expected(stage, manner, reset));
    rig.end_all_faults();
    if stage == Stage::ShrunkToNothing {
        assert_eq!(pool.resize(1), Ok(()));
    }
    while let Some(waiter) = waiter.join_next().await {
        waiter.expect("nothing cancels it");
    }
    if stage != Stage::Closing {
        rig.recovers(&pool).await;
    }
    rig.closes(&pool).await;
}

fn closes_of(rig: &Rig, id: ConnectionId) -> Option<CloseReason> {
    let closes = rig.fake.closes();
    let close = closes.iter().find(|(other, _)| *other == id);
    close.map(|(_, reason)| *reason)
}

/// Why the connection is closed, unless it is kept or detached.
const fn expected(stage: Stage, manner: Manner, reset: Fate) -> Option<CloseReason> {
    let unless_kept = match stage {
        Stage::Fresh | Stage::OnAnotherThread | Stage::Panicking => None,
        Stage::Evicted => Some(CloseReason::Evicted),
        Stage::ShrunkToNothing => Some(CloseReason::Shrunk),
        Stage::Closing | Stage::WithoutHandles => Some(CloseReason::PoolClosed),
    };
    match (manner, unless_kept, reset) {
        (Manner::Dirty, ..) => Some(CloseReason::Dirty),
        (Manner::Dead, ..) => Some(CloseReason::Died),
        (Manner::PanicsOnDrop | Manner::Discarded, ..) => Some(CloseReason::Discarded),
        (Manner::Detached, ..) => None,
        (Manner::NeedsReset, None, Fate::Error | Fate::Never | Fate::Panic) => {
            Some(CloseReason::ResetFailed)
        }
        (Manner::Clean | Manner::NeedsReset, ..) => unless_kept,
    }
}

/// Returns the pool, if there is still a handle.
async fn bring_about(stage: Stage, pool: Pool) -> Option<Pool> {
    match stage {
        Stage::Fresh | Stage::OnAnotherThread | Stage::Panicking => {}
        Stage::Evicted => assert_eq!(pool.evict_all(), 1),
        Stage::ShrunkToNothing => assert_eq!(pool.resize(0), Ok(())),
        Stage::Closing => assert_eq!(pool.close(Duration::ZERO).await.still_leased, 1),
        Stage::WithoutHandles => return None,
    }
    Some(pool)
}

fn let_go(stage: Stage, manner: Manner, rig: &Arc<Rig>, lease: Lease) {
    let rig = Arc::clone(rig);
    let let_go = move || end(&rig, lease, manner);
    match stage {
        Stage::Fresh
        | Stage::Evicted
        | Stage::ShrunkToNothing
        | Stage::Closing
        | Stage::WithoutHandles => let_go(),
        Stage::OnAnotherThread => assert!(thread::spawn(let_go).join().is_ok()),
        Stage::Panicking => {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _at_last = Last(Some(let_go));
                panic!("a holder was told to panic");
            }));
            assert!(unwound.is_err());
        }
    }
}

fn end(rig: &Rig, lease: Lease, manner: Manner) {
    match manner {
        Manner::Clean => drop(lease),
        Manner::Dirty => {
            lease.mark_dirty();
            drop(lease);
        }
        Manner::Dead => {
            lease.die();
            drop(lease);
        }
        Manner::NeedsReset => {
            lease.mark_needs_reset();
            drop(lease);
        }
        Manner::PanicsOnDrop => {
            assert!(rig.fake.panic_on_drop(lease.id()));
            PooledConnection::discard(lease);
        }
        Manner::Discarded => PooledConnection::discard(lease),
        Manner::Detached => drop(PooledConnection::detach(lease)),
    }
}

/// Does something when it is dropped, for example during a panic.
struct Last<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Last<F> {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}
