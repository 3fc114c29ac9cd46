//! When waits end: a timer wheel over the places of waiters.
//!
//! # Algorithm
//!
//! Time is counted in milliseconds. The wheel has levels of 64 slots. A slot of the first level is
//! one millisecond long, a slot of each further level as long as the whole level before. A waiter is
//! on the level of the highest bits in which its end differs from the present time, so it moves down
//! at most once per level before it expires. A slot is a doubly linked list, and each level has a
//! bit for each slot that is not empty. So adding, removing and expiring a waiter cost the same
//! however many others there are.

use crate::time::Time;

const LEVELS: usize = 7;
const SLOTS: usize = 64;
/// The bits of the time that choose the slot of a level.
const BITS: usize = SLOTS.trailing_zeros() as usize;
/// How far the wheel reaches: 137 years. Later ends are put at its edge and looked at again.
const REACH_MS: u64 = (SLOTS as u64 - 1) << (BITS * (LEVELS - 1));
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Wheel {
    /// By place. Only those of places in the wheel mean anything.
    nodes: Vec<Node>,
    /// The first place of each slot, level by level. Empty until the wheel is first used.
    heads: Vec<u32>,
    /// A bit for each slot that is not empty, level by level.
    occupied: [u64; LEVELS],
    /// Everything that ends by then has expired.
    now_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    end_ms: u64,
    previous: u32,
    next: u32,
    slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    level: u8,
    index: u8,
}

impl Slot {
    /// The slot for an end at `end_ms`, as seen from `now_ms`.
    fn of(end_ms: u64, now_ms: u64) -> Self {
        // The lowest bits are set, since they all belong to the first level.
        let differing = (end_ms ^ now_ms) | (SLOTS as u64 - 1);
        let level = (63 - differing.leading_zeros() as usize) / BITS;
        let level = level.min(LEVELS - 1);
        let index = (end_ms >> (level * BITS)) % SLOTS as u64;
        Self {
            level: u8::try_from(level).expect("there are few levels"),
            index: u8::try_from(index).expect("there are few slots"),
        }
    }

    const fn head(self) -> usize {
        self.level as usize * SLOTS + self.index as usize
    }
}

impl Wheel {
    /// Adds the waiter at `place`, which is not in the wheel. It expires at `end`, rounded up to a
    /// millisecond.
    pub(crate) fn insert(&mut self, place: u32, end: Time) {
        let end_ms = end.as_millis_rounded_up().max(self.now_ms + 1);
        self.link(place, end_ms);
    }

    /// Removes the waiter at `place`, which is in the wheel.
    pub(crate) fn remove(&mut self, place: u32) {
        let Node {
            previous,
            next,
            slot,
            ..
        } = self.nodes[place as usize];
        match self.nodes.get_mut(previous as usize) {
            Some(node) => node.next = next,
            None => self.heads[slot.head()] = next,
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        if self.heads[slot.head()] == NONE {
            self.occupied[slot.level as usize] &= !(1 << slot.index);
        }
    }

    /// Takes out the waiters whose end has come, the earliest first.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<u32> {
        let now_ms = now.as_millis();
        let mut expired = Vec::new();
        while let Some((slot, start_ms)) = self.first_slot() {
            if start_ms > now_ms {
                break;
            }
            self.now_ms = self.now_ms.max(start_ms);
            self.occupied[slot.level as usize] &= !(1 << slot.index);
            let mut place = std::mem::replace(&mut self.heads[slot.head()], NONE);
            while place != NONE {
                let Node { end_ms, next, .. } = self.nodes[place as usize];
                if end_ms <= self.now_ms {
                    expired.push(place);
                } else {
                    self.link(place, end_ms);
                }
                place = next;
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
        expired
    }

    /// When to look again: not after the next end, but perhaps before it.
    pub(crate) fn next(&self) -> Time {
        let first = self.first_slot();
        first.map_or(Time::NEVER, |(_, start_ms)| Time::from_millis(start_ms))
    }

    /// Frees the memory of places from `places` on.
    pub(crate) fn shrink(&mut self, places: usize) {
        self.nodes.truncate(places);
        self.nodes.shrink_to_fit();
    }

    /// The memory of all places.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    fn link(&mut self, place: u32, end_ms: u64) {
        let edge_ms = self.now_ms.saturating_add(REACH_MS);
        let slot = Slot::of(end_ms.min(edge_ms), self.now_ms);
        if self.heads.is_empty() {
            self.heads = vec![NONE; LEVELS * SLOTS];
        }
        let next = std::mem::replace(&mut self.heads[slot.head()], place);
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = place;
        }
        let node = Node {
            end_ms,
            previous: NONE,
            next,
            slot,
        };
        if self.nodes.len() <= place as usize {
            self.nodes.resize(place as usize + 1, node);
        }
        self.nodes[place as usize] = node;
        self.occupied[slot.level as usize] |= 1 << slot.index;
    }

