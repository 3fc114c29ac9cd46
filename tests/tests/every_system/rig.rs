//! How a child of these tests is started, and how long it may take.

use std::time::Duration;

use pool_stdio::{Child, CommandSpec, LadderTimes};
use pool_testkit::fixture::Behaviour;

pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");
pub(crate) const HOST: &str = env!("CARGO_BIN_EXE_pool-brief-host");
/// Nothing here takes seconds: this ends a test that hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the system allows it");
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("it hangs") })
}

pub(crate) fn spec(behaviour: &Behaviour) -> CommandSpec {
    behaviour.command(FIXTURE)
}

pub(crate) async fn start(behaviour: &Behaviour) -> Child {
    spec(behaviour)
        .build()
        .expect("the system allows it")
        .spawn()
        .await
        .expect("the system allows it")
}

/// For an end that the child comes to by itself: however slow the machine is, nothing is cut short.
pub(crate) fn patient() -> LadderTimes {
    let mut times = LadderTimes::default();
    times.flush = LIMIT;
    times.eof_grace = LIMIT;
    times.drain_timeout = LIMIT;
    times.drain_idle = LIMIT;
    times
}

/// For one that has to be forced.
pub(crate) fn brief() -> LadderTimes {
    let mut times = LadderTimes::default();
    times.eof_grace = Duration::from_millis(50);
    times.term_grace = Duration::from_millis(50);
    times
}

pub(crate) fn tempdir(name: &str) -> std::path::PathBuf {
    let name = format!("pool-every-system-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("the system allows it");
    dir
}
