//! Many clients with equal ids, tokens and subscriptions over a few children, in random histories:
//! nobody sees what belongs to another, and every request ends once.
//!
//! What a child says carries the name of the client whom it concerns, as the child took it from the
//! request. So whatever reaches a client must carry the client's own name and its own ids.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::runtime;
use tokio::task::JoinSet;

use super::{OurEnd, Peer, Setup, quiet};
use crate::rpc::error::RpcError;
use crate::rpc::exchange::{ClientIds, OnDrop, Terms, exchange};

const CLIENTS: u64 = 4;
const IDS: u64 = 3;
const CHILDREN: u64 = 2;
const STEPS: u64 = 60;
const SEEDS: u64 = 300;

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A child, and the requests that it has read and not answered.
struct Child {
    line: OurEnd,
    peer: Peer,
    requests: BTreeMap<u64, Value>,
    has_crashed: bool,
}

impl Child {
    fn new() -> Self {
        let (line, peer) = Setup::mcp().open();
        Self {
            line,
            peer,
            requests: BTreeMap::new(),
            has_crashed: false,
        }
    }

    /// Reads all that was sent.
    async fn read(&mut self) {
        loop {
            tokio::select! {
                biased;
                message = self.peer.message() => self.take(message),
                () = quiet() => return,
            }
        }
    }

    fn take(&mut self, message: Value) {
        let name = |id: &Value| id.as_u64().expect("ids of ours are numbers");
        match message["method"].as_str() {
            Some("notifications/cancelled") => {
                let cancelled = name(&message["params"]["requestId"]);
                let request = self.requests.get_mut(&cancelled);
                request.expect("what was sent is cancelled")["is_cancelled"] = json!(true);
            }
            Some(_) => {
                let earlier = self.requests.insert(name(&message["id"]), message);
                assert!(earlier.is_none(), "a number is used once");
            }
            None => {
                assert!(message["id"].is_u64(), "an answer to our question");
                assert_eq!(message["error"]["code"], -32601);
            }
        }
    }

    fn pick(&self, random: &mut Random) -> Option<(u64, Value)> {
        let count = self.requests.len() as u64;
        let place = usize::try_from(random.below(count.max(1))).unwrap();
        let (id, request) = self.requests.iter().nth(place)?;
        Some((*id, request.clone()))
    }

    /// Does something that a server may do.
    async fn act(&mut self, random: &mut Random) {
        let Some((id, request)) = self.pick(random) else {
            return;
        };
        let params = &request["params"];
        let (client, token) = (&params["client"], &params["_meta"]["progressToken"]);
        let subscription = json!({ "io.modelcontextprotocol/subscriptionId": id });
        match random.below(10) {
            0..4 => {
                self.requests.remove(&id);
                let result = json!({ "client": client, "_meta": subscription });
                self.peer.reply(&json!(id), result).await;
            }
            4..6 => {
                let params = json!({ "progressToken": token, "client": client });
                self.tell("notifications/progress", &params).await;
            }
            6..8 if request["method"] == "subscriptions/listen" => {
                let params = json!({ "_meta": subscription, "client": client });
                self.tell("notifications/resources/updated", &params).await;
            }
            8 => {
                // A server numbers its questions as it likes: a number can be that of a request
                // that it works on.
                let question = json!({ "jsonrpc": "2.0", "id": id, "method": "roots/list" });
                self.peer.say(question.to_string()).await;
            }
            9 if request["method"] == "subscriptions/listen" => {
                self.requests.remove(&id);
                let params = json!({ "requestId": id, "client": client });
                self.tell("notifications/cancelled", &params).await;
            }
            // Its question of that number: the request goes on.
            9 => {
                let params = json!({ "requestId": id });
                self.tell("notifications/cancelled", &params).await;
            }
            _ => {}
        }
        quiet().await;
    }

    async fn tell(&mut self, method: &str, params: &Value) {
        let note = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.peer.say(note.to_string()).await;
    }

    async fn crash(&mut self) {
        self.has_crashed = true;
        // A part of a reply is no reply.
        let torn = self
            .peer
            .output
            .write_all(br#"{"jsonrpc":"2.0","id":1,"#)
            .await;
        torn.unwrap();
        self.peer.output.shutdown().await.unwrap();
        quiet().await;
    }
}

/// How a request of a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Ending {
    Answered,
    Refused,
    Cancelled,
    Dropped,
    Failed,
}

