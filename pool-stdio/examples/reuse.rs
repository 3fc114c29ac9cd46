//! A hundred requests, one child: this program starts itself as the server, so it needs no other.
//!
//! Run with `cargo run --release -p pool-stdio --example reuse`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use pool_core::ConnectionPool;
use pool_stdio::{CommandSpec, StdioConnector};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    if std::env::args().any(|argument| argument == "--serve") {
        return Ok(serve()?);
    }
    use_pool()
}

/// The child: answers each line, as soon as it has it.
fn serve() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(stdout, "{}", line?.to_uppercase())?;
        stdout.flush()?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn use_pool() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = CommandSpec::new(std::env::current_exe()?).arg("--serve");
    // Asked once before it is lent: a server that cannot start says so here.
    let connector = StdioConnector::new(server)?.handshake(|child| {
        Box::pin(async {
            let limit = Duration::from_secs(5);
            let hello = child.request("hello").within(limit).await?;
            println!("pid {} is ready: {:?}", child.process().pid(), hello.bytes);
            Ok(())
        })
    });
    let pool = ConnectionPool::builder(connector)
        .name("servers")
        .max_size(4)
        .build()?;

    for number in 0..100 {
        let mut child = pool.acquire().await?;
        let limit = Duration::from_secs(1);
        let reply = child
            .request(format!("request {number}"))
            .within(limit)
            .await?;
        assert_eq!(reply.bytes, format!("REQUEST {number}"));
    }
    println!("100 requests, {} child", pool.status().size());

    // Returns when the child has left and was reaped.
    let report = pool.close(Duration::from_secs(10)).await;
    assert!(report.is_complete());
    Ok(())
}
