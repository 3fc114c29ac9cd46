//! Shared pools with a budget.

use std::collections::BTreeMap;

use pool_core::{
    AcquireError, Budget, CloseReason, ConnectionId, ConnectionPool, SharedLease, SharedPool,
};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeConnection, FakeHandle, pair};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, TICK, Watchdog, pass, quiesce};

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
    budget_of(1)
}

fn budget_of(max_connections: usize) -> Budget {
    let budget = Budget::builder("children").max_connections(max_connections);
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

/// They wait for what is being opened, and a second for what the budget may grant yet.
#[tokio::test(start_paused = true)]
async fn callers_share_what_the_budget_grants() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(2);
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector).max_size(4).target_leases(8);
    let pool = pool
        .budget(&budget)
        .build()
        .expect("the settings are valid");
    let shared = Shared { pool, fake };
    let callers: Vec<_> = (0..100)
        .map(|_| HandPolled::waiting(shared.pool.acquire()))
        .collect();
    pass(SECOND + TICK).await;
    let leases: Vec<_> = callers
        .into_iter()
        .map(|mut caller| caller.ready().expect("there is room for all"))
        .collect();
    assert_eq!(budget.status().used, 2);
    drop(leases);
    shared.finish().await;
}

/// A connect that waits only for another one to end is on its way, so the callers wait for it.
#[tokio::test(start_paused = true)]
async fn callers_are_spread_though_the_budget_lets_connects_begin_one_at_a_time() {
    let _watchdog = Watchdog::start();
    let budget = Budget::builder("children").max_connections(4);
    let budget = budget.max_connecting(1).min_residence(RESIDENCE).build();
    let budget = budget.expect("the settings are valid");
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector).max_size(4).target_leases(8);
    let pool = pool
        .budget(&budget)
        .build()
        .expect("the settings are valid");
    let shared = Shared { pool, fake };
    let callers: Vec<_> = (0..100)
        .map(|_| HandPolled::waiting(shared.pool.acquire()))
        .collect();
    quiesce().await;
    assert_eq!(loads_of(callers), [25; 4]);
    shared.finish().await;
}

/// What is given up for them is on its way, though each close takes its time.
#[tokio::test(start_paused = true)]
async fn callers_are_spread_over_what_another_pool_gives_up() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(4);
    let idle = Shared::new("idle", &budget);
    let leases: Vec<_> = (0..8)
        .map(|_| HandPolled::waiting(idle.pool.acquire()))
        .collect();
    quiesce().await;
    drop(leases);
    quiesce().await;
    assert_eq!(budget.status().used, 4);
    idle.fake.set(Call::Close, Answer::Manual);
    let (connector, fake) = pair();
    let pool = SharedPool::builder(connector).max_size(4).target_leases(8);
    let pool = pool
        .budget(&budget)
        .build()
        .expect("the settings are valid");
    let shared = Shared { pool, fake };
    let callers: Vec<_> = (0..100)
        .map(|_| HandPolled::waiting(shared.pool.acquire()))
        .collect();
    // Then both have two; the others follow when they were idle for long enough.
    for _ in 0..2 {
        idle.fake.next(Call::Close).await.succeed();
        quiesce().await;
    }
    idle.fake.set(Call::Close, Answer::Ok);
    pass(SECOND + TICK).await;
    assert_eq!(loads_of(callers), [25; 4]);
    shared.finish().await;
    idle.finish().await;
}

/// How many leases each connection has when all these callers have one.
fn loads_of<F>(callers: Vec<HandPolled<F>>) -> Vec<u32>
where
    F: Future<Output = Result<SharedLease<FakeConnection>, AcquireError>>,
{
    let mut loads = BTreeMap::<_, u32>::new();
    let mut leases = Vec::new();
    for mut caller in callers {
        let lease = caller.ready().expect("there is room for all");
        *loads.entry(SharedLease::id(&lease)).or_default() += 1;
        leases.push(lease);
    }
    loads.into_values().collect()
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

/// A lease can last for ever; an idle connection elsewhere is nearer.
#[tokio::test(start_paused = true)]
async fn connection_that_gives_way_under_a_long_lease_does_not_hold_up_the_pool_that_waits() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(3);
    let names = ["busy", "idle", "starved"];
    let [busy, idle, starved] = names.map(|name| Shared::new(name, &budget));
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(busy.pool.acquire().await.expect("it opens"));
        quiesce().await;
    }
    assert_eq!(busy.pool.status().leased, 2, "it wants no further one");
    let third = idle.pool.acquire().await.expect("it opens");
    let mut waiting = HandPolled::waiting(starved.pool.acquire());
    pass(RESIDENCE + TICK).await;
    drop(leases.remove(0));
    quiesce().await;
    assert!(
        waiting.poll().is_pending(),
        "one of them gave way, with a lease"
    );
    drop(third);
    pass(RESIDENCE + 2 * TICK).await;
    drop(waiting.ready().expect("the claim has aged"));
    assert_eq!(idle.reasons(), [CloseReason::Reclaimed]);
    drop((leases, waiting));
    for pool in [busy, idle, starved] {
        pool.finish().await;
    }
    assert_eq!(budget.status().used, 0);
}

