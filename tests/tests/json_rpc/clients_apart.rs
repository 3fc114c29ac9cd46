//! Clients with equal ids, tokens and subscriptions over a few children that crash, in random histories:
//! nobody sees what belongs to another, and every request ends once.
//!
//! Each client sends its requests over a pool that all share, and has a session with a child of its own,
//! which asks it questions. All that a child says of a request repeats the params of the request, and these
//! name the client. So whatever reaches a client must carry the client's own name, under the client's own id
//! and token; and the answer that a child gets to a question must be that of the client it concerns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pool_core::{ConnectionPool, SharedPool};
use pool_stdio::{
    Children, ClientIds, JsonRpcConnection, OnDrop, Protocol, Retry, RetryError, RpcError,
    ServerMessage, Session, Terms,
};
use pool_tests::children::{eager, poll_times};
use pool_tests::random::SplitMix64;
use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use crate::bed::{Bed, kill, on_both_runtimes};
use crate::{AMPLE, connector, server};

const CLIENTS: u64 = 4;
/// How many ids each client uses, the same as all others.
const IDS: u64 = 3;
const SHARED_CHILDREN: usize = 2;
/// One for each client, and as many that are being closed.
const OWN_CHILDREN: usize = 8;
const STEPS: u64 = 150;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Answered,
    /// With a note of its own, and a reply.
    Noted,
    /// A question was asked for it, and its client's answer came back.
    Questioned,
    /// Its id was in flight.
    Refused,
    Cancelled,
    /// Its caller left.
    Dropped,
    /// Its child died.
    Died,
}

type Endings = BTreeMap<Ending, usize>;

/// A session, while a child is held for it, and the task that answers the child.
type Kept = Option<(Arc<Session>, AbortHandle)>;

/// One client.
#[derive(Clone)]
struct Client {
    name: u64,
    ids: ClientIds,
    retry: Retry,
    session: Arc<Mutex<Kept>>,
}

/// What is chosen for a request.
struct Choice {
    id: u64,
    method: &'static str,
    on_drop: OnDrop,
    /// Its caller leaves after a few polls.
    is_brief: bool,
}

impl Client {
    fn request(&self, choice: &Choice) -> String {
        let params = json!({ "client": self.name, "id": choice.id, "progress": self.name,
            "_meta": { "progressToken": "same" } });
        json!({ "jsonrpc": "2.0", "id": choice.id, "method": choice.method, "params": params })
            .to_string()
    }

    fn terms(&self, choice: &Choice) -> Terms {
        let terms = Terms::new().within(AMPLE).client(&self.ids);
        terms.on_drop(choice.on_drop)
    }

