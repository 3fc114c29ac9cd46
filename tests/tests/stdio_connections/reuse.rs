//! One child serves many requests; what dies is replaced; nothing stays.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pool_core::{CloseReason, ConnectionPool, EventKind, PooledConnection, SharedPool};
use pool_stdio::{JsonRpcConnector, LadderTimes, Protocol, Signal, StdioError, Stop};
use pool_testkit::fixture::{Behaviour, Step, Stream};
use pool_tests::children::{OUTER_DEADLINE, block_on};

use crate::bed::{Bed, Events, assert_line, eager, kill, on_both_runtimes, settled};

#[test]
fn a_hundred_requests_are_served_by_one_child_which_is_idle_in_the_end() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).max_size(8).build();
        let pool = pool.unwrap();
        let mut seen = Vec::new();
        for number in 0..100 {
            let mut lease = pool.acquire().await.unwrap();
            assert_line(
                lease.request(format!("n {number}")).await,
                format!("n {number}"),
            );
            seen.push(lease.process().pid());
        }
        seen.dedup();
        assert_eq!(seen.len(), 1);
        assert_eq!(children.pids(), seen);
        let status = pool.status();
        assert_eq!((status.idle, status.size()), (1, 1));
    });
}

#[test]
fn a_returned_connection_is_lent_again() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::echo(), 4);
        let first = pool.acquire().await.unwrap();
        let second = pool.acquire().await.unwrap();
        let pids = [first.process().pid(), second.process().pid()];
        assert_ne!(pids[0], pids[1]);
        drop((first, second));
        let again = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        let mut again = again.map(|lease| lease.process().pid());
        again.sort_unstable();
        let mut pids = pids;
        pids.sort_unstable();
        assert_eq!(again, pids);
    });
}

#[test]
fn dropping_the_last_handle_ends_the_children() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).min_idle(2).build();
        let pool = pool.unwrap();
        settled(&pool, 2).await;
        let other = pool.clone();
        drop(pool);
        assert_eq!(children.pids().len(), 2, "a handle is left");
        drop(other);
        children.emptied().await;
    });
}

#[test]
fn a_lease_outlives_its_pool_and_its_child_ends_after_it() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let mut lease = pool.acquire().await.unwrap();
        drop(pool);
        assert_line(lease.request("still here").await, "still here");
        drop(lease);
        children.emptied().await;
    });
}

#[test]
fn an_idle_child_that_crashes_is_replaced_without_traffic() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let (mut events, observer) = Events::new();
        let pool = eager(ConnectionPool::builder(connector))
            .min_idle(1)
            .observer(observer)
            .build()
            .unwrap();
        let is_opened = |event: &EventKind| matches!(event, EventKind::Opened { .. });
        events.next(is_opened).await;
        let first = children.pids();
        kill(first[0]);
        events.next(is_opened).await;
        settled(&pool, 1).await;
        let second = children.pids();
        assert_eq!(second.len(), 1);
        assert_ne!(second, first);
    });
}

#[test]
fn an_idle_child_that_closes_its_stdout_is_replaced_without_traffic() {
    on_both_runtimes(async |bed| {
        // It closes its stdout only when it was returned.
        let close = Behaviour::new().then(Step::Close(Stream::Stdout));
        let behaviour = Behaviour::new().then(Step::OnTerminate(close)).then_echo();
        let connector = bed.connector(&behaviour);
        let children = connector.children();
        let (mut events, observer) = Events::new();
        let pool = eager(ConnectionPool::builder(connector))
            .max_size(1)
            .observer(observer)
            .build()
            .unwrap();
        let mut lease = pool.acquire().await.unwrap();
        assert_line(lease.request("one").await, "one");
        drop(lease);
        children.signal_all(Signal::Terminate);
        let died = events
            .next(|event| matches!(event, EventKind::Closed { .. }))
            .await;
        assert!(matches!(
            died,
            EventKind::Closed {
                reason: CloseReason::Died,
                ..
            }
        ));
    });
}

#[test]
fn a_child_killed_while_leased_fails_its_request_and_nobody_gets_it_again() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::echo(), 1);
        let mut lease = pool.acquire().await.unwrap();
        assert_line(lease.request("before").await, "before");
        let pid = lease.process().pid();
        kill(pid);
        let error = lease.request("after").await.unwrap_err();
        let StdioError::Exited { report } = &error else {
            panic!("{error}");
        };
        let status = report.exit.unwrap().status().unwrap();
        assert_eq!(status.signal(), Some(9));
        assert!(lease.is_dirty());
        drop(lease);
        let mut lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
        assert_line(lease.request("again").await, "again");
    });
}

