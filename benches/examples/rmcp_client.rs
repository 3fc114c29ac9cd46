//! A child of ours under rmcp's client: its two pipes are the transport. So the client is rmcp's, and the end
//! is ours: the whole tree is ended and reaped, and there is a report.
//!
//! The server here leaves a process behind that hears no signal but SIGKILL.
//!
//! ```text
//! cargo run -p pool-benches --example rmcp_client
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;
use std::time::Duration;

use pool_stdio::{Children, CommandSpec, KillScope, LadderTimes, Stop, Survivors};
use rmcp::service::ServiceExt;
use tokio::net::unix::pipe::{Receiver, Sender};

/// Answers `initialize` and `tools/list`, and has a helper that does not want to leave.
const SERVER: &str = r#"
    (trap '' TERM HUP INT; exec sleep 600) </dev/null >/dev/null 2>&1 &
    echo "started $!" >&2
    while read -r line; do
        id=${line#*\"id\":}; id=${id%%[,\}]*}
        case $line in
            *'"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
            *'"tools/list"'*) result='{"tools":[{"name":"nap","inputSchema":{"type":"object"}}]}' ;;
            *) continue ;;
        esac
        echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":$result}"
    done
    sleep 600"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let children = Children::new();
    let mut times = LadderTimes::default();
    times.eof_grace = Duration::from_millis(200);
    times.term_grace = Duration::from_millis(200);
    let server = CommandSpec::new("sh")
        .args(["-c", SERVER])
        .kill_scope(KillScope::Tree)
        .ladder_times(times);
    let mut child = children.spawn(&server.build()?).await?;
    let stdin = child.take_stdin().ok_or("stdin is a pipe")?;
    let stdout = child.take_stdout().ok_or("stdout is a pipe")?;
    let transport = (
        Receiver::from_owned_fd(stdout)?,
        Sender::from_owned_fd(stdin)?,
    );

    let client = ().serve(transport).await?;
    let tools = client.list_all_tools().await?;
    assert_eq!(tools.len(), 1, "{tools:?}");
    assert_eq!(tools[0].name, "nap");
    // Closes the pipes. That ends the work of rmcp, and not yet the server.
    client.cancel().await?;

    let end = child.terminate(Stop::Orderly).await;
    println!(
        "pid {}: {:?}, {}; {}",
        end.pid,
        end.rung,
        end.exit,
        end.stderr.text.trim_end()
    );
    assert_eq!(end.survivors, Survivors::Known(0), "the helper as well");
    assert!(children.pids().is_empty(), "it is reaped");
    Ok(())
}
