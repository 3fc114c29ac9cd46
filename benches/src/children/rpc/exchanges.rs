//! An exchange for each request of a client beside `forward` of it: what the exchange costs when 64 callers
//! take a lease for each request, of one child.

use std::time::Duration;

use bytes::Bytes;
use pool_core::SharedPool;
use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::paired;
use pool_stdio::{JsonRpcConnection, RpcLease, Terms};
use serde_json::json;
use tokio::task::JoinSet;

use super::client::connector;
use super::place::two_workers;
use super::tool_call::params;
use crate::bars;
use crate::children::chapter::{Chapter, Topic, spread};
use crate::effort::Effort;

/// What an exchange for each request costs.
pub(in crate::children) const TOPIC: Topic = Topic {
    name: "json-rpc-exchange",
    measure,
};

fn measure(effort: Effort) -> Measured<Chapter> {
    pool_stdio::prepare()?;
    let (forwarded, exchanged) = two_workers()?.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut chapter = Chapter::new(TOPIC.name, "JSON-RPC: an exchange for each request");
    let mut table = Table::new(&[
        "64 callers, a lease for each request",
        "requests/s",
        "least",
        "greatest",
    ]);
    for (name, rates) in [("forward", &forwarded), ("exchange", &exchanged)] {
        let mut row = vec![name.to_owned()];
        row.extend(spread(rates, 0));
        table.add_row(row);
    }
    chapter.say(table);
    chapter.figure(
        "requests/s of an exchange / of forward",
        paired(&exchanged, &forwarded),
        bars::EXCHANGE,
    );
    Ok(chapter)
}

/// How a request of a client is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Exchange,
}

/// Requests per second of each round, in either way.
async fn rounds(count: usize) -> Measured<(Vec<f64>, Vec<f64>)> {
    let pool = SharedPool::builder(connector()?)
        .max_size(1)
        .target_leases(CALLERS)
        .build()?;
    pool.warm_up(1).await?;
    let (mut forwarded, mut exchanged) = (Vec::new(), Vec::new());
    // The first round warms everything up.
    for round in 0..=count {
        let mut ways = [
            (Way::Forward, &mut forwarded),
            (Way::Exchange, &mut exchanged),
        ];
        if round % 2 == 1 {
            ways.reverse();
        }
        for (way, rates) in ways {
            let rate = lap(&pool, way).await?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    pool.close(Duration::from_secs(5)).await;
    Ok((forwarded, exchanged))
}

async fn lap(pool: &SharedPool<JsonRpcConnection>, way: Way) -> Measured<f64> {
    let call = json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call",
        "params": params(Tool::Answer) });
    let message = Bytes::from(call.to_string());
    let mut tasks: JoinSet<Measured<()>> = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..CALLERS {
        let (pool, message) = (pool.clone(), message.clone());
        tasks.spawn(async move {
            let terms = Terms::new();
            for _ in 0..CALLS_EACH {
                let lease = pool.acquire().await?;
                let reply = match way {
                    Way::Forward => lease.forward(message.clone()).await?,
                    Way::Exchange => lease.exchange(message.clone(), &terms)?.reply().await?,
                };
                if reply.is_none_or(|reply| reply.is_empty()) {
                    return Err("a reply is expected".into());
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
