//! The events of shared connections are consistent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pool_core::{CloseReason, ConnectionId, Event, EventKind, Observer, SharedLease};
use pool_testkit::Call;
use pool_testkit::connector::Answer;
use pool_tests::bed::{SECOND, pass};

use crate::bed::{Lease, SharedBed, id};

#[derive(Default)]
struct EventLog(Mutex<Vec<Event>>);

impl Observer for EventLog {
    fn on_event(&self, event: &Event) {
        self.0
            .lock()
            .expect("the task does not panic")
            .push(event.clone());
    }
}

#[derive(Default, Debug)]
struct Life {
    leased: i32,
    deaths: u32,
    closing: Option<CloseReason>,
    is_closed: bool,
}

#[tokio::test(start_paused = true)]
async fn events_of_a_shared_connection_are_consistent() {
    let log = Arc::new(EventLog::default());
    let observer = Arc::clone(&log);
    let bed = SharedBed::with(3, |builder| {
        builder
            .observer(observer)
            .check_interval(2 * SECOND)
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

    let mut events = log.0.lock().expect("the task does not panic").clone();
    events.sort_unstable_by_key(|event| event.seq);
    let lives = read(&events);
    assert!(lives.len() > 20, "{}", lives.len());
    assert!(lives.values().all(|life| life.is_closed), "{lives:?}");
    let mut reasons: Vec<_> = lives.values().filter_map(|life| life.closing).collect();
    reasons.sort_unstable_by_key(ToString::to_string);
    reasons.dedup();
    // The moments of checks are drawn, so which of the others come first is chance.
    assert!(reasons.len() >= 4, "{reasons:?}");
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other events are not about one connection"
)]
fn read(events: &[Event]) -> BTreeMap<ConnectionId, Life> {
    let mut lives = BTreeMap::<ConnectionId, Life>::new();
    for event in events {
        let what = format!("{event:?}");
        match &event.kind {
            EventKind::Opened { id } => drop(lives.insert(*id, Life::default())),
            EventKind::Leased { id, .. } => {
                let life = lives.get_mut(id).expect("it was opened before");
                life.leased += 1;
                assert!(life.deaths == 0 && life.closing.is_none(), "{what}");
            }
            EventKind::Returned { id } => {
                let life = lives.get_mut(id).expect("it was opened before");
                life.leased -= 1;
                assert!(life.leased >= 0 && life.closing.is_none(), "{what}");
            }
            EventKind::Died { id } => {
                let life = lives.get_mut(id).expect("it was opened before");
                life.deaths += 1;
                assert!(life.deaths == 1 && life.closing.is_none(), "{what}");
            }
            EventKind::Closing { id, reason } => {
                let life = lives.get_mut(id).expect("it was opened before");
                assert_eq!(life.closing.replace(*reason), None, "{what}");
            }
            EventKind::Closed { id, reason } => {
                let life = lives.get_mut(id).expect("it was opened before");
                assert_eq!(life.closing, Some(*reason), "{what}");
                assert!(!std::mem::replace(&mut life.is_closed, true), "{what}");
            }
            EventKind::Expired { id } | EventKind::Discarded { id } => {
                assert!(lives[id].closing.is_none(), "{what}");
            }
            _ => {}
        }
    }
    lives
}
