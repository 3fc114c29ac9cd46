//! What a call answers: the queue of scripted answers first, then the rule that stands.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::ConnectionId;

use crate::{Call, Query};

/// How a call of the fake ends.
///
/// # Examples
///
/// See [`FakeHandle`](super::FakeHandle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    /// It succeeds at once.
    #[default]
    Ok,
    /// It fails at once, with a transient error if it is a connect. A close cannot fail and ends.
    Transient,
    /// It fails at once, with a permanent error if it is a connect. A close cannot fail and ends.
    Permanent,
    /// It panics.
    Panic,
    /// It succeeds after this time on the runtime's clock.
    After(Duration),
    /// It never ends.
    Never,
}

/// What the fake says to a question about a connection.
///
/// # Examples
///
/// See [`FakeHandle`](super::FakeHandle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// The truth: alive until killed, clean until marked dirty, no reset needed until marked.
    #[default]
    Truth,
    /// `true`, whatever the truth.
    Yes,
    /// `false`, whatever the truth.
    No,
    /// A panic.
    Panic,
}

/// One call of the fake, as a closure sees it that answers calls.
///
/// # Examples
///
/// See [`FakeHandle::set_with`](super::FakeHandle::set_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallSite {
    /// The method.
    pub call: Call,
    /// How many calls of this method came before.
    pub number: u64,
    /// The connection it concerns.
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
    /// What the test gave as the reason.
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

/// What stands when no answer is queued.
pub(super) enum Rule {
    Always(Answer),
    With(AnswerFn),
    /// Each call waits until the test completes it.
    Manual,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(answer) => f.debug_tuple("Always").field(answer).finish(),
            Self::With(_) => f.write_str("With(..)"),
            Self::Manual => f.write_str("Manual"),
        }
    }
}

/// Who decides how one call ends; a closure is called only after the script was unlocked.
pub(super) enum Decision {
    Answer(Answer),
    Ask(AnswerFn),
    Manual,
}

/// The script of one method.
#[derive(Debug)]
pub(super) struct Script {
    queued: VecDeque<Answer>,
    rule: Rule,
    calls: u64,
}

impl Script {
    pub(super) const fn new() -> Self {
        Self {
            queued: VecDeque::new(),
            rule: Rule::Always(Answer::Ok),
            calls: 0,
        }
    }

    pub(super) fn queue(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.queued.extend(answers);
    }

    pub(super) fn set(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// The decision for the next call, and how many came before it.
    pub(super) fn next(&mut self) -> (u64, Decision) {
        let number = self.calls;
        self.calls += 1;
        let decision = match (self.queued.pop_front(), &self.rule) {
            (Some(answer), _) => Decision::Answer(answer),
            (None, Rule::Always(answer)) => Decision::Answer(*answer),
            (None, Rule::With(closure)) => Decision::Ask(Arc::clone(closure)),
            (None, Rule::Manual) => Decision::Manual,
        };
        (number, decision)
    }
}

/// The script of one question.
#[derive(Debug)]
pub(super) struct Verdicts {
    queued: VecDeque<Verdict>,
    standing: Verdict,
    asked: u64,
}

impl Verdicts {
    pub(super) const fn new() -> Self {
        Self {
            queued: VecDeque::new(),
            standing: Verdict::Truth,
            asked: 0,
        }
    }

    pub(super) fn queue(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.queued.extend(verdicts);
    }

    pub(super) const fn set(&mut self, standing: Verdict) {
        self.standing = standing;
    }

    pub(super) const fn asked(&self) -> u64 {
        self.asked
    }

    pub(super) fn next(&mut self) -> Verdict {
        self.asked += 1;
        self.queued.pop_front().unwrap_or(self.standing)
    }
}

impl Verdict {
    /// What is said, given what is true.
    pub(super) fn speak(self, query: Query, id: ConnectionId, truth: bool) -> bool {
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
    use super::{Answer, Decision, Rule, Script, Verdict, Verdicts};

    fn answer(script: &mut Script) -> (u64, Option<Answer>) {
        match script.next() {
            (number, Decision::Answer(answer)) => (number, Some(answer)),
            (number, Decision::Ask(_) | Decision::Manual) => (number, None),
        }
    }

    #[test]
    fn queued_answers_come_before_the_rule() {
        let mut script = Script::new();
        script.queue([Answer::Panic, Answer::Never]);
        script.set(Rule::Always(Answer::Transient));
        assert_eq!(answer(&mut script), (0, Some(Answer::Panic)));
        assert_eq!(answer(&mut script), (1, Some(Answer::Never)));
        assert_eq!(answer(&mut script), (2, Some(Answer::Transient)));
        script.set(Rule::Manual);
        assert_eq!(answer(&mut script), (3, None));
    }

    #[test]
    fn queued_verdicts_come_before_the_standing_one() {
        let mut verdicts = Verdicts::new();
        verdicts.queue([Verdict::No]);
        assert_eq!(verdicts.next(), Verdict::No);
        assert_eq!(verdicts.next(), Verdict::Truth);
        verdicts.set(Verdict::Yes);
        assert_eq!(verdicts.next(), Verdict::Yes);
        assert_eq!(verdicts.asked(), 3);
    }
}
