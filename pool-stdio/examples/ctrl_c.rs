//! Starts three children and passes Ctrl-C or SIGTERM on to them: a polite one that leaves, and two
//! that do not listen. After two seconds nothing is left of any of them.
//!
//! ```text
//! cargo run -p pool-stdio --example ctrl_c
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;
use std::time::Duration;

use pool_stdio::{Children, CommandSpec, KillScope};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Order: ready for the signals before there is anything to lose.
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );

    let children = Children::new();
    let polite = "trap 'exit 0' TERM; sleep 600 & wait";
    let deaf = "trap '' TERM; sleep 600";
    let escaping = "trap '' TERM; setsid sleep 600 & wait";
    let mut handles = Vec::new();
    for script in [polite, deaf, escaping] {
        let spec = CommandSpec::new("sh")
            .args(["-c", script])
            .kill_scope(KillScope::Tree);
        handles.push(children.spawn(&spec.build()?).await?);
    }
    println!("started {:?}; press Ctrl-C", children.pids());

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let report = children.terminate_all(Duration::from_secs(2)).await;
    for child in &handles {
        let end = child.terminating().await;
        println!("{}: {:?}, {}", end.pid, end.rung, end.exit);
    }
    println!("{} ended, left: {:?}", report.ended, report.left);
    Ok(())
}
