//! A pool of Python workers: the interpreter starts once per worker instead of once per request.
//!
//! Run with `cargo run --release -p pool-stdio --example python_workers`. Needs `python3`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::{CommandError, CommandSpec, StdioConnector};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// `-u` or a flush after each reply, or replies wait in the interpreter's buffer.
const WORKER: &str = "
import sys
for line in sys.stdin:
    print(sum(int(word) for word in line.split()), flush=True)
";
const REQUESTS: u32 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let worker = CommandSpec::new("python3").args(["-c", WORKER]);
    let connector = match StdioConnector::new(worker) {
        Err(error @ CommandError::NotFound { .. }) => {
            println!("nothing to show here: {error}");
            return Ok(());
        }
        connector => connector?,
    };
    let pool = ConnectionPool::builder(connector)
        .name("python")
        .max_size(4)
        .build()?;
    // Fails here, with what the worker wrote to stderr, rather than at the first request.
    pool.warm_up(1).await?;

    let begun = Instant::now();
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let pool = pool.clone();
        requests.spawn(async move {
            let mut worker = pool.acquire().await?;
            let limit = Duration::from_secs(5);
            let reply = worker.request(format!("1 {number}")).within(limit).await?;
            assert_eq!(reply.bytes, (number + 1).to_string());
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    while let Some(request) = requests.join_next().await {
        request??;
    }
    println!(
        "{REQUESTS} requests in {:.0?} by {} workers",
        begun.elapsed(),
        pool.status().size()
    );

    let report = pool.close(Duration::from_secs(10)).await;
    assert!(report.is_complete());
    Ok(())
}
