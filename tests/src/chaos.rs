//! Many callers, and children that are killed at random. Every request ends once: with its own answer or
//! with a typed error. After the killing the throughput comes back, as the soak program checks.
//!
//! Callers send requests as fast as they are answered, through three phases: calm, killing, calm again.
//! Each request is a line that no other request has. So a reply that went to the wrong request, was lost,
//! or came twice, shows as a wrong answer.
//!
//! Meanwhile as many callers use a second pool, whose children are not killed. None of their requests may
//! fail, and the throughput is compared with theirs, for each tenth of a second. So a machine that slows
//! down both pools does not change the comparison.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{AcquireError, ConnectionPool};
use pool_stdio::{Children, StdioConnection, StdioConnector, StdioError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::children::{Pulse, eager, kill, poll_times};
use crate::random::Chance;

type Pool = ConnectionPool<StdioConnection>;

/// The settings of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many callers there are.
    pub callers: u64,
    /// The pool's `max_size`; `min_idle` is half of it.
    pub children: usize,
    /// How long no child is killed, before and again afterwards.
    pub calm: Duration,
    /// How long children are killed.
    pub killing: Duration,
    /// The average time from one SIGKILL to the next. The gaps are evenly distributed up to twice that.
    pub gap: Duration,
    /// While children are killed, one request in this many is dropped as soon as it was written.
    pub given_up_one_in: Option<u64>,
    /// Decides which child is killed and which request is dropped. When that happens depends on the machine.
    pub seed: u64,
}

/// The outcome of a run.
#[derive(Debug, Clone, Copy)]
pub struct ChaosReport {
    /// Requests that were sent.
    pub asked: u64,
    /// Requests that got their own answer.
    pub answered: u64,
    /// Requests that ended with a typed error, because their child died.
    pub failed: u64,
    /// Requests that were dropped.
    pub given_up: u64,
    /// Acquires that were refused because no child was there at that moment.
    pub refused: u64,
    /// How many children were killed.
    pub kills: u64,
    /// The throughput before the killing.
    pub before: Throughput,
    /// While children were killed.
    pub meanwhile: Throughput,
    /// Afterwards, from one second after the last kill.
    pub after: Throughput,
    /// From the last kill to the end of the first tenth of a second with half the share of before.
    pub recovered_after: Option<Duration>,
    /// How late the machine was in all, as [`Pulse`] measures it.
    pub lateness: Duration,
}

/// The median of tenths of a second.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    /// Answers per second.
    pub per_second: f64,
    /// Answers for each answer of the pool that is left alone.
    pub share: f64,
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s ({:.2} of the other)",
            self.per_second, self.share
        )
    }
}

impl ChaosReport {
    /// Checks that every request ended once.
    ///
    /// # Panics
    ///
    /// If not, with the whole report.
    #[track_caller]
    pub fn assert_right(&self) {
        assert_eq!(
            self.asked,
            self.answered + self.failed + self.given_up,
            "{self}"
        );
        assert!(self.answered > 0 && self.kills > 0, "{self}");
    }

    /// Whether the throughput came back in time. On a busy machine it can come back later.
    #[must_use]
    pub fn has_recovered(&self) -> bool {
        let limit = RECOVERY + self.lateness;
        self.recovered_after.is_some_and(|time| time <= limit) && self.recovery() >= RECOVERED
    }

    /// The share afterwards over that before.
    #[must_use]
    pub fn recovery(&self) -> f64 {
        self.after.share / self.before.share
    }
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} asked: {} answered, {} failed, {} given up; {} acquires refused; {} kills",
            self.asked, self.answered, self.failed, self.given_up, self.refused, self.kills
        )?;
        write!(
            f,
            "before {}, meanwhile {}, after {}: {:.2} of before; recovered after {:?} (limit \
             {RECOVERY:?}); the machine was {:?} late",
            self.before,
            self.meanwhile,
            self.after,
            self.recovery(),
            self.recovered_after,
            self.lateness
        )
    }
}

