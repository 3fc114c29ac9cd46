//! What is sent again when a child dies, and what is not.

use std::path::PathBuf;

use pool_core::{ConnectionPool, SharedPool};
use pool_stdio::{
    ClientIds, JsonRpcConnection, NotRepeated, Protocol, Retry, RetryError, RpcError, RpcPool,
    Terms,
};
use pool_tests::children::eager;
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_runtimes};
use crate::{AMPLE, connector, server};

type Shared = SharedPool<JsonRpcConnection>;

fn shared(bed: &Bed) -> Shared {
    let connector = connector(bed, &server(), Protocol::Mcp);
    eager(SharedPool::builder(connector)).build().unwrap()
}

/// A file for what a server commits.
struct Ledger(PathBuf);

impl Ledger {
    fn new(name: &str) -> Self {
        let name = format!("pool-tests-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    fn lines(&self) -> usize {
        std::fs::read_to_string(&self.0).map_or(0, |text| text.lines().count())
    }

    /// A request that is committed, after which the first servers die before they reply.
    fn commit(&self, deaths: usize) -> String {
        let params = json!({ "file": self.0, "deaths": deaths, "_meta": { "progressToken": "t" } });
        json!({ "jsonrpc": "2.0", "id": "c", "method": "commit", "params": params }).to_string()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn permissive(pool: impl Into<RpcPool>) -> Retry {
    Retry::new(pool).repeat_if(|method, _| method == "commit")
}

async fn send(retry: &Retry, message: &str) -> Result<Value, RetryError> {
    let terms = Terms::new().within(AMPLE);
    let reply = retry.exchange(message.to_owned(), &terms).reply().await?;
    Ok(serde_json::from_slice(&reply.unwrap()).unwrap())
}

fn why(error: &RetryError) -> NotRepeated {
    let RetryError::OutcomeUnknown { why, error } = error else {
        panic!("{error}")
    };
    // Its exit may be seen later than the end of its output.
    let has_ended = matches!(
        error,
        RpcError::ProcessExited { .. } | RpcError::OutputClosed { .. }
    );
    assert!(has_ended, "{error}");
    *why
}

#[test]
fn what_a_dead_server_committed_is_written_once_without_a_hint() {
    on_both_runtimes(async |bed| {
        let ledger = Ledger::new("once");
        let retry = Retry::new(shared(bed));
        let error = send(&retry, &ledger.commit(1)).await.unwrap_err();
        assert_eq!(why(&error), NotRepeated::NotIdempotent);
        assert_eq!(ledger.lines(), 1);
    });
}

#[test]
fn with_a_hint_a_request_is_repeated_once_and_ends_two_children_at_most() {
    on_both_runtimes(async |bed| {
        let ledger = Ledger::new("hint");
        let retry = permissive(shared(bed));
        let reply = send(&retry, &ledger.commit(1)).await.unwrap();
        assert_eq!((&reply["id"], &reply["result"]), (&json!("c"), &json!(2)));

        let deadly = Ledger::new("deadly");
        let error = send(&retry, &deadly.commit(9)).await.unwrap_err();
        assert_eq!(why(&error), NotRepeated::RepeatedBefore);
        assert_eq!(deadly.lines(), 2);
    });
}

#[test]
fn nothing_is_repeated_without_a_budget_or_further_attempts() {
    on_both_runtimes(async |bed| {
        let pool = shared(bed);
        let ledger = Ledger::new("budget");
        let retry = permissive(pool.clone()).budget(0);
        let error = send(&retry, &ledger.commit(1)).await.unwrap_err();
        assert_eq!(why(&error), NotRepeated::Budget);
        let retry = permissive(pool).attempts_max(1);
        let error = send(&retry, &ledger.commit(2)).await.unwrap_err();
        assert_eq!(why(&error), NotRepeated::Attempts);
        assert_eq!(ledger.lines(), 2);
    });
}

#[test]
fn nothing_is_repeated_after_a_note_of_it_was_taken() {
    on_both_runtimes(async |bed| {
        let ledger = Ledger::new("noted");
        let retry = permissive(shared(bed));
        let terms = Terms::new().within(AMPLE);
        // The server sends the note, and then commits and dies.
        let mut exchange = retry.exchange(ledger.commit(1), &terms);
        let note = exchange.next().await.unwrap();
        assert_eq!(note.params::<Value>().unwrap()["progressToken"], "t");
        let error = exchange.reply().await.unwrap_err();
        assert_eq!(why(&error), NotRepeated::NotesPassedOn);
        assert_eq!(ledger.lines(), 1);
        // A note that nobody took is no obstacle, and the note of the repetition is the client's.
        let ledger = Ledger::new("unnoted");
        let mut exchange = retry.exchange(ledger.commit(1), &terms);
        assert!(exchange.reply().await.unwrap().is_some());
        assert_eq!(ledger.lines(), 2);
        let note = exchange.next().await.unwrap();
        assert_eq!(note.params::<Value>().unwrap()["progressToken"], "t");
    });
}

#[cfg(not(windows))]
#[test]
fn what_a_child_cannot_be_sent_any_more_reaches_another_child() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = eager(SharedPool::builder(connector)).max_size(1);
        let pool = pool.build().unwrap();
        let echo = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":[5]}"#;
        // It lives, and its pool lends it.
        let deafen = async || {
            let child = pool.acquire().await.unwrap();
            child.call::<()>("close_stdin", &()).await.unwrap();
            child.process().pid()
        };
        deafen().await;
        let once = Retry::new(pool.clone()).attempts_max(1);
        let error = send(&once, echo).await.unwrap_err();
        let RetryError::Failed(error @ RpcError::StdinClosed { .. }) = error else {
            panic!("{error}")
        };
        assert!(error.is_retry_safe());

        let deaf = deafen().await;
        // Without a word on whether it may be repeated.
        let retry = Retry::new(pool.clone());
        let mut exchange = retry.exchange(echo, &Terms::new().within(AMPLE));
        let reply = exchange.reply().await.unwrap().unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["result"], json!([5]));
        assert_ne!(exchange.pid(), Some(deaf));
    });
}

