//! A lease for each request beside a kept connection: what acquiring and dropping cost when 64
//! callers share one child.

use std::time::Duration;

use pool_core::SharedPool;
use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::paired;
use pool_stdio::JsonRpcConnection;
use tokio::task::JoinSet;

use super::client::connector;
use super::place::two_workers;
use super::tool_call::call;
use crate::bars;
use crate::children::chapter::{Chapter, Topic, spread};
use crate::effort::Effort;

/// What a lease for each request costs.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "json-rpc-lease",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let (kept, leased) = two_workers()?.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut chapter = Chapter::new(TOPIC.name, "JSON-RPC: a lease for each request");
    let mut table = Table::new(&[
        "64 callers, one child, two workers",
        "requests/s",
        "least",
        "greatest",
    ]);
    for (name, rates) in [
        ("a kept lease", &kept),
        ("a lease for each request", &leased),
    ] {
        let mut row = vec![name.to_owned()];
        row.extend(spread(rates, 0));
        table.add_row(row);
    }
    chapter.say(table);
    chapter.figure(
        "requests/s with a lease for each request / with a kept lease",
        paired(&leased, &kept),
        bars::LEASE_FOR_EACH_REQUEST,
    );
    Ok(chapter)
}

/// Requests per second of each round: with a kept lease, and with a lease for each request.
async fn rounds(count: usize) -> Measured<(Vec<f64>, Vec<f64>)> {
    let pool = SharedPool::builder(connector()?)
        .max_size(1)
        .target_leases(CALLERS)
        .build()?;
    pool.warm_up(1).await?;
    let (mut kept, mut leased) = (Vec::new(), Vec::new());
    // The first round warms everything up.
    for round in 0..=count {
        for turn in 0..2 {
            let is_kept = (round + turn) % 2 == 0;
            let rate = lap(&pool, is_kept).await?;
            if round > 0 {
                if is_kept { &mut kept } else { &mut leased }.push(rate);
            }
        }
    }
    pool.close(Duration::from_secs(5)).await;
    Ok((kept, leased))
}

async fn lap(pool: &SharedPool<JsonRpcConnection>, is_kept: bool) -> Measured<f64> {
    let mut tasks: JoinSet<Measured<()>> = JoinSet::new();
    let mut leases = Vec::new();
    if is_kept {
        for _ in 0..CALLERS {
            leases.push(pool.acquire().await?);
        }
    }
    let watch = Stopwatch::start();
    for _ in 0..CALLERS {
        let (pool, kept) = (pool.clone(), leases.pop());
        tasks.spawn(async move {
            for _ in 0..CALLS_EACH {
                match &kept {
                    Some(lease) => call(lease, Tool::Answer).await?,
                    None => call(&*pool.acquire().await?, Tool::Answer).await?,
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(f64::from(CALLS_EACH * CALLERS) / watch.elapsed().as_secs_f64())
}

const ROUNDS: usize = 15;
const CALLERS: u32 = 64;
const CALLS_EACH: u32 = 500;