/// Runs it, and closes both pools. The children of both connectors echo lines. Those of the second one are
/// not killed.
///
/// # Panics
///
/// If a caller gets the answer to another request, or an error that does not come from its child's death.
pub async fn play(killed: StdioConnector, spared: StdioConnector, plan: Plan) -> ChaosReport {
    let (children, others) = (killed.children(), spared.children());
    let (pool, other) = (pool(killed, plan).await, pool(spared, plan).await);
    let pulse = Pulse::start();
    let tally = Arc::new(Tally::default());
    let mut callers = JoinSet::new();
    for actor in 0..plan.callers {
        let chance = Chance {
            seed: plan.seed,
            actor,
        };
        callers.spawn(ask(pool.clone(), Arc::clone(&tally), chance, plan));
        callers.spawn(ask_in_peace(other.clone(), Arc::clone(&tally), actor));
    }
    let begun = Instant::now();
    let mut sampler = JoinSet::new();
    sampler.spawn(sample(Arc::clone(&tally)));
    sleep_until(begun + plan.calm).await;
    tally.is_killing.store(true, Ordering::Relaxed);
    let kills = destroy(&children, plan, Instant::now() + plan.killing).await;
    tally.is_killing.store(false, Ordering::Relaxed);
    let stopped = Instant::now();
    sleep_until(stopped + RECOVERY + plan.calm).await;
    tally.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller got a wrong answer");
    }
    let samples = sampler.join_next().await.expect("the sampler was started");
    let samples = samples.expect("the sampler does not panic");
    assert_whole(&pool, plan).await;
    for (pool, children) in [(pool, children), (other, others)] {
        pool.close(Duration::from_secs(10)).await;
        children.emptied().await;
    }
    let calm = begun + plan.calm;
    let before = throughput(&samples, |at| at <= calm);
    ChaosReport {
        asked: tally.asked.load(Ordering::Relaxed),
        answered: tally.answered.load(Ordering::Relaxed),
        failed: tally.failed.load(Ordering::Relaxed),
        given_up: tally.given_up.load(Ordering::Relaxed),
        refused: tally.refused.load(Ordering::Relaxed),
        kills,
        before,
        meanwhile: throughput(&samples, |at| at > calm && at <= stopped),
        after: throughput(&samples, |at| at > stopped + RECOVERY),
        recovered_after: samples
            .iter()
            .find(|one| one.from >= stopped && one.share() >= before.share * RECOVERED)
            .map(|one| one.to - stopped),
        lateness: pulse.stop(),
    }
}

async fn pool(connector: StdioConnector, plan: Plan) -> Pool {
    let pool = eager(ConnectionPool::builder(connector))
        .max_size(plan.children)
        .min_idle(plan.children.div_ceil(2))
        .build()
        .expect("the settings are valid");
    let warm = pool.warm_up(plan.children).await;
    warm.expect("the killing has not begun");
    pool
}

/// Checks that the whole capacity can be lent, and that every child answers.
async fn assert_whole(pool: &Pool, plan: Plan) {
    let mut leases = Vec::new();
    for _ in 0..plan.children {
        leases.push(pool.acquire().await.expect("the killing has ended"));
    }
    for (number, lease) in leases.iter_mut().enumerate() {
        let line = format!("after {number}");
        let reply = lease.request(line.clone()).await;
        assert_eq!(reply.expect("the killing has ended").bytes, line);
    }
    assert_eq!(pool.status().size(), plan.children);
}

