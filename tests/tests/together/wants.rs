//! What the pools ask of their budget, and what it has left, counted anew each time.

use crate::lists::{Conn, Phase, Pool};
use crate::model::Model;
use crate::terms::{BUDGET_WEIGHT, MAX_LEASES, MAX_SURGE, PLACES};

impl Pool {
    pub(crate) fn slots(&self) -> usize {
        self.conns.len()
    }

    /// What it has if it is compared with others: one that is stuck does not count.
    pub(crate) fn present(&self) -> usize {
        self.slots() - self.count(|conn| conn.is_stuck).min(1)
    }

    pub(crate) fn opening(&self) -> usize {
        self.count(|conn| conn.phase == Phase::Opening)
    }

    /// Open, and without a lease.
    pub(crate) fn idle(&self) -> usize {
        self.count(Conn::is_idle)
    }

    /// Those that are not being closed.
    pub(crate) fn serving(&self) -> usize {
        self.count(|conn| !conn.is_closing())
    }

    pub(crate) fn count(&self, like: impl Fn(&Conn) -> bool) -> usize {
        self.conns.iter().filter(|conn| like(conn)).count()
    }

    pub(crate) fn reserved(&self) -> usize {
        match self.is_closed {
            true => 0,
            false => PLACES[self.place].min_idle,
        }
    }

    /// How many slots there may be, at most: its pool gives the surge up without an event.
    pub(crate) fn size_max(&self) -> usize {
        let superseded = self.count(|conn| conn.superseded.is_some() && !conn.is_closing());
        self.max_size + superseded.min(MAX_SURGE)
    }

    /// How many connects its callers need beside those in flight, at least.
    pub(crate) fn wants(&self) -> usize {
        let [one, other] = self.is_busy_with_and_without();
        self.wants_if(one && other, [0, self.max_size])
    }

    /// The same, at most: a superseded connection is to be replaced, unless the pool waits no more for that.
    pub(crate) fn wants_at_most(&self) -> usize {
        let [one, other] = self.is_busy_with_and_without();
        self.wants_if(one || other, [self.superseded(), self.size_max()])
    }

    /// Whether all connections carry their target, with those that may have to leave and without them.
    fn is_busy_with_and_without(&self) -> [bool; 2] {
        let stays = |conn: &Conn| conn.is_fresh() && conn.may_stay();
        [self.is_busy(Conn::is_fresh), self.is_busy(stays)]
    }

    fn wants_if(&self, is_busy: bool, [replacements, size_max]: [usize; 2]) -> usize {
        if self.is_closed {
            return 0;
        }
        let for_callers = match (self.is_shared(), self.queue.len()) {
            (true, 0) => usize::from(is_busy),
            (true, waiting) => waiting.div_ceil(MAX_LEASES),
            (false, waiting) => waiting,
        };
        let needed = for_callers + replacements;
        let room = size_max.saturating_sub(self.slots());
        needed.saturating_sub(self.opening()).min(room)
    }

    /// Whether all connections like these carry their target.
    fn is_busy(&self, like: impl Fn(&Conn) -> bool) -> bool {
        let mut conns = self.conns.iter().filter(|conn| like(conn)).peekable();
        conns.peek().is_some() && conns.all(|conn| conn.leases >= MAX_LEASES)
    }

    /// It spreads its leases over its idle connection, and would open another one in its place.
    pub(crate) fn needs_idle(&self) -> bool {
        let is_lent = |conn: &Conn| conn.is_fresh() && conn.leases > 0;
        self.is_shared() && self.idle() == 1 && self.is_busy(is_lent)
    }

    /// It waits for a connection of others, for its callers or to replace one.
    pub(crate) fn may_wait(&self) -> bool {
        let is_needed = !self.queue.is_empty() || self.superseded() > 0;
        is_needed && self.wants_of_others().1 > 0
    }

    pub(crate) fn superseded(&self) -> usize {
        self.count(|conn| conn.superseded.is_some() && conn.is_open() && !conn.is_outgoing())
    }

    /// What it wants for its callers beyond its own reserve: at least, and at most.
    pub(crate) fn wants_of_others(&self) -> (usize, usize) {
        let own = self.reserved().saturating_sub(self.slots());
        let beyond = |wants: usize| wants.saturating_sub(own);
        (beyond(self.wants()), beyond(self.wants_at_most()))
    }
}

