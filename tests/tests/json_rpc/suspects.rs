//! Children that hang in a pool, or only work for long: they are suspected and replaced, and those that hang are ended. In
//! real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pool_core::SharedPool;
use pool_stdio::{CommandSpec, JsonRpcConnection, JsonRpcConnector, Protocol, RpcError, RpcLimits};
use pool_tests::children::{Pulse, poll_times};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::bed::{Bed, on_both_runtimes};
use crate::{AMPLE, connector, server};

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
        let first = pool.acquire().await.unwrap();
        let stopped = first.process().pid();
        let mut leases = vec![first];
        while leases.iter().all(|child| child.process().pid() == stopped) {
            tokio::task::yield_now().await;
            leases.push(pool.acquire().await.unwrap());
        }
        drop(leases);
        signal(stopped, Signal::SIGSTOP);
        let mut callers = JoinSet::new();
        let answered = Arc::new(AtomicU32::new(0));
        for _ in 0..8 {
            let (pool, answered) = (pool.clone(), Arc::clone(&answered));
            callers.spawn(async move {
                let mut failed = 0;
                for _ in 0..100 {
                    match ask(&pool).await {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => {
                            failed += 1;
                            let others = answered.load(Ordering::Relaxed);
                            assert!(others > 0, "nobody goes on meanwhile");
                        }
                    }
                }
                failed
            });
        }
        let failed: Vec<u32> = callers.join_all().await;
        // Half of them go on meanwhile, and the others lose a call each.
        let losers = failed.iter().filter(|calls| **calls > 0).count();
        assert!((1..=4).contains(&losers), "{failed:?} of 100 calls failed");
        assert!(failed.iter().all(|calls| *calls <= 1), "{failed:?}");
    });
}

/// Answers all requests at once, but for `work`: then it says and answers nothing until it is told `go`.
const WORKS_SILENTLY: &str = r#"
while read -r line; do
    case $line in
        *'"method":"work"'*)
            while read -r other; do
                case $other in *'"method":"go"'*) break ;; esac
            done ;;
        *'"id":'*) ;;
        *) continue ;;
    esac
    id=${line#*\"id\":}
    echo '{"jsonrpc":"2.0","result":{},"id":'"${id%%[,\}]*}"'}'
done"#;

/// A pool of one child that works silently when it is told to.
fn pool_of_one_silent_child(bed: &Bed, hang_after: Duration) -> SharedPool<JsonRpcConnection> {
    let spec = CommandSpec::new("sh").args(["-c", WORKS_SILENTLY]);
    let connector = JsonRpcConnector::new(spec, Protocol::Mcp).unwrap();
    bed.note(connector.children());
    let connector = connector.limits(RpcLimits {
        hang_after,
        ..RpcLimits::default()
    });
    let pool = SharedPool::builder(connector).max_size(1);
    pool.target_leases(4).build().unwrap()
}

#[test]
fn a_child_that_works_silently_within_its_limit_is_not_ended_though_it_was_replaced() {
    on_both_runtimes(async |bed| {
        let hang_after = Duration::from_millis(20);
        for is_replacement_used in [false, true] {
            let pool = pool_of_one_silent_child(bed, hang_after);
            let worker = pool.acquire().await.unwrap();
            let mut work = worker.call::<Value>("work", &()).within(AMPLE);
            assert!(poll_times(&mut work, 1).await.is_none());
            let replacement = loop {
                let child = pool.acquire().await.unwrap();
                if child.process().pid() != worker.process().pid() {
                    break child;
                }
                let hasty = child.call::<Value>("echo", &()).within(hang_after / 2);
                hasty.await.unwrap_err();
            };
            // For much longer than a child that hangs would live.
            let begun = Instant::now();
            while begun.elapsed() < 30 * hang_after {
                let echo = replacement.call::<Value>("echo", &()).within(AMPLE);
                echo.await.unwrap();
            }
            let kept = is_replacement_used.then_some(replacement);
            worker.notify("go", &()).await.unwrap();
            assert_eq!(work.await.unwrap(), json!({}));
            let child = pool.acquire().await.unwrap();
            assert_eq!(child.process().pid(), worker.process().pid());
            child
                .call::<Value>("echo", &())
                .within(AMPLE)
                .await
                .unwrap();
            if let Some(replacement) = kept {
                let echo = replacement.call::<Value>("echo", &()).within(AMPLE);
                echo.await.unwrap();
            }
            while pool.status().size() > 1 {
                tokio::task::yield_now().await;
            }
            drop(worker);
            child
                .call::<Value>("echo", &())
                .within(AMPLE)
                .await
                .unwrap();
        }
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
        assert!(poll_times(&mut waiting, 1).await.is_none());
        signal(first, Signal::SIGCONT);
        let child = waiting.await.unwrap();
        assert_eq!(child.process().pid(), first);
        let reply: Value = child.call("echo", &[1]).within(SECOND).await.unwrap();
        assert_eq!(reply, json!([1]));
    });
}
