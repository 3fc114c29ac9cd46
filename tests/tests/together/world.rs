//! Plays the operations, and keeps what callers hold.

use std::time::Duration;

use pool_core::{AcquireError, CloseReason, CloseReport, ConnectionId, KeyedAcquireError};
use pool_tests::bed::{HandPolled, pass, quiesce, start};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::doors::{Acquired, Acquiring, Doors, Fact, Hold, Lease};
use crate::lists::Pool;
use crate::model::{Cause, Checked, LATE, Model, ensure};
use crate::op::{Connects, Op};
use crate::terms::{ACQUIRE_TIMEOUT, ALONE, ALONE_SHARED, Door, MAX_KEYS, PLACES, RETRY_DELAY};

pub(crate) struct World {
    pub(crate) doors: Doors,
    pub(crate) model: Model,
    callers: Vec<Caller>,
    leases: Vec<Held>,
    holds: Vec<(usize, Hold)>,
    closes: Vec<JoinHandle<CloseReport>>,
    /// The latest facts, for a failure.
    pub(crate) recent: Vec<Fact>,
}

struct Caller {
    place: usize,
    /// `None` if its key had no place.
    pool: Option<usize>,
    since: Instant,
    acquiring: HandPolled<Acquiring>,
}

struct Held {
    pool: usize,
    lease: Lease,
}

const DOORS: [Door; 4] = [
    Door::Keyed,
    Door::KeyedShared,
    Door::Alone,
    Door::AloneShared,
];

impl World {
    pub(crate) async fn start() -> Result<Self, String> {
        let mut world = Self {
            doors: Doors::new(),
            model: Model::new(),
            callers: Vec::new(),
            leases: Vec::new(),
            holds: Vec::new(),
            closes: Vec::new(),
            recent: Vec::new(),
        };
        world.settle().await?;
        Ok(world)
    }

