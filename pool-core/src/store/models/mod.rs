//! Loom models: every interleaving of two or three threads at the places where one might slip.
//!
//! Each model runs the code of production, and runs once more with a bug planted that it must find:
//! a model that cannot fail proves nothing. Run with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p pool-core --release --lib models`;
//! in a release build, or a debug assertion would find the planted bugs before the model does.

mod sharing;

use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use loom::future::block_on;
use loom::thread;

use super::{
    Condition, DeadlineClock, Errand, Found, Limits, PacerLimits, Resized, Served, Sharing,
    SlotKey, State, Turn, WaitEnd, WaitRequest, WaiterKey,
};
use crate::acquire::Acquire;
use crate::connector::{ConnectContext, Connector};
use crate::engine::{Engine, PoolStore, Timeouts};
use crate::error::ConnectError;
use crate::id::CloseReason;
use crate::inbox::{Inbox, Receiver};
use crate::lease::{Held, OpenConnection, PooledConnection, Slot};
use crate::shutdown::Handle;
use crate::sync::{Arc, Mutex, MutexGuard};
use crate::telemetry::Telemetry;

struct Units;

#[async_trait]
impl Connector for Units {
    type Connection = ();

    async fn connect(&self, _cx: &ConnectContext) -> Result<(), ConnectError> {
        Ok(())
    }
}

type Pool = Arc<Engine<()>>;
type Errands = Receiver<Box<OpenConnection<()>>>;

const LONG: Duration = Duration::from_secs(3600);

/// A pool of at most one connection, without its maintenance task.
fn start(min_idle: usize) -> (Pool, Errands) {
    start_engine(Units, min_idle, None, None)
}

fn start_engine<C: Connector>(
    connector: C,
    min_idle: usize,
    sharing: Option<Sharing>,
    share: Option<fn(&C::Connection) -> C::Connection>,
) -> (
    Arc<Engine<C::Connection>>,
    Receiver<Box<OpenConnection<C::Connection>>>,
) {
    let pacer = PacerLimits {
        delay: LONG,
        delay_max: LONG,
        fail_fast_after: 3,
    };
    let limits = Limits {
        name: "model".into(),
        max_size: 1,
        min_idle,
        max_waiters: 8,
        max_connecting: 1,
        idle_timeout: None,
        max_lifetime: None,
        max_uses: None,
        check_interval: None,
        min_uptime: Duration::ZERO,
        lease_warn_after: None,
        pacer,
        seed: 0,
        sharing,
    };
    let timeouts = Timeouts {
        acquire: LONG,
        connect: LONG,
        check: LONG,
        reset: LONG,
        close: LONG,
    };
    let telemetry = Telemetry::new("model".into(), None);
    let (inbox, errands) = Inbox::new();
    (
        Arc::new(Engine::new(
            StdArc::new(connector),
            limits,
            timeouts,
            telemetry,
            inbox,
            share,
        )),
        errands,
    )
}

/// What the maintenance task does when it is kicked; returns whether it opened one.
fn open_one(pool: &Pool) -> bool {
    let now = pool.clock.now();
    let Some((opening, permit)) = pool.open(now) else {
        return false;
    };
    let slot = Slot::new(Arc::clone(pool), opening.key, opening.id, permit);
    let key = slot.key;
    let mut store = pool.enter();
    store.opened(key, Box::new(OpenConnection::new((), slot, None)), now);
    pool.finish(store);
    true
}

/// A pool whose one connection is idle.
fn opened() -> (Pool, Errands) {
    let (pool, errands) = start(1);
    assert!(open_one(&pool), "min_idle wants one");
    (pool, errands)
}

#[track_caller]
fn take(pool: &Pool) -> PooledConnection<()> {
    PooledConnection::new(pool.lend(Location::caller()).held.expect("one is idle"))
}

#[track_caller]
fn acquire(pool: &Pool) -> Acquire<'_, ()> {
    Acquire::new(pool, Location::caller(), LONG)
}

fn run_errands(errands: &mut Errands) {
    for errand in errands.close() {
        match errand {
            Errand::Close(live, _) | Errand::Reset(live) | Errand::Check(live) => live.dispose(),
            Errand::Probe(_) => unreachable!("nothing is shared"),
        }
    }
}

/// The end of each model: nothing may keep the pool in memory.
fn tear_down(pool: Pool, mut errands: Errands) {
    pool.close();
    run_errands(&mut errands);
    assert_eq!(pool.lock().status().size(), 0, "everything is closed");
}

// ---- hand-off against cancel ---------------------------------------------------------------------

fn hand_off_against_cancel(cancel: fn(&Pool, Acquire<'_, ()>)) {
    loom::model(move || {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let canceller = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let mut future = acquire(&pool);
                let mut cx = Context::from_waker(Waker::noop());
                match std::pin::Pin::new(&mut future).poll(&mut cx) {
                    Poll::Ready(result) => drop(result),
                    Poll::Pending => cancel(&pool, future),
                }
            })
        };
        let returner = thread::spawn(move || drop(lease));
        // Hangs, or ends without a connection, if the cancelled waiter swallows it.
        drop(block_on(acquire(&pool)).expect("served"));
        canceller.join().expect("no panic");
        returner.join().expect("no panic");
        assert_eq!(pool.lock().status().idle, 1, "the connection is home");
        tear_down(pool, errands);
    });
}

