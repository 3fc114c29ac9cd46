//! Tries rules, and turns what happened into an outcome.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use pool_core::Connector;

use super::report::{Report, RuleOutcome, Verbose};
use super::rule::Rule;
use super::rules;
use super::subject::Subject;
use super::trial::{Trial, TrialError};

/// Tries all rules, one after the other. Those about connections that serve many callers at once are
/// tried only if the subject is [shared](Subject::shared).
///
/// # Cancel safety
///
/// Dropping the future drops the connections of the present trial.
///
/// # Examples
///
/// ```
/// use pool_testkit::conformance::{self, Rule, RuleOutcome};
/// use pool_testkit::connector::pair;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Only the connector is known: the rules that need more say what they need.
/// let report = conformance::run(pair().0).await;
/// report.assert_kept();
/// assert_eq!(report.outcome(Rule::CheckPassesLive), Some(&RuleOutcome::Kept));
/// assert!(report.to_string().contains("say how with `.kill(..)`"));
/// # }
/// ```
pub async fn run<C: Connector>(subject: impl Into<Subject<C>>) -> Report {
    let subject = subject.into();
    let mut outcomes = Vec::new();
    let count = match subject.shared {
        Some(_) => Rule::ALL.len(),
        None => Rule::EXCLUSIVE,
    };
    for rule in &Rule::ALL[..count] {
        outcomes.push((*rule, judge(*rule, &subject).await));
    }
    Report::new(outcomes)
}

/// Tries one rule.
///
/// A panic of the connector or of a closure of the subject breaks the rule.
///
/// # Cancel safety
///
/// Dropping the future drops the connections of the trial.
pub async fn judge<C: Connector>(rule: Rule, subject: &Subject<C>) -> RuleOutcome {
    if let Some(reason) = subject.waived.get(&rule) {
        return RuleOutcome::Waived {
            reason: reason.clone(),
        };
    }
    match caught(rules::run(rule, &Trial::of(subject))).await {
        Ok(Ok(())) => RuleOutcome::Kept,
        Ok(Err(TrialError::Broken(what))) | Err(what) => RuleOutcome::Broken { what },
        Ok(Err(TrialError::NotApplicable(why))) => RuleOutcome::NotApplicable { why },
    }
}

/// Tries one rule on a runtime of its own: what the tests of [`conformance!`](crate::conformance!)
/// do.
///
/// # Panics
///
/// If the rule is broken or not applicable, or the runtime cannot be started.
#[track_caller]
pub fn assert_rule<C: Connector>(rule: Rule, subject: impl AsyncFnOnce() -> Subject<C>) {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = built.expect("the process has descriptors left for a runtime");
    let outcome = runtime.block_on(async { judge(rule, &subject().await).await });
    let outcome = &outcome;
    let is_proven = matches!(outcome, RuleOutcome::Kept | RuleOutcome::Waived { .. });
    assert!(is_proven, "{}", Verbose { rule, outcome });
}

/// Checks that the macro's list has all rules, in their order, under their names, with or without those
/// for shared connectors. Hidden, since only the expansion of the macro needs it.
#[doc(hidden)]
pub const fn assert_list(list: &[(&str, Rule)]) {
    let is_whole = list.len() == Rule::EXCLUSIVE || list.len() == Rule::ALL.len();
    assert!(is_whole, "a test for each rule");
    let mut place = 0;
    while place < list.len() {
        let (name, rule) = list[place];
        assert!(rule as usize == place, "the rules in their order");
        let (name, wanted) = (name.as_bytes(), rule.name().as_bytes());
        assert!(name.len() == wanted.len(), "the name of the rule");
        let mut letter = 0;
        while letter < name.len() {
            assert!(name[letter] == wanted[letter], "the name of the rule");
            letter += 1;
        }
        place += 1;
    }
}

async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(text_of(&*panic))),
        },
    )
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}
