//! The events of shared connections tell one story each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pool_core::{CloseReason, ConnectionId, Event, EventKind, Observer, SharedLease};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{SECOND, pass};

use crate::bed::{Lease, SharedBed, id};

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
    let bed = SharedBed::with(3, |builder| {
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
