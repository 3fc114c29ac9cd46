//! When a key has a pool, and when it loses it.

use std::error::Error;

use pool_core::{
    AcquireError, CloseReason, ConnectionPool, KeyedAcquireError, KeyedPool, KeyedSharedPool,
    SharedPool, connector_fn,
};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce};

use crate::servers::{Servers, budget};

#[tokio::test(start_paused = true)]
async fn first_use_of_a_key_makes_its_pool() {
    let servers = Servers::new(8);
    drop(servers.lease("a").await);
    drop((servers.lease("a").await, servers.lease("b").await));
    assert_eq!(
        (servers.made("a"), servers.made("b"), servers.made("c")),
        (1, 1, 0)
    );
    assert_eq!(
        servers.fake("a").counts().connect.started,
        1,
        "it is used again"
    );
    let status = servers.pools.status();
    assert_eq!(
        (status.keys, status.max_keys, status.keys_at_work),
        (2, 8, 0)
    );
    assert_eq!((status.total.idle, status.total.max_size), (2, 4));
    assert_eq!(
        servers.pools.status_of(&"a").map(|status| status.idle),
        Some(1)
    );
    assert!(servers.pools.status_of(&"c").is_none());
    let mut keys: Vec<_> = servers
        .pools
        .keys()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b"]);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn key_that_is_not_used_for_its_idle_timeout_is_dropped() {
    let servers = Servers::with(|builder| builder.key_idle_timeout(MINUTE));
    let lease = servers.lease("leased").await;
    let handle = servers.pools.handle(&"held").expect("there is room");
    drop(servers.lease("unused").await);
    pass(MINUTE / 2).await;
    assert_eq!(servers.pools.status().keys, 3);
    drop(servers.lease("unused").await);
    pass(MINUTE * 3 / 4).await;
    assert_eq!(servers.pools.status().keys, 3, "it was used in between");
    pass(MINUTE).await;
    assert_eq!(servers.pools.status().keys, 2);
    assert!(servers.pools.status_of(&"unused").is_none());
    assert_eq!(
        servers.fake("unused").counts().alive,
        0,
        "its connection is closed"
    );
    drop((lease, handle));
    pass(2 * MINUTE).await;
    assert_eq!(servers.pools.status().keys, 0);
    servers.finish().await;
}

/// Nobody looks at it while a caller is there.
#[tokio::test(start_paused = true)]
async fn key_that_callers_ask_for_in_vain_is_used_all_the_same() {
    for is_waited_for in [true, false] {
        let servers = Servers::with(|builder| builder.key_idle_timeout(MINUTE));
        let key = "down";
        let handle = servers.pools.handle(&key).expect("there is room");
        servers.fake(key).set(Call::Connect, Answer::Manual);
        drop(handle);
        for _ in 0..3 {
            pass(50 * SECOND).await;
            if is_waited_for {
                drop(HandPolled::waiting(servers.pools.acquire(&key)));
            } else {
                drop(servers.pools.handle(&key));
            }
        }
        assert_eq!(servers.made(key), 1, "it was used all the time");
        pass(90 * SECOND).await;
        assert_eq!(servers.pools.status().keys, 0);
        servers.finish().await;
    }
}

