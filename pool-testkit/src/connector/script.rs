//! How a call is answered: by the queued answers first, then by the standing one.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::ConnectionId;

use crate::{Call, Query};

/// How a call of the fake ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// It succeeds at once.
    #[default]
    Ok,
    /// It fails at once, with a transient error if it is a connect. A close cannot fail: it ends.
    Transient,
    /// It fails at once, with a permanent error if it is a connect. A close cannot fail: it ends.
    Permanent,
    /// It panics.
    Panic,
    /// It succeeds after this time on the runtime's clock.
    After(Duration),
    /// It never ends.
    Never,
    /// It waits for the test, which takes it up with [`FakeHandle::next`](super::FakeHandle::next).
    Manual,
}

/// What the fake answers to a query about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryAnswer {
    /// The truth: alive until killed, clean until marked dirty, in need of a reset once marked so.
    #[default]
    Truth,
    /// `true`, whatever the truth.
    Yes,
    /// `false`, whatever the truth.
    No,
    /// A panic.
    Panic,
}

/// One call of the fake, as a closure of [`FakeHandle::set_with`](super::FakeHandle::set_with) sees
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallSite {
    /// The method.
    pub call: Call,
    /// How many calls of this method came before it.
    pub number: u64,
    /// The connection that it is about.
    pub id: ConnectionId,
}

/// The error of a fake that was told to fail.
///
/// # Examples
///
/// ```
/// use pool_core::{ConnectContext, ConnectionId, Connector};
/// use pool_testkit::Call;
/// use pool_testkit::connector::{Answer, FakeError, pair};
/// use std::error::Error;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (connector, fake) = pair();
/// fake.queue(Call::Connect, [Answer::Permanent]);
/// let cx = ConnectContext::new(ConnectionId::from_u64(0), 1, tokio::time::Instant::now());
/// let error = connector.connect(&cx).await.expect_err("it was told to fail");
/// assert!(error.is_permanent());
/// let source = error.source().and_then(|source| source.downcast_ref::<FakeError>());
/// assert_eq!(source.map(|error| error.call), Some(Call::Connect));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeError {
    /// The call that failed.
    pub call: Call,
    /// The reason that the test gave.
    pub message: String,
}

impl fmt::Display for FakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fake {}: {}", self.call, self.message)
    }
}

impl Error for FakeError {}

/// A closure that answers calls.
pub(super) type AnswerFn = Arc<dyn Fn(&CallSite) -> Answer + Send + Sync>;

/// How the calls are answered for which no answer is queued.
enum StandingAnswer {
    Always(Answer),
    With(AnswerFn),
}

impl fmt::Debug for StandingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(answer) => f.debug_tuple("Always").field(answer).finish(),
            Self::With(_) => f.write_str("With(..)"),
        }
    }
}

/// How one call is answered. The caller unlocks the script before it asks the closure.
pub(super) enum NextAnswer {
    Answer(Answer),
    Ask(AnswerFn),
}

/// The script of one method.
#[derive(Debug)]
pub(super) struct Script {
    queued: VecDeque<Answer>,
    standing: StandingAnswer,
    calls: u64,
}

impl Script {
    pub(super) const fn new() -> Self {
        Self {
            queued: VecDeque::new(),
            standing: StandingAnswer::Always(Answer::Ok),
            calls: 0,
        }
    }

    pub(super) fn queue(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.queued.extend(answers);
    }

    pub(super) fn set(&mut self, answer: Answer) {
        self.standing = StandingAnswer::Always(answer);
    }

    pub(super) fn set_with(&mut self, closure: AnswerFn) {
        self.standing = StandingAnswer::With(closure);
    }

    /// How many calls came before the next one, and how that one is answered.
    pub(super) fn next(&mut self) -> (u64, NextAnswer) {
        let number = self.calls;
        self.calls += 1;
        let next = match (self.queued.pop_front(), &self.standing) {
            (Some(answer), _) => NextAnswer::Answer(answer),
            (None, StandingAnswer::Always(answer)) => NextAnswer::Answer(*answer),
            (None, StandingAnswer::With(closure)) => NextAnswer::Ask(Arc::clone(closure)),
        };
        (number, next)
    }
}

/// The script of one query.
#[derive(Debug)]
pub(super) struct QueryScript {
    queued: VecDeque<QueryAnswer>,
    standing: QueryAnswer,
    asked: u64,
}

impl QueryScript {
    pub(super) const fn new() -> Self {
        Self {
            queued: VecDeque::new(),
            standing: QueryAnswer::Truth,
            asked: 0,
        }
    }

    pub(super) fn queue(&mut self, answers: impl IntoIterator<Item = QueryAnswer>) {
        self.queued.extend(answers);
    }

    pub(super) const fn set(&mut self, standing: QueryAnswer) {
        self.standing = standing;
    }

    pub(super) const fn asked(&self) -> u64 {
        self.asked
    }

    pub(super) fn next(&mut self) -> QueryAnswer {
        self.asked += 1;
        self.queued.pop_front().unwrap_or(self.standing)
    }
}

impl QueryAnswer {
    /// The answer that is given, where this is the truth.
    pub(super) fn given(self, query: Query, id: ConnectionId, truth: bool) -> bool {
        match self {
            Self::Truth => truth,
            Self::Yes => true,
            Self::No => false,
            Self::Panic => panic!("fake {query} of {id} was told to panic"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Answer, NextAnswer, QueryAnswer, QueryScript, Script};

    fn answer(script: &mut Script) -> (u64, Option<Answer>) {
        match script.next() {
            (number, NextAnswer::Answer(answer)) => (number, Some(answer)),
            (number, NextAnswer::Ask(_)) => (number, None),
        }
    }

    #[test]
    fn queued_answers_come_before_the_standing_one() {
        let mut script = Script::new();
        script.queue([Answer::Panic, Answer::Never]);
        script.set(Answer::Transient);
        assert_eq!(answer(&mut script), (0, Some(Answer::Panic)));
        assert_eq!(answer(&mut script), (1, Some(Answer::Never)));
        assert_eq!(answer(&mut script), (2, Some(Answer::Transient)));
        script.set_with(Arc::new(|_| Answer::Ok));
        assert_eq!(answer(&mut script), (3, None));
    }

    #[test]
    fn queued_answers_to_a_query_come_before_the_standing_one() {
        let mut script = QueryScript::new();
        script.queue([QueryAnswer::No]);
        assert_eq!(script.next(), QueryAnswer::No);
        assert_eq!(script.next(), QueryAnswer::Truth);
        script.set(QueryAnswer::Yes);
        assert_eq!(script.next(), QueryAnswer::Yes);
        assert_eq!(script.asked(), 3);
    }
}