/// Makes a request, and checks that all that comes back is the client's own.
async fn ask(
    line: crate::rpc::client::Client,
    ids: ClientIds,
    (client, id, dice): (u64, u64, u64),
) -> Ending {
    let is_listening = dice % 3 == 0;
    let method = ["tools/call", "subscriptions/listen"][usize::from(is_listening)];
    let meta = json!({ "progressToken": "same" });
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": method,
        "params": { "client": client, "_meta": meta } });
    let on_drop = [OnDrop::Cancel, OnDrop::Detach][usize::from(dice % 5 == 0)];
    let terms = Terms::new().client(&ids).on_drop(on_drop);
    let mut exchange = match exchange(&line, request.to_string(), &terms) {
        Ok(exchange) => exchange,
        Err(RpcError::IdInUse { .. }) => return Ending::Refused,
        Err(error) => panic!("{error}"),
    };
    let mut notes_left = if dice % 7 == 0 { dice % 4 } else { u64::MAX };
    while notes_left > 0 {
        let Some(note) = exchange.next().await else {
            break;
        };
        let note: Value = note.params().unwrap();
        assert_eq!(note["client"], client, "{note}");
        let named = &note["_meta"]["io.modelcontextprotocol/subscriptionId"];
        let is_own = *named == json!(id)
            || note["progressToken"] == "same"
            || note["requestId"] == json!(id);
        assert!(is_own, "{note}");
        notes_left -= 1;
    }
    if notes_left == 0 {
        return Ending::Dropped;
    }
    let first = exchange.reply().await;
    let again = exchange.reply().await;
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "it ends once");
    match first {
        Ok(reply) => {
            let reply: Value = serde_json::from_slice(&reply.unwrap()).unwrap();
            assert_eq!(
                (&reply["id"], &reply["result"]["client"]),
                (&json!(id), &json!(client))
            );
            let named = &reply["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert!(!is_listening || *named == json!(id), "{reply}");
            Ending::Answered
        }
        Err(RpcError::ClientCancelled { .. }) => Ending::Cancelled,
        Err(RpcError::ServerCancelled) if is_listening => Ending::Cancelled,
        Err(RpcError::OutputClosed { .. }) => Ending::Failed,
        Err(error) => panic!("{error}"),
    }
}

async fn run(seed: u64, endings: &mut BTreeMap<Ending, u64>) {
    let mut random = Random(seed);
    let clients: Vec<_> = (0..CLIENTS).map(|_| ClientIds::new()).collect();
    let mut children: Vec<_> = (0..CHILDREN).map(|_| Child::new()).collect();
    let mut requests = JoinSet::new();
    for _ in 0..STEPS {
        let (client, id) = (random.below(CLIENTS), random.below(IDS));
        let ids = &clients[usize::try_from(client).unwrap()];
        let child = &mut children[usize::try_from(random.below(CHILDREN)).unwrap()];
        match random.below(20) {
            0..7 if !child.has_crashed => {
                let line = child.line.client.clone();
                requests.spawn(ask(line, ids.clone(), (client, id, random.below(1 << 20))));
                quiet().await;
                child.read().await;
            }
            7 => {
                let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
                    "params": { "requestId": id } });
                assert!(ids.cancel(cancel.to_string().as_bytes()));
                quiet().await;
            }
            8 if random.below(4) == 0 && !child.has_crashed => child.crash().await,
            _ if !child.has_crashed => {
                child.read().await;
                child.act(&mut random).await;
            }
            _ => {}
        }
        while let Some(ended) = requests.try_join_next() {
            *endings.entry(ended.unwrap()).or_default() += 1;
        }
    }
    for child in &mut children {
        if !child.has_crashed {
            child.crash().await;
        }
    }
    while let Some(ended) = requests.join_next().await {
        *endings.entry(ended.unwrap()).or_default() += 1;
    }
    quiet().await;
    for child in &children {
        assert_eq!(child.line.client.link.state().pending(), 0);
    }
    for ids in &clients {
        assert!(format!("{ids:?}").contains("in_flight: 0"), "{ids:?}");
    }
}

#[test]
fn nobody_sees_what_belongs_to_another_and_every_request_ends_once() {
    let mut endings = BTreeMap::new();
    for seed in 0..SEEDS {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let history = std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed, &mut endings)));
        if let Err(panic) = std::panic::catch_unwind(history) {
            panic!("seed {seed}: {:?}", panic.downcast_ref::<String>());
        }
    }
    // All endings happen, so that all of them were checked.
    assert_eq!(endings.len(), 5, "{endings:?}");
    assert!(endings.values().all(|count| *count > 20), "{endings:?}");
}
