//! The events of a real pool, and for each rule the smallest change that breaks it: the events of a
//! pool with one defect.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::{ConnectionId, ConnectionPool, Event, EventKind, Observer, WaiterId};

use super::{Ledger, LedgerRule};
use crate::connector::pair;

/// Records the events of a pool.
#[derive(Default)]
struct Tape(Mutex<Vec<Event>>);

impl Observer for Tape {
    fn on_event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A pool of one. Its connection is lent four times and dies during the last lease; another one
/// replaces it.
async fn real_history() -> Vec<EventKind> {
    let tape = Arc::new(Tape::default());
    let (connector, fake) = pair();
    let pool = ConnectionPool::builder(connector)
        .max_size(1)
        .observer(Arc::clone(&tape) as _)
        .build()
        .unwrap();
    let first = pool.acquire().await.unwrap();
    let use_once = async || drop(pool.acquire().await.unwrap());
    // Order: both wait before the first lease ends.
    tokio::join!(use_once(), use_once(), async { drop(first) });
    let last = pool.acquire().await.unwrap();
    assert!(fake.kill(last.id()));
    drop(last);
    drop(pool.acquire().await.unwrap());
    assert!(pool.close(Duration::from_secs(9)).await.is_complete());
    let mut events = std::mem::take(&mut *tape.0.lock().unwrap());
    events.sort_by_key(|event| event.seq);
    events.into_iter().map(|event| event.kind).collect()
}

/// The events of a pool with one defect instead. A new rule does not compile without one.
fn broken(rule: LedgerRule, mut history: Vec<EventKind>) -> Vec<EventKind> {
    let id = ConnectionId::from_u64;
    let waiter = |number| Some(WaiterId::from_u64(number));
    let lent = |waiter| EventKind::Leased { id: id(0), waiter };
    let at = |wanted: &str| {
        let told = |kind: &EventKind| format!("{kind:?}").starts_with(wanted);
        let place = history.iter().position(told);
        place.unwrap_or_else(|| panic!("no {wanted} in {history:#?}"))
    };
    match rule {
        // The test delivers the first event twice.
        LedgerRule::Sequence => {}
        LedgerRule::Capacity => history.insert(at("Leased") + 1, EventKind::Opening { id: id(1) }),
        LedgerRule::OneLease => history.insert(at("Leased") + 1, lent(None)),
        LedgerRule::NoLeaseOfDoomed => history.insert(at("Closing") + 1, lent(None)),
        LedgerRule::NoParkingOfDoomed => {
            let closing = at("Closing");
            history[closing] = EventKind::Returned { id: id(0) };
        }
        // The connection is not handed to the waiter.
        LedgerRule::NoIdleWhileQueued => {
            let returned = at("Returned");
            history[returned + 1] = EventKind::Resized { from: 1, to: 1 };
        }
        LedgerRule::Fifo => {
            let returned = at("Returned");
            history[returned + 1] = lent(waiter(2));
        }
        LedgerRule::NoBarging => {
            let returned = at("Returned");
            history[returned + 1] = lent(None);
        }
        LedgerRule::CloseOnce => {
            let closed = at("Closed");
            history.insert(closed, history[closed].clone());
        }
        LedgerRule::Lifecycle => drop(history.remove(at("Opened"))),
        LedgerRule::Queue => history.insert(0, history[0].clone()),
        LedgerRule::AfterClose => {
            history.insert(at("PoolClosing") + 1, EventKind::Opening { id: id(9) });
        }
        LedgerRule::Settled => history.truncate(at("PoolClosing")),
    }
    history
}

fn ledger(history: Vec<EventKind>) -> Ledger {
    let ledger = Ledger::new(1);
    for (seq, kind) in (0..).zip(history) {
        ledger.on_event(&Event::new(seq, Arc::from("broken"), kind));
    }
    ledger
}

#[tokio::test(start_paused = true)]
async fn each_rule_is_broken_by_a_pool_with_one_defect_and_named() {
    for rule in LedgerRule::ALL {
        let ledger = ledger(broken(rule, real_history().await));
        if rule == LedgerRule::Sequence {
            ledger.on_event(&ledger.events()[0]);
        }
        let settling = AssertUnwindSafe(|| ledger.assert_settled());
        let panic = catch_unwind(settling).expect_err(&rule.to_string());
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with(&format!("rule {rule:?} broken")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_a_defect_breaks_no_rule() {
    ledger(real_history().await).assert_settled();
}

#[test]
fn the_list_of_rules_is_complete() {
    // The last variant has the highest number, so a list of that length has them all.
    assert_eq!(LedgerRule::ALL.len(), LedgerRule::Settled as usize + 1);
    assert!(
        (0..)
            .zip(LedgerRule::ALL)
            .all(|(place, rule)| rule as usize == place)
    );
}
