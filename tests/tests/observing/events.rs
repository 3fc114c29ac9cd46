//! The events of a pool, as its observer gets them.

use std::sync::{Arc, Mutex, OnceLock};

use pool_core::{Event, EventKind, Observer, PooledConnection};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeConnection, pair};
use pool_testkit::ledger::Ledger;
use pool_tests::bed::{Bed, HandPolled, Pool, SECOND, Watchdog, quiesce};
use tokio::task::JoinSet;

/// With numbers from zero.
#[tokio::test(start_paused = true)]
async fn events_of_a_connection_come_in_the_order_of_its_life() {
    let bed = Bed::with(1, |builder| builder.name("workers"));
    let mut waiter = HandPolled::waiting(bed.pool.acquire());
    quiesce().await;
    drop(waiter.ready().expect("it is served"));
    drop(waiter);
    bed.lease().await.mark_dirty();
    bed.pool.close(SECOND).await;
    let events = bed.ledger.events();
    let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (0..events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|event| &*event.pool == "workers"));
    let told: Vec<_> = events
        .iter()
        .map(|event| format!("{:?}", event.kind))
        .collect();
    assert_eq!(
        told,
        [
            "Queued { waiter: WaiterId(0) }",
            "Opening { id: #0 }",
            "Opened { id: #0 }",
            "Leased { id: #0, waiter: Some(WaiterId(0)) }",
            "Returned { id: #0 }",
            "Leased { id: #0, waiter: None }",
            "Closing { id: #0, reason: Dirty }",
            "PoolClosing",
            "Closed { id: #0, reason: Dirty }",
            "PoolClosed",
        ]
    );
    bed.finish().await;
}

/// Several threads deliver events, so they are sorted first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_of_events_have_no_gaps() {
    #[derive(Debug, Default)]
    struct Seqs(Mutex<Vec<u64>>);
    impl Observer for Seqs {
        fn on_event(&self, event: &Event) {
            self.0
                .lock()
                .expect("no holder of the lock panics")
                .push(event.seq);
        }
    }
    let _watchdog = Watchdog::start();
    let (connector, _fake) = pair();
    let seqs = Arc::new(Seqs::default());
    let observer = Arc::clone(&seqs) as Arc<dyn Observer>;
    let pool: Pool = pool_core::ConnectionPool::builder(connector)
        .max_size(3)
        .max_uses(5)
        .observer(observer)
        .build()
        .expect("the settings are valid");
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for _ in 0..500 {
                drop(pool.acquire().await.expect("all are served"));
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task does not panic");
    }
    pool.close(10 * SECOND).await;
    drop(pool);
    let mut seqs = seqs.0.lock().expect("no holder of the lock panics").clone();
    seqs.sort_unstable();
    let count = u64::try_from(seqs.len()).expect("it is a small number");
    assert_eq!(seqs, (0..count).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn observer_that_panics_is_ignored() {
    #[derive(Debug)]
    struct Panics(Ledger);
    impl Observer for Panics {
        fn on_event(&self, event: &Event) {
            self.0.on_event(event);
            panic!("the observer was told to panic");
        }
    }
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let ledger = Ledger::new(2);
    let pool = pool_core::ConnectionPool::builder(connector)
        .max_size(2)
        .observer(Arc::new(Panics(ledger.clone())))
        .build()
        .expect("the settings are valid");
    let lease = pool.acquire().await.expect("it connects");
    drop(pool.acquire().await.expect("it connects"));
    PooledConnection::discard(lease);
    assert!(pool.close(SECOND).await.is_complete());
    ledger.assert_settled();
    assert_eq!(fake.counts().alive, 0);
}

/// Even while it handles an event.
#[tokio::test(start_paused = true)]
async fn observer_can_use_the_pool() {
    #[derive(Debug, Default)]
    struct UsesPool {
        pool: OnceLock<Pool>,
        lent: Mutex<Vec<PooledConnection<FakeConnection>>>,
    }
    impl Observer for UsesPool {
        fn on_event(&self, event: &Event) {
            let Some(pool) = self.pool.get() else { return };
            assert!(pool.status().size() <= 2);
            if let EventKind::Returned { .. } = event.kind {
                let mut lent = self.lent.lock().expect("no holder of the lock panics");
                if lent.is_empty()
                    && let Ok(lease) = pool.try_acquire()
                {
                    lent.push(lease);
                }
            }
        }
    }
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let observing = Arc::new(UsesPool::default());
    let observer = Arc::clone(&observing) as Arc<dyn Observer>;
    let pool = pool_core::ConnectionPool::builder(connector)
        .max_size(2)
        .observer(observer);
    let pool = pool.build().expect("the settings are valid");
    observing.pool.set(pool.clone()).expect("it is set once");
    drop(pool.acquire().await.expect("it connects"));
    assert_eq!(pool.status().leased, 1, "the observer took it");
    pool.evict_all();
    observing
        .lent
        .lock()
        .expect("no holder of the lock panics")
        .clear();
    assert!(pool.close(SECOND).await.is_complete());
    assert_eq!(fake.counts().alive, 0);
}

#[tokio::test(start_paused = true)]
async fn every_failed_connect_is_an_event_with_its_error() {
    let bed = Bed::with(1, |builder| builder.fail_fast_after(2));
    bed.fake
        .queue(Call::Connect, [Answer::Transient, Answer::Permanent]);
    bed.pool.acquire().await.expect_err("both fail");
    let mut kinds = Vec::new();
    for event in bed.ledger.events() {
        if let EventKind::ConnectFailed { error, .. } = event.kind {
            kinds.push(error.is_permanent());
        }
    }
    assert_eq!(kinds, [false, true]);
    bed.finish().await;
}
