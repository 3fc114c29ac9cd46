//! The steps of a trial. Each of them is bounded, and each can end the trial.

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use pool_core::{
    BoxError, BoxFuture, CheckError, CloseReason, ConnectContext, ConnectError, ConnectionId,
    Connector, async_trait,
};
use tokio::time::{Instant, sleep, timeout};

use super::subject::Subject;

/// Why a trial cannot go on.
#[derive(Debug)]
pub(super) enum TrialError {
    /// The connector broke the rule.
    Broken(String),
    /// The subject does not say something that the trial needs.
    NotApplicable(String),
}

pub(super) type TrialResult<T = ()> = Result<T, TrialError>;

/// The trial of one rule.
pub(super) struct Trial<'a, C: Connector> {
    pub(super) subject: &'a Subject<C>,
    pub(super) connector: &'a Arc<C>,
}

pub(super) fn broken<T>(what: impl Into<String>) -> TrialResult<T> {
    Err(TrialError::Broken(what.into()))
}

/// Ends the trial unless this is true.
pub(super) fn demand(is_so: bool, otherwise: impl FnOnce() -> String) -> TrialResult {
    if is_so { Ok(()) } else { broken(otherwise()) }
}

/// Ends the trial, because the subject does not call this method.
pub(super) fn missing<T>(method: &str) -> TrialResult<T> {
    let why = format!("say how with `.{method}(..)`");
    Err(TrialError::NotApplicable(why))
}

impl<'a, C: Connector> Trial<'a, C> {
    pub(super) const fn of(subject: &'a Subject<C>) -> Self {
        let connector = &subject.connector;
        Self { subject, connector }
    }

    /// A number that was not used before.
    pub(super) fn next(&self) -> u64 {
        self.subject.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How long anything may take.
    pub(super) const fn limit(&self) -> Duration {
        self.subject.limit
    }

    pub(super) fn context(&self, time: Duration) -> ConnectContext {
        let id = ConnectionId::from_u64(self.next());
        ConnectContext::new(id, 1, Instant::now() + time)
    }

    /// Waits for something that must end within the limit.
    pub(super) async fn bounded<F: Future>(&self, what: &str, future: F) -> TrialResult<F::Output> {
        match timeout(self.subject.limit, future).await {
            Ok(output) => Ok(output),
            Err(_) => broken(format!(
                "{what} did not end within {:?}",
                self.subject.limit
            )),
        }
    }

    /// Waits until this is true, at most for the limit. No event announces it, so it is polled.
    pub(super) async fn soon(
        &self,
        otherwise: &str,
        mut is_so: impl FnMut() -> bool,
    ) -> TrialResult {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() >= self.subject.limit {
                return broken(format!("{otherwise} after {:?}", self.subject.limit));
            }
            // The time between two polls, not a guess at when it will be true.
            sleep(TICK).await;
        }
        Ok(())
    }

    pub(super) async fn open(&self) -> TrialResult<C::Connection> {
        let cx = self.context(self.subject.limit);
        let connecting = self.connector.connect(&cx);
        match self.bounded("connect", connecting).await? {
            Ok(conn) => Ok(conn),
            Err(error) => broken(format!("connect failed: {}", chain(&error))),
        }
    }

    pub(super) async fn close(&self, conn: C::Connection, reason: CloseReason) -> TrialResult {
        let what = format!("close for {reason}");
        self.bounded(&what, self.connector.close(conn, reason))
            .await
    }

    /// One exchange, whose answer must be its own.
    pub(super) async fn exchange_once(&self, conn: &mut C::Connection) -> TrialResult {
        let Some(exchange) = &self.subject.exchange else {
            return missing("exchange");
        };
        let number = self.next();
        match self.bounded("an exchange", exchange(conn, number)).await? {
            Ok(answer) if answer == number => Ok(()),
            Ok(answer) => broken(format!("asked for {number} and was answered {answer}")),
            Err(error) => broken(format!("an exchange failed: {}", chain(&*error))),
        }
    }

    /// One exchange, if the subject says how: for rules that are about something else.
    pub(super) async fn exchange_if_told(&self, conn: &mut C::Connection) -> TrialResult {
        match &self.subject.exchange {
            Some(_) => self.exchange_once(conn).await,
            None => Ok(()),
        }
    }

    pub(super) async fn kill_it(&self, conn: &C::Connection) -> TrialResult {
        let Some(kill) = &self.subject.kill else {
            return missing("kill");
        };
        self.bounded("the kill", kill(conn)).await
    }

    pub(super) fn resources_now(&self) -> TrialResult<Vec<String>> {
        match &self.subject.resources {
            Some(resources) => Ok(resources()),
            None => missing("resources"),
        }
    }

    /// Waits until no more resources exist than before.
    pub(super) async fn gone(&self, before: &[String], after: &str) -> TrialResult {
        let left = || self.left(before);
        let waited = self
            .soon("", || left().is_ok_and(|left| left.is_empty()))
            .await;
        match waited {
            Ok(()) => Ok(()),
            Err(_) => broken(format!(
                "{:?} left {after}, for {:?}",
                left()?,
                self.subject.limit
            )),
        }
    }

    /// The resources that exist now and did not before.
    pub(super) fn left(&self, before: &[String]) -> TrialResult<Vec<String>> {
        let mut now = self.resources_now()?;
        for name in before {
            if let Some(place) = now.iter().position(|left| left == name) {
                now.swap_remove(place);
            }
        }
        Ok(now)
    }

    /// Whether a pool would lend this returned connection again, after a reset if it needs one.
    pub(super) async fn would_be_lent_again(&self, conn: &mut C::Connection) -> TrialResult<bool> {
        let connector = &self.connector;
        if !connector.is_alive(conn) || !connector.is_clean(conn) {
            return Ok(false);
        }
        if !connector.needs_reset(conn) {
            return Ok(true);
        }
        let resetting = connector.reset(conn);
        Ok(self.bounded("reset", resetting).await?.is_ok())
    }
}

/// Polls a future this often at most, waiting for its wake-up before each further poll, and drops it.
/// Returns its output if it completed by then.
pub(super) async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// An error with its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The subject's connector, for a pool, which needs a connector of its own.
pub(super) struct SharedSubject<C>(pub(super) Arc<C>);

#[async_trait]
impl<C: Connector> Connector for SharedSubject<C> {
    type Connection = C::Connection;

    async fn connect(&self, cx: &ConnectContext) -> Result<C::Connection, ConnectError> {
        self.0.connect(cx).await
    }

    fn is_alive(&self, conn: &C::Connection) -> bool {
        self.0.is_alive(conn)
    }

    fn is_clean(&self, conn: &C::Connection) -> bool {
        self.0.is_clean(conn)
    }

    fn needs_reset(&self, conn: &C::Connection) -> bool {
        self.0.needs_reset(conn)
    }

    fn died(&self, conn: &C::Connection) -> Option<BoxFuture<'static, Option<BoxError>>> {
        self.0.died(conn)
    }

    async fn reset(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.0.reset(conn).await
    }

    async fn check(&self, conn: &mut C::Connection) -> Result<(), CheckError> {
        self.0.check(conn).await
    }

    async fn close(&self, conn: C::Connection, reason: CloseReason) {
        self.0.close(conn, reason).await;
    }
}

/// An error of the pool itself breaks the rule.
pub(super) fn failed<T>(what: &str, error: impl Into<BoxError>) -> TrialResult<T> {
    broken(format!("{what} failed: {}", chain(&*error.into())))
}

const TICK: Duration = Duration::from_millis(1);
