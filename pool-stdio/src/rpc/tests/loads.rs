//! What a request that was given up counts as, and what ends that. On a paused clock.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{sleep, timeout};

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::framing::Framing;
use crate::rpc::protocol::{Cancel, Protocol};
use crate::rpc::table::CallId;

/// Far less than `hang_after`, which ends every load.
const SECOND: Duration = Duration::from_secs(1);

/// A request that was given up, as long as it counts as load.
struct Request {
    call: CallId,
    end: oneshot::Receiver<()>,
}

impl Request {
    fn is_load(&mut self) -> bool {
        self.end.try_recv() != Err(TryRecvError::Closed)
    }
}

/// Gives up a request that the peer has read, and is told so. It is load, as the lease of an exchange is.
async fn give_up(line: &OurEnd, peer: &mut Peer) -> Request {
    let mut call = line.client.call::<Value>("m", &());
    let request = tokio::select! {
        biased;
        outcome = &mut call => panic!("{outcome:?}"),
        request = heard(peer) => request,
    };
    drop(call);
    let call = request["id"].as_u64().unwrap();
    let (lease, end) = oneshot::channel::<()>();
    line.client.link.keep_load(call, lease);
    let name = match line.client.link.settings.cancel {
        Cancel::None => return Request { call, end },
        Cancel::Mcp => "requestId",
        Cancel::Lsp => "id",
    };
    assert_eq!(heard(peer).await["params"][name], call, "it is cancelled");
    Request { call, end }
}

async fn heard(peer: &mut Peer) -> Value {
    let message = timeout(SECOND, peer.message()).await;
    message.expect("a message is due")
}

/// The peer reads a ping. Returns its id.
async fn reads_ping(peer: &mut Peer) -> Value {
    let ping = heard(peer).await;
    assert_eq!(ping["method"], "ping");
    ping["id"].clone()
}

async fn answers(peer: &mut Peer, id: &Value) {
    peer.reply(id, json!({})).await;
    quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_ends_the_load_of_its_request_and_of_no_other() {
    for protocol in [Protocol::Plain, Protocol::Lsp] {
        let mut setup = Setup::new(protocol);
        setup.settings.framing = Framing::Lines;
        let (line, mut peer) = setup.open();
        let mut one = give_up(&line, &mut peer).await;
        let mut two = give_up(&line, &mut peer).await;
        quiet().await;
        assert!(one.is_load() && two.is_load());
        answers(&mut peer, &json!(two.call)).await;
        assert!(one.is_load() && !two.is_load());
        answers(&mut peer, &json!(one.call)).await;
        assert!(!one.is_load());
    }
}

#[tokio::test(start_paused = true)]
async fn an_mcp_server_is_asked_something_and_its_answer_ends_the_load() {
    let (line, mut peer) = Setup::mcp().open();
    let mut request = give_up(&line, &mut peer).await;
    let ping = reads_ping(&mut peer).await;
    assert!(request.is_load());
    answers(&mut peer, &ping).await;
    assert!(!request.is_load());
    // Nothing else is asked.
    assert!(timeout(SECOND, peer.message()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_while_a_ping_is_out_has_a_ping_of_its_own() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = give_up(&line, &mut peer).await;
    let first = reads_ping(&mut peer).await;
    let mut two = give_up(&line, &mut peer).await;
    let more = timeout(SECOND, peer.message()).await;
    assert!(more.is_err(), "one ping at a time");
    answers(&mut peer, &first).await;
    assert!(!one.is_load() && two.is_load());
    let second = reads_ping(&mut peer).await;
    answers(&mut peer, &second).await;
    assert!(!two.is_load());
}

#[tokio::test(start_paused = true)]
async fn a_ping_whose_answer_ends_no_load_is_followed_by_another_one() {
    let (line, mut peer) = Setup::mcp().open();
    let mut one = give_up(&line, &mut peer).await;
    let first = reads_ping(&mut peer).await;
    // Another reply comes first, and ends the load that the ping was sent for.
    let (outcome, _) = tokio::join!(line.client.call::<Value>("m", &[1]), peer.echo());
    outcome.unwrap();
    assert!(!one.is_load());
    let mut two = give_up(&line, &mut peer).await;
    answers(&mut peer, &first).await;
    assert!(two.is_load());
    let second = reads_ping(&mut peer).await;
    answers(&mut peer, &second).await;
    assert!(!two.is_load());
}

#[tokio::test(start_paused = true)]
async fn a_ping_for_which_there_was_no_room_is_sent_later() {
    let mut setup = Setup::mcp();
    setup.pipe_bytes = 64;
    let (line, mut peer) = setup.open();
    let mut call = line.client.call::<Value>("m", &());
    let request = tokio::select! {
        biased;
        outcome = &mut call => panic!("{outcome:?}"),
        request = heard(&mut peer) => request,
    };
    // It asks much, and reads no answer.
    for _ in 0..1100 {
        peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)
            .await;
    }
    quiet().await;
    let unsent = || line.client.link.state().status().unsent;
    let before = unsent();
    drop(call);
    let (lease, end) = oneshot::channel::<()>();
    let call = request["id"].as_u64().unwrap();
    line.client.link.keep_load(call, lease);
    let mut request = Request { call, end };
    for _ in 0..10 {
        peer.say("a line of the log").await;
    }
    quiet().await;
    assert_eq!(
        unsent(),
        before + 1,
        "the cancel was dropped, and nothing else"
    );
    while timeout(SECOND / 10, peer.line()).await.is_ok() {}
    assert!(request.is_load());
    peer.say("a line of the log").await;
    let ping = reads_ping(&mut peer).await;
    answers(&mut peer, &ping).await;
    assert!(!request.is_load());
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_never_answered_are_load_for_a_while_and_leave_nothing_behind() {
    let setup = Setup::plain();
    let hang_after = setup.settings.hang_after;
    let (line, mut peer) = setup.open();
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.push(give_up(&line, &mut peer).await);
    }
    assert_eq!(line.client.link.state().loads(), 100);
    sleep(hang_after - SECOND).await;
    assert!(requests.iter_mut().all(Request::is_load));
    sleep(SECOND).await;
    quiet().await;
    assert!(!requests.iter_mut().any(Request::is_load));
    let (outcome, _) = tokio::join!(line.client.call::<Value>("m", &[1]), peer.echo());
    outcome.unwrap();
    assert_eq!(line.client.link.state().loads(), 0, "a reply has come");
    let _unanswered = give_up(&line, &mut peer).await;
    sleep(hang_after).await;
    quiet().await;
    let _last = give_up(&line, &mut peer).await;
    assert_eq!(line.client.link.state().loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answers_to_two_pings_at_once_are_no_duplicates() {
    let (line, mut peer) = Setup::mcp().open();
    let _request = give_up(&line, &mut peer).await;
    let first = reads_ping(&mut peer).await;
    let hasty = line.client.call::<Value>("m", &()).within(SECOND);
    hasty.await.unwrap_err();
    assert!(line.client.link.state().is_suspected());
    for _ in ["the request", "its cancel"] {
        heard(&mut peer).await;
    }
    let second = reads_ping(&mut peer).await;
    for ping in [first, second] {
        answers(&mut peer, &ping).await;
    }
    assert_eq!(line.client.link.state().status().duplicate, 0);
}
