//! The errors of callers while an exit is awaited that may explain a fault.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::BufReader;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{OurEnd, Peer, Setup, quiet};
use crate::launch::{EXIT_WAIT, LEAVING_WAIT};
use crate::process::{ChildRecord, Exit};
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::life_signs::LifeSign;
use crate::rpc::report::ChildFacts;

/// In the middle of the wait for an exit that is under way.
const MIDDLE: Duration = LEAVING_WAIT.checked_div(2).expect("it is not zero");

/// A connection to a child that is about to exit when it is looked at, or lives on.
fn open(is_leaving: bool) -> (OurEnd, Peer, Arc<ChildRecord>) {
    let record = Arc::new(ChildRecord::of_no_process(is_leaving));
    let mut setup = Setup::plain();
    setup.settings.facts = ChildFacts {
        record: Some(Arc::clone(&record)),
    };
    let (line, peer) = setup.open();
    (line, peer, record)
}

fn spawn_call(line: &OurEnd, limit: Duration) -> JoinHandle<Result<Value, RpcError>> {
    let client = line.client.clone();
    tokio::task::spawn(async move { client.call("m", &()).within(limit).await })
}

async fn error_of(call: JoinHandle<Result<Value, RpcError>>) -> RpcError {
    call.await.unwrap().unwrap_err()
}

