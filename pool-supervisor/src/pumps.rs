//! The tasks that move bytes of one child: from its stdout and stderr, and to its stdin.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};

use pool_stdio::ChildOutput;

use crate::entry::{Entry, StdinEnd, why_not_written};
use crate::limits::READ_BYTES;
use crate::protocol::{DrainReport, StreamName};
use crate::supervisor::Supervisor;

thread_local! {
    /// One for all, so that a child costs no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Reads a stream to its end, as far as there is room.
pub(crate) async fn read_stream(
    supervisor: Rc<Supervisor>,
    entry: Rc<Entry>,
    name: StreamName,
    pipe: Rc<ChildOutput>,
) {
    let end = loop {
        supervisor.may_read(&entry, name).await;
        let read = poll_fn(|cx| {
            // Order: asked again at each look. While this task waited, others may have filled what all may
            // keep.
            let readable = supervisor.readable_now(&entry, name);
            if readable == 0 {
                return Poll::Ready(Ok(None));
            }
            SCRATCH.with_borrow_mut(|scratch| {
                let most = readable.min(scratch.len());
                let count = ready!(pipe.poll_read(cx, &mut scratch[..most]))?;
                supervisor.received(&entry, name, &scratch[..count]);
                Poll::Ready(Ok::<_, io::Error>(Some(count)))
            })
        });
        match read.await {
            Ok(Some(0)) => break DrainReport::Whole,
            Ok(Some(_) | None) => {}
            Err(_) => break DrainReport::Failed,
        }
    };
    entry.state().stream(name).end = Some(end);
    entry.changed.notify_one();
}

/// Reads what is in a pipe at this moment and throws it away. Returns how many bytes that were.
pub(crate) fn discard(pipe: &ChildOutput, bytes_max: u64) -> u64 {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut total = 0;
        while total < bytes_max {
            match pipe.try_read(scratch) {
                Ok(count) if count > 0 => total += count as u64,
                Ok(_) | Err(_) => break,
            }
        }
        total
    })
}

/// Writes what the host sends, and answers.
pub(crate) async fn feed_stdin(supervisor: Rc<Supervisor>, entry: Rc<Entry>) {
    loop {
        let done = tokio::select! {
            biased;
            done = poll_fn(|cx| entry.state().poll_input(cx)) => done,
            () = entry.stdin_changed.notified() => None,
        };
        supervisor.answer_inputs(done);
        let mut state = entry.state();
        if state.stdin_end == StdinEnd::Open {
            continue;
        }
        // What was queued behind a close or a broken pipe.
        let (answers, left) = {
            let why = why_not_written(state.stdin_end);
            state.abandon_inputs(&why)
        };
        state.unwritten_bytes += left.len() as u64;
        drop(state);
        supervisor.answer_inputs(answers);
        return;
    }
}