/// Nobody waits who would look again when the claim has aged.
#[tokio::test(start_paused = true)]
async fn connection_that_gives_way_under_a_long_lease_keeps_no_surplus_of_a_smaller_budget_idle() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(3);
    let [busy, idle] = ["busy", "idle"].map(|name| Shared::new(name, &budget));
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(busy.pool.acquire().await.expect("it opens"));
        quiesce().await;
    }
    let third = idle.pool.acquire().await.expect("it opens");
    pass(RESIDENCE + TICK).await;
    budget.resize(2).expect("nothing is reserved");
    drop(leases.remove(0));
    drop(third);
    quiesce().await;
    assert_eq!(budget.status().reclaiming, 1, "it gave way, with a lease");
    assert_eq!(idle.reasons(), []);
    pass(RESIDENCE + 2 * TICK).await;
    assert_eq!(idle.reasons(), [CloseReason::Reclaimed]);
    assert_eq!(budget.status().used, 2);
    drop(leases);
    for pool in [busy, idle] {
        pool.finish().await;
    }
    assert_eq!(budget.status().used, 0);
}

/// It is still open, but it is none that the pool keeps.
#[tokio::test(start_paused = true)]
async fn only_the_surplus_of_a_smaller_budget_gives_way_under_long_leases() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(3);
    let busy = Shared::new("busy", &budget);
    let mut leases = leases(&busy, 6).await;
    assert_eq!(leases.len(), 3);
    budget.resize(2).expect("nothing is reserved");
    for of_one in leases.values_mut() {
        pass(RESIDENCE + TICK).await;
        of_one.pop();
    }
    pass(RESIDENCE + TICK).await;
    drop(leases);
    quiesce().await;
    assert_eq!(busy.reasons(), [CloseReason::Reclaimed]);
    busy.finish().await;
    assert_eq!(budget.status().used, 0);
}

/// All that it gave up would have leases, so nobody would be served.
#[tokio::test(start_paused = true)]
async fn pool_under_long_leases_keeps_one_connection_for_its_callers() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(3);
    let (busy, starved) = (
        Shared::new("busy", &budget),
        Shared::new("starved", &budget),
    );
    let mut leases = leases(&busy, 6).await;
    assert_eq!(leases.len(), 3);
    let waiting = HandPolled::waiting(starved.pool.acquire());
    for of_one in leases.values_mut() {
        pass(RESIDENCE + TICK).await;
        of_one.pop();
    }
    pass(RESIDENCE + TICK).await;
    let again = busy.pool.acquire().await;
    drop(again.expect("it keeps one"));
    drop((waiting, leases));
    for pool in [busy, starved] {
        pool.finish().await;
    }
    assert_eq!(budget.status().used, 0);
}

/// As many leases, by their connection.
async fn leases(
    pool: &Shared,
    count: usize,
) -> BTreeMap<ConnectionId, Vec<SharedLease<FakeConnection>>> {
    let callers: Vec<_> = (0..count)
        .map(|_| HandPolled::waiting(pool.pool.acquire()))
        .collect();
    quiesce().await;
    let mut leases = BTreeMap::<_, Vec<_>>::new();
    for mut caller in callers {
        let lease = caller.ready().expect("there is room for all");
        leases
            .entry(SharedLease::id(&lease))
            .or_default()
            .push(lease);
    }
    leases
}

