use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use pool_core::{CloseReason, ConnectContext, ConnectionId, Connector, SuspicionSink};
use tokio::time::{Instant, timeout};

use super::{FaultPlan, FaultyConnector, Odds};
use crate::connector::{FakeConnector, FakeHandle, pair};
use crate::{Call, Query};

const MINUTE: Duration = Duration::from_secs(60);

fn faulty(plan: FaultPlan) -> (FaultyConnector<FakeConnector>, FakeHandle) {
    let (connector, fake) = pair();
    (FaultyConnector::new(connector, plan), fake)
}

fn context() -> ConnectContext {
    ConnectContext::new(ConnectionId::from_u64(0), 1, Instant::now())
}

fn always(call: Call, odds: Odds) -> FaultPlan {
    FaultPlan::new(42).call_odds(call, odds)
}

fn panics<T>(future: impl Future<Output = T>) -> bool {
    let mut future = Box::pin(future);
    let poll = || {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    };
    std::panic::catch_unwind(AssertUnwindSafe(poll)).is_err()
}

#[tokio::test]
async fn a_failed_connect_leaves_nothing_open_even_if_the_real_one_succeeded() {
    let (faulty, fake) = faulty(always(Call::Connect, Odds::none().transient(1000)));
    for _ in 0..20 {
        let error = faulty.connect(&context()).await.unwrap_err();
        assert!(!error.is_permanent());
    }
    let counts = fake.counts();
    assert!(
        (1..20).contains(&counts.connect.succeeded),
        "both kinds occur: {counts:?}"
    );
    assert_eq!(counts.alive, 0);
}

#[tokio::test]
async fn a_close_that_panics_has_closed_the_connection() {
    let (faulty, fake) = faulty(always(Call::Close, Odds::none().panic(1000)));
    let conn = faulty.connect(&context()).await.unwrap();
    assert!(panics(faulty.close(conn, CloseReason::Idle)));
    assert_eq!((fake.counts().close.succeeded, fake.counts().alive), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_closes_the_connection_when_the_faults_end() {
    let (faulty, fake) = faulty(always(Call::Close, Odds::none().hang(1000)));
    let conn = faulty.connect(&context()).await.unwrap();
    let mut close = faulty.close(conn, CloseReason::Idle);
    assert!(timeout(MINUTE, close.as_mut()).await.is_err());
    assert_eq!((fake.counts().alive, faulty.switch().hanging()), (1, 1));
    faulty.switch().turn_off();
    close.await;
    assert_eq!((fake.counts().close.succeeded, fake.counts().alive), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn delays_run_on_the_paused_clock_and_repeat_with_the_seed() {
    let run = async || {
        let (faulty, _fake) = faulty(always(Call::Check, Odds::none().slow(1000, MINUTE)));
        let mut conn = faulty.connect(&context()).await.unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            faulty.check(&mut conn).await.unwrap();
        }
        start.elapsed()
    };
    let first = run().await;
    assert!(first > Duration::ZERO && first <= 3 * MINUTE);
    assert_eq!(first, run().await);
}

#[tokio::test]
async fn resets_fail_and_queries_get_the_unfavourable_answer() {
    let plan = always(Call::Reset, Odds::none().permanent(1000))
        .query_odds(Query::IsAlive, 1000, 0)
        .query_odds(Query::IsClean, 0, 1000)
        .query_odds(Query::NeedsReset, 1000, 0);
    let (faulty, fake) = faulty(plan);
    let mut conn = faulty.connect(&context()).await.unwrap();
    assert!(faulty.reset(&mut conn).await.is_err());
    assert_eq!(fake.counts().reset.started, 0);
    assert!(!faulty.is_alive(&conn));
    assert!(faulty.needs_reset(&conn));
    assert!(panics(async { faulty.is_clean(&conn) }));
    assert_eq!(faulty.switch().injected(), 4);
    faulty.switch().turn_off();
    assert!(faulty.is_alive(&conn) && faulty.is_clean(&conn) && !faulty.needs_reset(&conn));
    assert!(faulty.reset(&mut conn).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn connections_die_within_the_planned_time_unless_the_faults_have_ended() {
    let (faulty, fake) = faulty(FaultPlan::new(42).death_odds(1000, MINUTE));
    let conn = faulty.connect(&context()).await.unwrap();
    let mut doomed = faulty.died(&conn).unwrap();
    let mut spared = faulty.died(&conn).unwrap();
    assert!(timeout(MINUTE, doomed.as_mut()).await.is_ok());
    faulty.switch().turn_off();
    assert!(timeout(MINUTE, spared.as_mut()).await.is_err());
    assert!(fake.kill(conn.id()));
    let poll = spared
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready(), "a real death still resolves `died`");
}

#[tokio::test]
async fn suspicions_and_weights_are_those_of_the_real_connection() {
    let (faulty, fake) = faulty(FaultPlan::new(42));
    let conn = faulty.connect(&context()).await.unwrap();
    let is_suspected = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_suspected);
    let sink = SuspicionSink::new(move |is_suspected| told.store(is_suspected, Ordering::Relaxed));
    faulty.watch_suspicion(&conn, sink);
    assert!(fake.suspect(conn.id(), true));
    assert!(is_suspected.load(Ordering::Relaxed));
    assert!(fake.set_weight(conn.id(), 7));
    let vitals = faulty.vitals(&conn).expect("a fake has vitals");
    assert_eq!(vitals.weight(), Some(7));
}
