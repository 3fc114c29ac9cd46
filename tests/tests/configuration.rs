//! Settings: which ones are refused, in which words, and what the defaults are.

use std::time::Duration;

use pool_core::{BuildError, Builder, ConnectionPool, PooledConnection};
use pool_testkit::connector::{FakeConnection, pair};
use pool_tests::bed::{Acquired, Bed, Lease, MINUTE, SECOND, Watchdog, pass, start};

type Settings = Builder<FakeConnection>;
type Tune = fn(Settings) -> Settings;
type TuneTo = fn(Settings, Duration) -> Settings;

fn refusal(tune: impl FnOnce(Settings) -> Settings) -> String {
    let (connector, _fake) = pair();
    let error = tune(ConnectionPool::builder(connector)).build();
    error.expect_err("these settings cannot work").to_string()
}

/// `build` refuses a wrong setting, before it looks for a runtime.
#[test]
fn settings_that_cannot_work_are_refused_with_name_value_and_rule() {
    let zero = Duration::ZERO;
    let refusals: [(&str, Tune); 6] = [
        ("max_size is 0, but must be at least 1", |builder| {
            builder.max_size(0)
        }),
        ("max_connecting is 0, but must be at least 1", |builder| {
            builder.max_connecting(0)
        }),
        ("fail_fast_after is 0, but must be at least 1", |builder| {
            builder.fail_fast_after(0)
        }),
        ("max_uses is 0, but must be at least 1", |builder| {
            builder.max_uses(0)
        }),
        (
            "max_size is 18446744073709551615, but must be at most 4294967294",
            |builder| builder.max_size(usize::MAX),
        ),
        (
            "max_waiters is 4294967295, but must be at most 4294967294",
            |builder| builder.max_waiters(u32::MAX as usize),
        ),
    ];
    for (expected, tune) in refusals {
        assert_eq!(refusal(tune), expected);
    }
    let durations: [(&str, TuneTo); 8] = [
        ("connect_timeout", Settings::connect_timeout),
        ("check_timeout", Settings::check_timeout),
        ("reset_timeout", Settings::reset_timeout),
        ("close_timeout", Settings::close_timeout),
        ("check_interval", Settings::check_interval),
        ("idle_timeout", Settings::idle_timeout),
        ("max_lifetime", |builder, life| {
            builder.max_lifetime(life).min_uptime(Duration::ZERO)
        }),
        ("lease_warn_after", Settings::lease_warn_after),
    ];
    for (setting, tune) in durations {
        let text = refusal(|builder| tune(builder, zero));
        assert_eq!(
            text,
            format!("{setting} is 0s, but must be more than nothing")
        );
    }
    let text = refusal(|builder| builder.retry_delay(zero, SECOND));
    assert_eq!(text, "retry_delay is 0s, but must be more than nothing");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both() {
    let text = refusal(|builder| builder.max_size(4).min_idle(5));
    let expected = "min_idle is 5, but max_size is 4: idle connections count against the limit";
    assert_eq!(text, expected);
    let text = refusal(|builder| builder.retry_delay(2 * SECOND, SECOND));
    let expected = "the first retry_delay is 2s, but its maximum is 1s: \
                    delays grow from the first to the maximum";
    assert_eq!(text, expected);
    let text = refusal(|builder| builder.min_uptime(MINUTE).max_lifetime(MINUTE));
    let expected = "min_uptime is 60s, but max_lifetime is 60s: \
                    every connection would end before it has proven itself";
    assert_eq!(text, expected);
}

#[test]
fn missing_runtime_is_refused_in_words() {
    assert_eq!(
        BuildError::NoRuntime.to_string(),
        "no Tokio runtime: build the pool inside one or pass its handle to `runtime`"
    );
    let (connector, _fake) = pair();
    let error = ConnectionPool::builder(connector).max_size(0).build();
    assert!(matches!(
        error,
        Err(BuildError::OutOfRange {
            setting: "max_size",
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn defaults_are_as_documented() {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .build()
        .expect("the defaults are valid");
    assert!(format!("{pool:?}").starts_with("ConnectionPool { name: \"pool\", status: "));
    assert_eq!((pool.status().max_size, pool.status().size()), (10, 0));
    let lease: Lease = pool.acquire().await.expect("it connects");
    drop(pool.acquire().await.expect("it connects"));
    pass(29 * SECOND).await;
    drop(pool.acquire().await.expect("it is idle"));
    assert_eq!(fake.counts().check.started, 0);
    pass(31 * SECOND).await;
    drop(pool.acquire().await.expect("it passes its check"));
    assert_eq!(fake.counts().check.started, 1, "half a minute without use");
    pass(9 * MINUTE + 30 * SECOND).await;
    assert_eq!(pool.status().idle, 1);
    pass(MINUTE).await;
    assert_eq!(pool.status().idle, 0, "idle for ten minutes");
    pass(30 * MINUTE).await;
    drop(lease);
    assert_eq!(pool.status().idle, 0, "old after half an hour");
    pool.close(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn settings_at_their_bounds_work() {
    let least = Duration::from_nanos(1);
    let bed = Bed::with(1, |builder| {
        builder
            .min_idle(1)
            .max_connecting(1)
            .max_uses(1)
            .idle_timeout(Duration::MAX)
            .max_lifetime(Duration::MAX)
            .check_interval(Duration::MAX)
            .connect_timeout(Duration::MAX)
            .close_timeout(Duration::MAX)
            .lease_warn_after(Duration::MAX)
            .retry_delay(least, Duration::MAX)
            .min_uptime(Duration::ZERO)
            .fail_fast_after(u32::MAX)
    });
    for _ in 0..3 {
        drop(bed.lease().await);
    }
    bed.finish().await;
}

#[test]
fn builder_shows_its_settings() {
    let (connector, _fake) = pair();
    let text = format!(
        "{:?}",
        ConnectionPool::builder(connector)
            .name("workers")
            .max_size(3)
    );
    assert!(
        text.contains("\"workers\"") && text.contains("max_size: 3"),
        "{text}"
    );
}

/// The longest duration there is stands for "never", in every setting and every call.
#[tokio::test(start_paused = true)]
async fn no_duration_is_too_long() {
    const MAX: Duration = Duration::MAX;
    let bed = Bed::with(2, |builder| {
        builder
            .min_idle(1)
            .acquire_timeout(MAX)
            .connect_timeout(MAX)
            .check_timeout(MAX)
            .reset_timeout(MAX)
            .close_timeout(MAX)
            .check_interval(MAX)
            .check_after_idle(MAX)
            .idle_timeout(MAX)
            .max_lifetime(MAX)
            .min_uptime(MAX - SECOND)
            .lease_warn_after(MAX)
            .retry_delay(MAX, MAX)
    });
    bed.pool.warm_up(1).await.expect("it can be opened");
    let leases = bed.leases(2).await;
    let waiting = [
        start({
            let pool = bed.pool.clone();
            async move { pool.acquire_within(MAX).await }
        }),
        bed.acquirer(),
    ];
    pass(100 * 24 * 60 * MINUTE).await;
    assert_eq!(bed.pool.status().waiting, 2);
    drop(leases);
    for waiter in waiting {
        let lease: Acquired = waiter.await.expect("the task does not panic");
        lease.expect("it is served").mark_needs_reset();
    }
    let lease = bed.lease().await;
    PooledConnection::discard(lease);
    let report = bed.pool.close(MAX).await;
    assert!(report.is_complete());
    bed.finish().await;
}
