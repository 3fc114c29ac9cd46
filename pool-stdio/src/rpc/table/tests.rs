//! Calls, tokens and tombstones in random histories.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::rpc::notifications::Progress;
use crate::rpc::scan::Envelope;

fn table() -> Table {
    Table::new(Arc::new(LifeSigns::new(Instant::now())))
}

fn reply() -> Reply {
    Reply::new(Bytes::new(), &Envelope::default())
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Abandon(u64, bool),
    Withdraw(u64, bool),
    Reply(u64),
    Take(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Begin),
        (0..12_u64, any::<bool>()).prop_map(|(id, sent)| Step::Abandon(id, sent)),
        (0..12_u64, any::<bool>()).prop_map(|(id, sent)| Step::Withdraw(id, sent)),
        (0..12_u64).prop_map(Step::Reply),
        (0..12_u64).prop_map(Step::Take),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_reply_reaches_its_call_or_is_counted(steps in steps()) {
        let mut table = table();
        let cx = Context::from_waker(Waker::noop());
        let (mut waiting, mut answered) = (HashSet::new(), HashSet::new());
        let mut given_up = HashSet::new();
        let mut issued = 0;
        for step in steps {
            match step {
                Step::Begin => {
                    table.begin(issued, NewCall::default());
                    waiting.insert(issued);
                    issued += 1;
                }
                Step::Abandon(id, sent) => {
                    let fate = if sent { Fate::MaybeExecuted } else { Fate::NotSent };
                    let GivenUp { is_owed, .. } = table.abandon(id, fate);
                    let was_waiting = waiting.remove(&id);
                    answered.remove(&id);
                    prop_assert_eq!(is_owed, was_waiting && sent);
                    if is_owed {
                        given_up.insert(id);
                    }
                }
                Step::Withdraw(id, sent) => {
                    let fate = if sent { Fate::MaybeExecuted } else { Fate::NotSent };
                    let GivenUp { is_owed, .. } = table.withdraw(id, Withdrawn::ByClient(fate));
                    let was_waiting = waiting.remove(&id);
                    prop_assert_eq!(is_owed, was_waiting && sent);
                    if was_waiting {
                        answered.insert(id);
                    }
                    if is_owed {
                        given_up.insert(id);
                    }
                }
                Step::Reply(id) => {
                    let expected = if waiting.remove(&id) {
                        answered.insert(id);
                        Ok(())
                    } else if given_up.remove(&id) {
                        Err(UnclaimedReply::Late)
                    } else if id < issued {
                        Err(UnclaimedReply::Duplicate)
                    } else {
                        Err(UnclaimedReply::Unknown)
                    };
                    prop_assert_eq!(table.accept_reply(id, reply(), issued).map(drop), expected);
                }
                Step::Take(id) => {
                    let is_ready = table.poll(id, &cx).is_ready();
                    prop_assert_eq!(is_ready, answered.remove(&id));
                }
            }
            prop_assert_eq!(table.pending(), waiting.len() + answered.len());
            prop_assert_eq!(table.is_awaited(), !waiting.is_empty());
            prop_assert_eq!(table.abandoned(), given_up.len());
        }
    }
}

#[test]
fn tombstones_are_bounded_and_the_oldest_goes_first() {
    let mut table = table();
    let count = TOMBSTONES_MAX as u64 + 1;
    for id in 0..count {
        table.begin(id, NewCall::default());
        assert!(table.abandon(id, Fate::MaybeExecuted).is_owed);
    }
    assert_eq!(table.abandoned(), TOMBSTONES_MAX);
    assert_eq!(
        table.accept_reply(0, reply(), count).unwrap_err(),
        UnclaimedReply::Duplicate
    );
    assert_eq!(
        table.accept_reply(1, reply(), count).unwrap_err(),
        UnclaimedReply::Late
    );
}

#[test]
fn a_token_lives_as_long_as_its_call() {
    let mut table = table();
    let (progress, _notices) = Progress::channel(1);
    let notes = Notes {
        sink: Some(NoteSink::Channel(progress)),
        ..Notes::default()
    };
    table.begin(
        0,
        NewCall {
            notes,
            ..NewCall::default()
        },
    );
    table.add_token(0, 1, Bytes::from_static(b"\"mine\""));
    assert_eq!(table.progress(1).unwrap().1, "\"mine\"");
    drop(table.abandon(0, Fate::MaybeExecuted));
    assert!(table.progress(1).is_none());
    assert!(table.tokens.is_empty());
}

/// Wakers that can be told apart.
fn waker() -> Waker {
    struct Own;
    impl std::task::Wake for Own {
        fn wake(self: Arc<Self>) {}
    }
    Arc::new(Own).into()
}

#[expect(
    clippy::disallowed_methods,
    reason = "any instant serves as the zero of a test"
)]
fn start() -> Instant {
    Instant::from_std(std::time::Instant::now())
}