#[test]
fn cancelled_waiter_passes_on_what_it_was_served() {
    hand_off_against_cancel(|_, future| drop(future));
}

#[test]
#[should_panic(expected = "the connection is home")]
fn cancelled_waiter_that_keeps_what_it_was_served_is_found() {
    hand_off_against_cancel(|pool, future| {
        // Planted: it leaves the queue, but not with what it was served in the meantime.
        let key = future.forget_place().expect("it is queued");
        let mut store = pool.enter();
        let served = store.cancel(key);
        let live = served.map(|served| Box::claim(&store, served));
        pool.finish(store);
        KEPT.with(|kept| kept.lock().extend(live.map(PooledConnection::new)));
    });
}

loom::thread_local! {
    static KEPT: Mutex<Vec<PooledConnection<()>>> = Mutex::new(Vec::new());
}

// ---- queueing against a return -------------------------------------------------------------------

/// `poll` looks for the connection, or joins the queue, or looks at its place in it.
fn queue_against_return(
    poll: fn(&Pool, &mut Option<WaiterKey>) -> Option<Box<OpenConnection<()>>>,
) {
    loom::model(move || {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let returner = thread::spawn(move || drop(lease));
        let mut place = None;
        let served = poll(&pool, &mut place);
        returner.join().expect("no panic");
        let served = served.or_else(|| poll(&pool, &mut place));
        drop(PooledConnection::new(
            served.expect("the return is not missed"),
        ));
        tear_down(pool, errands);
    });
}

fn look_at_place(pool: &Pool, key: WaiterKey) -> Option<Box<OpenConnection<()>>> {
    let mut store = pool.enter();
    let found = store.poll_waiter(key, Waker::noop());
    pool.finish(store);
    match found {
        Found::Done(WaitEnd::Served(Served::Connection(live))) => Some(live),
        Found::Done(WaitEnd::Served(Served::Share(_))) => panic!("nothing is shared"),
        Found::Done(WaitEnd::Refused(..)) | Found::Waiting | Found::Moved => None,
    }
}

fn join_queue(pool: &Pool, mut store: MutexGuard<'_, PoolStore<()>>) -> WaiterKey {
    let ticket = WaitRequest {
        deadline: pool.clock.now().after(LONG),
        clock: DeadlineClock::Exact,
        site: Location::caller(),
    };
    let key = store.enqueue(Waker::noop().clone(), ticket, Turn::New);
    pool.finish(store);
    key
}

#[test]
fn return_before_queueing_is_not_missed() {
    queue_against_return(|pool, place| {
        if let Some(key) = *place {
            return look_at_place(pool, key);
        }
        let mut store = pool.enter();
        let live = store.take_idle(Location::caller());
        if live.is_some() {
            pool.finish(store);
        } else {
            *place = Some(join_queue(pool, store));
        }
        live
    });
}

#[test]
#[should_panic(expected = "the return is not missed")]
fn looking_and_queueing_in_two_steps_is_found() {
    queue_against_return(|pool, place| {
        if let Some(key) = *place {
            return look_at_place(pool, key);
        }
        let mut store = pool.enter();
        let live = store.take_idle(Location::caller());
        pool.finish(store);
        if live.is_none() {
            // Planted: it queues without looking again.
            *place = Some(join_queue(pool, pool.enter()));
        }
        live
    });
}

#[test]
fn acquire_against_return_is_served() {
    loom::model(|| {
        let (pool, errands) = opened();
        let lease = take(&pool);
        let returner = thread::spawn(move || drop(lease));
        drop(block_on(acquire(&pool)).expect("served"));
        returner.join().expect("no panic");
        tear_down(pool, errands);
    });
}

// ---- return against close ------------------------------------------------------------------------

fn return_against_close(give_back: fn(PooledConnection<()>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let lease = take(&pool);
        let closer = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.close())
        };
        give_back(lease);
        closer.join().expect("no panic");
        run_errands(&mut errands);
        assert_eq!(pool.lock().status().size(), 0, "nothing outlives the close");
    });
}

#[test]
fn return_that_races_a_close_is_closed() {
    return_against_close(drop);
}

#[test]
#[should_panic(expected = "nothing outlives the close")]
fn parking_in_a_closed_pool_is_found() {
    return_against_close(|lease| {
        let live = lease.into_live();
        let pool = Arc::clone(live.engine());
        let is_closed = pool.lock().is_closed();
        if is_closed {
            return pool.give_back(live, Condition::Clean);
        }
        // Planted: it decides in one critical section and parks in another.
        let key: SlotKey = live.key();
        let mut store = pool.enter();
        store.slots.set_state(key, State::Idle);
        store.idle.push((key, live));
        pool.finish(store);
    });
}

