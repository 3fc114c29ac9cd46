//! An actor: one of several tasks that use the pool at random.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pool_core::{AcquireError, ResizeError, TryAcquireError, WarmUpError};
use pool_tests::random::SplitMix64;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::kind::SoupPool;
use crate::polling::{poll_once_each, poll_some};
use crate::scenario::RuntimeKind;
use crate::world::World;

pub(crate) struct Actor<P: SoupPool> {
    world: Arc<World<P>>,
    pool: P,
    numbers: SplitMix64,
}

impl<P: SoupPool> Actor<P> {
    pub(crate) fn new(world: &Arc<World<P>>, pool: &P, number: u64) -> Self {
        Self {
            world: Arc::clone(world),
            pool: pool.clone(),
            numbers: SplitMix64::derived(world.scenario.plan.seed(), [65, number]),
        }
    }

    pub(crate) async fn run(mut self) {
        for _ in 0..self.world.scenario.steps {
            self.step().await;
            self.world.step();
        }
    }

    async fn step(&mut self) {
        match self.below(100) {
            0..30 => self.acquire().await,
            30..43 => self.acquire_and_cancel().await,
            43..50 => self.try_acquire().await,
            50..56 => self.acquire_several().await,
            56..62 => self.resize(),
            62..63 => drop(self.pool.evict_all()),
            63..66 => self.retain(),
            66..71 => self.warm_up().await,
            71..73 => self.evict_all_within().await,
            73..79 => self.look(),
            79..84 => self.harm_a_connection(),
            84..88 => self.replace_handle(),
            88..93 => drop(self.world.unstash()),
            _ => self.rest(120).await,
        }
    }

    async fn acquire(&mut self) {
        let limit = match self.below(3) {
            0 => self.world.scenario.acquire_timeout(),
            1 => self.draw_time(12),
            _ => Duration::ZERO,
        };
        let began = Instant::now();
        let result = self.pool.acquire_within(limit).await;
        match result {
            Ok(lease) => self.hold(lease).await,
            Err(error) => self.check_error(&error, began.elapsed(), limit),
        }
    }

    /// Some of them are dropped on the way, or taken over by others.
    async fn evict_all_within(&mut self) {
        let (time, patience) = (self.draw_time(20), self.draw_time(40));
        let renewal = self.pool.evict_all_within(time);
        if let Ok(report) = timeout(patience, renewal).await {
            assert!(!report.is_closed || self.pool.status().is_closed);
        }
    }

    async fn acquire_and_cancel(&mut self) {
        let (polls, wakes) = (self.draw(4), self.below(2) == 0);
        let patience = self.draw_time(20);
        let acquire = self.pool.acquire();
        let result = poll_some(acquire, polls, wakes, patience).await;
        if let Some(Ok(lease)) = result {
            self.hold(lease).await;
        }
    }

    async fn try_acquire(&mut self) {
        match self.pool.try_acquire() {
            Ok(lease) => self.hold(lease).await,
            Err(TryAcquireError::Empty { status, .. }) => assert!(!status.is_closed),
            Err(error) => assert!(self.world.is_ending(), "{error}"),
        }
    }

    /// Makes several acquires in one task, and drops them in a random order.
    async fn acquire_several(&mut self) {
        let pool = self.pool.clone();
        let mut acquires = Vec::new();
        let patience = self.world.scenario.units(3);
        for _ in 0..=self.draw(5) {
            acquires.push(pool.acquire_within(patience * 3));
        }
        let mut leases = Vec::new();
        while !acquires.is_empty() {
            let chosen = self.draw_place(acquires.len());
            let acquire = acquires.swap_remove(chosen);
            let (polls, wakes) = (self.draw(3), self.below(2) == 0);
            // The others are polled once, so they are in the queue.
            for lease in poll_once_each(&mut acquires).await {
                self.world.receive(&lease);
                leases.push(lease);
            }
            let result = poll_some(acquire, polls, wakes, patience).await;
            if let Some(Ok(lease)) = result {
                self.world.receive(&lease);
                leases.push(lease);
            }
        }
        for lease in leases {
            self.let_go(lease);
        }
    }

    async fn hold(&mut self, lease: P::Lease) {
        self.world.receive(&lease);
        match self.below(4) {
            0 => {}
            1 => self.rest(6).await,
            _ => {
                for _ in 0..self.below(4) {
                    yield_now().await;
                }
            }
        }
        self.let_go(lease);
    }

