//! When the descendants of a tree are recorded before its end, and how long that is waited for.

use super::*;

#[test]
fn descendants_are_recorded_before_an_orderly_end_of_a_tree_and_not_before_a_forced_one() {
    for (start, expected) in [
        (ORDERLY, ["record", "eof", "reap"]),
        (Start::Shutdown(SECOND), ["record", "eof", "reap"]),
        (FORCE, ["kill", "eof", "reap"]),
    ] {
        let mut play = tree(start);
        play.run().unwrap();
        assert_eq!(play.orders(), expected);
    }
}

/// A root that leaves at the end of its input, in a scope that its descendants cannot leave.
fn tree(start: Start) -> Play {
    let mut play = Play::new(start, times(), Dies::OnEof(Duration::ZERO), None);
    let scope = KillScope::Tree;
    play.ladder = Ladder::begin(play.now, start, scope, times(), RootSight::Running);
    play
}

#[test]
fn the_recording_of_descendants_is_waited_for_a_tenth_of_a_second() {
    let mut play = tree(ORDERLY);
    play.deaf = true;
    play.run().unwrap();
    assert_eq!(play.orders()[..2], ["record", "eof"]);
    assert_eq!(play.at("eof"), SECOND / 10);
}

#[test]
fn descendants_of_a_root_that_has_just_exited_are_not_waited_for() {
    let mut play = tree(ORDERLY);
    let (now, mut sight) = (play.now, play.sight());
    let record = Order::Scan(ScanFor::Record);
    assert_eq!(play.ladder.step(now, &sight), record);
    assert!(matches!(
        play.ladder.step(now, &sight),
        Order::Wait(Some(_))
    ));
    sight.root = RootSight::Exited;
    assert_eq!(play.ladder.step(now, &sight), Order::DropStdin);
}

#[test]
fn a_record_that_comes_late_does_not_say_what_the_root_left_behind() {
    let mut play = Play::new(ORDERLY, times(), Dies::OnEof(SECOND), None);
    let (mut now, mut sight) = (play.now, play.sight());
    play.ladder = Ladder::begin(now, ORDERLY, KillScope::Tree, times(), RootSight::Running);
    let asked = play.ladder.step(now, &sight);
    assert_eq!(asked, Order::Scan(ScanFor::Record));
    now += RECORD_WAIT;
    assert_eq!(play.ladder.step(now, &sight), Order::DropStdin);
    play.ladder.scanned(now, Others::Gone);
    sight.root = RootSight::Exited;
    let next = play.ladder.step(now, &sight);
    assert_eq!(next, Order::Scan(ScanFor::Count));
}