    /// What a child said of this request is about this request.
    fn assert_own_note(&self, params: &Value, choice: &Choice) {
        if choice.method == "progress" {
            let about = (&params["progressToken"], &params["progress"]);
            assert_eq!(about, (&json!("same"), &json!(self.name)), "{params}");
        } else {
            let subscription = &params["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(*subscription, json!(choice.id), "{params}");
            assert_eq!(params["client"], self.name, "{params}");
        }
    }

    /// The reply has the client's own id, and repeats what was asked.
    fn assert_own_reply(&self, reply: &[u8], choice: &Choice) {
        let reply: Value = serde_json::from_slice(reply).unwrap();
        assert_eq!(reply["id"], choice.id, "{reply}");
        if choice.method == "echo" || choice.method == "progress" {
            assert_eq!(reply["result"]["client"], self.name, "{reply}");
            assert_eq!(reply["result"]["id"], choice.id, "{reply}");
        }
        if choice.method == "ask" {
            let answer = &reply["result"]["result"];
            // The session ended before its client answered, or before its child asked.
            let error = &reply["result"]["error"]["code"];
            let is_left = *error == -32000 || *error == -32601;
            assert!(is_left || *answer == json!(self.name), "{reply}");
        }
    }

    /// A request over the pool that all clients share.
    async fn ask_shared(self, choice: Choice) -> Ending {
        let message = self.request(&choice);
        let mut exchange = self.retry.exchange(message, &self.terms(&choice));
        if choice.is_brief {
            poll_times(exchange.reply(), 3).await;
            return Ending::Dropped;
        }
        let mut notes = 0;
        if choice.method != "echo" {
            while let Some(note) = exchange.next().await {
                self.assert_own_note(&note.params().unwrap(), &choice);
                notes += 1;
            }
        }
        let first = exchange.reply().await;
        let again = exchange.reply().await;
        assert_eq!(format!("{first:?}"), format!("{again:?}"), "it ends once");
        match first {
            Ok(reply) => {
                self.assert_own_reply(&reply.unwrap(), &choice);
                match choice.method {
                    "progress" => assert_eq!(notes, 1),
                    method => assert_eq!(method, "echo", "a subscription is not answered"),
                }
                [Ending::Answered, Ending::Noted][usize::from(notes > 0)]
            }
            Err(RetryError::OutcomeUnknown { .. } | RetryError::NoChild(_)) => Ending::Died,
            Err(RetryError::Failed(error)) => ending(&error),
            Err(error) => panic!("{error}"),
        }
    }

    /// A request of its session.
    async fn ask_own(self, session: Arc<Session>, choice: Choice) -> Ending {
        let exchange = session.exchange(self.request(&choice), &self.terms(&choice));
        let mut exchange = match exchange {
            Ok(exchange) => exchange,
            Err(error) => return ending(&error),
        };
        drop(session);
        if choice.is_brief {
            poll_times(exchange.reply(), 3).await;
            return Ending::Dropped;
        }
        match exchange.reply().await {
            Ok(reply) => {
                self.assert_own_reply(&reply.unwrap(), &choice);
                match choice.method {
                    "ask" => Ending::Questioned,
                    _ => Ending::Answered,
                }
            }
            Err(error) => ending(&error),
        }
    }

    /// Answers what the session's child asks, until there is no more to come.
    async fn serve(self, session: Arc<Session>) {
        while let Some(message) = session.next().await {
            let ServerMessage::Request(question) = message else {
                panic!("{message:?}")
            };
            assert_eq!(question.pid, session.connection().process().pid());
            let asked: Value = serde_json::from_slice(&question.message).unwrap();
            let about = &asked["params"]["client"];
            assert_eq!(*about, self.name, "a question for another client");
            let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": self.name });
            let sent = session.exchange(answer.to_string(), &Terms::new().within(AMPLE));
            // Its child may have died meanwhile.
            drop(match sent {
                Ok(mut sent) => sent.reply().await,
                Err(error) => Err(error),
            });
        }
        let mut kept = self.session.lock().unwrap();
        if kept
            .as_ref()
            .is_some_and(|(kept, _)| Arc::ptr_eq(kept, &session))
        {
            *kept = None;
        }
    }
}

fn ending(error: &RpcError) -> Ending {
    if matches!(error, RpcError::IdInUse { .. }) {
        return Ending::Refused;
    }
    if matches!(error, RpcError::ClientCancelled { .. }) {
        return Ending::Cancelled;
    }
    let is_a_death = matches!(
        error,
        RpcError::ProcessExited { .. }
            | RpcError::OutputClosed { .. }
            | RpcError::StdinClosed { .. }
    );
    assert!(is_a_death, "{error}");
    Ending::Died
}

/// All clients, and the children that they use.
struct World {
    clients: Vec<Client>,
    shared: SharedPool<JsonRpcConnection>,
    own: ConnectionPool<JsonRpcConnection>,
    children: [Children; 2],
}

impl World {
    fn new(bed: &Bed) -> Self {
        let connectors = [(); 2].map(|()| connector(bed, &server(), Protocol::Mcp));
        let children = [connectors[0].children(), connectors[1].children()];
        let [for_all, for_one] = connectors;
        let shared = eager(SharedPool::builder(for_all)).max_size(SHARED_CHILDREN);
        let shared = shared.target_leases(2).build().unwrap();
        let own = eager(ConnectionPool::builder(for_one)).max_size(OWN_CHILDREN);
        let retry = Retry::new(shared.clone()).repeat_if(|method, _| method == "echo");
        let clients = (0..CLIENTS).map(|name| Client {
            name,
            ids: ClientIds::new(),
            retry: retry.clone(),
            session: Arc::default(),
        });
        Self {
            clients: clients.collect(),
            shared,
            own: own.build().unwrap(),
            children,
        }
    }

