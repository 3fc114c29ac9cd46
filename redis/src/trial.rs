//! One trial: callers use a pool, the server fails for a while, and comes back.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::BoxError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::pools::{CallError, RedisPool};
use crate::server::Server;

/// How the server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It is killed, and started again: connects are refused meanwhile.
    Killed,
    /// It is stopped, and continued: connects are accepted, and nothing is answered.
    Stopped,
}

impl Failure {
    /// How long the server is away. A server that is stopped is away for longer than callers wait by
    /// default, which is 30 s in `pool-core` and in bb8.
    const fn away(self) -> Duration {
        match self {
            Self::Killed => Duration::from_secs(3),
            Self::Stopped => Duration::from_secs(33),
        }
    }
}

/// What the callers of one pool saw.
#[derive(Debug, Clone)]
pub struct Report {
    /// The pool.
    pub pool: &'static str,
    /// How the server failed.
    pub failure: Failure,
    /// From the server's return to the first success.
    pub first_success: Option<Duration>,
    /// From the server's return until each caller had a success.
    pub all_served: Option<Duration>,
    /// Calls that failed, until each caller had a success again.
    pub errors: usize,
    /// How many of these errors say nothing of the server: no cause, and no connect that goes on.
    pub errors_without_cause: usize,
    /// The longest call that failed.
    pub longest_error: Duration,
    /// The texts of errors, with their causes, and how often each came.
    pub texts: BTreeMap<String, usize>,
    /// Connects that began while the server was away.
    pub connects: u64,
}

/// Runs one trial on a server of its own. `None` if there is no program for a server.
///
/// # Errors
///
/// If the server or the pool does not start, or the calls fail before the server does.
///
/// # Cancel safety
///
/// A trial that is dropped kills its server.
pub async fn run<P: RedisPool>(failure: Failure) -> Result<Option<Report>, BoxError> {
    let Some(mut server) = Server::start(&[]).await? else {
        return Ok(None);
    };
    let pool = P::build(server.address(), CONNECTIONS).await?;
    pool.increment().await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(pool.clone(), Arc::clone(&over)));
    }
    sleep(CALM).await;

    let (gone, before) = (Instant::now(), pool.connects());
    match failure {
        Failure::Killed => server.kill().await?,
        Failure::Stopped => server.stop()?,
    }
    sleep_until(gone + failure.away()).await;
    let connects = pool.connects() - before;
    match failure {
        Failure::Killed => server.restart().await?,
        Failure::Stopped => server.go_on()?,
    }
    let back = Instant::now();
    sleep_until(back + WATCHED).await;
    over.store(true, Ordering::Relaxed);
    let mut calls = Vec::new();
    while let Some(caller) = callers.join_next().await {
        calls.push(caller?);
    }
    let mut report = judge(&calls, gone, back);
    report.pool = P::NAME;
    report.failure = failure;
    report.connects = connects;
    Ok(Some(report))
}

/// One call.
#[derive(Debug)]
struct Call {
    begun: Instant,
    ended: Instant,
    error: Option<SeenError>,
}

/// An error as it is reported.
#[derive(Debug)]
struct SeenError {
    /// With its causes.
    text: String,
    has_cause: bool,
}

/// A caller: one call after the other, with a pause after each failure, as a program would make it.
async fn call<P: RedisPool>(pool: P, over: Arc<AtomicBool>) -> Vec<Call> {
    let mut calls = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let result = pool.increment().await;
        let ended = Instant::now();
        let error = result.err().map(|error| SeenError::of(&error));
        let pause = if error.is_some() {
            PAUSE
        } else {
            Duration::from_millis(1)
        };
        calls.push(Call {
            begun,
            ended,
            error,
        });
        sleep(pause).await;
    }
    calls
}

fn judge(callers: &[Vec<Call>], gone: Instant, back: Instant) -> Report {
    let is_success = |call: &&Call| call.error.is_none() && call.ended >= back;
    let served = callers.iter().map(|calls| {
        let first = calls.iter().find(is_success)?;
        Some(first.ended - back)
    });
    let served: Vec<Option<Duration>> = served.collect();
    let all_served = served.iter().copied().collect::<Option<Vec<_>>>();
    let all_served = all_served.and_then(|times| times.into_iter().max());
    let end = all_served.map_or(back + WATCHED, |time| back + time);
    let mut report = Report {
        pool: "",
        failure: Failure::Killed,
        first_success: served.iter().flatten().min().copied(),
        all_served,
        errors: 0,
        errors_without_cause: 0,
        longest_error: Duration::ZERO,
        texts: BTreeMap::new(),
        connects: 0,
    };
    for call in callers.iter().flatten() {
        if let Some(error) = &call.error
            && call.ended >= gone
            && call.begun <= end
        {
            report.errors += 1;
            report.longest_error = report.longest_error.max(call.ended - call.begun);
            report.errors_without_cause += usize::from(!error.has_cause);
            *report.texts.entry(error.text.clone()).or_default() += 1;
        }
    }
    report
}

impl SeenError {
    /// An error with its causes, without what differs from call to call.
    fn of(error: &CallError) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let text = text.chars();
        let text = text.map(|char| if char.is_ascii_digit() { '0' } else { char });
        Self {
            text: text.collect(),
            has_cause: match error {
                // A pool can name the last failure, or the connect that it waits for.
                CallError::Acquire(error) => {
                    error.source().is_some() || error.to_string().contains("connect (")
                }
                CallError::Command(_) => true,
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<Duration>| match time {
            Some(time) => format!("{:.2} s", time.as_secs_f64()),
            None => format!("not in {WATCHED:?}"),
        };
        write!(
            f,
            "{:16} {:8} first {:>9}  all {:>9}  errors {:>5}  without cause {:>5}  longest {:>7.2} s  \
             connects {:>5}",
            self.pool,
            format!("{:?}", self.failure),
            seconds(self.first_success),
            seconds(self.all_served),
            self.errors,
            self.errors_without_cause,
            self.longest_error.as_secs_f64(),
            self.connects
        )
    }
}

const CALLERS: usize = 8;
const CONNECTIONS: u32 = 4;
/// How long the server serves before it fails.
const CALM: Duration = Duration::from_secs(1);
/// How long the callers are watched after the server came back.
const WATCHED: Duration = Duration::from_secs(6);
/// A caller's pause after a failed call.
const PAUSE: Duration = Duration::from_millis(10);
