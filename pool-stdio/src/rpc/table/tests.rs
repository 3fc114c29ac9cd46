//! Calls, tokens and tombstones in random histories.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::rpc::notifications::Progress;
use crate::rpc::scan::Envelope;

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
        let mut table = Table::default();
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
    let mut table = Table::default();
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
    let mut table = Table::default();
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