#[derive(Debug, Default)]
struct Tally {
    is_killing: AtomicBool,
    is_over: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    refused: AtomicU64,
    /// By the pool whose children are not killed.
    answered_in_peace: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

async fn ask(pool: Pool, tally: Arc<Tally>, chance: Chance, plan: Plan) {
    let caller = chance.actor;
    for number in 0.. {
        if tally.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut lease = match pool.acquire().await {
            Ok(lease) => lease,
            Err(error) => {
                assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                add(&tally.refused);
                tokio::task::yield_now().await;
                continue;
            }
        };
        add(&tally.asked);
        let is_given_up = plan
            .given_up_one_in
            .is_some_and(|count| chance.is_one_in(count, number))
            && tally.is_killing.load(Ordering::Relaxed);
        let line = format!("caller {caller} number {number}");
        let polls = if is_given_up { 1 } else { usize::MAX };
        let asked = poll_times(lease.request(line.clone()), polls);
        match timeout(PATIENCE, asked)
            .await
            .expect("an answer or an error")
        {
            Some(Ok(reply)) => {
                assert_eq!(reply.bytes, line, "the answer to another request");
                add(&tally.answered);
            }
            Some(Err(error)) => {
                assert!(is_a_death(&error), "{error}");
                assert!(lease.is_dirty());
                add(&tally.failed);
            }
            None => {
                assert!(lease.is_dirty());
                add(&tally.given_up);
            }
        }
    }
}

/// A caller of the pool whose children are not killed.
async fn ask_in_peace(pool: Pool, tally: Arc<Tally>, caller: u64) {
    for number in 0.. {
        if tally.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut lease = pool.acquire().await.expect("these children are not killed");
        let line = format!("bystander {caller} number {number}");
        let reply = timeout(PATIENCE, lease.request(line.clone())).await;
        let reply = reply
            .expect("an answer")
            .expect("these children are not killed");
        assert_eq!(reply.bytes, line, "the answer to another request");
        add(&tally.answered_in_peace);
    }
}

const fn is_a_death(error: &StdioError) -> bool {
    matches!(
        error,
        StdioError::Exited { .. }
            | StdioError::OutputClosed { .. }
            | StdioError::InputClosed { .. }
    )
}

/// Kills children until then. Returns how many.
async fn destroy(children: &Children, plan: Plan, until: Instant) -> u64 {
    let chance = Chance {
        seed: plan.seed,
        actor: plan.callers,
    };
    let mut kills = 0;
    let mut next = Instant::now();
    for number in 0.. {
        let part = f64::from(u32::try_from(chance.number(2 * number) >> 32).unwrap_or(0));
        next += plan.gap.mul_f64(2.0 * part / f64::from(u32::MAX));
        if next >= until {
            break;
        }
        sleep_until(next).await;
        let pids = children.pids();
        let which = chance.number(2 * number + 1) % pids.len().max(1) as u64;
        if let Some(pid) = usize::try_from(which).ok().and_then(|one| pids.get(one)) {
            kill(*pid);
            kills += 1;
        }
    }
    sleep_until(until).await;
    kills
}

/// The answers of both pools during a tenth of a second.
#[derive(Debug, Clone, Copy)]
struct Sample {
    from: Instant,
    to: Instant,
    answers: u64,
    in_peace: u64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 answers")]
impl Sample {
    fn per_second(&self) -> f64 {
        self.answers as f64 / (self.to - self.from).as_secs_f64()
    }

    fn share(&self) -> f64 {
        self.answers as f64 / self.in_peace.max(1) as f64
    }
}

async fn sample(tally: Arc<Tally>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let (mut from, mut before) = (Instant::now(), (0, 0));
    while !tally.is_over.load(Ordering::Relaxed) {
        sleep_until(from + SAMPLE).await;
        let now = (
            tally.answered.load(Ordering::Relaxed),
            tally.answered_in_peace.load(Ordering::Relaxed),
        );
        let to = Instant::now();
        samples.push(Sample {
            from,
            to,
            answers: now.0 - before.0,
            in_peace: now.1 - before.1,
        });
        (from, before) = (to, now);
    }
    samples
}

/// The median of the samples that `is_in` selects by their end.
fn throughput(samples: &[Sample], is_in: impl Fn(Instant) -> bool) -> Throughput {
    let samples = || samples.iter().filter(|one| is_in(one.to));
    Throughput {
        per_second: median(samples().map(Sample::per_second)),
        share: median(samples().map(Sample::share)),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How soon after the killing the throughput must be back.
const RECOVERY: Duration = Duration::from_secs(1);
/// The part of the earlier throughput that must be back.
const RECOVERED: f64 = 0.5;
const SAMPLE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
