//! Limits on children, and what they weigh.

use std::time::Duration;

use pool_core::{ConnectionPool, PooledConnection};
use pool_stdio::{CgroupSpec, CommandError, ProcessLimits, StdioConnector};
use pool_testkit::fixture::{Behaviour, Step};

use crate::rig::{LIMIT, run, spec};

const MIB: u64 = 1 << 20;

/// A child that keeps a mebibyte more after each line.
fn leaky() -> Behaviour {
    Behaviour::new().then(Step::Leak { bytes: 1 << 20 })
}

fn limits(set: impl FnOnce(&mut ProcessLimits)) -> ProcessLimits {
    let mut limits = ProcessLimits::default();
    set(&mut limits);
    limits
}

#[test]
fn what_a_child_has_started_counts_to_its_weight_and_a_heavy_one_is_killed() {
    run(async {
        for behaviour in [leaky(), Behaviour::new().start(leaky()).hang()] {
            let limit = 96 * MIB;
            let connector = StdioConnector::new(spec(&behaviour)).unwrap();
            let pool = ConnectionPool::builder(connector)
                .kill_weight(limit)
                .weigh_interval(Duration::from_millis(10))
                .build()
                .unwrap();
            let mut lease = pool.acquire().await.unwrap();
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while lease.request("grow").within(LIMIT).await.is_ok() {
                pace.tick().await;
            }
            let cause = PooledConnection::kill_cause(&lease).expect("it was killed");
            assert!(cause.weight > limit && cause.limit == limit, "{cause}");
            drop(lease);
            pool.close(LIMIT).await;
        }
    });
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_child_that_takes_more_memory_than_its_limit_ends() {
    run(async {
        let limits = limits(|limits| limits.address_space_bytes = Some(256 * MIB));
        let connector = StdioConnector::new(spec(&leaky()).limits(limits)).unwrap();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let mut lease = pool.acquire().await.unwrap();
        for _ in 0..300 {
            if lease.request("grow").within(LIMIT).await.is_err() {
                return;
            }
        }
        assert!(is_wine(), "it has more than its limit");
        eprintln!("!! SKIPPED: Wine takes the limits of a job and does not keep them");
    });
}

#[test]
fn what_a_system_cannot_limit_is_a_typed_error() {
    let files = limits(|limits| limits.open_files = Some(64));
    let built = spec(&Behaviour::echo()).limits(files).build();
    if cfg!(windows) {
        let error = built.unwrap_err();
        assert!(
            matches!(error, CommandError::LimitUnsupported { what: "open files" }),
            "{error:?}"
        );
        let group = CgroupSpec::under("C:\\groups");
        let error = spec(&Behaviour::echo()).cgroup(group).build().unwrap_err();
        assert!(matches!(error, CommandError::Cgroup { .. }), "{error:?}");
    } else {
        built.unwrap();
    }
}

/// Whether this is Wine, and not Windows.
fn is_wine() -> bool {
    cfg!(windows) && std::path::Path::new(r"C:\windows\system32\winecfg.exe").exists()
}
