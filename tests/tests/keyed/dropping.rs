//! What is left of a key that was dropped, and what is dropped with it.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use pool_core::{
    ConnectContext, ConnectError, ConnectionPool, Connector, KeyedAcquireError, KeyedPool,
    async_trait, connector_fn,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{MINUTE, SECOND, Watchdog, quiesce};

use crate::servers::{Servers, budget};

#[tokio::test(start_paused = true)]
async fn connections_of_a_dropped_key_are_counted_until_they_are_gone() {
    let servers = Servers::new(1);
    drop(servers.lease("old").await);
    let old = servers.fake("old");
    old.set(Call::Close, Answer::Manual);
    drop(servers.lease("new").await);
    let status = servers.pools.status();
    assert_eq!((status.keys, status.keys_closing), (1, 1));
    assert_eq!((status.total.closing, status.total.idle), (1, 1));
    assert_eq!(status.total.max_size, 2, "nothing more is opened for it");
    let report = servers.pools.close(SECOND).await;
    assert_eq!((report.closing, report.is_complete()), (1, false));
    assert_eq!(
        servers.pools.status().total.closing,
        1,
        "also after a close"
    );
    old.next(Call::Close).await.succeed();
    quiesce().await;
    assert_eq!(servers.pools.status().keys_closing, 0);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_keys_than_there_may_be_are_closing() {
    let servers = Servers::new(2);
    for key in ["a", "b", "c", "d"] {
        drop(servers.lease(key).await);
        servers.fake(key).set(Call::Close, Answer::Manual);
    }
    let error = servers.pools.acquire(&"e").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no place for another key in `servers`: 2 of 2 keys are in use, 2 dropped keys are being closed"
    );
    assert_eq!(servers.made("e"), 0);
    servers.fake("a").next(Call::Close).await.succeed();
    quiesce().await;
    drop(servers.lease("e").await);
    for key in ["b", "c", "d"] {
        servers.fake(key).set(Call::Close, Answer::Ok);
    }
    for key in ["b", "c"] {
        servers.fake(key).next(Call::Close).await.succeed();
    }
    servers.finish().await;
}

/// Otherwise the pool of the new key could not reserve what that of the old one had reserved.
#[tokio::test(start_paused = true)]
async fn key_is_dropped_before_the_pool_that_takes_its_place_is_made() {
    let budget = budget(1);
    let pools = KeyedPool::builder(|_key: &u32| {
        let builder = ConnectionPool::builder(connector_fn(async |_| Ok(())));
        builder.max_size(1).min_idle(1).reserve_min_idle()
    });
    let pools = pools.max_keys(1).budget(&budget).build();
    let pools = pools.expect("the settings are valid");
    for key in 0..3 {
        let lease = pools.acquire(&key).await;
        drop(lease.expect("the place of the key before, and its reserve"));
    }
    assert!(pools.close(Duration::MAX).await.is_complete());
}

/// Notes the attempts that it is told.
struct Attempts {
    fails: bool,
    latest: Arc<AtomicU32>,
}

#[async_trait]
impl Connector for Attempts {
    type Connection = ();

    async fn connect(&self, cx: &ConnectContext) -> Result<(), ConnectError> {
        self.latest.store(cx.attempt, Ordering::Relaxed);
        match self.fails {
            true => Err(ConnectError::permanent("down")),
            false => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_a_key_are_not_lost_to_a_pool_that_was_being_made() {
    let _watchdog = Watchdog::start();
    let (go, gate) = mpsc::channel::<()>();
    let (entered, slow_entered) = mpsc::channel::<()>();
    let first = Mutex::new(Some((gate, entered)));
    let latest = Arc::new(AtomicU32::new(0));
    let told = Arc::clone(&latest);
    let pools = KeyedPool::builder(move |_key: &u32| {
        let is_first = first.lock().expect("no panic").take();
        let fails = is_first.is_none();
        if let Some((gate, entered)) = is_first {
            entered.send(()).expect("the test waits for it");
            gate.recv().expect("the test lets it go on");
        }
        let latest = Arc::clone(&told);
        ConnectionPool::builder(Attempts { fails, latest })
    });
    let pools = pools.build().expect("the settings are valid");
    let slow = std::thread::spawn({
        let pools = pools.clone();
        move || pools.handle(&1)
    });
    slow_entered.recv().expect("its pool is being made");
    let error = pools.acquire(&1).await.unwrap_err();
    assert!(matches!(error, KeyedAcquireError::Acquire(_)), "{error}");
    pools.evict(&1);
    assert!(pools.status_of(&1).is_none());
    go.send(()).expect("it waits");
    let handle = slow.join().expect("no panic").expect("there is room");
    let lease = loop {
        match handle.acquire().await {
            Ok(lease) => break lease,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(latest.load(Ordering::Relaxed), 2, "one failure before it");
    drop((lease, handle));
    assert!(pools.close(MINUTE).await.is_complete());
}

type Pools = KeyedPool<Probing, ()>;

/// The pools that are used by the drops below.
static USED: OnceLock<Pools> = OnceLock::new();

fn use_pools() {
    if let Some(pools) = USED.get() {
        let _: usize = pools.status().keys;
    }
}

/// A key whose drop uses the pools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Probing(u32);

impl Drop for Probing {
    fn drop(&mut self) {
        use_pools();
    }
}

/// An error whose drop uses the pools.
#[derive(Debug)]
struct ProbingError;

impl fmt::Display for ProbingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl Error for ProbingError {}

impl Drop for ProbingError {
    fn drop(&mut self) {
        use_pools();
    }
}

#[tokio::test(start_paused = true)]
async fn drops_of_keys_and_errors_can_use_the_pools() {
    let _watchdog = Watchdog::start();
    let pools = KeyedPool::builder(|key: &Probing| {
        let fails = key.0.is_multiple_of(2);
        ConnectionPool::builder(connector_fn(move |_| async move {
            match fails {
                true => Err(ConnectError::permanent(ProbingError)),
                false => Ok(()),
            }
        }))
    });
    let pools = pools.max_keys(2).key_idle_timeout(MINUTE).build();
    let pools = USED.get_or_init(|| pools.expect("the settings are valid"));
    let mut refused = HashMap::new();
    for number in 0..20 {
        let key = Probing(number);
        let lease = pools.acquire(&key).await;
        refused.insert(number, lease.is_err());
        pools.evict(&key);
        let again = pools.acquire(&key).await;
        assert_eq!(again.is_err(), refused[&number]);
    }
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(pools.status().keys, 0);
    drop(pools.acquire(&Probing(1)).await);
    assert!(pools.acquire(&Probing(2)).await.is_err());
    assert!(pools.close(MINUTE).await.is_complete());
}