    /// The first slot that is not empty, and when it begins.
    fn first_slot(&self) -> Option<(Slot, u64)> {
        // Ends on a lower level come before all ends on a higher one.
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let shift = level * BITS;
        let present = (self.now_ms >> shift) % SLOTS as u64;
        let present = u32::try_from(present).expect("there are few slots");
        let ahead = u64::from(self.occupied[level].rotate_right(present).trailing_zeros());
        let start_ms = ((self.now_ms >> shift) + ahead) << shift;
        let slot = Slot {
            level: u8::try_from(level).expect("there are few levels"),
            index: u8::try_from((u64::from(present) + ahead) % SLOTS as u64)
                .expect("there are few slots"),
        };
        Some((slot, start_ms))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What a wheel does, done with a sorted map.
    #[derive(Default)]
    struct Sorted(BTreeMap<u32, u64>);

    impl Sorted {
        fn expire(&mut self, now_ms: u64) -> Vec<(u64, u32)> {
            let ends = self.0.iter().map(|(place, end_ms)| (*end_ms, *place));
            let mut due: Vec<_> = ends.filter(|(end_ms, _)| *end_ms <= now_ms).collect();
            due.sort_unstable();
            self.0.retain(|_, end_ms| *end_ms > now_ms);
            due
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u32, u64),
        Remove(u32),
        Pass(u64),
        PassToNext,
    }

    fn span_ms() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => 0..200_u64,
            4 => 0..40_000_u64,
            2 => 0..10_000_000_u64,
            1 => any::<u64>().prop_map(|ms| ms >> 24),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..40_u32, span_ms()).prop_map(|(place, ms)| Op::Insert(place, ms)),
            2 => (0..40_u32).prop_map(Op::Remove),
            2 => span_ms().prop_map(Op::Pass),
            3 => Just(Op::PassToNext),
        ]
    }

    proptest! {
        #[test]
        fn waits_end_when_their_end_has_come_and_in_its_order(
            ops in proptest::collection::vec(op(), 1..200),
        ) {
            let (mut wheel, mut sorted) = (Wheel::default(), Sorted::default());
            let mut now_ms = 0_u64;
            for op in ops {
                match op {
                    _ if now_ms > u64::MAX / 1_000_000 / 2 => break,
                    Op::Insert(place, ms) if !sorted.0.contains_key(&place) => {
                        let end_ms = now_ms + ms;
                        wheel.insert(place, Time::from_millis(end_ms));
                        // What has ended already expires with the next millisecond.
                        sorted.0.insert(place, end_ms.max(now_ms + 1));
                    }
                    Op::Insert(..) => {}
                    Op::Remove(place) => {
                        if sorted.0.remove(&place).is_some() {
                            wheel.remove(place);
                        }
                    }
                    Op::Pass(_) | Op::PassToNext => {
                        let next_ms = wheel.next().as_millis();
                        let earliest = sorted.0.values().min();
                        prop_assert!(earliest.is_none_or(|end_ms| next_ms <= *end_ms));
                        prop_assert_eq!(earliest.is_none(), wheel.next() == Time::NEVER);
                        if let Op::Pass(ms) = op {
                            now_ms += ms;
                        } else if earliest.is_some() {
                            now_ms = next_ms;
                        }
                        let expected = sorted.expire(now_ms);
                        let expired = wheel.expire(Time::from_millis(now_ms));
                        let mut seen: Vec<_> = expired
                            .iter()
                            .map(|place| (wheel.nodes[*place as usize].end_ms, *place))
                            .collect();
                        prop_assert!(seen.is_sorted_by_key(|(end_ms, _)| *end_ms));
                        seen.sort_unstable();
                        prop_assert_eq!(seen, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn every_millisecond_has_its_own_end() {
        const LAST_MS: u32 = 3 * 64 * 64;
        let mut wheel = Wheel::default();
        for ms in 1..=LAST_MS {
            wheel.insert(ms, Time::from_millis(ms.into()));
        }
        let stays = |ms: u32| ms.is_multiple_of(3) || ms % 64 == 63;
        (1..=LAST_MS)
            .filter(|ms| !stays(*ms))
            .for_each(|ms| wheel.remove(ms));
        for ms in 1..=LAST_MS {
            let expired = wheel.expire(Time::from_millis(ms.into()));
            assert_eq!(expired, Vec::from_iter(stays(ms).then_some(ms)));
        }
        assert_eq!(wheel.next(), Time::NEVER);
    }

    #[test]
    fn what_was_removed_is_not_waited_for() {
        for (gone_ms, stays_ms, next_ms) in [
            (5, 256, 256),
            (5, 320, 320),
            (63, 64, 64),
            (5, 100_000, 98_304),
        ] {
            let mut wheel = Wheel::default();
            wheel.insert(0, Time::from_millis(gone_ms));
            wheel.insert(1, Time::from_millis(stays_ms));
            assert_eq!(wheel.next(), Time::from_millis(gone_ms));
            wheel.remove(0);
            assert_eq!(wheel.next(), Time::from_millis(next_ms));
        }
    }

    #[test]
    fn an_end_that_has_passed_is_the_next_millisecond() {
        let mut wheel = Wheel::default();
        assert!(wheel.expire(Time::from_millis(100)).is_empty());
        wheel.insert(0, Time::from_millis(50));
        assert_eq!(wheel.next(), Time::from_millis(101));
        assert!(wheel.expire(Time::from_millis(100)).is_empty());
        assert_eq!(wheel.expire(Time::from_millis(101)), [0]);
    }

    #[test]
    fn an_end_is_rounded_up() {
        let mut wheel = Wheel::default();
        wheel.insert(0, Time::from_nanos(1_000_001));
        assert!(wheel.expire(Time::from_nanos(1_999_999)).is_empty());
        assert_eq!(wheel.next(), Time::from_millis(2));
        assert_eq!(wheel.expire(Time::from_millis(2)), [0]);
        assert_eq!(wheel.next(), Time::NEVER);
    }

    #[test]
    fn an_end_beyond_reach_is_not_early() {
        let mut wheel = Wheel::default();
        wheel.insert(0, Time::NEVER);
        let mut steps = 0;
        while wheel.next() < Time::from_nanos(u64::MAX / 1_000_000 * 1_000_000) && steps < 200 {
            assert!(wheel.expire(wheel.next()).is_empty());
            steps += 1;
        }
        assert!(steps < 200, "it is looked at rarely");
    }
}