fn call(deadline: Option<Instant>, is_ping: bool) -> NewCall {
    NewCall {
        deadline,
        is_ping,
        ..NewCall::default()
    }
}

#[test]
fn only_a_call_that_is_no_ping_and_has_no_reply_is_work() {
    let mut table = table();
    assert!(!table.has_work());
    table.begin(0, call(None, true));
    assert!(!table.has_work(), "a ping");
    assert!(table.is_awaited());
    table.begin(1, call(None, false));
    assert!(table.has_work());
    assert!(table.accept_reply(1, reply(), 2).is_ok());
    assert!(!table.has_work(), "it is answered");
}

#[test]
fn a_child_is_excused_until_the_last_deadline_of_the_calls_before() {
    let now = start();
    let at = |seconds| now + std::time::Duration::from_secs(seconds);
    let mut table = table();
    assert_eq!(table.excuse(|call| call < 10), Excuse::None);
    table.begin(0, call(Some(at(900)), true));
    assert_eq!(
        table.excuse(|call| call < 10),
        Excuse::None,
        "a ping is no work"
    );
    for (id, seconds) in [(1, 30), (2, 50), (3, 40), (4, 100)] {
        table.begin(id, call(Some(at(seconds)), false));
    }
    assert_eq!(table.excuse(|call| call < 1), Excuse::None);
    assert_eq!(table.excuse(|call| call < 2), Excuse::Until(at(30)));
    assert_eq!(table.excuse(|call| call < 4), Excuse::Until(at(50)));
    assert_eq!(table.excuse(|call| call < 5), Excuse::Until(at(100)));
    table.begin(5, call(None, false));
    assert_eq!(table.excuse(|call| call < 5), Excuse::Until(at(100)));
    assert_eq!(table.excuse(|call| call < 6), Excuse::Always);
}

#[test]
fn the_reply_to_a_ping_that_nobody_awaits_is_taken_once() {
    let mut table = table();
    assert!(!table.is_pinged());
    table.note_unawaited_ping(3);
    assert!(table.is_pinged());
    let other = table.accept_reply(2, reply(), 4).unwrap_err();
    assert_eq!(other, UnclaimedReply::Duplicate);
    assert!(table.is_pinged());
    assert!(table.accept_reply(3, reply(), 4).is_ok());
    assert!(!table.is_pinged());
    let again = table.accept_reply(3, reply(), 4).unwrap_err();
    assert_eq!(again, UnclaimedReply::Duplicate);
    let unknown = table.accept_reply(4, reply(), 4).unwrap_err();
    assert_eq!(unknown, UnclaimedReply::Unknown);
}

#[test]
fn answers_to_pings_are_known_in_any_order_and_as_many_as_are_likely() {
    let mut table = table();
    for ping in [1, 2, 3] {
        table.note_unawaited_ping(ping);
    }
    for ping in [1, 2] {
        assert!(table.accept_reply(ping, reply(), 100).is_ok());
        assert!(table.is_pinged());
    }
    // The child leaves out the third and the fourth one.
    table.note_unawaited_ping(4);
    table.note_unawaited_ping(5);
    assert!(table.accept_reply(5, reply(), 100).is_ok());
    assert!(!table.is_pinged());
    // It answers them after all.
    assert!(table.accept_reply(3, reply(), 100).is_ok());
    assert!(!table.is_pinged(), "a later one was answered");
    table.note_unawaited_ping(6);
    assert!(table.accept_reply(4, reply(), 100).is_ok());
    assert!(table.is_pinged(), "the last one was not answered");
    let again = table.accept_reply(4, reply(), 100).unwrap_err();
    assert_eq!(again, UnclaimedReply::Duplicate);
    for ping in 7..100 {
        table.note_unawaited_ping(ping);
    }
    assert_eq!(table.unawaited_pings.len(), 16);
}

#[test]
fn a_child_is_told_of_a_cancel_once_and_never_to_cancel_initialize() {
    let mut table = table();
    let initialize = || NewCall {
        is_initialize: true,
        ..NewCall::default()
    };
    table.begin(0, initialize());
    table.begin(1, initialize());
    let given_up = [
        table.abandon(0, Fate::MaybeExecuted),
        table.withdraw(1, Withdrawn::ByClient(Fate::MaybeExecuted)),
    ];
    assert!(given_up.iter().all(|it| it.is_owed && !it.wants_cancel));

    for id in 2..6 {
        table.begin(id, NewCall::default());
    }
    assert!(table.abandon(2, Fate::MaybeExecuted).wants_cancel);
    let withdrawn = table.withdraw(3, Withdrawn::ByClient(Fate::MaybeExecuted));
    assert!(withdrawn.wants_cancel);
    assert!(
        table.can_cancel(4) && table.can_cancel(4),
        "it was not told"
    );
    table.note_cancelled(4);
    assert!(!table.can_cancel(4));
    assert!(!table.abandon(4, Fate::MaybeExecuted).wants_cancel);
    assert!(table.accept_reply(5, reply(), 6).is_ok());
    assert!(
        !table.can_cancel(5) && !table.can_cancel(6),
        "no such call goes on"
    );
}