/// The claim has aged before the close begins, and the close runs.
#[tokio::test(start_paused = true)]
async fn close_after_a_long_lease_keeps_no_other_connection_of_its_pool() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(2);
    let names = ["busy", "one", "other"];
    let [busy, one, other] = names.map(|name| Shared::new(name, &budget));
    let mut leases = leases(&busy, 4).await;
    let (_, mut draining) = leases.pop_first().expect("it has two connections");
    let leaving = HandPolled::waiting(one.pool.acquire());
    pass(RESIDENCE + TICK).await;
    draining.pop();
    drop(leases);
    quiesce().await;
    drop(leaving);
    quiesce().await;
    assert_eq!((budget.status().reclaiming, busy.reasons()), (1, vec![]));
    pass(RESIDENCE + 2 * TICK).await;
    assert_eq!(budget.status().reclaiming, 0, "the claim has aged");
    busy.fake.set(Call::Close, Answer::Manual);
    drop(draining);
    quiesce().await;
    let closing = busy.fake.next(Call::Close).await;
    busy.fake.set(Call::Close, Answer::Ok);
    assert_eq!(budget.status().reclaiming, 1, "its slot will be free");
    let mut waiting = [&one, &other].map(|starved| HandPolled::waiting(starved.pool.acquire()));
    quiesce().await;
    assert_eq!(busy.reasons(), [CloseReason::Reclaimed; 2]);
    closing.succeed();
    quiesce().await;
    for caller in &mut waiting {
        drop(caller.ready().expect("each has one"));
    }
    drop(waiting);
    for pool in [busy, one, other] {
        pool.finish().await;
    }
    assert_eq!(budget.status().used, 0);
}

/// Each connection carries its target, so each pool would have another one for further leases, though no caller
/// waits. So it is with a third pool that holds more, and without it.
#[tokio::test(start_paused = true)]
async fn pools_that_spread_their_leases_do_not_take_a_connection_from_each_other_for_ever() {
    for held in [0, 3] {
        let _watchdog = Watchdog::start();
        let budget = budget_of(held + 3);
        let holder = ConnectionPool::builder(pair().0).name("holder");
        let holder = holder.budget(&budget).build().expect("they are valid");
        let mut held_leases = Vec::new();
        for _ in 0..held {
            held_leases.push(holder.acquire().await.expect("there is room"));
        }
        let pools = [Shared::new("one", &budget), Shared::new("other", &budget)];
        let mut leases = Vec::new();
        for shared in &pools {
            shared.fake.set(Call::Connect, Answer::After(TICK));
            for _ in 0..2 {
                leases.push(shared.pool.acquire().await.expect("there is room"));
            }
        }
        pass(MINUTE).await;
        let counts = pools.each_ref().map(|shared| shared.fake.counts());
        let opened: usize = counts.iter().map(|counts| counts.connect.started).sum();
        assert_eq!(opened, 3, "as many as there may be");
        // A caller that waits has it at once.
        let third = Shared::new("third", &budget);
        leases.push(third.pool.acquire().await.expect("it is owed one"));
        drop((leases, held_leases));
        for shared in pools.into_iter().chain([third]) {
            shared.finish().await;
        }
        assert!(holder.close(MINUTE).await.is_complete());
        assert_eq!(budget.status().used, 0);
    }
}

/// Its callers overlap, so its load is never zero, and the budget has no room for its replacement.
#[tokio::test(start_paused = true)]
async fn evicted_connection_that_cannot_be_replaced_takes_no_new_leases() {
    let _watchdog = Watchdog::start();
    let budget = budget();
    let shared = Shared::new("shared", &budget);
    let acquire = async || shared.pool.acquire().await.expect("it serves");
    let mut lease = acquire().await;
    assert_eq!(shared.pool.evict_all(), 1);
    let mut waiting = None;
    for _ in 0..40 {
        pass(TICK / 2).await;
        let mut next = HandPolled::new(shared.pool.acquire());
        match next.poll() {
            std::task::Poll::Ready(Ok(next)) => lease = next,
            std::task::Poll::Ready(Err(error)) => panic!("{error}"),
            std::task::Poll::Pending => {
                waiting = Some(next);
                break;
            }
        }
    }
    let mut waiting = waiting.expect("it takes no new leases after the minimum residence");
    assert_eq!(shared.reasons(), [], "a lease is not cut short");
    drop(lease);
    quiesce().await;
    drop(waiting.ready().expect("another one was opened"));
    assert_eq!(shared.reasons(), [CloseReason::Evicted]);
    drop(waiting);
    shared.finish().await;
    assert_eq!(budget.status().used, 0);
}

#[tokio::test(start_paused = true)]
async fn unused_shared_connections_are_replaced_though_the_budget_is_full() {
    let _watchdog = Watchdog::start();
    let budget = budget_of(2);
    let one = Shared::new("one", &budget);
    one.pool.warm_up(2).await.expect("they open");
    let report = one.pool.evict_all_within(10 * TICK).await;
    assert_eq!((report.replaced, report.left), (2, 0));
    assert!(report.is_complete() && report.failure.is_none());
    assert_eq!(one.reasons(), [CloseReason::Evicted; 2]);
    one.finish().await;
    assert_eq!(budget.status().used, 0);
}
