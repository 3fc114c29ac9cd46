//! How a connection comes to its end, and what its calls are told.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::error::{Fate, RpcError};

type Answer = JoinHandle<Result<Value, RpcError>>;

fn spawn_call(line: &OurEnd) -> Answer {
    let client = line.client.clone();
    tokio::task::spawn(async move { client.call("m", &()).await })
}

async fn error_of(call: Answer) -> RpcError {
    call.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_output_ends_all_calls_at_once() {
    let (line, mut peer) = Setup::plain().open();
    let calls = [spawn_call(&line), spawn_call(&line)];
    peer.message().await;
    let begun = Instant::now();
    drop(peer.output);
    for call in calls {
        assert!(matches!(
            error_of(call).await,
            RpcError::OutputClosed { .. }
        ));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let error = line.client.call::<Value>("m", &()).await.unwrap_err();
    assert!(error.is_retry_safe() && matches!(error, RpcError::OutputClosed { .. }));
    let error = line.client.notify("n", &()).await.unwrap_err();
    assert!(error.is_retry_safe());
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_last_reply_without_its_newline_counts() {
    let (line, mut peer) = Setup::plain().open();
    let (first, second) = (spawn_call(&line), spawn_call(&line));
    let id = peer.message().await["id"].clone();
    let reply = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#);
    peer.output.write_all(b"a line of the log\n").await.unwrap();
    peer.output.write_all(reply.as_bytes()).await.unwrap();
    drop(peer.output);
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert!(matches!(
        error_of(second).await,
        RpcError::OutputClosed { .. }
    ));
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_input_lets_what_was_written_be_answered() {
    let (line, mut peer) = Setup::plain().open();
    let first = spawn_call(&line);
    let id = peer.message().await["id"].clone();
    let (closed, _) = tokio::io::duplex(1);
    drop(std::mem::replace(&mut peer.input, BufReader::new(closed)));
    let begun = Instant::now();
    let second = spawn_call(&line);
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
    // It was found by writing. What comes until it is told waits in the queue.
    let third = spawn_call(&line);
    for call in [second, third] {
        let error = error_of(call).await;
        assert!(
            error.is_retry_safe() && matches!(error, RpcError::StdinClosed { .. }),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_millis(100));
    }
    let error = error_of(spawn_call(&line)).await;
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::StdinClosed { .. }),
        "{error}"
    );
    assert!(!line.client.link.state().is_open());
    peer.reply(&id, 1).await;
    assert_eq!(first.await.unwrap().unwrap(), 1);
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_dead_after_a_while_for_all_alike() {
    let mut setup = Setup::mcp();
    setup.pipe_bytes = 16;
    let (line, _peer) = setup.open();
    let begun = Instant::now();
    let calls = [(); 3].map(|()| spawn_call(&line));
    quiet().await;
    // A call of its own deadline does not wait for the writer's.
    let limit = Duration::from_secs(1);
    let error = line
        .client
        .call::<Value>("m", &())
        .within(limit)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RpcError::Timeout {
            fate: Fate::NotSent,
            ..
        }
    ));
    assert!(begun.elapsed() <= limit + Duration::from_millis(2));
    let mut fates = Vec::new();
    for call in calls {
        let error = error_of(call).await;
        let RpcError::WriteStalled { fate, .. } = &error else {
            panic!("{error}")
        };
        fates.push(*fate);
    }
    assert_eq!(fates, [Fate::MaybeExecuted, Fate::NotSent, Fate::NotSent]);
    assert_eq!(begun.elapsed().as_secs(), 10);
    line.ended().await;
}

/// A peer that has read the request of one call, and a call whose request does not fit into the pipe after it.
async fn peer_at_work(limit: Option<Duration>) -> (OurEnd, Peer, Value, [Answer; 2]) {
    let mut setup = Setup::mcp();
    setup.pipe_bytes = 16;
    let (line, mut peer) = setup.open();
    let client = line.client.clone();
    let at_work = tokio::task::spawn(async move {
        let call = client.call("m", &());
        match limit {
            Some(limit) => call.within(limit).await,
            None => call.await,
        }
    });
    let id = peer.message().await["id"].clone();
    let queued = spawn_call(&line);
    quiet().await;
    (line, peer, id, [at_work, queued])
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_works_need_not_read() {
    for limit in [Some(Duration::from_secs(100)), None] {
        let (line, mut peer, id, [at_work, queued]) = peer_at_work(limit).await;
        // The writer's time is ten seconds.
        tokio::time::sleep(Duration::from_secs(99)).await;
        peer.reply(&id, 1).await;
        assert_eq!(at_work.await.unwrap().unwrap(), 1);
        let id = peer.message().await["id"].clone();
        peer.reply(&id, 2).await;
        assert_eq!(queued.await.unwrap().unwrap(), 2);
        drop(peer);
        line.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_at_work_that_misses_its_deadline_is_dead() {
    let begun = Instant::now();
    let limit = Some(Duration::from_secs(45));
    let (line, _peer, _, [at_work, queued]) = peer_at_work(limit).await;
    error_of(at_work).await;
    let error = error_of(queued).await;
    assert!(matches!(error, RpcError::WriteStalled { .. }), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 45);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_answered_and_does_not_read_is_dead() {
    let begun = Instant::now();
    let limit = Some(Duration::from_secs(1000));
    let (line, mut peer, id, [at_work, queued]) = peer_at_work(limit).await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    peer.reply(&id, 1).await;
    at_work.await.unwrap().unwrap();
    let error = error_of(queued).await;
    assert!(matches!(error, RpcError::WriteStalled { .. }), "{error}");
    // It is looked at every ten seconds.
    assert_eq!(begun.elapsed().as_secs(), 40);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_dead() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 16;
    let (line, mut peer) = setup.open();
    let call = spawn_call(&line);
    let mut line_read = Vec::new();
    while line_read.last() != Some(&b'\n') {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut chunk = [0; 8];
        let read = tokio::io::AsyncReadExt::read(&mut peer.input, &mut chunk)
            .await
            .unwrap();
        assert!(read > 0, "it goes on");
        line_read.extend_from_slice(&chunk[..read]);
    }
    peer.reply(&0.into(), 1).await;
    assert_eq!(call.await.unwrap().unwrap(), 1);
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_ends_it_after_what_came_before() {
    let mut setup = Setup::plain();
    setup.settings.frame_bytes_max = 64;
    let (line, mut peer) = setup.open();
    let (first, second) = (spawn_call(&line), spawn_call(&line));
    let id = peer.message().await["id"].clone();
    peer.message().await;
    peer.reply(&id, 1).await;
    peer.say("x".repeat(65)).await;
    assert_eq!(first.await.unwrap().unwrap(), 1);
    let error = error_of(second).await;
    assert!(matches!(
        error,
        RpcError::FrameTooLarge {
            limit_bytes: 64,
            ..
        }
    ));
    assert!(!error.is_retry_safe());
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn who_closes_cancels_all_calls() {
    let (line, mut peer) = Setup::mcp().open();
    let call = spawn_call(&line);
    peer.message().await;
    line.close();
    assert!(matches!(
        error_of(call).await,
        RpcError::Cancelled {
            fate: Fate::MaybeExecuted
        }
    ));
    let error = error_of(spawn_call(&line)).await;
    assert!(matches!(
        error,
        RpcError::Cancelled {
            fate: Fate::NotSent
        }
    ));
    assert_eq!(peer.line().await, None, "the input has ended");
}
