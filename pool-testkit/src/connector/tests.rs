use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::{CloseReason, ConnectContext, ConnectionId, Connector};
use tokio::time::Instant;

use super::{Answer, FakeConnection, FakeConnector, FakeHandle, QueryAnswer, pair};
use crate::{Call, Query};

fn id(number: u64) -> ConnectionId {
    ConnectionId::from_u64(number)
}

fn context(number: u64) -> ConnectContext {
    ConnectContext::new(id(number), 1, Instant::now() + Duration::from_secs(1))
}

async fn open(connector: &FakeConnector, number: u64) -> FakeConnection {
    connector.connect(&context(number)).await.unwrap()
}

fn set_all_manual(fake: &FakeHandle) {
    for call in Call::ALL {
        fake.set(call, Answer::Manual);
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn panics<T>(run: impl FnOnce() -> T) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[tokio::test]
async fn every_call_succeeds_by_default_and_is_counted() {
    let (connector, fake) = pair();
    let mut conn = open(&connector, 3).await;
    assert_eq!(fake.alive(), [id(3)]);
    assert!(connector.is_alive(&conn) && connector.is_clean(&conn));
    assert!(!connector.needs_reset(&conn));
    connector.check(&mut conn).await.unwrap();
    connector.reset(&mut conn).await.unwrap();
    connector.close(conn, CloseReason::MaxUses).await;
    let counts = fake.counts();
    for calls in [counts.connect, counts.reset, counts.check, counts.close] {
        assert_eq!((calls.succeeded, calls.running()), (1, 0), "{counts:?}");
    }
    assert_eq!(
        (counts.alive, counts.alive_peak, counts.occupied_peak),
        (0, 1, 1)
    );
    assert_eq!(counts.dropped_unclosed, 0);
    assert_eq!(fake.closes(), [(id(3), CloseReason::MaxUses)]);
    assert_eq!(Query::ALL.map(|query| fake.asked(query)), [1, 1, 1]);
}

#[tokio::test]
async fn a_connect_waits_for_the_test_and_a_dropped_one_leaves_nothing() {
    let (connector, fake) = pair();
    set_all_manual(&fake);
    let cx = context(0);
    let mut connect = connector.connect(&cx);
    assert!(poll(connect.as_mut()).is_pending());
    let mut pending = fake.next(Call::Connect).await;
    let attempt = pending.context().map(|context| context.attempt);
    assert_eq!((pending.id(), attempt), (id(0), Some(1)));
    assert!(!pending.is_cancelled());
    assert_eq!(fake.counts().connect.running(), 1);
    drop(connect);
    pending.cancelled().await;
    pending.succeed();
    let counts = fake.counts();
    assert_eq!(
        (counts.connect.aborted, counts.alive, counts.connecting_peak),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn a_connect_dropped_after_the_test_let_it_succeed_creates_no_connection() {
    let (connector, fake) = pair();
    fake.set(Call::Connect, Answer::Manual);
    let cx = context(0);
    let mut connect = connector.connect(&cx);
    assert!(poll(connect.as_mut()).is_pending());
    fake.next(Call::Connect).await.succeed();
    drop(connect);
    assert_eq!(
        (fake.counts().connect.aborted, fake.counts().alive_peak),
        (1, 0)
    );
}

#[tokio::test]
async fn a_pending_call_that_is_dropped_hangs() {
    let (connector, fake) = pair();
    fake.set(Call::Close, Answer::Manual);
    let conn = open(&connector, 0).await;
    let mut close = connector.close(conn, CloseReason::Died);
    assert!(poll(close.as_mut()).is_pending());
    let pending = fake.try_next(Call::Close).unwrap();
    assert_eq!(fake.closes(), [(pending.id(), CloseReason::Died)]);
    drop(pending);
    assert!(poll(close.as_mut()).is_pending());
    assert_eq!((fake.counts().alive, fake.counts().close.running()), (1, 1));
    drop(close);
    assert_eq!(
        (fake.counts().alive, fake.counts().dropped_unclosed),
        (0, 1)
    );
}

#[tokio::test]
async fn a_close_ends_and_drops_the_connection_when_the_test_says_so() {
    let (connector, fake) = pair();
    fake.set(Call::Close, Answer::Manual);
    let conn = open(&connector, 0).await;
    let close = connector.close(conn, CloseReason::Idle);
    let finish = async { fake.next(Call::Close).await.succeed() };
    let ((), ()) = tokio::join!(close, finish);
    let counts = fake.until(|counts| counts.close.succeeded == 1).await;
    assert_eq!((counts.alive, counts.dropped_unclosed), (0, 0));
}

#[tokio::test]
async fn a_reset_or_check_that_waits_for_the_test_passes_fails_or_panics_as_told() {
    let (connector, fake) = pair();
    set_all_manual(&fake);
    fake.queue(Call::Connect, [Answer::Ok]);
    let mut conn = open(&connector, 0).await;
    let fail = async { fake.next(Call::Check).await.fail("stale") };
    let (checked, ()) = tokio::join!(connector.check(&mut conn), fail);
    assert!(format!("{:?}", checked.unwrap_err()).contains("stale"));

    conn.mark_needs_reset();
    assert!(connector.needs_reset(&conn));
    let pass = async { fake.next(Call::Reset).await.succeed() };
    let (reset, ()) = tokio::join!(connector.reset(&mut conn), pass);
    assert!(reset.is_ok() && !connector.needs_reset(&conn));

    let mut check = connector.check(&mut conn);
    assert!(poll(check.as_mut()).is_pending());
    fake.next(Call::Check).await.panic("boom");
    assert!(panics(|| poll(check.as_mut())));
    drop(check);
    assert_eq!(
        (fake.counts().check.panicked, fake.counts().check.failed),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_come_late_or_never() {
    let (connector, fake) = pair();
    fake.queue(
        Call::Connect,
        [Answer::After(Duration::from_secs(5)), Answer::Never],
    );
    let start = Instant::now();
    drop(open(&connector, 0).await);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let cx = context(1);
    let never = tokio::time::timeout(Duration::from_secs(60), connector.connect(&cx)).await;
    assert!(never.is_err());
    assert_eq!(fake.counts().connect.aborted, 1);
}

#[tokio::test]
async fn a_killed_connection_tells_its_death_and_a_silently_killed_one_does_not() {
    let (connector, fake) = pair();
    let (loud, silent) = (open(&connector, 0).await, open(&connector, 1).await);
    let mut loud_died = connector.died(&loud).unwrap();
    let mut silent_died = connector.died(&silent).unwrap();
    assert!(poll(loud_died.as_mut()).is_pending());
    assert_eq!(fake.counts().watchers, 2);
    assert!(fake.kill(id(0)) && fake.kill_silently(id(1)));
    assert!(poll(loud_died.as_mut()).is_ready());
    assert!(poll(silent_died.as_mut()).is_pending());
    assert!(!connector.is_alive(&loud) && !connector.is_alive(&silent));
    drop((loud_died, silent_died));
    assert_eq!(fake.counts().watchers, 0);
    fake.stop_telling_deaths();
    assert!(connector.died(&silent).is_none());
    drop(silent);
    assert!(!fake.kill(id(1)), "it is gone");
}

#[tokio::test]
async fn answers_to_queries_replace_the_truth() {
    let (connector, fake) = pair();
    let conn = open(&connector, 0).await;
    fake.queue_query(Query::IsAlive, [QueryAnswer::No]);
    fake.set_query(Query::IsAlive, QueryAnswer::Panic);
    assert!(!connector.is_alive(&conn));
    assert!(panics(|| connector.is_alive(&conn)));
    conn.mark_dirty();
    assert!(!connector.is_clean(&conn));
    fake.set_query(Query::IsClean, QueryAnswer::Yes);
    assert!(connector.is_clean(&conn));
}

#[tokio::test]
async fn a_drop_may_panic_and_is_counted_all_the_same() {
    let (connector, fake) = pair();
    let conn = open(&connector, 0).await;
    assert!(fake.panic_on_drop(id(0)));
    let mut close = pin!(connector.close(conn, CloseReason::Idle));
    assert!(panics(|| poll(close.as_mut())));
    let counts = fake.counts();
    assert_eq!(
        (counts.alive, counts.close.panicked, counts.dropped_unclosed),
        (0, 1, 0)
    );
}

#[test]
fn a_handle_can_be_used_across_a_caught_panic() {
    fn is_unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>(_: &T) {}
    is_unwind_safe(&pair().1);
}
