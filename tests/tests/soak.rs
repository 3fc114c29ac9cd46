//! The soak, short enough for every build. `--bin soak` is the long one.

#![cfg(target_os = "linux")]

use std::time::Duration;

use pool_testkit::census::Census;
use pool_tests::children::Stage;
use pool_tests::soak::{Counts, cancelled, cycles};
use tokio::runtime;
use tokio::time::timeout;

const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");
const DEADLINE: Duration = Duration::from_secs(100);

/// Runs the test on a runtime, and compares the counts before and after.
#[track_caller]
fn leaves_nothing(mut builder: runtime::Builder, test: impl AsyncFn(&Stage<'_>)) {
    // Order: the census first, since it waits for other tests, whose runtimes would be counted with ours.
    let census = Census::begin();
    let runtime = builder
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let stage = Stage::at(FIXTURE, &census);
        // Threads and descriptors that the process layer makes at its first use are no leak.
        cycles::run(&stage, 10).await;
        let before = Counts::now(&census);
        timeout(DEADLINE, test(&stage))
            .await
            .expect("it ends in time");
        assert_eq!(before.wait_for_the_same(&census).await, before);
    });
    drop(runtime);
}

fn one_worker() -> runtime::Builder {
    runtime::Builder::new_current_thread()
}

fn two_workers() -> runtime::Builder {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    builder
}

#[test]
fn counts_are_the_same_after_hundreds_of_children() {
    for builder in [one_worker(), two_workers()] {
        leaves_nothing(builder, async |stage| {
            assert_eq!(cycles::run(stage, 300).await.total(), 300);
        });
    }
}

#[test]
fn counts_are_the_same_after_futures_were_dropped_at_every_await() {
    for builder in [one_worker(), two_workers()] {
        leaves_nothing(builder, async |stage| {
            for row in cancelled::run(stage, 320).await {
                assert!(row.cancelled > 0 && row.completed > 0, "{row}");
            }
        });
    }
}