impl Model {
    pub(crate) fn used(&self) -> usize {
        self.pools.iter().map(Pool::slots).sum()
    }

    /// With what is reserved and not used.
    pub(crate) fn committed(&self) -> usize {
        let pools = self.pools.iter();
        pools.map(|pool| pool.slots().max(pool.reserved())).sum()
    }

    pub(crate) fn connecting(&self) -> usize {
        self.pools.iter().map(Pool::opening).sum()
    }

    /// The least and the most that all connections weigh together.
    pub(crate) fn weight(&self) -> (u64, u64) {
        let weights = self.pools.iter().map(Pool::weight);
        weights.fold((0, 0), |sum, (least, most)| (sum.0 + least, sum.1 + most))
    }

    /// Whether no connect may begin, as far as it is known.
    pub(crate) fn is_surely_heavy(&self) -> bool {
        self.weight().0 >= BUDGET_WEIGHT
    }

    /// Whether they can have been measured at more than they may weigh.
    pub(crate) fn may_weigh_too_much(&self) -> bool {
        self.weight().1 > BUDGET_WEIGHT
    }

    pub(crate) fn may_be_heavy(&self) -> bool {
        self.weight().1 >= BUDGET_WEIGHT
    }

    /// How many connections there are too many, with what is reserved.
    pub(crate) fn excess(&self) -> usize {
        self.committed().saturating_sub(self.limit)
    }

    /// How many connects could begin at once.
    pub(crate) fn free(&self) -> usize {
        match self.may_be_heavy() {
            true => 0,
            false => self.limit.saturating_sub(self.committed()),
        }
    }

    /// Whether the budget lets this pool open one more, apart from weight.
    pub(crate) fn has_room_for(&self, pool: &Pool) -> bool {
        let has_reserve = pool.slots() < pool.reserved();
        self.used() < self.limit && (has_reserve || self.committed() < self.limit)
    }

    /// Whether a pool may have to give up a connection that it uses: there are too many, and it has more than
    /// its part of them; or another one waited that had none, or of the two the poorer one is better off.
    pub(crate) fn may_give(&self, number: usize) -> bool {
        self.is_above_part(number) || self.is_richer(number)
    }

    fn is_above_part(&self, number: usize) -> bool {
        let pool = &self.pools[number];
        let may_count = |pool: &&Pool| pool.slots() > pool.reserved() || pool.wants_at_most() > 0;
        let shares: usize = self.pools.iter().filter(may_count).map(Pool::share).sum();
        let reserved: usize = self.pools.iter().map(Pool::reserved).sum();
        let stuck = |pool: &Pool| pool.count(|conn| conn.is_stuck);
        let stuck: usize = self.pools.iter().map(stuck).sum();
        let part = self.limit.saturating_sub(reserved + stuck) * pool.share() / shares.max(1);
        self.cause.excess > 0 && pool.serving().saturating_sub(pool.reserved()) > part
    }

    pub(crate) fn is_richer(&self, number: usize) -> bool {
        let pool = &self.pools[number];
        let serving = pool.serving();
        let pools = self.pools.iter().enumerate();
        let others = pools.filter(|(other, _)| *other != number);
        let mut waited = others.filter_map(|(_, other)| Some((other, other.waited_with?)));
        waited.any(|(other, slots)| {
            let least = |one: usize, its: usize| {
                (one * LEVELS / pool.share()).min(its * LEVELS / other.share())
            };
            slots == 0 || serving > 0 && least(serving - 1, slots + 1) > least(serving, slots)
        })
    }

    /// How many pools surely wait and have no connection, beside this one.
    pub(crate) fn have_none(&self, number: usize) -> usize {
        let pools = self.pools.iter().enumerate();
        let others = pools.filter(|(other, _)| *other != number);
        let has_none = |pool: &Pool| {
            let waits = !pool.queue.is_empty() && pool.wants_of_others().0 > 0;
            waits && pool.present() == 0 && !pool.is_closed && !self.peers[pool.place].is_failing
        };
        others.filter(|(_, pool)| has_none(pool)).count()
    }
}

/// Divisible by every share.
const LEVELS: usize = 2;
