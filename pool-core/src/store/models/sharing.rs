//! A connection that two callers share: however their returns interleave, the last handle is the
//! store's.

use std::panic::Location;
use std::sync::Arc as StdArc;

use async_trait::async_trait;
use loom::thread;

use crate::connector::{ConnectContext, Connector};
use crate::engine::{Engine, Lends, Next, Stored};
use crate::error::ConnectError;
use crate::shared_pool::Share;
use crate::slot::{OpenConnection, Slot};
use crate::store::models::rig::{EngineAndErrands, LONG, start_engine};
use crate::store::{Condition, Errand, Multiplexed, Sharing, TargetLeases};
use crate::sync::Arc;
use crate::wait::{Patience, Wait, draw};

type Unit = StdArc<()>;
type Pool = Arc<Engine<Unit, Multiplexed>>;

struct Units;

#[async_trait]
impl Connector for Units {
    type Connection = Unit;

    async fn connect(&self, _cx: &ConnectContext) -> Result<Unit, ConnectError> {
        Ok(StdArc::new(()))
    }
}

/// A pool with one open connection.
fn opened() -> EngineAndErrands<Unit, Multiplexed> {
    let sharing = Sharing {
        // Learned, so that the leases are counted for it as well.
        target_leases: TargetLeases::Adaptive { min: 2, max: 2 },
        max_leases: 2,
        max_surge: 0,
    };
    let (pool, errands) = start_engine(Units, 1, sharing, None);
    let now = pool.clock.now();
    let Next::Connect(opening, permit, of_budget) = pool.next(pool.lock(), now) else {
        panic!("one is wanted");
    };
    let slot = Slot::new(
        Arc::clone(&pool),
        opening.key,
        opening.id,
        permit,
        of_budget,
    );
    let mut store = pool.enter();
    store.opened(
        opening.key,
        Box::new(OpenConnection::new(StdArc::new(()), slot, None)),
        now,
    );
    pool.finish(store);
    (pool, errands)
}

#[track_caller]
fn take(pool: &Pool) -> Share<()> {
    draw(pool, Location::caller(), Patience::None)
        .lent
        .expect("it may be lent")
}

/// Two leases end while the pool closes: the connection is closed once, by its last handle.
fn returns_against_close(give_back: fn(Share<()>, &Engine<Unit, Multiplexed>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let (one, two) = (take(&pool), take(&pool));
        let returners = [one, two].map(|share| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || give_back(share, &pool))
        });
        pool.close();
        // As maintenance does, whenever it comes to it.
        let mut closed = close_connections(errands.close());
        for returner in returners {
            returner.join().expect("no panic");
        }
        closed += close_connections(errands.close());
        assert!(closed <= 1, "it is closed once");
        assert_eq!(pool.lock().status().size(), 0, "and its slot is free");
    });
}

fn close_connections(
    errands: impl IntoIterator<Item = Errand<Stored<Unit, Multiplexed>, Multiplexed>>,
) -> usize {
    let mut closed = 0;
    for errand in errands {
        let Errand::Close(live, _) = errand else {
            panic!("only closes are owed");
        };
        let (connection, slot) = live.into_parts();
        let last = StdArc::into_inner(connection);
        assert!(last.is_some(), "the last handle is the store's");
        drop(slot);
        closed += 1;
    }
    closed
}

#[test]
fn connection_can_be_closed_whichever_lease_ends_last() {
    returns_against_close(|share, pool| Multiplexed::give_back(share, pool, Condition::Clean));
}

/// A caller queues while a share is returned.
fn queue_against_return(wait: fn(&Pool) -> Option<Share<()>>) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let (one, two) = (take(&pool), take(&pool));
        let returner = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || Multiplexed::give_back(one, &pool, Condition::Clean))
        };
        let three = wait(&pool);
        let is_served = three.is_some();
        returner.join().expect("no panic");
        for share in [two].into_iter().chain(three) {
            Multiplexed::give_back(share, &pool, Condition::Clean);
        }
        assert_eq!(pool.lock().status().leases, 0, "all shares are returned");
        pool.close();
        close_connections(errands.close());
        drop((pool, errands));
        // Not earlier: what is left of a model cannot be dropped while it panics.
        assert!(is_served, "the return is not missed");
    });
}

#[test]
fn returned_share_reaches_the_waiter() {
    queue_against_return(|pool| {
        let wait = Wait::new(pool, Location::caller(), LONG);
        loom::future::block_on(wait).ok()
    });
}

#[test]
#[should_panic(expected = "the return is not missed")]
fn looking_once_is_found() {
    // Planted: it does not queue.
    queue_against_return(|pool| draw(pool, Location::caller(), Patience::None).lent);
}

#[test]
#[should_panic(expected = "the last handle is the store's")]
fn share_counted_before_its_handle_is_gone_is_found() {
    returns_against_close(|share, pool| {
        // Planted: a handle outlives its lease.
        let handle = StdArc::clone(Multiplexed::connection(&share));
        Multiplexed::give_back(share, pool, Condition::Clean);
        drop(handle);
    });
}
