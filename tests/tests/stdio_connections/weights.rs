//! Children that leak: replaced between requests, or killed.

use std::time::Duration;

use pool_core::{CloseReason, ConnectionPool, EventKind, PooledConnection};
use pool_stdio::StdioError;
use pool_testkit::fixture::{Behaviour, Step};

use crate::bed::{Events, eager, on_both_runtimes};

const MIB: u64 = 1 << 20;

/// A child that keeps a mebibyte more after each line.
fn leaky() -> Behaviour {
    Behaviour::new().then(Step::Leak { bytes: 1 << 20 })
}

/// The pace of the callers: so much memory, at most, leaks between two weighings.
fn pace() -> tokio::time::Interval {
    tokio::time::interval(Duration::from_millis(5))
}

const WEIGH_INTERVAL: Duration = Duration::from_millis(10);

#[test]
fn a_child_that_leaks_is_replaced_between_requests() {
    on_both_runtimes(async |bed| {
        let limit = 48 * MIB;
        let (mut events, observer) = Events::new();
        let pool = eager(ConnectionPool::builder(bed.connector(&leaky())))
            .max_size(1)
            .max_weight(limit)
            .weigh_interval(WEIGH_INTERVAL)
            .observer(observer)
            .build()
            .unwrap();
        let mut pace = pace();
        let mut pids = Vec::new();
        let mut heaviest = 0;
        while pids.len() < 4 {
            pace.tick().await;
            let mut lease = pool.acquire().await.unwrap();
            let reply = lease.request("grow").within(Duration::from_secs(30)).await;
            assert_eq!(reply.expect("no request fails").bytes, "grow");
            heaviest = heaviest.max(PooledConnection::stats(&lease).weight);
            pids.push(lease.pid());
            pids.dedup();
        }
        assert!(heaviest <= 2 * limit, "{heaviest} bytes of {limit}");
        for _ in 0..3 {
            let closed = events
                .next(|kind| matches!(kind, EventKind::Closed { .. }))
                .await;
            let EventKind::Closed { reason, .. } = closed else {
                unreachable!("it was asked for no other");
            };
            assert_eq!(reason, CloseReason::Overweight);
        }
        assert!(pool.close(Duration::from_secs(30)).await.is_complete());
    });
}

#[test]
fn callers_of_a_killed_child_learn_why() {
    on_both_runtimes(async |bed| {
        let limit = 48 * MIB;
        let pool = eager(ConnectionPool::builder(bed.connector(&leaky())))
            .max_size(1)
            .kill_weight(limit)
            .weigh_interval(WEIGH_INTERVAL)
            .build()
            .unwrap();
        let mut lease = pool.acquire().await.unwrap();
        let mut pace = pace();
        let error = loop {
            pace.tick().await;
            if let Err(error) = lease.request("grow").within(Duration::from_secs(30)).await {
                break error;
            }
        };
        let cause = PooledConnection::kill_cause(&lease).expect("it was killed");
        assert!(cause.weight > limit && cause.limit == limit, "{cause}");
        let report = error.report().expect("there was a child");
        assert_eq!(report.kill_cause, Some(cause.to_string()));
        let expected = format!(
            "killed by its pool: weight {} exceeds kill_weight",
            cause.weight
        );
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(
            matches!(
                error,
                StdioError::Exited { .. }
                    | StdioError::OutputClosed { .. }
                    | StdioError::InputClosed { .. }
            ),
            "{error:?}"
        );
        drop(lease);
        // Another child serves.
        let mut lease = pool.acquire().await.unwrap();
        assert_eq!(lease.request("fresh").await.unwrap().bytes, "fresh");
        drop(lease);
        assert!(pool.close(Duration::from_secs(30)).await.is_complete());
    });
}
