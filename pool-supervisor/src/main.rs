#![doc = include_str!("../README.md")]

mod chunk_text;
mod control_queue;
mod departure;
mod dispatch;
mod drain;
mod entry;
mod host_signals;
mod input_queue;
mod kept;
mod life;
mod limits;
mod line_splitter;
mod log;
mod look_ups;
mod outcome_report;
mod protocol;
mod pumps;
mod start_spec;
mod stdio_ends;
mod stdio_threads;
mod supervisor;

use std::cell::RefCell;
use std::io;
use std::process::{ExitCode, exit};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use self::departure::{Departure, Gone, emptied};
use self::dispatch::Dispatch;
use self::host_signals::watch_signals;
use self::limits::{GUARDIAN_WAITS_MAX, HOST_GRACE, KEPT_BYTES_TOTAL, LAST_WORDS};
use self::line_splitter::Piece;
use self::stdio_ends::deaf;
use self::stdio_threads::{read_stdin, write_stdout};
use self::supervisor::Supervisor;

/// Starts, cancels, ends and drains child processes for another program. It speaks JSON-RPC 2.0, one message
/// a line, on stdin and stdout, and leaves when stdin ends.
///
/// To be started by a program, not by hand. The protocol is described in docs/supervisor.md.
#[derive(Debug, Parser)]
#[command(name = "pool-supervisor", version)]
struct Arguments {}

fn main() -> ExitCode {
    pool_stdio::guard_main();
    let Arguments {} = Arguments::parse();
    log::install();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&format!("failed to start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // The host does not wait for the guardian. Its first child does.
    let (prepared, is_prepared) = watch::channel(false);
    thread::Builder::new()
        .name("prepare".to_owned())
        .spawn(move || {
            prepare();
            let (Ok(()) | Err(_)) = prepared.send(true);
        })?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let gone = LocalSet::new().block_on(&runtime, serve(is_prepared))?;
    if gone == Gone::Signalled {
        log::line("left: it got a signal");
    }
    // Order: not by the end of `main`, which would wait for the thread that reads stdin.
    exit(0)
}

/// Starts the guardian. On a loaded machine that can take longer than one call waits for it.
fn prepare() {
    for _ in 0..GUARDIAN_WAITS_MAX {
        if let Err(error) = pool_stdio::prepare() {
            log::line(&format!("children cannot be started: {error}"));
            return;
        }
        if pool_stdio::health().has_guardian {
            return;
        }
    }
}

/// Serves the host until it has gone, or asks this program to leave.
async fn serve(is_prepared: watch::Receiver<bool>) -> io::Result<Gone> {
    let supervisor = Rc::new(Supervisor::new(KEPT_BYTES_TOTAL, is_prepared));
    let departure = Rc::new(Departure::new(Rc::clone(&supervisor)));
    let host_grace = Rc::new(RefCell::new(HOST_GRACE));
    let (gone_sender, mut gone) = mpsc::unbounded_channel();
    let dispatch = Dispatch::new(
        Rc::clone(&supervisor),
        Rc::clone(&departure),
        gone_sender.clone(),
        Rc::clone(&host_grace),
    );
    spawn_local(read_requests(
        Rc::clone(&supervisor),
        dispatch,
        gone_sender.clone(),
    )?);
    watch_signals(&supervisor, &gone_sender)?;
    let output = write_stdout()?;
    let (batches, ended) = (output.batches, output.ended);
    let sending = {
        let supervisor = Rc::clone(&supervisor);
        spawn_local(async move {
            while let Some(batch) = supervisor.next_batch().await {
                if batches.send(batch).await.is_err() {
                    break;
                }
            }
        })
    };
    let written = spawn_local({
        let gone = gone_sender.clone();
        async move {
            // Before the end it ends only if stdout is broken.
            drop(ended.await);
            let (Ok(()) | Err(_)) = gone.send(Gone::OutputBroken);
        }
    });
    let why = gone.recv().await.unwrap_or(Gone::InputEnded);
    if why != Gone::ShutDown {
        let grace: Duration = *host_grace.borrow();
        supervisor.note_host_gone();
        departure.begin(grace, why.reason()).await;
    }
    let last = async {
        if why != Gone::ShutDown {
            emptied(&supervisor, &[]).await;
        }
        supervisor.finish();
        drop((sending.await, written.await));
    };
    // A host that does not read is not waited for.
    tokio::select! {
        () = deaf() => {}
        _ = timeout(LAST_WORDS, last) => {}
    }
    Ok(why)
}

/// Takes lines from stdin, as long as the host reads its answers.
fn read_requests(
    supervisor: Rc<Supervisor>,
    mut dispatch: Dispatch,
    gone: UnboundedSender<Gone>,
) -> io::Result<impl Future<Output = ()>> {
    let mut pieces = read_stdin()?;
    Ok(async move {
        loop {
            loop {
                // Order: registered before the look.
                let sent = supervisor.sent.notified();
                if !supervisor.is_clogged() {
                    break;
                }
                sent.await;
            }
            match pieces.recv().await {
                Some(Piece::Line(line)) if line.trim_ascii().is_empty() => {}
                Some(Piece::Line(line)) => dispatch.line(&line),
                Some(Piece::TooLong) => dispatch.too_long(),
                None => break,
            }
        }
        let (Ok(()) | Err(_)) = gone.send(Gone::InputEnded);
    })
}