#[test]
fn a_reply_wakes_the_task_that_polled_last() {
    let mut table = table();
    let [given, first, last] = [waker(), waker(), waker()];
    table.begin(
        0,
        NewCall {
            waker: Some(given),
            ..NewCall::default()
        },
    );
    for polled in [&first, &last] {
        assert!(table.poll(0, &Context::from_waker(polled)).is_pending());
    }
    let woken = table.accept_reply(0, reply(), 1).unwrap();
    assert!(woken.is_some_and(|woken| woken.will_wake(&last)));
}

#[test]
fn each_pending_call_is_woken_when_the_connection_is_over() {
    let mut table = table();
    let wakers = [waker(), waker()];
    for (id, polled) in (0..).zip(&wakers) {
        table.begin(id, NewCall::default());
        assert!(table.poll(id, &Context::from_waker(polled)).is_pending());
    }
    let woken = table.take_wakers();
    assert_eq!(woken.len(), 2);
    for polled in &wakers {
        assert!(woken.iter().any(|one| one.will_wake(polled)));
    }
}

#[test]
fn what_is_given_up_says_whether_it_was_a_ping_and_what_had_been_read() {
    let mut table = table();
    let call = |is_ping, reads_before| NewCall {
        is_ping,
        reads_before,
        waker: Some(waker()),
        ..NewCall::default()
    };
    table.begin(0, call(true, 7));
    table.begin(1, call(false, 8));
    let first = table.abandon(0, Fate::MaybeExecuted);
    assert_eq!((first.is_ping, first.reads_before), (true, 7));
    assert!(table.is_abandoned(0));
    assert!(!table.is_abandoned(1));
    let second = table.withdraw(1, Withdrawn::ByChild);
    assert_eq!((second.is_ping, second.reads_before), (false, 8));
    assert!(second.waker.is_some(), "its caller is told");
    assert!(!second.is_owed, "the child cancelled it itself");
    assert!(!table.is_abandoned(1));
}

fn subscription() -> NewCall {
    let (progress, _) = Progress::channel(1);
    NewCall {
        notes: Notes {
            sink: Some(NoteSink::Channel(progress)),
            client_id: Some(Bytes::from_static(b"7")),
            is_subscription: true,
        },
        ..NewCall::default()
    }
}

#[test]
fn a_subscription_is_open_until_it_is_answered_or_withdrawn() {
    let mut table = table();
    table.begin(0, NewCall::default());
    assert!(!table.is_open_subscription(0), "an ordinary call");
    table.begin(1, subscription());
    assert!(table.is_open_subscription(1));
    assert!(table.notes(1).is_some_and(|notes| notes.is_subscription));
    assert!(table.accept_reply(1, reply(), 2).is_ok());
    assert!(!table.is_open_subscription(1));
    // What was said of it before its reply can still be delivered.
    assert!(table.notes(1).is_some());
    table.begin(2, subscription());
    table.add_token(2, 3, Bytes::from_static(b"5"));
    assert!(table.progress(3).is_some());
    let untaken = Untaken { notes: 1, bytes: 9 };
    assert!(table.withdraw(2, Withdrawn::Overflow(untaken)).is_owed);
    assert!(!table.is_open_subscription(2));
    assert!(table.notes(2).is_none() && table.progress(3).is_none());
}

#[test]
fn a_token_is_found_by_its_call_and_by_what_it_replaces() {
    let mut table = table();
    table.begin(0, NewCall::default());
    table.begin(9, NewCall::default());
    table.add_token(0, 5, Bytes::from_static(b"\"a\""));
    table.add_token(0, 6, Bytes::from_static(b"\"b\""));
    table.add_token(9, 7, Bytes::from_static(b"\"a\""));
    assert_eq!(table.token_of(0, b"\"a\""), Some(5));
    assert_eq!(table.token_of(0, b"\"b\""), Some(6));
    assert_eq!(table.token_of(9, b"\"a\""), Some(7));
    assert_eq!(table.token_of(9, b"\"b\""), None);
    assert_eq!(table.token_of(1, b"\"a\""), None);
}

#[test]
fn numbers_in_a_row_are_spread_over_the_table() {
    use std::hash::{BuildHasher, BuildHasherDefault};
    let hashes = BuildHasherDefault::<NumberHasher>::default();
    // A map looks at the lowest bits first, then at the highest.
    let of = |number: u64| hashes.hash_one(number);
    let low: HashSet<_> = (0..1_024).map(|number| of(number) % 1_024).collect();
    let high: HashSet<_> = (0..1_024).map(|number| of(number) >> 57).collect();
    assert!(low.len() > 512, "{} of 1024", low.len());
    assert!(high.len() > 64, "{} of 128", high.len());
}