    pub(crate) async fn step(&mut self, op: &Op) -> Checked {
        self.begin(op);
        self.perform(op).await?;
        self.settle().await
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "others open and drop no key"
    )]
    fn begin(&mut self, op: &Op) {
        let mut cause = Cause::default();
        match *op {
            Op::Acquire(place) | Op::Hold(place) => cause.entered = Some(place),
            Op::Evict(place) => cause.evicted = Some(place),
            _ => {}
        }
        self.model.begin(cause);
    }

    async fn perform(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Acquire(place) => self.acquire(place)?,
            Op::Abandon(which) => drop(take(&mut self.callers, which)),
            Op::Return(which) => self.give_back(which, None),
            Op::Discard(which) => self.give_back(which, Some(CloseReason::Discarded)),
            Op::Detach(which) => self.detach(which),
            Op::Weigh(which, weight) => self.weigh(which, weight)?,
            Op::Die(which) => self.die(which)?,
            Op::ResizeBudget(limit) => self.resize_budget(limit)?,
            Op::ResizePool(which, size) => {
                let door = [Door::Alone, Door::AloneShared][which];
                self.doors.resize(door, size);
            }
            Op::Evict(place) => {
                let had_pool = self.model.current[place].is_some();
                self.model.evict(place);
                let count = self.doors.evict(place);
                ensure(had_pool || count == 0, || format!("{count} were evicted"))?;
            }
            Op::Hold(place) => self.hold(place)?,
            Op::LetGo(place) => self.let_go(place),
            Op::Close(which) => self.close(DOORS[which]).await,
            Op::Connects(place, connects) => self.doors.stage.set_connects(place, connects),
            Op::HoldCloses(place, holds) => self.doors.stage.hold_closes(place, holds),
            Op::Pass(time) => self.pass(time).await?,
        }
        Ok(())
    }

    /// Lets time pass in parts, so that callers take what they are served.
    async fn pass(&mut self, time: Duration) -> Checked {
        let mut left = time;
        while !left.is_zero() {
            let part = left.min(Duration::from_millis(500));
            left -= part;
            pass(part).await;
            self.settle().await?;
            self.begin(&Op::Pass(left));
        }
        Ok(())
    }

    fn acquire(&mut self, place: usize) -> Checked {
        let acquiring = self.doors.acquire(place);
        // The call makes the pool of a new key.
        self.take_facts()?;
        if let Some(pool) = self.model.current[place] {
            self.model.pools[pool].used = Instant::now();
        }
        self.callers.push(Caller {
            place,
            pool: self.model.current[place],
            since: Instant::now(),
            acquiring: HandPolled::new(acquiring),
        });
        self.poll_callers().map(drop)
    }

    fn give_back(&mut self, which: usize, why: Option<CloseReason>) {
        let Some(held) = take(&mut self.leases, which) else {
            return;
        };
        self.model.lease_ends(held.pool, held.lease.id(), why);
        match why {
            None => drop(held.lease),
            Some(_) => held.lease.discard(),
        }
    }

    fn detach(&mut self, which: usize) {
        let is_own = |held: &Held| matches!(held.lease, Lease::Own(_));
        let own: Vec<_> = (0..self.leases.len())
            .filter(|place| is_own(&self.leases[*place]))
            .collect();
        if own.is_empty() {
            return;
        }
        let held = self.leases.remove(own[which % own.len()]);
        self.model.lease_ends(held.pool, held.lease.id(), None);
        held.lease.detach();
    }

    fn any_open(&self, which: usize) -> Option<(usize, ConnectionId)> {
        let pools = self.model.pools.iter().enumerate();
        let open = pools.flat_map(|(number, pool)| {
            let open = pool.conns.iter().filter(|conn| conn.is_open());
            open.map(move |conn| (number, conn.id))
        });
        let open: Vec<_> = open.collect();
        open.get(which % open.len().max(1)).copied()
    }

    fn weigh(&mut self, which: usize, weight: u64) -> Checked {
        let Some((pool, id)) = self.any_open(which) else {
            return Ok(());
        };
        self.doors.stage.made()[pool].fake.set_weight(id, weight);
        self.model.pools[pool].conn(id)?.weighs_from_now_on(weight);
        Ok(())
    }

    fn die(&mut self, which: usize) -> Checked {
        let Some((pool, id)) = self.any_open(which) else {
            return Ok(());
        };
        self.doors.stage.made()[pool].fake.kill(id);
        let conn = self.model.pools[pool].conn(id)?;
        conn.marks.push(CloseReason::Died);
        Ok(())
    }

    fn resize_budget(&mut self, limit: usize) -> Checked {
        self.doors.stage.together.limit_at_least(limit);
        let pools = self.model.pools.iter();
        let reserved: usize = pools.map(Pool::reserved).sum();
        if limit >= reserved {
            self.model.limit = limit;
            self.model.note_wants();
        }
        let resized = self.doors.budget.resize(limit);
        ensure(resized.is_ok() == (limit >= reserved), || {
            format!("a limit of {limit}: {resized:?}")
        })
    }

    fn hold(&mut self, place: usize) -> Checked {
        let Some(hold) = self.doors.hold(place) else {
            return Ok(());
        };
        self.take_facts()?;
        let pool = self.model.current[place].ok_or("a handle of no key")?;
        self.model.pools[pool].handles += 1;
        self.holds.push((pool, hold));
        Ok(())
    }

    fn let_go(&mut self, place: usize) {
        let pools = &mut self.model.pools;
        let found = self
            .holds
            .iter()
            .position(|(pool, _)| pools[*pool].place == place);
        if let Some(found) = found {
            let (pool, hold) = self.holds.remove(found);
            pools[pool].handles -= 1;
            pools[pool].used = Instant::now();
            drop(hold);
        }
    }

    async fn close(&mut self, door: Door) {
        self.model.closed.push(door);
        self.closes.push(start(self.doors.close(door)));
        // The close begins with its first poll.
        tokio::task::yield_now().await;
    }

    /// Waits until nothing more happens, and compares.
    pub(crate) async fn settle(&mut self) -> Checked {
        loop {
            quiesce().await;
            self.take_facts()?;
            if !self.poll_callers()? {
                break;
            }
        }
        let now = Instant::now();
        self.note_use(now);
        self.model.note_weighings(now);
        self.check_callers(now)?;
        self.check_leases()?;
        self.model.compare(&self.doors, now)?;
        self.model.check_rest(now)
    }

    fn note_use(&mut self, now: Instant) {
        for pool in &mut self.model.pools {
            if pool.is_in_use() {
                pool.used = now;
            }
        }
    }

    fn take_facts(&mut self) -> Checked {
        let now = Instant::now();
        let made = self.doors.stage.made();
        for made in made.iter().skip(self.model.pools.len()) {
            self.model.add_pool(made.place, now);
        }
        for fact in self.doors.stage.take_facts() {
            self.recent.push(fact.clone());
            let (pool, kind) = (fact.pool, fact.kind.clone());
            let entered = self.model.enter(&fact);
            entered.map_err(|what| format!("pool {pool}, {kind:?}: {what}"))?;
        }
        Ok(())
    }

    /// Returns whether any of them had an answer.
    fn poll_callers(&mut self) -> Result<bool, String> {
        let mut is_any = false;
        let mut place = 0;
        while place < self.callers.len() {
            match self.callers[place].acquiring.poll() {
                std::task::Poll::Pending => place += 1,
                std::task::Poll::Ready(acquired) => {
                    let caller = self.callers.remove(place);
                    self.take_facts()?;
                    self.answered(&caller, acquired)?;
                    is_any = true;
                }
            }
        }
        self.take_facts()?;
        Ok(is_any)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other refusal is right")]
    fn answered(&mut self, caller: &Caller, acquired: Acquired) -> Checked {
        let error = match acquired {
            Ok(lease) => {
                let pool = caller.pool.ok_or("a lease of no key")?;
                self.model.lease_taken(pool, lease.id());
                self.leases.push(Held { pool, lease });
                return Ok(());
            }
            Err(error) => error,
        };
        let waited = caller.since.elapsed();
        let door = PLACES[caller.place].door;
        let is_right = match &error {
            KeyedAcquireError::Acquire(AcquireError::Timeout { .. }) => waited >= ACQUIRE_TIMEOUT,
            KeyedAcquireError::Acquire(AcquireError::Closed { .. }) => {
                self.model.closed.contains(&door)
            }
            KeyedAcquireError::Closed { .. } => self.model.closed.contains(&door),
            KeyedAcquireError::Acquire(AcquireError::Unavailable { retry_after, .. }) => {
                self.note_backoff(caller, *retry_after)?;
                true
            }
            KeyedAcquireError::TooManyKeys { .. } => self.has_no_place(door),
            _ => false,
        };
        ensure(is_right, || {
            format!("place {}: {error:?} after {waited:?}", caller.place)
        })
    }

    fn note_backoff(&mut self, caller: &Caller, retry_after: Duration) -> Checked {
        let time = Instant::now() + retry_after;
        let (place, model) = (caller.place, &mut self.model);
        let peer = &mut model.peers[place];
        if let Some(pool) = caller.pool.map(|pool| &mut model.pools[pool])
            && pool.refused > 0
        {
            pool.refused -= 1;
            if !peer.is_failing {
                // A connect has succeeded since.
                return Ok(());
            }
        }
        ensure(peer.is_failing && retry_after <= RETRY_DELAY, || {
            format!("place {place}, whose connects succeed, is told to wait")
        })?;
        // A caller can have its answer a moment after it was refused.
        let before = peer.not_before;
        peer.not_before = Some(before.map_or(time, |before| before.min(time)));
        let is_same = before.is_none_or(|before| {
            let (less, more) = (before.min(time), before.max(time));
            more.duration_since(less) < LATE
        });
        ensure(is_same, || {
            format!("place {place} was told {before:?}, and {time:?} now")
        })
    }

    /// Whether every key is in use, or as many are being closed.
    fn has_no_place(&self, door: Door) -> bool {
        let pools = || self.model.pools.iter().filter(|pool| pool.door() == door);
        let in_use = pools().filter(|pool| !pool.is_closed && pool.is_in_use());
        let closing = pools().filter(|pool| pool.is_closed && pool.slots() > 0);
        door == Door::Keyed && (in_use.count() >= MAX_KEYS || closing.count() >= MAX_KEYS)
    }

    fn check_callers(&self, now: Instant) -> Checked {
        let is_late = |caller: &&Caller| now.duration_since(caller.since) > ACQUIRE_TIMEOUT + LATE;
        let late = self.callers.iter().find(is_late);
        ensure(late.is_none(), || {
            format!(
                "a caller still waits: {:?}",
                late.map(|caller| caller.place)
            )
        })?;
        for (number, pool) in self.model.pools.iter().enumerate() {
            let of_pool = |caller: &&Caller| caller.pool == Some(number);
            let callers = self.callers.iter().filter(of_pool).count();
            ensure(callers == pool.queue.len(), || {
                format!("{callers} callers of pool {number} wait: {:?}", pool.queue)
            })?;
        }
        Ok(())
    }

    /// The leases of the model are those that callers hold, and a killed connection says why.
    fn check_leases(&self) -> Checked {
        for (number, pool) in self.model.pools.iter().enumerate() {
            for conn in &pool.conns {
                let of_conn = |held: &&Held| held.pool == number && held.lease.id() == conn.id;
                let held = self.leases.iter().filter(of_conn);
                ensure(held.clone().count() == conn.leases, || {
                    format!("pool {number}: callers hold other leases of {conn:?}")
                })?;
                for held in held {
                    let cause = held.lease.kill_cause();
                    ensure(cause.is_some() == conn.is_killed, || {
                        format!("pool {number}: {conn:?} was killed for {cause:?}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Ends everything, and checks that nothing is left.
    pub(crate) async fn finish(&mut self) -> Checked {
        for place in 0..PLACES.len() {
            self.doors.stage.set_connects(place, Connects::Quick);
            self.doors.stage.hold_closes(place, false);
        }
        self.begin(&Op::Abandon(0));
        self.callers.clear();
        self.settle().await?;
        for door in DOORS {
            self.begin(&Op::Close(0));
            self.close(door).await;
            self.settle().await?;
        }
        while !self.leases.is_empty() {
            self.begin(&Op::Return(0));
            self.give_back(0, None);
            self.settle().await?;
        }
        for place in [0, 1, 2, 3, 4, ALONE, ALONE_SHARED] {
            self.let_go(place);
        }
        for close in std::mem::take(&mut self.closes) {
            close.await.map_err(|error| error.to_string())?;
        }
        for (made, pool) in self.doors.stage.made().iter().zip(&self.model.pools) {
            if let Some(ledger) = &made.ledger {
                ledger.assert_settled();
            }
            let counts = made.fake.counts();
            let unclosed = counts.dropped_unclosed;
            ensure(counts.alive == 0 && unclosed == pool.detached, || {
                format!("{counts:?} of place {}", made.place)
            })?;
        }
        self.doors.stage.together.assert_settled();
        self.holds.clear();
        quiesce().await;
        self.model.check_end(&self.doors)
    }
}

/// Takes one of these out, unless there is none.
fn take<T>(of: &mut Vec<T>, which: usize) -> Option<T> {
    (!of.is_empty()).then(|| of.remove(which % of.len()))
}