    fn let_go(&mut self, lease: P::Lease) {
        match self.below(100) {
            0..40 => drop(lease),
            40..50 => {
                lease.mark_needs_reset();
                drop(lease);
            }
            50..58 => {
                self.world.spoil(&lease);
                lease.mark_dirty();
                drop(lease);
            }
            58..65 => {
                self.world.spoil(&lease);
                lease.die();
                drop(lease);
            }
            65..72 => {
                self.world.spoil(&lease);
                P::discard(lease);
            }
            72..79 => P::part(&self.world, lease),
            79..85 => {
                let end = catch_unwind(AssertUnwindSafe(|| {
                    let _lease = lease;
                    panic!("a holder was told to panic");
                }));
                drop(end);
            }
            85..90 => self.world.drop_elsewhere(lease),
            _ => self.world.stash(lease),
        }
    }

    fn resize(&mut self) {
        let sizes = self.world.scenario.largest() + 1;
        let max_size = self.draw_place(sizes);
        match self.pool.resize(max_size) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, ResizeError::Closed);
                assert!(self.world.is_ending());
            }
        }
    }

    fn retain(&mut self) {
        let limit = self.draw_time(20);
        let (pool, spare) = (self.pool.clone(), self.below(2) == 0);
        let picked = self.pool.retain(|stats| {
            assert!(stats.idle_for.is_none_or(|idle_for| idle_for <= stats.age));
            // The predicate may use the pool.
            spare || pool.status().idle > 2 || stats.age < limit
        });
        assert!(!spare || picked == 0);
    }

    async fn warm_up(&mut self) {
        let sizes = self.world.scenario.largest() + 1;
        let wanted = self.draw_place(sizes);
        let (polls, wakes) = (self.draw(4), self.below(2) == 0);
        let patience = self.draw_time(30);
        let warm_up = self.pool.warm_up(wanted);
        match poll_some(warm_up, polls, wakes, patience).await {
            Some(Err(WarmUpError::Connect { open, wanted, .. })) => assert!(open < wanted),
            Some(Err(WarmUpError::TooMany { wanted, max_size })) => assert!(wanted > max_size),
            Some(Err(WarmUpError::Closed)) => assert!(self.world.is_ending()),
            Some(Ok(()) | Err(_)) | None => {}
        }
    }

    fn look(&mut self) {
        let status = self.pool.status();
        P::assert_status(&self.world.scenario, &status);
        assert!(!status.is_closed || self.world.is_ending(), "{status}");
        assert!(!format!("{:?}", self.pool).is_empty());
    }

    fn harm_a_connection(&mut self) {
        let alive = self.world.fake.alive();
        if alive.is_empty() {
            return;
        }
        let id = alive[self.draw_place(alive.len())];
        // It may be gone by now.
        let _was_there = match self.below(P::HARMS) {
            0 => self.world.fake.kill(id),
            1 => self.world.fake.kill_silently(id),
            2 => self.world.fake.panic_on_drop(id),
            harm => self.world.fake.suspect(id, harm < 6),
        };
    }

    fn replace_handle(&mut self) {
        let spare = self.pool.clone();
        if self.below(2) == 0 {
            self.pool = spare;
        } else {
            self.world.drop_elsewhere(spare);
        }
    }

    async fn rest(&mut self, units_max: u32) {
        sleep(self.draw_time(units_max)).await;
    }

    fn check_error(&self, error: &AcquireError, waited: Duration, allowed: Duration) {
        let status = error.context().status;
        match error {
            AcquireError::Timeout { limit, .. } => {
                assert_eq!(*limit, allowed);
                assert!(waited >= allowed, "early, after {waited:?}: {error}");
                // Timers have a resolution of a millisecond, and a busy machine is late on the real clock.
                let is_late = waited > allowed + Duration::from_millis(2);
                let is_paused = self.world.scenario.runtime_kind == RuntimeKind::Paused;
                assert!(!is_late || !is_paused, "late, after {waited:?}: {error}");
            }
            // Those that it has may be marked for close, or suspected.
            AcquireError::Unavailable { .. } if P::IS_SHARED => assert_eq!(status.opening, 0),
            AcquireError::Unavailable { retry_after, .. } => {
                assert!(!retry_after.is_zero());
                // Of those that are lent, each is to be closed when it comes back.
                assert_eq!(status.idle + status.opening, 0, "{error}");
            }
            AcquireError::Closed { .. } => assert!(self.world.is_ending(), "{error}"),
            AcquireError::Overloaded { limit, .. } => assert!(status.waiting >= *limit),
            _ => {}
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.numbers.below(limit)
    }

    fn draw(&mut self, limit: u32) -> u32 {
        u32::try_from(self.below(u64::from(limit))).expect("it is below a `u32`")
    }

    fn draw_time(&mut self, units_max: u32) -> Duration {
        let units = self.draw(units_max);
        self.world.scenario.units(units)
    }

    fn draw_place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is below a `usize`")
    }
}

impl<P: SoupPool> Drop for Actor<P> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.world.fail();
        }
    }
}
