//! What the soup found, each boiled down to its bones.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectionPool, EventKind};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, pair};
use pool_testkit::ledger::Ledger;

use crate::ending::paused;
use crate::scenario::Flavour;

/// A connect took its permit before it looked at the limit, so a resize in between found one
/// permit fewer than it had to take away.
#[test]
fn a_resize_finds_the_permits_of_all_free_slots_while_connects_begin() {
    let runtime = crate::runtime(Flavour::Threads);
    let pool = runtime.block_on(async { ConnectionPool::builder(pair().0).max_size(1).build() });
    let pool = pool.expect("valid settings");
    // Each resize lets the maintenance task look for something to open.
    let sizes = [1, 0].into_iter().cycle().take(100_000);
    let results: Vec<_> = sizes.map(|size| pool.resize(size)).collect();
    assert!(results.iter().all(Result::is_ok));
}

/// A connection that was being reset or checked when the runtime went was told as closed without
/// ever being told as closing.
#[test]
fn a_connection_in_a_reset_is_closing_before_it_is_closed_with_its_runtime() {
    let runtime = paused();
    let (connector, fake) = pair();
    fake.set(Call::Reset, Answer::Never);
    let ledger = Ledger::new(1);
    let observer = Arc::new(ledger.clone());
    let pool = runtime.block_on(async {
        let builder = ConnectionPool::builder(connector).max_size(1);
        let pool = builder.observer(observer).build().expect("valid settings");
        let lease = pool.acquire().await.expect("the fake connects");
        lease.mark_needs_reset();
        drop(lease);
        fake.until(|counts| counts.reset.running() == 1).await;
        pool
    });
    drop(runtime);
    let closings = ledger.count_events(|kind| matches!(kind, EventKind::Closing { .. }));
    assert_eq!(closings, 1);
    ledger.assert_settled();
    assert_eq!((fake.alive().len(), pool.status().size()), (0, 0));
}

/// The time of last use is measured by the coarse clock, that of birth by the real one.
#[test]
fn no_connection_is_idle_for_longer_than_it_is_old() {
    paused().block_on(async {
        let (connector, fake) = pair();
        fake.set(Call::Connect, Answer::After(Duration::from_millis(30)));
        let pool = ConnectionPool::builder(connector)
            .build()
            .expect("valid settings");
        assert!(pool.warm_up(1).await.is_ok());
        let kept =
            pool.retain(|stats| stats.idle_for.is_some_and(|idle_for| idle_for <= stats.age));
        assert_eq!(kept, 0, "it is kept");
    });
}
