//! The weight of connections that are lent to one caller at a time.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use pool_core::{
    CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector, EventKind, Overweight,
    PooledConnection, Vitals, async_trait,
};
use pool_testkit::Query;
use pool_testkit::connector::QueryAnswer;
use pool_tests::bed::{Bed, HandPolled, MINUTE, SECOND, TICK, Watchdog, pass, quiesce};
use tokio::sync::Notify;

/// A bed of a pool that replaces above 100 and kills above 200.
fn bed(max_size: usize) -> Bed {
    Bed::with(max_size, |builder| builder.max_weight(100).kill_weight(200))
}

/// Until the next weighing is over.
async fn weighing() {
    pass(SECOND + TICK).await;
}

/// Invariant W1.
#[tokio::test(start_paused = true)]
async fn heavy_connection_is_closed_when_it_is_returned() {
    let bed = bed(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    assert!(bed.fake.set_weight(id, 101));
    weighing().await;
    assert_eq!(bed.reasons(), [], "a lease is not cut short");
    assert_eq!(bed.pool.status().weight, 101);
    assert_eq!(PooledConnection::stats(&lease).weight, 101);
    drop(lease);
    let lease = bed.lease().await;
    assert_eq!(bed.reasons(), [CloseReason::Overweight]);
    assert_ne!(PooledConnection::id(&lease), id);
    assert_eq!(bed.pool.status().weight, 0, "it is gone");
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn heavy_connection_that_is_idle_is_closed_at_once() {
    let bed = bed(2);
    let ids = bed.idle(2).await;
    assert!(bed.fake.set_weight(ids[0], 101));
    assert!(bed.fake.set_weight(ids[1], 100));
    weighing().await;
    assert_eq!(bed.reasons(), [CloseReason::Overweight]);
    assert_eq!((bed.pool.status().idle, bed.pool.status().weight), (1, 100));
    bed.finish().await;
}

/// Invariant W2.
#[tokio::test(start_paused = true)]
async fn far_too_heavy_connection_is_killed_and_its_caller_can_learn_why() {
    let bed = bed(1);
    let lease = bed.lease().await;
    let id = PooledConnection::id(&lease);
    assert_eq!(PooledConnection::kill_cause(&lease), None);
    assert!(bed.fake.set_weight(id, 201));
    weighing().await;
    let cause = Overweight::new(201, 200);
    assert_eq!(bed.fake.kills(), [(id, cause)]);
    assert_eq!(PooledConnection::kill_cause(&lease), Some(cause));
    assert_eq!(cause.to_string(), "weight 201 exceeds kill_weight 200");
    pass(10 * SECOND).await;
    assert_eq!(bed.fake.kills().len(), 1, "once");
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Killed], "not died");
    assert!(
        !CloseReason::Killed.is_orderly(),
        "the peer cannot be asked to leave"
    );
    bed.finish().await;
}

