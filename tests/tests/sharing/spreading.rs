//! Loads that spread over what was opened for them, and connections that go when there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use pool_core::{CloseReason, Event, EventKind, Observer, SharedBuilder};
use pool_testkit::Call;
use pool_testkit::connector::{Answer, FakeConnection};
use pool_tests::bed::{HandPolled, MINUTE, SECOND, pass, quiesce, start};
use tokio::time::Instant;

use crate::bed::{Lease, SharedBed, ids};

const MILLISECOND: Duration = Duration::from_millis(1);
const TARGET: u32 = 32;

/// At most four connections, which may carry any number of leases.
fn roomy(
    tune: impl FnOnce(SharedBuilder<FakeConnection>) -> SharedBuilder<FakeConnection>,
) -> SharedBed {
    SharedBed::with(4, |builder| {
        let builder = builder.max_leases_per_connection(1024);
        tune(builder.target_leases(TARGET).check_interval(None))
    })
}

/// How many leases each of the first four connections has.
fn loads(leases: &[Lease]) -> [usize; 4] {
    let mut loads = [0; 4];
    for id in ids(leases) {
        loads[usize::try_from(id).expect("few")] += 1;
    }
    loads
}

#[tokio::test(start_paused = true)]
async fn each_connection_opened_for_a_queue_gets_its_share_of_it() {
    for (callers, share) in [(128, 32), (400, 100)] {
        let bed = roomy(|builder| builder);
        bed.fake.set(Call::Connect, Answer::Manual);
        let mut waiting: Vec<_> = (0..callers)
            .map(|_| HandPolled::waiting(bed.pool.acquire()))
            .collect();
        let mut leases = Vec::new();
        for number in 1..=4 {
            bed.fake.next(Call::Connect).await.succeed();
            quiesce().await;
            for waiter in waiting.drain(..share) {
                let mut waiter = waiter;
                leases.push(waiter.ready().expect("served"));
            }
            assert_eq!(bed.pool.status().leases, number * share);
        }
        assert_eq!(loads(&leases), [share; 4]);
        drop((leases, waiting));
        bed.finish().await;
    }
}

/// With `max_connecting` connects at a time, some connections come later than callers can wait.
#[tokio::test(start_paused = true)]
async fn no_caller_waits_for_a_connect_that_has_not_begun() {
    const SLOW: Duration = Duration::from_secs(8);
    let bed = SharedBed::with(16, |builder| {
        let builder = builder.max_leases_per_connection(1024);
        builder.target_leases(1).check_interval(None)
    });
    bed.fake.set(Call::Connect, Answer::After(SLOW));
    // Slow connects are usual.
    bed.pool.warm_up(16).await.expect("they connect");
    for id in bed.fake.alive() {
        bed.fake.kill(id);
    }
    let callers = [(); 64].map(|()| {
        let pool = bed.pool.clone();
        start(async move { pool.acquire().await })
    });
    let mut leases = Vec::new();
    for caller in callers {
        let acquired = caller.await.expect("no panic");
        leases.push(acquired.expect("connections are open that can serve it"));
    }
    drop(leases);
    bed.finish().await;
}

