//! Random interleavings against a model: each call ends exactly once, with its own reply or a typed
//! error, and whatever else comes is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::runtime;
use tokio::task::JoinHandle;

use super::{Setup, quiet};
use crate::rpc::error::{Fate, RpcError};

#[derive(Debug, Clone)]
enum Step {
    Call,
    Drop(usize),
    Reply(usize),
    Unknown,
    Notify,
    Ask,
    Junk,
    Settle,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Crash,
    TornCrash,
    Close,
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Call),
        2 => any::<usize>().prop_map(Step::Drop),
        4 => any::<usize>().prop_map(Step::Reply),
        1 => Just(Step::Unknown),
        1 => Just(Step::Notify),
        1 => Just(Step::Ask),
        1 => Just(Step::Junk),
        4 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..80)
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Crash),
        Just(End::TornCrash),
        Just(End::Close),
        Just(End::Answer)
    ]
}

type Outcome = Result<u64, RpcError>;

struct World {
    calls: Vec<JoinHandle<Outcome>>,
    dropped: Vec<usize>,
    /// The ids under which the peer knows the calls.
    ids: Arc<Mutex<HashMap<usize, u64>>>,
    /// The first value that was replied to a call.
    replied: HashMap<usize, u64>,
    replies: u64,
    unknown: u64,
    asked: u64,
    junk: u64,
}

/// Reads requests, so that the peer knows the ids of the calls.
async fn read(input: DuplexStream, ids: Arc<Mutex<HashMap<usize, u64>>>) -> u64 {
    let mut lines = BufReader::new(input).lines();
    let mut answers = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        // The last line may be torn.
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            break;
        };
        if message["method"] == "m" {
            let call = usize::try_from(message["params"][0].as_u64().unwrap()).unwrap();
            let earlier = ids
                .lock()
                .unwrap()
                .insert(call, message["id"].as_u64().unwrap());
            assert!(earlier.is_none(), "a request is sent once");
        } else if message["id"] == "ours" {
            assert_eq!(message["error"]["code"], -32601);
            answers += 1;
        }
    }
    answers
}

async fn run(steps: Vec<Step>, end: End, pipe_bytes: usize, queue_max: usize) {
    let mut setup = Setup::mcp();
    setup.pipe_bytes = pipe_bytes;
    setup.settings.queue_max = queue_max;
    let (line, peer) = setup.open();
    let ids = Arc::<Mutex<HashMap<usize, u64>>>::default();
    let reader = tokio::task::spawn(read(peer.input.into_inner(), Arc::clone(&ids)));
    let mut output = peer.output;
    let mut world = World {
        calls: Vec::new(),
        dropped: Vec::new(),
        ids,
        replied: HashMap::new(),
        replies: 0,
        unknown: 0,
        asked: 0,
        junk: 0,
    };
    for step in steps {
        if let Some(text) = world.step(&line, step).await {
            output.write_all(text.as_bytes()).await.unwrap();
        }
    }
    match end {
        End::Answer => {
            quiet().await;
            for call in 0..world.calls.len() {
                if let Some(text) = world.reply(call) {
                    output.write_all(text.as_bytes()).await.unwrap();
                }
            }
        }
        End::TornCrash => output
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0")
            .await
            .unwrap(),
        End::Close => {
            quiet().await;
            line.close();
        }
        End::Crash => {}
    }
    quiet().await;
    let counts = line.client.link.state().status();
    drop(output);
    let pending = line.client.link.state().status().pending;
    line.ended().await;
    let answered = reader.await.unwrap();
    world.judge(end, counts, pending, answered).await;
}

