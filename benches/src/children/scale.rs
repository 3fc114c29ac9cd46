//! Five hundred children in one pool: what each costs, here and for itself.

use std::fs;
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::StdioConnector;
use tokio::runtime;

use super::program::{Program, check_content, content};
use super::{Bar, Chapter, Effort, Judgement, Measured};
use pool_reuse::measure::clock::Stopwatch;
use pool_reuse::measure::table::Table;

/// Measures it.
///
/// # Errors
///
/// If a child cannot be had, or does not answer.
pub fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = match effort {
        Effort::Full => 500,
        Effort::Quick => 50,
    };
    let found = runtime.block_on(play(count))?;
    let mut table = Table::new(&["for each child", ""]);
    let each = |all: u64| f64::from(u32::try_from(all).unwrap_or(u32::MAX)) / f64::from(count);
    for (what, value) in [
        (
            "descriptors of ours",
            format!("{:.2}", each(found.descriptors)),
        ),
        ("threads of ours", format!("{:.2}", each(found.threads))),
        ("memory of ours, KiB", format!("{:.1}", each(found.own_kib))),
        ("memory of its own, KiB", format!("{}", found.child_kib)),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    let about = format!(
        "{count} children: there after {:.0?}, each asked once in {:.0?}, gone after {:.0?}.",
        found.opened, found.asked, found.closed
    );
    Ok(Chapter {
        title: "many children in one pool",
        paragraphs: vec![about, table.to_string()],
        pictures: Vec::new(),
        judgements: vec![
            Judgement {
                what: "descriptors for each child".to_owned(),
                figure: Some(each(found.descriptors)),
                bar: Bar::AtMost(4.0),
            },
            Judgement {
                what: "descriptors left when the pool is closed".to_owned(),
                figure: Some(each(found.descriptors_left) * f64::from(count)),
                bar: Bar::AtMost(0.0),
            },
        ],
    })
}

struct Found {
    descriptors: u64,
    descriptors_left: u64,
    threads: u64,
    own_kib: u64,
    child_kib: u64,
    opened: Duration,
    asked: Duration,
    closed: Duration,
}

async fn play(count: u32) -> Measured<Found> {
    let before = Own::now("self")?;
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
    let after = Own::now("self")?;
    let sample = leases.last().ok_or("there are some")?.pid();
    let child = Own::now(&sample.to_string())?;
    drop(leases);

    let watch = Stopwatch::start();
    let report = pool.close(Duration::from_secs(30)).await;
    children.emptied().await;
    if !report.is_complete() {
        return Err(format!("not closed: {report:?}").into());
    }
    let closed = watch.elapsed();
    let left = Own::now("self")?;
    Ok(Found {
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

/// What a process has.
struct Own {
    descriptors: u64,
    threads: u64,
    kib: u64,
}

impl Own {
    fn now(process: &str) -> Measured<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| -> Measured<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_ascii_whitespace().next());
            Ok(word.ok_or("Linux tells")?.parse()?)
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Self {
            descriptors: u64::try_from(descriptors)?,
            threads: field("Threads:")?,
            kib: field("VmRSS:")?,
        })
    }
}