#[test]
fn a_child_that_exits_after_each_reply_is_replaced_each_time() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::new().then_echo_lines(1), 1);
        let mut pids = Vec::new();
        while pids.len() < 5 {
            let mut lease = pool.acquire().await.unwrap();
            let line = format!("n {}", pids.len());
            match lease.request(line.clone()).await {
                Ok(reply) => {
                    assert_eq!(reply.bytes, line);
                    pids.push(lease.process().pid());
                }
                // It was lent a moment before it was seen dead.
                Err(error) => assert!(matches!(error, StdioError::Exited { .. }), "{error}"),
            }
        }
        pids.dedup();
        assert_eq!(pids.len(), 5);
    });
}

#[test]
fn an_idle_child_is_closed_politely_and_a_dirty_one_by_force() {
    on_both_runtimes(async |bed| {
        let child = bed.child(&Behaviour::new().read_to_end().exit(3)).await;
        let polite = child.terminate(Stop::Orderly).await;
        assert_eq!(polite.rung, pool_stdio::Rung::Eof);
        assert_eq!(polite.exit.status().unwrap().code(), Some(3));
        let child = bed.child(&Behaviour::new().read_to_end().exit(3)).await;
        let forced = child.terminate(Stop::Force).await;
        assert_eq!(forced.rung, pool_stdio::Rung::Kill);
    });
}

#[test]
fn closing_the_pool_returns_when_every_child_is_reaped() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).min_idle(3).build();
        let pool = pool.unwrap();
        settled(&pool, 3).await;
        let report = pool.close(Duration::from_secs(20)).await;
        assert!(report.is_complete());
        assert!(children.pids().is_empty());
    });
}

#[test]
fn signals_reach_one_child_and_all_children() {
    on_both_runtimes(async |bed| {
        let connector = bed.connector(&Behaviour::echo());
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let leases = [(); 3].map(|()| pool.acquire());
        let mut pids = Vec::new();
        let mut held = Vec::new();
        for lease in leases {
            let lease = lease.await.unwrap();
            pids.push(lease.process().pid());
            held.push(lease);
        }
        held[0].process().signal(Signal::Terminate).unwrap();
        let error = held[0].recv().await.unwrap_err();
        assert!(matches!(error, StdioError::Exited { .. }), "{error}");
        let report = children.terminate_all(Duration::from_secs(5)).await;
        assert!(report.left.is_empty());
        drop(held);
        let error = pool.acquire().await.unwrap_err();
        assert!(format!("{error:?}").contains("Closed"), "{error:?}");
    });
}

#[test]
fn a_connection_dropped_without_a_runtime_leaves_nothing() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (on_a_thread, after_the_runtime, mid_request) = runtime.block_on(async {
        let one = bed.child(&Behaviour::echo()).await;
        let two = bed.child(&Behaviour::echo()).await;
        let mut three = bed.child(&Behaviour::new().hang()).await;
        let cancelled = pool_tests::children::poll_times(three.request("hello?"), 1).await;
        assert!(cancelled.is_none());
        (one, two, three)
    });
    std::thread::spawn(move || drop(on_a_thread))
        .join()
        .unwrap();
    drop(runtime);
    drop((after_the_runtime, mid_request));
    bed.end();
}

#[test]
fn a_detached_connection_is_the_callers_to_end() {
    on_both_runtimes(async |bed| {
        let pool = bed.pool(&Behaviour::echo(), 1);
        let lease = pool.acquire().await.unwrap();
        let mut detached = PooledConnection::detach(lease);
        drop(pool);
        assert_line(detached.request("mine").await, "mine");
        let termination = detached.terminate(Stop::Orderly).await;
        assert_eq!(termination.exit.status().unwrap().code(), Some(0));
    });
}

/// A program can keep such a runtime for later, without being in it.
#[test]
fn children_of_a_dropped_pool_end_though_nobody_polls_its_runtime() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (exclusive, mut times) = (bed.connector(&Behaviour::echo()), LadderTimes::default());
    times.eof_grace = OUTER_DEADLINE;
    let json_rpc = bed.scene.spec(&Behaviour::echo()).ladder_times(times);
    let json_rpc = JsonRpcConnector::new(json_rpc, Protocol::Plain).unwrap();
    let children = [exclusive.children(), json_rpc.children()];
    let pools = runtime.block_on(async {
        let exclusive = ConnectionPool::builder(exclusive).build().unwrap();
        let json_rpc = SharedPool::builder(json_rpc).build().unwrap();
        exclusive.warm_up(1).await.unwrap();
        json_rpc.warm_up(1).await.unwrap();
        (exclusive, json_rpc)
    });
    for children in &children {
        assert_eq!(children.pids().len(), 1);
    }
    drop(pools);
    for children in &children {
        block_on(children.emptied());
    }
    drop(runtime);
    bed.end();
}
