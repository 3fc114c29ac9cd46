//! Corners in which two rules meet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pool_core::{
    AcquireError, CloseReason, ConnectionId, Event, EventKind, Observer, ResizeError, SharedLease,
    SharedPool,
};
use pool_testkit::connector::{Answer, QueryAnswer, pair};
use pool_testkit::{Call, Query};
use pool_tests::bed::{Held, MINUTE, SECOND, Watchdog, pass, settle, start};
use tokio::runtime;
use tokio::time::Instant;

use crate::bed::{Bed, Lease, id, ids};

#[tokio::test(start_paused = true)]
async fn connection_that_is_dead_at_its_last_permitted_use_is_a_death() {
    let bed = Bed::with(1, |builder| builder.max_uses(1).fail_fast_after(100));
    let began = Instant::now();
    bed.fake
        .queue_query(Query::IsAlive, [const { QueryAnswer::No }; 8]);
    let lease = bed.lease().await;
    assert_eq!(bed.reasons(), [CloseReason::Died; 8]);
    assert!(
        began.elapsed() > SECOND / 10,
        "each one is waited for longer"
    );
    drop(lease);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_breaks_when_it_is_to_be_closed_anyway_is_closed_as_broken() {
    for (ruin, how) in [
        (0, CloseReason::Died),
        (1, CloseReason::Discarded),
        (2, CloseReason::Dirty),
    ] {
        let bed = Bed::new(1);
        let mut old = bed.leases(2).await;
        bed.pool.evict_all();
        settle().await;
        assert_eq!(ids(&bed.leases(1).await), [1], "it was replaced");
        match ruin {
            0 => drop(bed.fake.kill(id(&old[0]))),
            1 => SharedLease::discard(old.remove(0)),
            _ => old[0].mark_dirty(),
        }
        drop(old);
        settle().await;
        assert_eq!(bed.reasons(), [how], "nothing polite is to be expected");
        bed.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn resize_that_changes_nothing_does_not_end_what_is_being_replaced() {
    let bed = Bed::new(1);
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    let more = Held::new(bed.pool.acquire()).ready().expect("it serves on");
    connect.succeed();
    settle().await;
    drop((old, more));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().idle, 1, "its replacement is there");
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_what_serves_and_gives_up_what_is_being_opened() {
    let bed = Bed::new(2);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut first = Held::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    let served = first.ready().expect("a connection can serve it");
    drop(first);
    let second = bed.lease().await;
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    let third = Held::new(bed.pool.acquire()).ready().expect("it serves on");
    connect.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    assert_eq!(ids(&[served, second, third]), [0; 3]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_ends_what_is_to_be_replaced_first() {
    let bed = Bed::with(2, |builder| builder.max_surge(0));
    let leases = bed.leases(5).await;
    assert_eq!(ids(&leases), [0, 0, 1, 1, 0]);
    bed.pool
        .retain(|connection| connection.id != id(&leases[0]));
    bed.pool.resize(1).unwrap();
    let next = bed.lease().await;
    assert_eq!(id(&next).as_u64(), 1, "the one that is to stay");
    drop((leases, next));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Shrunk]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_does_not_turn_a_replacement_away() {
    let bed = Bed::with(2, |builder| builder.max_surge(0));
    let old = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.pool.evict_all();
    let connect = bed.fake.next(Call::Connect).await;
    bed.pool.resize(1).unwrap();
    connect.succeed();
    settle().await;
    let new = bed.lease().await;
    assert_eq!(id(&new).as_u64(), 1);
    drop((old, new));
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn limit_and_surge_together_must_be_countable() {
    let bed = Bed::with(1, |builder| builder.max_surge(10));
    let error = bed.pool.resize(u32::MAX as usize - 5).unwrap_err();
    assert!(matches!(error, ResizeError::TooLarge { .. }), "{error}");
    bed.pool.resize(u32::MAX as usize - 20).unwrap();
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn spare_beside_busy_connections_is_not_closed_only_to_be_opened_again() {
    let bed = Bed::with(3, |builder| builder.idle_timeout(SECOND));
    let busy = bed.leases(2).await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    pass(MINUTE).await;
    assert_eq!(bed.fake.counts().connect.started, 2);
    assert_eq!(bed.reasons(), []);
    drop(busy);
    pass(MINUTE).await;
    assert_eq!(
        bed.reasons(),
        [CloseReason::Idle; 2],
        "nobody needs a spare"
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_that_is_kept_ready_is_room_enough() {
    let bed = Bed::with(4, |builder| builder.min_idle(1));
    bed.fake.set(Call::Connect, Answer::Manual);
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    let leases = (bed.lease().await, bed.lease().await);
    settle().await;
    assert_eq!(
        bed.fake.counts().connect.running(),
        1,
        "one is idle, and carries less than its target"
    );
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    assert_eq!(bed.fake.counts().connect.running(), 0);
    drop(leases);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_only_its_check_has_is_not_replaced() {
    let bed = Bed::with(1, |builder| {
        builder.check_interval(SECOND).check_timeout(MINUTE)
    });
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    // Shortly after its last lease it would be replaced.
    pass(20 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    assert_eq!(bed.pool.evict_all(), 1);
    settle().await;
    assert_eq!(bed.fake.counts().connect.started, 1, "nobody needs another");
    check.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    assert_eq!(bed.pool.status().size(), 0);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_only_its_check_has_serves_whoever_comes() {
    let bed = Bed::with(1, |builder| builder.check_interval(SECOND));
    drop(bed.lease().await);
    bed.fake.set(Call::Check, Answer::Manual);
    pass(2 * SECOND).await;
    let check = bed.fake.next(Call::Check).await;
    bed.pool.evict_all();
    let old = Held::new(bed.pool.acquire())
        .ready()
        .expect("a connection can serve it");
    settle().await;
    assert_eq!(bed.fake.counts().connect.started, 2, "now it is replaced");
    let new = bed.lease().await;
    assert_eq!(ids(&[old, new]), [0, 1]);
    check.succeed();
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn replacement_that_dies_is_replaced_while_its_predecessor_has_leases() {
    let bed = Bed::new(1);
    let old = bed.lease().await;
    bed.pool.evict_all();
    settle().await;
    let new = bed.lease().await;
    bed.fake.kill(id(&new));
    drop(new);
    settle().await;
    let newer = bed.lease().await;
    assert_eq!(ids(&[old, newer]), [0, 2]);
    settle().await;
    assert_eq!(bed.reasons(), [CloseReason::Died, CloseReason::Evicted]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn few_are_checked_at_the_same_time_and_all_in_turn() {
    const CONNECTIONS: usize = 10;
    let bed = Bed::with(CONNECTIONS, |builder| builder.check_interval(SECOND));
    bed.pool.warm_up(CONNECTIONS).await.unwrap();
    bed.fake.set(Call::Check, Answer::Manual);
    let pool = bed.pool.clone();
    let mut seen = Vec::new();
    pass(2 * SECOND).await;
    while seen.len() < CONNECTIONS {
        assert!(bed.fake.counts().check.running() <= 4);
        let check = bed.fake.next(Call::Check).await;
        seen.push(check.id());
        check.succeed();
        settle().await;
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CONNECTIONS, "the longest unproven first");
    let closing = start(async move { pool.close(MINUTE).await });
    pass(MINUTE).await;
    drop(closing);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn waiter_that_was_served_before_the_close_is_told_of_it() {
    let bed = Bed::new(1);
    let mut leases = bed.leases(3).await;
    let mut polled = Held::waiting(bed.pool.acquire());
    let dropped = Held::waiting(bed.pool.acquire());
    leases.truncate(1);
    let pool = bed.pool.clone();
    let closing = start(async move { pool.close(MINUTE).await });
    settle().await;
    let told = polled.ready();
    assert!(matches!(told, Err(AcquireError::Closed { .. })), "{told:?}");
    drop((polled, dropped));
    assert_eq!(bed.pool.status().leases, 1);
    drop(leases);
    assert!(
        closing
            .await
            .expect("the task does not panic")
            .is_complete()
    );
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_evicted_while_it_is_opened_is_never_lent() {
    let bed = Bed::new(1);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiter = Held::waiting(bed.pool.acquire());
    let first = bed.fake.next(Call::Connect).await;
    assert_eq!(bed.pool.evict_all(), 1);
    first.succeed();
    bed.fake.next(Call::Connect).await.succeed();
    settle().await;
    let lease = waiter.ready().expect("a connection can serve it");
    drop(waiter);
    assert_eq!(ids(&[lease]), [1]);
    assert_eq!(bed.reasons(), [CloseReason::Evicted]);
    bed.finish().await;
}

#[test]
fn drop_that_panics_when_the_runtime_has_gone_frees_the_slot() {
    let _watchdog = Watchdog::start();
    let (connector, fake) = pair();
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    fake.panic_on_every_drop();
    let (pool, leases) = runtime.block_on(async {
        let pool = SharedPool::builder(connector).build().unwrap();
        let leases = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        (pool, leases)
    });
    let mut waiter = Held::new(pool.acquire());
    drop(runtime);
    assert!(matches!(waiter.ready(), Err(AcquireError::Closed { .. })));
    drop(leases);
    assert_eq!(pool.status().size(), 0);
    assert_eq!(pool.status().leases, 0);
}

#[derive(Default)]
struct Diary(Mutex<Vec<Event>>);

impl Observer for Diary {
    fn on_event(&self, event: &Event) {
        self.0
            .lock()
            .expect("the task does not panic")
            .push(event.clone());
    }
}

#[derive(Default, Debug)]
struct Page {
    leased: i32,
    deaths: u32,
    closing: Option<CloseReason>,
    is_closed: bool,
}

#[tokio::test(start_paused = true)]
async fn events_of_a_shared_connection_tell_one_story() {
    let diary = Arc::new(Diary::default());
    let observer = Arc::clone(&diary);
    let bed = Bed::with(3, |builder| {
        builder
            .observer(observer)
            .check_interval(SECOND)
            .max_lifetime(20 * SECOND)
            .idle_timeout(5 * SECOND)
            .max_uses(30)
            .min_uptime(SECOND / 1000)
    });
    let mut leases = Vec::new();
    for round in 0..600_usize {
        match round % 23 {
            3 => drop(bed.pool.evict_all()),
            7 => drop(leases.first().map(|lease| bed.fake.kill(id(lease)))),
            11 => drop(leases.pop().map(SharedLease::discard)),
            13 => drop(leases.last().map(|lease: &Lease| lease.mark_dirty())),
            17 => bed.fake.queue(Call::Check, [Answer::Panic]),
            19 => bed.pool.resize(1 + round % 3).unwrap(),
            _ => {}
        }
        if round % 3 == 0 && !leases.is_empty() {
            drop(leases.swap_remove(round % leases.len()));
        } else if let Ok(lease) = bed.pool.acquire_within(SECOND / 10).await {
            leases.push(lease);
        }
        pass(SECOND / 4).await;
    }
    drop(leases);
    bed.finish().await;

    let mut events = diary.0.lock().expect("the task does not panic").clone();
    events.sort_unstable_by_key(|event| event.seq);
    let book = read(&events);
    assert!(book.len() > 20, "{}", book.len());
    assert!(book.values().all(|page| page.is_closed), "{book:?}");
    let mut reasons: Vec<_> = book.values().filter_map(|page| page.closing).collect();
    reasons.sort_unstable_by_key(ToString::to_string);
    reasons.dedup();
    assert!(reasons.len() >= 6, "{reasons:?}");
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest is not about leases"
)]
fn read(events: &[Event]) -> BTreeMap<ConnectionId, Page> {
    let mut book = BTreeMap::<ConnectionId, Page>::new();
    for event in events {
        let what = format!("{event:?}");
        match &event.kind {
            EventKind::Opened { id } => drop(book.insert(*id, Page::default())),
            EventKind::Leased { id, .. } => {
                let page = book.get_mut(id).expect("it was opened before");
                page.leased += 1;
                assert!(page.deaths == 0 && page.closing.is_none(), "{what}");
            }
            EventKind::Returned { id } => {
                let page = book.get_mut(id).expect("it was opened before");
                page.leased -= 1;
                assert!(page.leased >= 0 && page.closing.is_none(), "{what}");
            }
            EventKind::Died { id } => {
                let page = book.get_mut(id).expect("it was opened before");
                page.deaths += 1;
                assert!(page.deaths == 1 && page.closing.is_none(), "{what}");
            }
            EventKind::Closing { id, reason } => {
                let page = book.get_mut(id).expect("it was opened before");
                assert_eq!(page.closing.replace(*reason), None, "{what}");
            }
            EventKind::Closed { id, reason } => {
                let page = book.get_mut(id).expect("it was opened before");
                assert_eq!(page.closing, Some(*reason), "{what}");
                assert!(!std::mem::replace(&mut page.is_closed, true), "{what}");
            }
            EventKind::Expired { id } | EventKind::Discarded { id } => {
                assert!(book[id].closing.is_none(), "{what}");
            }
            _ => {}
        }
    }
    book
}