/// The child closes its stdin. The other end stays open.
fn close_input(peer: &mut Peer) {
    let (closed, _) = tokio::io::duplex(1);
    drop(std::mem::replace(&mut peer.input, BufReader::new(closed)));
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_ends_in_the_wait_is_told_what_is_known() {
    let (line, mut peer, _record) = open(true);
    let call = spawn_call(&line, MIDDLE);
    peer.message().await;
    let begun = Instant::now();
    drop(peer.output);
    let error = error_of(call).await;
    assert_eq!(begun.elapsed(), MIDDLE);
    assert!(
        matches!(&error, RpcError::OutputClosed { report, fate: Fate::MaybeExecuted } if report.exit.is_none()),
        "{error}"
    );
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_is_late_is_told_and_one_that_does_not_come_is_waited_for_a_second() {
    for (is_leaving, exits_after, waited) in [
        (true, Some(MIDDLE), MIDDLE),
        (true, None, EXIT_WAIT + LEAVING_WAIT),
        (false, None, EXIT_WAIT),
    ] {
        let (line, mut peer, record) = open(is_leaving);
        let call = spawn_call(&line, LONG);
        peer.message().await;
        let begun = Instant::now();
        drop(peer.output);
        if let Some(exits_after) = exits_after {
            tokio::time::sleep(exits_after).await;
            record.exit.set(Exit::Lost);
        }
        let error = error_of(call).await;
        assert_eq!(begun.elapsed(), waited);
        let has_exited = matches!(error, RpcError::ProcessExited { .. });
        assert_eq!(has_exited, exits_after.is_some(), "{error}");
        assert!(waited < Duration::from_millis(1_100));
        line.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_wait_the_connection_is_not_open_and_a_call_waits_for_its_error() {
    let (line, mut peer, record) = open(true);
    let written = spawn_call(&line, LONG);
    peer.message().await;
    drop(peer.output);
    tokio::time::sleep(MIDDLE).await;
    let link = &line.client.link;
    assert!(!link.state().is_open());
    assert_eq!(link.signs.look(LONG), LifeSign::Lost);
    // A notification has nothing to wait for.
    let error = line.client.notify("n", &()).await.unwrap_err();
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::OutputClosed { .. }),
        "{error}"
    );
    let brief = spawn_call(&line, Duration::from_millis(10));
    let error = error_of(brief).await;
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::OutputClosed { .. }),
        "{error}"
    );
    let late = spawn_call(&line, LONG);
    quiet().await;
    record.exit.set(Exit::Lost);
    for (call, fate) in [(written, Fate::MaybeExecuted), (late, Fate::NotSent)] {
        let error = error_of(call).await;
        assert!(
            matches!(&error, RpcError::ProcessExited { fate: told, .. } if *told == fate),
            "{error}"
        );
    }
    assert_eq!(peer.input.buffer(), b"");
    let mut peer_input = peer.input;
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut peer_input, &mut rest)
        .await
        .unwrap();
    assert_eq!(rest, "", "nothing was written in the wait");
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_in_the_wait_leaves_the_others_theirs() {
    let (line, mut peer, record) = open(true);
    let mut cancelled = Box::pin(line.client.call::<Value>("m", &()));
    let other = spawn_call(&line, LONG);
    assert!(timeout(Duration::ZERO, cancelled.as_mut()).await.is_err());
    peer.message().await;
    peer.message().await;
    drop(peer.output);
    assert!(timeout(MIDDLE, cancelled.as_mut()).await.is_err());
    drop(cancelled);
    assert_eq!(line.client.link.state().pending(), 1);
    record.exit.set(Exit::Lost);
    let error = error_of(other).await;
    assert!(matches!(error, RpcError::ProcessExited { .. }), "{error}");
    let error = error_of(spawn_call(&line, LONG)).await;
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::ProcessExited { .. }),
        "{error}"
    );
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_stdin_of_a_child_that_is_leaving_is_told_when_its_exit_has_not_come() {
    let (line, mut peer, _record) = open(true);
    let written = spawn_call(&line, LONG);
    let answered = peer.message().await["id"].clone();
    let timed = spawn_call(&line, MIDDLE + Duration::from_millis(1));
    peer.message().await;
    close_input(&mut peer);
    let begun = Instant::now();
    let found = spawn_call(&line, LONG);
    tokio::time::sleep(EXIT_WAIT + Duration::from_millis(1)).await;
    assert!(!line.client.link.state().is_open());
    let brief = spawn_call(&line, Duration::from_millis(10));
    let error = error_of(brief).await;
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::StdinClosed { .. }),
        "{error}"
    );
    // A request that was written can still be answered.
    let error = error_of(timed).await;
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    peer.reply(&answered, 1).await;
    assert_eq!(written.await.unwrap().unwrap(), 1);
    let error = error_of(found).await;
    assert_eq!(begun.elapsed(), EXIT_WAIT + LEAVING_WAIT);
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::StdinClosed { .. }),
        "{error}"
    );
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_stdin_of_a_child_that_is_leaving_is_explained_by_its_exit() {
    let (line, mut peer, record) = open(true);
    close_input(&mut peer);
    let begun = Instant::now();
    let call = spawn_call(&line, LONG);
    tokio::time::sleep(MIDDLE).await;
    record.exit.set(Exit::Lost);
    quiet().await;
    // Another process holds stdout. It is given as long again, however often a write fails.
    assert!(!line.client.link.state().is_open());
    let error = error_of(call).await;
    assert_eq!(begun.elapsed(), MIDDLE + EXIT_WAIT);
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::ProcessExited { .. }),
        "{error}"
    );
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_exit_nothing_is_written_to_another_process_that_holds_stdin() {
    let (line, mut peer, record) = open(true);
    let pipe_bytes = 4096;
    let client = line.client.clone();
    let torn = tokio::task::spawn(async move {
        let params = ["x".repeat(2 * pipe_bytes)];
        client.call("m", &params).within(LONG).await
    });
    quiet().await;
    let whole = spawn_call(&line, LONG);
    quiet().await;
    record.exit.set(Exit::Lost);
    quiet().await;
    // It reads in the wait, so that there is room again.
    let mut read = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut peer.input, &mut read)
        .await
        .unwrap();
    assert_eq!(read.len(), pipe_bytes);
    for (call, fate) in [(torn, Fate::MaybeExecuted), (whole, Fate::NotSent)] {
        let error = error_of(call).await;
        assert!(
            matches!(&error, RpcError::ProcessExited { fate: told, .. } if *told == fate),
            "{error}"
        );
    }
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_exit_calls_wait_for_no_longer_than_the_end_of_stdout_may_take() {
    let (line, mut peer, record) = open(true);
    let written = spawn_call(&line, LONG);
    let id = peer.message().await["id"].clone();
    record.exit.set(Exit::Lost);
    quiet().await;
    let begun = Instant::now();
    assert!(!line.client.link.state().is_open());
    let late = spawn_call(&line, LONG);
    peer.reply(&id, 1).await;
    assert_eq!(written.await.unwrap().unwrap(), 1);
    let error = error_of(late).await;
    assert!(begun.elapsed() < EXIT_WAIT + Duration::from_millis(2));
    assert!(
        error.is_retry_safe() && matches!(error, RpcError::ProcessExited { .. }),
        "{error}"
    );
    drop(peer);
    line.ended().await;
}