impl World {
    async fn step(&mut self, line: &super::OurEnd, step: Step) -> Option<String> {
        match step {
            Step::Call => {
                let client = line.client.clone();
                let number = self.calls.len();
                let call = async move { client.call("m", &[number]).await };
                self.calls.push(tokio::task::spawn(call));
                None
            }
            Step::Drop(which) => {
                let which = which.checked_rem(self.calls.len())?;
                self.calls[which].abort();
                self.dropped.push(which);
                None
            }
            Step::Reply(which) => {
                let which = which.checked_rem(self.calls.len())?;
                self.reply(which)
            }
            Step::Unknown => {
                self.unknown += 1;
                Some("{\"jsonrpc\":\"2.0\",\"id\":\"5\",\"result\":1}\n".to_owned())
            }
            Step::Notify => Some("{\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n".to_owned()),
            Step::Ask => {
                self.asked += 1;
                Some("{\"jsonrpc\":\"2.0\",\"id\":\"ours\",\"method\":\"m\"}\n".to_owned())
            }
            Step::Junk => {
                self.junk += 1;
                Some("listening on \"stdio\" {}\n".to_owned())
            }
            Step::Settle => {
                quiet().await;
                None
            }
        }
    }

    /// A reply with a value of its own, if the request has arrived.
    fn reply(&mut self, call: usize) -> Option<String> {
        let id = *self.ids.lock().unwrap().get(&call)?;
        self.replies += 1;
        let value = self.replies;
        self.replied.entry(call).or_insert(value);
        Some(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{value}}}\n"
        ))
    }

    async fn judge(self, end: End, counts: crate::RpcStatus, pending: usize, answered: u64) {
        let (mut ok, mut aborted) = (0, 0);
        for (number, call) in self.calls.into_iter().enumerate() {
            let arrived = self.ids.lock().unwrap().contains_key(&number);
            let outcome = match call.await {
                Ok(outcome) => outcome,
                Err(error) => {
                    assert!(error.is_cancelled() && self.dropped.contains(&number));
                    aborted += 1;
                    continue;
                }
            };
            match (outcome, self.replied.get(&number)) {
                (Ok(value), Some(first)) => {
                    assert_eq!(value, *first, "call {number} has the reply of another");
                    ok += 1;
                }
                (Err(error), None) => {
                    if error.is_retry_safe() {
                        assert!(!arrived, "call {number} has arrived: {error}");
                    }
                    match error {
                        RpcError::OutputClosed { .. } => assert!(!matches!(end, End::Close)),
                        RpcError::Cancelled { .. } => assert!(matches!(end, End::Close)),
                        other => panic!("call {number}: {other}"),
                    }
                }
                (outcome, replied) => panic!("call {number}: {outcome:?}, replied {replied:?}"),
            }
        }
        let surplus = counts.late + counts.duplicate + counts.unknown - self.unknown;
        let met = self.replies - surplus;
        assert!(
            ok <= met && met <= ok + aborted,
            "{met} replies met a call, {ok} calls have one, {aborted} were dropped: {counts:?}"
        );
        assert_eq!(counts.strays, self.junk);
        assert_eq!(counts.unsent, 0);
        if matches!(end, End::Answer) {
            assert_eq!(pending, 0);
            assert_eq!(answered, self.asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn each_call_ends_once_with_its_own_reply_or_a_typed_error(
        steps in steps(),
        end in ends(),
        pipe_bytes in prop_oneof![Just(7_usize), Just(64), Just(4096)],
        queue_max in prop_oneof![Just(1_usize), Just(3), Just(64)],
    ) {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(steps, end, pipe_bytes, queue_max));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_may_be_sent_elsewhere() {
    let mut setup = Setup::plain();
    setup.pipe_bytes = 64;
    let (line, peer) = setup.open();
    let call = |number: u64| {
        let client = line.client.clone();
        tokio::task::spawn(async move {
            client
                .call::<u64>("a method with a long name", &[number])
                .await
        })
    };
    let calls: Vec<_> = (0..5).map(call).collect();
    quiet().await;
    drop(peer);
    let mut fates = Vec::new();
    for call in calls {
        fates.push(call.await.unwrap().unwrap_err().fate());
    }
    // The first one is cut in two by the pipe, which is full.
    let rest = [Fate::NotSent; 4];
    assert_eq!(fates[0], Fate::MaybeExecuted);
    assert_eq!(fates[1..], rest);
    line.ended().await;
}
