//! What is ended with a child: everything that it started.

use std::process::Stdio;

use pool_stdio::{KillScope, Rung, Stop, Survivors};
use pool_testkit::fixture::{Behaviour, ChildStdio, Step};

use crate::beacons::{Beacons, wait_for_deaths};
use crate::rig::{FIXTURE, HOST, brief, run, spec, start};

/// What the tree-kill matrix calls M1, M2, M3, M7, M8 and M9.
fn trees(beacon: &str) -> [(&'static str, Behaviour, usize); 6] {
    let leaf = || Behaviour::new().announce(beacon, "leaf").hang();
    let deaf = || {
        Behaviour::new()
            .then(Step::IgnoreTerminate)
            .announce(beacon, "deaf")
            .hang()
    };
    let apart = |child, count| Step::Start {
        child,
        count,
        stdio: ChildStdio::Null,
    };
    [
        (
            "a child and a grandchild",
            Behaviour::new().start(leaf()).hang(),
            1,
        ),
        (
            "a grandchild that ignores SIGTERM",
            Behaviour::new().start(deaf()).hang(),
            1,
        ),
        (
            "a grandchild whose parent has left",
            Behaviour::new()
                .then(apart(Behaviour::new().start(deaf()).exit(0), 1))
                .hang(),
            1,
        ),
        (
            "a grandchild whose root has left",
            Behaviour::new().then(apart(leaf(), 1)).exit(0),
            1,
        ),
        (
            "a deaf grandchild whose root has left",
            Behaviour::new().then(apart(deaf(), 1)).exit(0),
            1,
        ),
        (
            "thirty grandchildren",
            Behaviour::new().then(apart(leaf(), 30)).hang(),
            30,
        ),
    ]
}

#[test]
fn no_process_of_a_tree_outlives_an_end_however_it_is_ended() {
    for stop in [Stop::Force, Stop::Orderly] {
        let beacons = Beacons::new();
        for (tree, behaviour, count) in trees(&beacons.address()) {
            run(async {
                let command = spec(&behaviour).ladder_times(brief()).build().unwrap();
                let child = command.spawn().await.unwrap();
                let lit = beacons.lit(count);
                let end = child.terminate(stop).await;
                assert_eq!(end.survivors, Survivors::Known(0), "{tree} {stop:?}");
                wait_for_deaths(lit, &format!("{tree} {stop:?}")).await;
            });
        }
    }
}

#[test]
fn scope_root_leaves_the_rest_running() {
    run(async {
        let beacons = Beacons::new();
        let leaf = Behaviour::new()
            .announce(beacons.address(), "leaf")
            .then_echo();
        let child = Step::Start {
            child: leaf,
            count: 1,
            stdio: ChildStdio::Inherited,
        };
        let behaviour = Behaviour::new().then(child).hang();
        let command = spec(&behaviour)
            .kill_scope(KillScope::Root)
            .build()
            .unwrap();
        let mut child = command.spawn().await.unwrap();
        let lit = beacons.lit(1);
        // The leaf reads from the same pipe, and lives until we close it.
        let stdin = child.take_stdin().unwrap();
        let end = child.terminate(Stop::Force).await;
        assert_eq!((end.rung, end.survivors), (Rung::Kill, Survivors::Known(0)));
        tokio::select! {
            biased;
            () = lit[0].death() => panic!("it lives"),
            () = tokio::task::yield_now() => {}
        }
        drop(stdin);
        wait_for_deaths(lit, "the leaf").await;
    });
}

#[test]
fn a_dropped_handle_ends_the_tree() {
    run(async {
        let beacons = Beacons::new();
        let leaf = Behaviour::new().announce(beacons.address(), "leaf").hang();
        let child = start(&Behaviour::new().start(leaf).hang()).await;
        let lit = beacons.lit(1);
        drop(child);
        wait_for_deaths(lit, "it lives on").await;
    });
}

#[test]
fn no_process_of_a_tree_outlives_the_host_that_is_killed() {
    let beacons = Beacons::new();
    run(async {
        let mut hosts = Vec::new();
        for (tree, behaviour, count) in trees(&beacons.address()) {
            let host = start_host(&behaviour);
            hosts.push((tree, host, beacons.lit(count)));
        }
        // What others hold does not keep one alive: all of them live at the same time.
        for (tree, mut host, lit) in hosts {
            host.kill().unwrap();
            host.wait().unwrap();
            wait_for_deaths(lit, tree).await;
        }
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "the host is no child of the pool"
)]
fn start_host(root: &Behaviour) -> std::process::Child {
    std::process::Command::new(HOST)
        .args([FIXTURE, &root.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the system allows it")
}
