//! Shared pools with a budget.

use pool_core::{Budget, CloseReason, SharedPool};
use pool_testkit::connector::{FakeConnection, FakeHandle, pair};
use pool_tests::bed::{HandPolled, MINUTE, TICK, Watchdog, pass, quiesce};

use crate::pools::RESIDENCE;

struct Shared {
    pool: SharedPool<FakeConnection>,
    fake: FakeHandle,
}

impl Shared {
    /// A pool whose connections have at most two leases.
    fn new(name: &str, budget: &Budget) -> Self {
        let (connector, fake) = pair();
        let pool = SharedPool::builder(connector)
            .name(name)
            .max_size(4)
            .target_leases(2)
            .max_leases_per_connection(2)
            .budget(budget)
            .build()
            .expect("the settings are valid");
        Self { pool, fake }
    }

    fn reasons(&self) -> Vec<CloseReason> {
        let closes = self.fake.closes();
        closes.into_iter().map(|(_, reason)| reason).collect()
    }

    async fn finish(self) {
        assert!(self.pool.close(MINUTE).await.is_complete());
        let counts = self.fake.until(|counts| counts.watchers == 0).await;
        assert_eq!((counts.alive, counts.dropped_unclosed), (0, 0));
    }
}

fn budget() -> Budget {
    let budget = Budget::builder("children").max_connections(1);
    let budget = budget.min_residence(RESIDENCE).build();
    budget.expect("the settings are valid")
}

#[tokio::test(start_paused = true)]
async fn unused_shared_connection_is_reclaimed() {
    let _watchdog = Watchdog::start();
    let budget = budget();
    let (one, other) = (Shared::new("one", &budget), Shared::new("other", &budget));
    let lease = one.pool.acquire().await.expect("it opens");
    let mut waiting = HandPolled::waiting(other.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "a lease is not cut short");
    drop(lease);
    quiesce().await;
    drop(waiting.ready().expect("nobody else needs it"));
    assert_eq!(one.reasons(), [CloseReason::Reclaimed]);
    drop(waiting);
    one.finish().await;
    other.finish().await;
    assert_eq!(budget.status().used, 0);
}

#[tokio::test(start_paused = true)]
async fn busy_shared_connection_gives_way_after_its_last_lease() {
    let _watchdog = Watchdog::start();
    let budget = budget();
    let (busy, starved) = (
        Shared::new("busy", &budget),
        Shared::new("starved", &budget),
    );
    let mut leases = Vec::new();
    for _ in 0..2 {
        leases.push(busy.pool.acquire().await.expect("it opens"));
    }
    let mut waiting = HandPolled::waiting(starved.pool.acquire());
    pass(RESIDENCE + TICK).await;
    // It takes no new lease from here on, although it has room.
    drop(leases.pop());
    let mut own = HandPolled::waiting(busy.pool.acquire());
    quiesce().await;
    assert!(waiting.poll().is_pending(), "a lease is not cut short");
    drop(leases);
    quiesce().await;
    let lease = waiting.ready().expect("the busy pool gave way");
    assert_eq!(busy.reasons(), [CloseReason::Reclaimed]);
    assert!(own.poll().is_pending());
    drop(lease);
    quiesce().await;
    drop(own.ready().expect("and gets it back"));
    drop((own, waiting));
    busy.finish().await;
    starved.finish().await;
    assert_eq!(budget.status().used, 0);
}