/// A new key that looked at it has not used up what the idle timeout goes by.
#[tokio::test(start_paused = true)]
async fn key_that_another_one_passed_over_keeps_its_idle_timeout() {
    let servers = Servers::with(|builder| builder.max_keys(2).key_idle_timeout(MINUTE));
    drop(servers.lease("kept").await);
    drop(servers.lease("other").await);
    pass(50 * SECOND).await;
    drop(servers.lease("kept").await);
    drop(servers.lease("new").await);
    assert!(servers.pools.status_of(&"other").is_none());
    pass(MINUTE / 2).await;
    assert!(servers.pools.status_of(&"kept").is_some());
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn new_key_takes_the_place_of_one_that_is_not_in_use() {
    let servers = Servers::new(3);
    drop(servers.lease("old").await);
    let lease = servers.lease("leased").await;
    let handle = servers.pools.handle(&"held").expect("there is room");
    drop(servers.lease("new").await);
    assert!(servers.pools.status_of(&"old").is_none());
    drop(servers.lease("newer").await);
    assert!(servers.pools.status_of(&"new").is_none());
    let key = "waiting";
    let fake_waits = HandPolled::waiting(servers.pools.acquire(&key));
    // Now all three are in use, and those that were dropped are gone.
    quiesce().await;
    let error = servers.pools.acquire(&"refused").await.unwrap_err();
    assert!(matches!(
        error,
        KeyedAcquireError::TooManyKeys { limit: 3, .. }
    ));
    assert_eq!(
        error.to_string(),
        "no place for another key in `servers`: 3 of 3 keys are in use"
    );
    assert_eq!(servers.made("refused"), 0, "no pool was made for it");
    drop((fake_waits, lease, handle));
    quiesce().await;
    drop(servers.lease("refused").await);
    servers.finish().await;
}

/// However many keys are in use that a new key looks at first.
#[tokio::test(start_paused = true)]
async fn no_new_key_is_refused_while_any_is_not_in_use() {
    const KEYS: usize = 1_000;
    const UNUSED: usize = 100;
    let settings = |_: &usize| ConnectionPool::builder(connector_fn(async |_| Ok(())));
    let pools = KeyedPool::builder(settings).max_keys(KEYS).build();
    let pools = pools.expect("the settings are valid");
    let handle = |key| pools.handle(&key).expect("there is room");
    let mut held: Vec<_> = (0..KEYS - UNUSED).map(handle).collect();
    for key in KEYS - UNUSED..KEYS {
        drop(handle(key));
    }
    held.extend((KEYS..KEYS + UNUSED).map(handle));
    let refused = pools.handle(&usize::MAX).expect_err("all are in use");
    assert!(matches!(
        refused,
        KeyedAcquireError::TooManyKeys { keys: KEYS, .. }
    ));
    drop(held);
}

/// Its turn is not lost among those of keys that were dropped.
#[tokio::test(start_paused = true)]
async fn key_that_was_dropped_and_made_again_gives_its_place_up() {
    let servers = Servers::new(1);
    for _ in 0..3 {
        assert!(servers.pools.evict(&"old") <= 1);
        quiesce().await;
        drop(servers.lease("old").await);
    }
    drop(servers.lease("new").await);
    assert!(servers.pools.status_of(&"old").is_none());
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn recently_used_keys_stay() {
    let servers = Servers::new(3);
    for key in ["a", "b", "c"] {
        drop(servers.lease(key).await);
    }
    // The first turn of the ring clears what it has seen; `a` is used again after it.
    drop(servers.lease("d").await);
    drop(servers.lease("b").await);
    drop(servers.lease("e").await);
    assert!(servers.pools.status_of(&"b").is_some());
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn key_in_backoff_stays_in_backoff_after_it_was_dropped() {
    let servers = Servers::new(1);
    let first = servers.pools.acquire(&"down");
    servers.fake("down").set(Call::Connect, Answer::Permanent);
    let error = first.await.unwrap_err();
    let KeyedAcquireError::Acquire(AcquireError::Unavailable { retry_after, .. }) = error else {
        panic!("{error}");
    };
    // Another key takes its place.
    drop(servers.lease("up").await);
    assert!(servers.pools.status_of(&"down").is_none());
    let error = servers.pools.acquire(&"down").await.unwrap_err();
    assert_eq!(servers.made("down"), 2, "it has a new pool");
    assert_eq!(
        servers.fake("down").counts().connect.started,
        0,
        "which does not connect"
    );
    let source = error.source().expect("the cause");
    assert!(source.to_string().contains("connect"), "{source}");
    assert!(matches!(
        error,
        KeyedAcquireError::Acquire(AcquireError::Unavailable { .. })
    ));
    pass(retry_after).await;
    drop(servers.lease("down").await);
    servers.finish().await;
}

/// The clock of a budget is older than the pool of a new key.
#[tokio::test(start_paused = true)]
async fn key_whose_delay_is_over_connects_at_once_after_it_was_dropped() {
    let budget = budget(4);
    let servers = Servers::with(|builder| builder.max_keys(1).budget(&budget));
    pass(SECOND).await;
    let first = servers.pools.acquire(&"down");
    servers.fake("down").set(Call::Connect, Answer::Permanent);
    let error = first.await.unwrap_err();
    let KeyedAcquireError::Acquire(AcquireError::Unavailable { retry_after, .. }) = error else {
        panic!("{error}");
    };
    drop(servers.lease("up").await);
    assert!(servers.pools.status_of(&"down").is_none());
    pass(retry_after).await;
    // It asks before any task of its new pool has run.
    drop(servers.lease("down").await);
    assert_eq!(servers.made("down"), 2);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn evict_closes_the_connections_of_one_key() {
    let servers = Servers::new(8);
    drop((servers.lease("a").await, servers.lease("a").await));
    drop(servers.lease("b").await);
    assert_eq!(servers.pools.evict(&"a"), 2);
    assert_eq!(servers.pools.evict(&"unknown"), 0);
    quiesce().await;
    let reasons: Vec<_> = servers
        .fake("a")
        .closes()
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(reasons, [CloseReason::Evicted; 2]);
    assert!(
        servers.pools.status_of(&"a").is_none(),
        "it is dropped as well"
    );
    assert_eq!(
        servers.pools.status_of(&"b").map(|status| status.idle),
        Some(1)
    );
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_key_that_is_evicted_are_served_by_new_connections() {
    let servers = Servers::new(8);
    let leases = (servers.lease("a").await, servers.lease("a").await);
    let mut waiting = HandPolled::waiting(servers.pools.acquire(&"a"));
    assert_eq!(servers.pools.evict(&"a"), 2);
    drop(leases);
    quiesce().await;
    drop(waiting.ready().expect("another one was opened"));
    assert_eq!(servers.made("a"), 1, "a key in use keeps its pool");
    drop(waiting);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_ends_all_keys_and_refuses_further_ones() {
    let servers = Servers::new(8);
    let lease = servers.lease("a").await;
    let handle = servers.pools.handle(&"b").expect("there is room");
    drop(servers.lease("c").await);
    let report = servers.pools.close(SECOND).await;
    assert_eq!((report.still_leased, report.is_complete()), (1, false));
    let error = servers.pools.acquire(&"a").await.unwrap_err();
    assert_eq!(error.to_string(), "keyed pool `servers` is closed");
    let error = handle.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Closed { .. }));
    drop(lease);
    assert!(servers.pools.status().total.is_closed);
    quiesce().await;
    assert_eq!(servers.fake("a").counts().alive, 0);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_pools_of_all_keys_at_once() {
    let servers = Servers::new(8);
    let keys = ["a", "b", "c"];
    let mut held = Vec::new();
    for key in keys {
        held.push((servers.lease(key).await, servers.lease(key).await));
    }
    let handles = keys.map(|key| servers.pools.handle(&key).expect("it has a pool"));
    let mut waiting = handles
        .each_ref()
        .map(|handle| HandPolled::waiting(handle.acquire()));
    let close = HandPolled::waiting(servers.pools.close(MINUTE));
    for one in &mut waiting {
        let answer = one.ready();
        assert!(matches!(answer, Err(AcquireError::Closed { .. })));
    }
    // Nothing of it is undone.
    drop((close, waiting));
    drop(held);
    quiesce().await;
    for key in keys {
        assert_eq!(servers.fake(key).counts().alive, 0);
    }
    drop(handles);
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn close_reports_every_connection_that_it_closed() {
    let servers = Servers::with(|builder| builder.key_idle_timeout(MINUTE));
    for key in ["a", "b", "c"] {
        drop(servers.lease(key).await);
    }
    let report = servers.pools.close(MINUTE).await;
    assert_eq!((report.closed, report.is_complete()), (3, true));
    // What has ended is forgotten meanwhile, and counted all the same.
    pass(MINUTE).await;
    let report = servers.pools.close(MINUTE).await;
    assert_eq!((report.closed, report.is_complete()), (3, true));
    servers.finish().await;
}

#[tokio::test(start_paused = true)]
async fn drop_of_the_last_handle_closes_all_keys() {
    let servers = Servers::new(8);
    drop((servers.lease("a").await, servers.lease("b").await));
    let fakes = [servers.fake("a"), servers.fake("b")];
    drop(servers);
    for fake in fakes {
        let counts = fake.until(|counts| counts.alive == 0).await;
        assert_eq!(counts.dropped_unclosed, 0);
    }
}

/// An observer of a key that holds a clone would keep all keys open for ever.
#[tokio::test(start_paused = true)]
async fn weak_reference_keeps_no_key_open() {
    let servers = Servers::new(8);
    let lease = servers.lease("a").await;
    let fake = servers.fake("a");
    let weak = servers.pools.downgrade();
    let same = weak.upgrade().expect("it has a handle");
    assert!(!same.status().total.is_closed);
    drop((same, servers));
    assert!(weak.upgrade().is_none(), "a lease is no handle");
    drop(lease);
    fake.until(|counts| counts.alive == 0).await;

    let settings = |_: &u8| SharedPool::builder(connector_fn(async |_| Ok(())));
    let pools = KeyedSharedPool::builder(settings).build();
    let pools = pools.expect("the settings are valid");
    let weak = pools.downgrade();
    let lease = pools.acquire(&1).await.expect("it connects");
    assert_eq!(weak.upgrade().expect("it has a handle").status().keys, 1);
    drop(pools);
    assert!(weak.upgrade().is_none(), "a lease is no handle");
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn timeout_names_the_key_and_the_budget() {
    let budget = budget(2);
    let servers = Servers::with(|builder| builder.budget(&budget));
    let held = (servers.lease("b").await, servers.lease("c").await);
    let error = servers
        .pools
        .acquire_within(&"a", 2 * SECOND)
        .await
        .unwrap_err();
    let expected = "no connection of key `a` within 2s: budget `children` is full: 2 of 2, held by 2 keys; 1 key waits; 0 of 2 leased";
    assert!(error.to_string().starts_with(expected), "{error}");
    drop(held);
    drop(servers.lease("a").await);
    servers.finish().await;
    assert_eq!(budget.status().used, 0);
}

#[tokio::test(start_paused = true)]
async fn keys_share_a_budget_and_give_up_what_they_do_not_use() {
    let budget = budget(2);
    let servers = Servers::with(|builder| builder.budget(&budget));
    for key in ["a", "b", "c", "d", "a"] {
        drop(servers.lease(key).await);
    }
    assert_eq!(budget.status().used, 2);
    assert_eq!(servers.fake("b").closes().len(), 1);
    servers.finish().await;
    assert!(budget.status().members.is_empty());
}

#[tokio::test(start_paused = true)]
async fn settings_that_are_not_valid_are_the_error_of_their_key() {
    let pools = KeyedPool::builder(|size: &usize| {
        ConnectionPool::builder(connector_fn(async |_| Ok(()))).max_size(*size)
    })
    .build()
    .expect("the keyed pool is valid");
    let error = pools.acquire(&0).await.unwrap_err();
    assert_eq!(error.to_string(), "the settings of key `0` are not valid");
    let source = error.source().expect("the cause").to_string();
    assert_eq!(source, "max_size is 0, but must be at least 1");
    drop(pools.acquire(&1).await.expect("another key is fine"));
}
