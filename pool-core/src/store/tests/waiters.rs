//! The queue of waiters alone: what a waiter finds, and when the memory of a crowd is freed.

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::cases::{at, request};
use crate::id::WaiterId;
use crate::store::queue::WaitQueue;
use crate::store::{Found, WaitEnd, WaiterKey};

type Queue = WaitQueue<&'static str>;

/// A waiter occupies a cache line.
const BYTES_EACH: usize = 64;

fn push(queue: &mut Queue, id: u64) -> WaiterKey {
    queue.push_back(WaiterId(id), Waker::noop().clone(), request())
}

/// How many places the table has after a crowd of which only these have stayed. They are served in
/// order, and so are others that come.
fn places_after(crowd: u64, stays: impl Fn(u64) -> bool) -> usize {
    let mut queue = Queue::new();
    let keys: Vec<_> = (0..crowd).map(|id| push(&mut queue, id)).collect();
    assert!(queue.bytes() >= keys.len() * BYTES_EACH);
    let (staying, leaving): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| stays(key.id().0));
    for key in leaving {
        assert!(queue.remove(key).is_err(), "it still waited");
    }
    queue.shrink();
    let places = queue.bytes() / BYTES_EACH;
    let mut expected: Vec<_> = staying.into_iter().map(WaiterKey::id).collect();
    for id in crowd..2 * crowd {
        expected.push(push(&mut queue, id).id());
    }
    assert_eq!(queue.order(), expected);
    for _ in expected {
        let served = queue.serve_first(|_, _| WaitEnd::Served("served"));
        assert!(served.is_some());
    }
    places
}

#[test]
fn a_table_of_up_to_1024_places_is_kept_and_a_larger_one_is_freed() {
    assert_eq!(places_after(1_024, |_| false), 1_024);
    assert_eq!(places_after(1_025, |_| false), 0);
}

#[test]
fn a_table_is_cut_when_three_quarters_of_it_are_free() {
    assert_eq!(places_after(2_048, |id| id < 512), 512);
    assert_eq!(places_after(2_048, |id| id < 513), 2_048);
}

#[test]
fn a_table_is_cut_when_its_second_half_is_free() {
    assert_eq!(places_after(2_048, |id| id == 1_023), 1_024);
    assert_eq!(places_after(2_048, |id| id == 1_024), 2_048);
}

#[test]
fn the_deadlines_of_a_crowd_leave_no_memory_behind() {
    let mut queue = Queue::new();
    let keys: Vec<_> = (0..2_048).map(|id| push(&mut queue, id)).collect();
    let without = queue.bytes();
    assert!(queue.sweep(at(1), WaiterId(2_048)).is_empty());
    assert!(queue.bytes() > without, "the wheel has a place for each");
    for key in keys {
        assert!(queue.remove(key).is_err());
    }
    queue.shrink();
    assert_eq!(queue.bytes(), 0);
}

/// Wakers that can be told apart.
struct Own;

impl Wake for Own {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waiter_that_is_polled_with_another_waker_must_hand_it_in() {
    let mut queue = Queue::new();
    let [first, second] = [0; 2].map(|_| Waker::from(Arc::new(Own)));
    let key = queue.push_back(WaiterId(0), first.clone(), request());
    assert!(matches!(queue.poll(key, &first), Found::Waiting));
    assert!(matches!(queue.poll(key, &second), Found::Moved));
    let old = queue.replace_waker(key, second.clone());
    assert!(old.is_ok_and(|old| old.will_wake(&first)));
    assert!(matches!(queue.poll(key, &second), Found::Waiting));
    let woken = queue.serve_first(|_, _| WaitEnd::Served("served"));
    assert!(woken.is_some_and(|woken| woken.will_wake(&second)));
}
