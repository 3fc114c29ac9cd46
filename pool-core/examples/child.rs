//! A pool of child processes: this program starts itself as the child, so it needs no other.
//!
//! Run with `cargo run --release -p pool-core --example child`.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::process::Stdio;
use std::time::Duration;

use pool_core::{
    BoxError, CloseReason, ConnectContext, ConnectError, ConnectionPool, Connector, async_trait,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A child that answers one line with one line.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// A request was written and its reply not read.
    is_dirty: bool,
}

impl Worker {
    async fn request(&mut self, line: &str) -> io::Result<String> {
        self.is_dirty = true;
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let mut reply = String::new();
        match self.stdout.read_line(&mut reply).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => self.is_dirty = false,
        }
        Ok(reply.trim_end().to_owned())
    }
}

/// Starts workers: the part that a user of the pool writes.
struct Workers;

#[async_trait]
impl Connector for Workers {
    type Connection = Worker;

    async fn connect(&self, _cx: &ConnectContext) -> Result<Worker, ConnectError> {
        let program = std::env::current_exe().map_err(ConnectError::permanent)?;
        let mut command = Command::new(program);
        command
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where children are started"
        )]
        let mut child = command.spawn().map_err(ConnectError::transient)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ConnectError::permanent("the child's pipes are missing"));
        };
        Ok(Worker {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            is_dirty: false,
        })
    }

    fn is_clean(&self, worker: &Worker) -> bool {
        !worker.is_dirty
    }

    async fn close(&self, worker: Worker, reason: CloseReason) {
        let Worker {
            mut child, stdin, ..
        } = worker;
        drop(stdin); // The child sees the end of its input and leaves.
        if !reason.is_orderly() || tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            drop(child.kill().await); // Killed and reaped; it fails only if it is gone already.
        }
    }
}

const GRACE: Duration = Duration::from_secs(5);
const CALLERS: usize = 16;
const REQUESTS: usize = 1_000;

fn main() -> Result<(), BoxError> {
    if std::env::args().any(|arg| arg == "--serve") {
        return serve();
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(show())
}

/// What the child does.
fn serve() -> Result<(), BoxError> {
    let pid = std::process::id();
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(stdout, "{pid} {}", line?)?;
        stdout.flush()?;
    }
    Ok(())
}

async fn show() -> Result<(), BoxError> {
    let pool = ConnectionPool::builder(Workers)
        .name("workers")
        .max_size(4)
        .build()?;
    pool.warm_up(1).await?;

    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let pool = pool.clone();
        callers.spawn(async move {
            let mut served = BTreeMap::new();
            for number in 0..REQUESTS {
                let request = format!("{caller}/{number}");
                let reply = pool.acquire().await?.request(&request).await?;
                let (pid, echo) = reply.split_once(' ').ok_or("a reply without pid")?;
                assert_eq!(echo, request, "every caller gets its own reply");
                *served.entry(pid.to_owned()).or_insert(0_usize) += 1;
            }
            Ok::<_, BoxError>(served)
        });
    }
    let mut served = BTreeMap::new();
    for counts in callers.join_all().await {
        for (pid, count) in counts? {
            *served.entry(pid).or_insert(0) += count;
        }
    }
    let elapsed = began.elapsed();

    println!(
        "{CALLERS} callers sent {} requests in {elapsed:.2?}:",
        CALLERS * REQUESTS
    );
    for (pid, count) in &served {
        println!("  process {pid} answered {count}");
    }
    let report = pool.close(GRACE).await;
    println!(
        "closed {} processes, complete: {}",
        report.closed,
        report.is_complete()
    );
    Ok(())
}
