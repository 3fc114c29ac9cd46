//! Futures that are dropped after one poll, after two, and so on, until they complete.

use std::fmt;
use std::time::Duration;

use crate::children::OUTER_DEADLINE;
use pool_core::{ConnectContext, ConnectionId, ConnectionPool, Connector};
use pool_stdio::{CommandSpec, OneShotConnector, StdioConnector, Stop};
use pool_testkit::fixture::Behaviour;
use tokio::time::Instant;

use crate::children::{Stage, eager, poll_times};

/// The counts for one kind of future.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The call that made the future.
    pub what: &'static str,
    /// How often it was dropped before it completed.
    pub cancelled: usize,
    /// How often it completed.
    pub completed: usize,
    /// The most polls after which it was dropped. It has at least as many awaits that are pending.
    pub polls_max: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: cancelled {} times, after up to {} polls; completed {} times",
            self.what, self.cancelled, self.polls_max, self.completed
        )
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Connect,
    Terminate,
    TerminateAll,
    OneShot,
    OfPool(OfPool),
}

#[derive(Debug, Clone, Copy)]
enum OfPool {
    Request { bytes: usize },
    WarmUp,
    Close,
}

/// Drops futures of every kind, this many in all, each one poll later than the one before. Goes on until one of each kind
/// has completed. Waits until no child is left.
///
/// # Panics
///
/// If a child does not start, or a connection whose request was cancelled is lent again.
pub async fn run(stage: &Stage<'_>, cycles: usize) -> Vec<Row> {
    let mut rows: Vec<(Kind, usize, Row)> = KINDS.map(|(kind, what)| (kind, 0, row(what))).into();
    for cycle in 0..cycles {
        one_more(stage, &mut rows[cycle % KINDS.len()]).await;
    }
    // How many polls it takes depends on the machine.
    for row in &mut rows {
        while row.2.completed == 0 {
            one_more(stage, row).await;
        }
    }
    rows.into_iter().map(|(_, _, row)| row).collect()
}

async fn one_more(stage: &Stage<'_>, (kind, polls, row): &mut (Kind, usize, Row)) {
    if cancel(stage, *kind, *polls).await {
        row.completed += 1;
        *polls = 0;
    } else {
        row.cancelled += 1;
        row.polls_max = row.polls_max.max(*polls);
        *polls += 1;
    }
}

const fn row(what: &'static str) -> Row {
    Row {
        what,
        cancelled: 0,
        completed: 0,
        polls_max: 0,
    }
}

/// Whether the future completed within this many polls. Nothing of it is left when this returns.
async fn cancel(stage: &Stage<'_>, kind: Kind, polls: usize) -> bool {
    let spec = stage.spec(&Behaviour::echo());
    let connector = StdioConnector::new(spec.clone()).expect("the program is there");
    let connector = connector.handshake(|child| {
        Box::pin(async {
            child.request("hello").await?;
            Ok(())
        })
    });
    let children = connector.children();
    let is_done = match kind {
        Kind::Connect => {
            let context = context();
            poll_times(connector.connect(&context), polls)
                .await
                .is_some()
        }
        Kind::Terminate => {
            let connected = connector.connect(&context()).await;
            let connection = connected.expect("a child starts");
            poll_times(connection.terminate(Stop::Orderly), polls)
                .await
                .is_some()
        }
        Kind::TerminateAll => {
            let connected = connector.connect(&context()).await;
            let connection = connected.expect("a child starts");
            let ended = poll_times(children.terminate_all(GRACE), polls).await;
            drop(connection);
            ended.is_some()
        }
        Kind::OneShot => one_shot(spec, polls).await,
        Kind::OfPool(kind) => of_pool(connector, kind, polls).await,
    };
    children.emptied().await;
    is_done
}

async fn one_shot(spec: CommandSpec, polls: usize) -> bool {
    let connector = OneShotConnector::new(spec).expect("the program is there");
    let children = connector.children();
    let pool = connector
        .pool()
        .max_size(1)
        .build()
        .expect("the settings are valid");
    let mut lease = pool.acquire().await.expect("a child starts");
    let outcome = poll_times(lease.run("line\n"), polls).await;
    drop((lease, pool));
    children.emptied().await;
    outcome.is_some()
}

async fn of_pool(connector: StdioConnector, kind: OfPool, polls: usize) -> bool {
    let pool = eager(ConnectionPool::builder(connector))
        .max_size(2)
        .build()
        .expect("the settings are valid");
    match kind {
        OfPool::WarmUp => poll_times(pool.warm_up(2), polls).await.is_some(),
        OfPool::Close => {
            pool.warm_up(1).await.expect("a child starts");
            poll_times(pool.close(GRACE), polls).await.is_some()
        }
        OfPool::Request { bytes } => {
            let line = "x".repeat(bytes);
            let asked = async { pool.acquire().await?.request(line).await.map_err(boxed) };
            let outcome = poll_times(asked, polls).await;
            let reply = outcome.map(|reply| reply.expect("this child is not killed"));
            // Whatever was cancelled, the next caller gets its own answer.
            let mut lease = pool.acquire().await.expect("a child starts");
            let next = lease
                .request("next")
                .await
                .expect("this child is not killed");
            assert_eq!(next.bytes, "next");
            reply.is_some()
        }
    }
}

fn boxed(error: pool_stdio::StdioError) -> Box<dyn std::error::Error + Send + Sync> {
    error.into()
}

fn context() -> ConnectContext {
    let deadline = Instant::now() + OUTER_DEADLINE;
    ConnectContext::new(ConnectionId::from_u64(0), 1, deadline)
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Connect, "connect with a handshake"),
    (
        Kind::OfPool(OfPool::Request { bytes: 70 }),
        "acquire and request",
    ),
    (
        Kind::OfPool(OfPool::Request { bytes: 256 << 10 }),
        "acquire and a request of 256 KiB",
    ),
    (Kind::OneShot, "one-shot run"),
    (Kind::OfPool(OfPool::WarmUp), "warm_up"),
    (Kind::Terminate, "terminate"),
    (Kind::OfPool(OfPool::Close), "close of the pool"),
    (Kind::TerminateAll, "terminate_all"),
];
const GRACE: Duration = Duration::from_secs(5);
