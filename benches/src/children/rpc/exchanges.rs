//! An exchange for each request of a client beside `forward` of it: what the exchange costs when 64 callers
//! take a lease for each request, of one child. And the same with all that a proxy sets: a limit, a client whose
//! ids are in flight, a progress token, and a rule for what may be sent again.

use std::time::Duration;

use bytes::Bytes;
use pool_core::SharedPool;
use pool_reuse::builtin::Tool;
use pool_reuse::measure::Measured;
use pool_reuse::measure::Stopwatch;
use pool_reuse::measure::Table;
use pool_reuse::measure::paired;
use pool_stdio::{ClientIds, JsonRpcConnection, Retry, RpcLease, Terms};
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
    let rates = two_workers()?.block_on(rounds(effort.rounds(ROUNDS)))?;
    let mut chapter = Chapter::new(TOPIC.name, "JSON-RPC: an exchange for each request");
    let mut table = Table::new(&[
        "64 callers, a lease for each request",
        "requests/s",
        "least",
        "greatest",
    ]);
    let names = ["forward", "exchange", "exchange, as of a proxy"];
    for (name, rates) in names.iter().zip(&rates) {
        let mut row = vec![(*name).to_owned()];
        row.extend(spread(rates, 0));
        table.add_row(row);
    }
    chapter.say(table);
    let [forwarded, exchanged, proxied] = &rates;
    chapter.figure(
        "requests/s of an exchange / of forward",
        paired(exchanged, forwarded),
        bars::EXCHANGE,
    );
    chapter.figure(
        "requests/s of an exchange with all that a proxy sets / of forward",
        paired(proxied, forwarded),
        None,
    );
    Ok(chapter)
}

/// How a request of a client is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Exchange,
    /// An exchange with all that a proxy sets.
    Proxied,
}

/// Requests per second of each round, in each way.
async fn rounds(count: usize) -> Measured<[Vec<f64>; 3]> {
    let pool = SharedPool::builder(connector()?)
        .max_size(1)
        .target_leases(CALLERS)
        .build()?;
    pool.warm_up(1).await?;
    let retry = Retry::new(pool.clone());
    let mut all = [const { Vec::new() }; 3];
    // The first round warms everything up.
    for round in 0..=count {
        let mut ways = [Way::Forward, Way::Exchange, Way::Proxied];
        let first = round % ways.len();
        ways.rotate_left(first);
        for way in ways {
            let rate = lap(&pool, &retry, way).await?;
            if round > 0 {
                all[way as usize].push(rate);
            }
        }
    }
    drop(retry);
    pool.close(Duration::from_secs(5)).await;
    Ok(all)
}

async fn lap(pool: &SharedPool<JsonRpcConnection>, retry: &Retry, way: Way) -> Measured<f64> {
    let mut call = json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call",
        "params": params(Tool::Answer) });
    if way == Way::Proxied {
        call["params"]["_meta"] = json!({ "progressToken": "t" });
    }
    let message = Bytes::from(call.to_string());
    let mut tasks: JoinSet<Measured<()>> = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..CALLERS {
        let (pool, retry, message) = (pool.clone(), retry.clone(), message.clone());
        tasks.spawn(async move {
            let plain = Terms::new();
            let of_client = Terms::new().within(LIMIT).client(&ClientIds::new());
            for _ in 0..CALLS_EACH {
                let message = message.clone();
                let reply = match way {
                    Way::Forward => pool.acquire().await?.forward(message).await?,
                    Way::Exchange => {
                        let lease = pool.acquire().await?;
                        lease.exchange(message, &plain)?.reply().await?
                    }
                    Way::Proxied => retry.exchange(message, &of_client).reply().await?,
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
/// Never reached.
const LIMIT: Duration = Duration::from_secs(60);
