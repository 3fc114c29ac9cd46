//! Starts three children and passes Ctrl-C or SIGTERM on to them: a polite one that leaves, and two
//! that do not listen. After two seconds nothing is left of any of them.
//!
//! ```text
//! cargo run -p pool-stdio --example ctrl_c
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;
use std::io;
use std::time::Duration;

use pool_stdio::{Children, CommandSpec, KillScope};

/// Ends at the first Ctrl-C or SIGTERM after this call.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

/// Ends at the first Ctrl-C after this call.
#[cfg(windows)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { _ = interrupt.recv().await })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Order: ready for the signals before there is anything to lose.
    let told_to_end = told_to_end()?;

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

    told_to_end.await;
    let report = children.terminate_all(Duration::from_secs(2)).await;
    for child in &handles {
        let end = child.terminating().await;
        println!("{}: {:?}, {}", end.pid, end.rung, end.exit);
    }
    println!("{} ended, left: {:?}", report.ended, report.left);
    Ok(())
}
