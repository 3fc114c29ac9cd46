//! Keeps the books of a shared pool apart from its store, and compares them after each operation.

use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::task::Waker;
use std::time::Duration;

use super::share_op::Op;
use crate::error::{CheckError, ConnectError};
use crate::id::ConnectionId;
use crate::store::slots::SlotRecord;
use crate::store::sweep::TICK;
use crate::store::{
    Condition, Deadline, Errand, Found, GoalKey, IdleOrder, Lending, Limits, Multiplexed, Opening,
    PacerLimits, Refusal, ShareKey, Sharing, SlotKey, State, Store, TargetLeases, Turn, WaitEnd,
    WaitRequest, WaiterKey,
};
use crate::time::Time;

/// More than any pool here has slots.
const ROUNDS_TO_OPEN: usize = 10;
/// How long a replacement of all connections waits beyond its time.
const PATIENCE: Duration = Duration::from_millis(500);

/// What happened to a connection, as its own books have it.
#[derive(Debug)]
struct Expected {
    id: ConnectionId,
    leases: u32,
    uses: u64,
    /// It takes no new leases any more: why the pool was told so.
    is_broken: bool,
    is_suspected: bool,
    /// When it was last opened, returned or checked.
    proven: Time,
}

pub(super) struct Oracle {
    store: Store<SlotKey, Multiplexed>,
    sharing: Sharing,
    max_uses: u64,
    now: Time,
    openings: Vec<Opening>,
    books: BTreeMap<u64, (SlotKey, Expected)>,
    waiting: VecDeque<WaiterKey>,
    /// By the numbers of their connections.
    held: Vec<(u64, ShareKey)>,
    checks: Vec<SlotKey>,
    closes: Vec<SlotKey>,
    /// More slots than now may have been permitted before.
    slots_max: usize,
    is_closed: bool,
    /// The latest replacement of all connections.
    renewal: Option<GoalKey>,
    pub(super) leases: usize,
}

impl Oracle {
    pub(super) fn new(
        sharing: Sharing,
        max_uses: u64,
        max_size: usize,
        min_idle: usize,
        check_after_idle: Option<Duration>,
    ) -> Self {
        let limits = Limits {
            name: "shared".into(),
            is_key: false,
            max_size,
            min_idle,
            max_waiters: 100,
            max_connecting: 2,
            idle_order: IdleOrder::Lifo,
            idle_timeout: Some(Duration::from_millis(1_500)),
            max_lifetime: Some(Duration::from_secs(3)),
            max_uses: Some(max_uses),
            check_interval: Some(Duration::from_millis(700)),
            check_after_idle,
            min_uptime: Duration::ZERO,
            lease_warn_after: None,
            max_weight: None,
            kill_weight: None,
            weigh_interval: Duration::from_secs(1),
            pacer: PacerLimits {
                delay: Duration::from_millis(1),
                delay_max: Duration::from_millis(1),
                fail_fast_after: 1_000,
            },
            seed: 3,
            sharing,
        };
        Self {
            store: Store::new(limits),
            sharing,
            max_uses,
            now: Time::default(),
            openings: Vec::new(),
            books: BTreeMap::new(),
            waiting: VecDeque::new(),
            held: Vec::new(),
            checks: Vec::new(),
            closes: Vec::new(),
            slots_max: max_size + sharing.max_surge,
            is_closed: false,
            renewal: None,
            leases: 0,
        }
    }

