//! Reading a pipe of the system: nothing is missed, and nothing is asked for twice.

use std::future::poll_fn;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Setup;
use crate::process::AsyncStdout;
use crate::rpc::pipes::StdoutPipe;

fn pipe() -> (std::io::PipeWriter, AsyncStdout) {
    let (read, write) = std::io::pipe().unwrap();
    (write, registered(read.into()))
}

fn registered(read: OwnedFd) -> AsyncStdout {
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    AsyncStdout::new(read).unwrap()
}

async fn read(stdout: &mut AsyncStdout, bytes: &mut BytesMut) -> usize {
    poll_fn(|cx| StdoutPipe::poll_read(stdout, cx, bytes))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_comes_after_a_pipe_was_emptied_is_seen_and_so_is_its_end() {
    let (mut write, mut stdout) = pipe();
    let mut bytes = BytesMut::with_capacity(64);
    write.write_all(b"one").unwrap();
    assert_eq!(read(&mut stdout, &mut bytes).await, 3);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(StdoutPipe::poll_read(&mut stdout, cx, &mut bytes).is_pending());
    write.write_all(b" two").unwrap();
    assert_eq!(read(&mut stdout, &mut bytes).await, 4);
    // The end and the last bytes are seen at once.
    write.write_all(b" three").unwrap();
    drop(write);
    assert_eq!(read(&mut stdout, &mut bytes).await, 6);
    assert_eq!(read(&mut stdout, &mut bytes).await, 0);
    assert_eq!(bytes, "one two three");
}

#[tokio::test]
async fn a_read_that_leaves_room_spares_the_next_one() {
    let (mut write, mut stdout) = pipe();
    write.write_all(b"one").unwrap();
    let mut bytes = BytesMut::with_capacity(3);
    assert_eq!(read(&mut stdout, &mut bytes).await, 3);
    // There was no room left, so there may be more: the runtime still believes so.
    assert!(is_said_to_be_readable(&stdout));
    write.write_all(b"two").unwrap();
    bytes.reserve(64);
    assert_eq!(read(&mut stdout, &mut bytes).await, 3);
    assert!(!is_said_to_be_readable(&stdout));
}

fn is_said_to_be_readable(stdout: &AsyncStdout) -> bool {
    let cx = &mut Context::from_waker(Waker::noop());
    matches!(stdout.receiver().poll_read_ready(cx), Poll::Ready(Ok(())))
}

/// The writer runs beside the runtime, so that bytes come at any moment of a read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_missed_whenever_it_comes() {
    let (mut write, mut stdout) = pipe();
    let writer = std::thread::spawn(move || {
        for number in 0..BURSTS {
            let burst = vec![b'x'; 1 + number % 7];
            write.write_all(&burst).unwrap();
        }
    });
    let expected: usize = (0..BURSTS).map(|number| 1 + number % 7).sum();
    let reader = async move {
        let mut total = 0;
        loop {
            let mut bytes = BytesMut::with_capacity(5);
            match read(&mut stdout, &mut bytes).await {
                0 => return total,
                count => total += count,
            }
        }
    };
    let limit = std::time::Duration::from_secs(30);
    let total = tokio::time::timeout(limit, reader).await.unwrap();
    assert_eq!(total, expected);
    writer.join().unwrap();
}

const BURSTS: usize = 50_000;

/// A writer may have its pipe keep messages apart; a read then yields one, however many there are.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn replies_that_a_pipe_keeps_apart_all_arrive() {
    let flags = OFlag::O_DIRECT | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let (read_end, write_end) = nix::unistd::pipe2(flags).unwrap();
    let stdout = AsyncStdout::new(read_end).unwrap();
    let mut write = std::io::PipeWriter::from(write_end);
    let (line, _input) = Setup::plain().open_with(stdout);
    let calls = async {
        let call = || line.client.call::<u32>("m", &());
        tokio::join!(call(), call(), async {
            while line.client.link.state().status().pending < 2 {
                tokio::task::yield_now().await;
            }
            for id in [1, 0] {
                writeln!(write, r#"{{"jsonrpc":"2.0","id":{id},"result":{id}}}"#).unwrap();
            }
        })
    };
    let limit = std::time::Duration::from_secs(30);
    let (first, second, ()) = tokio::time::timeout(limit, calls).await.unwrap();
    assert_eq!((first.unwrap(), second.unwrap()), (0, 1));
}
