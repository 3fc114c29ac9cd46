//! The cases, and the table that compares both clients.
//!
//! The letters are those under which the comparison in the documents names them.

use pool_reuse::measure::{Measured, Table};
use tokio::runtime;

use super::case::Case;
use super::observation::Observation;
use super::{with_pool_stdio, with_rmcp};
use crate::bars;
use crate::children::chapter::{Chapter, Topic};
use crate::effort::Effort;

/// How both clients end servers that misbehave.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "endings",
    measure,
};

const CASES: [(&str, &str, Case); 7] = [
    (
        "R1",
        "close within 8 s while 1 MB waits for a server that never reads",
        Case::CloseWhileWriting,
    ),
    (
        "R3",
        "close a server that has started another process",
        Case::CloseWithAProcess,
    ),
    ("R4", "the same with a process group", Case::CloseWithAGroup),
    (
        "R5",
        "drop the connection on a thread without a runtime (of rmcp: a transport that no client \
         serves yet)",
        Case::DropWithoutRuntime,
    ),
    (
        "R6",
        "a request is pending when the server closes its stdout",
        Case::StdoutClosed,
    ),
    ("R7", "the last answer has no newline", Case::LastLine),
    (
        "R8",
        "a request of 1 MB with a timeout of 1 s, to a server that never reads",
        Case::Timeout,
    ),
];

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new(TOPIC.name, "How clients end servers that misbehave");
    if effort == Effort::Quick {
        chapter.say("Left out of a quick run: nothing here is judged but what a full run shows.");
        return Ok(chapter);
    }
    let mut table = Table::new(&["case", "what happens", "pool-stdio", "rmcp"]).text_columns(4);
    let mut live = 0;
    for (id, what, case) in CASES {
        let (ours, theirs) = (
            run(with_pool_stdio::observe(case))?,
            run(with_rmcp::observe(case))?,
        );
        live += ours.live();
        table.add_row([
            id.to_owned(),
            what.to_owned(),
            ours.to_string(),
            theirs.to_string(),
        ]);
    }
    chapter.say(ABOUT);
    chapter.say(table);
    chapter.figure(
        "processes of ours that live on",
        Some(f64::from(u32::try_from(live)?)),
        bars::NONE,
    );
    Ok(chapter)
}

/// Each case has a runtime of its own, which ends with it.
fn run(observed: impl Future<Output = Measured<Observation>>) -> Measured<Observation> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let observation = runtime.block_on(observed);
    runtime.shutdown_background();
    observation
}

const ABOUT: &str = "\
The server is a script that answers the handshake of MCP and then misbehaves. Living processes are
counted a second after the call has returned.";
