//! The rows M10 and M11 and the families F2 and F3 of the tree-kill matrix: pipes that are held by others than the
//! child, and writes that are under way.

use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::{OneShotConnector, StdioConnector};
use pool_testkit::fixture::{Behaviour, Step, Stream};
use tokio::time::timeout;

use crate::beacons::{Beacons, wait_for_deaths};
use crate::rig::{LIMIT, brief, run, spec};

/// The root prints and exits when its input ends, and a grandchild holds its stdout. The caller gets the output, and
/// then nothing lives.
fn held_by(leaf: Behaviour, beacons: &Beacons) {
    run(async {
        let root = Behaviour::new().start(leaf).read_to_end();
        let root = root.print("done\n").exit(0);
        let connector =
            OneShotConnector::new(spec(&root).ladder_times(brief())).expect("the system allows it");
        let children = connector.children();
        let pool = connector.pool().build().expect("the system allows it");
        let mut one_shot = pool.acquire().await.expect("the system allows it");
        let lit = beacons.lit(1);
        let output = one_shot.run("").await.expect("the system allows it");
        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        assert!(lines.any(|line| line == b"done"), "{output:?}");
        drop(one_shot);
        pool.close(LIMIT).await;
        children.emptied().await;
        wait_for_deaths(lit, "the leaf").await;
    });
}

#[test]
fn output_is_returned_though_a_silent_grandchild_holds_the_pipe() {
    let beacons = Beacons::new();
    let leaf = Behaviour::new().announce(beacons.address(), "leaf").hang();
    held_by(leaf, &beacons);
}

#[test]
fn output_is_returned_though_a_grandchild_that_prints_holds_the_pipe() {
    let beacons = Beacons::new();
    let leaf = Behaviour::new().announce(beacons.address(), "leaf");
    let printer = leaf.then(Step::PrintEvery {
        gap: Duration::from_millis(50),
        text: "here\n".into(),
    });
    held_by(printer, &beacons);
}

#[test]
fn a_run_that_is_given_up_ends_a_grandchild_that_lost_its_parent_and_holds_the_pipe() {
    run(async {
        let beacons = Beacons::new();
        let leaf = Behaviour::new().announce(beacons.address(), "leaf").hang();
        let launcher = Behaviour::new().start(leaf).exit(0);
        let root = Behaviour::new()
            .announce(beacons.address(), "root")
            .start(launcher)
            .hang();
        let connector = OneShotConnector::new(spec(&root).ladder_times(brief())).unwrap();
        let children = connector.children();
        let pool = connector.pool().build().unwrap();
        let mut one_shot = pool.acquire().await.unwrap();
        let lit = beacons.lit(2);
        let moment = Duration::from_millis(50);
        let given_up = timeout(moment, one_shot.run("x".repeat(1 << 20))).await;
        assert!(given_up.is_err(), "a child that never answers answered");
        drop(one_shot);
        pool.close(LIMIT).await;
        children.emptied().await;
        wait_for_deaths(lit, "the leaf, or the root").await;
    });
}

#[test]
fn ten_megabytes_are_read_to_the_last_byte_before_the_exit_counts() {
    run(async {
        let bytes = 10_000_000;
        let flood = Step::Flood {
            stream: Stream::Stdout,
            bytes,
        };
        let spec = spec(&Behaviour::new().read_to_end().then(flood).exit(0));
        let limit = usize::try_from(bytes).unwrap();
        let connector = OneShotConnector::with_output_bytes_max(spec, limit).unwrap();
        let pool = connector.pool().build().unwrap();
        let output = pool.acquire().await.unwrap().run("").await.unwrap();
        assert_eq!(output.stdout.len(), limit);
        pool.close(LIMIT).await;
    });
}

#[test]
fn a_request_that_the_child_never_reads_fails_in_its_time() {
    run(async {
        let hung = spec(&Behaviour::new().hang()).ladder_times(brief());
        let connector = StdioConnector::new(hung).unwrap();
        let children = connector.children();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let mut connection = pool.acquire().await.unwrap();
        let moment = Duration::from_millis(50);
        let outcome = connection.request("x".repeat(1 << 20)).within(moment).await;
        assert!(outcome.is_err(), "a child that never answers answered");
        drop(connection);
        pool.close(LIMIT).await;
        children.emptied().await;
    });
}
