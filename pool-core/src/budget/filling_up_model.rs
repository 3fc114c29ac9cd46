//! What members end with when they give way to each other, against a naive model: the budget is filled up
//! anew, one connection after the other, each for the member that has least for its share.

use std::sync::Arc;

use proptest::prelude::*;

use crate::budget::accounts::{Accounts, Demand, Entitlement, MemberKey};
use crate::budget::accounts_model::gives_way_with;
use crate::time::Time;

/// Divisible by every share.
const SHARES_MULTIPLE: usize = 12;

/// A member, and how many connections it wants in all.
#[derive(Debug, Clone, Copy)]
struct Wanting {
    share: u32,
    wants: usize,
}

impl Wanting {
    /// What so many slots are for its share.
    fn level(self, slots: usize) -> usize {
        slots * SHARES_MULTIPLE / self.share as usize
    }
}

fn member() -> impl Strategy<Value = Wanting> {
    let share = prop::sample::select(vec![1, 2, 3, 4]);
    let wants = prop_oneof![2 => 1..3_usize, 1 => 1..40_usize];
    (share, wants).prop_map(|(share, wants)| Wanting { share, wants })
}

/// Members of a budget, each of which holds what it was given.
struct Rig {
    accounts: Accounts<()>,
    members: Vec<(MemberKey, Wanting)>,
}

impl Rig {
    fn new(limit: usize, members: &[Wanting]) -> Self {
        let mut accounts = Accounts::new(limit, limit, None);
        let members = members.iter().map(|member| {
            let key = accounts.join(Entitlement {
                name: Arc::from("pool"),
                share: member.share,
                reserved: 0,
            });
            let key = key.expect("nothing is reserved");
            accounts.attach(key, ());
            (key, *member)
        });
        let members = members.collect();
        Self { accounts, members }
    }

    fn slots(&self, place: usize) -> usize {
        self.accounts.account(self.members[place].0).slots
    }

    /// Asks for what this member wants, and takes what is free.
    fn ask(&mut self, place: usize) {
        let (key, member) = self.members[place];
        let demand = Demand {
            callers: member.wants.saturating_sub(self.slots(place)),
            spread: 0,
            spare: 0,
        };
        self.accounts.ask(key, demand, Time::default());
        for granted in self.accounts.grant_free(Time::default()) {
            assert!(self.accounts.take_granted(granted));
            self.accounts.connect_ended(granted);
        }
    }

    /// This member gives way, if it has to.
    fn give_way(&mut self, place: usize) -> bool {
        let (key, member) = self.members[place];
        let gives_way = gives_way_with(&self.accounts, self.slots(place), member.share, 0);
        if gives_way {
            self.accounts.release(key, true, 0);
            self.ask(place);
        }
        gives_way
    }

    /// For each connection, what its member had for its share without it.
    fn levels(&self) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        let levels = members.flat_map(|(place, (_, member))| {
            (0..self.slots(place)).map(move |slots| member.level(slots))
        });
        let mut levels: Vec<_> = levels.collect();
        levels.sort_unstable();
        levels
    }
}

fn fill_up(limit: usize, members: &[Wanting]) -> Vec<usize> {
    let mut slots = vec![0; members.len()];
    let mut levels = Vec::new();
    for _ in 0..limit {
        let needs = members.iter().zip(&mut slots);
        let needs = needs.filter(|(member, slots)| **slots < member.wants);
        let Some((member, slots)) = needs.min_by_key(|(member, slots)| member.level(**slots))
        else {
            break;
        };
        levels.push(member.level(*slots));
        *slots += 1;
    }
    levels.sort_unstable();
    levels
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever was there first, and however little others want.
    #[test]
    fn members_that_give_way_end_where_filling_up_does(
        members in prop::collection::vec(member(), 1..12),
        beyond in 0..30_usize,
        first in 0..12_usize,
    ) {
        let limit = members.len() + beyond;
        let mut rig = Rig::new(limit, &members);
        rig.ask(first % members.len());
        (0..members.len()).for_each(|place| rig.ask(place));
        let mut moves = 0;
        // A connection of each is returned, again and again.
        while (0..members.len()).fold(false, |moved, place| {
            let moves_now = rig.give_way(place);
            moves += usize::from(moves_now);
            moved | moves_now
        }) {
            prop_assert!(moves <= 10 * limit, "they go back and forth");
        }
        prop_assert_eq!(rig.levels(), fill_up(limit, &members));
    }
}
