//! Calls and forwarding in four places: on one core or on all of them, on one thread or two workers.
//!
//! On one core a call costs the work that clients and child do for it. On several it also costs
//! waking another core, which both clients pay alike and which can be most of the call. With two
//! workers a client also pays for each hop between its tasks, as it does in a proxy.

use pool_reuse::measure::Measured;
use tokio::runtime::Runtime;

use super::place::{Place, one_thread, two_workers};
use super::{callers, forward};
use crate::bars;
use crate::children::chapter::{Chapter, Topic};
use crate::children::cores::Cores;
use crate::effort::Effort;

/// Everything on one core.
pub(in crate::children) const PINNED: Topic = Topic {
    name: "json-rpc",
    measure: measure_pinned,
};

/// Wherever the system puts the threads and the child.
pub(in crate::children) const UNPINNED: Topic = Topic {
    name: "json-rpc-unpinned",
    measure: measure_unpinned,
};

fn measure_pinned(effort: Effort) -> Measured<Chapter> {
    let title = "JSON-RPC calls on one child, beside rmcp's client, pinned to one core";
    // Order: the threads of `pool-stdio` must not be started while this thread is on one core.
    pool_stdio::prepare()?;
    let [cores, everywhere] = Cores::choices()?;
    cores.move_here()?;
    let place = |name, one_caller| Place {
        name,
        cores,
        one_caller,
        crowd: bars::RPC_CROWD_PINNED,
        forward: bars::FORWARD_PINNED,
    };
    let places = [
        (place("pinned", None), one_thread()?),
        (
            place("pinned two workers", Some(bars::RPC_ONE_CALLER_PINNED)),
            two_workers()?,
        ),
    ];
    let chapter = measure(Chapter::new(PINNED.name, title), effort, places);
    everywhere.move_here()?;
    chapter
}

fn measure_unpinned(effort: Effort) -> Measured<Chapter> {
    let title = "JSON-RPC calls on one child, beside rmcp's client, unpinned";
    let [_, cores] = Cores::choices()?;
    let place = |name, one_caller| Place {
        name,
        cores,
        one_caller,
        crowd: bars::RPC_CROWD,
        forward: bars::FORWARD,
    };
    let places = [
        (place("one thread", None), one_thread()?),
        (
            place("two workers", Some(bars::RPC_ONE_CALLER)),
            two_workers()?,
        ),
    ];
    measure(Chapter::new(UNPINNED.name, title), effort, places)
}

fn measure(
    mut chapter: Chapter,
    effort: Effort,
    places: [(Place, Runtime); 2],
) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    chapter.say(ABOUT);
    for (place, runtime) in places {
        runtime.block_on(async {
            callers::measure(&place, effort, &mut chapter).await?;
            forward::measure(&place, effort, &mut chapter).await
        })?;
    }
    Ok(chapter)
}

const ABOUT: &str = "\
Both clients call the same tool of the same program, with the same type of params, and parse the same
type of result. A caller of bare pipes, who has a child alone, does the same. They take turns; a ratio is
the median of the ratios of each round. Unpinned, the system puts the child on the callers' core or on
another one. On another one most of a call is the waking of a core, which costs both clients the same, so
the ratio says less about them.";
