//! The weight of all connections of a budget.

use std::error::Error;
use std::time::Duration;

use pool_core::{AcquireError, Budget, BuildError, CloseReason, ConnectionPool, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeHandle, pair};
use pool_tests::bed::{HandPolled, Lease, MINUTE, Pool, SECOND, TICK, Watchdog, pass, quiesce};

struct Member {
    pool: Pool,
    fake: FakeHandle,
}

impl Member {
    fn new(name: &str, budget: &Budget) -> Self {
        Self::with(name, budget, 0)
    }

    fn with(name: &str, budget: &Budget, min_idle: usize) -> Self {
        let (connector, fake) = pair();
        let builder = ConnectionPool::builder(connector).min_idle(min_idle);
        let pool = builder.name(name).max_size(8).budget(budget).build();
        let pool = pool.expect("the settings are valid");
        Self { pool, fake }
    }

    /// Leases of connections of these weights.
    async fn leases(&self, weights: &[u64]) -> Vec<Lease> {
        let mut leases = Vec::new();
        for weight in weights {
            let lease = self.pool.acquire().await.expect("it opens");
            self.fake.set_weight(PooledConnection::id(&lease), *weight);
            leases.push(lease);
        }
        leases
    }

    /// The weights of its open connections.
    fn closes(&self) -> Vec<CloseReason> {
        let closes = self.fake.closes();
        closes.into_iter().map(|(_, reason)| reason).collect()
    }

    async fn finish(self) {
        assert!(self.pool.close(MINUTE).await.is_complete());
    }
}

fn budget(max_weight: u64) -> Budget {
    let budget = Budget::builder("memory").max_connections(16);
    let budget = budget.max_weight(max_weight).build();
    budget.expect("the settings are valid")
}

async fn weighing() {
    pass(SECOND + TICK).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_the_heaviest_pool_are_closed_first() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let (heavy, light) = (Member::new("heavy", &budget), Member::new("light", &budget));
    drop(light.leases(&[300]).await);
    drop(heavy.leases(&[400, 100, 350]).await);
    weighing().await;
    // 1150: the heaviest idle one of the heaviest pool is enough.
    assert_eq!(heavy.closes(), [CloseReason::Overweight]);
    assert_eq!(light.closes(), []);
    assert_eq!(
        (heavy.pool.status().weight, budget.status().weight),
        (450, 750)
    );
    heavy.finish().await;
    light.finish().await;
    assert_eq!(budget.status().weight, 0);
}

#[tokio::test(start_paused = true)]
async fn leased_connection_is_closed_at_its_return_if_no_idle_one_is_left() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let one = Member::new("one", &budget);
    let leases = one.leases(&[600, 700]).await;
    weighing().await;
    assert_eq!(one.closes(), [], "a lease is not cut short");
    pass(5 * SECOND).await;
    drop(leases);
    quiesce().await;
    assert_eq!(one.closes(), [CloseReason::Overweight], "one is enough");
    assert_eq!(budget.status().weight, 600);
    one.finish().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_that_a_heavy_budget_lets_nobody_replace() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let (one, other) = (Member::new("one", &budget), Member::new("other", &budget));
    let heavy = one.leases(&[1000]).await;
    let light = other.leases(&[1]).await;
    weighing().await;
    let report = other.pool.evict_all_within(SECOND).await;
    assert_eq!((report.replaced, report.left), (0, 1));
    let failure = report.failure.expect("it says why");
    let cause = failure.source().expect("it has a cause").to_string();
    assert!(
        cause.starts_with("budget `memory` is too heavy: "),
        "{cause}"
    );
    drop((heavy, light));
    quiesce().await;
    assert_eq!(other.closes(), []);
    one.finish().await;
    other.finish().await;
}

/// Invariant W4.
#[tokio::test(start_paused = true)]
async fn nothing_is_opened_while_the_budget_is_too_heavy() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let (one, other) = (Member::new("one", &budget), Member::new("other", &budget));
    let leases = one.leases(&[1000]).await;
    weighing().await;
    let mut waiting = HandPolled::waiting(other.pool.acquire_within(MINUTE));
    pass(3 * SECOND).await;
    assert!(waiting.poll().is_pending());
    let error = other.pool.acquire_within(SECOND).await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }));
    let expected =
        "budget `memory` is too heavy: weight 1000 of 1000; 1 of 16, held by 1 pool; 1 pool waits";
    assert!(error.to_string().contains(expected), "{error}");
    // It goes home, and is closed for the other pool, since it is all there is.
    drop(leases);
    quiesce().await;
    drop(waiting.ready().expect("there is room"));
    assert_eq!(one.closes(), [CloseReason::Reclaimed]);
    drop(waiting);
    one.finish().await;
    other.finish().await;
}

