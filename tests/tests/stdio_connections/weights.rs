//! Children that leak: replaced between requests, or killed.

use std::time::Duration;

use pool_core::{Budget, Builder, CloseReason, ConnectionPool, EventKind, PooledConnection};
use pool_stdio::{StdioConnection, StdioError};
use pool_testkit::fixture::{Behaviour, Step};

use crate::bed::{Bed, Events, Pool, eager, on_both_runtimes};

const MIB: u64 = 1 << 20;

/// A child that keeps a mebibyte more after each line.
fn leaky() -> Behaviour {
    Behaviour::new().then(Step::Leak { bytes: 1 << 20 })
}

/// So many requests are sent between two weighings, in all.
const BATCH: u64 = 8;

/// How far two readings of the same memory can differ.
const TOLERANCE: u64 = 2 * MIB;

const WEIGH_INTERVAL: Duration = Duration::from_millis(10);

/// The resident memory of a process; 0 if it has gone.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// A pool of one child, and every child that it had.
struct Leaky {
    pool: Pool,
    pids: Vec<u32>,
    /// What the heaviest of them occupied.
    heaviest: u64,
}

impl Leaky {
    fn new(
        bed: &Bed,
        tune: impl FnOnce(Builder<StdioConnection>) -> Builder<StdioConnection>,
    ) -> Self {
        let builder = eager(ConnectionPool::builder(bed.connector(&leaky())));
        let builder = builder.max_size(1).weigh_interval(WEIGH_INTERVAL);
        Self {
            pool: tune(builder).build().unwrap(),
            pids: Vec::new(),
            heaviest: 0,
        }
    }

    /// Sends a request. It must not fail.
    async fn grow(&mut self) {
        let mut lease = self.pool.acquire().await.unwrap();
        let reply = lease.request("grow").within(Duration::from_secs(30)).await;
        assert_eq!(reply.expect("no request fails").bytes, "grow");
        self.pids.push(lease.process().pid());
        self.pids.dedup();
        self.heaviest = self.heaviest.max(resident_bytes(lease.process().pid()));
    }

    /// What all its children occupy that have not gone.
    fn resident_bytes(&self) -> u64 {
        self.pids.iter().map(|pid| resident_bytes(*pid)).sum()
    }

    async fn weighed(&self) {
        weighed(&self.pool, || self.resident_bytes()).await;
    }
}

/// Waits until the pool knows what its child weighs, or the child has gone.
async fn weighed(pool: &Pool, bytes: impl Fn() -> u64) {
    while pool.status().weight + TOLERANCE < bytes() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_child_that_leaks_is_replaced_between_requests() {
    on_both_runtimes(async |bed| {
        let limit = 24 * MIB;
        let (mut events, observer) = Events::new();
        let mut child = Leaky::new(bed, |builder| builder.max_weight(limit).observer(observer));
        while child.pids.len() < 4 {
            for _ in 0..BATCH {
                child.grow().await;
            }
            child.weighed().await;
        }
        let allowed = limit + BATCH * MIB + TOLERANCE;
        assert!(
            child.heaviest <= allowed,
            "{} bytes of {limit}",
            child.heaviest
        );
        for _ in 0..3 {
            let closed = events
                .next(|kind| matches!(kind, EventKind::Closed { .. }))
                .await;
            let EventKind::Closed { reason, .. } = closed else {
                unreachable!("it was asked for no other");
            };
            assert_eq!(reason, CloseReason::Overweight);
        }
        let report = child.pool.close(Duration::from_secs(30)).await;
        assert!(report.is_complete());
    });
}

#[test]
fn children_that_leak_stay_within_their_budget_and_one_child() {
    on_both_runtimes(async |bed| {
        let (limit, total) = (32 * MIB, 64 * MIB);
        let budget = Budget::builder("children").max_connections(3);
        let budget = budget.max_weight(total).build().unwrap();
        let pool = || Leaky::new(bed, |builder| builder.max_weight(limit).budget(&budget));
        let mut all = [pool(), pool(), pool()];
        let (mut sent, mut most) = (0, 0);
        while all.iter().map(|one| one.pids.len()).sum::<usize>() < 9 {
            for place in 0..all.len() {
                all[place].grow().await;
                most = most.max(all.iter().map(Leaky::resident_bytes).sum());
                sent += 1;
                if sent % BATCH == 0 {
                    for one in &all {
                        one.weighed().await;
                    }
                }
            }
        }
        let heaviest = all.iter().map(|one| one.heaviest).max().unwrap();
        assert!(
            most <= total + heaviest,
            "{most} bytes of {total}, and {heaviest}"
        );
        assert!(
            most > total / 2,
            "{most} bytes of {total}: nothing was limited"
        );
        for one in &all {
            let report = one.pool.close(Duration::from_secs(30)).await;
            assert!(report.is_complete());
        }
    });
}

#[test]
fn callers_of_a_killed_child_learn_why() {
    on_both_runtimes(async |bed| {
        let limit = 24 * MIB;
        let pool = eager(ConnectionPool::builder(bed.connector(&leaky())))
            .max_size(1)
            .kill_weight(limit)
            .weigh_interval(WEIGH_INTERVAL)
            .build()
            .unwrap();
        let mut lease = pool.acquire().await.unwrap();
        let pid = lease.process().pid();
        let mut sent = 0;
        let error = loop {
            sent += 1;
            if sent % BATCH == 0 {
                weighed(&pool, || resident_bytes(pid)).await;
            }
            if let Err(error) = lease.request("grow").within(Duration::from_secs(30)).await {
                break error;
            }
        };
        let cause = PooledConnection::kill_cause(&lease).expect("it was killed");
        assert!(cause.weight > limit && cause.limit == limit, "{cause}");
        let allowed = limit + BATCH * MIB + TOLERANCE;
        assert!(cause.weight <= allowed, "{cause}");
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
