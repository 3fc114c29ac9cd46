//! What belongs to one request of one client: its id, its tokens, its subscription, its cancel.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::error::{Fate, RpcError};
use crate::rpc::exchange::{ClientIds, Exchange, OnDrop, Terms, exchange, exchange_until};
use crate::rpc::limit::Limit;
use crate::rpc::protocol::Protocol;

const SECOND: Duration = Duration::from_secs(1);
const LISTEN: &str = r#"{"jsonrpc":"2.0","id":"c1","method":"subscriptions/listen"}"#;

fn begin(line: &OurEnd, message: &str, terms: &Terms) -> Exchange {
    exchange(&line.client, message.to_owned(), terms).unwrap()
}

/// Runs an exchange to its outcome beside what the peer does.
async fn beside<T>(
    exchange: &mut Exchange,
    peer: impl Future<Output = T>,
) -> (Result<Option<bytes::Bytes>, RpcError>, T) {
    tokio::join!(exchange.reply(), peer)
}

/// Sends the request, which the peer then knows.
async fn sent(exchange: &mut Exchange, peer: &mut Peer) -> Value {
    tokio::select! {
        biased;
        outcome = exchange.reply() => panic!("{outcome:?}"),
        request = peer.message() => request,
    }
}

fn progress(token: &Value) -> String {
    let params = json!({ "progressToken": token });
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }).to_string()
}

