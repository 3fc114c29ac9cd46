//! Children as connections, under every rule of `pool_testkit::conformance`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use pool_stdio::{CommandSpec, StdioConnection, StdioConnector};
use pool_testkit::conformance::{Rule, Subject};
use pool_testkit::fixture::Behaviour;

use crate::rig::{FIXTURE, brief, spec, tempdir};

pool_testkit::conformance!(subject());

fn subject() -> Subject<StdioConnector> {
    let connector = |behaviour: &Behaviour| {
        let spec = spec(behaviour).ladder_times(brief());
        StdioConnector::new(spec).expect("the fixture is there")
    };
    let greeted = |behaviour: &Behaviour| {
        connector(behaviour).handshake(|child| {
            Box::pin(async {
                child.request("hello").await?;
                Ok(())
            })
        })
    };
    let right = connector(&Behaviour::echo());
    let children = right.children();
    // A start takes a tenth of a second under Wine.
    Subject::new(right)
        .cycles(20)
        .waive(Rule::NothingLeaks, BESIDE_OTHERS)
        .waive(Rule::QueriesAreCheap, BESIDE_OTHERS)
        .stalling(greeted(&Behaviour::new().read_to_end()))
        .failing_transiently(greeted(&Behaviour::new().exit(1)))
        .failing_permanently(removed())
        .exchange(async |child: &mut StdioConnection, number| {
            let reply = child.request(number.to_string()).await?;
            Ok(std::str::from_utf8(&reply.bytes)?.parse()?)
        })
        .dirty(async |child: &mut StdioConnection| Ok(child.send("half").await?))
        .kill(|child: &StdioConnection| kill(child.process().pid()))
        .resources(move || children.pids().into_iter().collect::<BTreeSet<u32>>())
}

/// Kills a process that is named by its number, as each system does it.
async fn kill(pid: u32) {
    let (program, args) = if cfg!(windows) {
        (
            "taskkill",
            vec!["/F".to_owned(), "/PID".to_owned(), pid.to_string()],
        )
    } else {
        ("sh", vec!["-c".to_owned(), format!("kill -KILL {pid}")])
    };
    let command = CommandSpec::new(program).args(args).build();
    let killer = command.expect("each system has it").spawn().await;
    let exit = killer.expect("each system has it").exited().await;
    assert!(
        exit.status().is_some_and(|status| status.success()),
        "{exit:?}"
    );
}

/// A connector whose program was removed after the connector was made.
fn removed() -> StdioConnector {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = tempdir("removed").join(format!("removed-{number}.exe"));
    std::fs::copy(FIXTURE, &path).expect("there is room for a copy");
    let connector = StdioConnector::new(CommandSpec::new(&path)).expect("it is there");
    std::fs::remove_file(&path).expect("nothing runs it");
    connector
}

/// Descriptors belong to the whole program, and Wine's calls take long on a busy machine. On Linux both rules are
/// judged where nothing else runs.
const BESIDE_OTHERS: &str = "other tests of this program run at the same time";
