//! What a language server is told before its end.

use std::sync::mpsc;
use std::time::Duration;

use pool_core::{CloseReason, Connector};
use pool_stdio::{
    CommandSpec, Framing, JsonRpcConnector, LadderTimes, Protocol, RpcLimits, StderrLine,
};
use serde_json::json;

use crate::bed::{Bed, context, on_both_runtimes, within};
use crate::{AMPLE, megabyte, server};

#[test]
fn a_language_server_may_put_its_things_in_order_before_its_end() {
    on_both_runtimes(async |bed| {
        for (reason, is_asked) in [(CloseReason::Idle, true), (CloseReason::Discarded, false)] {
            let (said, heard) = mpsc::channel();
            let sink = move |line: &StderrLine<'_>| {
                said.send(line.text.to_string()).unwrap_or_default();
            };
            let spec = bed.scene.spec(&server()).stderr_lines(sink);
            let connector = JsonRpcConnector::new(spec, Protocol::Lsp)
                .unwrap()
                .framing(Framing::Lines)
                .initialize(&json!({}))
                .unwrap();
            bed.note(connector.children());
            let child = connector.connect(&context()).await.unwrap();
            within(AMPLE, connector.close(child, reason)).await;
            if is_asked {
                let lines = [(); 2].map(|()| heard.recv_timeout(AMPLE).unwrap());
                assert_eq!(lines, ["told to shut down", "told to exit"]);
            }
            assert!(heard.try_recv().is_err());
        }
    });
}

/// A language server that was greeted, and what it says on stderr.
fn language_server(
    bed: &Bed,
    script: &str,
    times: LadderTimes,
) -> (JsonRpcConnector, mpsc::Receiver<String>) {
    let (said, heard) = mpsc::channel();
    let sink = move |line: &StderrLine<'_>| {
        said.send(line.text.to_string()).unwrap_or_default();
    };
    let spec = CommandSpec::new("sh").args(["-c", script]);
    let spec = bed.scene.census.mark(spec).stderr_lines(sink);
    let spec = spec.ladder_times(times);
    let connector = JsonRpcConnector::new(spec, Protocol::Lsp)
        .unwrap()
        .framing(Framing::Lines)
        .initialize(&json!({}))
        .unwrap();
    bed.note(connector.children());
    (connector, heard)
}

#[test]
fn a_language_server_is_told_to_exit_whatever_it_answers() {
    on_both_runtimes(async |bed| {
        for answer in [r#""error":{"code":-32600,"message":"again"}"#, r#""x":0"#] {
            let script = format!(
                r#"read -r line; echo '{{"jsonrpc":"2.0","id":0,"result":{{}}}}'
                read -r line; read -r line; echo '{{"jsonrpc":"2.0","id":1,{answer}}}'
                read -r line; echo "$line" >&2"#
            );
            let (connector, heard) = language_server(bed, &script, LadderTimes::default());
            let child = connector.connect(&context()).await.unwrap();
            within(AMPLE, connector.close(child, CloseReason::Idle)).await;
            let line = heard.recv_timeout(AMPLE).unwrap();
            assert_eq!(line, r#"{"jsonrpc":"2.0","method":"exit"}"#);
        }
    });
}

#[test]
fn a_language_server_that_answers_without_reading_is_ended_all_the_same() {
    on_both_runtimes(async |bed| {
        let script = r#"read -r line; echo '{"jsonrpc":"2.0","id":0,"result":{}}'
            read -r line; exec yes '{"jsonrpc":"2.0","id":1,"result":null}'"#;
        let mut times = LadderTimes::default();
        times.eof_grace = Duration::ZERO;
        let (connector, _heard) = language_server(bed, script, times);
        let connector = connector.limits(RpcLimits {
            queue_max: 2,
            enqueue_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
            ..RpcLimits::default()
        });
        let child = connector.connect(&context()).await.unwrap();
        child.notify("large", &megabyte()).await.unwrap();
        within(AMPLE, connector.close(child, CloseReason::Idle)).await;
    });
}
