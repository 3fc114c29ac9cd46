//! Many callers, and children that are killed at random: every request ends as its own right answer
//! or as a typed error, none twice and none not at all, and all is as before when the killing stops.
//!
//! Callers ask as fast as they are answered, through three phases: calm, killing, calm again. Each
//! request is a line that nobody else sends, so that a reply which went astray, was lost, or came
//! twice, is a wrong answer to somebody.
//!
//! As many callers ask another pool meanwhile, whose children are left alone: none of their requests
//! may fail, and they are what the throughput is compared with, tenth by tenth of a second. A
//! machine that gives less to both has not disturbed the comparison.

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

/// What is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many ask at once.
    pub callers: u64,
    /// The pool's `max_size`; `min_idle` is half of it.
    pub children: usize,
    /// How long the callers are left in peace, before and again afterwards.
    pub calm: Duration,
    /// How long children are killed.
    pub killing: Duration,
    /// From one SIGKILL to the next, on average: the gaps are evenly distributed up to twice that.
    pub gap: Duration,
    /// One request in so many is given up as soon as it was written, while children are killed.
    pub given_up_one_in: Option<u64>,
    /// Decides who is killed, and who gives up; when, is up to the machine.
    pub seed: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Requests that were begun.
    pub asked: u64,
    /// Those that got their own answer.
    pub answered: u64,
    /// Those that ended as a typed error of their child's death.
    pub failed: u64,
    /// Those that were given up.
    pub given_up: u64,
    /// Acquires that were refused: no child could be had at that moment.
    pub refused: u64,
    /// How many were killed.
    pub kills: u64,
    /// The throughput before the killing.
    pub before: Throughput,
    /// While children were killed.
    pub meanwhile: Throughput,
    /// Afterwards, from one second after the last kill.
    pub after: Throughput,
    /// From the last kill to the end of the first tenth of a second with half the share of before.
    pub recovered_after: Option<Duration>,
    /// How late the machine woke an innocent thread, in all.
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

impl Outcome {
    /// Every request ended once, and the throughput came back.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_right(&self) {
        assert_eq!(
            self.asked,
            self.answered + self.failed + self.given_up,
            "{self}"
        );
        assert!(self.answered > 0 && self.kills > 0, "{self}");
        let limit = RECOVERY + self.lateness;
        assert!(
            self.recovered_after.is_some_and(|time| time <= limit),
            "{self}"
        );
        assert!(self.recovery() >= RECOVERED, "{self}");
    }

    /// The share afterwards over that before.
    #[must_use]
    pub fn recovery(&self) -> f64 {
        self.after.share / self.before.share
    }
}

