//! JSON-RPC: many callers on one child, and on several.
//!
//! | file | what it measures, or decides |
//! |---|---|
//! | `calls` | calls from 1 to 256 callers on one child, beside rmcp's client |
//! | `forward` | a megabyte handed on, beside bare pipes |
//! | `crowd` | one child beside four, behind one pool |
//! | `bare` | what nobody can be faster than |
//! | `client` | how both clients call the same tool |
//!
//! The child is the built-in server of `pool-reuse`. Both clients call the same tool with the same type of params, and parse the same type of result:
//! [`CallToolResult`](rmcp::model::CallToolResult).

mod bare;
mod calls;
mod client;
mod crowd;
mod forward;

use tokio::runtime::{self, Runtime};

pub use crowd::measure as measure_crowd;

use super::program::Cores;
use super::{Chapter, Effort, Measured};

/// Measures one child and many callers, and forwarding, all on one core.
///
/// There a call costs what the clients and the child do for it. Elsewhere it also costs the waking
/// of another core, which is the same for everybody, and on some machines more than all the rest.
/// With two workers a client also pays for each hop between its tasks, as it does in a proxy.
///
/// # Errors
///
/// If a child cannot be had, or does not answer.
pub fn measure_pinned(effort: Effort) -> Measured<Chapter> {
    let title = "JSON-RPC calls on one child, beside rmcp's client, pinned to one core";
    // Order: the thread that starts children must not be born on one core.
    pool_stdio::prepare()?;
    let [one_core, everywhere] = Cores::choices()?;
    one_core.move_here()?;
    let runtimes = vec![
        ("pinned", one_thread()?),
        ("pinned two workers", two_workers()?),
    ];
    let chapter = measure(title, &one_core, effort, runtimes);
    everywhere.move_here()?;
    chapter
}

/// The same where the system puts the threads and the child: on one core, or on several.
///
/// # Errors
///
/// If a child cannot be had, or does not answer.
pub fn measure_unpinned(effort: Effort) -> Measured<Chapter> {
    let title = "JSON-RPC calls on one child, beside rmcp's client, unpinned";
    let [_, everywhere] = Cores::choices()?;
    let runtimes = vec![
        ("one thread", one_thread()?),
        ("two workers", two_workers()?),
    ];
    measure(title, &everywhere, effort, runtimes)
}

fn measure(
    title: &'static str,
    cores: &Cores,
    effort: Effort,
    runtimes: Vec<(&str, Runtime)>,
) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let mut chapter = Chapter::new(title);
    chapter.paragraphs.push(ABOUT.to_owned());
    for (place, runtime) in runtimes {
        runtime.block_on(async {
            calls::measure(place, cores, effort, &mut chapter).await?;
            forward::measure(place, cores, effort, &mut chapter).await
        })?;
    }
    Ok(chapter)
}

fn one_thread() -> Measured<Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn two_workers() -> Measured<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

const ABOUT: &str = "\
Both clients call the same tool of the same program, with the same type of params, and parse the same
type of result, and so does a caller of bare pipes, who has a child alone. They take turns; a ratio is the median of the ratios of each round. Unpinned, the system
puts the child on the callers' core or on another one: then much of a call is the waking of a core, which
is the same for both, and the ratio tells less about them.";
