//! A forwarded message: the client's id comes back byte for byte, the body is untouched.

use bytes::Bytes;
use proptest::prelude::*;
use tokio::runtime;

use super::Setup;
use crate::rpc::error::RpcError;
use crate::rpc::reply::ErrorObject;

/// Any id that a client may have thought of.
fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("0".to_owned()),
        Just("-0".to_owned()),
        Just("1e400".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just(r#""""#.to_owned()),
        Just(r#""\ud83d\ude00 \udead \"id\":1 \\""#.to_owned()),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "\"[a-zA-Z0-9 {}\\[\\]:,é\u{1f600}]{0,20}\"",
    ]
}

/// Any body, with ids where they do not count.
fn bodies() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        ids(),
        Just("true".to_owned()),
        Just(r#"{"id":1,"id":2}"#.to_owned()),
        Just(r#""\"id\":3,""#.to_owned()),
        Just(r#""\\""#.to_owned()),
    ];
    let key = prop_oneof![
        Just("\"id\""),
        Just(r#""\u0069d""#),
        Just(r#""result""#),
        Just("\"\"")
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let member = (key.clone(), " {0,1}", inner.clone())
            .prop_map(|(key, blank, value)| format!("{key}{blank}:{blank}{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(member, 0..4).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

#[derive(Debug, Clone)]
struct Message {
    before: String,
    id: String,
    after: String,
}

impl Message {
    fn with(&self, id: &str) -> String {
        format!("{}{id}{}", self.before, self.after)
    }
}

/// A message with this member beside the id, in any order, with blanks.
fn messages(member: &'static str) -> impl Strategy<Value = Message> {
    let key = prop_oneof![Just("\"id\""), Just(r#""\u0069d""#), Just(r#""i\u0064""#)];
    let others = bodies().prop_map(move |body| {
        let method = if member == "params" {
            r#""method":"m","#
        } else {
            ""
        };
        format!(r#""jsonrpc":"2.0",{method}"{member}":{body}"#)
    });
    (key, ids(), others, "[ \t]{0,2}", any::<bool>()).prop_map(
        |(key, id, others, blank, is_last)| {
            let (before, after) = if is_last {
                (
                    format!("{{{blank}{others},{key}{blank}:{blank}"),
                    format!("{blank}}}"),
                )
            } else {
                (
                    format!("{blank}{{{key}:{blank}"),
                    format!("{blank},{others}}}"),
                )
            };
            Message { before, id, after }
        },
    )
}

/// Forwards a request, has it answered with this reply, and compares both ways.
async fn forward(request: Message, reply: Message) {
    let (line, mut peer) = Setup::plain().open();
    let client = line.client.clone();
    let frame = Bytes::from(request.with(&request.id));
    let forwarded = tokio::task::spawn(async move { client.forward(frame).await });
    let arrived = peer.line().await.unwrap();
    assert_eq!(arrived, request.with("0"), "only the id is changed");
    peer.say(reply.with("0")).await;
    let returned = forwarded.await.unwrap().unwrap().unwrap();
    assert_eq!(
        returned,
        reply.with(&request.id),
        "only the id is changed back"
    );
    drop(peer);
    line.ended().await;
}

proptest! {
    #[test]
    fn the_id_comes_back_as_it_was_and_the_body_is_untouched(
        request in messages("params"),
        reply in messages("result"),
    ) {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(forward(request, reply));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_split_and_rejoined_in_its_order() {
    let (line, mut peer) = Setup::plain().open();
    let client = line.client.clone();
    let batch = Bytes::from_static(
        br#"[{"jsonrpc":"2.0","id":"a","method":"x"}, {"jsonrpc":"2.0","method":"n"},
{"jsonrpc":"2.0","id":7,"method":"y"}]"#,
    );
    let forwarded = tokio::task::spawn(async move { client.forward(batch).await });
    let first = peer.message().await;
    let notified = peer.message().await;
    let second = peer.message().await;
    assert_eq!(
        (&first["method"], &second["method"]),
        (&"x".into(), &"y".into())
    );
    assert_eq!(notified["method"], "n");
    // A server may answer in a batch of its own, and in any order.
    let (one, two) = (&first["id"], &second["id"]);
    peer.say(format!(
        r#"[{{"jsonrpc":"2.0","id":{two},"result":2}},{{"jsonrpc":"2.0","id":{one},"error":{{}}}}]"#
    ))
    .await;
    let returned = forwarded.await.unwrap().unwrap().unwrap();
    assert_eq!(
        returned,
        r#"[{"jsonrpc":"2.0","id":"a","error":{}},{"jsonrpc":"2.0","id":7,"result":2}]"#
    );
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn notifications_are_forwarded_without_a_reply() {
    let (line, mut peer) = Setup::plain().open();
    for frame in [r#"{"method":"n"}"#, r#"[{"method":"n"}]"#] {
        let outcome = line.client.forward(frame).await;
        assert!(outcome.unwrap().is_none());
        assert_eq!(peer.line().await.unwrap(), r#"{"method":"n"}"#);
    }
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_and_not_sent() {
    let mut setup = Setup::plain();
    setup.settings.frame_bytes_max = 64;
    let (line, peer) = setup.open();
    let long = format!(r#"{{"id":1,"method":"{}"}}"#, "x".repeat(64));
    for frame in [
        "",
        "listening",
        "[]",
        "[1]",
        r#"{"id":1,"result":2}"#,
        r#"{"id":1,"id":2,"method":"m"}"#,
        r#"{"id":{},"method":"m"}"#,
        "{\"id\":1,\"method\":\"m\n\"}",
        "{\"id\":1,\"method\":\"m\",\"params\":[\"\\\\\\\"\r\"]}",
        &long,
    ] {
        let frame = Bytes::copy_from_slice(frame.as_bytes());
        let error = line.client.forward(frame.clone()).await.unwrap_err();
        let is_right = match &error {
            RpcError::FrameTooLarge { limit_bytes, .. } => *limit_bytes == 64,
            RpcError::BadRequest { .. } => true,
            _ => false,
        };
        assert!(is_right && error.is_retry_safe(), "{frame:?}: {error}");
    }
    assert_eq!(line.client.link.written_total(), 0);
    drop(peer);
    line.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_parser_may_fail_on_is_refused_and_not_sent() {
    let (line, mut peer) = Setup::mcp().open();
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"id":1,"method":"m","params":{open}{close}}}"#)
    };
    let bad = b"{\"id\":1,\"method\":\"m\",\"params\":[\"bad \xff text\"]}".to_vec();
    for (message, why) in [
        (bad, "not UTF-8"),
        (nested(127).into_bytes(), "nested deeper than 127 levels"),
        (
            nested(100_000).into_bytes(),
            "nested deeper than 127 levels",
        ),
    ] {
        let error = line.client.forward(message).await.unwrap_err();
        let RpcError::BadRequest { reason } = error else {
            panic!("{error}")
        };
        assert_eq!(reason, why);
    }
    let (forwarded, _) = tokio::join!(line.client.forward(nested(126)), peer.echo());
    forwarded.unwrap();
}

#[test]
fn who_is_refused_gets_the_error_under_the_own_id() {
    let error = ErrorObject::new(-32000, "no");
    let under = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"no"}}}}"#)
    };
    let batch = |ids: &[&str]| {
        let replies: Vec<_> = ids.iter().map(|id| under(id)).collect();
        format!("[{}]", replies.join(","))
    };
    for (frame, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":"a\u0062","method":"m"}"#,
            Some(under(r#""a\u0062""#)),
        ),
        (r#" {"id": 1.50 ,"method":"m"} "#, Some(under("1.50"))),
        (r#"{"id":null,"method":"m"}"#, Some(under("null"))),
        (r#"{"method":"m"}"#, None),
        (r#"{"id":7,"result":1}"#, None),
        ("no JSON", Some(under("null"))),
        (r#"{"id":1,"id":2,"method":"m"}"#, Some(under("null"))),
        (
            r#"[{"id":1,"method":"m"},{"method":"n"},{"id":"2","method":"o"},3]"#,
            Some(batch(&["1", "\"2\"", "null"])),
        ),
        (r#"[{"method":"m"},{"id":7,"result":1}]"#, None),
        ("[1,2,3]", Some(batch(&["null"]))),
        ("[]", Some(under("null"))),
        (r#"[{"id":1,"method":"m"},"#, Some(under("null"))),
    ] {
        let reply = error.reply_to(frame.as_bytes());
        assert_eq!(reply, expected.map(Bytes::from), "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pretty_printed_message_is_put_on_one_line() {
    let (line, mut peer) = Setup::plain().open();
    let pretty =
        "{\r\n  \"id\": \"x\",\n\t\"method\": \"m\",\n  \"params\": [\"\\\"\\n\",\r1]\n}\n";
    let client = line.client.clone();
    let forwarded = tokio::task::spawn(async move { client.forward(pretty).await });
    let arrived = peer.line().await.unwrap();
    let expected = "{    \"id\": 0, \t\"method\": \"m\",   \"params\": [\"\\\"\\n\", 1] } ";
    assert_eq!(arrived, expected);
    peer.say(r#"{"jsonrpc":"2.0","id":0,"result":1}"#).await;
    let reply = forwarded.await.unwrap().unwrap().unwrap();
    assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"x","result":1}"#);
    // Two numbers do not become one.
    let client = line.client.clone();
    let broken = "{\"id\":1,\"method\":\"m\",\"params\":[1\n2]}";
    tokio::task::spawn(async move { client.forward(broken).await });
    assert!(peer.line().await.unwrap().ends_with("[1 2]}"));
}

#[tokio::test(start_paused = true)]
async fn a_large_pretty_printed_message_is_put_on_one_line_too() {
    let (line, mut peer) = Setup::plain().open();
    let body = format!("[\n\"{}\"\n]", "x".repeat(10_000));
    let pretty = format!("{{\n\"id\":1,\"method\":\"m\",\"params\":{body}\n}}");
    let client = line.client.clone();
    let forwarded = tokio::task::spawn(async move { client.forward(pretty).await });
    peer.echo().await;
    forwarded.await.unwrap().unwrap();
}
