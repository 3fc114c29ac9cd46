//! Five hundred children in one pool: what each costs this program, and what it uses itself.

use std::fs;
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::StdioConnector;
use tokio::runtime;

use super::chapter::{Chapter, Topic};
use super::program::{Program, check_content, content};
use crate::bars;
use crate::effort::Effort;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;

/// What many children cost.
pub(super) const TOPIC: Topic = Topic {
    name: "scale",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = match effort {
        Effort::Full => 500,
        Effort::Quick => 50,
    };
    let costs = runtime.block_on(play(count))?;
    let mut table = Table::new(&["for each child", ""]);
    let each = |all: u64| f64::from(u32::try_from(all).unwrap_or(u32::MAX)) / f64::from(count);
    for (what, value) in [
        (
            "descriptors of ours",
            format!("{:.2}", each(costs.descriptors)),
        ),
        ("threads of ours", format!("{:.2}", each(costs.threads))),
        ("memory of ours, KiB", format!("{:.1}", each(costs.own_kib))),
        ("memory of the child, KiB", format!("{}", costs.child_kib)),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    let mut chapter = Chapter::new(TOPIC.name, "Many children in one pool");
    chapter.say(format!(
        "{count} children: started after {:.0?}, each asked once in {:.0?}, gone after {:.0?}.",
        costs.opened, costs.asked, costs.closed
    ));
    chapter.say(table);
    chapter.figure(
        "descriptors for each child",
        Some(each(costs.descriptors)),
        bars::DESCRIPTORS,
    );
    chapter.figure(
        "descriptors left when the pool is closed",
        Some(each(costs.descriptors_left) * f64::from(count)),
        bars::NONE,
    );
    Ok(chapter)
}

struct Costs {
    descriptors: u64,
    descriptors_left: u64,
    threads: u64,
    own_kib: u64,
    child_kib: u64,
    opened: Duration,
    asked: Duration,
    closed: Duration,
}

async fn play(count: u32) -> Measured<Costs> {
    let before = Resources::now("self")?;
    let connector = StdioConnector::new(Program::native()?.spec())?;
    let children = connector.children();
    let pool = ConnectionPool::builder(connector)
        .max_size(usize::try_from(count)?)
        .build()?;
    let watch = Stopwatch::start();
    pool.warm_up(usize::try_from(count)?).await?;
    let opened = watch.elapsed();

    let watch = Stopwatch::start();
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(pool.acquire().await?);
    }
    for lease in &mut leases {
        check_content(&lease.request(content()).await?.bytes)?;
    }
    let asked = watch.elapsed();
    let after = Resources::now("self")?;
    let sample = leases.last().ok_or("the pool lent some")?.process().pid();
    let child = Resources::now(&sample.to_string())?;
    drop(leases);

    let watch = Stopwatch::start();
    let report = pool.close(Duration::from_secs(30)).await;
    children.emptied().await;
    if !report.is_complete() {
        return Err(format!("not closed: {report:?}").into());
    }
    let closed = watch.elapsed();
    let left = Resources::now("self")?;
    Ok(Costs {
        descriptors: after.descriptors.saturating_sub(before.descriptors),
        descriptors_left: left.descriptors.saturating_sub(before.descriptors),
        threads: after.threads.saturating_sub(before.threads),
        own_kib: after.kib.saturating_sub(before.kib),
        child_kib: child.kib,
        opened,
        asked,
        closed,
    })
}

/// What a process uses.
struct Resources {
    descriptors: u64,
    threads: u64,
    kib: u64,
}

impl Resources {
    fn now(process: &str) -> Measured<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| -> Measured<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_ascii_whitespace().next());
            Ok(word.ok_or("the status has this field")?.parse()?)
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Self {
            descriptors: u64::try_from(descriptors)?,
            threads: field("Threads:")?,
            kib: field("VmRSS:")?,
        })
    }
}
