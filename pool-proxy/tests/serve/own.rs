//! Children of one session each.

use std::pin::pin;

use futures_util::FutureExt;
use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::client::{Client, NEWEST, initialize, tool};
use crate::proxy::{Beacon, Proxy, legacy};
use crate::run;

#[test]
fn each_session_has_a_child_of_its_own_which_ends_with_it() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address);
        let (one, two) = (client.begin(NEWEST).await, client.begin(NEWEST).await);
        let pid_one = one.call(1, "pid", json!({})).await;
        assert_ne!(two.call(1, "pid", json!({})).await, pid_one);
        let child_one = beacon.child(&pid_one).await;
        assert_eq!(
            one.send(Method::DELETE, "").await.status,
            StatusCode::NO_CONTENT
        );
        child_one.gone().await;
        assert_eq!(
            one.post(&tool(2, "pid", json!({}))).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(two.call(2, "calls", json!({})).await, "2");
    });
}

#[test]
fn a_child_that_cannot_reply_any_more_ends_with_its_session_though_it_lives() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut listener = client.send(Method::GET, "").await;
        let reply = client
            .ask(1, "tools/call", json!({ "name": "close_output" }))
            .await;
        assert_eq!(reply["error"]["code"], -32000, "{reply}");
        beacon.next().await.gone().await;
        assert!(listener.event().await.is_none());
        let refused = client.post(&tool(2, "pid", json!({}))).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_start_that_takes_longer_than_its_client_waits_goes_on() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "wait_timeout = '50ms'"));
        // The child answers this one when it is told to.
        let mut hello = initialize(NEWEST);
        hello["params"]["clientInfo"]["name"] = "patient".into();
        let client = Client::new(proxy.address);
        client.told_of_a_start(&hello).await;
        let mut child = beacon.next().await;
        let line = {
            let mut line = pin!(child.line());
            loop {
                if let Some(line) = line.as_mut().now_or_never() {
                    break line;
                }
                // On a busy machine the client before may have gone before there was a child to ask. Each one is
                // waited for, since whoever is still there when the child answers gets a session.
                let reply = client.post(&hello).await;
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            }
        };
        assert_eq!(line, "asked\n");
        child.tell("go").await;
        assert_eq!(child.line().await, "goes on\n");
        child.gone().await;
        // The next one finds what it has said.
        assert_eq!(client.post(&hello).await.status, StatusCode::OK);
    });
}

#[test]
fn a_question_of_the_child_goes_to_the_stream_of_the_request_that_is_alone() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut listener = client.send(Method::GET, "").await;
        let mut stream = client.post(&tool("t", "ask", json!({}))).await;
        let question = stream.event().await.unwrap();
        assert_eq!(question["method"], "sampling/createMessage");
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": "forty-two" });
        assert_eq!(client.post(&answer).await.status, StatusCode::ACCEPTED);
        let reply = stream.event().await.unwrap();
        assert_eq!(reply["result"]["content"][0]["text"], r#""forty-two""#);
        assert!(stream.event().await.is_none());
        // Nothing else came before this.
        client.call(1, "hold_nothing", json!({})).await;
        assert_eq!(
            client.post(&answer).await.status,
            StatusCode::BAD_REQUEST,
            "it was answered"
        );
        client.send(Method::DELETE, "").await;
        assert!(listener.event().await.is_none());
    });
}

#[test]
fn with_two_requests_in_flight_a_question_goes_to_the_listener_or_waits_for_one() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let hold = {
            let client = client.clone();
            async move {
                client
                    .post(&tool("held", "hold", json!({})))
                    .await
                    .text()
                    .await
            }
        };
        let asked = async {
            // The other request is in flight when its successor is answered.
            while client
                .call(0, "calls", json!({}))
                .await
                .parse::<u32>()
                .unwrap()
                < 2
            {}
            let ask = tool("t", "ask", json!({}));
            let stream = client.post(&ask);
            let listening = async {
                let mut listener = client.send(Method::GET, "").await;
                let question = listener.event().await.unwrap();
                assert_eq!(question["id"], "question");
                let answer = json!({ "jsonrpc": "2.0", "id": "question", "result": 1 });
                assert_eq!(client.post(&answer).await.status, StatusCode::ACCEPTED);
            };
            let (mut reply, ()) = tokio::join!(stream, listening);
            assert_eq!(reply.json().await["id"], "t");
        };
        tokio::select! {
            text = hold => panic!("{text}"),
            () = asked => {}
        }
    });
}

