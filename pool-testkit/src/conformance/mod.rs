//! Whether a connector behaves in a pool: one named rule for each of its duties, one trial for each.
//!
//! A [`Subject`] is the connector and what the kit must be told about it: how to make an exchange,
//! how to kill the other side from outside, how to count what is open. [`run`] tries all rules and
//! reports on each; the macro [`conformance!`](crate::conformance!) makes one test of each. A rule
//! that cannot be tried because the subject does not say how is *not applicable*: the report names
//! what is missing, and the macro's test fails until it is said or [waived](Subject::waive).
//!
//! # Testing a connector of one's own
//!
//! The connector under test opens lines to an echo that lives in a task. This is its whole test:
//!
//! ```
//! # use pool_core::{ConnectContext, ConnectError, Connector, async_trait};
//! # use std::sync::Arc;
//! # use tokio::sync::{mpsc, oneshot};
//! # type Request = (u64, oneshot::Sender<u64>);
//! # struct Line { requests: mpsc::Sender<Request>, echo: tokio::task::AbortHandle }
//! # impl Line {
//! #     async fn ask(&mut self, number: u64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
//! #         let (reply, answer) = oneshot::channel();
//! #         self.requests.send((number, reply)).await?;
//! #         Ok(answer.await?)
//! #     }
//! # }
//! # impl Drop for Line {
//! #     fn drop(&mut self) { self.echo.abort(); }
//! # }
//! # #[derive(Clone, Default)]
//! # struct MyConnector { open: Arc<()> }
//! # #[async_trait]
//! # impl Connector for MyConnector {
//! #     type Connection = Line;
//! #     async fn connect(&self, _cx: &ConnectContext) -> Result<Line, ConnectError> {
//! #         let (requests, mut receiver) = mpsc::channel::<Request>(1);
//! #         let open = Arc::clone(&self.open);
//! #         let echo = tokio::spawn(async move {
//! #             while let Some((number, reply)) = receiver.recv().await {
//! #                 drop(reply.send(number));
//! #             }
//! #             drop(open);
//! #         });
//! #         Ok(Line { requests, echo: echo.abort_handle() })
//! #     }
//! #     fn is_alive(&self, line: &Line) -> bool { !line.requests.is_closed() }
//! #     fn died(&self, line: &Line) -> Option<pool_core::BoxFuture<'static, ()>> {
//! #         let requests = line.requests.clone();
//! #         Some(Box::pin(async move { requests.closed().await }))
//! #     }
//! #     async fn close(&self, line: Line, _: pool_core::CloseReason) {
//! #         let requests = line.requests.clone();
//! #         drop(line);
//! #         requests.closed().await;
//! #     }
//! # }
//! use pool_testkit::conformance::{self, Rule, Subject};
//!
//! fn subject() -> Subject<MyConnector> {
//!     let connector = MyConnector::default();
//!     let open = Arc::downgrade(&connector.open);
//!     Subject::new(connector)
//!         .exchange(async |line: &mut Line, number| line.ask(number).await)
//!         .kill(|line: &Line| {
//!             line.echo.abort();
//!             std::future::ready(())
//!         })
//!         // Each echo holds the count; so does the connector itself.
//!         .resources(move || 1..open.strong_count())
//!         .waive(Rule::DirtIsSeen, "an answer goes to its own request, or nowhere")
//!         .waive(Rule::ConnectKeepsDeadline, "nothing to wait for")
//!         .waive(Rule::PermanentFailureIsTold, "cannot fail")
//!         .waive(Rule::TransientFailureIsTold, "cannot fail")
//! }
//!
//! mod my_connector {
//!     pool_testkit::conformance!(super::subject()); // one test for each rule
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Or all at once, wherever there is a runtime:
//! conformance::run(subject()).await.assert_proven();
//! # }
//! ```
//!
//! The examples `tcp_echo` and `unix_echo` of this crate do the same for sockets, where `stalling`
//! and the failures can be said as well.
//!
//! # What is not proven
//!
//! A trial shows a breach, it does not show that there is none: cancellation is tried at each poll
//! that happened, not at each that could. A question is called cheap if it takes less than half a
//! millisecond; a good one takes a microsecond, which is for a benchmark to show.

mod macros;
mod report;
mod rule;
mod rules;
mod subject;
mod trial;

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use pool_core::Connector;

pub use report::{Outcome, Report};
pub use rule::Rule;
pub use subject::Subject;

use report::Finding;
use trial::Stop;

/// Tries all rules, one after the other.
///
/// # Cancel safety
///
/// Dropping the future drops the connections of the trial that was under way.
///
/// # Examples
///
/// See the [module](self).
pub async fn run<C: Connector>(subject: impl Into<Subject<C>>) -> Report {
    let subject = subject.into();
    let mut outcomes = Vec::new();
    for rule in Rule::ALL {
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
///
/// # Examples
///
/// See [`Subject`].
pub async fn judge<C: Connector>(rule: Rule, subject: &Subject<C>) -> Outcome {
    if let Some(reason) = subject.waived.get(&rule) {
        return Outcome::Waived {
            reason: reason.clone(),
        };
    }
    match caught(rules::trial(rule, subject)).await {
        Ok(Ok(())) => Outcome::Kept,
        Ok(Err(Stop::Broken(what))) | Err(what) => Outcome::Broken { what },
        Ok(Err(Stop::NotApplicable(why))) => Outcome::NotApplicable { why },
    }
}

/// Tries one rule on a runtime of its own: what the tests of [`conformance!`](crate::conformance!)
/// do.
///
/// # Panics
///
/// If the rule is broken or cannot be judged, or the runtime cannot be started.
///
/// # Examples
///
/// See [`conformance!`](crate::conformance!).
#[track_caller]
pub fn assert_rule<C: Connector>(rule: Rule, subject: impl AsyncFnOnce() -> Subject<C>) {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = built.expect("a runtime needs a few descriptors");
    let outcome = runtime.block_on(async { judge(rule, &subject().await).await });
    let outcome = &outcome;
    let is_proven = matches!(outcome, Outcome::Kept | Outcome::Waived { .. });
    assert!(is_proven, "{}", Finding { rule, outcome });
}

/// The macro's list is that of all rules, in their order, under their names.
#[doc(hidden)]
pub const fn assert_list(list: &[(&str, Rule)]) {
    assert!(list.len() == Rule::ALL.len(), "a test for each rule");
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
