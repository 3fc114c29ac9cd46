//! Children as connections, under every rule of `pool_testkit::conformance`.
//!
//! Real children need real time, so the clock is not paused. Each test takes a census, so the tests run
//! one at a time.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "the place of a panic shows what is wrong"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pool_stdio::{
    CommandSpec, JsonRpcConnection, JsonRpcConnector, KillScope, LadderTimes, Protocol,
    StdioConnection, StdioConnector,
};
use pool_testkit::census::Census;
use pool_testkit::conformance::{Rule, Subject};
use pool_testkit::fixture::{Behaviour, ChildStdio, Step};

/// A child that echoes lines.
mod one_child {
    pool_testkit::conformance!(super::subject(&super::Behaviour::echo()));
}

/// A child that echoes lines and has a child of its own, which ignores SIGTERM.
mod a_tree {
    use super::{Behaviour, ChildStdio, Step};

    pool_testkit::conformance!({
        let leaf = Step::Start {
            child: Behaviour::new().then(Step::IgnoreTerminate).hang(),
            count: 1,
            stdio: ChildStdio::Null,
        };
        // Each orderly end takes the whole of both graces, so there are fewer cycles.
        super::subject(&Behaviour::new().then(leaf).then_echo()).cycles(20)
    });
}

/// A JSON-RPC child that answers many callers at once.
mod json_rpc {
    pool_testkit::conformance!(shared super::shared_subject());
}

fn shared_subject() -> Subject<JsonRpcConnector> {
    let census = Census::begin();
    let connector = |behaviour: &Behaviour, protocol| {
        let mut times = LadderTimes::default();
        (times.eof_grace, times.term_grace) = (GRACE, GRACE);
        let spec = behaviour.command(FIXTURE).kill_scope(KillScope::Tree);
        JsonRpcConnector::new(census.mark(spec.ladder_times(times)), protocol).unwrap()
    };
    let right = connector(&Behaviour::new().then(Step::ServeRpc), Protocol::Mcp);
    let children = right.children();
    Subject::new(right)
        .exchange(async |child: &mut JsonRpcConnection, number| {
            Ok(child.call("echo", &number).await?)
        })
        .shared(async |child: &JsonRpcConnection, number| Ok(child.call("echo", &number).await?))
        .waive(
            Rule::DirtIsSeen,
            "an answer goes to its own call, or is dropped",
        )
        .waive(
            Rule::ConnectKeepsDeadline,
            "without a handshake there is nothing to wait for",
        )
        .waive(Rule::PermanentFailureIsReported, "tried for plain children")
        .waive(Rule::TransientFailureIsReported, "tried for plain children")
        .kill(|child: &JsonRpcConnection| {
            let pid = Pid::from_raw(child.process().pid().try_into().unwrap());
            async move { kill(pid, Signal::SIGKILL).unwrap() }
        })
        .resources(move || {
            let living = census.processes().into_iter().map(|process| process.pid);
            living.chain(children.pids()).collect::<BTreeSet<u32>>()
        })
}

fn subject(behaviour: &Behaviour) -> Subject<StdioConnector> {
    let census = Census::begin();
    let connector = |behaviour: &Behaviour| {
        let mut times = LadderTimes::default();
        (times.eof_grace, times.term_grace) = (GRACE, GRACE);
        let spec = behaviour.command(FIXTURE).kill_scope(KillScope::Tree);
        StdioConnector::new(census.mark(spec.ladder_times(times))).unwrap()
    };
    let greeted = |behaviour: &Behaviour| {
        connector(behaviour).handshake(|child| {
            Box::pin(async {
                child.request("hello").await?;
                Ok(())
            })
        })
    };
    let right = connector(behaviour);
    let children = right.children();
    Subject::new(right)
        .stalling(greeted(&Behaviour::new().read_to_end()))
        .failing_transiently(greeted(&Behaviour::new().exit(1)))
        .failing_permanently(removed())
        .exchange(async |child: &mut StdioConnection, number| {
            let reply = child.request(number.to_string()).await?;
            Ok(std::str::from_utf8(&reply.bytes)?.parse()?)
        })
        .dirty(async |child: &mut StdioConnection| Ok(child.send("half").await?))
        .kill(|child: &StdioConnection| {
            let pid = Pid::from_raw(child.process().pid().try_into().unwrap());
            async move { kill(pid, Signal::SIGKILL).unwrap() }
        })
        .resources(move || {
            // The living descendants that `/proc` shows, and the children that were not reaped.
            let living = census.processes().into_iter().map(|process| process.pid);
            living.chain(children.pids()).collect::<BTreeSet<u32>>()
        })
}

/// A connector whose program was removed after the connector was made.
fn removed() -> StdioConnector {
    let path = std::env::temp_dir().join(format!("pool-conformance-{}", std::process::id()));
    fs::write(&path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let connector = StdioConnector::new(CommandSpec::new(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    connector
}

const FIXTURE: &str = env!("CARGO_BIN_EXE_pool-fixture");
/// Long enough for a child that is willing, short enough for many that are not.
const GRACE: Duration = Duration::from_millis(50);