fn update(subscription: &Value, number: u32) -> String {
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": subscription });
    let params = json!({ "number": number, "_meta": meta });
    json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params })
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn clients_with_equal_ids_and_tokens_get_what_is_theirs() {
    let (line, mut peer) = Setup::mcp().open();
    let request =
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":"t"}}}"#;
    let mut one = begin(&line, request, &Terms::new());
    let mut two = begin(&line, request, &Terms::new());
    let first = sent(&mut one, &mut peer).await;
    let second = sent(&mut two, &mut peer).await;
    assert_ne!(first["id"], second["id"]);
    let token = |request: &Value| request["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token(&first), token(&second));
    peer.say(progress(&token(&second))).await;
    peer.reply(&second["id"], "for two").await;
    peer.reply(&first["id"], "for one").await;

    let note = two.next().await.unwrap();
    assert_eq!(note.message, progress(&json!("t")).as_str());
    assert!(one.next().await.is_none() && two.next().await.is_none());
    let reply = |text| format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"}}"#);
    assert_eq!(one.reply().await.unwrap().unwrap(), reply("for one"));
    assert_eq!(two.reply().await.unwrap().unwrap(), reply("for two"));
    assert_eq!(
        two.reply().await.unwrap().unwrap(),
        reply("for two"),
        "asked again"
    );
    assert_eq!(line.client.link.state().pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_does_not_wait_for_notes_to_be_taken() {
    let (line, mut peer) = Setup::mcp().open();
    let request = r#"{"id":1,"method":"m","params":{"_meta":{"progressToken":1}}}"#;
    let mut one = begin(&line, request, &Terms::new().notes_max(2));
    let asked = sent(&mut one, &mut peer).await;
    for _ in 0..5 {
        peer.say(progress(&asked["params"]["_meta"]["progressToken"]))
            .await;
    }
    peer.reply(&asked["id"], "done").await;
    assert!(one.reply().await.unwrap().is_some());
    assert_eq!(one.next().await.unwrap().missed, 3, "the queue is bounded");
    assert_eq!(one.next().await.unwrap().missed, 0);
    assert!(one.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_named_by_the_clients_own_id_and_heard_by_it_alone() {
    let (line, mut peer) = Setup::mcp().open();
    let mut everybody = line.client.link.subscribe();
    let mut one = begin(&line, LISTEN, &Terms::new());
    let mut two = begin(&line, LISTEN, &Terms::new());
    let first = sent(&mut one, &mut peer).await;
    let second = sent(&mut two, &mut peer).await;
    peer.say(update(&second["id"], 2)).await;
    // As a string too.
    peer.say(update(&json!(first["id"].to_string()), 1)).await;
    peer.say(update(&json!(99), 3)).await;
    for (exchange, number) in [(&mut one, 1), (&mut two, 2)] {
        let note = exchange.next().await.unwrap();
        assert_eq!(note.message, update(&json!("c1"), number).as_str());
    }
    let meta = json!({ "_meta": { "io.modelcontextprotocol/subscriptionId": first["id"] } });
    peer.reply(&first["id"], meta).await;
    let reply = one.reply().await.unwrap().unwrap();
    let reply: Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(reply["id"], "c1");
    let named = &reply["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(named, "c1");
    quiet().await;
    assert_eq!(
        line.client.link.state().status().unheard,
        1,
        "the one of nobody"
    );
    drop((peer, line));
    assert!(
        everybody.recv().await.is_none(),
        "it was said to nobody else"
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_read_ends_instead_of_losing_something() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = begin(&line, LISTEN, &Terms::new().notes_max(2));
    let asked = sent(&mut one, &mut peer).await;
    for number in 0..3 {
        peer.say(update(&asked["id"], number)).await;
    }
    let (outcome, cancel) = beside(&mut one, peer.message()).await;
    let error = outcome.unwrap_err();
    assert!(matches!(
        error,
        RpcError::SubscriptionOverflow { notes: 2, .. }
    ));
    assert_eq!(cancel["params"]["requestId"], asked["id"]);
    assert!(one.next().await.is_some() && one.next().await.is_some());
    assert!(one.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cancels_a_subscription_ends_it_under_the_clients_id() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = begin(&line, LISTEN, &Terms::new());
    let asked = sent(&mut one, &mut peer).await;
    let cancel = |id: &Value| {
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } })
            .to_string()
    };
    peer.say(cancel(&asked["id"])).await;
    let note = one.next().await.unwrap();
    assert_eq!(note.message, cancel(&json!("c1")).as_str());
    assert!(one.next().await.is_none());
    let error = one.reply().await.unwrap_err();
    assert!(matches!(error, RpcError::ServerCancelled));
    assert!(
        line.client.link.state().owes_nothing(),
        "no reply is to come"
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_was_answered_is_not_ended_by_what_comes_after() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = begin(&line, LISTEN, &Terms::new());
    let mut two = begin(&line, LISTEN, &Terms::new().notes_max(1));
    let first = sent(&mut one, &mut peer).await["id"].clone();
    let second = sent(&mut two, &mut peer).await["id"].clone();
    let reply = |id: &Value| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#);
    let cancel = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{first}}}}}"#
    );
    // In one read.
    let (update, reply_two) = (update(&second, 1), reply(&second));
    let all = [reply(&first), cancel, reply_two, update.clone(), update];
    peer.say(all.join("\n")).await;
    assert!(one.reply().await.unwrap().is_some());
    assert!(two.reply().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cancels_its_own_question_ends_no_request_of_that_number() {
    let (line, mut peer) = Setup::mcp().open();
    let mut everybody = line.client.link.subscribe();
    let request =
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":"t"}}}"#;
    let mut one = begin(&line, request, &Terms::new());
    let asked = sent(&mut one, &mut peer).await;
    // Servers count from 0 as well. This question has had its answer.
    let params = json!({ "requestId": asked["id"] });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    let cancel = cancel.to_string();
    peer.say(&cancel).await;
    peer.reply(&asked["id"], "done").await;
    let reply = one.reply().await.unwrap().unwrap();
    assert_eq!(reply, r#"{"jsonrpc":"2.0","id":1,"result":"done"}"#);
    assert_eq!(everybody.recv().await.unwrap().message, cancel);
}

#[tokio::test(start_paused = true)]
async fn an_id_in_flight_is_refused_and_free_again_afterwards() {
    let (line, mut peer) = Setup::mcp().open();
    let (client, other) = (ClientIds::new(), ClientIds::new());
    let terms = Terms::new().client(&client);
    let mut one = begin(&line, r#"{"id":"\u0061","method":"m"}"#, &terms);
    let again = exchange(&line.client, r#"{"id":"a","method":"m"}"#, &terms);
    let error = again.unwrap_err();
    assert!(matches!(&error, RpcError::IdInUse { id } if id == r#""a""#));
    assert!(error.is_retry_safe());
    drop(begin(
        &line,
        r#"{"id":"a","method":"m"}"#,
        &Terms::new().client(&other),
    ));
    let (outcome, _) = beside(&mut one, peer.echo()).await;
    outcome.unwrap();
    drop(begin(&line, r#"{"id":"a","method":"m"}"#, &terms));
    drop(begin(&line, r#"{"id":"a","method":"m"}"#, &terms));
}

#[tokio::test(start_paused = true)]
async fn a_clients_cancel_finds_its_own_request_and_no_other() {
    let (line, mut peer) = Setup::mcp().open();
    let (client, other) = (ClientIds::new(), ClientIds::new());
    let request = r#"{"id":7,"method":"m"}"#;
    let mut one = begin(&line, request, &Terms::new().client(&client));
    let mut two = begin(&line, request, &Terms::new().client(&other));
    let first = sent(&mut one, &mut peer).await;
    let second = sent(&mut two, &mut peer).await;
    assert!(!client.cancel(request.as_bytes()), "not a cancel");
    let cancel = br#"{"method":"notifications/cancelled","params":{"requestId":7}}"#;
    assert!(client.cancel(cancel));
    let (outcome, told) = beside(&mut one, peer.message()).await;
    let error = outcome.unwrap_err();
    let fate = Fate::MaybeExecuted;
    assert!(matches!(&error, RpcError::ClientCancelled { fate: it } if *it == fate));
    assert_eq!(told["params"]["requestId"], first["id"]);
    // It may be answered all the same, and the id can be used again.
    peer.reply(&first["id"], "late").await;
    peer.reply(&second["id"], "right").await;
    two.reply().await.unwrap();
    assert!(
        client.cancel(cancel),
        "nothing is in flight, and nothing happens"
    );
    quiet().await;
    assert_eq!(line.client.link.state().status().late, 1);
    assert!(line.client.link.state().owes_nothing());
    // Through an exchange as well.
    let mut again = begin(&line, request, &Terms::new().client(&client));
    sent(&mut again, &mut peer).await;
    let terms = Terms::new().client(&client);
    let mut cancelling = exchange(&line.client, &cancel[..], &terms).unwrap();
    assert!(cancelling.reply().await.unwrap().is_none());
    let error = again.reply().await.unwrap_err();
    assert!(matches!(error, RpcError::ClientCancelled { .. }));
    // Without a client nobody knows whose id it is.
    let refused = exchange(&line.client, &cancel[..], &Terms::new());
    assert!(matches!(refused.unwrap_err(), RpcError::BadRequest { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_before_it_is_written_is_never_written() {
    let mut setup = Setup::mcp();
    (setup.pipe_bytes, setup.settings.queue_max) = (16, 1);
    let (line, mut peer) = setup.open();
    let client = ClientIds::new();
    let terms = Terms::new().client(&client);
    // One is being written, one is queued, and one waits for room.
    let mut all = [0, 1, 2].map(|id| {
        let request = format!(r#"{{"id":{id},"method":"m","params":["{id}, and more"]}}"#);
        begin(&line, &request, &terms)
    });
    for exchange in &mut all {
        tokio::select! {
            biased;
            outcome = exchange.reply() => panic!("{outcome:?}"),
            () = quiet() => {}
        }
    }
    for id in [1, 2] {
        let cancel =
            format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
        assert!(client.cancel(cancel.as_bytes()));
    }
    for exchange in &mut all[1..] {
        let error = exchange.reply().await.unwrap_err();
        let RpcError::ClientCancelled { fate } = error else {
            panic!("{error}")
        };
        assert_eq!(fate, Fate::NotSent);
    }
    let [first, ..] = &mut all;
    let (outcome, request) = beside(first, peer.echo()).await;
    outcome.unwrap();
    assert_eq!(request["params"], json!(["0, and more"]));
    let mut last = begin(&line, r#"{"id":9,"method":"last"}"#, &terms);
    let (_, request) = beside(&mut last, peer.echo()).await;
    assert_eq!(request["method"], "last", "neither the others nor a cancel");
}

#[tokio::test(start_paused = true)]
async fn a_language_server_answers_what_a_client_cancels() {
    let mut setup = Setup::new(Protocol::Lsp);
    setup.settings.framing = crate::rpc::framing::Framing::Lines;
    let (line, mut peer) = setup.open();
    let client = ClientIds::new();
    let terms = Terms::new().client(&client);
    let request = r#"{"id":"x","method":"m","params":{"workDoneToken":"w"}}"#;
    let mut one = begin(&line, request, &terms);
    let asked = sent(&mut one, &mut peer).await;
    assert!(client.cancel(br#"{"method":"$/cancelRequest","params":{"id":"x"}}"#));
    let told = peer.message().await;
    assert_eq!(told["params"]["id"], asked["id"]);
    let by_token = br#"{"method":"window/workDoneProgress/cancel","params":{"token":"w"}}"#;
    assert!(client.cancel(by_token));
    let told = peer.message().await;
    assert_eq!(told["params"]["token"], asked["params"]["workDoneToken"]);
    peer.reply(&asked["id"], "a part").await;
    let reply = one.reply().await.unwrap().unwrap();
    assert_eq!(reply, r#"{"jsonrpc":"2.0","id":"x","result":"a part"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_language_server_is_told_of_a_cancel_once_and_after_its_request() {
    let mut setup = Setup::new(Protocol::Lsp);
    setup.settings.framing = crate::rpc::framing::Framing::Lines;
    let (line, mut peer) = setup.open();
    let client = ClientIds::new();
    let terms = Terms::new().client(&client).within(60 * SECOND);
    let mut one = begin(&line, r#"{"id":"x","method":"m"}"#, &terms);
    let cancel = || client.cancel(br#"{"method":"$/cancelRequest","params":{"id":"x"}}"#);
    assert!(cancel());
    let asked = sent(&mut one, &mut peer).await;
    assert_eq!(asked["method"], "m");
    assert_eq!(peer.message().await["params"]["id"], asked["id"]);
    assert!(cancel() && cancel());
    let mut last = begin(&line, r#"{"id":"y","method":"last"}"#, &terms);
    let request = sent(&mut last, &mut peer).await;
    assert_eq!(request["method"], "last", "it is told nothing else");
    peer.reply(&asked["id"], "a part").await;
    one.reply().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancel_for_which_there_was_no_room_is_told_when_it_is_repeated() {
    let mut setup = Setup::new(Protocol::Lsp);
    setup.settings.framing = crate::rpc::framing::Framing::Lines;
    setup.pipe_bytes = 64;
    let (line, mut peer) = setup.open();
    let client = ClientIds::new();
    let terms = Terms::new().client(&client).within(60 * SECOND);
    let mut one = begin(&line, r#"{"id":"x","method":"m"}"#, &terms);
    let asked = sent(&mut one, &mut peer).await;
    // It asks much, and reads no answer.
    for _ in 0..1100 {
        peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#).await;
    }
    quiet().await;
    let unsent = || line.client.link.state().status().unsent;
    let before = unsent();
    let cancel = || client.cancel(br#"{"method":"$/cancelRequest","params":{"id":"x"}}"#);
    assert!(cancel());
    assert_eq!(unsent(), before + 1);
    while let Ok(Some(answer)) = timeout(SECOND / 10, peer.line()).await {
        assert!(
            !answer.contains("cancelRequest"),
            "there was no room for it"
        );
    }
    assert!(cancel() && cancel());
    let told = timeout(SECOND, peer.message()).await;
    let told = told.expect("it is told");
    assert_eq!(told["params"]["id"], asked["id"]);
    assert!(timeout(SECOND, peer.line()).await.is_err(), "once");
}

#[tokio::test(start_paused = true)]
async fn an_initialize_that_is_given_up_is_not_cancelled_at_the_peer() {
    for protocol in [Protocol::Mcp, Protocol::Lsp] {
        let mut setup = Setup::new(protocol);
        setup.settings.framing = crate::rpc::framing::Framing::Lines;
        let (line, mut peer) = setup.open();
        let own = line.client.call::<Value>("initialize", &());
        let forwarded = line.client.forward(r#"{"id":1,"method":"initialize"}"#);
        tokio::select! {
            biased;
            _ = async { tokio::join!(own, forwarded) } => panic!("they are not answered"),
            () = quiet() => {}
        }
        for _ in ["own", "forwarded"] {
            assert_eq!(peer.message().await["method"], "initialize");
        }
        let last = line.client.call::<Value>("last", &[1]).within(SECOND);
        let (outcome, request) = tokio::join!(last, peer.echo());
        outcome.unwrap();
        assert_eq!(request["method"], "last");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_reply_has_what_is_left_of_the_limit_of_its_attempts() {
    let mut setup = Setup::mcp();
    (setup.pipe_bytes, setup.settings.queue_max) = (16, 1);
    let (line, _peer) = setup.open();
    // One is being written, and one is queued.
    let mut others = [0, 1].map(|id| {
        let request = format!(r#"{{"id":{id},"method":"a long one"}}"#);
        begin(&line, &request, &Terms::new())
    });
    for exchange in &mut others {
        tokio::select! {
            biased;
            outcome = exchange.reply() => panic!("{outcome:?}"),
            () = quiet() => {}
        }
    }
    let begun = Instant::now();
    let deadline = Some(Limit::starting_now(SECOND));
    sleep(SECOND / 2).await;
    let terms = Terms::new().within(SECOND);
    let news = exchange_until(&line.client, r#"{"method":"news"}"#, &terms, deadline);
    let error = news.unwrap().reply().await.unwrap_err();
    assert!(matches!(error, RpcError::Timeout { .. }), "{error}");
    assert_eq!(begun.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_language_server_made_is_not_one_of_a_request() {
    let mut setup = Setup::new(Protocol::Lsp);
    setup.settings.framing = crate::rpc::framing::Framing::Lines;
    let (line, mut peer) = setup.open();
    let mut everybody = line.client.link.subscribe();
    let request = r#"{"id":1,"method":"m","params":{"workDoneToken":"w"}}"#;
    let mut one = begin(&line, request, &Terms::new());
    let asked = sent(&mut one, &mut peer).await;
    let ours = asked["params"]["workDoneToken"].as_str().unwrap();
    let number = ours.rsplit('-').next().unwrap();
    let progress = |token: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"$/progress","params":{{"token":{token}}}}}"#)
    };
    for theirs in [number.to_owned(), format!("\"{number}\"")] {
        peer.say(progress(&theirs)).await;
        let news = everybody.recv().await.unwrap();
        assert_eq!(news.message, progress(&theirs).as_str());
    }
    peer.say(progress(&format!("\"{ours}\""))).await;
    assert_eq!(
        one.next().await.unwrap().message,
        progress("\"w\"").as_str()
    );
    peer.reply(&asked["id"], 1).await;
    one.reply().await.unwrap();
    peer.say(progress(&format!("\"{ours}\""))).await;
    quiet().await;
    assert_eq!(line.client.link.state().status().unheard, 1, "it is late");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_exchange_is_cancelled_at_the_peer() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = begin(&line, r#"{"id":1,"method":"m"}"#, &Terms::new());
    let asked = sent(&mut one, &mut peer).await;
    drop(one);
    let told = peer.message().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], asked["id"]);
    drop(begin(
        &line,
        r#"{"id":1,"method":"never sent"}"#,
        &Terms::new(),
    ));
    let mut last = begin(&line, r#"{"id":1,"method":"last"}"#, &Terms::new());
    let (_, request) = beside(&mut last, peer.echo()).await;
    assert_eq!(request["method"], "last");
}

#[tokio::test(start_paused = true)]
async fn a_detached_request_goes_on_to_its_reply_or_its_deadline() {
    let (line, mut peer) = Setup::mcp().open();
    let client = ClientIds::new();
    let terms = Terms::new()
        .client(&client)
        .on_drop(OnDrop::Detach)
        .within(SECOND);
    let mut one = begin(&line, r#"{"id":1,"method":"m"}"#, &terms);
    let asked = sent(&mut one, &mut peer).await;
    drop(one);
    quiet().await;
    assert_eq!(line.client.link.state().pending(), 1, "it is load");
    let again = exchange(&line.client, r#"{"id":1,"method":"m"}"#, &terms);
    assert!(matches!(again.unwrap_err(), RpcError::IdInUse { .. }));
    peer.reply(&asked["id"], "done").await;
    quiet().await;
    assert!(line.client.link.state().owes_nothing());

    let begun = Instant::now();
    let mut two = begin(&line, r#"{"id":1,"method":"m"}"#, &terms);
    let asked = sent(&mut two, &mut peer).await;
    drop(two);
    let told = peer.message().await;
    assert_eq!(told["params"]["requestId"], asked["id"]);
    assert_eq!(begun.elapsed(), SECOND);
    quiet().await;

    // A subscription never ends by itself, so it does not go on.
    let mut three = begin(&line, LISTEN, &terms);
    assert_eq!(
        peer.message().await["method"],
        "ping",
        "the second one made it a suspect"
    );
    let asked = sent(&mut three, &mut peer).await;
    drop(three);
    let told = peer.message().await;
    assert_eq!(told["params"]["requestId"], asked["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_written_keeps_nothing_of_its_body() {
    let (line, mut peer) = Setup::mcp().open();
    let request =
        r#"{"jsonrpc":"2.0","id":"c1","method":"m","params":{"_meta":{"progressToken":"t"}}}"#;
    let body = bytes::Bytes::from(request.to_owned());
    let terms = Terms::new().client(&ClientIds::new());
    let mut exchange = exchange(&line.client, body.clone(), &terms).unwrap();
    let asked = sent(&mut exchange, &mut peer).await;
    quiet().await;
    assert!(body.is_unique(), "a slice of the body is kept");
    peer.say(progress(&asked["params"]["_meta"]["progressToken"]))
        .await;
    assert!(exchange.next().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_expects_no_reply_is_sent_and_what_is_no_message_is_refused() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = begin(&line, r#"{"method":"news"}"#, &Terms::new());
    let (outcome, said) = beside(&mut one, peer.message()).await;
    assert!(outcome.unwrap().is_none() && one.next().await.is_none());
    assert_eq!(said["method"], "news");
    for message in [
        "no JSON",
        r#"[{"id":1,"method":"m"}]"#,
        r#"{"id":1,"result":2}"#,
        r#"{"id":1,"method":"initialize"}"#,
        r#"{"id":1,"method":"notifications/cancelled","params":{"requestId":1}}"#,
    ] {
        let refused = exchange(&line.client, message, &Terms::new());
        let error = refused.unwrap_err();
        assert!(
            matches!(error, RpcError::BadRequest { .. }),
            "{message}: {error}"
        );
    }
}
