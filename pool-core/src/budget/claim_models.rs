//! Loom models of claims: one that ends while it ages, and one that is made while another pool asks.

use std::time::Duration;

use loom::thread;

use crate::budget::accounts::Want;
use crate::budget::pressure::{Allotment, Claim, Figures, IdleOffer, Pressure};
use crate::sync::Arc;
use crate::time::{Clock, Time};

/// What a pool reads of a budget that wants one idle connection.
fn pressed() -> Allotment {
    let pressure = Arc::new(Pressure::new("model".into(), Clock::start()));
    let want = Want {
        idle: 1,
        ..Want::default()
    };
    pressure.write(want, Figures::default(), None);
    Allotment {
        pressure,
        share: 1,
        reserved: 0,
        residence: Duration::ZERO,
        max_weight: None,
    }
}

fn claim(allotment: &Allotment) -> Option<Claim> {
    allotment.claim_idle(IdleOffer {
        kept: 1,
        asked: 0,
        is_in_use: false,
        is_needed: false,
    })
}

// ---- the end of a claim against its age ------------------------------------------------------------

fn end_against_age(end: fn(Claim)) {
    loom::model(move || {
        let allotment = pressed();
        let ending = claim(&allotment).expect("one is wanted");
        let ender = thread::spawn(move || end(ending));
        // A pool that waits looks for claims that have aged.
        allotment.pressure.end_aged(Time::NEVER);
        ender.join().expect("no panic");
        assert_eq!(allotment.pressure.claimed(), 0, "a claim ends once");
        assert!(allotment.pressure.is_on(), "it is still wanted");
    });
}

#[test]
fn claim_that_ends_while_it_ages_ends_once() {
    end_against_age(drop);
}

#[test]
#[should_panic(expected = "a claim ends once")]
fn looking_before_counting_is_found() {
    // Planted: it ages between the look and the count.
    end_against_age(Claim::end_in_two_steps);
}

// ---- a claim against a pool that asks --------------------------------------------------------------

fn claim_against_ask(claim: fn(&Allotment) -> Option<Claim>) {
    loom::model(move || {
        let giver = pressed();
        let asker = giver.clone();
        // Loom compares an access with the latest one only. If this thread began to claim, its own load
        // would stand between its claim and the load of the pool that asks.
        let asking = thread::spawn(move || {
            // It looks for an idle connection only while one is wanted. Then it asks when to look again.
            let is_wanted = asker.pressure.is_on();
            let looks_at = asker.pressure.ages_at();
            assert!(
                is_wanted || looks_at.is_some(),
                "the pool looks again when the claim has aged"
            );
        });
        let claimed = claim(&giver);
        asking.join().expect("no panic");
        drop(claimed);
        assert_eq!(giver.pressure.claimed(), 0);
    });
}

#[test]
fn pool_that_finds_everything_claimed_knows_when_to_look_again() {
    claim_against_ask(claim);
}

#[test]
#[should_panic(expected = "the pool looks again when the claim has aged")]
fn counting_a_claim_before_it_is_entered_is_found() {
    // Planted: for a moment it counts, and nobody knows when it ages.
    claim_against_ask(|allotment| Pressure::claim_in_two_steps(&allotment.pressure, Time::NEVER));
}