/// A connector may not see the death that its own kill caused.
#[tokio::test(start_paused = true)]
async fn killed_connection_is_never_lent_again() {
    let bed = bed(1);
    bed.fake.stop_telling_deaths();
    bed.fake.set_query(Query::IsAlive, QueryAnswer::Yes);
    let lease = bed.lease().await;
    assert!(bed.fake.set_weight(PooledConnection::id(&lease), 500));
    weighing().await;
    drop(lease);
    drop(bed.lease().await);
    assert_eq!(bed.reasons(), [CloseReason::Killed]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_that_is_killed_is_closed_as_killed() {
    let bed = bed(1);
    let ids = bed.idle(1).await;
    assert!(bed.fake.set_weight(ids[0], 201));
    weighing().await;
    assert_eq!(bed.reasons(), [CloseReason::Killed]);
    assert_eq!(bed.fake.kills().len(), 1);
    bed.finish().await;
}

/// What is far too heavy as soon as it is opened must not be opened again and again.
#[tokio::test(start_paused = true)]
async fn connections_that_are_killed_young_slow_down_connects() {
    let bed = Bed::with(1, |builder| {
        let builder = builder.kill_weight(200).min_idle(1).min_uptime(MINUTE);
        builder.weigh_interval(Duration::from_millis(1))
    });
    for _ in 0..2000 {
        for id in bed.fake.alive() {
            bed.fake.set_weight(id, 201);
        }
        pass(Duration::from_millis(10)).await;
    }
    let started = bed.fake.counts().connect.started;
    assert!((3..200).contains(&started), "{started} in 20 s");
    bed.finish().await;
}

/// Replacing them does not help.
#[tokio::test(start_paused = true)]
async fn connections_that_are_too_heavy_when_they_are_new_are_replaced_less_and_less_often() {
    let bed = Bed::with(1, |builder| builder.max_weight(100).min_idle(1));
    // Replaced after 1, 2, 4, 8, 16 and 32 s.
    for _ in 0..600 {
        for id in bed.fake.alive() {
            bed.fake.set_weight(id, 101);
        }
        pass(TICK).await;
        let lease = HandPolled::new(bed.pool.acquire()).poll();
        assert!(lease.is_ready() || bed.pool.status().idle == 0);
    }
    let started = bed.fake.counts().connect.started;
    assert!((5..=8).contains(&started), "{started} in a minute");
    assert_eq!(bed.reasons(), vec![CloseReason::Overweight; started - 1]);
    let warned = |kind: &EventKind| matches!(kind, EventKind::HeavyWhenNew { .. });
    assert_eq!(bed.ledger.count_events(warned), 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn pool_without_limits_weighs_nothing() {
    let bed = Bed::new(1);
    let lease = bed.lease().await;
    assert!(bed.fake.set_weight(PooledConnection::id(&lease), 7));
    weighing().await;
    assert_eq!(bed.pool.status().weight, 0);
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn events_tell_who_was_too_heavy() {
    let bed = bed(2);
    let leases = bed.leases(2).await;
    let ids = [0, 1].map(|place: usize| PooledConnection::id(&leases[place]));
    assert!(bed.fake.set_weight(ids[0], 150));
    assert!(bed.fake.set_weight(ids[1], 250));
    weighing().await;
    let told: Vec<_> = bed
        .ledger
        .events()
        .into_iter()
        .filter_map(|event| {
            if let EventKind::Overweight { id, weight, limit } = event.kind {
                Some((id, weight, limit, false))
            } else if let EventKind::Killed { id, weight, limit } = event.kind {
                Some((id, weight, limit, true))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(told, [(ids[1], 250, 200, true), (ids[0], 150, 100, false)]);
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_contradict_each_other_are_refused() {
    let (connector, _fake) = pool_testkit::connector::pair();
    let pool = ConnectionPool::builder(connector)
        .max_weight(3)
        .kill_weight(2);
    let error = pool.build().expect_err("nothing would be replaced");
    let expected =
        "max_weight is 3, but kill_weight is 2: a connection would be killed before it is replaced";
    assert_eq!(error.to_string(), expected);
}

/// Vitals whose weight says that it is being read, and blocks until the test lets go.
struct Stuck(Arc<Block>);

struct Block {
    begun: Notify,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Vitals for Stuck {
    fn weight(&self) -> Option<u64> {
        self.0.begun.notify_one();
        let released = self.0.released.lock();
        let released = released.unwrap_or_else(PoisonError::into_inner).recv();
        released.ok().map(|()| 1)
    }

    fn kill(&self, _: &Overweight) {}
}

#[async_trait]
impl Connector for Stuck {
    type Connection = ();

    async fn connect(&self, _: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }

    fn vitals(&self, (): &()) -> Option<Arc<dyn Vitals>> {
        Some(Arc::new(Self(Arc::clone(&self.0))))
    }
}

/// Invariant W5.
#[tokio::test]
async fn weight_that_blocks_holds_up_nobody() {
    let _watchdog = Watchdog::start();
    let (release, released) = mpsc::channel();
    let block = Arc::new(Block {
        begun: Notify::new(),
        released: Mutex::new(released),
    });
    let pool = ConnectionPool::builder(Stuck(Arc::clone(&block)))
        .max_weight(1)
        .max_size(2)
        .weigh_interval(Duration::from_millis(1))
        .build()
        .expect("the settings are valid");
    let first = pool.acquire().await.expect("it opens");
    block.begun.notified().await;
    let second = pool.acquire().await.expect("connects go on");
    PooledConnection::discard(first);
    drop(second);
    let report = pool.close(MINUTE).await;
    assert!(report.is_complete(), "so do closes: {report:?}");
    drop(release);
}
