//! Children that hang in a pool: they are suspected, replaced and ended. Default settings, real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pool_core::SharedPool;
use pool_stdio::{JsonRpcConnection, Protocol, RpcError};
use pool_tests::children::Pulse;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::bed::{Bed, on_both_runtimes};
use crate::{connector, server};

const SECOND: Duration = Duration::from_secs(1);

fn pool(bed: &Bed, max_size: usize) -> SharedPool<JsonRpcConnection> {
    let connector = connector(bed, &server(), Protocol::Mcp);
    let pool = SharedPool::builder(connector).max_size(max_size);
    pool.target_leases(4).build().unwrap()
}

/// One call with a limit of a second, on whichever child the pool lends.
async fn ask(pool: &SharedPool<JsonRpcConnection>) -> Result<u32, RpcError> {
    let child = pool.acquire().await.unwrap();
    let pid = child.process().pid();
    let reply: [u32; 1] = child.call("echo", &[7]).within(SECOND).await?;
    assert_eq!(reply, [7]);
    Ok(pid)
}

/// Calls once each period until the child that was stopped is gone. Returns how long that took, and how
/// many calls failed.
async fn stopped_at_one_call_each(bed: &Bed, period: Duration) -> (Duration, u32) {
    let pool = pool(bed, 1);
    let lease = pool.acquire().await.unwrap();
    lease.call::<Value>("ping", &()).await.unwrap();
    let stopped = lease.process().pid();
    drop(lease);
    signal(stopped, Signal::SIGSTOP);
    let begun = Instant::now();
    let failed = Arc::new(AtomicU32::new(0));
    let calls = async {
        let mut ticks = interval(period);
        loop {
            ticks.tick().await;
            if ask(&pool).await.is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    tokio::select! {
        () = calls => {}
        () = gone(stopped) => {}
    }
    (begun.elapsed(), failed.load(Ordering::Relaxed))
}

fn signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// Resolves when there is no such process.
async fn gone(pid: u32) {
    let mut ticks = interval(Duration::from_millis(10));
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        ticks.tick().await;
    }
}

/// A caller without a limit gives no evidence, but the system shows that the child is stopped.
async fn stopped_during_a_call_without_a_limit(bed: &Bed) -> Duration {
    let pool = pool(bed, 1);
    let lease = pool.acquire().await.unwrap();
    signal(lease.process().pid(), Signal::SIGSTOP);
    let begun = Instant::now();
    let error = lease.call::<Value>("echo", &()).await.unwrap_err();
    assert!(matches!(error, RpcError::Hung { .. }), "{error}");
    let pid = lease.process().pid();
    drop(lease);
    gone(pid).await;
    begun.elapsed()
}

#[test]
fn a_stopped_child_is_gone_within_ten_seconds() {
    on_both_runtimes(async |bed| {
        let pulse = Pulse::start();
        let (one, two, twenty, patient) = tokio::join!(
            stopped_at_one_call_each(bed, SECOND),
            stopped_at_one_call_each(bed, 2 * SECOND),
            stopped_at_one_call_each(bed, 20 * SECOND),
            stopped_during_a_call_without_a_limit(bed),
        );
        let late = pulse.stop();
        for (time, failed) in [one, two, twenty] {
            assert!(time < 10 * SECOND + late, "{time:?}, {late:?} late");
            assert_eq!(failed, 1, "the first call is enough evidence");
        }
        let limit = 10 * SECOND + SECOND / 2 + late;
        assert!(patient <= limit, "{patient:?}, {late:?} late");
    });
}

#[test]
fn callers_do_not_wait_for_one_of_two_children_that_hangs() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed, 2);
        let leases: Vec<_> = {
            let mut leases = Vec::new();
            for _ in 0..5 {
                leases.push(pool.acquire().await.unwrap());
            }
            leases
        };
        let stopped = leases[0].process().pid();
        drop(leases);
        signal(stopped, Signal::SIGSTOP);
        let until = Instant::now() + 3 * SECOND;
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let pool = pool.clone();
            callers.spawn(async move {
                let mut timeouts = 0;
                while Instant::now() < until {
                    timeouts += u32::from(ask(&pool).await.is_err());
                }
                timeouts
            });
        }
        let timeouts: u32 = callers.join_all().await.into_iter().sum();
        assert!((1..=8).contains(&timeouts), "{timeouts} timeouts");
    });
}

#[test]
fn a_suspect_that_goes_on_is_lent_again() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = SharedPool::builder(connector).max_size(1).max_surge(0);
        let pool = pool.build().unwrap();
        let first = ask(&pool).await.unwrap();
        signal(first, Signal::SIGSTOP);
        let error = ask(&pool).await.unwrap_err();
        assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
        // It is not lent, and there is no room for another one.
        let waiting = pool.acquire();
        tokio::pin!(waiting);
        assert!(
            pool_tests::children::poll_times(&mut waiting, 1)
                .await
                .is_none()
        );
        signal(first, Signal::SIGCONT);
        let child = waiting.await.unwrap();
        assert_eq!(child.process().pid(), first);
        let reply: Value = child.call("echo", &[1]).within(SECOND).await.unwrap();
        assert_eq!(reply, json!([1]));
    });
}
