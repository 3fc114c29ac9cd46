//! Which connections the members of a budget are asked to give up.
//!
//! If no permit is free, members are asked for connections that they use, by the measure of grants: a member
//! gives one up if it keeps more for its share than the neediest one has now. So each move raises the
//! least that any of the two has. A member that has none gets one from any member, also the only one of that: with
//! fewer connections than members they take turns.

use std::cmp::Ordering;

use super::account::{Account, by_share};

/// How many connections the members should give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::budget) struct Want {
    /// Idle ones.
    pub(in crate::budget) idle: usize,
    /// Those that their pools use,
    pub(in crate::budget) busy: usize,
    /// of these members.
    pub(in crate::budget) givers: Givers,
}

/// Which members give up connections that they use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::budget) enum Givers {
    /// All: others have none.
    #[default]
    All,
    /// Those that keep more for their share than the neediest one has, which is this.
    Richer { slots: u64, share: u32 },
    /// There are too many connections: those that have more than their part of what is not reserved.
    AbovePart,
}

/// How much room a budget has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Permits that anybody can have now.
    pub(super) free: usize,
    /// How many connections there are too many.
    pub(super) excess: usize,
    /// All connections together are too heavy.
    pub(super) weighs_too_much: bool,
}

/// How many connections are to be given up for those that ask, whose callers want so many beyond what is reserved.
pub(super) fn want<'a, H: 'a>(
    room: Room,
    callers: usize,
    askers: impl Iterator<Item = &'a Account<H>> + Clone,
) -> Want {
    let Room { free, excess, .. } = room;
    let waiting = askers.filter(|account| account.waiting_beyond_reserve() > 0);
    // Each of those that have none is to get one before others get more.
    let have_none = waiting.clone().filter(|account| account.has() == 0).count();
    let (busy, givers) = match excess {
        0 if have_none > free => (have_none - free, givers_to_those_with_none(room)),
        0 => want_for_neediest(free - have_none, waiting),
        _ => (excess + have_none, Givers::AbovePart),
    };
    Want {
        idle: callers.saturating_sub(free) + excess,
        busy,
        givers,
    }
}

/// Who gives one to members that have none. While all weigh too much, heavy ones are closed for that, and a
/// connection that is given up can be in vain as long as these have leases. So each member keeps its last.
const fn givers_to_those_with_none(room: Room) -> Givers {
    match room.weighs_too_much {
        true => Givers::Richer { slots: 0, share: 1 },
        false => Givers::All,
    }
}

/// How many connections in use the neediest members want beside so many that are free, and of whom.
fn want_for_neediest<'a, H: 'a>(
    free: usize,
    waiting: impl Iterator<Item = &'a Account<H>>,
) -> (usize, Givers) {
    // Those that have none get one of what is free, so they want one less, and have one.
    let needs = waiting.map(|account| {
        let (has, wants) = (account.has(), account.waiting_beyond_reserve());
        (has.max(1), wants - usize::from(has == 0), account)
    });
    let mut neediest = None;
    let mut wanted = 0;
    for (has, wants, account) in needs.filter(|(_, wants, _)| *wants > 0) {
        let share = account.entitlement.share;
        let order = neediest.map_or(Ordering::Less, |other| by_share((has, share), other));
        match order {
            Ordering::Less => (neediest, wanted) = (Some((has, share)), wants),
            Ordering::Equal => wanted += wants,
            Ordering::Greater => {}
        }
    }
    let (slots, share) = neediest.unwrap_or_default();
    // Free permits go to them as well.
    let slots = u64::try_from(slots + free).unwrap_or(u64::MAX);
    (wanted.saturating_sub(free), Givers::Richer { slots, share })
}
