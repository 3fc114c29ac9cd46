//! The soak, short enough for every build. `--bin soak` is the long one.

#![cfg(target_os = "linux")]

use std::process::Command;
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

/// As in a container without an init: what loses its parents becomes a child of the program.
#[test]
fn counts_are_the_same_in_the_first_process_of_a_namespace() {
    // Order: the census waits for other tests, which would slow this one down.
    let _census = Census::begin();
    let words = "-mpf --mount-proc --kill-child";
    let plan = "--cycles 300 --cancelled 100 --chaos-seconds 0 --hosts 0";
    let soak = Command::new("unshare")
        .args(words.split(' '))
        .arg(env!("CARGO_BIN_EXE_soak"))
        .args(plan.split(' '))
        .output()
        .expect("there is an `unshare`");
    let said = String::from_utf8_lossy(&soak.stdout);
    if said.is_empty() {
        let error = String::from_utf8_lossy(&soak.stderr);
        assert!(error.contains("not permitted"), "{error}");
        #[expect(clippy::print_stderr, reason = "it must be seen that it was not tried")]
        {
            eprintln!("SKIPPED: this needs the right to make namespaces");
        }
        return;
    }
    assert!(soak.status.success(), "{said}");
    assert!(said.ends_with("nothing was left behind\n"), "{said}");
}