    pub(super) fn perform(&mut self, op: Op) {
        if !matches!(op, Op::Wait(_)) {
            self.enter();
        }
        match op {
            Op::Acquire => self.acquire(),
            Op::Cancel(which) => self.cancel(which),
            Op::Return(which, condition) => self.give_back(which, condition),
            Op::Open => self.open(),
            Op::ConnectSucceeds(which) => self.connect_succeeds(which),
            Op::ConnectFails(which) => self.connect_fails(which),
            Op::Dies(which) => {
                if let Some(number) = self.pick(which) {
                    let (key, book) = self.books.get_mut(&number).expect("picked");
                    book.is_broken = true;
                    self.store.died(*key, book.id, None);
                }
            }
            Op::Suspect(which, is_suspected) => {
                if let Some(number) = self.pick(which) {
                    self.suspect(number, is_suspected);
                }
            }
            Op::Evict(which) => {
                if let Some(number) = self.pick(which) {
                    self.store.evict(|id| id.as_u64() == number);
                }
            }
            Op::EvictAll => {
                self.store.evict(|_| true);
            }
            Op::Renew(ms) => {
                let time = Duration::from_millis(ms);
                let goal = self.store.start_renewal(time, PATIENCE, self.now);
                if let Some(ended) = self.renewal.replace(goal) {
                    self.store.remove_goal(ended);
                }
            }
            Op::Resize(size) => {
                if self.store.resize(size).is_some() {
                    let most = size + self.sharing.max_surge;
                    self.slots_max = most.max(self.store.slots.len());
                }
            }
            Op::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.store.sweep(self.now);
            }
            Op::CheckEnds(which, is_good) => self.check_ends(which, is_good),
            Op::CloseEnds(which) => self.close_ends(which),
            Op::Close => {
                self.is_closed = true;
                self.store.close();
            }
        }
        self.carry_out();
        self.assert_books();
        self.assert_that_waiting_is_needed();
    }

    /// What `Engine::enter` does.
    fn enter(&mut self) {
        self.store.is_moving = true;
        if self.store.is_quiet {
            self.store.start_ticks(self.now);
        }
    }

    /// Whether a close would have something to end.
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty() || !self.waiting.is_empty()
    }

    fn suspect(&mut self, number: u64, is_suspected: bool) {
        let (key, book) = self.books.get_mut(&number).expect("picked");
        book.is_suspected = is_suspected;
        self.store.suspect(*key, book.id, is_suspected);
    }

    /// One of the connections that are open.
    fn pick(&self, which: usize) -> Option<u64> {
        let count = self.books.len();
        (count > 0).then(|| *self.books.keys().nth(which % count).expect("within"))
    }

    fn number_of(&self, key: SlotKey) -> u64 {
        self.store.slots.get(key).id.as_u64()
    }

    fn acquire(&mut self) {
        let lightest = self.lightest(SlotRecord::active);
        if let Some(share) = self.store.take_share(Location::caller()) {
            assert!(self.waiting.is_empty(), "nobody overtakes a waiter");
            let load = self.store.slots.get(share.slot).active() - 1;
            if let Some(lightest) = lightest {
                assert_eq!(load, lightest, "the least loaded is lent");
            }
            return self.lent(share);
        }
        assert!(
            lightest.is_none() || !self.waiting.is_empty(),
            "what may be lent is lent, unless somebody came earlier"
        );
        let turn = match Multiplexed::has_stale(&self.store) {
            true => Turn::Deferred,
            false => Turn::New,
        };
        let deadline = Deadline::At(self.now.after(Duration::from_secs(2)));
        if let Err(refusal) = self.store.admit(self.now, deadline, turn) {
            assert_eq!(self.is_closed, refusal == Refusal::Closed);
            return;
        }
        assert!(!self.is_closed, "a closed pool lets nobody wait");
        let ticket = WaitRequest {
            deadline,
            site: Location::caller(),
        };
        let waker = Waker::noop().clone();
        let key = self.store.enqueue(waker, ticket, turn);
        self.waiting.push_back(key);
    }

    /// The least load of a connection that may be lent, if it is not about to be replaced. Spare ones
    /// do not count, unless there are no others.
    fn lightest(&self, load: impl Fn(&SlotRecord) -> u32) -> Option<u32> {
        let loads = self.books.values().filter_map(|(key, book)| {
            let record = self.store.slots.get(*key);
            let is_spent = book.uses >= self.max_uses;
            let is_full = book.leases >= self.sharing.max_leases;
            let may_be_lent = record.is_fresh()
                && !book.is_suspected
                && !is_spent
                && !is_full
                && !self.store.is_stale(record);
            may_be_lent.then_some((record.spare, load(record)))
        });
        loads.min().map(|(_, load)| load)
    }

    /// Nobody waits beside a connection that could serve, but for one that is being opened or checked.
    fn assert_that_waiting_is_needed(&self) {
        for key in self.store.stale_shares() {
            assert!(
                self.waiting.is_empty() || self.checks.contains(&key),
                "what waiters could use is being checked"
            );
        }
        let lightest = self.lightest(|record| record.load);
        let Some(lightest) = lightest.filter(|_| !self.waiting.is_empty()) else {
            return;
        };
        assert!(
            !self.openings.is_empty() || self.store.may_open() || self.store.awaits_checks(),
            "no connection is opened for those who wait"
        );
        let target = self.store.target_leases().min(self.sharing.max_leases);
        assert!(lightest >= target, "nobody waits beside {lightest} leases");
    }

    fn lent(&mut self, share: ShareKey) {
        assert!(!self.is_closed, "a closed pool lends nothing");
        let number = self.number_of(share.slot);
        let book = &mut self
            .books
            .get_mut(&number)
            .expect("only open ones are lent")
            .1;
        assert!(!book.is_broken, "a broken connection takes no new leases");
        assert!(!book.is_suspected, "nor does a suspected one");
        // Known to a tick, and so is the time of the last use.
        let idle = self.now.since(book.proven);
        let limit = self.store.limits.stale_after().expect("it is set") + 2 * TICK;
        assert!(book.leases > 0 || idle <= limit, "idle for {idle:?}");
        book.leases += 1;
        book.uses += 1;
        assert!(book.uses <= self.max_uses, "as often as it may be used");
        assert!(book.leases <= self.sharing.max_leases, "within its limit");
        self.held.push((number, share));
        self.leases += 1;
    }

    fn cancel(&mut self, which: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let place = which % self.waiting.len();
        let key = self.waiting.remove(place).expect("within");
        assert!(self.store.cancel(key).is_none(), "it was not served yet");
    }

    fn give_back(&mut self, which: usize, condition: Condition) {
        if self.held.is_empty() {
            return;
        }
        let (number, share) = self.held.swap_remove(which % self.held.len());
        let (_, book) = self.books.get_mut(&number).expect("it has a lease");
        book.leases -= 1;
        book.proven = self.now;
        book.is_broken |= condition != Condition::Clean;
        self.store.give_back_share(share, condition);
    }

    fn open(&mut self) {
        let is_wanted = self.is_another_wanted();
        let Some(opening) = self.store.open(self.now) else {
            return;
        };
        assert!(is_wanted, "no connect without a need");
        assert!(!self.is_closed, "no connect after the end");
        self.openings.push(opening);
        assert!(self.store.slots.len() <= self.slots_max, "within the limit");
    }

    /// Somebody waits, all are busy, one is to be replaced, or too few are idle.
    fn is_another_wanted(&self) -> bool {
        let fresh = self.books.values().filter(|(key, book)| {
            let record = self.store.slots.get(*key);
            record.close_reason.is_none() && record.superseded.is_none() && !book.is_suspected
        });
        let are_busy = match self.sharing.target_leases {
            TargetLeases::Fixed(target) => fresh.into_iter().all(|(_, book)| book.leases >= target),
            TargetLeases::Adaptive { min, .. } => {
                let demand = self.held.len() + self.waiting.len();
                demand > fresh.into_iter().count() * min as usize
            }
        };
        !self.waiting.is_empty()
            || self.store.wants_proof()
            || are_busy
            || self.store.slots.count(State::Idle) < self.store.limits.min_idle
            || self.books.values().any(|(key, book)| {
                book.is_suspected || self.store.slots.get(*key).superseded.is_some()
            })
    }

    fn connect_succeeds(&mut self, which: usize) {
        if self.openings.is_empty() {
            return;
        }
        let opening = self.openings.swap_remove(which % self.openings.len());
        let book = Expected {
            id: opening.id,
            leases: 0,
            uses: 0,
            is_broken: false,
            is_suspected: false,
            proven: self.now,
        };
        self.books.insert(opening.id.as_u64(), (opening.key, book));
        self.store.opened(opening.key, opening.key, self.now);
    }

    fn connect_fails(&mut self, which: usize) {
        if self.openings.is_empty() {
            return;
        }
        let opening = self.openings.swap_remove(which % self.openings.len());
        let error = ConnectError::transient("refused");
        self.store.connect_failed(opening.key, error, self.now);
        let _: bool = self.store.release(opening.key);
    }

    fn check_ends(&mut self, which: usize, is_good: bool) {
        if self.checks.is_empty() {
            return;
        }
        let key = self.checks.swap_remove(which % self.checks.len());
        let number = self.number_of(key);
        let book = &mut self.books.get_mut(&number).expect("held").1;
        book.proven = self.now;
        let result = if is_good {
            Ok(())
        } else {
            book.is_broken = true;
            Err(CheckError::new("no answer"))
        };
        self.store.checked_share(key, Some(result), self.now);
    }

    fn close_ends(&mut self, which: usize) {
        if !self.closes.is_empty() {
            let key = self.closes.swap_remove(which % self.closes.len());
            let _: bool = self.store.release(key);
        }
    }

    /// Carries out what is owed, and lets waiters look, the oldest first.
    fn carry_out(&mut self) {
        drop(self.store.take_served());
        let effects = self.store.take_effects();
        for errand in effects.into_iter().flat_map(|effects| effects.errands) {
            match errand {
                Errand::Close(key, _) => {
                    let number = self.number_of(key);
                    let (_, book) = self.books.remove(&number).expect("closed once");
                    assert_eq!(book.leases, 0, "not while it is lent");
                    assert!(!self.checks.contains(&key), "not while it is checked");
                    self.closes.push(key);
                }
                Errand::Upkeep(key) => self.checks.push(key),
                Errand::Weigh(_) => unreachable!("nothing is weighed here"),
            }
        }
        let mut is_anybody_left_behind = false;
        for key in std::mem::take(&mut self.waiting) {
            match self.store.poll_waiter(key, Waker::noop()) {
                Found::Waiting | Found::Moved => {
                    is_anybody_left_behind = true;
                    self.waiting.push_back(key);
                }
                Found::Done(WaitEnd::Served(key), _) => {
                    assert!(!is_anybody_left_behind, "who came first is served first");
                    self.accept(key);
                }
                Found::Done(WaitEnd::Refused(refusal, _), _) => {
                    assert!(!self.is_closed || refusal == Refusal::Closed);
                }
            }
        }
    }

    fn accept(&mut self, share: ShareKey) {
        match self.store.accept_share(share) {
            Ok(()) => self.lent(share),
            Err(condition) => self.store.give_back_share(share, condition),
        }
    }

    fn assert_books(&self) {
        for (key, book) in self.books.values() {
            let record = self.store.slots.get(*key);
            assert_eq!(record.load, book.leases, "leases of {}", book.id);
        }
        let leases: u32 = self.books.values().map(|(_, book)| book.leases).sum();
        assert_eq!(self.store.status().leases, leases as usize);
        assert!(
            !self.is_closed || self.waiting.is_empty(),
            "nobody waits for a closed pool"
        );
        let is_kept =
            |(key, book): &(SlotKey, Expected)| book.leases > 0 || self.checks.contains(key);
        assert!(
            !self.is_closed || self.books.values().all(is_kept),
            "a closed pool has nothing idle"
        );
    }

    /// When nothing goes wrong any more, everybody is served and nothing of the capacity is lost.
    pub(super) fn recover(&mut self) {
        // It would mark connections that are filled below.
        if let Some(renewal) = self.renewal.take() {
            self.store.remove_goal(renewal);
        }
        for number in self.books.keys().copied().collect::<Vec<_>>() {
            self.suspect(number, false);
            self.carry_out();
        }
        self.come_to_rest();
        assert!(self.waiting.is_empty(), "{:?}", self.store.status());
        let max_size = self.store.limits.max_size;
        assert!(self.store.slots.len() <= max_size, "the surge is over");
        // None of these has been lent before, so none is spent.
        self.perform(Op::EvictAll);
        self.open_all();
        let each = u64::from(self.sharing.max_leases).min(self.max_uses);
        let capacity = max_size * usize::try_from(each).expect("few");
        for _ in 0..capacity {
            self.perform(Op::Acquire);
            self.open_all();
        }
        assert!(self.waiting.is_empty(), "{:?}", self.store.status());
        assert_eq!(self.held.len(), capacity, "{:?}", self.store.status());
        self.come_to_rest();
    }

    fn come_to_rest(&mut self) {
        loop {
            while !self.held.is_empty() {
                self.perform(Op::Return(0, Condition::Clean));
            }
            while !self.checks.is_empty() {
                self.perform(Op::CheckEnds(0, true));
            }
            self.open_all();
            if self.held.is_empty() && self.checks.is_empty() {
                break;
            }
        }
    }

    fn open_all(&mut self) {
        for _ in 0..ROUNDS_TO_OPEN {
            while !self.closes.is_empty() {
                self.perform(Op::CloseEnds(0));
            }
            // After the delay that a failure may have caused.
            self.now = self.now.after(Duration::from_millis(1));
            self.perform(Op::Open);
            while !self.openings.is_empty() {
                self.perform(Op::ConnectSucceeds(0));
            }
        }
    }

    /// Everything is returned, and nothing is left.
    pub(super) fn end(&mut self) {
        self.perform(Op::Close);
        while !self.held.is_empty() {
            self.perform(Op::Return(0, Condition::Clean));
        }
        while !self.checks.is_empty() {
            self.perform(Op::CheckEnds(0, true));
        }
        for opening in std::mem::take(&mut self.openings) {
            let _: bool = self.store.release(opening.key);
        }
        self.carry_out();
        while !self.closes.is_empty() {
            self.perform(Op::CloseEnds(0));
        }
        assert!(self.store.is_finished(), "{:?}", self.store.status());
    }
}