// ---- the last drop of two handles ----------------------------------------------------------------

fn two_handles<H: Send + 'static>(pair: fn(&Pool) -> (H, H)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let (first, second) = pair(&pool);
        let other = thread::spawn(move || drop(first));
        drop(second);
        other.join().expect("no panic");
        assert!(pool.lock().is_closed(), "the last handle closes the pool");
        run_errands(&mut errands);
    });
}

#[test]
fn last_of_two_handles_dropped_at_once_closes_the_pool() {
    two_handles(|pool| {
        let handle = Arc::new(Handle {
            engine: Arc::clone(pool),
        });
        (Arc::clone(&handle), handle)
    });
}

/// Planted: the count is compared instead of left to the inner `Arc`.
struct Counting(Pool, Arc<()>);

impl Drop for Counting {
    fn drop(&mut self) {
        if Arc::strong_count(&self.1) == 1 {
            self.0.close();
        }
    }
}

#[test]
#[should_panic(expected = "the last handle closes the pool")]
fn comparing_the_strong_count_is_found() {
    two_handles(|pool| {
        let count = Arc::new(());
        (
            Counting(Arc::clone(pool), Arc::clone(&count)),
            Counting(Arc::clone(pool), count),
        )
    });
}

// ---- the order in which a permit is released -----------------------------------------------------

fn freed_slot_is_used_again(free: fn(PooledConnection<()>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let lease = take(&pool);
        let freer = thread::spawn(move || free(lease));
        // Hangs, which loom reports, if it is kicked before there is a permit to be had.
        while !open_one(&pool) {
            let received = block_on(poll_fn(|cx| errands.poll(cx)));
            assert!(received.is_empty(), "nothing is closed here");
        }
        freer.join().expect("no panic");
        tear_down(pool, errands);
    });
}

#[test]
fn freed_slot_comes_with_its_permit() {
    freed_slot_is_used_again(|lease| PooledConnection::detach(lease));
}

#[test]
#[should_panic(expected = "deadlock")]
fn permit_released_after_the_kick_is_found() {
    freed_slot_is_used_again(|lease| {
        let ((), mut slot) = lease.into_live().into_parts();
        let pool = Arc::clone(&slot.engine);
        let mut store = pool.enter();
        store.detach(slot.key);
        pool.finish(store);
        // Planted: the slot goes first, and the permit when it is too late.
        let permit = slot.take_permit();
        drop(slot);
        drop(permit);
    });
}

// ---- a resize against a connect that is not wanted -----------------------------------------------

fn resize_against_connect(open: fn(&Pool)) {
    loom::model(move || {
        let (pool, errands) = start(0);
        let opener = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || open(&pool))
        };
        let mut store = pool.enter();
        let Some(Resized::Remove(count)) = store.resize(0) else {
            panic!("the pool shrinks");
        };
        // Panics if the free slot's permit is not free.
        pool.permits.remove(count);
        pool.finish(store);
        opener.join().expect("no panic");
        tear_down(pool, errands);
    });
}

#[test]
fn resize_finds_the_permit_of_each_free_slot() {
    resize_against_connect(|pool| assert!(!open_one(pool), "nothing is wanted"));
}

#[test]
#[should_panic(expected = "a free slot has a free permit")]
fn permit_taken_before_looking_is_found() {
    resize_against_connect(|pool| {
        // Planted: between the two a resize finds the slot free and its permit taken.
        let permit = pool.permits.try_take();
        let opening = pool.lock().open(pool.clock.now());
        assert!(opening.is_none(), "nothing is wanted");
        drop(permit);
    });
}

// ---- the inbox against the end of its receiver ---------------------------------------------------

fn send_against_end(send: fn(&Pool, Box<OpenConnection<()>>)) {
    loom::model(move || {
        let (pool, mut errands) = opened();
        let live = take(&pool).into_live();
        let sender = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || send(&pool, live))
        };
        run_errands(&mut errands);
        sender.join().expect("no panic");
        drop(errands);
        assert_eq!(pool.lock().status().size(), 0, "the errand was not lost");
    });
}

#[test]
fn errand_sent_to_an_ending_receiver_is_not_lost() {
    send_against_end(|pool, live| {
        if let Err(errand) = pool.inbox.send(Errand::Close(live, CloseReason::Dirty)) {
            match errand {
                Errand::Close(live, _) | Errand::Reset(live) | Errand::Check(live) => {
                    live.dispose()
                }
                Errand::Probe(_) => unreachable!("nothing is shared"),
            }
        }
    });
}

#[test]
#[should_panic(expected = "the errand was not lost")]
fn looking_before_sending_is_found() {
    send_against_end(|pool, live| {
        // Planted: whether it is open is asked in one critical section and used in another.
        if pool.inbox.is_open() {
            pool.inbox.push(Errand::Close(live, CloseReason::Dirty));
        } else {
            live.dispose();
        }
    });
}