/// They would be closed for the weight of all, a second later.
#[tokio::test(start_paused = true)]
async fn spare_connections_that_do_not_fit_are_not_opened_again_and_again() {
    const WEIGHT: u64 = 60;
    let _watchdog = Watchdog::start();
    let budget = budget(100);
    let pools = ["one", "other"].map(|name| Member::with(name, &budget, 1));
    for _ in 0..600 {
        for Member { fake, .. } in &pools {
            for id in fake.alive() {
                fake.set_weight(id, WEIGHT);
            }
        }
        pass(TICK).await;
    }
    let started = pools
        .each_ref()
        .map(|one| one.fake.counts().connect.started);
    assert!(
        started.iter().sum::<usize>() <= 4,
        "{started:?} in a minute"
    );
    assert_eq!(budget.status().weight, WEIGHT);
    // Callers are served as long as there is any room.
    let leases = [
        pools[0].leases(&[WEIGHT]).await,
        pools[1].leases(&[WEIGHT]).await,
    ];
    drop(leases);
    // When there is room for a spare one, it is opened.
    weighing().await;
    for Member { fake, .. } in &pools {
        for id in fake.alive() {
            fake.set_weight(id, WEIGHT / 3);
        }
    }
    weighing().await;
    let idle = pools.each_ref().map(|one| one.pool.status().idle);
    assert!(idle.iter().all(|idle| *idle > 0), "{idle:?}");
    for pool in pools {
        pool.finish().await;
    }
}

/// One connection less may not be enough.
#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_until_there_is_room_for_the_pool_that_waits() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let (one, other) = (Member::new("one", &budget), Member::new("other", &budget));
    let held = one.leases(&[980]).await;
    // The one that was used first weighs nothing.
    drop(one.leases(&[0, 20]).await);
    weighing().await;
    assert_eq!((budget.status().weight, one.closes().len()), (1000, 0));
    let mut waiting = HandPolled::waiting(other.pool.acquire_within(MINUTE));
    quiesce().await;
    drop(waiting.ready().expect("they were closed for it"));
    assert_eq!(one.closes(), [CloseReason::Reclaimed; 2]);
    assert_eq!(one.pool.status().weight, 980);
    drop((held, waiting));
    one.finish().await;
    other.finish().await;
}

/// It makes no room, as long as the heavy one is leased.
#[tokio::test(start_paused = true)]
async fn no_pool_gives_up_its_only_connection_while_the_budget_weighs_too_much() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let names = ["heavy", "busy", "starved"];
    let [heavy, busy, starved] = names.map(|name| Member::new(name, &budget));
    let held = heavy.leases(&[1100]).await;
    let mut lease = busy.leases(&[10]).await;
    weighing().await;
    let mut waiting = HandPolled::waiting(starved.pool.acquire_within(10 * MINUTE));
    for _ in 0..10 {
        let mut next = HandPolled::waiting(busy.pool.acquire_within(MINUTE));
        weighing().await;
        lease.clear();
        quiesce().await;
        lease.push(next.ready().expect("the connection stays"));
    }
    assert_eq!(busy.closes(), []);
    assert!(waiting.poll().is_pending());
    drop(held);
    quiesce().await;
    drop(waiting.ready().expect("there is room"));
    assert_eq!(heavy.closes(), [CloseReason::Overweight]);
    drop((lease, waiting));
    for member in [heavy, busy, starved] {
        member.finish().await;
    }
}

/// It is taken off what is too much before anything else is closed.
#[tokio::test(start_paused = true)]
async fn what_a_closed_pool_still_closes_costs_others_nothing() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let (one, other) = (Member::new("one", &budget), Member::new("other", &budget));
    let mut leases = other.leases(&[0, 0]).await;
    let heavy = one.leases(&[600]).await;
    weighing().await;
    one.fake.set(Call::Close, Answer::Manual);
    drop(heavy);
    let close = HandPolled::waiting(one.pool.close(MINUTE));
    for (lease, weight) in leases.iter().zip([300, 310]) {
        other.fake.set_weight(PooledConnection::id(lease), weight);
    }
    leases.pop();
    pass(3 * SECOND).await;
    assert_eq!(budget.status().weight, 1210);
    drop(leases);
    quiesce().await;
    assert_eq!(other.closes(), []);
    one.fake.next(Call::Close).await.succeed();
    quiesce().await;
    assert_eq!(budget.status().weight, 610);
    drop(close);
    one.finish().await;
    other.finish().await;
}

/// Invariant W3.
#[tokio::test(start_paused = true)]
async fn weight_of_what_is_gone_does_not_count() {
    let _watchdog = Watchdog::start();
    let budget = budget(1000);
    let one = Member::new("one", &budget);
    for weight in [100, 900, 300] {
        let leases = one.leases(&[weight, weight]).await;
        pass(Duration::from_millis(2300)).await;
        leases.into_iter().for_each(PooledConnection::discard);
        quiesce().await;
        assert_eq!((one.pool.status().weight, budget.status().weight), (0, 0));
    }
    one.finish().await;
}

#[tokio::test(start_paused = true)]
async fn budget_of_no_weight_is_refused() {
    let error = Budget::builder("memory").max_weight(0).build().unwrap_err();
    assert!(matches!(
        error,
        BuildError::OutOfRange {
            setting: "max_weight",
            ..
        }
    ));
}