#[test]
fn what_the_child_says_before_its_reply_comes_before_it() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        for id in 0..20 {
            let mut stream = client.post(&tool(id, "log", json!({}))).await;
            assert_eq!(
                stream.event().await.unwrap()["method"],
                "notifications/message"
            );
            assert_eq!(stream.event().await.unwrap()["id"], id);
            assert!(stream.event().await.is_none());
        }
    });
}

#[test]
fn a_child_that_never_stops_talking_does_not_hold_up_its_reply() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let flood = tool("mine", "flood", json!({ "bytes": 10_000 }));
        let mut stream = client.post(&flood).await;
        // It reads more slowly than the child talks, so that there is always a message for it.
        let health = Client::at(proxy.address, "/healthz");
        while stream.event().await.unwrap()["id"] != "mine" {
            health.send(Method::GET, "").await.text().await;
        }
        assert!(stream.event().await.is_none());
    });
}

#[test]
fn a_session_ends_with_its_child() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut listener = client.send(Method::GET, "").await;
        let reply = client.ask(1, "tools/call", json!({ "name": "exit" })).await;
        let text = reply["error"]["message"].as_str().unwrap();
        assert!(text.contains("outcome unknown"), "{text}");
        beacon.next().await.gone().await;
        // The end of the stream tells that the session is over.
        assert!(listener.event().await.is_none());
        assert_eq!(
            client.post(&tool(2, "pid", json!({}))).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            client.send(Method::GET, "").await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            client.send(Method::DELETE, "").await.status,
            StatusCode::NOT_FOUND
        );
        client.without("mcp-session-id").begin(NEWEST).await;
    });
}

#[test]
fn a_session_that_is_idle_ends_and_one_with_a_stream_does_not() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "session_idle_timeout = '3s'"));
        let client = Client::new(proxy.address);
        let listening = client.begin(NEWEST).await;
        let stream = listening.send(Method::GET, "").await;
        let kept = beacon.next().await;
        let idle = client.begin(NEWEST).await;
        idle.call(0, "pid", json!({})).await;
        beacon.next().await.gone().await;
        assert_eq!(
            idle.post(&tool(1, "pid", json!({}))).await.status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            listening.call(1, "pid", json!({})).await,
            kept.pid.to_string()
        );
        drop(stream);
        kept.gone().await;
    });
}

#[test]
fn a_session_is_needed_and_its_number_is_limited() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nsessions_per_principal_max = 1\n";
        let proxy = Proxy::configured(&format!("{limits}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address);
        let mut reply = client.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.text().await.contains("Mcp-Session-Id is missing"));
        let only = client.begin(NEWEST).await;
        let stream = only.send(Method::GET, "").await;
        let mut refused = client.post(&initialize(NEWEST)).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers["retry-after"], "5");
        assert!(refused.text().await.contains("sessions_per_principal_max"));
        only.send(Method::DELETE, "").await;
        drop(stream);
        client.begin(NEWEST).await;
    });
}

#[test]
fn sessions_that_are_never_ended_lock_out_nobody() {
    run(async {
        for sharing in ["session", "shared"] {
            let beacon = Beacon::new();
            let limits = "[limits]\nsessions_per_principal_max = 3\n";
            let sharing = format!("sharing = '{sharing}'");
            let proxy = Proxy::configured(&format!("{limits}{}", legacy(&beacon, &sharing)));
            let client = Client::new(proxy.address);
            let first = client.begin(NEWEST).await;
            let in_use = client.begin(NEWEST).await;
            let mut stream = in_use.send(Method::GET, "").await;
            let mut latest = client.begin(NEWEST).await;
            for _ in 0..3 {
                latest = client.begin(NEWEST).await;
            }
            let ended = first.post(&tool(1, "pid", json!({}))).await;
            assert_eq!(ended.status, StatusCode::NOT_FOUND);
            latest.call(1, "pid", json!({})).await;
            in_use.call(1, "pid", json!({})).await;
            in_use.send(Method::DELETE, "").await;
            assert!(stream.event().await.is_none());
        }
    });
}

