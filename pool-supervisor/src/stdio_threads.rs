//! The two threads that read stdin and write stdout, and may block in that.
//!
//! They work with whatever the host has put there: a pipe, a socket, a file or a terminal. What they hold
//! is bounded: two lines on the way in, two batches on the way out.

use std::io;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::limits::{LINE_BYTES_MAX, READ_BYTES};
use crate::line_splitter::{LineSplitter, Piece};
use crate::stdio_ends;

/// Starts to read stdin. The channel ends when the input ends. A last line without its end is ignored: it
/// is what is left of a host that was killed.
///
/// # Errors
///
/// The thread could not be started.
pub(crate) fn read_stdin() -> io::Result<mpsc::Receiver<Piece>> {
    let (sender, pieces) = mpsc::channel(1);
    let read = move || {
        let mut splitter = LineSplitter::new(LINE_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match stdio_ends::read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            let mut is_open = true;
            splitter.push(&buffer[..count], |piece| {
                is_open = is_open && sender.blocking_send(piece).is_ok();
            });
            if !is_open {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)?;
    Ok(pieces)
}

/// What writes to stdout.
#[derive(Debug)]
pub(crate) struct StdoutThread {
    pub(crate) batches: mpsc::Sender<Vec<u8>>,
    /// Resolves when everything was written, after `batches` was dropped, or when it cannot be.
    pub(crate) ended: oneshot::Receiver<io::Result<()>>,
}

/// Starts to write stdout.
///
/// # Errors
///
/// The thread could not be started.
pub(crate) fn write_stdout() -> io::Result<StdoutThread> {
    let (batches, mut received) = mpsc::channel::<Vec<u8>>(1);
    let (sender, ended) = oneshot::channel();
    let write = move || {
        let mut written = Ok(());
        while let Some(batch) = received.blocking_recv() {
            written = stdio_ends::write_all(&batch);
            if written.is_err() {
                break;
            }
        }
        drop(sender.send(written));
    };
    thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(write)?;
    Ok(StdoutThread { batches, ended })
}
