//! What was seen to go wrong elsewhere: a wedged stdin, a grandchild that survives, a transport
//! dropped without a runtime, a closed stdout, a last line without its end.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{CloseReason, Connector};
use pool_stdio::{Fate, JsonRpcConnector, Protocol, RpcError, RpcLimits, Rung, Stop, Survivors};
use pool_testkit::fixture::{Behaviour, Step};
use serde_json::Value;
use tokio::runtime;
use tokio::time::sleep;

use crate::bed::{Bed, SLACK, context, on_both_runtimes, within};
use crate::common::{BRIEF, graces};
use crate::{child, connector, held, megabyte, server, wedged};

#[test]
fn a_child_that_never_reads_is_closed_in_time() {
    on_both_runtimes(async |bed| {
        let graces = graces(Duration::from_millis(100), Duration::from_millis(100));
        let spec = bed
            .scene
            .spec(&Behaviour::new().then(Step::IgnoreTerminate).hang());
        let connector = JsonRpcConnector::new(spec.ladder_times(graces), Protocol::Mcp).unwrap();
        bed.note(connector.children());
        let child = Arc::new(connector.connect(&context()).await.unwrap());
        let caller = Arc::clone(&child);
        let call = async move { caller.call::<Value>("m", &megabyte()).await };
        let mut calls = tokio::task::JoinSet::new();
        calls.spawn(call);
        while child.status().pending == 0 {
            tokio::task::yield_now().await;
        }
        calls.abort_all();
        while calls.join_next().await.is_some() {}
        let child = Arc::into_inner(child).unwrap();
        // Flush, end of input, SIGTERM: then SIGKILL.
        let limit = Duration::from_millis(500 + 100 + 100 + 100);
        within(limit, connector.close(child, CloseReason::PoolClosed)).await;
    });
}

/// The call is over before a timer of the same runtime that fires [`SLACK`] after this limit. A busy machine
/// makes both late, and then the call comes first. For calls that wait for nothing but their own timer.
async fn by_its_own_timer<T>(limit: Duration, call: impl IntoFuture<Output = T>) -> T {
    tokio::select! {
        biased;
        output = call.into_future() => output,
        () = sleep(limit + SLACK) => panic!("it did not end within {limit:?}"),
    }
}

#[test]
fn a_request_to_a_child_that_never_reads_ends_at_its_own_time() {
    on_both_runtimes(async |bed| {
        let child = wedged(bed).await;
        let (limit, big) = (Duration::from_secs(1), megabyte());
        let calls = async {
            tokio::join!(
                child.call::<Value>("m", &big).within(limit),
                child.call::<Value>("m", &[1]).within(limit),
                child.call::<Value>("m", &[2]).within(limit),
            )
        };
        let (first, second, third) = by_its_own_timer(limit, Box::pin(calls)).await;
        for (outcome, fate) in [
            (first, Fate::MaybeExecuted),
            (second, Fate::NotSent),
            (third, Fate::NotSent),
        ] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, RpcError::Timeout { pid, .. } if pid == child.process().pid()),
                "{error}"
            );
            assert_eq!(error.is_retry_safe(), fate == Fate::NotSent);
        }
        let termination = child.terminate(Stop::Force).await;
        assert_eq!(termination.rung, Rung::Kill, "nothing was waited for");
        assert!(termination.unwritten_bytes > 0, "its input is full");
    });
}

#[test]
fn a_write_that_stalls_ends_all_calls_with_one_cause() {
    on_both_runtimes(async |bed| {
        let limit = Duration::from_millis(200);
        let connector = connector(bed, &Behaviour::new().hang(), Protocol::Mcp).limits(RpcLimits {
            write_timeout: limit,
            ..RpcLimits::default()
        });
        let child = connector.connect(&context()).await.unwrap();
        let big = megabyte();
        let calls = async {
            tokio::join!(
                child.call::<Value>("m", &big),
                child.call::<Value>("m", &[1])
            )
        };
        let (first, second) = within(limit, calls).await;
        for (outcome, is_safe) in [(first, false), (second, true)] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, RpcError::WriteStalled { .. }), "{error}");
            assert_eq!(error.is_retry_safe(), is_safe);
        }
        assert!(!child.is_alive());
    });
}

#[test]
fn a_grandchild_does_not_survive_a_close() {
    on_both_runtimes(async |bed| {
        for stop in [Stop::Orderly, Stop::Force] {
            // The root leaves at the end of its input. Its child hears of nothing but SIGKILL.
            let leaf = bed.scene.deaf("leaf").hang();
            let behaviour = Behaviour::new().start(leaf).then(Step::ServeRpc);
            let spec = bed.scene.spec(&behaviour);
            let spec = spec.ladder_times(graces(10 * BRIEF, BRIEF));
            let connector = JsonRpcConnector::new(spec, Protocol::Mcp).unwrap();
            bed.note(connector.children());
            let child = connector.connect(&context()).await.unwrap();
            let leaf = bed.scene.beacon.expect(1);
            let termination = child.terminate(stop).await;
            assert_eq!(termination.survivors, Survivors::Known(0));
            assert!(leaf[0].is_dead());
        }
    });
}

#[test]
fn a_connection_may_be_dropped_where_there_is_no_runtime() {
    for is_runtime_gone in [false, true] {
        let bed = Bed::new();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let child = runtime.block_on(child(&bed, &server()));
        let mut runtime = Some(runtime);
        if is_runtime_gone {
            runtime = None;
        }
        std::thread::spawn(move || drop(child)).join().unwrap();
        drop(runtime);
        bed.end();
    }
}

#[test]
fn calls_outlive_neither_their_connection_nor_its_runtime() {
    let bed = Bed::new();
    let (first, second) = [(); 2]
        .map(|()| {
            runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap()
        })
        .into();
    let child = first.block_on(child(&bed, &server()));
    drop(first);
    let limit = Duration::from_secs(5);
    let call = child.call::<Value>("echo", &[1]).within(limit);
    let error = second.block_on(call).unwrap_err();
    assert!(matches!(error, RpcError::Cancelled { .. }), "{error}");
    drop((child, second));
    bed.end();
}

#[test]
fn a_closed_stdout_ends_calls_at_once() {
    on_both_runtimes(async |bed| {
        let child = Arc::new(child(bed, &server()).await);
        let mut calls = held(&child, 3).await;
        let close = child.call::<Value>("close_stdout", &());
        let error = within(Duration::ZERO, close).await.unwrap_err();
        assert!(matches!(error, RpcError::OutputClosed { .. }), "{error}");
        while let Some(call) = calls.join_next().await {
            let error = call.unwrap().unwrap_err();
            assert!(matches!(error, RpcError::OutputClosed { .. }), "{error}");
        }
        assert!(!child.is_alive());
    });
}

#[test]
fn a_last_reply_without_a_newline_is_a_reply() {
    on_both_runtimes(async |bed| {
        let reply = r#"{"jsonrpc":"2.0","id":0,"result":[1]}"#;
        let behaviour = Behaviour::new()
            .read_lines(1)
            .print("a log line\n")
            .print(reply);
        let connector = connector(bed, &behaviour, Protocol::Plain);
        let child = connector.connect(&context()).await.unwrap();
        assert_eq!(child.call::<[u32; 1]>("m", &()).await.unwrap(), [1]);
        assert_eq!(child.status().strays, 1);
    });
}