impl fmt::Display for Outcome {
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

/// Plays it, and closes both pools. The children of both connectors echo lines; those of the second
/// one are left alone.
///
/// # Panics
///
/// If a caller gets somebody else's answer, or an error that is none of its own child's death.
pub async fn play(killed: StdioConnector, spared: StdioConnector, plan: Plan) -> Outcome {
    let (children, others) = (killed.children(), spared.children());
    let (pool, other) = (pool(killed, plan).await, pool(spared, plan).await);
    let pulse = Pulse::start();
    let shared = Arc::new(Shared::default());
    let mut callers = JoinSet::new();
    for actor in 0..plan.callers {
        let chance = Chance {
            seed: plan.seed,
            actor,
        };
        callers.spawn(ask(pool.clone(), Arc::clone(&shared), chance, plan));
        callers.spawn(ask_in_peace(other.clone(), Arc::clone(&shared), actor));
    }
    let begun = Instant::now();
    let mut sampler = JoinSet::new();
    sampler.spawn(sample(Arc::clone(&shared)));
    sleep_until(begun + plan.calm).await;
    shared.is_killing.store(true, Ordering::Relaxed);
    let kills = destroy(&children, plan, Instant::now() + plan.killing).await;
    shared.is_killing.store(false, Ordering::Relaxed);
    let stopped = Instant::now();
    sleep_until(stopped + RECOVERY + plan.calm).await;
    shared.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller has seen anything wrong");
    }
    let samples = sampler.join_next().await.expect("there is one");
    let samples = samples.expect("the sampler does not panic");
    assert_whole(&pool, plan).await;
    for (pool, children) in [(pool, children), (other, others)] {
        pool.close(Duration::from_secs(10)).await;
        children.emptied().await;
    }
    let calm = begun + plan.calm;
    let before = throughput(&samples, |at| at <= calm);
    Outcome {
        asked: shared.asked.load(Ordering::Relaxed),
        answered: shared.answered.load(Ordering::Relaxed),
        failed: shared.failed.load(Ordering::Relaxed),
        given_up: shared.given_up.load(Ordering::Relaxed),
        refused: shared.refused.load(Ordering::Relaxed),
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
        .expect("these settings are valid");
    let warm = pool.warm_up(plan.children).await;
    warm.expect("nothing is killed yet");
    pool
}

/// All of its capacity is there, and works.
async fn assert_whole(pool: &Pool, plan: Plan) {
    let mut leases = Vec::new();
    for _ in 0..plan.children {
        leases.push(pool.acquire().await.expect("nothing is killed any more"));
    }
    for (number, lease) in leases.iter_mut().enumerate() {
        let line = format!("after {number}");
        let reply = lease.request(line.clone()).await;
        assert_eq!(reply.expect("nothing is killed any more").bytes, line);
    }
    assert_eq!(pool.status().size(), plan.children);
}

#[derive(Debug, Default)]
struct Shared {
    is_killing: AtomicBool,
    is_over: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    refused: AtomicU64,
    /// By the pool that is left alone.
    answered_in_peace: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

async fn ask(pool: Pool, shared: Arc<Shared>, chance: Chance, plan: Plan) {
    let caller = chance.actor;
    for number in 0.. {
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut lease = match pool.acquire().await {
            Ok(lease) => lease,
            Err(error) => {
                assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
                add(&shared.refused);
                tokio::task::yield_now().await;
                continue;
            }
        };
        add(&shared.asked);
        let is_given_up = plan
            .given_up_one_in
            .is_some_and(|count| chance.is_one_in(count, number))
            && shared.is_killing.load(Ordering::Relaxed);
        let line = format!("caller {caller} number {number}");
        let polls = if is_given_up { 1 } else { usize::MAX };
        let asked = poll_times(lease.request(line.clone()), polls);
        match timeout(PATIENCE, asked)
            .await
            .expect("an answer or an error")
        {
            Some(Ok(reply)) => {
                assert_eq!(reply.bytes, line, "somebody else's answer");
                add(&shared.answered);
            }
            Some(Err(error)) => {
                assert!(is_a_death(&error), "{error}");
                assert!(lease.is_dirty());
                add(&shared.failed);
            }
            None => {
                assert!(lease.is_dirty());
                add(&shared.given_up);
            }
        }
    }
}

/// What others do to their pool does not concern these.
async fn ask_in_peace(pool: Pool, shared: Arc<Shared>, caller: u64) {
    for number in 0.. {
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut lease = pool.acquire().await.expect("nobody kills these");
        let line = format!("bystander {caller} number {number}");
        let reply = timeout(PATIENCE, lease.request(line.clone())).await;
        let reply = reply.expect("an answer").expect("nobody kills these");
        assert_eq!(reply.bytes, line, "somebody else's answer");
        add(&shared.answered_in_peace);
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

/// Kills, and says how many.
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

/// Answers in a short time.
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

async fn sample(shared: Arc<Shared>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let (mut from, mut before) = (Instant::now(), (0, 0));
    while !shared.is_over.load(Ordering::Relaxed) {
        sleep_until(from + SAMPLE).await;
        let now = (
            shared.answered.load(Ordering::Relaxed),
            shared.answered_in_peace.load(Ordering::Relaxed),
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

/// Of the samples that ended when it is asked for.
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

/// How soon the throughput must be back.
const RECOVERY: Duration = Duration::from_secs(1);
/// How much of it.
const RECOVERED: f64 = 0.5;
const SAMPLE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