#[test]
fn what_waits_for_a_child_gets_one_that_lives() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = eager(ConnectionPool::builder(connector)).build().unwrap();
        let first = pool.acquire().await.unwrap();
        first.notify("exit", &()).await.unwrap();
        let exited = first.call::<Value>("ping", &()).await;
        assert!(exited.is_err(), "{exited:?}");
        drop(first);
        let retry = Retry::new(pool);
        let echo = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":[5]}"#;
        assert_eq!(send(&retry, echo).await.unwrap()["result"], json!([5]));
        let progress = json!({ "jsonrpc": "2.0", "id": 1, "method": "progress",
            "params": { "progress": 3, "_meta": { "progressToken": "t" } } });
        let mut noted = retry.exchange(progress.to_string(), &Terms::new().within(AMPLE));
        let note = noted.next().await.unwrap();
        assert_eq!(note.params::<Value>().unwrap()["progressToken"], "t");
        assert!(noted.next().await.is_none());
        assert!(noted.reply().await.unwrap().is_some());
    });
}

fn is_cancelled(outcome: Result<Option<bytes::Bytes>, RetryError>) -> bool {
    let error = outcome.unwrap_err();
    let RetryError::Failed(RpcError::ClientCancelled { .. }) = error else {
        panic!("{error}")
    };
    let RetryError::Failed(error) = error else {
        unreachable!()
    };
    error.is_retry_safe()
}

const CANCEL: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#;

#[test]
fn a_cancel_finds_a_request_that_waits_for_a_child() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = ConnectionPool::builder(connector).max_size(1);
        let pool = pool.build().unwrap();
        let only = pool.acquire().await.unwrap();
        let client = ClientIds::new();
        let terms = Terms::new().within(AMPLE).client(&client);
        let retry = Retry::new(pool);
        let echo = r#"{"jsonrpc":"2.0","id":"c","method":"echo","params":[]}"#;
        let mut waiting = retry.exchange(echo, &terms);
        let again = retry.exchange(echo, &terms).reply().await.unwrap_err();
        let RetryError::Failed(RpcError::IdInUse { .. }) = again else {
            panic!("{again}")
        };
        let cancelling = async {
            // It needs no child.
            assert!(
                retry
                    .exchange(CANCEL, &terms)
                    .reply()
                    .await
                    .unwrap()
                    .is_none()
            );
        };
        let (outcome, ()) = tokio::join!(biased; waiting.reply(), cancelling);
        assert!(is_cancelled(outcome), "it was not sent");
        // Before its first poll as well.
        let mut unpolled = retry.exchange(echo, &terms);
        assert!(client.cancel(CANCEL.as_bytes()));
        assert!(is_cancelled(unpolled.reply().await));
        drop(only);
        let again = retry.exchange(echo, &terms).reply().await.unwrap();
        assert!(again.is_some(), "the id is free");
    });
}

#[test]
fn a_cancel_between_two_attempts_prevents_the_second() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = eager(ConnectionPool::builder(connector)).max_size(1);
        let pool = pool.build().unwrap();
        let ledger = Ledger::new("cancelled");
        let client = ClientIds::new();
        let terms = Terms::new().within(AMPLE).client(&client);
        let mut exchange = permissive(pool.clone()).exchange(ledger.commit(1), &terms);
        let other = async {
            // It waits first, so it gets the child that the second attempt would have.
            let child = pool.acquire().await.unwrap();
            assert!(client.cancel(CANCEL.as_bytes()));
            child
        };
        let (outcome, child) = tokio::join!(biased; exchange.reply(), other);
        assert!(
            !is_cancelled(outcome),
            "the first attempt may have been executed"
        );
        drop(child);
        assert_eq!(ledger.lines(), 1);
    });
}

#[test]
fn refusals_and_missing_children_are_told_apart() {
    on_both_runtimes(async |bed| {
        let pool = shared(bed);
        let retry = Retry::new(pool.clone());
        let error = send(&retry, "no JSON").await.unwrap_err();
        let is_refused = matches!(error, RetryError::Failed(RpcError::BadRequest { .. }));
        assert!(is_refused, "{error}");
        pool.close(AMPLE).await;
        let error = send(&retry, r#"{"id":1,"method":"echo"}"#)
            .await
            .unwrap_err();
        assert!(matches!(error, RetryError::NoChild(_)), "{error}");
    });
}