    /// One step of a history.
    async fn step(
        &self,
        random: &mut SplitMix64,
        requests: &mut JoinSet<Ending>,
        serving: &mut JoinSet<()>,
    ) {
        let which = usize::try_from(random.below(CLIENTS)).unwrap();
        let client = self.clients[which].clone();
        let mut choice = Choice {
            id: random.below(IDS),
            method: "echo",
            on_drop: [OnDrop::Cancel, OnDrop::Detach][usize::from(random.below(3) == 0)],
            is_brief: random.below(5) == 0,
        };
        match random.below(20) {
            dice @ 0..9 => {
                choice.method = ["echo", "progress", "subscriptions/listen"]
                    [usize::try_from(dice % 3).unwrap()];
                requests.spawn(client.ask_shared(choice));
            }
            9..11 => {
                // To all subscriptions of one child, whosever they are.
                if let Ok(child) = self.shared.acquire().await {
                    let told = child.call::<u64>("publish", &()).await;
                    assert!(told.is_ok() || !child.is_alive(), "{told:?}");
                }
            }
            dice @ 11..15 => {
                choice.method = ["ask", "echo"][usize::from(dice == 14)];
                if let Some(session) = self.session(&client, serving).await {
                    requests.spawn(client.ask_own(session, choice));
                }
            }
            15..18 => {
                let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
                    "params": { "requestId": choice.id } });
                assert!(client.ids.cancel(cancel.to_string().as_bytes()));
            }
            18 => {
                let pids = self.children[usize::from(random.below(2) == 0)].pids();
                if let Some(pid) = pids.get(which % pids.len().max(1)) {
                    kill(*pid);
                }
            }
            _ => {
                // It leaves with its questions open.
                if let Some((_session, serving)) = client.session.lock().unwrap().take() {
                    serving.abort();
                }
            }
        }
        for _ in 0..random.below(20) {
            yield_now().await;
        }
    }

    /// The client's session, or a new one.
    async fn session(&self, client: &Client, serving: &mut JoinSet<()>) -> Option<Arc<Session>> {
        if let Some((session, _)) = &*client.session.lock().unwrap() {
            return Some(Arc::clone(session));
        }
        let session = Arc::new(Session::new(self.own.acquire().await.ok()?));
        let task = serving.spawn(client.clone().serve(Arc::clone(&session)));
        *client.session.lock().unwrap() = Some((Arc::clone(&session), task));
        Some(session)
    }

    /// All children die, and so whatever is pending ends.
    async fn end(self, mut requests: JoinSet<Ending>, mut serving: JoinSet<()>) -> Endings {
        let mut endings = Endings::new();
        // A request that waits for a child gets one, so each child that comes is ended too.
        loop {
            for pid in self.children.iter().flat_map(Children::pids) {
                kill(pid);
            }
            while let Some(ended) = requests.try_join_next() {
                *endings.entry(ended.unwrap()).or_default() += 1;
            }
            if requests.is_empty() {
                break;
            }
            yield_now().await;
        }
        while let Some(ended) = serving.join_next().await {
            if let Err(error) = ended {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        while self.shared.status().leases > 0 {
            yield_now().await;
        }
        for client in &self.clients {
            while !format!("{:?}", client.ids).contains("in_flight: 0") {
                yield_now().await;
            }
        }
        endings
    }
}

#[expect(clippy::print_stderr, reason = "shown if it fails, to replay it")]
async fn history(bed: &Bed, seed: u64, endings: &mut Endings) {
    eprintln!("POOL_CLIENTS_SEED={seed}");
    let world = World::new(bed);
    let mut random = SplitMix64::new(seed);
    let (mut requests, mut serving) = (JoinSet::new(), JoinSet::new());
    let mut ended = Endings::new();
    let mut begun = 0;
    for _ in 0..STEPS {
        let before = requests.len();
        world.step(&mut random, &mut requests, &mut serving).await;
        begun += requests.len() - before;
        while let Some(done) = requests.try_join_next() {
            *ended.entry(done.unwrap()).or_default() += 1;
        }
    }
    for (ending, count) in world.end(requests, serving).await {
        *ended.entry(ending).or_default() += count;
    }
    assert_eq!(ended.values().sum::<usize>(), begun, "each ends once");
    for (ending, count) in ended {
        *endings.entry(ending).or_default() += count;
    }
}

/// `POOL_CLIENTS_SEED` plays one history, and `POOL_CLIENTS_SEEDS` so many.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse::<u64>().expect("it is a number"))
    };
    match (number("POOL_CLIENTS_SEED"), number("POOL_CLIENTS_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(3),
    }
}

#[test]
fn clients_of_children_that_crash_see_nothing_of_each_other_and_each_request_ends_once() {
    on_both_runtimes(async |bed| {
        let mut endings = Endings::new();
        for seed in seeds() {
            history(bed, seed, &mut endings).await;
        }
        // All endings happen, so that all of them were checked. Which of them a history has depends on the machine, too.
        let all = |endings: &Endings| seeds().count() < 3 || endings.len() == 7;
        let mut more = (seeds().end..).take(20);
        while !all(&endings)
            && let Some(seed) = more.next()
        {
            history(bed, seed, &mut endings).await;
        }
        assert!(all(&endings), "{endings:?}");
    });
}