#[test]
fn at_the_limit_of_all_sessions_one_of_the_principal_with_most_ends() {
    run(async {
        let beacon = Beacon::new();
        // Of `test` and of `other`.
        let tokens = "[tokens.many]\nsha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n\
                      [tokens.new]\nsha256 = 'd9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa'\n";
        let limits = "[limits]\nsessions_max = 2\n";
        let server = legacy(&beacon, "sharing = 'shared'");
        let proxy = Proxy::configured(&format!("{limits}{tokens}{server}"));
        let of = |token| Client::new(proxy.address).with("authorization", token);
        let (many, new) = (of("Bearer test"), of("Bearer other"));
        let (one, two) = (many.begin(NEWEST).await, many.begin(NEWEST).await);
        new.begin(NEWEST).await.call(1, "pid", json!({})).await;
        let ended = one.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(ended.status, StatusCode::NOT_FOUND);
        two.call(1, "pid", json!({})).await;
        // One each is as even as it gets: only its own can end.
        many.begin(NEWEST).await;
        let ended = two.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(ended.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn an_idle_session_gives_its_child_to_a_new_one_though_it_has_a_stream() {
    run(async {
        let beacon = Beacon::new();
        let limits = "[limits]\nchildren_max = 1\nsession_idle_min = '1ms'\n";
        let proxy = Proxy::configured(&format!("{limits}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address);
        let idle = client.begin(NEWEST).await;
        idle.call(0, "pid", json!({})).await;
        let mut stream = idle.send(Method::GET, "").await;
        let child = beacon.next().await;
        let new = client.begin(NEWEST).await;
        new.call(0, "pid", json!({})).await;
        child.gone().await;
        assert!(stream.event().await.is_none());
        let refused = idle.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        new.call(1, "pid", json!({})).await;
    });
}

#[test]
fn who_holds_most_children_gives_one_up_but_none_with_a_request_under_way() {
    run(async {
        let beacon = Beacon::new();
        let tokens = "[tokens.a]\nsha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n\
                      [tokens.b]\nsha256 = '60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752'\n";
        let limits = "[limits]\nchildren_max = 2\nsession_idle_min = '1h'\n";
        let proxy = Proxy::configured(&format!("{limits}{tokens}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address);
        let greedy = client.with("authorization", "Bearer test");
        let (busy, idle) = (greedy.begin(NEWEST).await, greedy.begin(NEWEST).await);
        idle.call(0, "pid", json!({})).await;
        let mut child = beacon.next().await;
        let wait = busy.call(1, "wait", json!({}));
        let other = async {
            assert_eq!(child.line().await, "waiting\n");
            let other = client
                .with("authorization", "Bearer test2")
                .begin(NEWEST)
                .await;
            other.call(1, "pid", json!({})).await;
            let refused = idle.post(&tool(1, "pid", json!({}))).await;
            assert_eq!(refused.status, StatusCode::NOT_FOUND);
            child.tell("still here").await;
        };
        assert_eq!(tokio::join!(wait, other).0, "still here");
    });
}

#[test]
fn an_older_child_is_spoken_to_in_its_version() {
    run(async {
        let beacon = Beacon::new();
        let config = legacy(&beacon, "").replace("env = {", "env = { SPEAKS = '2024-11-05',");
        let proxy = Proxy::configured(&config);
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let child = beacon.next().await;
        assert_eq!(
            client.call(1, "pid", json!({})).await,
            child.pid.to_string()
        );
        child.signal(Signal::SIGKILL);
        child.gone().await;
        let wrong = client.with("mcp-protocol-version", "1999-01-01");
        assert_eq!(
            wrong
                .without("mcp-session-id")
                .post(&tool(1, "pid", json!({})))
                .await
                .status,
            StatusCode::BAD_REQUEST
        );
    });
}

#[test]
fn a_session_is_none_to_another_principal() {
    run(async {
        let beacon = Beacon::new();
        let tokens = "[tokens.a]\nsha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'\n\
                      [tokens.b]\nsha256 = '60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752'\n";
        let proxy = Proxy::configured(&format!("{tokens}{}", legacy(&beacon, "")));
        let client = Client::new(proxy.address).with("authorization", "Bearer test");
        let session = client.begin(NEWEST).await;
        let stranger = session.with("authorization", "Bearer test2");
        for (method, body) in [
            (Method::POST, tool(1, "pid", json!({})).to_string()),
            (Method::GET, String::new()),
            (Method::DELETE, String::new()),
        ] {
            let refused = stranger.send(method, body).await;
            assert_eq!(refused.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(session.call(1, "calls", json!({})).await, "1");
    });
}

#[test]
fn a_request_that_is_silent_becomes_a_stream_with_comments() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, ""));
        let client = Client::new(proxy.address).begin(NEWEST).await;
        let mut child = beacon.next().await;
        // The child says nothing before the head of the answer is there.
        let mut stream = client.post(&tool(1, "wait", json!({}))).await;
        assert_eq!(stream.status, StatusCode::OK);
        assert_eq!(stream.headers["content-type"], "text/event-stream");
        assert_eq!(child.line().await, "waiting\n");
        child.tell("go").await;
        let text = stream.text().await;
        assert!(text.starts_with(':'), "a comment: {text}");
        assert!(
            text.contains(r#""text":"go""#) || text.contains(r#""text": "go""#),
            "{text}"
        );
    });
}