/// One that is late is not counted on.
#[tokio::test(start_paused = true)]
async fn connect_that_hangs_takes_no_share_of_the_queue() {
    let bed = SharedBed::with(2, |builder| builder.target_leases(1));
    bed.fake.queue(Call::Connect, [Answer::Never]);
    let mut first = HandPolled::waiting(bed.pool.acquire());
    pass(2 * SECOND).await;
    drop(first.ready().expect("another one was opened beside it"));
    drop(first);
    for id in bed.fake.alive() {
        bed.fake.kill(id);
    }
    quiesce().await;
    assert_eq!(bed.pool.status().opening, 1, "it hangs");
    let mut waiting = [(); 3].map(|()| HandPolled::waiting(bed.pool.acquire()));
    quiesce().await;
    let leases = waiting.each_mut().map(HandPolled::ready);
    assert!(
        leases.iter().all(Result::is_ok),
        "one connection serves all"
    );
    drop((leases, waiting));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn lease_that_comes_home_serves_who_waits_for_a_connection_to_be_opened() {
    let bed = roomy(|builder| builder);
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiting: Vec<_> = (0..40)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let mut leases: Vec<_> = waiting
        .drain(..32)
        .map(|mut waiter| waiter.ready().expect("served"))
        .collect();
    assert_eq!(bed.pool.status().waiting, 8);
    let mut newcomer = HandPolled::new(bed.pool.acquire());
    assert!(newcomer.poll().is_pending(), "nobody overtakes");
    leases.pop();
    drop(waiting.remove(0).ready().expect("served in its turn"));
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    for mut waiter in waiting {
        leases.push(waiter.ready().expect("served"));
    }
    leases.push(newcomer.ready().expect("served last"));
    drop((leases, newcomer));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connect_that_fails_is_served_by_what_is_open() {
    let bed = roomy(|builder| builder.retry_delay(MINUTE, MINUTE));
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut waiting: Vec<_> = (0..128)
        .map(|_| HandPolled::waiting(bed.pool.acquire()))
        .collect();
    bed.fake.next(Call::Connect).await.succeed();
    for _ in 0..3 {
        bed.fake.next(Call::Connect).await.fail("refused");
    }
    quiesce().await;
    let leases: Vec<_> = waiting
        .iter_mut()
        .map(|waiter| waiter.ready().expect("served"))
        .collect();
    assert_eq!(loads(&leases), [128, 0, 0, 0]);
    drop((leases, waiting));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn loads_become_even_again_after_all_connections_died() {
    let bed = roomy(|builder| builder.min_uptime(MILLISECOND));
    let mut crowd = Vec::new();
    for _ in 0..400 {
        let pool = bed.pool.clone();
        crowd.push(start(async move {
            loop {
                let lease = pool.acquire().await.expect("served");
                tokio::time::sleep(10 * MILLISECOND).await;
                drop(lease);
            }
        }));
    }
    pass(SECOND).await;
    for id in bed.fake.alive() {
        bed.fake.kill(id);
    }
    pass(SECOND / 2).await;
    let mut shares = Vec::new();
    bed.pool.retain(|stats| {
        shares.push(stats.leases);
        true
    });
    for caller in &crowd {
        caller.abort();
    }
    assert_eq!(shares, [100; 4]);
    drop(crowd);
    quiesce().await;
    bed.finish().await;
}

/// Counts how often something was lent.
#[derive(Default)]
struct Lent(AtomicUsize);

impl Observer for Lent {
    fn on_event(&self, event: &Event) {
        if matches!(event.kind, EventKind::Leased { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connection_with_one_use_left_is_served_to_one_waiter() {
    const CALLERS: usize = 200;
    let lent = Arc::new(Lent::default());
    let observer = Arc::clone(&lent);
    let bed = roomy(|builder| builder.max_uses(1).observer(observer));
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let pool = bed.pool.clone();
        callers.push(start(async move { drop(pool.acquire().await) }));
    }
    for caller in callers {
        caller.await.expect("no panic");
    }
    assert_eq!(bed.fake.counts().connect.started, CALLERS);
    assert_eq!(lent.0.load(Ordering::Relaxed), CALLERS);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn use_that_was_served_to_a_caller_who_has_gone_is_left_for_another() {
    let bed = SharedBed::with(1, |builder| builder.max_uses(2));
    bed.fake.set(Call::Connect, Answer::Manual);
    let mut first = HandPolled::waiting(bed.pool.acquire());
    let gone = HandPolled::waiting(bed.pool.acquire());
    bed.fake.next(Call::Connect).await.succeed();
    quiesce().await;
    let one = first.ready().expect("served");
    drop(first);
    drop(gone);
    let last = HandPolled::new(bed.pool.acquire())
        .ready()
        .expect("one is left");
    assert_eq!(ids(&[one, last]), [0, 0]);
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::MaxUses]);
    assert_eq!(bed.fake.counts().connect.started, 1);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn callers_one_after_another_do_not_notice_a_replacement_that_takes_seconds() {
    let bed = SharedBed::with(1, |builder| builder.max_lifetime(MINUTE));
    bed.fake.set(Call::Connect, Answer::After(3 * SECOND));
    drop(bed.lease().await);
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while began.elapsed() < 3 * MINUTE {
        let asked = Instant::now();
        let lease = bed.lease().await;
        longest = longest.max(asked.elapsed());
        pass(10 * MILLISECOND).await;
        drop(lease);
        pass(90 * MILLISECOND).await;
    }
    assert!(longest <= MILLISECOND, "a caller waited {longest:?}");
    assert!(bed.reasons().len() >= 2, "{:?}", bed.reasons());
    assert!(bed.reasons().iter().all(|it| *it == CloseReason::Lifetime));
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn pool_that_nobody_uses_does_not_connect_at_every_lifetime() {
    let bed = SharedBed::with(2, |builder| builder.max_lifetime(MINUTE).idle_timeout(None));
    drop(bed.lease().await);
    pass(20 * MINUTE).await;
    assert_eq!(bed.fake.counts().connect.started, 1);
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn old_connection_whose_replacement_cannot_be_had_is_closed_after_its_last_lease() {
    let bed = SharedBed::with(1, |builder| {
        builder.max_lifetime(MINUTE).retry_delay(MINUTE, MINUTE)
    });
    let lease = bed.lease().await;
    bed.fake.set(Call::Connect, Answer::Manual);
    pass(MINUTE).await;
    let connect = bed.fake.next(Call::Connect).await;
    drop(lease);
    quiesce().await;
    assert_eq!(bed.reasons(), [], "its replacement is on its way");
    drop(bed.lease().await);
    connect.fail("refused");
    quiesce().await;
    assert_eq!(bed.reasons(), [CloseReason::Lifetime]);
    bed.finish().await;
}

#[tokio::test(start_paused = true)]
async fn capacity_above_need_goes_while_leases_overlap() {
    let bed = roomy(|builder| builder.target_leases(8).idle_timeout(10 * SECOND));
    let mut leases = bed.leases(31).await;
    assert_eq!(bed.pool.status().size(), 4);
    leases.truncate(4);
    let began = Instant::now();
    while began.elapsed() < 2 * MINUTE {
        leases.push(bed.lease().await);
        pass(SECOND / 4).await;
        drop(leases.remove(0));
    }
    assert_eq!(bed.pool.status().size(), 1);
    assert_eq!(bed.reasons(), [CloseReason::Idle; 3]);
    assert_eq!(bed.fake.counts().connect.started, 4);
    drop(leases);
    bed.finish().await;
}

/// Counts the clones of a waker while something is lent.
#[derive(Default)]
struct Clones {
    waker: std::sync::OnceLock<Arc<Nothing>>,
    most: AtomicUsize,
}

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

impl Observer for Clones {
    fn on_event(&self, event: &Event) {
        if let (EventKind::Leased { .. }, Some(waker)) = (&event.kind, self.waker.get()) {
            self.most
                .fetch_max(Arc::strong_count(waker), Ordering::Relaxed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn caller_that_need_not_wait_does_not_clone_its_waker() {
    let clones = Arc::new(Clones::default());
    let observer = Arc::clone(&clones);
    let bed = SharedBed::with(1, |builder| builder.observer(observer));
    drop(bed.lease().await);
    let nothing = Arc::new(Nothing);
    let waker = Waker::from(Arc::clone(&nothing));
    assert!(clones.waker.set(nothing).is_ok(), "it is the first");
    let mut acquire = Box::pin(bed.pool.acquire());
    let poll = acquire.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_ready());
    // The test's own, and the one of its waker.
    assert_eq!(clones.most.load(Ordering::Relaxed), 2);
    drop((poll, acquire));
    bed.finish().await;
}
